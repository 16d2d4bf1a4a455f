// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import { ConflictError } from "../lib/errors";
import type { Check } from "../lib/store";
import { type View, viewOfScan } from "../lib/view";
import { read, scan } from "../lib/wire";
import { message, speak } from "../testing/world";
import { type Reporting, reporting } from "./report";

beforeEach(() => speak("en"));

const check = (id: string, change: Partial<Check> = {}): Check => ({
  id: "1",
  title: "a.png",
  startedAt: 0,
  stage: "done",
  source: null,
  frame: null,
  how: "user",
  isCapture: false,
  scanId: null,
  view: viewOfScan(read(scan, message(id))) as View,
  error: null,
  ...change,
});
const nowhere: Reporting = {
  backend: "http://pinclip.example",
  report: () => Promise.reject(new Error("not asked for")),
  appeal: () => Promise.reject(new Error("not asked for")),
};
/** The parts in a page: only what is in one has its form sent by a button. */
const shown = (one: Check, to: Partial<Reporting> = {}) => {
  document.body.replaceChildren(...reporting(one, { ...nowhere, ...to }));
  return document.body;
};
const submit = (place: HTMLElement, kind: string) =>
  place.querySelector<HTMLElement>(`.${kind} button`)?.click();
const settled = () => new Promise((done) => setTimeout(done, 0));

test("a report carries the label that was chosen and the comment", async () => {
  const sent: unknown[] = [];
  const place = shown(check("scan-likely-ai"), {
    report: async (_, label, comment) => void sent.push(label, comment),
  });

  place.querySelector<HTMLInputElement>("input[value=not_ai]")?.click();
  const comment = place.querySelector<HTMLTextAreaElement>(".report textarea");
  if (comment) comment.value = "  I took it. ";
  submit(place, "report");
  await settled();

  expect(sent).toEqual(["not_ai", "I took it."]);
});

test("a report without a label is not sent, and says what is missing", async () => {
  const place = shown(check("scan-no-sign"));

  submit(place, "report");
  await settled();

  expect(place.querySelector("[role=alert]")?.textContent).toBe("Choose one of the two first.");
});

test("a server that refuses is heard", async () => {
  const refusal = new ConflictError(409, null, "Twenty are there.", null, null);
  const place = shown(check("scan-likely-ai"), { appeal: () => Promise.reject(refusal) });
  const reason = place.querySelector<HTMLTextAreaElement>(".appeal textarea");

  if (reason) reason.value = "I took it.";
  submit(place, "appeal");
  await settled();

  expect(place.querySelector(".appeal [role=alert]")?.textContent).toContain("Twenty are there.");
});

test("only an image that is accused can be appealed", () => {
  expect(shown(check("scan-likely-ai")).querySelector(".appeal")).not.toBeNull();
  expect(shown(check("scan-no-sign")).querySelector(".appeal")).toBeNull();
});

test("what was reported and appealed is said, with where it can be read", () => {
  const reported = { label: "not_ai", scanId: "scan_1", at: 0 } as const;
  const place = shown(check("scan-likely-ai", { reported, appealed: { id: "apl_1" } }));

  expect(place.textContent).toContain("Your server keeps your report: “No AI made it”.");
  expect(place.textContent).toContain("GET http://pinclip.example/v1/scans/scan_1/feedback");
  expect(place.textContent).toContain("Your appeal waits for a decision: apl_1.");
  expect(place.querySelector("form")).toBeNull();
});
