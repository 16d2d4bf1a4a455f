/**
 * What the user has let this extension into, each with a button that takes it back.
 *
 *     sites   watched: the worker forgets the site and gives its permission back
 *     hosts   granted for their images: the browser's own list, less the sites
 *
 * The browser may have been told otherwise in its own settings, so both are drawn from what is so.
 */
import { browser } from "wxt/browser";
import { send } from "../lib/messages";
import { listSites, watchSites } from "../lib/store";
import { type MessageName, say } from "../lib/words";
import { el } from "./dom";

interface Names {
  title: MessageName;
  none: MessageName;
  remove: MessageName;
  removed: MessageName;
}
const SITES: Names = {
  title: "sites_title",
  none: "sites_none",
  remove: "sites_remove",
  removed: "sites_removed",
};
const HOSTS: Names = {
  title: "hosts_title",
  none: "hosts_none",
  remove: "hosts_remove",
  removed: "hosts_removed",
};

/** Both lists, kept as they are while the page is open. */
export async function lists(): Promise<HTMLElement[]> {
  const news = el("p", { role: "status" });
  const sites = el("ul", { id: "sites", class: "plain" });
  const hosts = el("ul", { id: "hosts", class: "plain" });
  const draw = async () => {
    const watched = await listSites();
    const { origins = [] } = await browser.permissions.getAll();
    const others = origins.filter((pattern) => !watched.includes(pattern));
    sites.replaceChildren(...rows(watched, SITES, news, forgetSite));
    hosts.replaceChildren(...rows(others, HOSTS, news, forgetHost));
  };
  await draw();
  watchSites(() => void draw());
  browser.permissions.onAdded.addListener(() => void draw());
  browser.permissions.onRemoved.addListener(() => void draw());
  const title = (names: Names) => el("h2", {}, say(names.title));
  return [title(SITES), sites, title(HOSTS), hosts, news];
}

function rows(
  patterns: string[],
  names: Names,
  news: HTMLElement,
  forget: (pattern: string) => Promise<unknown>,
): HTMLElement[] {
  if (patterns.length === 0) return [el("li", {}, say(names.none))];
  return patterns.map((pattern) => {
    const host = hostOf(pattern);
    const click = async () => {
      await forget(pattern);
      news.textContent = say(names.removed, host);
    };
    const words = say(names.remove, host);
    const remove = el("button", { type: "button", click: () => void click() }, words);
    return el("li", { class: "row" }, el("span", {}, host), remove);
  });
}

function hostOf(pattern: string): string {
  return pattern.replace(/^[^:]+:\/\//, "").replace(/\/.*$/, "");
}

function forgetSite(pattern: string): Promise<unknown> {
  return send("site-disabled", { pattern });
}

function forgetHost(pattern: string): Promise<unknown> {
  return browser.permissions.remove({ origins: [pattern] });
}
