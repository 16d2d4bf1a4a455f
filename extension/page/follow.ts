/**
 * Where images are, and how much of them is seen, for as long as they are near the view.
 *
 *     the document is scrolled      -> a look now and then: the host scrolls with it by itself
 *     anything else may move them   -> a look in each frame, until nothing has moved for a while
 *     nothing happens               -> a look four times a second, while any is near
 *
 *     look: which are near, by where they were last -> where are they now -> `placed` if they moved
 *
 * Boxes are in px of the host, so what lies still in the document stays where it is, and while it
 * is scrolled only a few are read anew; all are once it rests. Before an image is first shown, and
 * now and then after, it is looked at closely: is it still that image, is it seen, or does
 * something lie over it? That is dear (a hit test), so only a few in a look. What ancestors clip
 * says an IntersectionObserver, asked for one answer each time: to observe hundreds all the time
 * costs more than all else.
 */
import {
  type Box,
  chipSpot,
  type Insets,
  inset,
  isRoomy,
  isSame,
  type Measure,
  NO_INSETS,
  overlap,
  seenAt,
  seenFrom,
} from "./geometry";
import { coverOf, isSeen } from "./seen";
import { HOST_PX } from "./sheet";
import { boxOf, isPageHidden, listenTo } from "./unshadowed";

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
const QUIET_AFTER_MS = 300;
/** Between two looks: while the document is scrolled, and while nothing happens. */
const SCROLL_MS = 200;
const REST_MS = 250;
/** So much of the view between two looks, and nobody reads what goes by. */
const RUSH = 0.25;
/** So much of the view around it is near. */
const NEAR = 0.3;

/** How much is done in a look. */
interface Look {
  /** How many are looked at closely. */
  closely: number;
  /** How many of those that are near, and of those that are far, are read anew. */
  near: number;
  far: number;
}
const ALL = Number.POSITIVE_INFINITY;
const PLACE: Look = { closely: 0, near: ALL, far: 0 };
const RUSHING: Look = { closely: 0, near: 4, far: 4 };
const SCROLLING: Look = { closely: 2, near: 4, far: 4 };
const MOVING: Look = { closely: 2, near: ALL, far: 8 };
const RESTING: Look = { closely: 6, near: ALL, far: 16 };
const SETTLING: Look = { closely: ALL, near: ALL, far: ALL };

interface Tracked {
  element: Element;
  /** Where it was when it was last read, in px of the host. */
  box: Box;
  insets: Insets;
  /** What was told of it last; null while it is far. */
  spot: Spot | null;
  isHidden: boolean;
  isLookedAt: boolean;
  isSized: boolean;
}

/** From px of the viewport to px of the host and back. */
interface Space {
  view: Box;
  origin: DOMRect;
  scale: number;
}

export class Follower {
  readonly #host: Element;
  readonly #measures: Measure;
  readonly #watcher: Watcher;
  readonly #all = new Map<Element, Tracked>();
  readonly #near = new Set<Tracked>();
  readonly #end = new AbortController();
  readonly #clips = new IntersectionObserver((entries) => this.#clipped(entries));
  readonly #sizes = new ResizeObserver((entries) => this.#sized(entries));
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #awakeUntil = 0;
  #scrolledAt = 0;
  #scrolledTo = 0;
  #isSettled = false;
  /** Whose turn it is. */
  readonly #turns = { closely: 0, near: 0, far: 0 };

