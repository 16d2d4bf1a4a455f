/**
 * The extension's worker, for tests: what the browser would tell it, and what it keeps.
 *
 * No driver can open the browser's own menu or press its shortcut, so the worker is told what the
 * browser tells it then. Everything goes by a page of the extension, which starts a worker that
 * was ended.
 */
import type { Page, Worker } from "playwright-core";
import type { Check } from "../lib/store.ts";
import { send } from "./set_up.ts";
import type { Browser } from "./system.ts";

export interface Tab {
  id: number;
  windowId: number;
}

interface Api {
  chrome: {
    tabs: { query(all: object): Promise<{ id: number; windowId: number; url?: string }[]> };
    storage: {
      session: { get(all: null): Promise<Record<string, unknown>> };
      onChanged: { addListener(look: () => void): void; removeListener(look: () => void): void };
    };
    contextMenus: { onClicked: { dispatch(info: object, tab: object): void } };
    commands: { onCommand: { dispatch(command: string, tab: object): void } };
  };
}

/** Every check that the worker keeps. */
export async function checksOf(own: Page): Promise<Check[]> {
  const all = await own.evaluate(() =>
    (globalThis as unknown as Api).chrome.storage.session.get(null),
  );
  return Object.entries(all)
    .filter(([name]) => name.startsWith("check:"))
    .map(([, value]) => value as Check);
}

/** The ids of the checks that the worker keeps. */
export async function checkIds(own: Page): Promise<string[]> {
  return own.evaluate(async () => {
    const { session } = (globalThis as unknown as Api).chrome.storage;
    const names = Object.keys(await session.get(null));
    return names.filter((name) => name.startsWith("check:")).map((name) => name.slice(6));
  });
}

/** The checks that are not among `known`, once `count` of them have ended; throws after a while. */
export async function newChecks(
  own: Page,
  known: string[],
  { count = 1, withinMs = 15_000 } = {},
): Promise<Check[]> {
  return own.evaluate(waited, [known, count, withinMs] as const);
}

/** Put into the page, to be told of changes there: it names nothing from outside itself. */
function waited([known, count, withinMs]: readonly [string[], number, number]): Promise<Check[]> {
  const { session, onChanged } = (globalThis as unknown as Api).chrome.storage;
  return new Promise((done, failed) => {
    const look = async () => {
      const all = Object.values(await session.get(null)) as Partial<Check>[];
      const isNew = ({ id, stage }: Partial<Check>) => stage && id && !known.includes(id);
      const fresh = all.filter(isNew) as Check[];
      const ended = fresh.filter(({ view, error }) => view ?? error);
      if (ended.length < count) return;
      onChanged.removeListener(look);
      done(ended);
    };
    onChanged.addListener(look);
    void look();
    setTimeout(() => failed(new Error(`no ${count} checks ended within ${withinMs} ms`)), withinMs);
  });
}

/** The active tab of the window, which is the page that was brought to the front. */
export async function activeTab(own: Page): Promise<Tab> {
  const [tab] = await own.evaluate(() =>
    (globalThis as unknown as Api).chrome.tabs.query({ active: true, currentWindow: true }),
  );
  if (!tab) throw new Error("no tab is active");
  return { id: tab.id, windowId: tab.windowId };
}

/** The menu's entry is chosen: on an image, whose address the browser gives, or elsewhere. */
export async function chooseInMenu(
  { browser, own }: { browser: Browser; own: Page },
  menuItemId: string,
  srcUrl?: string,
): Promise<void> {
  const tab = await activeTab(own);
  const info = { menuItemId, frameId: 0, editable: false, ...(srcUrl && { srcUrl }) };
  const worker = await liveWorker(browser, own);
  await worker.evaluate(
    ([given, where]) =>
      (globalThis as unknown as Api).chrome.contextMenus.onClicked.dispatch(given, where),
    [info, tab] as const,
  );
}

/** The shortcut is pressed. */
export async function pressShortcut(browser: Browser, own: Page): Promise<void> {
  const tab = await activeTab(own);
  const worker = await liveWorker(browser, own);
  await worker.evaluate(
    (where) =>
      (globalThis as unknown as Api).chrome.commands.onCommand.dispatch("check-focused", where),
    tab,
  );
}

/** The worker as it is now; it may have been ended, and any message starts it. */
async function liveWorker(browser: Browser, own: Page): Promise<Worker> {
  await send(own, { kind: "take-up" });
  return browser.context.serviceWorkers().at(-1) ?? browser.worker;
}
