import { beforeEach, describe, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { capture, within } from "./capture";

const screen = { width: 800, height: 600 };
const rect = { x: 10, y: 20, width: 100, height: 80 };
const shot = { tabId: 1, windowId: 2, rect, scale: 1, isTaken: () => undefined };

test.each([
  ["at one pixel for one", rect, 1, rect],
  ["on a finer screen", rect, 2, { x: 20, y: 40, width: 200, height: 160 }],
  [
    "between pixels, never more than the image",
    { ...rect, x: 10.4 },
    1,
    { ...rect, x: 11, width: 99 },
  ],
  ["half out of sight", { ...rect, x: -50 }, 1, { ...rect, x: 0, width: 50 }],
  ["out of sight", { ...rect, y: 900 }, 1, { ...rect, y: 600, height: 0 }],
  ["as large as it likes", { x: -9, y: -9, width: 1e9, height: 1e9 }, 1, { x: 0, y: 0, ...screen }],
])("an image %s is cut out of the picture", (_, given, scale, wanted) => {
  expect(within(given, scale, screen)).toEqual(wanted);
});

describe("no picture is taken", () => {
  let isActive: boolean[];
  beforeEach(() => {
    isActive = [true, true];
    fakeBrowser.tabs.get = (async () => ({ active: isActive.shift() })) as never;
    fakeBrowser.tabs.captureVisibleTab = (async () => "data:,") as never;
  });

  test("of a tab that is not in front", async () => {
    isActive = [false];

    await expect(capture(shot)).rejects.toMatchObject({ code: "capture_failed" });
  });

  test("of the tab that its user has gone to meanwhile", async () => {
    isActive = [true, false];

    await expect(capture(shot)).rejects.toMatchObject({ code: "capture_failed" });
  });

  test.each([
    ["Either the '<all_urls>' or 'activeTab' permission is required.", "capture_not_allowed"],
    ["Missing activeTab permission", "capture_not_allowed"],
    ["This request exceeds the quota.", "capture_failed"],
  ])("where the browser says: %s", async (words, code) => {
    fakeBrowser.tabs.captureVisibleTab = (() => Promise.reject(new Error(words))) as never;

    await expect(capture(shot)).rejects.toMatchObject({ code });
  });
});
