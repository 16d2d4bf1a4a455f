/**
 * Where images are, and how much of them is seen, for as long as they are near the view.
 *
 *     IntersectionObserver             which are near; what their ancestors clip
 *     the document is scrolled         -> a look now and then: the host scrolls with it by itself
 *     anything else may move them      -> a look in each frame, until nothing has moved for a while
 *     nothing happens                  -> a look four times a second, while any is near
 *
 * A look reads the boxes of all that are near in one go, and calls `placed` for those that moved.
 * Boxes are in px of the host, so what lies still in the document stays where it is. Before an
 * image is first shown, and now and then after, it is looked at closely: is it still that image,
 * is it seen, or does something lie over it? That is dear (a hit test), so only a few in a look.
 */
import {
  type Box,
  chipSpot,
  type Insets,
  inset,
  isRoomy,
  isSame,
  NO_INSETS,
  overlap,
  seenFrom,
} from "./geometry";
import { coverOf, isSeen } from "./seen";
import { HOST_PX } from "./sheet";

export interface Spot {
  /** The image, without what its ancestors clip. */
  seen: Box;
  /** What of it is in the view; null while it is hidden, covered, or there is no room for a chip. */
  visible: Box | null;
}

export interface Watcher {
  placed(element: Element, spot: Spot): void;
  /** Not near any more. */
  left(element: Element): void;
  /** False: the image is not what it was; it is not followed any more. */
  isStill(element: Element): boolean;
  /** This lies over what was drawn. */
  covered(by: Element): void;
}

/** For how long after the last sign of a movement there may be more. */
const QUIET_AFTER_MS = 200;
/** Between two looks: while the document is scrolled, and while nothing happens. */
const SCROLL_MS = 100;
const REST_MS = 250;
/** So much of the view between two looks, and nobody reads what goes by. */
const RUSH = 0.25;
/** How many are looked at closely in a look. */
const CLOSE_LOOKS = { moving: 2, rest: 6 };
const NEAR = "25%";

interface Tracked {
  element: Element;
  insets: Insets;
  spot: Spot | null;
  isHidden: boolean;
  isLookedAt: boolean;
  isSized: boolean;
}

function tracked(element: Element, insets: Insets): Tracked {
  return { element, insets, spot: null, isHidden: false, isLookedAt: false, isSized: false };
}

