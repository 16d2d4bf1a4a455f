/**
 * A check as people read it: a card with the verdict, or where it stands, or why there is none.
 *
 *     ▲ Likely AI                 shape, words and colour
 *     About 3 in 100 real ...     the error rate, or what the verdict does not show
 *     > Why                       reasons, warnings, which bytes, model and date
 *     > Report a mistake          see report.ts
 *
 * A card under way and one that failed have no verdict's colour or shape.
 */
import type { Check } from "../lib/store";
import type { View } from "../lib/view";
import {
  errorWords,
  type MessageName,
  mainSentence,
  SHAPES,
  say,
  verdictWords,
  warningWords,
} from "../lib/words";
import { el } from "./dom";
import { type Reporting, reporting } from "./report";

/** What a card offers where the user can do something about a failure. */
export interface Remedies {
  allowHost(check: Check, origin: string): void;
  allowPrivate(check: Check): void;
  allowCookies(check: Check): void;
  mayAskForPrivate: boolean;
}

export function card(check: Check, remedies: Remedies, to: Reporting): HTMLElement {
  const article = el("article", {
    class: "card",
    "data-check": check.id,
    "data-stage": check.stage,
    "aria-labelledby": `title-${check.id}`,
    // It takes the focus when it is drawn anew under it, or asked for.
    tabindex: "-1",
  });
  article.append(...body(check, remedies, to));
  return article;
}

/** What a card says in one breath, for a screen reader. */
export function announcement(check: Pick<Check, "title" | "view" | "error">): string {
  if (check.view) {
    return `${check.title}: ${verdictWords(check.view.verdict)}. ${mainSentence(check.view)}`;
  }
  return check.error ? `${check.title}: ${errorWords(check.error)}` : "";
}

function body(check: Check, remedies: Remedies, to: Reporting): Node[] {
  const title = el("h3", { class: "title", id: `title-${check.id}` }, check.title);
  if (check.view) return [title, ...verdict(check.view), ...reporting(check, to)];
  if (check.error) return [title, ...failure(check, check.error, remedies)];
  const stage = say(`stage_${check.stage}` as MessageName);
  return [title, el("p", { class: "stage" }, el("span", { class: "spinner" }), stage)];
}

function verdict(view: View): Node[] {
  const shape = el("span", { class: "shape", "aria-hidden": "true" }, SHAPES[view.verdict]);
  const words = el("span", { class: "words" }, verdictWords(view.verdict));
  return [
    el("p", { class: "verdict", "data-verdict": view.verdict }, shape, words),
    el("p", { class: "main" }, mainSentence(view)),
    details(view),
  ];
}

function details(view: View): HTMLElement {
  const lines = detailLines(view).map((line) => el("li", {}, line));
  return el("details", {}, el("summary", {}, say("view_why")), el("ul", {}, ...lines));
}

/** Everything that a reader may want to know, most telling first. */
export function detailLines(view: View): string[] {
  const from = {
    browser: "view_from_browser",
    server: "view_from_server",
    lookup: "view_from_lookup",
    capture: "view_from_capture",
    here: "view_from_here",
  };
  return [
    ...view.reasons.map((reason) => reason.text),
    ...view.warnings.filter((code) => code !== "client_supplied_bytes").map(warningWords),
    view.probability === null ? "" : say("view_probability", percent(view.probability)),
    view.falseAlarms ? say("view_measured", number(view.falseAlarms.n)) : "",
    say(from[view.from] as MessageName),
    sizeLine(view),
    view.modelId ? say("view_model", view.modelId, date(view.judgedAt)) : "",
    view.sha256 ? say("view_sha256", view.sha256.slice(0, 16)) : "",
    view.verdict === "likely_ai" ? say("can_be_wrong") : "",
  ].filter(Boolean);
}

function sizeLine({ size, bytes }: View): string {
  return size && bytes !== null
    ? say("view_size", number(size.width), number(size.height), kilobytes(bytes))
    : "";
}

function failure(check: Check, error: NonNullable<Check["error"]>, remedies: Remedies): Node[] {
  const words = el("p", { class: "error", "data-code": error.code }, errorWords(error));
  return [words, ...remedy(check, error, remedies)];
}

function remedy(check: Check, error: NonNullable<Check["error"]>, remedies: Remedies): Node[] {
  const { origin } = error;
  if (origin) {
    const words = say("allow_host", new URL(origin).host);
    return [button(words, () => remedies.allowHost(check, origin))];
  }
  if (check.source === null) return [];
  if (error.code === "private_address" && remedies.mayAskForPrivate) {
    return [button(say("allow_private"), () => remedies.allowPrivate(check))];
  }
  if (error.code === "fetch_forbidden") {
    const help = el("p", { class: "help" }, say("allow_cookies_help"));
    return [button(say("allow_cookies"), () => remedies.allowCookies(check)), help];
  }
  return [];
}

function button(words: string, click: () => void): HTMLElement {
  return el("button", { type: "button", click }, words);
}

/* Numbers as the user's language writes them */

function percent(share: number): string {
  // 100 % and 0 % would claim a certainty that no detector has.
  const shown = Math.min(Math.max(share, 0.01), 0.99);
  return new Intl.NumberFormat(undefined, { style: "percent" }).format(shown);
}

function number(n: number): string {
  return new Intl.NumberFormat().format(n);
}

export function kilobytes(bytes: number): string {
  const unit = { style: "unit", unit: "kilobyte", maximumFractionDigits: 0 } as const;
  return new Intl.NumberFormat(undefined, unit).format(Math.max(1, bytes / 1000));
}

function date(text: string | null): string {
  const when = new Date(text ?? "");
  return Number.isNaN(when.valueOf()) ? "" : when.toLocaleDateString();
}
