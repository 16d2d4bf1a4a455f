/**
 * The worker: routes what the browser tells to what is done about it. It may be ended at any line.
 *
 *     menu, shortcut   -> panel opens (while the click still counts) -> ways.ts
 *     messages         -> own pages: checks, sweeps, sites; page.js: its own checks
 *     permissions      -> sites.ts: begin to watch, stop
 *     tab gone, moved  -> what was kept of its sweeps goes
 *     installed        -> the menu's entries; the first run's page; page.js anew in open pages
 *
 * Every listener is added as the worker starts, before anything is awaited: else the browser would
 * not start it for them. It keeps nothing in variables; see store.ts.
 */
import { type Browser, browser } from "wxt/browser";
import { defineBackground } from "wxt/utils/define-background";
import { takeUp } from "../lib/check";
import { type FrameHandlers, listen, type OwnHandlers, tell } from "../lib/messages";
import { openPanel, openPanelOrWindow } from "../lib/panel";
import { dropReferer } from "../lib/referer";
import * as sites from "../lib/sites";
import { loadSettings, removeSweeps, type Source, saveShown, watchSettings } from "../lib/store";
import * as ways from "../lib/ways";
import { say } from "../lib/words";

const MENU_CHECK = "check-image";
const MENU_PICK = "pick-image";
/** Where an image may lie that the browser does not take for one. */
const PICK_WHERE = ["page", "frame", "link", "video", "editable"] as const;

export default defineBackground(() => {
  listenToBrowser();
  listen(OWN, FRAMES);
  watchSettings(() => void sites.tellChanged());
  hideStoreFromPages();
  void dropReferer();
});

function listenToBrowser(): void {
  browser.runtime.onInstalled.addListener((details) => void installed(details.reason));
  browser.runtime.onStartup.addListener(() => void sites.register());
  browser.contextMenus.onClicked.addListener((info, tab) => void clicked(info, tab));
  browser.commands.onCommand.addListener((command, tab) => void commanded(command, tab));
  browser.permissions.onAdded.addListener(() => void sites.takeGranted());
  browser.permissions.onRemoved.addListener(() => void sites.dropRevoked());
  browser.tabs.onRemoved.addListener((tabId) => void removeSweeps(tabId));
  browser.tabs.onUpdated.addListener((tabId, { status }) => {
    if (status === "loading") void removeSweeps(tabId);
  });
}

/** Settings hold the server's key: pages, and what runs in them, have no business there. */
function hideStoreFromPages(): void {
  // Firefox has no such switch: there a content script may read it, a page may not.
  void browser.storage.local.setAccessLevel?.({ accessLevel: "TRUSTED_CONTEXTS" });
}

const OWN: OwnHandlers = {
  "check-again": ({ checkId, ...consent }) => ways.checkAgain(checkId, consent),
  "take-up": () => takeUp(),
  sweep: ({ tabId }) => ways.sweep(tabId),
  "sweep-cancel": ({ tabId }) => tell("sweep-cancel", {}, { tabId }),
  pick: ({ tabId }) => ways.pick(tabId),
  "site-enabled": ({ pattern }) => sites.enable(pattern),
  "site-disabled": ({ pattern }) => sites.disable(pattern),
};

const FRAMES: FrameHandlers = {
  "page-hello": (_, frame) => sites.settingsFor(frame),
  "check-image": ways.checkForFrame,
  "capture-image": ways.captureForFrame,
  "sweep-progress": ways.progressed,
  "sweep-cancel": (_, { tabId }) => tell("sweep-cancel", {}, { tabId }),
  "pick-end": (_, { tabId }) => tell("pick-end", {}, { tabId }),
  "open-panel": async (shown, { windowId }) => {
    const opened = openPanelOrWindow(windowId); // while the click in the page still counts
    await saveShown({ ...shown, at: Date.now() });
    await opened;
  },
};

async function installed(reason: string): Promise<void> {
  await browser.contextMenus.removeAll();
  const pick = { id: MENU_PICK, title: say("menu_pick"), contexts: [...PICK_WHERE] };
  browser.contextMenus.create({ id: MENU_CHECK, title: say("menu_check"), contexts: ["image"] });
  browser.contextMenus.create(pick as Browser.contextMenus.CreateProperties);
  if (reason === "install") await openWelcome();
  // A new version finds nothing registered, and in open pages only what it has orphaned.
  await sites.register();
  await sites.putIntoAll();
}

async function clicked(
  info: Browser.contextMenus.OnClickData,
  tab: Browser.tabs.Tab | undefined,
): Promise<void> {
  const frameId = info.frameId ?? 0;
  if (info.menuItemId === MENU_CHECK && info.srcUrl) {
    void openPanel(tab?.windowId); // else the popup shows the same
    const site = originOf(info.frameUrl ?? info.pageUrl);
    const source: Source = { url: info.srcUrl, tabId: tab?.id ?? null, frameId, site };
    await ifSetUp(() => ways.checkClicked(source));
  } else if (info.menuItemId === MENU_PICK && tab?.id !== undefined) {
    const { id } = tab;
    await ifSetUp(() => ways.checkContextOrPick(id, frameId));
  }
}

function originOf(address: string | undefined): string | null {
  return address && /^https?:/.test(address) ? new URL(address).origin : null;
}

async function commanded(command: string, tab: Browser.tabs.Tab | undefined): Promise<void> {
  if (command !== "check-focused" || tab?.id === undefined) return;
  const { id, windowId } = tab;
  void openPanel(windowId);
  await ifSetUp(() => ways.checkFocused(id));
}

async function ifSetUp(work: () => Promise<unknown>): Promise<void> {
  const { isSetUp } = await loadSettings();
  await (isSetUp ? work() : openWelcome());
}

async function openWelcome(): Promise<void> {
  await browser.tabs.create({ url: browser.runtime.getURL("/welcome.html") });
}
