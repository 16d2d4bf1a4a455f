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
    ["an older version", { isSetUp: true }, { ...store.DEFAULTS, isSetUp: true }],
    ["a newer version", { version: 9, key: "pk_1", more: 1 }, { ...store.DEFAULTS, key: "pk_1" }],
    ["a wrong word", { send: "all", key: "pk_1" }, { ...store.DEFAULTS, key: "pk_1" }],
  ])("%s in the store leaves settings that work", (_, stored, wanted) => {
    expect(store.migrated(stored)).toEqual(wanted);
  });

  test("a wrong word never lets more leave than the default", () => {
    expect(store.migrated({ send: "everything" }).send).toBe(store.DEFAULTS.send);
  });
});

test("clearing the list leaves what is under way", async () => {
  const begun = { title: "", startedAt: 1, source: null, scanId: null, view: null, error: null };
  await store.saveCheck({ ...begun, id: "1", stage: "sending" });
  await store.saveCheck({ ...begun, id: "2", stage: "done", view });

  await store.clearChecks();

  expect((await store.listChecks()).map((one) => one.id)).toEqual(["1"]);
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