  constructor(host: Element, chips: Measure, watcher: Watcher) {
    this.#host = host;
    this.#measures = chips;
    this.#watcher = watcher;
    const how = { capture: true, passive: true, signal: this.#end.signal };
    addEventListener("scroll", (event) => this.#scrolled(event), how);
    for (const kind of ["transitionrun", "animationstart", "load", "toggle"]) {
      listenTo(document, kind, () => this.wake(), how);
    }
    addEventListener("resize", () => this.wake(), how);
    window.visualViewport?.addEventListener("resize", () => this.wake(), how);
  }

  /** Follow it from now on; it is placed at once if it is in view. */
  add(element: Element): void {
    if (this.#all.has(element)) return;
    const space = this.#space();
    const one: Tracked = {
      ...{ element, insets: NO_INSETS, spot: null },
      ...{ isHidden: false, isLookedAt: false, isSized: false },
      box: inHost(boxOf(element), space),
    };
    this.#all.set(element, one);
    if (isNear(one, space)) {
      this.#come(one);
      this.#lookAt([one], { ...PLACE, closely: 1 }, space);
    }
    this.#glance();
  }

  remove(element: Element): void {
    const one = this.#all.get(element);
    if (!one) return;
    this.#all.delete(element);
    this.#near.delete(one);
    this.#sizes.unobserve(element);
  }

  /** Have it placed once more: something was drawn anew. */
  again(element: Element): void {
    const one = this.#all.get(element);
    if (!one || !this.#near.has(one)) return;
    one.spot = null;
    this.#lookAt([one], PLACE, this.#space());
  }

  /** Where any element is now, in px of the host. */
  boxOf(element: Element): Box {
    return inHost(boxOf(element), this.#space());
  }

  /** Look in every frame for a while. */
  wake(): void {
    if (this.#all.size === 0) return;
    this.#awakeUntil = performance.now() + QUIET_AFTER_MS;
    this.#isSettled = false;
    this.#frame ||= requestAnimationFrame(() => this.#onFrame());
  }

  destroy(): void {
    this.#end.abort();
    this.#clips.disconnect();
    this.#sizes.disconnect();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#all.clear();
    this.#near.clear();
  }

  /* When to look */

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

  #onFrame(): void {
    this.#frame = 0;
    this.#measure();
    if (this.#look(MOVING)) this.#awakeUntil = performance.now() + QUIET_AFTER_MS;
    if (performance.now() < this.#awakeUntil) {
      this.#frame = requestAnimationFrame(() => this.#onFrame());
    } else this.#glance();
  }

  #onTime(): void {
    this.#timer = undefined;
    if (this.#frame || this.#all.size === 0) return;
    const isScrolling = performance.now() - this.#scrolledAt < QUIET_AFTER_MS;
    if (!isPageHidden() && this.#look(this.#howMuch(isScrolling))) this.wake();
    if (!isScrolling && !this.#isSettled) this.#measure();
    this.#isSettled = !isScrolling;
    if (isScrolling || this.#near.size > 0) {
      this.#timer = setTimeout(() => this.#onTime(), isScrolling ? SCROLL_MS : REST_MS);
    }
  }

  #howMuch(isScrolling: boolean): Look {
    const by = Math.abs(scrollY - this.#scrolledTo);
    this.#scrolledTo = scrollY;
    if (isScrolling) return by > RUSH * innerHeight ? RUSHING : SCROLLING;
    return this.#isSettled ? RESTING : SETTLING;
  }

  #sized(entries: ResizeObserverEntry[]): void {
    const known = entries.map(({ target }) => this.#all.get(target)).filter((one) => one);
    // The first answer is no change.
    if (known.some((one) => one?.isSized)) this.wake();
    for (const one of known) if (one) one.isSized = true;
  }

  /** Ask the browser what ancestors clip of all that are near. */
  #measure(): void {
    this.#clips.disconnect();
    for (const { element } of this.#near) this.#clips.observe(element);
  }

  #clipped(entries: IntersectionObserverEntry[]): void {
    this.#clips.disconnect();
    for (const entry of entries) {
      const known = this.#all.get(entry.target);
      if (known && isInView(entry)) known.insets = insetsOf(entry);
    }
    this.#look(PLACE);
  }

  /* A look */

  /** Place what moved; true if an image did that is shown. Reads first, then writes. */
  #look(how: Look): boolean {
    const space = this.#space();
    const far = [...this.#all.values()].filter((one) => !this.#near.has(one));
    for (const one of this.#inTurn("far", far, how.far)) {
      one.box = inHost(boxOf(one.element), space);
    }
    for (const one of far) if (isNear(one, space)) this.#come(one);
    return this.#lookAt([...this.#near], how, space);
  }

  #lookAt(some: Tracked[], how: Look, space: Space): boolean {
    const anew = new Set(this.#inTurn("near", some, how.near));
    const found = some.map((tracked) => {
      if (anew.has(tracked)) tracked.box = inHost(boxOf(tracked.element), space);
      const seen = inset(tracked.box, tracked.insets);
      const visible = visibleOf(inView(seen, space), space.view);
      return { tracked, visible, spot: { seen, visible: visible && inHost(visible, space) } };
    });
    for (const one of this.#due(found, how.closely)) this.#lookClosely(one);
    const isQuick = how.near < ALL;
    const moved = found.filter((one) => this.#place(one, isQuick));
    for (const one of some) if (!isNear(one, space)) this.#leave(one);
    return moved.length > 0;
  }

  #come(one: Tracked): void {
    this.#near.add(one);
    this.#sizes.observe(one.element);
  }

  #leave(one: Tracked): void {
    if (!this.#near.delete(one)) return;
    this.#sizes.unobserve(one.element);
    Object.assign(one, { spot: null, isLookedAt: false, isSized: false, insets: NO_INSETS });
    this.#watcher.left(one.element);
  }

  #place({ tracked, spot }: Found, isQuick: boolean): boolean {
    const { spot: old, isLookedAt, isHidden } = tracked;
    if (isHidden || !isLookedAt) spot.visible = null;
    const hasMoved = old !== null && !isSame(old.seen, spot.seen);
    // At the edge of the view a chip is moved once the scrolling is over.
    const isShown = old !== null && old.visible !== null && !hasMoved && !isHidden;
    if ((isQuick && isShown) || isSameSpot(old, spot)) return false;
    tracked.spot = spot;
    this.#watcher.placed(tracked.element, spot);
    return hasMoved && spot.visible !== null;
  }

  /** The next few of them. */
  #inTurn<T>(whose: keyof Look, all: T[], count: number): T[] {
    if (count >= all.length) return all;
    const start = this.#turns[whose] % all.length;
    this.#turns[whose] = start + count;
    return [...all.slice(start), ...all.slice(0, start)].slice(0, count);
  }

  /** First those that were not looked at yet, then in turn some of the others. */
  #due(found: Found[], count: number): Found[] {
    const shown = found.filter(({ visible }) => visible !== null);
    const fresh = shown.filter(({ tracked }) => !tracked.isLookedAt).slice(0, count);
    const known = shown.filter(({ tracked }) => tracked.isLookedAt);
    return [...fresh, ...this.#inTurn("closely", known, count - fresh.length)];
  }

  #space(): Space {
    const origin = this.#host.getBoundingClientRect();
    return { view: viewBox(), origin, scale: origin.width / HOST_PX || 1 };
  }

  #lookClosely({ tracked, visible, spot }: Found): void {
    const { element, spot: old } = tracked;
    if (!this.#watcher.isStill(element)) {
      this.remove(element);
      return;
    }
    tracked.isLookedAt = true;
    if (visible === null) return;
    const chip = chipSpot(visible, this.#measures).box;
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

/** False for one that is out of the view altogether, so that nothing can be told of what clips. */
function isInView({ boundingClientRect: whole, rootBounds: root }: IntersectionObserverEntry) {
  return root === null || isRoomy(overlap(whole, root));
}

interface Found {
  tracked: Tracked;
  /** In px of the viewport; the spot is in those of the host. */
  visible: Box | null;
  spot: Spot;
}

function inHost(box: Box, { origin, scale }: Space): Box {
  return seenFrom(box, origin, scale);
}

function inView(box: Box, { origin, scale }: Space): Box {
  return seenAt(box, origin, scale);
}

function visibleOf(seen: Box, view: Box): Box | null {
  const visible = overlap(seen, view);
  return isRoomy(visible) ? visible : null;
}

function isNear({ box }: Tracked, space: Space): boolean {
  const { view } = space;
  const { left, top, right, bottom } = inView(box, space);
  const [x, y] = [NEAR * (view.right - view.left), NEAR * (view.bottom - view.top)];
  const isBeside = right < view.left - x || left > view.right + x;
  return !isBeside && bottom >= view.top - y && top <= view.bottom + y;
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
