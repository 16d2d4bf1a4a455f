/**
 * Whether an image is seen where its chip lies, and whether the chip itself is.
 *
 * An image may be near the view and yet not be seen: the slide of a carousel that is faded out or
 * lies under the next one, a picture under a header that stays. What is painted at a point says
 * painted.ts; this asks it at a few points, as a label in a corner of an image covers no image.
 */
import { type Box, holds } from "./geometry";
import { paintedAt } from "./painted";
import {
  elementsAt,
  fullscreenElement,
  holdsNode,
  isRendered,
  parentOf,
  rootOf,
  topElementAt,
} from "./unshadowed";

/** Next to the chip, as the chip itself is opaque. */
const BESIDE_PX = 4;

/** Boxes are in px of the viewport. */
export interface Place {
  visible: Box;
  chip: Box;
}

/** True unless it is hidden, or something lies over all of it or, staying put, over the chip. */
export function isSeen(element: Element, { visible, chip }: Place, host: Element): boolean {
  const full = fullscreenElement();
  if (!isRendered(element) || (full && !isWithin(element, full))) return false;
  const points = pointsOf(visible, chip);
  // Under what is ours, such as an open card, nothing can be told: it was seen before.
  const isSeenAt = ([x, y]: [number, number]) =>
    paintedAt(x, y)?.element === element || topElementAt(x, y) === host;
  const [beside, ...others] = points;
  if (beside === undefined || isSeenAt(beside)) return true;
  return others.some(isSeenAt) && !isUnderPinned(element, chip, host);
}

/** What lies over our chip, or makes it inert; null for nothing. */
export function coverOf(chip: Box, host: Element): Element | null {
  const top = topElementAt(...middle(chip));
  return top === host ? null : top;
}

/** True if it is in there, or in a shadow tree that is. */
function isWithin(element: Element, outer: Element): boolean {
  for (let node: Node | null = element; node; node = (rootOf(node) as ShadowRoot).host) {
    if (holdsNode(outer, node)) return true;
  }
  return false;
}

function pointsOf(visible: Box, chip: Box): [number, number][] {
  const [x, y] = middle(chip);
  const beside: [number, number][] = [
    [x, chip.bottom + BESIDE_PX],
    [chip.right + BESIDE_PX, y],
    [chip.left - BESIDE_PX, y],
  ];
  const centre = middle(visible);
  const inside = (box: Box, [px, py]: [number, number]) => holds(box, px, py);
  const first = beside.filter((point) => inside(visible, point)).slice(0, 1);
  return [...first, centre].filter((point) => !inside(chip, point));
}

function middle({ left, top, right, bottom }: Box): [number, number] {
  return [(left + right) / 2, (top + bottom) / 2];
}

/** True if something lies there that stays while the image scrolls: a header, a bar. */
function isUnderPinned(element: Element, chip: Box, host: Element): boolean {
  const [top] = elementsAt(...middle(chip)).filter((one) => one !== host);
  for (let one = top ?? null; one && !holdsNode(one, element); one = parentOf(one)) {
    if (["fixed", "sticky"].includes(getComputedStyle(one).position)) return true;
  }
  return false;
}
