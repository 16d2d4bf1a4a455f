/** The first run: one page. Nothing is sent before Finish, which saves and then tests. */
import { browser } from "wxt/browser";
import { loadSettings, saveSettings } from "../../lib/store";
import { say } from "../../lib/words";
import { byId, el, speak } from "../../ui/dom";
import { settingsForm, testAndTell } from "../../ui/settings_form";

async function start(): Promise<void> {
  speak(browser.i18n.getUILanguage(), browser.i18n.getMessage("@@bidi_dir"));
  document.title = say("welcome_title");
  const { sections, values } = settingsForm(await loadSettings());
  const finish = async (event: Event) => {
    event.preventDefault();
    const settings = { ...values(await loadSettings()), isSetUp: true };
    await saveSettings(settings);
    byId("done").textContent = say("welcome_done");
    await testAndTell(settings);
  };
  const form = el("form", { submit: (event) => void finish(event) }, ...sections);
  form.append(
    el("button", { type: "submit", class: "primary", id: "finish" }, say("welcome_finish")),
    el("p", { id: "done", role: "status" }),
    el("p", { id: "finding", role: "status" }),
  );
  const intro = [say("welcome_what"), say("welcome_manual")].map((words) => el("p", {}, words));
  byId("app").replaceChildren(el("main", {}, el("h1", {}, say("welcome_title")), ...intro, form));
}

void start();
