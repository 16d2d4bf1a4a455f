/**
 * What can be done on the page in front: watch its site, check all of it, pick one image.
 *
 *     tab in front --of the browser or its store, a file, not known--> why not
 *          | a site's
 *          v
 *     [x] Watch images on HOST   the browser's question, then the worker
 *     Check this page, Pick an image: sweep_tools.ts
 *
 * It only asks the worker and shows what the store says: a panel may be closed at any time.
 */
import { type Browser, browser } from "wxt/browser";
import { hostPattern } from "../lib/hosts";
import { send } from "../lib/messages";
import { listSites, watchSites } from "../lib/store";
import { type MessageName, say } from "../lib/words";
import { el } from "./dom";
import { SweepTools } from "./sweep_tools";

export interface Site {
  tabId: number;
  host: string;
  pattern: string;
}

const STORES = ["chromewebstore.google.com", "addons.mozilla.org", "microsoftedge.microsoft.com"];

/**
 * The site of a tab, or the name of the text that says why there is none. Pure.
 *
 * The address of a tab is told only with a grant for it. A popup comes with one, so where it is not
 * told there, the page is none that an extension is let into.
 */
export function siteOf(
  tab: Pick<Browser.tabs.Tab, "id" | "url"> | undefined,
  isPopup: boolean,
): Site | MessageName {
  if (tab?.id === undefined || !tab.url) return isPopup ? "tab_of_browser" : "tab_unknown";
  const url = new URL(tab.url);
  if (url.protocol === "file:") return "tab_of_file";
  const isOpen = /^https?:$/.test(url.protocol) && !STORES.includes(url.hostname);
  if (!isOpen) return "tab_of_browser";
  return { tabId: tab.id, host: url.host, pattern: hostPattern(url.origin) };
}

/** The section of the page in front; `news` is where a result is announced. */
export async function thisPage(news: HTMLElement): Promise<HTMLElement> {
  const section = el("section", { id: "this-page", "aria-labelledby": "this-page-title" });
  const front = new Front(section, news);
  await front.draw();
  browser.tabs.onActivated.addListener(() => void front.draw());
  browser.tabs.onUpdated.addListener((_, change) => {
    if (change.status === "complete" || change.url) void front.draw();
  });
  return section;
}

/** The section as it is for whichever tab is in front. */
class Front {
  readonly #section: HTMLElement;
  readonly #news: HTMLElement;
  #stops: (() => void)[] = [];
  #shown = "";

  constructor(section: HTMLElement, news: HTMLElement) {
    this.#section = section;
    this.#news = news;
  }

  /** Draw it anew if another page is in front now; else it keeps its elements and their focus. */
  async draw(): Promise<void> {
    const [tab] = await browser.tabs.query({ active: true, currentWindow: true });
    const site = siteOf(tab, document.body.className === "popup");
    const shown = JSON.stringify(site);
    if (shown === this.#shown) return;
    this.#shown = shown;
    for (const stop of this.#stops) stop();
    this.#stops = [];
    const title = el("h2", { id: "this-page-title" }, say("tab_title"));
    const content = typeof site === "string" ? [reason(site)] : this.#tools(site);
    this.#section.replaceChildren(title, ...content);
  }

  #tools(site: Site): HTMLElement[] {
    const tools = new SweepTools(site.tabId, this.#news);
    void this.#keep(tools.start());
    const box = el("input", { type: "checkbox", id: "watch", "aria-describedby": "watch-help" });
    const fault = el("p", { class: "error", role: "alert" });
    box.addEventListener("change", () => void watch(site, box, fault));
    void this.#keep(kept(box, site.pattern));
    const label = el("label", { class: "choice" }, box, say("tab_watch", site.host));
    const help = el("p", { class: "help", id: "watch-help" }, say("tab_watch_help"));
    return [el("div", { class: "field" }, label, help, fault), ...tools.elements];
  }

  /** Stop what has started once another page is drawn, even if that came first. */
  async #keep(started: Promise<() => void>): Promise<void> {
    const shown = this.#shown;
    const stop = await started;
    if (shown === this.#shown) this.#stops.push(stop);
    else stop();
  }
}

function reason(name: MessageName): HTMLElement {
  return el("p", { class: "help" }, say(name));
}

/** Keep the box as the store has it; returns how to stop. */
async function kept(box: HTMLInputElement, pattern: string): Promise<() => void> {
  const draw = async () => {
    box.checked = (await listSites()).includes(pattern);
  };
  await draw();
  return watchSites(() => void draw());
}

/** Begin or stop to watch a site: the browser's question must be the first thing in the click. */
async function watch(site: Site, box: HTMLInputElement, fault: HTMLElement): Promise<void> {
  const { pattern } = site;
  fault.textContent = "";
  if (!box.checked) {
    await send("site-disabled", { pattern });
    return;
  }
  const answer = browser.permissions.request({ origins: [pattern] });
  // Told at once: the question may close the popup, and with it all that waits here.
  void send("site-enabled", { pattern });
  if (await answer.catch(() => false)) {
    await send("site-enabled", { pattern });
    return;
  }
  box.checked = false;
  fault.textContent = say("tab_watch_refused", site.host);
  await send("site-disabled", { pattern });
}
