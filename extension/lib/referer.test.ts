import { beforeEach, expect, test } from "vitest";
import { type Browser, browser } from "wxt/browser";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { dropReferer, ruleFor, withReferer } from "./referer";

type Rule = Browser.declarativeNetRequest.Rule;
/** The session rules that the browser has now. */
let rules: Rule[];
beforeEach(() => {
  rules = [];
  fakeBrowser.runtime.getURL = (() => "chrome-extension://own/") as never;
  browser.declarativeNetRequest.updateSessionRules = (async (change: {
    removeRuleIds: number[];
    addRules: Rule[];
  }) => {
    rules = rules.filter((rule) => !change.removeRuleIds.includes(rule.id)).concat(change.addRules);
  }) as never;
});

const url = new URL("https://img.example/a.png?w=1#top");
const site = "https://site.example";

test("the rule is for this address and for requests of our own", () => {
  expect(ruleFor(url, site)).toMatchObject({
    condition: {
      urlFilter: "|https://img.example/a.png?w=1|",
      isUrlFilterCaseSensitive: true,
      initiatorDomains: ["own"],
      tabIds: [-1],
    },
  });
});

test("the host learns the site, not which of its pages", () => {
  const [header] = ruleFor(url, site).action.requestHeaders ?? [];

  expect(header).toEqual({ header: "referer", operation: "set", value: "https://site.example/" });
});

test("the rule is there while the work lasts, and gone after", async () => {
  const there = await withReferer(url, site, async () => rules.length);

  expect([there, rules.length]).toEqual([1, 0]);
});

test("the rule is gone after work that failed", async () => {
  await expect(withReferer(url, site, () => Promise.reject(new Error("no")))).rejects.toThrow("no");

  expect(rules).toEqual([]);
});

test("two requests do not get in each other's way", async () => {
  const one = withReferer(url, site, async () => rules[0]?.condition.urlFilter);
  const two = withReferer(new URL("https://b.example/"), site, async () => rules.length);

  expect(await Promise.all([one, two])).toEqual(["|https://img.example/a.png?w=1|", 1]);
  expect(rules).toEqual([]);
});

test("what a worker that was ended has left is dropped", async () => {
  rules = [ruleFor(url, site)];

  await dropReferer();

  expect(rules).toEqual([]);
});
