import { beforeEach, describe, expect, test } from "vitest";
import { browser } from "wxt/browser";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { message } from "../testing/world";
import * as store from "./store";
import { type View, viewOfScan } from "./view";
import { read, scan } from "./wire";

beforeEach(() => fakeBrowser.reset());

const HOUR = 3_600_000;
const view = viewOfScan(read(scan, message("scan-likely-ai"))) as View;
const name = { backend: "http://a", sha256: "00", point: "balanced" } as const;

describe("settings", () => {
  test("nothing is set up before the first run", async () => {
    expect((await store.loadSettings()).isSetUp).toBe(false);
  });

  test("are read as they were saved", async () => {
    await store.saveSettings({ ...store.DEFAULTS, key: "pk_1", send: "lookup" });

    expect(await store.loadSettings()).toMatchObject({ key: "pk_1", send: "lookup" });
  });

  test("the key is not synced to other machines", async () => {
    await store.saveSettings({ ...store.DEFAULTS, key: "pk_1" });

    expect(await browser.storage.sync.get(null)).toEqual({});
  });

  test.each([
    ["nothing", undefined, store.DEFAULTS],
    ["text", "settings", store.DEFAULTS],
    ["an older version", { version: 1, isSetUp: true }, { ...store.DEFAULTS, isSetUp: true }],
    ["a rest of no time", { dwellMs: 0 }, store.DEFAULTS],
    ["a newer version", { version: 9, key: "pk_1", more: 1 }, { ...store.DEFAULTS, key: "pk_1" }],
    ["a wrong word", { send: "all", key: "pk_1" }, { ...store.DEFAULTS, key: "pk_1" }],
  ])("%s in the store leaves settings that work", (_, stored, wanted) => {
    expect(store.migrated(stored)).toEqual(wanted);
  });

  test("a wrong word never lets more leave than the default", () => {
    expect(store.migrated({ send: "everything" }).send).toBe(store.DEFAULTS.send);
  });
});

describe("checks", () => {
  const one = (id: string, change: Partial<store.Check> = {}): store.Check => ({
    ...{ id, title: "", startedAt: 1, stage: "done", source: null, isCapture: false, frame: null },
    ...{ how: "user", scanId: null, view, error: null },
    ...change,
  });
  const ids = async () => (await store.listChecks()).map((check) => check.id);

  test("clearing the list leaves what is under way", async () => {
    await store.saveCheck(one("1", { stage: "sending", view: null }));
    await store.saveCheck(one("2"));

    await store.clearChecks();

    expect(await ids()).toEqual(["1"]);
  });

  test("of a whole page do not push out those that the user asked for", async () => {
    await store.saveCheck(one("mine"));
    for (let n = 0; n < 700; n++) {
      await store.saveCheck(one(`${n}`, { how: "sweep", startedAt: 2 + n }));
    }

    const kept = await ids();

    expect(kept).toContain("mine");
    expect(kept).toContain("699");
    expect(kept).not.toContain("0");
    expect(Object.keys(await browser.storage.session.get(null)).length).toBe(601);
  });

  test("under way are never dropped", async () => {
    for (let n = 0; n < 120; n++) await store.saveCheck(one(`${n}`, { startedAt: n + 2 }));
    await store.saveCheck(one("slow", { stage: "waiting", view: null }));

    expect(await ids()).toContain("slow");
  });
});

describe("a store that is getting full", () => {
  const isFull = (bytes: number) => {
    fakeBrowser.storage.session.getBytesInUse = (async () => bytes) as never;
  };
  const old = { ...name, sha256: "01" };
  beforeEach(async () => {
    await store.saveVerdict(old, view, 0);
    await store.saveVerdict(name, view, HOUR);
  });
  const kept = async () => Object.keys(await browser.storage.session.get(null)).length;

  test("loses verdicts that would not be used any more", async () => {
    isFull(9_000_000);

    await store.tidy(HOUR + 1);

    expect(await store.loadVerdict(name, HOUR + 1)).toEqual(view);
    expect(await kept()).toBe(2); // the verdict and its model
  });

  test("is left alone before that", async () => {
    isFull(100);

    await store.tidy(HOUR + 1);

    expect(await kept()).toBe(3);
  });
});

