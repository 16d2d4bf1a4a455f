/**
 * Where things of the layer go. Pure: boxes in, boxes out; lengths in px of one and the same space.
 *
 *     image -- insets (what ancestors clip) --> seen -- view --> visible --> chip --> card
 */
import { SMALL_CHIP_PX } from "./sheet";

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** By how much each side of an image is clipped. */
export type Insets = Box;
export const NO_INSETS: Insets = { left: 0, top: 0, right: 0, bottom: 0 };

/** What is one for all chips: where reading begins, and how wide those with words are. */
export interface Measure {
  isRtl: boolean;
  width: number;
}

/** A letter of 13 px and bold, in a wide font. */
const LETTER_PX = 8.2;
/** The shape, and what is around it and the words. */
const AROUND_PX = 40;

/** One width for all, with room for the longest words: a page could tell them by theirs. */
export function chipWidth(words: string[]): number {
  return Math.ceil(AROUND_PX + LETTER_PX * Math.max(...words.map((one) => one.length)));
}

const CORNER_PX = 6;
/** Between a chip and its card. */
const GAP_PX = 6;
/** Between a card and the edge of the view. */
const EDGE_PX = 8;

export function inset(box: Box, by: Insets): Box {
  return {
    left: box.left + by.left,
    top: box.top + by.top,
    right: box.right - by.right,
    bottom: box.bottom - by.bottom,
  };
}

/** What both boxes have in common; it may be empty, see `isRoomy`. */
export function overlap(a: Box, b: Box): Box {
  return {
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  };
}

export function holds(box: Box, x: number, y: number): boolean {
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}

/** The box seen from an origin, at a scale. */
export function seenFrom(box: Box, origin: { left: number; top: number }, scale: number): Box {
  return {
    left: (box.left - origin.left) / scale,
    top: (box.top - origin.top) / scale,
    right: (box.right - origin.left) / scale,
    bottom: (box.bottom - origin.top) / scale,
  };
}

/** The other way round. */
export function seenAt(box: Box, origin: { left: number; top: number }, scale: number): Box {
  return {
    left: box.left * scale + origin.left,
    top: box.top * scale + origin.top,
    right: box.right * scale + origin.left,
    bottom: box.bottom * scale + origin.top,
  };
}

/** True if a chip has room in it. */
export function isRoomy({ left, top, right, bottom }: Box): boolean {
  return right - left >= SMALL_CHIP_PX && bottom - top >= SMALL_CHIP_PX;
}

/** True if no eye sees the difference: to write it would be for nothing. */
export function isSame(a: Box, b: Box): boolean {
  const close = (one: number, other: number) => Math.abs(one - other) < 0.25;
  return (
    close(a.left, b.left) &&
    close(a.top, b.top) &&
    close(a.right, b.right) &&
    close(a.bottom, b.bottom)
  );
}

export interface ChipSpot {
  box: Box;
  /** There is room for the shape alone. */
  isSmall: boolean;
}

/** The corner where reading begins, inside what is visible of the image. */
export function chipSpot(visible: Box, { isRtl, width: full }: Measure): ChipSpot {
  const room = visible.right - visible.left;
  const isSmall = room < full + 2 * CORNER_PX;
  const width = isSmall ? SMALL_CHIP_PX : full;
  const gap = Math.min(CORNER_PX, (room - width) / 2);
  const down = Math.min(CORNER_PX, (visible.bottom - visible.top - SMALL_CHIP_PX) / 2);
  const left = isRtl ? visible.right - gap - width : visible.left + gap;
  const top = visible.top + down;
  return { box: { left, top, right: left + width, bottom: top + SMALL_CHIP_PX }, isSmall };
}

/** Under the chip; over it where there is no room below; in the view in any case. */
export function cardSpot(
  chip: Box,
  card: { width: number; height: number },
  view: Box,
  isRtl: boolean,
): { left: number; top: number } {
  const below = chip.bottom + GAP_PX;
  const above = chip.top - GAP_PX - card.height;
  const fitsBelow = below + card.height <= view.bottom - EDGE_PX;
  const top = fitsBelow || above < view.top + EDGE_PX ? below : above;
  const left = isRtl ? chip.right - card.width : chip.left;
  return {
    left: clamped(left, view.left + EDGE_PX, view.right - EDGE_PX - card.width),
    top: clamped(top, view.top + EDGE_PX, view.bottom - EDGE_PX - card.height),
  };
}

/** Between both; the lower one where they cross. */
function clamped(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(value, high));
}
