/**
 * The popup and the side panel: give it an image, see what came of every check of this session.
 *
 *     file, drop, paste --> check() right here: bytes are never passed between contexts
 *     button of a card  --> permission, then the worker reads the image anew
 *     store changed     --> cards are drawn anew; a result is announced once
 *
 * It is the trusted copy: no page can draw on it or read it.
 */
import { browser } from "wxt/browser";
import { check } from "../lib/check";
import { hostPattern } from "../lib/hosts";
import { send } from "../lib/messages";
import { type Check, clearChecks, listChecks, loadSettings, watchChecks } from "../lib/store";
import { fromFile } from "../lib/subjects";
import { say } from "../lib/words";
import { byId, el, speak } from "./dom";
import { announcement, card, type Remedies } from "./verdict";

/** After how long a worker that was ended in the middle of a check is started again. */
const TAKE_UP_MS = 15_000;

/** Draw the panel into the page and keep it up to date. */
export async function start(): Promise<void> {
  speak(browser.i18n.getUILanguage(), browser.i18n.getMessage("@@bidi_dir"));
  document.title = say("extension_name");
  const { isSetUp, privateHosts } = await loadSettings();
  byId("app").replaceChildren(isSetUp ? intake() : invitation());
  if (!isSetUp) return;
  const list = new List(privateHosts === "ask");
  await list.draw();
  watchChecks(() => void list.draw());
  takeUp();
}

/** Have the worker go on with what broke off, now and whenever it may have been ended again. */
function takeUp(): void {
  void send("take-up", {});
  setInterval(() => {
    if (document.querySelector(".stage")) void send("take-up", {});
  }, TAKE_UP_MS);
}

function invitation(): HTMLElement {
  const click = () => void browser.tabs.create({ url: browser.runtime.getURL("/welcome.html") });
  const button = el(
    "button",
    { type: "button", class: "primary", click },
    say("panel_set_up_button"),
  );
  const title = el("h1", {}, say("extension_name"));
  return el("main", {}, title, el("p", {}, say("panel_set_up")), button);
}

/* Ways in */

function intake(): HTMLElement {
  listenForFiles();
  const input = el("input", { type: "file", accept: "image/*", multiple: true, id: "file" });
  input.addEventListener("change", () => take(input.files));
  const label = el("label", { for: "file", class: "button" }, say("panel_choose"));
  const zone = el(
    "div",
    { class: "zone", id: "zone" },
    el("p", {}, say("panel_drop")),
    input,
    label,
  );
  const title = el("h1", { class: "hidden" }, say("extension_name"));
  return el("main", {}, title, zone, ...listOfChecks(), footer());
}

function listOfChecks(): HTMLElement[] {
  return [
    el("p", { id: "news", class: "hidden", role: "status", "aria-live": "polite" }),
    el("h2", {}, say("panel_checks")),
    el("div", { id: "checks" }),
  ];
}

function footer(): HTMLElement {
  const clear = () => void clearChecks();
  const settings = () => void browser.runtime.openOptionsPage();
  return el(
    "footer",
    {},
    el("button", { type: "button", click: clear }, say("panel_clear")),
    el("button", { type: "button", click: settings }, say("panel_settings")),
  );
}

function listenForFiles(): void {
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer?.files ?? null);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData?.files ?? null));
}

function take(files: FileList | null): void {
  if (!files?.length) byId("news").textContent = say("panel_not_a_file");
  for (const file of files ?? []) void check(fromFile(file));
}

/* The checks of this session */

class List {
  readonly #drawn = new Map<string, string>();
  readonly #remedies: Remedies;
  #isFirst = true;

  constructor(mayAskForPrivate: boolean) {
    this.#remedies = { allowHost, allowPrivate, mayAskForPrivate };
  }

  /** Draw every check that has changed; those that have not keep their element and its focus. */
  async draw(): Promise<void> {
    const checks = await listChecks();
    const empty = el("p", { class: "empty" }, say("panel_empty"));
    const cards = checks.map((one) => this.#card(one));
    arrange(byId("checks"), cards.length > 0 ? cards : [empty]);
    this.#isFirst = false;
  }

  #card(one: Check): HTMLElement {
    const said = JSON.stringify(one);
    const old = document.querySelector<HTMLElement>(`[data-check="${one.id}"]`);
    if (old && this.#drawn.get(one.id) === said) return old;
    this.#drawn.set(one.id, said);
    const news = this.#isFirst ? "" : announcement(one);
    if (news) byId("news").textContent = news;
    return card(one, this.#remedies);
  }
}

/** Make these the children of `place`; what is there already is not moved, so it keeps the focus. */
function arrange(place: HTMLElement, wanted: HTMLElement[]): void {
  for (const child of [...place.children]) {
    if (!wanted.includes(child as HTMLElement)) child.remove();
  }
  wanted.forEach((element, index) => {
    const there = place.children[index] ?? null;
    if (there !== element) place.insertBefore(element, there);
  });
}

/** Ask the browser for one host: must be the first thing that a click does. */
function allowHost(one: Check, origin: string): void {
  void browser.permissions.request({ origins: [hostPattern(origin)] }).then(async (isGranted) => {
    if (isGranted) await send("check-again", { checkId: one.id, isAllowed: false });
  });
}

function allowPrivate(one: Check): void {
  void send("check-again", { checkId: one.id, isAllowed: true });
}
