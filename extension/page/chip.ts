/**
 * What is drawn over an image: its chip, the chip's card, its veil. Elements from data, no places.
 *
 *     chip   [▲ Likely AI]    the shape alone where there is no room; its words are its name then
 *     card   ▲ Likely AI      verdict, error rate, this can be wrong, why, what can be done
 *     veil                    over an image with an AI verdict, for those who want it dimmed
 *
 * A chip under way and one without a verdict have neither a verdict's colour nor its shape. All
 * text goes in as text. Only clicks of a person count.
 */
import type { Told } from "../lib/messages";
import type { View } from "../lib/view";
import type { Verdict } from "../lib/wire";
import {
  errorWords,
  type MessageName,
  mainSentence,
  SHAPES,
  say,
  verdictWords,
} from "../lib/words";
import { el } from "../ui/dom";
import { detailLines } from "../ui/verdict";

export type Look = Verdict | "under_way" | "failed";

export interface CardActs {
  report(): void;
  openPanel(): void;
  again(): void;
  close(): void;
}

/**
 * Words on an element, by its style sheet (`content`), for readers of the screen as for eyes.
 *
 * Not as text nodes: `window.find` lets a page search those, in a closed root too.
 */
export function words<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  text: string,
  attributes: Parameters<typeof el>[1] = {},
): HTMLElementTagNameMap[K] {
  return el(tag, { ...attributes, "data-words": text });
}

/** A title is a file's name: as long as its author liked. */
const TITLE_LETTERS = 60;

export function lookOf({ view, error }: Told): Look {
  return view?.verdict ?? (error ? "failed" : "under_way");
}

export function wordsOf(told: Told): string {
  if (told.view) return verdictWords(told.view.verdict);
  return say(told.error ? "layer_failed" : "layer_checking");
}

/** All words that a chip may have. */
export function allWords(): string[] {
  const verdicts = Object.keys(SHAPES).map((verdict) => verdictWords(verdict as Verdict));
  return [...verdicts, say("layer_checking"), say("layer_failed")];
}

export function isFlagged({ view }: Told): boolean {
  return view?.verdict === "likely_ai" || view?.verdict === "declared_ai";
}

/** Make the chip say what there is to say now; it stays the same element and keeps the focus. */
export function drawChip(chip: HTMLElement, told: Told): void {
  const said = wordsOf(told);
  // A page may have hundreds: each is one element, and its sheet draws the shape and the words.
  chip.dataset.look = lookOf(told);
  chip.dataset.shape = signOf(lookOf(told));
  chip.dataset.words = said;
  chip.setAttribute("aria-label", told.title ? `${said}: ${shortened(told.title)}` : said);
}

/** The sign of a look; a turning ring, which is none, while it is under way. */
function signOf(look: Look): string {
  if (look === "under_way") return "";
  return look === "failed" ? "!" : SHAPES[look];
}

function shape(told: Told): HTMLElement {
  const look = lookOf(told);
  if (look === "under_way") return el("span", { class: "spinner", "aria-hidden": "true" });
  return words("span", signOf(look), { class: "shape", "aria-hidden": "true" });
}

function shortened(title: string): string {
  const letters = [...title];
  return letters.length > TITLE_LETTERS ? `${letters.slice(0, TITLE_LETTERS).join("")}…` : title;
}

/* The card */

/** Make the card say what there is to say now. */
export function drawCard(card: HTMLElement, told: Told, acts: CardActs): void {
  card.setAttribute("aria-label", wordsOf(told));
  card.replaceChildren(...body(told), buttons(told, acts));
}

function body(told: Told): Node[] {
  const { view, error, stage } = told;
  if (view) return [head("h2", told), ...reading(view)];
  const text = error ? errorWords(error) : say(`stage_${stage}` as MessageName);
  return [head("h2", told), words("p", text, error ? { "data-code": error.code } : {})];
}

function head(tag: "h2" | "p", told: Told): HTMLElement {
  const said = wordsOf(told);
  const name: Record<string, string> = tag === "h2" ? { "aria-label": said } : {};
  const attributes = { class: "verdict", "data-look": lookOf(told), ...name };
  return el(tag, attributes, shape(told), words("span", said, { class: "words" }));
}

function reading(view: View): Node[] {
  const main = mainSentence(view);
  const doubt = say("can_be_wrong");
  return [
    words("p", main, { class: "main" }),
    main === doubt ? null : words("p", doubt, { class: "quiet" }),
    details(view, doubt),
    words("p", say("layer_open_help"), { class: "quiet" }),
  ].filter((one) => one !== null);
}

/** Filled when it is opened: the first number in the user's language costs 0.1 s in a new page. */
function details(view: View, doubt: string): HTMLElement {
  const list = el("ul");
  const toggle = () => {
    const lines = detailLines(view).filter((line) => line !== doubt);
    if (!list.firstChild) list.append(...lines.map((line) => words("li", line)));
  };
  const why = say("view_why");
  return el("details", { toggle }, words("summary", why, { "aria-label": why }), list);
}

function buttons({ view, error }: Told, acts: CardActs): HTMLElement {
  return el(
    "p",
    { class: "buttons" },
    view ? button("layer_report", acts.report) : null,
    error ? button("layer_again", acts.again) : null,
    button("layer_open", acts.openPanel),
    button("layer_close", acts.close),
  );
}

/** A button that a person can press, and no script. */
export function button(name: MessageName, act: () => void): HTMLButtonElement {
  return labelled(say(name), act);
}

export function labelled(label: string, act: () => void): HTMLButtonElement {
  return words("button", label, { type: "button", "aria-label": label, click: trusted(act) });
}

export function trusted(act: () => void): (event: Event) => void {
  return (event) => {
    if (event.isTrusted) act();
  };
}

/* The veil */

/** Make the veil dim what is under it, or cover it and say what it is. */
export function drawVeil(veil: HTMLElement, told: Told, mode: "dim" | "cover", show: () => void) {
  veil.className = `veil ${mode}`;
  if (mode === "dim") {
    veil.replaceChildren();
    return;
  }
  veil.replaceChildren(head("p", told), button("layer_show", show));
}
