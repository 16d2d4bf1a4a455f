import { beforeEach, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { received } from "./messages";

const OWN = "chrome-extension://own/";
const page = { id: "own", url: `${OWN}popup.html`, origin: "chrome-extension://own" };
const takeUp = { kind: "take-up" };

beforeEach(() => {
  fakeBrowser.runtime.id = "own";
  fakeBrowser.runtime.getURL = ((path: string) => OWN + path.replace(/^\//, "")) as never;
});

test("a page of this extension is heard", () => {
  expect(received({ kind: "check-again", checkId: "1", isAllowed: true }, page)).toEqual({
    kind: "check-again",
    checkId: "1",
    isAllowed: true,
  });
});

test.each([
  ["another extension", { ...page, id: "other" }],
  ["a content script", { id: "own", url: "https://evil.example/", origin: "https://evil.example" }],
  ["a page whose address begins alike", { id: "own", url: "chrome-extension://ownx/popup.html" }],
  ["a sender without an address", { id: "own" }],
  ["nobody", {}],
])("%s is not", (_, sender) => {
  expect(received(takeUp, sender)).toBeNull();
});

test.each([
  [null],
  ["take-up"],
  [{}],
  [{ kind: "toString" }],
  [{ kind: "__proto__" }],
  [{ kind: "check-again" }],
  [{ kind: "check-again", checkId: 1, isAllowed: true }],
  [{ kind: "check-again", checkId: "1", isAllowed: "yes" }],
])("%j is no message", (given) => {
  expect(received(given, page)).toBeNull();
});

test("what a message carries beside its own is left out", () => {
  expect(received({ ...takeUp, more: 1 }, page)).toEqual(takeUp);
});
