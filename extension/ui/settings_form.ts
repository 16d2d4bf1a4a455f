/**
 * The form of the settings, as the first run and the options page show it.
 *
 * Knows how a setting is asked for, not what becomes of it: `values()` is what is typed.
 */
import { type Finding, test } from "../lib/connection";
import {
  DEFAULTS,
  DWELL_MS,
  FLAGGED,
  MODIFIERS,
  noteSent,
  SENDS,
  type Settings,
} from "../lib/store";
import { type MessageName, say } from "../lib/words";
import { byId, el } from "./dom";

const POINTS: Settings["point"][] = ["strict", "balanced", "sensitive"];
const PRIVATES: Settings["privateHosts"][] = ["never", "ask"];

export interface Form {
  /** Which server, how careful, and what may leave: what the first run asks for. */
  sections: HTMLElement[];
  /** How images are pointed at, and what becomes of flagged ones. */
  pointing: HTMLElement[];
  /** What is typed, over the settings as they are now; what is not asked for keeps its value. */
  values(now: Settings): Settings;
}

export function settingsForm(now: Settings): Form {
  const backend = text("backend", now.backend, "url", { dir: "ltr" });
  const key = text("key", now.key, "password", { dir: "ltr" });
  const server = el(
    "section",
    {},
    el("h2", {}, say("options_server")),
    field(backend, "options_backend", say("options_backend_help")),
    field(key, "options_key", say("options_key_help")),
    el("pre", { id: "command", dir: "ltr" }, keyCommand()),
  );
  const sections = [
    server,
    radios("point", "options_point", POINTS, now.point),
    radios("send", "options_privacy", SENDS, now.send),
    radios("private", "options_private", PRIVATES, now.privateHosts),
    el("p", { class: "note" }, say("options_never_sent")),
  ];
  return { sections, pointing: pointing(now), values: (newest) => values(newest, backend, key) };
}

function pointing(now: Settings): HTMLElement[] {
  const hover = el("input", { type: "checkbox", id: "hover", checked: now.hover });
  const { least, most } = DWELL_MS;
  const limits = { min: String(least), max: String(most), step: "50", required: true };
  const dwell = text("dwell", String(now.dwellMs), "number", limits);
  const modifiers = MODIFIERS.map((value) =>
    el("option", { value, selected: value === now.modifier }, say(`options_modifier_${value}`)),
  );
  return [
    el(
      "fieldset",
      {},
      el("legend", {}, say("options_hover")),
      el("label", { class: "choice" }, hover, el("span", {}, say("options_hover_on"))),
      field(dwell, "options_dwell", say("options_dwell_help")),
      el(
        "div",
        { class: "field" },
        el("label", { for: "modifier" }, say("options_modifier")),
        el("select", { id: "modifier" }, ...modifiers),
      ),
    ),
    radios("flagged", "options_flagged", FLAGGED, now.flagged),
  ];
}

function values(now: Settings, backend: HTMLInputElement, key: HTMLInputElement): Settings {
  return {
    ...now,
    backend: backend.value.trim().replace(/\/+$/, "") || DEFAULTS.backend,
    key: key.value.trim(),
    point: chosen("point", POINTS, now.point),
    send: chosen("send", SENDS, now.send),
    privateHosts: chosen("private", PRIVATES, now.privateHosts),
    hover: input("hover")?.checked ?? now.hover,
    dwellMs: dwellOf(input("dwell")?.valueAsNumber ?? now.dwellMs, now),
    modifier: MODIFIERS.find((value) => value === input("modifier")?.value) ?? now.modifier,
    flagged: chosen("flagged", FLAGGED, now.flagged),
  };
}

function input(id: string): HTMLInputElement | null {
  return document.querySelector<HTMLInputElement>(`#${id}`);
}

function dwellOf(typed: number, now: Settings): number {
  const isInside = typed >= DWELL_MS.least && typed <= DWELL_MS.most;
  return isInside ? typed : now.dwellMs;
}

/** What makes a key on the server that works from this very installation. */
function keyCommand(): string {
  const what = "--owner me --name extension --scope scan --publishable";
  return `pinclip keys create ${what} --origin ${location.origin}`;
}

function text(
  id: string,
  value: string,
  type: string,
  more: Record<string, string | boolean> = {},
): HTMLInputElement {
  const plain = { autocomplete: "off", spellcheck: "false", ...more };
  return el("input", { id, type, value, ...plain, "aria-describedby": `${id}-help` });
}

function field(input: HTMLInputElement, label: MessageName, help: string): HTMLElement {
  return el(
    "div",
    { class: "field" },
    el("label", { for: input.id }, say(label)),
    input,
    el("p", { class: "help", id: `${input.id}-help` }, help),
  );
}

function radios<T extends string>(
  name: string,
  legend: MessageName,
  choices: readonly T[],
  now: T,
): HTMLElement {
  const rows = choices.map((value) => {
    const checked = value === now;
    const input = el("input", { type: "radio", name, value, checked });
    const words = say(`options_${name}_${value}` as MessageName);
    return el("label", { class: "choice" }, input, el("span", {}, words));
  });
  return el("fieldset", {}, el("legend", {}, say(legend)), ...rows);
}

function chosen<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
  const input = document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`);
  return choices.find((value) => value === input?.value) ?? otherwise;
}

/** Test the connection and say what was found in #finding. */
export async function testAndTell(settings: Settings): Promise<Finding> {
  const place = byId("finding");
  place.textContent = say("options_testing");
  place.dataset.cause = "testing";
  await noteSent({ at: Date.now(), what: "test", bytes: 0, to: settings.backend });
  const finding = await test(settings);
  place.textContent = say(`cause_${finding.cause}` as MessageName, finding.detail);
  place.dataset.cause = finding.cause;
  return finding;
}
