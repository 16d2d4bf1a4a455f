// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import type { Told } from "../lib/messages";
import { viewOfScan } from "../lib/view";
import { read, scan } from "../lib/wire";
import { LANGUAGES, message, speak } from "../testing/world";
import { type CardActs, drawCard, drawChip, drawVeil, isFlagged } from "./chip";
import { STYLE } from "./sheet";

beforeEach(() => speak("en"));

const UNDER_WAY: Told = { id: "1", title: "a.png", stage: "sending", view: null, error: null };
const judged = (id: string): Told => ({
  ...UNDER_WAY,
  stage: "done",
  view: viewOfScan(read(scan, message(id))),
});
const FAILED: Told = {
  ...UNDER_WAY,
  stage: "failed",
  error: { code: "fetch_not_found", detail: "", hint: "", origin: null },
};
const ACTS: CardActs = { report() {}, openPanel() {}, again() {}, close() {} };

function chipOf(told: Told): HTMLElement {
  const chip = document.createElement("button");
  drawChip(chip, told);
  return chip;
}

function cardOf(told: Told, acts: CardActs = ACTS): HTMLElement {
  const card = document.createElement("div");
  drawCard(card, told, acts);
  return card;
}

function said(element: HTMLElement): string[] {
  const all = [...element.querySelectorAll<HTMLElement>("[data-words]")];
  return all.map(({ dataset }) => dataset.words ?? "");
}

test("a chip is a shape and words, and its name says of which image", () => {
  const chip = chipOf(judged("scan-likely-ai"));
  const { look, shape, words } = chip.dataset;

  expect([look, shape, words]).toEqual(["likely_ai", "▲", "Likely AI"]);
  expect(chip.getAttribute("aria-label")).toBe("Likely AI: a.png");
});

test.each([
  ["under way", UNDER_WAY, "under_way"],
  ["failed", FAILED, "failed"],
])("a check that is %s has no verdict's look, words or veil", (_, told, look) => {
  expect(chipOf(told).dataset.look).toBe(look);
  expect([chipOf(told).dataset.words, ...said(cardOf(told))].join()).not.toMatch(/Likely|No sign/);
  expect(isFlagged(told)).toBe(false);
});

test("a card says the error rate, that it can be wrong, why, and which bytes were judged", () => {
  const card = cardOf(judged("scan-likely-ai"));
  card.querySelector("details")?.dispatchEvent(new Event("toggle"));
  const words = said(card).join("\n");

  expect(words).toContain("About 3 in 100 real photos like this get this label.");
  expect(words.match(/This can be wrong\./g)).toHaveLength(1);
  expect(words).toContain("Model fixed");
  expect(words).toContain("Your server fetched the image itself");
});

test("a failed check says in plain words why, and can be tried again", () => {
  expect(said(cardOf(FAILED))).toContain("There is no image at this address any more.");
  expect(said(cardOf(FAILED))).toContain("Try again");
  expect(said(cardOf(FAILED))).not.toContain("Report a mistake");
});

test("nothing is a text that a page could search for", () => {
  const veil = document.createElement("div");
  drawVeil(veil, judged("scan-likely-ai"), "cover", () => {});
  const drawn = [chipOf(UNDER_WAY), chipOf(FAILED), cardOf(FAILED), veil];

  expect(drawn.map((one) => one.textContent)).toEqual(["", "", "", ""]);
  expect(cardOf(judged("scan-likely-ai")).textContent).toBe("");
});

test("a script's click does nothing", () => {
  const done: string[] = [];
  const card = cardOf(FAILED, { ...ACTS, again: () => void done.push("again") });

  for (const button of card.querySelectorAll("button")) button.click();

  expect(done).toEqual([]);
});

test("a hostile name is cut and stays a name", () => {
  const chip = chipOf({ ...UNDER_WAY, title: `<img src=x>${"😀".repeat(9999)}` });

  const label = chip.getAttribute("aria-label") ?? "";
  expect(label).toMatch(/^Checking …: <img src=x>😀+…$/u);
  expect([...label].length).toBeLessThan(80);
  expect(chip.children).toHaveLength(0);
});

test.each(LANGUAGES)("every text is there in %s", (language) => {
  speak(language);

  for (const told of [UNDER_WAY, FAILED, judged("scan-likely-ai"), judged("scan-no-sign")]) {
    expect([chipOf(told).dataset.words, ...said(cardOf(told))]).not.toContain("");
  }
});

/** Words are drawn by the sheet, where axe measures no contrast. */
test("every colour of words stands out from the ground, light and dark", () => {
  const palettes = [...STYLE.matchAll(/\.layer \{([^}]*--ground[^}]*)\}/g)].map(([, rules]) =>
    Object.fromEntries([...(rules ?? "").matchAll(/--(\w+): #(\w{6})/g)].map((m) => [m[1], m[2]])),
  );

  expect(palettes).toHaveLength(2);
  for (const { ground = "", line = "", ...inks } of palettes as Record<string, string>[]) {
    for (const ink of Object.values(inks)) expect(contrast(ink, ground)).toBeGreaterThan(4.5);
    expect(contrast(line, ground)).toBeGreaterThan(3);
  }
});

/** WCAG 2.2, "contrast ratio". */
function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [0, 2, 4].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
