/**
 * The sites whose images the user has us watch, and page.js in their pages and in others.
 *
 *     popup's click: permission asked for, "site-enabled" -> wanted
 *     the browser grants it -> kept, page.js registered for it, put into its open tabs
 *     disabled, or the grant taken back in the browser's own settings -> all of that undone
 *     a worker that starts anew -> what is registered is made what is kept
 *
 * In other pages page.js is put only where the user has just called us there (activeTab), and
 * watches nothing. A site is one host with its scheme: not its subdomains, and no other port less.
 */
import { browser } from "wxt/browser";
import { hostPattern } from "./hosts";
import { type Frame, type PageSettings, tell } from "./messages";
import { listSites, loadSettings, removeSites, saveSite } from "./store";

const SCRIPT = "page";
const FILE = "page.js";
const LOCK = "sites";

/**
 * Watch a site, now or as soon as the browser grants it.
 *
 * The browser's question may close the popup that asked it, so it is the worker that waits: `wanted`
 * is of this session, and nothing is watched by it alone.
 */
export async function enable(pattern: string): Promise<void> {
  await browser.storage.session.set({ [`wanted:${pattern}`]: true });
  await takeGranted();
}

/** Begin with every site that is wanted and granted. Call it whenever something was granted. */
export async function takeGranted(): Promise<void> {
  const all = await browser.storage.session.get(null);
  const wanted = Object.keys(all).filter((name) => name.startsWith("wanted:"));
  const patterns = await granted(wanted.map((name) => name.slice("wanted:".length)));
  if (patterns.length === 0) return;
  await browser.storage.session.remove(patterns.map((pattern) => `wanted:${pattern}`));
  for (const pattern of patterns) await saveSite(pattern);
  await register();
  await putIntoTabs(patterns);
}

/** Stop watching a site, and give its grant back. */
export async function disable(pattern: string): Promise<void> {
  await browser.storage.session.remove(`wanted:${pattern}`);
  const tabs = await tabsOf([pattern]); // before the grant is gone: without it none is found
  await removeSites([pattern]);
  await register();
  await Promise.all(tabs.map((tabId) => tell("tear-down", {}, { tabId })));
  await browser.permissions.remove({ origins: [pattern] });
}

/** Stop watching the sites whose grant was taken back. */
export async function dropRevoked(): Promise<void> {
  const kept = await listSites();
  const still = await granted(kept);
  const gone = kept.filter((pattern) => !still.includes(pattern));
  await removeSites(gone);
  await register();
  await tellChanged();
}

/** Have page.js put into pages of the kept sites by the browser, and into no others. */
export async function register(): Promise<void> {
  await navigator.locks.request(LOCK, async () => {
    const matches = await granted(await listSites());
    const known = await browser.scripting.getRegisteredContentScripts({ ids: [SCRIPT] });
    if (matches.length === 0) {
      if (known.length > 0) await browser.scripting.unregisterContentScripts({ ids: [SCRIPT] });
    } else if (known.length > 0) await browser.scripting.updateContentScripts([script(matches)]);
    else await browser.scripting.registerContentScripts([script(matches)]);
  });
}

function script(matches: string[]) {
  return {
    id: SCRIPT,
    js: [FILE],
    matches,
    allFrames: true,
    // Frames without an address of their own belong to who made them.
    matchOriginAsFallback: true,
    persistAcrossSessions: true,
    runAt: "document_idle" as const,
  };
}

/** Put page.js into the open pages of every site: the one of an older version has no use there. */
export async function putIntoAll(): Promise<void> {
  await putIntoTabs(await listSites());
}

async function putIntoTabs(patterns: string[]): Promise<void> {
  await Promise.all((await tabsOf(patterns)).map((tabId) => put(tabId)));
}

async function tabsOf(patterns: string[]): Promise<number[]> {
  if (patterns.length === 0) return [];
  const tabs = await browser.tabs.query({ url: patterns });
  return tabs.flatMap((tab) => tab.id ?? []);
}

/**
 * Put page.js into a tab's frames, or into one of them; returns those that it runs in now.
 *
 * Frames that may not be reached are left out. Where it runs already, it stays as it is.
 */
export async function put(tabId: number, frameId?: number): Promise<number[]> {
  const target =
    frameId === undefined ? { tabId, allFrames: true } : { tabId, frameIds: [frameId] };
  try {
    const done = await browser.scripting.executeScript({
      target,
      files: [`/${FILE}` as "/page.js"],
    });
    return done.map((one) => one.frameId);
  } catch {
    return []; // a page of the browser or the store, or the user has not called us there
  }
}

/** How page.js shall behave in a frame; null: not at all. */
export async function settingsFor(frame: Frame): Promise<PageSettings | null> {
  const { isSetUp, hover, dwellMs, modifier, flagged } = await loadSettings();
  if (!isSetUp) return null;
  const isWatched = frame.site !== null && (await listSites()).includes(hostPattern(frame.site));
  if (!isWatched && !(await mayReach(frame))) return null;
  return { hover: hover && isWatched, dwellMs, modifier, flagged };
}

/** Whether something may be put into a frame. The browser does not tell but by trying. */
async function mayReach({ tabId, frameId }: Frame): Promise<boolean> {
  const target = { tabId, frameIds: [frameId] };
  return browser.scripting.executeScript({ target, func: () => true }).then(
    () => true,
    () => false,
  );
}

/** Have every page.js ask again how it shall behave. */
export async function tellChanged(): Promise<void> {
  const tabs = await browser.tabs.query({});
  const ids = tabs.flatMap((tab) => tab.id ?? []);
  await Promise.all(ids.map((tabId) => tell("settings-changed", {}, { tabId })));
}

async function granted(patterns: string[]): Promise<string[]> {
  const answers = await Promise.all(
    patterns.map((pattern) => browser.permissions.contains({ origins: [pattern] })),
  );
  return patterns.filter((_, index) => answers[index]);
}
