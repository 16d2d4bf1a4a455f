/**
 * The part of the options page on judging in this browser: get the model, turn it on, remove it.
 *
 *     no model here --Download--> 0 ... 100 % --> here, and on <--> off
 *           ^                        | the server has none: what its owner may do
 *           +-------- Remove --------+
 *
 * Saves its one setting by itself: the form's Save is for what is typed.
 */
import { Client } from "../lib/api";
import { PinclipError } from "../lib/errors";
import { loadSettings, noteSent, saveSettings } from "../lib/store";
import { errorWords, say } from "../lib/words";
import { dropModel, fetchModel, type Kept, keptModel } from "../local/shelf";
import { byId, el } from "./dom";

const COMMAND = "pinclip export --small -o pinclip.onnx";

/** The section; nothing in a browser that cannot run the model. */
export async function localSection(): Promise<HTMLElement[]> {
  if (import.meta.env.FIREFOX) return [];
  return [
    el("h2", {}, say("local_title")),
    el("p", {}, say("local_help")),
    el("p", { class: "help" }, say("local_limits")),
    el("div", { id: "local" }, ...(await offered())),
    el("p", { id: "local-news", role: "status" }),
  ];
}

async function offered(): Promise<HTMLElement[]> {
  const [kept, { localTier }] = await Promise.all([keptModel(), loadSettings()]);
  const get = button("local_get", () => download(kept));
  return kept ? [...turning(kept, localTier), get] : [get];
}

async function draw(): Promise<void> {
  byId("local").replaceChildren(...(await offered()));
}

function turning(kept: Kept, isOn: boolean): HTMLElement[] {
  const change = (event: Event) => void turn((event.target as HTMLInputElement).checked);
  const box = el("input", { type: "checkbox", id: "local-on", checked: isOn, change });
  return [
    el("label", { class: "choice" }, box, el("span", {}, say("local_on"))),
    el("p", {}, say("local_kept", kept.id, megabytes(kept.bytes))),
    button("local_remove", remove),
  ];
}

async function turn(localTier: boolean): Promise<void> {
  await saveSettings({ ...(await loadSettings()), localTier });
}

async function remove(): Promise<void> {
  await turn(false);
  await dropModel();
  tell(say("local_removed"));
  await draw();
}

/** Get the model that the server judges with now, unless that one is here. */
async function download(kept: Kept | null): Promise<void> {
  const settings = await loadSettings();
  const now = { at: Date.now(), what: "model", bytes: 0, to: settings.backend } as const;
  try {
    await noteSent(now);
    const [model] = (await new Client(settings.backend, settings.key).models()).data;
    if (!model) throw new PinclipError("model_unavailable", "No worker of the server is alive.");
    if (kept?.id !== model.id) await fetchModel(settings, model.id, progress());
    await turn(true);
    tell("");
    await draw();
  } catch (error) {
    tell(...faultOf(error));
  }
}

/** Tell a screen reader of a few steps only. */
function progress(): (share: number) => void {
  let shown = -1;
  return (share) => {
    const tenth = Math.floor(share * 10);
    if (tenth === shown) return;
    shown = tenth;
    const percent = new Intl.NumberFormat(undefined, { style: "percent" }).format(tenth / 10);
    tell(say("local_getting", percent));
  };
}

function faultOf(error: unknown): (string | HTMLElement)[] {
  if (!(error instanceof PinclipError)) throw error;
  if (error.code === "not_found") return [say("local_none"), el("pre", {}, COMMAND)];
  return [errorWords({ code: error.code, detail: error.message, hint: error.hint })];
}

function tell(...words: (string | HTMLElement)[]): void {
  byId("local-news").replaceChildren(...words);
}

function button(name: "local_get" | "local_remove", click: () => Promise<void>): HTMLElement {
  return el("button", { type: "button", id: name, click: () => void click() }, say(name));
}

function megabytes(bytes: number): string {
  const unit = { style: "unit", unit: "megabyte", maximumFractionDigits: 1 } as const;
  return new Intl.NumberFormat(undefined, unit).format(bytes / 1e6);
}
