/**
 * The options page: settings, the connection test, what it may see, what is kept and was sent.
 *
 *     form     -> Save: checked by the browser, then stored; Test asks the server that is typed
 *     lists    -> what this extension was let into, see hosts_list.ts
 *     kept     -> Forget: all of this browser but the settings; scans of the server by their ids
 *     sent     -> what left this browser today
 */
import { browser } from "wxt/browser";
import {
  forgetAll,
  listScans,
  listSent,
  loadSettings,
  type Sent,
  type Settings,
  saveSettings,
} from "../../lib/store";
import { say } from "../../lib/words";
import { byId, el, speak } from "../../ui/dom";
import { lists } from "../../ui/hosts_list";
import { localSection } from "../../ui/local";
import { settingsForm, testAndTell } from "../../ui/settings_form";
import { kilobytes } from "../../ui/verdict";

/** Most scans that are listed: newest first, the others go by their age on the server. */
const SCANS_SHOWN = 50;
/** Rows from which a list is folded. */
const ROWS_SHOWN = 10;

async function start(): Promise<void> {
  speak(browser.i18n.getUILanguage(), browser.i18n.getMessage("@@bidi_dir"));
  document.title = say("options_title");
  const title = el("h1", {}, say("options_title"));
  byId("app").replaceChildren(
    el(
      "main",
      {},
      title,
      form(await loadSettings()),
      ...(await lists()),
      ...(await localSection()),
      ...kept(),
      ...sent(),
    ),
  );
  await Promise.all([drawScans(), drawSent()]);
}

function form(now: Settings): HTMLElement {
  const { sections, pointing, values } = settingsForm(now);
  const save = async (event: Event) => {
    event.preventDefault();
    await saveSettings(values(await loadSettings()));
    byId("finding").textContent = say("options_saved");
  };
  const test = async () => {
    await testAndTell(values(await loadSettings()));
    await drawSent();
  };
  return el(
    "form",
    { submit: (event) => void save(event) },
    ...sections,
    ...pointing,
    el("button", { type: "submit", class: "primary" }, say("options_save")),
    el("button", { type: "button", id: "test", click: () => void test() }, say("options_test")),
    el("p", { id: "finding", role: "status" }),
  );
}

/* What is kept */

function kept(): HTMLElement[] {
  const click = async () => {
    await forgetAll();
    byId("kept-news").textContent = say("kept_forgotten");
    await Promise.all([drawScans(), drawSent()]);
  };
  return [
    el("h2", {}, say("kept_title")),
    el("p", {}, say("kept_here")),
    el("button", { type: "button", id: "forget", click: () => void click() }, say("kept_forget")),
    el("p", { id: "kept-news", role: "status" }),
    el("section", { id: "scans" }),
  ];
}

/** The scans that this browser had made, and how who runs the server erases them. */
async function drawScans(): Promise<void> {
  const scans = (await listScans()).slice(0, SCANS_SHOWN);
  const title = el("h2", {}, say("scans_title"));
  if (scans.length === 0) {
    byId("scans").replaceChildren(title, el("p", {}, say("scans_none")));
    return;
  }
  const rows = scans.map(({ id, at }) =>
    el("li", {}, el("code", { dir: "ltr" }, id), ` ${timeOf(at)}`),
  );
  const commands = eraseCommands(scans).join("\n");
  byId("scans").replaceChildren(
    title,
    folded(rows),
    el("p", {}, say("scans_help")),
    el("pre", { dir: "ltr" }, commands),
  );
}

/** One command for each server: curl reads a list in braces. */
function eraseCommands(scans: { id: string; backend: string }[]): string[] {
  const key = '-H "Authorization: Bearer $PINCLIP_API_KEY"';
  return [...new Set(scans.map((scan) => scan.backend))].map((backend) => {
    const ids = scans.filter((scan) => scan.backend === backend).map((scan) => scan.id);
    return `curl -X DELETE ${key} "${backend}/v1/scans/{${ids.join(",")}}"`;
  });
}

/* What left */

function sent(): HTMLElement[] {
  return [
    el("section", { id: "sent" }, el("h2", {}, say("sent_title")), el("div", { id: "rows" })),
  ];
}

async function drawSent(): Promise<void> {
  const rows = (await listSent(Date.now())).map((one) => el("li", {}, rowWords(one)));
  byId("rows").replaceChildren(rows.length > 0 ? folded(rows) : el("p", {}, say("sent_none")));
}

/** A list; one that is long is folded, so that what stands under it is found. */
function folded(rows: HTMLElement[]): HTMLElement {
  const list = el("ul", {}, ...rows);
  if (rows.length <= ROWS_SHOWN) return list;
  return el("details", {}, el("summary", {}, say("list_all", rows.length)), list);
}

function rowWords(one: Sent): string {
  const what = {
    prefix: () => say("sent_prefix"),
    bytes: () => say("sent_bytes", kilobytes(one.bytes)),
    url: () => say("sent_url"),
    model: () => say("sent_model"),
    test: () => say("sent_test"),
    report: () => say("sent_report"),
  }[one.what]();
  return say("sent_row", new Date(one.at).toLocaleTimeString(), what, one.to);
}

function timeOf(at: number): string {
  return new Date(at).toLocaleString();
}

void start();
