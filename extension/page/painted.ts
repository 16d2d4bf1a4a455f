/**
 * What image is painted: at a point, of an element, on the whole page. Owns the question of which
 * address was painted; knows nothing of checks, of chips or of the worker.
 *
 *     point -> elements there, topmost first, closed roots opened
 *                 | each: what it paints itself?
 *                 |   img, poster, input, <image>     what the browser chose: currentSrc
 *                 |   content, ::after, ::before, background
 *                 |   canvas, video                   only pixels: no address
 *                 | nothing (link over it, spacer, opacity 0): the next one below
 *                 | something opaque without an image: what is below is not seen
 *                 v
 *              Painted
 *
 * The address is what the browser painted, never a larger one that could be guessed; nothing is
 * asked of any server and no pixel is read. Nothing is written to the page. The page may be
 * hostile: in Chromium a form answers to the names of its fields even in an isolated world, so what
 * could be shadowed so is asked of the prototypes.
 */
import { type Content, contentOf, isLarge, isOpaque, isSeen, SMALLEST_PX } from "./content";
import { elementsAt, elementsUnder, parentOf } from "./tree";
import { boxOf, isConnected } from "./unshadowed";

export type { Kind } from "./content";
export { SMALLEST_PX };

export interface Painted extends Content {
  /** What a chip is placed over. */
  element: Element;
}

/** How much of one box another must hold to cover it. */
const COVERS = 0.95;
/** How far one question goes into a page that piles elements up. */
const MOST_LAYERS = 200;
const MOST_INSIDE = 64;
/** How many elements up a background is looked for that an image covers. */
const COVERED_LEVELS = 4;
/** How often a pile of images on a page is asked which one is seen. */
const MOST_PILED = 20;

/** The topmost image under a point of the viewport, in CSS pixels; null for none. */
export function paintedAt(x: number, y: number): Painted | null {
  let layers = 0;
  for (const element of elementsAt(x, y)) {
    if (layers++ >= MOST_LAYERS) return null;
    const painted = unhittable(element, x, y) ?? paintedBy(element);
    if (painted) return painted;
    if (isOpaque(element)) return null;
  }
  return null;
}

/**
 * The image of an element, or the one that it frames: a link around an image, a host of a shadow
 * root, a link that lies over a whole card. Of several the largest; null for none.
 */
export function paintedOf(element: Element): Painted | null {
  const own = paintedBy(element);
  const inner = own?.kind === "img" ? null : topOf(largest(inside(element)));
  if (own && inner) return isCovered(own, inner) ? inner : own;
  return own ?? inner ?? behind(element);
}

/**
 * All images of this frame that have loaded and are painted, in document order, each element once.
 *
 * Open and closed roots are walked; canvases and videos are left out, as only pixels are there.
 * Everything is read before the first is given, so that whoever draws in between forces no layout.
 */
export function* paintedOnPage(): Generator<Painted> {
  const boxes = [...elementsUnder(document)].map((element) => ({ element, box: boxOf(element) }));
  const found: Placed[] = [];
  for (const { element, box } of boxes) {
    const content = isLarge(box) && isSeen(element) ? contentOf(element) : null;
    if (content?.address) found.push({ painted: { element, ...content }, box });
  }
  yield* uncovered(found); // a list: all of it is read by now
}

/** Whether an image is still the one it was: else what was found out about it is of another. */
export function isStill({ element, kind, address }: Painted): boolean {
  const now = isConnected(element) ? contentOf(element) : null;
  return now !== null && now.kind === kind && now.address === address;
}

/* What one element paints itself */

function paintedBy(element: Element): Painted | null {
  if (!isLarge(boxOf(element)) || !isSeen(element)) return null;
  const content = contentOf(element);
  return content && { element, ...content };
}

function holds(box: DOMRect, x: number, y: number): boolean {
  return box.left <= x && x < box.right && box.top <= y && y < box.bottom;
}

/** How much of `inner` lies in `outer`, 0..1. */
function shareWithin(inner: DOMRect, outer: DOMRect): number {
  const width = Math.min(inner.right, outer.right) - Math.max(inner.left, outer.left);
  const height = Math.min(inner.bottom, outer.bottom) - Math.max(inner.top, outer.top);
  return (Math.max(0, width) * Math.max(0, height)) / (inner.width * inner.height);
}

