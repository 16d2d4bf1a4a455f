import { expect, test } from "vitest";
import { siteOf } from "./this_page";

test("a site is named by its host, and asked for by its scheme and host alone", () => {
  expect(siteOf({ id: 7, url: "https://www.example.com:8443/a?b#c" }, false)).toEqual({
    tabId: 7,
    host: "www.example.com:8443",
    pattern: "https://www.example.com/*",
  });
});

test.each([
  ["a page of the browser", "chrome://settings/", "tab_of_browser"],
  ["a page about nothing", "about:blank", "tab_of_browser"],
  ["a page of an extension", "chrome-extension://abc/popup.html", "tab_of_browser"],
  ["Chrome's store", "https://chromewebstore.google.com/detail/x", "tab_of_browser"],
  ["Mozilla's store", "https://addons.mozilla.org/en-US/firefox/", "tab_of_browser"],
  ["a file", "file:///home/me/a.html", "tab_of_file"],
  ["a tab whose address is not told", undefined, "tab_unknown"],
])("%s is none, and says why", (_, url, name) => {
  expect(siteOf(url === undefined ? { id: 1 } : { id: 1, url }, false)).toBe(name);
});

test("no tab at all is none", () => {
  expect(siteOf(undefined, false)).toBe("tab_unknown");
});

test("where not even a popup is told the address, no extension is let in", () => {
  expect(siteOf({ id: 1 }, true)).toBe("tab_of_browser");
});
