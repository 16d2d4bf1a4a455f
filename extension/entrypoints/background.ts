/**
 * The worker: routes what the browser tells to what is done about it. It may be ended at any line.
 *
 *     menu on an image, shortcut -> panel opens (while the click still counts) -> check
 *     messages of the panel      -> check again, take up
 *     installed                  -> the menu's entry; the first run's page
 *
 * Every listener is added as the worker starts, before anything is awaited: else the browser would
 * not start it for them. It keeps nothing in variables; see store.ts.
 */
import { type Browser, browser } from "wxt/browser";
import { defineBackground } from "wxt/utils/define-background";
import { check, takeUp } from "../lib/check";
import { ImageError } from "../lib/errors";
import { focusedImage } from "../lib/frame";
import { listen } from "../lib/messages";
import { loadCheck, loadSettings, removeCheck } from "../lib/store";
import { fromPage } from "../lib/subjects";
import { say } from "../lib/words";

const MENU = "check-image";

export default defineBackground(() => {
  browser.runtime.onInstalled.addListener((details) => void installed(details.reason));
  browser.contextMenus.onClicked.addListener((info, tab) => void clicked(info, tab));
  browser.commands.onCommand.addListener((command, tab) => void commanded(command, tab));
  listen({
    "check-again": ({ checkId, isAllowed }) => checkAgain(checkId, isAllowed),
    "take-up": () => takeUp(),
  });
});

async function installed(reason: string): Promise<void> {
  await browser.contextMenus.removeAll();
  browser.contextMenus.create({ id: MENU, title: say("menu_check"), contexts: ["image"] });
  if (reason === "install") await openWelcome();
}

async function clicked(
  info: Browser.contextMenus.OnClickData,
  tab: Browser.tabs.Tab | undefined,
): Promise<void> {
  if (info.menuItemId !== MENU || !info.srcUrl) return;
  openPanel(tab);
  const source = { url: info.srcUrl, tabId: tab?.id ?? null, frameId: info.frameId ?? 0 };
  await ifSetUp(() => check(fromPage(source)));
}

async function commanded(command: string, tab: Browser.tabs.Tab | undefined): Promise<void> {
  if (command !== "check-focused" || tab?.id === undefined) return;
  const tabId = tab.id;
  openPanel(tab);
  await ifSetUp(async () => {
    const url = await focusedImage(tabId);
    await check(url ? fromPage({ url, tabId, frameId: 0 }) : nothing());
  });
}

/** Something to check where there is nothing: the panel says why. */
function nothing() {
  const bytes = () => Promise.reject(new ImageError("no_focus", "No image has the focus."));
  return { title: say("command_check_focused"), source: null, bytes };
}

async function checkAgain(checkId: string, isAllowed: boolean): Promise<void> {
  const old = await loadCheck(checkId);
  if (!old?.source) return;
  await removeCheck(checkId);
  await check(fromPage(old.source, isAllowed));
}

async function ifSetUp(work: () => Promise<unknown>): Promise<void> {
  const { isSetUp } = await loadSettings();
  await (isSetUp ? work() : openWelcome());
}

async function openWelcome(): Promise<void> {
  await browser.tabs.create({ url: browser.runtime.getURL("/welcome.html") });
}

/** Open the side panel. Only before the first await: browsers ask for a click just now. */
function openPanel(tab: Browser.tabs.Tab | undefined): void {
  const { sidebarAction } = browser as { sidebarAction?: { open(): Promise<void> } };
  // A browser that will not open it shows the same in the popup.
  if (sidebarAction) void sidebarAction.open().catch(() => undefined);
  else if (tab?.windowId !== undefined) {
    void browser.sidePanel.open({ windowId: tab.windowId }).catch(() => undefined);
  }
}