/* At a point */

/** An image inside of `element` that the pointer goes through (`pointer-events: none`). */
function unhittable(element: Element, x: number, y: number): Painted | null {
  for (const inner of inside(element).reverse()) {
    if (getComputedStyle(inner).pointerEvents !== "none" || !holds(boxOf(inner), x, y)) continue;
    const painted = paintedBy(inner);
    if (painted) return painted;
  }
  return null;
}

/* Of an element */

/** The first elements inside of `element`, with those of its root or slotted into it. */
function inside(element: Element): Element[] {
  const found: Element[] = [];
  for (const inner of elementsUnder(element)) {
    if (inner instanceof HTMLSlotElement) found.push(...inner.assignedElements({ flatten: true }));
    if (found.push(inner) >= MOST_INSIDE) break;
  }
  return found;
}

function largest(elements: Element[]): Painted | null {
  let best: Painted | null = null;
  let most = 0;
  for (const element of elements) {
    const { width, height } = boxOf(element);
    const painted = width * height > most ? paintedBy(element) : null;
    if (!painted) continue;
    best = painted;
    most = width * height;
  }
  return best;
}

/** True if nothing of `lower` shows beside `upper`, which lies on it. */
function isCovered(lower: Painted, upper: Painted): boolean {
  return shareWithin(boxOf(lower.element), boxOf(upper.element)) > COVERS;
}

/** The image that is seen in the place of another, which may lie below it; off the screen itself. */
function topOf(painted: Painted | null): Painted | null {
  const seen = painted && seenIn(boxOf(painted.element));
  return seen && isCovered(painted, seen) ? seen : painted;
}

function seenIn({ left, top, width, height }: DOMRect): Painted | null {
  return paintedAt(left + width / 2, top + height / 2);
}

/** An image that lies wholly behind an element, such as a link that is laid over a card. */
function behind(element: Element): Painted | null {
  const box = boxOf(element);
  if (!isLarge(box)) return null;
  for (const part of [2, 4]) {
    const painted = paintedAt(box.left + box.width / 2, box.top + box.height / part);
    if (painted && shareWithin(boxOf(painted.element), box) > COVERS) return painted;
  }
  return null;
}

/* On the page */

interface Placed {
  painted: Painted;
  box: DOMRect;
}

/** Without the backgrounds that an image inside of them covers, and the lower ones of a pile. */
function uncovered(found: Placed[]): Painted[] {
  const backgrounds = new Map(
    found.filter(({ painted }) => painted.kind !== "img").map((one) => [one.painted.element, one]),
  );
  const covered = new Set(found.flatMap((one) => coveredBy(one, backgrounds)));
  for (const lower of piled(found)) covered.add(lower);
  return found.filter((one) => !covered.has(one)).map(({ painted }) => painted);
}

/** Of images in the very same place all but the one that is seen. */
function* piled(found: Placed[]): Generator<Placed> {
  const tops = new Map<string, Placed>();
  let asked = 0;
  for (const one of found) {
    const place = [one.box.left, one.box.top, one.box.width, one.box.height].join();
    const lower = tops.get(place);
    // Whoever piles up thousands gets the one that comes last, which mostly lies on top.
    const isUnder = lower && asked++ < MOST_PILED && isSeenIn(one.box, lower.painted);
    if (lower) yield isUnder ? one : lower;
    if (!isUnder) tops.set(place, one);
  }
}

function isSeenIn(box: DOMRect, painted: Painted): boolean {
  return seenIn(box)?.element === painted.element;
}

/** Backgrounds of the elements close around an image that show nothing beside it. */
function coveredBy(one: Placed, backgrounds: Map<Element, Placed>): Placed[] {
  const found: Placed[] = [];
  let around = parentOf(one.painted.element);
  for (let level = 0; around && level < COVERED_LEVELS; level++) {
    const below = backgrounds.get(around);
    if (below && shareWithin(below.box, one.box) > COVERS) found.push(below);
    around = parentOf(around);
  }
  return found;
}
