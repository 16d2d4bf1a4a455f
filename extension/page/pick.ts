/**
 * Pick mode: the next image that is clicked, or chosen by Tab and Enter, is the one to check.
 *
 *     start --pointer over an image--> framed --click--+
 *           --Tab, arrows: the next image, framed --Enter--+--> picked(painted)   Esc: over
 *
 * While it is on, presses and clicks are kept from the page, so that picking a linked image does
 * not follow the link. Only what a person does counts, not events that scripts made. Images need
 * not be focusable: Tab goes through those that are painted, in the order of the document.
 */
import { say } from "../lib/words";
import type { Layer } from "./layer";
import type { Painted } from "./painted";
import { attributeOf, boxOf } from "./unshadowed";

export interface PickActs {
  layer(): Pick<Layer, "host" | "outline" | "toast" | "hideToast">;
  paintedAt(x: number, y: number): Painted | null;
  paintedOf(element: Element): Painted | null;
  paintedOnPage(): Iterable<Painted>;
  picked(painted: Painted, byKeyboard: boolean): void;
  /** Over: by a pick, by Esc, or by Cancel. */
  ended(): void;
}

/** What a click is made of. All are kept from the page; the click itself picks. */
const PRESSES = [
  "pointerdown",
  "pointerup",
  "mousedown",
  "mouseup",
  "touchstart",
  "touchend",
  "auxclick",
  "dblclick",
  "click",
];
/** These must go their way for a click to come of a touch. */
const KEPT_WHOLE = ["pointerdown", "pointerup", "touchstart", "touchend"];
const NAME_LIMIT = 80;

export class Picker {
  readonly #acts: PickActs;
  #listening: AbortController | null = null;
  #at: Painted | null = null;
  #frame = 0;

  constructor(acts: PickActs) {
    this.#acts = acts;
  }

  start(): void {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const how = { capture: true, signal: this.#listening.signal };
    addEventListener("pointermove", (event) => this.#moved(event), { ...how, passive: true });
    addEventListener("keydown", (event) => this.#keyed(event), how);
    for (const name of PRESSES) {
      addEventListener(name, (event) => this.#pressed(event), { ...how, passive: false });
    }
    // One help for a tab: the mode is on in each of its frames.
    if (self === top) this.#say(say("page_pick_help"));
  }

  /** End the mode without a pick. Tells nobody. */
  stop(): void {
    if (!this.#listening) return;
    this.#listening.abort();
    this.#listening = null;
    cancelAnimationFrame(this.#frame);
    this.#at = null;
    this.#acts.layer().outline(null);
    this.#acts.layer().hideToast();
  }

  #end(): void {
    this.stop();
    this.#acts.ended();
  }

  #say(text: string): void {
    const cancel = { label: say("page_cancel"), act: () => this.#end() };
    this.#acts.layer().hideToast(); // a new one is read out, one that changes is not
    this.#acts.layer().toast(text, [cancel]);
  }

  #moved({ isTrusted, clientX, clientY }: PointerEvent): void {
    if (!isTrusted) return;
    cancelAnimationFrame(this.#frame);
    // Once for each frame that is drawn, however often the pointer says that it moved.
    this.#frame = requestAnimationFrame(() => this.#point(this.#acts.paintedAt(clientX, clientY)));
  }

  #point(painted: Painted | null): void {
    this.#at = painted;
    this.#acts.layer().outline(painted);
  }

  #pressed(event: Event): void {
    if (!event.isTrusted || this.#isOurs(event)) return;
    event.stopImmediatePropagation();
    if (!KEPT_WHOLE.includes(event.type)) event.preventDefault();
    if (event.type === "click") this.#clicked(event as MouseEvent);
  }

  #clicked(event: MouseEvent): void {
    const byKeyboard = event.detail === 0;
    this.#pick(byKeyboard ? this.#paintedOf(event) : this.#paintedAt(event), byKeyboard);
  }

  #paintedAt({ clientX, clientY }: MouseEvent): Painted | null {
    return this.#acts.paintedAt(clientX, clientY);
  }

  /** A screen reader clicks on an element, not at a place. */
  #paintedOf(event: Event): Painted | null {
    const [target] = event.composedPath();
    return target instanceof Element ? this.#acts.paintedOf(target) : null;
  }

  #pick(painted: Painted | null, byKeyboard: boolean): void {
    if (painted === null) {
      this.#say(say("page_pick_none"));
      return;
    }
    this.#end();
    this.#acts.picked(painted, byKeyboard);
  }

  #keyed(event: KeyboardEvent): void {
    if (!event.isTrusted) return;
    const act = this.#actOf(event);
    if (act === null) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  }

  #actOf(event: KeyboardEvent): (() => void) | null {
    if (event.key === "Escape") return () => this.#end();
    if (this.#isOurs(event)) return null; // Enter on our own Cancel is Cancel
    switch (event.key) {
      case "Tab":
        return () => this.#step(event.shiftKey ? -1 : 1);
      case "ArrowRight":
      case "ArrowDown":
        return () => this.#step(1);
      case "ArrowLeft":
      case "ArrowUp":
        return () => this.#step(-1);
      case "Enter":
      case " ":
        return () => this.#pick(this.#at, true);
      default:
        return null;
    }
  }

  /** Go to the next image, or the one before; after the last comes the first. */
  #step(by: 1 | -1): void {
    const images = [...this.#acts.paintedOnPage()];
    const count = images.length;
    const at = images.findIndex(({ element }) => element === this.#at?.element);
    const next = at < 0 ? firstInView(images) : (at + by + count) % count;
    const painted = images[next];
    if (painted) this.#goTo(painted, say("page_pick_at", next + 1, count, nameOf(painted.element)));
    else this.#say(say("page_pick_none"));
  }

  #goTo(painted: Painted, text: string): void {
    Element.prototype.scrollIntoView.call(painted.element, { block: "nearest", inline: "nearest" });
    this.#point(painted);
    this.#say(text);
  }

  #isOurs(event: Event): boolean {
    return event.target === this.#acts.layer().host;
  }
}

/** The first image that can be seen without scrolling up. */
function firstInView(images: Painted[]): number {
  const seen = images.findIndex(({ element }) => boxOf(element).bottom > 0);
  return Math.max(0, seen);
}

/** What the page calls an image: a stranger's words, kept short and apart from ours. */
function nameOf(element: Element): string {
  const name = attributeOf(element, "alt") || attributeOf(element, "aria-label") || "";
  const short = name.replace(/\s+/g, " ").trim().slice(0, NAME_LIMIT);
  // Isolated: its writing direction does not turn our sentence round.
  return short ? `\u2068${short}\u2069` : say("page_no_name");
}
