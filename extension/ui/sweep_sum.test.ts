// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import type { Sweep } from "../lib/store";
import { speak } from "../testing/world";
import { sumLines, sumOf, sumShown, sumWords } from "./sweep_sum";

beforeEach(() => speak("en"));

const row = (change: Partial<Sweep>): Sweep => ({
  sweepId: "1",
  tabId: 1,
  frameId: 0,
  total: 0,
  done: 0,
  flagged: 0,
  failed: 0,
  verdicts: {},
  errors: {},
  isEnded: true,
  left: 0,
  reason: null,
  at: 0,
  ...change,
});
const sum = (...rows: Partial<Sweep>[]) => {
  const found = sumOf(rows.map(row));
  if (!found) throw new Error("no rows");
  return found;
};

test("the frames of a page are summed up", () => {
  const both = sum(
    { total: 40, done: 40, flagged: 3, verdicts: { likely_ai: 3, no_sign_of_ai: 37 } },
    { total: 10, done: 9, failed: 1, verdicts: { no_sign_of_ai: 9 }, errors: { decode_failed: 1 } },
  );

  expect(sumWords(both)).toBe("This page: 49 of 50 images checked, 3 flagged.");
  expect(sumLines(both)).toEqual([
    "Likely AI: 3",
    "No sign of AI: 46",
    "Could not be checked: 1",
    "1: The image is damaged or too complex to read.",
  ]);
});

test("a page is under way until its last frame has ended", () => {
  const under = sum({ total: 4, done: 4 }, { total: 6, done: 1, isEnded: false });
  const [bar] = sumShown(under);

  expect(sumWords(under)).toBe("5 of 10 images checked");
  expect(bar?.getAttribute("value")).toBe("5");
  expect(bar?.getAttribute("aria-label")).toBe("Images of this page checked");
});

test("before it is known how many images there are, the bar has no value", () => {
  const [bar] = sumShown(sum({ isEnded: false }));

  expect(bar?.hasAttribute("value")).toBe(false);
});

test("what was not tried is told, with why", () => {
  const stopped = sum({ total: 50, done: 4, left: 46, reason: "rate_limited" });

  expect(sumLines(stopped)).toEqual([
    "46 more images were not checked.",
    "Too many checks in a short time. Wait a minute.",
  ]);
});

test("who cancelled it is not told why it ended", () => {
  expect(sumLines(sum({ total: 5, done: 4, left: 1, reason: "canceled" }))).toEqual([
    "1 more images were not checked.",
  ]);
});

test("a page without images says so", () => {
  expect(sumWords(sum({}))).toBe("No image of 64 pixels or more is on this page.");
  expect(sumOf([])).toBeNull();
});
