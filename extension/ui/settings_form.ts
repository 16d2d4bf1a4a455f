/**
 * The form of the settings, as the first run and the options page show it.
 *
 * Knows how a setting is asked for, not what becomes of it: `values()` is what is typed.
 */
import { type Finding, test } from "../lib/connection";
import { DEFAULTS, noteSent, SENDS, type Settings } from "../lib/store";
import { type MessageName, say } from "../lib/words";
import { byId, el } from "./dom";

const POINTS: Settings["point"][] = ["strict", "balanced", "sensitive"];
const PRIVATES: Settings["privateHosts"][] = ["never", "ask"];

export interface Form {
  sections: HTMLElement[];
  values(): Settings;
}

export function settingsForm(now: Settings): Form {
  const backend = text("backend", now.backend, "url");
  const key = text("key", now.key, "password");
  const server = el(
    "section",
    {},
    el("h2", {}, say("options_server")),
    field(backend, "options_backend", say("options_backend_help")),
    field(key, "options_key", say("options_key_help")),
    el("pre", { id: "command" }, keyCommand()),
  );
  const sections = [
    server,
    radios("point", "options_point", POINTS, now.point),
    radios("send", "options_privacy", SENDS, now.send),
    radios("private", "options_private", PRIVATES, now.privateHosts),
    el("p", { class: "note" }, say("options_never_sent")),
  ];
  return { sections, values: () => values(now, backend, key) };
}

function values(now: Settings, backend: HTMLInputElement, key: HTMLInputElement): Settings {
  return {
    ...now,
    backend: backend.value.trim().replace(/\/+$/, "") || DEFAULTS.backend,
    key: key.value.trim(),
    point: chosen("point", POINTS, now.point),
    send: chosen("send", SENDS, now.send),
    privateHosts: chosen("private", PRIVATES, now.privateHosts),
  };
}

/** What makes a key on the server that works from this very installation. */
function keyCommand(): string {
  const what = "--owner me --name extension --scope scan --publishable";
  return `pinclip keys create ${what} --origin ${location.origin}`;
}

function text(id: string, value: string, type: string): HTMLInputElement {
  const plain = { autocomplete: "off", spellcheck: "false" };
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
