import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { browser } from "wxt/browser";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { message, type Server, speak, Server as TestServer } from "../testing/world";
import { DEFAULTS, listChecks, listSweeps, saveSettings } from "./store";
import * as ways from "./ways";

const ID = "11111111-2222-4333-8444-555555555555";
const DATA = "data:image/png;base64,AQID";
const frame = { tabId: 3, frameId: 4, windowId: 1, site: "https://site.example" };

let server: Server;
/** The frames of every tab that page.js may be put into, and what was said to each. */
let frames: number[];
let told: { frameId: number | undefined; kind: string; told?: { stage: string } }[];
let answer: (frameId: number | undefined, kind: string) => unknown;

beforeEach(async () => {
  fakeBrowser.reset();
  speak();
  fakeBrowser.storage.session.getBytesInUse = (async () => 0) as never;
  [frames, told, answer] = [[0, 4], [], () => null];
  const { scripting, tabs } = browser as unknown as Record<string, object>;
  Object.assign(scripting ?? {}, {
    executeScript: async ({ target }: { target: { frameIds?: number[] } }) => {
      if (frames.length === 0) throw new Error("Cannot access contents of the page.");
      return (target.frameIds ?? frames).map((frameId) => ({ frameId }));
    },
  });
  Object.assign(tabs ?? {}, {
    sendMessage: async (_: number, said: { kind: string }, to: { frameId?: number }) => {
      told.push({ frameId: to.frameId, ...said });
      return answer(to.frameId, said.kind);
    },
  });
  server = await new TestServer().start();
  const known = (path: string) =>
    path.startsWith("/v1/lookups") ? { prefix: "00000", data: [] } : message("scan-upload");
  server.answer = ({ method, path }) =>
    path === "/v1/uploads"
      ? { status: 201, body: message("upload") }
      : { status: method === "GET" ? 200 : 202, body: known(path) };
  await saveSettings({ ...DEFAULTS, isSetUp: true, backend: server.url });
});
afterEach(() => server.stop());

const kinds = () => told.map(({ frameId, kind }) => [frameId, kind]);
const errors = async () => (await listChecks()).map((one) => one.error?.code);

describe("page.js is told", () => {
  const asked = { checkId: ID, address: DATA, how: "hover" } as const;

  test("what came of the check that it asked for, and nothing of where it was kept", async () => {
    const told = await ways.checkForFrame(asked, frame);

    expect(told).toMatchObject({ id: ID, stage: "done", view: { verdict: "likely_ai" } });
    expect(Object.keys(told ?? {}).sort()).toEqual(["error", "id", "stage", "title", "view"]);
    expect(await listChecks()).toMatchObject([{ how: "hover", frame: { tabId: 3, frameId: 4 } }]);
  });

  test.each([
    ["tab", { ...frame, tabId: 9 }],
    ["frame", { ...frame, frameId: 0 }],
  ])("nothing of another %s's check", async (_, other) => {
    await ways.checkForFrame(asked, frame);

    expect(await ways.checkForFrame(asked, other)).toBeNull();
    const rect = { x: 0, y: 0, width: 90, height: 90 };
    expect(await ways.captureForFrame({ checkId: ID, rect, scale: 1 }, other)).toBeNull();
  });
});

describe("the menu on an image", () => {
  const source = { url: DATA, tabId: 3, frameId: 4, site: null };

  test("shows over it that it is being checked, and what came of it", async () => {
    await ways.checkClicked(source);

    expect(told.map((one) => [one.frameId, one.kind, one.told?.stage])).toEqual([
      [4, "show-check", "getting"],
      [4, "show-check", "done"],
    ]);
  });

  test("works where nothing may be put into the page", async () => {
    frames = [];

    await ways.checkClicked(source);

    expect(await listChecks()).toMatchObject([{ stage: "done", how: "user" }]);
  });
});

describe("the shortcut", () => {
  test("is for the frame that has the focus", async () => {
    answer = (frameId) => frameId === 4;

    await ways.checkFocused(3);

    expect(kinds()).toEqual([
      [0, "check-focused"],
      [4, "check-focused"],
    ]);
    expect(await errors()).toEqual([]);
  });

  test.each([
    ["no image has the focus", [0, 4], "no_focus"],
    ["nothing may be put into the page", [], "page_unreachable"],
  ])("says so where %s", async (_, reached, code) => {
    frames = reached;

    await ways.checkFocused(3);

    expect(await errors()).toEqual([code]);
  });
});

describe("the menu on anything else", () => {
  test("checks the image that page.js saw there", async () => {
    answer = (_, kind) => kind === "check-context";

    await ways.checkContextOrPick(3, 4);

    expect(kinds()).toEqual([[4, "check-context"]]);
  });

  test("has one picked where it saw none", async () => {
    await ways.checkContextOrPick(3, 4);

    expect(kinds()).toEqual([
      [4, "check-context"],
      [0, "pick-start"],
      [4, "pick-start"],
    ]);
  });

  test("says so where the page may not be reached", async () => {
    frames = [];

    await ways.checkContextOrPick(3, 0);

    expect(await errors()).toEqual(["page_unreachable"]);
  });
});

test("a sweep is one over all frames, each with its own progress", async () => {
  expect(await ways.sweep(3)).toBe("started");
  const counts = { total: 2, done: 1, flagged: 0, failed: 0, left: 1 };
  const words = { verdicts: {}, errors: {}, isEnded: false, reason: null };

  await ways.progressed({ sweepId: ID, ...counts, ...words }, frame);
  await ways.progressed({ sweepId: ID, ...counts, ...words }, { ...frame, frameId: 0 });

  expect(new Set(told.map((one) => JSON.stringify({ ...one, frameId: 0 }))).size).toBe(1);
  expect((await listSweeps(3)).map((row) => row.frameId)).toEqual([0, 4]);
});

test("a page that may not be reached is not swept", async () => {
  frames = [];

  expect(await ways.sweep(3)).toBe("not_injectable");
});
