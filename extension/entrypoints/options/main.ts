/** The options page: settings, the connection test, and what left this browser today. */
import { browser } from "wxt/browser";
import { listSent, loadSettings, type Sent, saveSettings } from "../../lib/store";
import { say } from "../../lib/words";
import { byId, el, speak } from "../../ui/dom";
import { settingsForm, testAndTell } from "../../ui/settings_form";
import { kilobytes } from "../../ui/verdict";

async function start(): Promise<void> {
  speak(browser.i18n.getUILanguage(), browser.i18n.getMessage("@@bidi_dir"));
  document.title = say("options_title");
  const { sections, values } = settingsForm(await loadSettings());
  const save = async (event: Event) => {
    event.preventDefault();
    await saveSettings(values());
    byId("finding").textContent = say("options_saved");
  };
  const test = async () => {
    await testAndTell(values());
    await drawSent();
  };
  const form = el("form", { submit: (event) => void save(event) }, ...sections);
  form.append(
    el("button", { type: "submit", class: "primary" }, say("options_save")),
    el("button", { type: "button", id: "test", click: () => void test() }, say("options_test")),
    el("p", { id: "finding", role: "status" }),
  );
  byId("app").replaceChildren(
    el("main", {}, el("h1", {}, say("options_title")), form, sentSection()),
  );
  await drawSent();
}

function sentSection(): HTMLElement {
  return el("section", { id: "sent" }, el("h2", {}, say("sent_title")), el("ul", { id: "rows" }));
}

async function drawSent(): Promise<void> {
  const rows = (await listSent(Date.now())).map((sent) => el("li", {}, rowWords(sent)));
  byId("rows").replaceChildren(...(rows.length > 0 ? rows : [el("li", {}, say("sent_none"))]));
}

function rowWords(sent: Sent): string {
  const what = {
    prefix: () => say("sent_prefix"),
    bytes: () => say("sent_bytes", kilobytes(sent.bytes)),
    url: () => say("sent_url"),
    test: () => say("sent_test"),
  }[sent.what]();
  return say("sent_row", new Date(sent.at).toLocaleTimeString(), what, sent.to);
}

void start();
