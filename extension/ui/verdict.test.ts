// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import type { Check } from "../lib/store";
import { type View, viewOfScan } from "../lib/view";
import { read, scan } from "../lib/wire";
import { message, speak } from "../testing/world";
import { announcement, detailLines, card as drawn, type Remedies } from "./verdict";

beforeEach(() => speak("en"));

const remedies = {
  allowHost: () => {},
  allowPrivate: () => {},
  allowCookies: () => {},
  mayAskForPrivate: true,
};
const unsent = { backend: "", report: async () => {}, appeal: async () => {} };
const card = (one: Check, offered: Remedies = remedies) => drawn(one, offered, unsent);
const check = (change: Partial<Check> = {}): Check => ({
  id: "1",
  title: "a.png",
  startedAt: 0,
  stage: "done",
  source: null,
  frame: null,
  how: "user",
  isCapture: false,
  scanId: null,
  view: null,
  error: null,
  ...change,
});
const view = (id: string) => viewOfScan(read(scan, message(id))) as View;
const failed = (code: string, origin: string | null = null) =>
  check({ stage: "failed", error: { code, detail: "", hint: "", origin } });

test("a verdict is words and a shape, with its error rate", () => {
  const shown = card(check({ view: view("scan-likely-ai") }));

  expect(shown.querySelector(".words")?.textContent).toBe("Likely AI");
  expect(shown.querySelector(".shape")?.textContent).toBe("▲");
  expect(shown.textContent).toContain("About 3 in 100 real photos like this get this label.");
});

test("why names the reason, the model and which bytes were judged", () => {
  const lines = detailLines(view("scan-upload")).join("\n");

  expect(lines).toContain("Scores this high");
  expect(lines).toContain("Model fixed");
  expect(lines).toContain("The bytes that this browser sent were judged.");
  expect(lines).toContain("This can be wrong.");
});

test("a probability is never shown as certain", () => {
  expect(detailLines(view("scan-likely-ai")).join()).toContain("Probability of AI: 99%");
});

test.each([
  ["under way", check({ stage: "waiting" })],
  ["failed", failed("decode_failed")],
])("a check that is %s has no verdict's words, shape or colour", (_, one) => {
  const shown = card(one);

  expect(shown.querySelector("[data-verdict], .shape, .words")).toBeNull();
  expect(shown.textContent).not.toMatch(/Likely|No sign|Declared/);
});

test("a host that is missing is asked for by name", () => {
  const asked: string[] = [];
  const one = failed("host_not_granted", "https://img.example");

  const shown = card(one, { ...remedies, allowHost: (_, origin) => void asked.push(origin) });
  shown.querySelector("button")?.click();

  expect(shown.querySelector("button")?.textContent).toBe("Allow images of img.example");
  expect(asked).toEqual(["https://img.example"]);
});

test("cookies are offered where a site refuses strangers, and sent only after a yes", () => {
  const asked: string[] = [];
  const source = { url: "https://a.example/1.png", tabId: 1, frameId: 0, site: null };
  const one = { ...failed("fetch_forbidden"), source };

  const shown = card(one, { ...remedies, allowCookies: ({ id }) => void asked.push(id) });
  expect(asked).toEqual([]);
  shown.querySelector("button")?.click();

  expect(shown.querySelector("button")?.textContent).toBe("Read it with my cookies");
  expect(asked).toEqual(["1"]);
});

test("a hostile name is text", () => {
  const shown = card(check({ title: "<img src=x onerror=alert(1)>" }));

  expect(shown.querySelector("img")).toBeNull();
  expect(shown.textContent).toContain("<img src=x");
});

test("a result is announced in one breath, a check under way not at all", () => {
  expect(announcement(check({ view: view("scan-no-sign") }))).toBe(
    "a.png: No sign of AI. That does not prove that it is real.",
  );
  expect(announcement(check({ stage: "sending" }))).toBe("");
});
