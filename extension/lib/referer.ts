/**
 * A Referer for one request: hosts that refuse images to whoever comes from nowhere.
 *
 *     lock -> session rule for this very address, our own requests only -> work() -> rule gone
 *
 * A page's <img> tells the host which site it is on, and some hosts answer 403 without that. fetch()
 * may not set the header, so the browser is told to, for as long as one request takes. What is told
 * is the site's origin, as pages tell other hosts by default, never which of its pages. The page's
 * own requests and other extensions' are left as they are, and CORS headers too.
 *
 * A worker that is ended in between leaves the rule, at most until it is started again: the rule is
 * of this browser session, for this one address, and for nobody's requests but ours.
 */
import { type Browser, browser } from "wxt/browser";

const RULE_ID = 1;
/** Requests that no tab has made: those of the worker. */
const NO_TAB = -1;
const LOCK = "referer";

/** Do `work` while requests of ours to `url` carry `site` as their Referer. */
export async function withReferer<T>(url: URL, site: string, work: () => Promise<T>): Promise<T> {
  // One rule at a time: two could be of one address, and the second's end would be the first's.
  return await navigator.locks.request(LOCK, async () => {
    await setRule([ruleFor(url, site)]);
    try {
      return await work();
    } finally {
      await setRule([]);
    }
  });
}

/** Drop what a worker that was ended has left. */
export async function dropReferer(): Promise<void> {
  await navigator.locks.request(LOCK, () => setRule([]));
}

async function setRule(addRules: Browser.declarativeNetRequest.Rule[]): Promise<void> {
  const rules = { removeRuleIds: [RULE_ID], addRules };
  await browser.declarativeNetRequest.updateSessionRules(rules);
}

/** Pure, but for the id that the browser has given this extension. */
export function ruleFor(url: URL, site: string): Browser.declarativeNetRequest.Rule {
  const address = url.href.slice(0, url.href.length - url.hash.length);
  return {
    id: RULE_ID,
    condition: {
      // Anchored on both sides. A star in the address stands for itself and more: still only ours.
      urlFilter: `|${address}|`,
      isUrlFilterCaseSensitive: true,
      tabIds: [NO_TAB],
      initiatorDomains: [new URL(browser.runtime.getURL("/" as "/popup.html")).hostname],
      requestMethods: ["get"],
    },
    action: {
      type: "modifyHeaders",
      requestHeaders: [{ header: "referer", operation: "set", value: `${site}/` }],
    },
  };
}
