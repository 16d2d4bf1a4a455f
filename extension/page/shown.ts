/**
 * The images of this frame that have a chip: their checks, and the end of a chip with its image.
 *
 *     check(painted) --> chip "Checking ..." --ask--> told --> still that image? --> chip
 *                                                                   | no
 *     attributes change, another source loads, gone from the page --+--> no chip
 *
 * An image that changed has no chip from that moment on, and what comes of its check is dropped:
 * never a verdict on an image that it is not about. Watches no image but those with a chip. Holds
 * no image that the page has let go of longer than until the next scroll or check.
 */
import type { FrameMessages, Told } from "../lib/messages";
import { say } from "../lib/words";
import { askCheck, begun, failed, newId } from "./ask";
import type { Layer } from "./layer";
import { isStill, type Painted } from "./painted";
import { Capturer } from "./pixels";
import { isConnected, listenTo } from "./unshadowed";

export type How = FrameMessages["check-image"]["how"];

interface Chip {
  painted: Painted;
  told: Told;
  /** Until it is aborted, the image is watched. */
  watch: AbortController;
  /** The check under way, or the one that has ended. */
  check: Promise<Told>;
}

/** What may make an image another one without its element being replaced. */
const ATTRIBUTES = ["src", "srcset", "sizes", "style", "class", "poster", "href"];
const RESIZED_MS = 200;

export class Shown {
  readonly #layer: () => Layer;
  readonly #capturer: Capturer;
  readonly #chips = new Map<Element, Chip>();
  readonly #changes = new MutationObserver((changes) => {
    for (const { target } of changes) this.#reviewSoon(target as Element);
  });
  /** As images come into view and go out of it: the time to look for those that are gone. */
  readonly #views = new IntersectionObserver((entries) => {
    for (const { target } of entries) this.#review(target);
    this.prune();
  });

  readonly #changed = new Set<Element>();
  #frame = 0;
  #resized: ReturnType<typeof setTimeout> | undefined;

  constructor(layer: () => Layer) {
    this.#layer = layer;
    this.#capturer = new Capturer(layer);
  }

  /** The worker has taken the picture of the screen for this check. */
  captured(checkId: string): void {
    this.#capturer.captured(checkId);
  }

  /** What is told of an image now; null for one without a chip. */
  told(painted: Painted): Told | null {
    const chip = this.#chips.get(painted.element);
    return chip && chip.painted.address === painted.address ? chip.told : null;
  }

  /** Check an image and show how it gets on; what is under way or judged is not asked again. */
  check(painted: Painted, how: How): Promise<Told> {
    const known = this.told(painted) && this.#chips.get(painted.element);
    // What failed is tried again when a person says so, and never because a pointer passed by.
    const isOver = known?.told.error && how !== "hover";
    return known && !isOver ? known.check : this.again(painted, how);
  }

  /** Check an image anew. */
  again(painted: Painted, how: How): Promise<Told> {
    this.prune();
    const id = newId();
    const check = this.#asked(painted, id, how);
    this.#put(painted, begun(id), check);
    return check.then((told) => {
      if (this.#chips.get(painted.element)?.told.id === id) this.show(painted, told);
      return told;
    });
  }

  /** Show what is told of an image, if it is still that image. */
  show(painted: Painted, told: Told): void {
    if (isStill(painted)) this.#put(painted, told, Promise.resolve(told));
    else this.#drop(painted.element);
  }

  /** Drop the chips of images that are gone or have changed. */
  prune(): void {
    for (const element of this.#chips.keys()) if (!isConnected(element)) this.#drop(element);
  }

  /** The window has another size, which may paint other images; looked at once that is over. */
  resized(): void {
    clearTimeout(this.#resized);
    this.#resized = setTimeout(() => {
      for (const element of this.#chips.keys()) this.#review(element);
    }, RESIZED_MS);
  }

  /** All chips go, and nothing is watched any more. */
  destroy(): void {
    clearTimeout(this.#resized);
    cancelAnimationFrame(this.#frame);
    for (const element of this.#chips.keys()) this.#drop(element);
    this.#changes.disconnect();
    this.#views.disconnect();
  }

  #asked(painted: Painted, checkId: string, how: How): Promise<Told> {
    const { address } = painted;
    if (address !== null) return askCheck("check-image", { checkId, address, how });
    if (how === "user") return this.#capturer.capture(painted, checkId);
    return Promise.resolve(failed(checkId, "only_pixels", say("error_only_pixels")));
  }

  #put(painted: Painted, told: Told, check: Promise<Told>): void {
    const watch = this.#chips.get(painted.element)?.watch ?? this.#watched(painted);
    this.#chips.set(painted.element, { painted, told, watch, check });
    this.#layer().show(painted, told);
  }

  #watched({ element, kind }: Painted): AbortController {
    const watch = new AbortController();
    const how = { passive: true, signal: watch.signal };
    // srcset and picture swap without an attribute changing; a new source says so once loaded.
    listenTo(element, "load", () => this.#review(element), how);
    for (const name of ["play", "seeking"]) {
      // A frame of a video is another one from here on, a poster is not there any more.
      const moved = () => (kind === "video" ? this.#drop(element) : this.#review(element));
      listenTo(element, name, moved, how);
    }
    this.#changes.observe(element, { attributes: true, attributeFilter: ATTRIBUTES });
    this.#views.observe(element);
    return watch;
  }

  /** Before the next frame is drawn, and once for it: pages animate by attributes. */
  #reviewSoon(element: Element): void {
    if (this.#changed.size === 0) this.#frame = requestAnimationFrame(() => this.#reviewChanged());
    this.#changed.add(element);
  }

  #reviewChanged(): void {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const element of changed) this.#review(element);
  }

  #review(element: Element): void {
    const chip = this.#chips.get(element);
    if (chip && !isStill(chip.painted)) this.#drop(element);
  }

  #drop(element: Element): void {
    const chip = this.#chips.get(element);
    if (!chip) return;
    chip.watch.abort();
    this.#views.unobserve(element);
    this.#chips.delete(element);
    this.#layer().drop(chip.painted);
  }
}
