import { expect, test } from "vitest";
import { type Box, cardSpot, chipSpot, inset, isRoomy, overlap, seenFrom } from "./geometry";
import { SMALL_CHIP_PX } from "./sheet";

const box = (left: number, top: number, right: number, bottom: number): Box => ({
  ...{ left, top, right, bottom },
});
const VIEW = box(0, 0, 800, 600);
const CHIP_PX = 150;
const LTR = { isRtl: false, width: CHIP_PX };
const CARD = { width: 320, height: 200 };

test("a chip lies in the corner where reading begins", () => {
  const image = box(100, 50, 500, 350);

  expect(chipSpot(image, LTR)).toEqual({
    box: box(106, 56, 106 + CHIP_PX, 56 + SMALL_CHIP_PX),
    isSmall: false,
  });
  expect(chipSpot(image, { ...LTR, isRtl: true }).box.right).toBe(494);
});

test.each([
  ["wide enough", CHIP_PX + 12, false],
  ["a pixel less", CHIP_PX + 11, true],
  ["the smallest image", 64, true],
  ["hardly anything to see", SMALL_CHIP_PX, true],
])("a chip has words where there is room: %s", (_, width, isSmall) => {
  const spot = chipSpot(box(0, 0, width, 64), LTR);

  expect(spot.isSmall).toBe(isSmall);
  expect(spot.box.left).toBeGreaterThanOrEqual(0);
  expect(spot.box.right).toBeLessThanOrEqual(width);
});

test.each([
  ["below", box(10, 10, 182, 38), { left: 10, top: 44 }],
  ["above, where there is no room below", box(10, 500, 182, 528), { left: 10, top: 294 }],
  ["in the view, at its right edge", box(700, 10, 780, 38), { left: 472, top: 44 }],
  ["in the view, if neither has room", box(10, 190, 182, 590), { left: 10, top: 392 }],
])("a card lies %s", (_, chip, at) => {
  expect(cardSpot(chip, CARD, VIEW, false)).toEqual(at);
});

test("a card that is higher than the view begins at its top", () => {
  const spot = cardSpot(box(10, 10, 182, 38), { width: 320, height: 900 }, VIEW, false);

  expect(spot.top).toBe(8);
});

test("what is clipped to less than a chip has no room for one", () => {
  const image = box(0, 0, 400, 300);

  expect(isRoomy(inset(image, box(0, 0, 0, 272)))).toBe(true);
  expect(isRoomy(inset(image, box(0, 0, 0, 273)))).toBe(false);
  expect(isRoomy(overlap(image, box(500, 0, 900, 600)))).toBe(false);
});

test("a page's zoom is taken out again", () => {
  expect(seenFrom(box(120, 40, 320, 240), { left: 20, top: -60 }, 2)).toEqual(
    box(50, 50, 150, 150),
  );
});
