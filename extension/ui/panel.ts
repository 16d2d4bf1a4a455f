/**
 * The popup and the side panel: give it an image, see what came of every check of this session.
 *
 *     file, drop, paste --> check() right here: bytes are never passed between contexts
 *     the page in front --> this_page.ts
 *     button of a card  --> permission, then the worker reads the image anew
 *     report, appeal    --> the user's server; kept with the check
 *     store changed     --> cards are drawn anew; a result is announced once
 *     a page's chip     --> the card of its check is shown, its form open if a mistake is reported
 *
 * It is the trusted copy: no page can draw on it or read it.
 */
import { browser } from "wxt/browser";
import { check } from "../lib/check";
import { appeal, report } from "../lib/feedback";
import { hostPattern } from "../lib/hosts";
import { send } from "../lib/messages";
import {
  type Check,
  clearChecks,
  listChecks,
  loadSettings,
  loadShown,
  watchChecks,
  watchShown,
} from "../lib/store";
import { fromFile } from "../lib/subjects";
import { say } from "../lib/words";
import { byId, el, speak } from "./dom";
import { type Reporting, reportNews } from "./report";
import { thisPage } from "./this_page";
import { announcement, card, type Remedies } from "./verdict";

/** After how long a worker that was ended in the middle of a check is started again. */
const TAKE_UP_MS = 15_000;
/** How long ago a page may have asked for a card that a panel shows as it opens. */
const SHOWN_WITHIN_MS = 10_000;
/** Of many changes at once (a page is being checked), the list is drawn once in this time. */
const DRAW_MS = 150;

/** Draw the panel into the page and keep it up to date. */
export async function start(): Promise<void> {
  speak(browser.i18n.getUILanguage(), browser.i18n.getMessage("@@bidi_dir"));
  document.title = say("extension_name");
  const { isSetUp, privateHosts, backend } = await loadSettings();
  byId("app").replaceChildren(isSetUp ? intake() : invitation());
  if (!isSetUp) return;
  const list = new List(privateHosts === "ask", { backend, report, appeal });
  await list.draw();
  watchChecks(soon(() => void list.draw()));
  byId("checks-title").before(await thisPage(byId("news")));
  watchShown(() => void showAsked());
  await showAsked();
  takeUp();
}

/** `work`, at most once in DRAW_MS however often it is called for. */
function soon(work: () => void): () => void {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    setTimeout(() => {
      isDue = false;
      work();
    }, DRAW_MS);
  };
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
    el("h2", { id: "checks-title" }, say("panel_checks")),
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
  readonly #drawn = new Map<string, Check>();
  readonly #remedies: Remedies;
  readonly #reporting: Reporting;
  #isFirst = true;

  constructor(mayAskForPrivate: boolean, reporting: Reporting) {
    this.#remedies = { allowHost, allowPrivate, allowCookies, mayAskForPrivate };
    this.#reporting = reporting;
  }

  /** Draw every check that has changed; those that have not keep their element and its focus. */
  async draw(): Promise<void> {
    // Those of a whole page are summed up in its section; each is seen over its image.
    const checks = (await listChecks()).filter(({ how }) => how !== "sweep");
    const empty = el("p", { class: "empty" }, say("panel_empty"));
    const cards = checks.map((one) => this.#card(one));
    arrange(byId("checks"), cards.length > 0 ? cards : [empty]);
    this.#isFirst = false;
  }

  #card(one: Check): HTMLElement {
    const before = this.#drawn.get(one.id);
    const old = cardOf(one.id);
    if (old && JSON.stringify(before) === JSON.stringify(one)) return old;
    this.#drawn.set(one.id, one);
    const news = this.#isFirst ? "" : reportNews(one, before) || announcement(one);
    if (news) byId("news").textContent = news;
    const drawn = card(one, this.#remedies, this.#reporting);
    if (old?.contains(document.activeElement)) {
      old.replaceWith(drawn);
      drawn.focus();
    }
    return drawn;
  }
}

function cardOf(checkId: string): HTMLElement | null {
  return document.querySelector<HTMLElement>(`[data-check="${CSS.escape(checkId)}"]`);
}

/** Bring the card that a page's chip asked for into view, with its form open if it is for that. */
async function showAsked(): Promise<void> {
  const asked = await loadShown();
  if (asked === null || Date.now() - asked.at > SHOWN_WITHIN_MS) return;
  const shown = cardOf(asked.checkId);
  if (asked.isReport) shown?.querySelector("details.report")?.setAttribute("open", "");
  shown?.scrollIntoView({ block: "start" });
  shown?.focus();
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
    if (isGranted) await again(one, {});
  });
}

function allowPrivate(one: Check): void {
  void again(one, { isAllowed: true });
}

function allowCookies(one: Check): void {
  void again(one, { withCookies: true });
}

function again(one: Check, yes: { isAllowed?: boolean; withCookies?: boolean }): Promise<unknown> {
  return send("check-again", { checkId: one.id, isAllowed: false, withCookies: false, ...yes });
}
