import { beforeEach, describe, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import {
  type FrameHandlers,
  frameOf,
  listen,
  type OwnHandlers,
  receivedByPage,
  receivedFromFrame,
  receivedFromOwn,
} from "./messages";

const OWN = "chrome-extension://own/";
const ID = "11111111-2222-4333-8444-555555555555";
const page = { id: "own", url: `${OWN}popup.html`, origin: "chrome-extension://own" };
const site = "https://site.example";
const tab = { id: 3, windowId: 4, url: `${site}/album` };
const script = { id: "own", url: `${site}/album`, origin: site, tab, frameId: 0 };
const takeUp = { kind: "take-up" };
const hello = { kind: "page-hello" };
const checkImage = { kind: "check-image", checkId: ID, address: "https://a/", how: "user" };

beforeEach(() => {
  fakeBrowser.runtime.id = "own";
  fakeBrowser.runtime.getURL = ((path: string) => OWN + path.replace(/^\//, "")) as never;
});

describe("a page of this extension", () => {
  test("is heard", () => {
    const again = { kind: "check-again", checkId: "1", isAllowed: true, withCookies: false };

    expect(receivedFromOwn(again, page)).toEqual(again);
  });

  test("is one in a tab too", () => {
    expect(receivedFromOwn(takeUp, { ...page, tab, frameId: 0 })).toEqual(takeUp);
    expect(receivedFromFrame(hello, { ...page, tab, frameId: 0 })).toBeNull();
  });

  test.each([
    ["another extension", { ...page, id: "other" }],
    ["page.js", script],
    ["a page whose address begins alike", { id: "own", url: "chrome-extension://ownx/popup.html" }],
    ["a sender without an address", { id: "own" }],
    ["nobody", {}],
  ])("is not %s", (_, sender) => {
    expect(receivedFromOwn(takeUp, sender)).toBeNull();
  });

  test.each([
    [null],
    ["take-up"],
    [{}],
    [{ kind: "toString" }],
    [{ kind: "__proto__" }],
    [hello],
    [{ kind: "check-again" }],
    [{ kind: "check-again", checkId: 1, isAllowed: true, withCookies: true }],
    [{ kind: "check-again", checkId: "1", isAllowed: "yes", withCookies: true }],
    [{ kind: "check-again", checkId: "1", isAllowed: true }],
    [{ kind: "sweep", tabId: "3" }],
    [{ kind: "site-enabled", pattern: "*://*/*" }],
    [{ kind: "site-enabled", pattern: "<all_urls>" }],
    [{ kind: "site-enabled", pattern: "https://*.example/*" }],
  ])("does not say %j", (given) => {
    expect(receivedFromOwn(given, page)).toBeNull();
  });

  test("is heard in what its message carries, and in no more", () => {
    expect(receivedFromOwn({ ...takeUp, more: 1 }, page)).toEqual(takeUp);
  });
});

describe("page.js", () => {
  test("is heard, and its frame is the browser's word", () => {
    const given = { ...checkImage, tabId: 99, frame: { tabId: 99 } };

    expect(receivedFromFrame(given, script)).toEqual({
      message: checkImage,
      frame: { tabId: 3, frameId: 0, windowId: 4, site },
    });
  });

  test.each([
    ["another extension", { ...script, id: "other" }],
    ["a popup", page],
    ["a sender without a tab", { id: "own", url: script.url }],
    ["nobody", {}],
  ])("is not %s", (_, sender) => {
    expect(receivedFromFrame(hello, sender)).toBeNull();
  });

  test.each([
    [takeUp],
    [{ kind: "site-enabled", pattern: "https://a.example/*" }],
    [{ ...checkImage, checkId: "1" }],
    [{ ...checkImage, how: "always" }],
    [{ ...checkImage, address: 7 }],
    [{ ...checkImage, address: "x".repeat(33 * 1024 * 1024) }],
    [{ kind: "capture-image", checkId: ID, rect: { x: 0, y: 0, width: 1 }, scale: 1 }],
    [{ kind: "capture-image", checkId: ID, rect: null, scale: 1 }],
    [{ kind: "open-panel", checkId: ID }],
  ])("does not say %j", (given) => {
    expect(receivedFromFrame(given, script)).toBeNull();
  });

  test("may capture the screen from a tab's top frame alone", () => {
    const rect = { x: 0, y: 0, width: 100, height: 100 };
    const given = { kind: "capture-image", checkId: ID, rect, scale: 1 };

    expect(receivedFromFrame(given, script)?.message).toEqual(given);
    expect(receivedFromFrame(given, { ...script, frameId: 5 })).toBeNull();
  });

  test("counts what it likes, but only counts", () => {
    const counts = { total: 3, done: 2, flagged: 1, failed: 1, left: 0 };
    const progress = { ...counts, kind: "sweep-progress", sweepId: ID, isEnded: false };
    const words = { verdicts: { likely_ai: 1, "<b>": 2 }, errors: { fetch_failed: "1" } };

    const heard = receivedFromFrame({ ...progress, reason: null, ...words }, script)?.message;

    expect(heard).toMatchObject({ ...progress, verdicts: { likely_ai: 1 }, errors: {} });
    expect(receivedFromFrame({ ...progress, reason: "Buy now!", ...words }, script)).toBeNull();
    expect(receivedFromFrame({ ...progress, done: -1, reason: null, ...words }, script)).toBeNull();
  });

  test.each([
    [
      "its own origin",
      { ...script, frameId: 2, origin: "https://frame.example" },
      "https://frame.example",
    ],
    ["its address, in a sandbox", { ...script, origin: "null" }, site],
    ["its tab, where it has no address", { ...script, url: "about:srcdoc", origin: "null" }, site],
    [
      "nothing",
      { ...script, url: "about:blank", origin: "null", tab: { id: 3, windowId: 4 } },
      null,
    ],
  ])("is of the site of %s", (_, sender, wanted) => {
    expect(frameOf(sender)?.site).toBe(wanted);
  });
});

describe("to page.js", () => {
  test("the worker is heard", () => {
    expect(receivedByPage({ kind: "tear-down" }, { id: "own" })).toEqual({ kind: "tear-down" });
  });

  test.each([
    ["another extension", { kind: "tear-down" }, { id: "other" }],
    ["another tab's script", { kind: "tear-down" }, { id: "own", tab }],
    ["a word that is none", { kind: "constructor" }, { id: "own" }],
    ["nothing", null, { id: "own" }],
  ])("%s is not", (_, given, sender) => {
    expect(receivedByPage(given, sender)).toBeNull();
  });
});

describe("the worker", () => {
  const heard: unknown[] = [];
  const handler = async (...given: unknown[]) => {
    heard.push(given);
    return "done";
  };
  const broken = () => Promise.reject(new Error("no"));
  const said = (given: unknown, sender: object) =>
    new Promise((answer) => {
      const [listener] = listeners;
      if (listener?.(given, sender, answer) !== true) answer("refused");
    });
  let listeners: ((given: unknown, sender: object, answer: (what: unknown) => void) => unknown)[];

  beforeEach(() => {
    [heard.length, listeners] = [0, []];
    fakeBrowser.runtime.onMessage.addListener = ((listener: never) =>
      listeners.push(listener)) as never;
    const own = { "take-up": handler, "check-again": broken } as unknown as OwnHandlers;
    listen(own, { "open-panel": handler } as unknown as FrameHandlers);
  });

  test("hands on what a message carries, and who sent it", async () => {
    const carried = { checkId: ID, isReport: true };

    expect(await said({ kind: "open-panel", ...carried }, script)).toBe("done");

    expect(heard).toEqual([[carried, { tabId: 3, frameId: 0, windowId: 4, site }]]);
  });

  test("answers nothing where its work fails, so that nobody waits", async () => {
    const again = { kind: "check-again", checkId: "1", isAllowed: true, withCookies: false };

    expect(await said(again, page)).toBeNull();
  });

  test.each([
    [takeUp, script],
    [{ kind: "open-panel", checkId: ID, isReport: true }, page],
  ])("does nothing by %j of who may not say it", async (given, sender) => {
    expect(await said(given, sender)).toBe("refused");

    expect(heard).toEqual([]);
  });
});
