// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import { DEFAULTS } from "../lib/store";
import { speak } from "../testing/world";
import { settingsForm } from "./settings_form";

beforeEach(() => speak("en"));

const options = () => {
  const form = settingsForm(DEFAULTS);
  document.body.replaceChildren(...form.sections, ...form.pointing);
  return form;
};
const field = (selector: string) => document.querySelector(selector) as HTMLInputElement;

test("what is typed is what is saved", () => {
  const { values } = options();

  field("#backend").value = " https://pinclip.example/ ";
  field("#dwell").value = "900";
  field("#modifier").value = "alt";
  field("#hover").checked = false;
  field("input[name=flagged][value=cover]").checked = true;

  expect(values(DEFAULTS)).toEqual({
    ...DEFAULTS,
    backend: "https://pinclip.example",
    dwellMs: 900,
    modifier: "alt",
    hover: false,
    flagged: "cover",
  });
});

test.each([["100"], ["2001"], [""]])("a dwell of %j ms is not taken", (typed) => {
  const { values } = options();

  field("#dwell").value = typed;

  expect(values(DEFAULTS).dwellMs).toBe(DEFAULTS.dwellMs);
});

test("what a page does not ask for keeps what it is now, not what it was as the page opened", () => {
  const form = settingsForm(DEFAULTS);
  document.body.replaceChildren(...form.sections);

  const newer = { ...DEFAULTS, dwellMs: 700, localTier: true, flagged: "dim" } as const;

  expect(form.values(newer)).toMatchObject({ dwellMs: 700, localTier: true, flagged: "dim" });
});
