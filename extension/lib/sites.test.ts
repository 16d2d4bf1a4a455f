import { beforeEach, describe, expect, test } from "vitest";
import { browser } from "wxt/browser";
import { fakeBrowser } from "wxt/testing/fake-browser";
import * as sites from "./sites";
import { DEFAULTS, listSites, saveSettings } from "./store";

const A = "https://a.example/*";
const B = "https://b.example/*";

/** What the browser holds: grants, registered scripts, where scripts were put, what was said. */
let granted: Set<string>;
let registered: { id: string; matches: string[] }[];
let put: number[];
let told: [number, string][];
let openToScripts: boolean;

beforeEach(async () => {
  fakeBrowser.reset();
  [granted, registered, put, told] = [new Set(), [], [], []];
  openToScripts = true;
  const { permissions, scripting, tabs } = browser as unknown as Record<string, object>;
  Object.assign(permissions ?? {}, {
    contains: async ({ origins: [origin] }: { origins: string[] }) => granted.has(origin ?? ""),
    remove: async ({ origins: [origin] }: { origins: string[] }) => granted.delete(origin ?? ""),
  });
  Object.assign(scripting ?? {}, {
    getRegisteredContentScripts: async () => registered,
    registerContentScripts: async (scripts: typeof registered) => registered.push(...scripts),
    updateContentScripts: async (scripts: typeof registered) => {
      registered = scripts;
    },
    unregisterContentScripts: async () => {
      registered = [];
    },
    executeScript: async ({ target: { tabId } }: { target: { tabId: number } }) => {
      if (!openToScripts) throw new Error("Cannot access contents of the page.");
      put.push(tabId);
      return [{ frameId: 0 }, { frameId: 4 }];
    },
  });
  Object.assign(tabs ?? {}, {
    // Two tabs, one of each site; without a grant a pattern finds none.
    query: async ({ url }: { url?: string[] }) =>
      [A, B].flatMap((pattern, id) =>
        url === undefined || (url.includes(pattern) && granted.has(pattern)) ? [{ id }] : [],
      ),
    sendMessage: async (tabId: number, { kind }: { kind: string }) => void told.push([tabId, kind]),
  });
  await saveSettings({ ...DEFAULTS, isSetUp: true });
});

const watched = async (...patterns: string[]) => {
  for (const pattern of patterns) {
    granted.add(pattern);
    await sites.enable(pattern);
  }
  [put, told] = [[], []];
};
const matches = () => registered.flatMap((script) => script.matches);

describe("enabling a site", () => {
  test("that the browser has granted puts page.js into its pages, open and to come", async () => {
    granted.add(A);

    await sites.enable(A);

    expect(await listSites()).toEqual([A]);
    expect(matches()).toEqual([A]);
    expect(put).toEqual([0]);
  });

  test("waits for the grant, though the popup that asked is gone", async () => {
    await sites.enable(A);
    expect([await listSites(), matches(), put]).toEqual([[], [], []]);

    granted.add(A);
    await sites.takeGranted();

    expect([await listSites(), matches(), put]).toEqual([[A], [A], [0]]);
  });

  test("happens to no site that was granted for its images alone", async () => {
    granted.add(B);

    await sites.takeGranted();

    expect([await listSites(), matches()]).toEqual([[], []]);
  });

  test("leaves the others enabled", async () => {
    await watched(A, B);

    expect(matches().sort()).toEqual([A, B]);
  });
});

describe("disabling a site", () => {
  test("ends page.js there, now and for pages to come, and gives the grant back", async () => {
    await watched(A, B);

    await sites.disable(A);

    expect(await listSites()).toEqual([B]);
    expect(matches()).toEqual([B]);
    expect(told).toEqual([[0, "tear-down"]]);
    expect([...granted]).toEqual([B]);
  });

  test("ends the wish for it too", async () => {
    await sites.enable(A);
    await sites.disable(A);

    granted.add(A);
    await sites.takeGranted();

    expect(await listSites()).toEqual([]);
  });

  test("is done by the browser's own settings as well", async () => {
    await watched(A, B);

    granted.delete(B);
    await sites.dropRevoked();

    expect([await listSites(), matches()]).toEqual([[A], [A]]);
    expect(told.map(([, kind]) => kind)).toEqual(["settings-changed", "settings-changed"]);
  });

  test("of the last one leaves nothing registered", async () => {
    await watched(A);

    await sites.disable(A);

    expect(registered).toEqual([]);
  });
});

test("after an update the sites are registered anew, and open pages get the new page.js", async () => {
  await watched(A);
  registered = []; // as browsers do

  await sites.register();
  await sites.putIntoAll();

  expect([matches(), put]).toEqual([[A], [0]]);
});

describe("page.js", () => {
  const frame = { tabId: 0, frameId: 0, windowId: 1, site: "https://a.example" };

  test("watches where its site is enabled", async () => {
    await watched(A);

    expect(await sites.settingsFor(frame)).toEqual({
      hover: true,
      dwellMs: 400,
      modifier: "none",
      flagged: "show",
    });
  });

  test.each([
    ["of another site inside", "https://b.example"],
    ["of a site's other scheme", "http://a.example"],
    ["of no site", null],
  ])("does not watch in a frame %s", async (_, site) => {
    await watched(A);

    expect(await sites.settingsFor({ ...frame, site })).toMatchObject({ hover: false });
  });

  test("watches nowhere where the user has switched that off", async () => {
    await watched(A);
    await saveSettings({ ...DEFAULTS, isSetUp: true, hover: false });

    expect(await sites.settingsFor(frame)).toMatchObject({ hover: false });
  });

  test.each([
    ["before the first run is finished", { ...DEFAULTS, isSetUp: false }, true],
    ["where the browser does not let us in any more", { ...DEFAULTS, isSetUp: true }, false],
  ])("has nothing to do %s", async (_, settings, isOpen) => {
    await saveSettings(settings);
    openToScripts = isOpen;

    expect(await sites.settingsFor(frame)).toBeNull();
  });

  test("is put into what may be reached; what may not is no error", async () => {
    expect(await sites.put(7)).toEqual([0, 4]);

    openToScripts = false;

    expect(await sites.put(7)).toEqual([]);
  });
});