describe("sweeps", () => {
  const row = (tabId: number, frameId: number): store.Sweep => ({
    ...{ sweepId: "s", tabId, frameId, total: 2, done: 1, flagged: 0, failed: 0, left: 0, at: 0 },
    ...{ verdicts: {}, errors: {}, isEnded: false, reason: null },
  });
  beforeEach(async () => {
    for (const one of [row(1, 7), row(1, 0), row(11, 0)]) await store.saveSweep(one);
  });

  test("are a tab's own", async () => {
    expect((await store.listSweeps(1)).map((one) => one.frameId)).toEqual([0, 7]);
  });

  test("go with their tab, or with their frame", async () => {
    await store.removeSweeps(11);
    await store.removeSweeps(1, 7);

    expect(await store.listSweeps(11)).toEqual([]);
    expect((await store.listSweeps(1)).map((one) => one.frameId)).toEqual([0]);
  });
});

test("forgetting leaves what the user chose, and nothing else", async () => {
  await store.saveSettings({ ...store.DEFAULTS, key: "pk_1" });
  await store.saveSite("https://a.example/*");
  await store.noteScan({ id: "scan_1", at: 1, backend: "http://a" });
  await store.noteSent({ at: 1, what: "url", bytes: 1, to: "http://a" });
  await store.saveVerdict(name, view, 1);

  await store.forgetAll();

  expect(Object.keys(await browser.storage.local.get(null)).sort()).toEqual([
    "settings",
    "site:https://a.example/*",
  ]);
  expect(await browser.storage.session.get(null)).toEqual({});
});

test("scans that were made are listed newest first", async () => {
  await store.noteScan({ id: "scan_1", at: 1, backend: "http://a" });
  await store.noteScan({ id: "scan_2", at: 2, backend: "http://a" });

  expect((await store.listScans()).map((made) => made.id)).toEqual(["scan_2", "scan_1"]);
});

describe("verdicts", () => {
  test("are kept for bytes, server and operating point", async () => {
    await store.saveVerdict(name, view, 0);

    expect(await store.loadVerdict(name, 1)).toEqual(view);
    expect(await store.loadVerdict({ ...name, point: "strict" }, 1)).toBeNull();
    expect(await store.loadVerdict({ ...name, backend: "http://b" }, 1)).toBeNull();
    expect(await store.loadVerdict({ ...name, sha256: "01" }, 1)).toBeNull();
  });

  test("do not outlive their model", async () => {
    await store.saveVerdict(name, view, 0);

    await store.saveVerdict({ ...name, sha256: "01" }, { ...view, modelId: "next" }, 1);

    expect(await store.loadVerdict(name, 2)).toBeNull();
  });

  test("are not used after an hour", async () => {
    await store.saveVerdict(name, view, 0);

    expect(await store.loadVerdict(name, HOUR)).toBeNull();
  });
});

describe("what left this browser", () => {
  const sent = (at: number): store.Sent => ({ at, what: "prefix", bytes: 5, to: "http://a" });
  const noon = new Date(2026, 10, 26, 12).valueOf();

  test("is listed for today, newest first", async () => {
    await store.noteSent(sent(noon - HOUR));
    await store.noteSent(sent(noon));
    await store.noteSent(sent(noon - 24 * HOUR));

    expect((await store.listSent(noon)).map((one) => one.at)).toEqual([noon, noon - HOUR]);
  });

  test("is forgotten after two days", async () => {
    await store.noteSent(sent(noon - 48 * HOUR));

    await store.listSent(noon);

    expect(Object.keys(await browser.storage.local.get(null))).toEqual([]);
  });
});