export class Follower {
  readonly #host: Element;
  readonly #isRtl: boolean;
  readonly #watcher: Watcher;
  readonly #followed = new WeakSet<Element>();
  readonly #near = new Map<Element, Tracked>();
  readonly #end = new AbortController();
  /** Of all images; with one threshold a browser skips them while scrolling. */
  readonly #crossings = new IntersectionObserver((entries) => this.#crossed(entries), {
    rootMargin: NEAR,
  });
  /** Of those that are near, for one answer each time. */
  readonly #clips = new IntersectionObserver((entries) => this.#clipped(entries), {
    rootMargin: NEAR,
  });
  readonly #sizes = new ResizeObserver((entries) => this.#sized(entries));
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #awakeUntil = 0;
  #scrolledAt = 0;
  #scrolledTo = 0;
  #isSettled = false;
  #nextClose = 0;

  constructor(host: Element, isRtl: boolean, watcher: Watcher) {
    this.#host = host;
    this.#isRtl = isRtl;
    this.#watcher = watcher;
    const how = { capture: true, passive: true, signal: this.#end.signal };
    document.addEventListener("scroll", (event) => this.#scrolled(event), how);
    for (const kind of ["transitionrun", "animationstart", "load", "toggle"]) {
      document.addEventListener(kind, () => this.wake(), how);
    }
    window.addEventListener("resize", () => this.wake(), how);
    window.visualViewport?.addEventListener("resize", () => this.wake(), how);
  }

  /** Follow it from now on; it is placed at once if it is in view. */
  add(element: Element): void {
    if (this.#followed.has(element)) return;
    this.#followed.add(element);
    const one = tracked(element, NO_INSETS);
    this.#near.set(element, one);
    this.#crossings.observe(element);
    this.#sizes.observe(element);
    this.#lookAt([one], 1);
    this.#glance();
  }

  remove(element: Element): void {
    this.#followed.delete(element);
    this.#crossings.unobserve(element);
    this.#sizes.unobserve(element);
    this.#near.delete(element);
  }

  /** Have it placed once more: something was drawn anew. */
  again(element: Element): void {
    const tracked = this.#near.get(element);
    if (!tracked) return;
    tracked.spot = null;
    this.look();
  }

  /** Where any element is now, in px of the host. */
  boxOf(element: Element): Box {
    const origin = this.#host.getBoundingClientRect();
    return seenFrom(element.getBoundingClientRect(), origin, origin.width / HOST_PX || 1);
  }

  /** Look in every frame for a while. */
  wake(): void {
    if (this.#near.size === 0) return;
    this.#awakeUntil = performance.now() + QUIET_AFTER_MS;
    this.#isSettled = false;
    this.#frame ||= requestAnimationFrame(() => this.#onFrame());
  }

  destroy(): void {
    this.#end.abort();
    this.#crossings.disconnect();
    this.#clips.disconnect();
    this.#sizes.disconnect();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#near.clear();
  }

  #scrolled({ target }: Event): void {
    if (target === document) this.#glance();
    else this.wake();
  }

  /** Look now and then: what moves with the document needs no more. */
  #glance(): void {
    this.#scrolledAt = performance.now();
    if (this.#isSettled) {
      this.#isSettled = false;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#timer ??= setTimeout(() => this.#onTime(), SCROLL_MS);
  }

  #crossed(entries: IntersectionObserverEntry[]): void {
    for (const entry of entries) {
      if (entry.isIntersecting) this.#come(entry);
      else this.#leave(entry.target);
    }
    this.#glance();
  }

  #come(entry: IntersectionObserverEntry): void {
    const { target } = entry;
    const insets = insetsOf(entry);
    const known = this.#near.get(target);
    if (known) known.insets = insets;
    else this.#near.set(target, tracked(target, insets));
    this.#sizes.observe(target);
  }

  #leave(element: Element): void {
    this.#near.delete(element);
    this.#sizes.unobserve(element);
    this.#watcher.left(element);
  }

  #sized(entries: ResizeObserverEntry[]): void {
    const known = entries.map(({ target }) => this.#near.get(target)).filter((one) => one);
    // The first answer is no change.
    if (known.some((one) => one?.isSized)) this.wake();
    for (const one of known) if (one) one.isSized = true;
  }

  /** Ask the browser what ancestors clip of all that are near. */
  #measure(): void {
    this.#clips.disconnect();
    for (const element of this.#near.keys()) this.#clips.observe(element);
  }

  #clipped(entries: IntersectionObserverEntry[]): void {
    this.#clips.disconnect();
    for (const entry of entries) {
      const known = this.#near.get(entry.target);
      if (known) known.insets = insetsOf(entry);
    }
    this.look();
  }

  #onFrame(): void {
    this.#frame = 0;
    this.#measure();
    if (this.look(CLOSE_LOOKS.moving)) this.#awakeUntil = performance.now() + QUIET_AFTER_MS;
    if (performance.now() < this.#awakeUntil) {
      this.#frame = requestAnimationFrame(() => this.#onFrame());
    } else this.#glance();
  }

  #onTime(): void {
    this.#timer = undefined;
    if (this.#frame || this.#near.size === 0) return;
    const isScrolling = performance.now() - this.#scrolledAt < QUIET_AFTER_MS;
    if (!document.hidden && this.look(this.#closeLooks(isScrolling))) this.wake();
    if (!isScrolling && !this.#isSettled) this.#measure();
    this.#isSettled = !isScrolling;
    this.#timer = setTimeout(() => this.#onTime(), isScrolling ? SCROLL_MS : REST_MS);
  }

  /** None while all rushes by; as it comes to rest, all of them; later in turn. */
  #closeLooks(isScrolling: boolean): number {
    const by = Math.abs(scrollY - this.#scrolledTo);
    this.#scrolledTo = scrollY;
    if (isScrolling) return by > RUSH * innerHeight ? 0 : CLOSE_LOOKS.moving;
    return this.#isSettled ? CLOSE_LOOKS.rest : this.#near.size;
  }

  /** Place what moved; true if an image did that is shown. Reads first, then writes. */
  look(closeLooks = 0): boolean {
    return this.#lookAt([...this.#near.values()], closeLooks);
  }

  #lookAt(some: Tracked[], closeLooks: number): boolean {
    const view = viewBox();
    const origin = this.#host.getBoundingClientRect();
    const scale = origin.width / HOST_PX || 1;
    const found = some.map((tracked) => {
      const { seen, visible } = partsOf(tracked, view);
      const spot = {
        seen: seenFrom(seen, origin, scale),
        visible: visible && seenFrom(visible, origin, scale),
      };
      return { tracked, visible, spot };
    });
    for (const one of this.#due(found, closeLooks)) this.#lookClosely(one);
    return found.filter((one) => this.#place(one)).length > 0;
  }

  #place({ tracked, spot }: Found): boolean {
    const { spot: old, isLookedAt, isHidden } = tracked;
    if (isHidden || !isLookedAt) spot.visible = null;
    if (isSameSpot(old, spot)) return false;
    tracked.spot = spot;
    this.#watcher.placed(tracked.element, spot);
    return old !== null && spot.visible !== null && !isSame(old.seen, spot.seen);
  }

  /** First those that were not looked at yet, then in turn some of the others. */
  #due(found: Found[], count: number): Found[] {
    if (count === 0) return [];
    const inView = found.filter(({ visible }) => visible !== null);
    const isNew = ({ tracked }: Found) => !tracked.isLookedAt;
    const start = this.#nextClose % Math.max(1, inView.length);
    const inTurn = [...inView.slice(start), ...inView.slice(0, start)];
    const wanted = [...inView.filter(isNew), ...inTurn];
    const due = [...new Set(wanted)].slice(0, count);
    this.#nextClose = start + due.filter((one) => !isNew(one)).length;
    return due;
  }

  #lookClosely({ tracked, visible, spot }: Found): void {
    const { element, spot: old } = tracked;
    if (!this.#watcher.isStill(element)) {
      this.remove(element);
      return;
    }
    tracked.isLookedAt = true;
    if (visible === null) return;
    const chip = chipSpot(visible, this.#isRtl).box;
    tracked.isHidden = !isSeen(element, { visible, chip }, this.#host);
    const isThere = !tracked.isHidden && isSameSpot(old, spot);
    const cover = isThere ? coverOf(chip, this.#host) : null;
    if (cover) this.#watcher.covered(cover);
  }
}

/** What ancestors clip of it. What the view clips is reckoned in each look. */
function insetsOf(entry: IntersectionObserverEntry): Insets {
  const { boundingClientRect: whole, intersectionRect: part, rootBounds: root } = entry;
  const isView = (side: keyof Insets) => root !== null && Math.abs(part[side] - root[side]) < 1;
  return {
    left: isView("left") ? 0 : part.left - whole.left,
    top: isView("top") ? 0 : part.top - whole.top,
    right: isView("right") ? 0 : whole.right - part.right,
    bottom: isView("bottom") ? 0 : whole.bottom - part.bottom,
  };
}

interface Found {
  tracked: Tracked;
  /** In px of the viewport; the spot is in those of the host. */
  visible: Box | null;
  spot: Spot;
}

/** In px of the viewport. */
function partsOf({ element, insets }: Tracked, view: Box): Spot {
  const seen = inset(element.getBoundingClientRect(), insets);
  const visible = overlap(seen, view);
  return { seen, visible: isRoomy(visible) ? visible : null };
}

function isSameSpot(a: Spot | null, b: Spot): boolean {
  if (a === null || !isSame(a.seen, b.seen)) return false;
  if (a.visible === null || b.visible === null) return a.visible === b.visible;
  return isSame(a.visible, b.visible);
}

/** What of the page is in view, without scroll bars, and with fingers spread only that part. */
export function viewBox(): Box {
  const view = window.visualViewport;
  const { offsetLeft: left = 0, offsetTop: top = 0 } = view ?? {};
  const { width = innerWidth, height = innerHeight } = view ?? {};
  return { left, top, right: left + width, bottom: top + height };
}
