/**
 * What a card offers to who knows better: report a mistake, and appeal where an image is accused.
 *
 *     > Report a mistake   label, comment -> send -> "Your server keeps your report", and where
 *     > Appeal             reason         -> send -> "waits for a decision"
 *
 * Knows what is asked for and what is said of it, not how it is sent: that is given.
 */
import { PinclipError } from "../lib/errors";
import type { Label } from "../lib/feedback";
import type { Check } from "../lib/store";
import { errorWords, type MessageName, say } from "../lib/words";
import { el } from "./dom";

/** How they are sent; both throw PinclipError. */
export interface Reporting {
  /** The address of the server, for where a report can be read. */
  backend: string;
  report(check: Check, label: Label, comment: string): Promise<unknown>;
  appeal(check: Check, reason: string): Promise<unknown>;
}

/** Most characters that the server takes. */
const COMMENT_LIMIT = "2000";
const REASON_LIMIT = "4000";
const ACCUSING = new Set(["likely_ai", "declared_ai"]);

/** The parts of a card under its verdict. */
export function reporting(check: Check, to: Reporting): HTMLElement[] {
  const isAccused = ACCUSING.has(check.view?.verdict ?? "");
  return [
    check.reported ? reported(check.reported, to.backend) : reportForm(check, to),
    ...(isAccused ? [check.appealed ? appealed(check.appealed.id) : appealForm(check, to)] : []),
  ];
}

/** What is new of a check since `before`, for a screen reader; "" where it is neither of the two. */
export function reportNews(check: Check, before: Check | undefined): string {
  if (check.appealed && !before?.appealed) return say("appeal_kept", check.appealed.id);
  if (check.reported && !before?.reported) return keptWords(check.reported.label);
  return "";
}

function keptWords(label: Label): string {
  return say("report_kept", say(LABELS[label]));
}

function reported({ label, scanId }: NonNullable<Check["reported"]>, backend: string): HTMLElement {
  const address = `${backend}/v1/scans/${scanId}/feedback`;
  return el(
    "div",
    { class: "kept" },
    el("p", {}, keptWords(label)),
    el(
      "p",
      { class: "help" },
      say("report_where"),
      " ",
      el("code", { dir: "ltr" }, `GET ${address}`),
    ),
  );
}

function appealed(id: string): HTMLElement {
  return el("p", { class: "kept" }, say("appeal_kept", id));
}

const LABELS: Record<Label, MessageName> = { ai: "report_ai", not_ai: "report_not_ai" };

function reportForm(check: Check, to: Reporting): HTMLElement {
  const name = `label-${check.id}`;
  const choices = (Object.keys(LABELS) as Label[]).map((value) => {
    const input = el("input", { type: "radio", name, value });
    return el("label", { class: "choice" }, input, el("span", {}, say(LABELS[value])));
  });
  const question = el("legend", {}, say("report_question"));
  const comment = el("textarea", { maxlength: COMMENT_LIMIT, rows: "2" });
  const fault = el("p", { class: "error", role: "alert" });
  const send = async (form: HTMLFormElement) => {
    const label = new FormData(form).get(name) as Label | null;
    if (!label) throw say("report_choose");
    await to.report(check, label, comment.value.trim());
  };
  return folded(
    "report",
    "report_open",
    form(
      send,
      fault,
      el("fieldset", {}, question, ...choices),
      labelled("report_comment", comment),
      el("p", { class: "help" }, say("report_help")),
      el("button", { type: "submit" }, say("report_send")),
    ),
  );
}

function appealForm(check: Check, to: Reporting): HTMLElement {
  const reason = el("textarea", { maxlength: REASON_LIMIT, rows: "3" });
  const fault = el("p", { class: "error", role: "alert" });
  const send = async () => {
    const words = reason.value.trim();
    if (!words) throw say("appeal_missing");
    await to.appeal(check, words);
  };
  return folded(
    "appeal",
    "appeal_open",
    form(
      send,
      fault,
      labelled("appeal_reason", reason),
      el("p", { class: "help" }, say("appeal_help")),
      el("button", { type: "submit" }, say("appeal_send")),
    ),
  );
}

function folded(kind: string, name: MessageName, content: HTMLElement): HTMLElement {
  return el("details", { class: kind }, el("summary", {}, say(name)), content);
}

function labelled(name: MessageName, input: HTMLElement): HTMLElement {
  return el("label", { class: "field" }, el("span", {}, say(name)), input);
}

/** A form that is sent once at a time, and says why it was not: `send` throws words or an error. */
function form(
  send: (form: HTMLFormElement) => Promise<void>,
  fault: HTMLElement,
  ...parts: HTMLElement[]
): HTMLFormElement {
  const made = el("form", {}, ...parts, fault);
  let isSending = false;
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isSending) return;
    isSending = true;
    fault.textContent = "";
    send(made)
      .catch((error: unknown) => {
        fault.textContent = wordsOf(error);
      })
      .finally(() => {
        isSending = false;
      });
  });
  return made;
}

function wordsOf(error: unknown): string {
  if (typeof error === "string") return error;
  if (error instanceof PinclipError) {
    return errorWords({ code: error.code, detail: error.message, hint: error.hint });
  }
  return errorWords({ code: "internal", detail: String(error), hint: "" });
}
