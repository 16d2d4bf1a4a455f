import { beforeEach, expect, test } from "vitest";
import { browser } from "wxt/browser";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { openPanelOrWindow } from "./panel";

/** What was opened, in order; what the browser allows just now. */
let opened: unknown[];
let mayOpen: boolean;
let windows: { windowId: number }[];
const url = "chrome-extension://own/sidepanel.html";

beforeEach(() => {
  [opened, mayOpen, windows] = [[], true, []];
  fakeBrowser.runtime.getURL = (() => url) as never;
  const all = browser as unknown as Record<string, object>;
  delete all.sidebarAction;
  Object.assign(all.sidePanel ?? {}, {
    open: async ({ windowId }: { windowId: number }) => {
      if (!mayOpen) throw new Error("sidePanel.open() needs a user gesture.");
      opened.push(["panel", windowId]);
    },
  });
  Object.assign(all.tabs ?? {}, { query: async () => windows });
  Object.assign(all.windows ?? {}, {
    create: async (what: { url: string; type: string }) => void opened.push([what.type, what.url]),
    update: async (windowId: number) => void opened.push(["focus", windowId]),
  });
});

test("the panel is opened beside the page", async () => {
  await openPanelOrWindow(7);

  expect(opened).toEqual([["panel", 7]]);
});

test("a browser that will not opens a window of ours, and only one", async () => {
  mayOpen = false;

  await openPanelOrWindow(7);
  windows = [{ windowId: 9 }];
  await openPanelOrWindow(7);

  expect(opened).toEqual([
    ["popup", url],
    ["focus", 9],
  ]);
});

test("a sidebar that is open already is enough", async () => {
  (browser as unknown as Record<string, object>).sidebarAction = {
    open: () => Promise.reject(new Error("only from a user input handler")),
    isOpen: async () => true,
  };

  await openPanelOrWindow(7);

  expect(opened).toEqual([]);
});
