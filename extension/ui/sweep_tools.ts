/**
 * The buttons that work on a whole tab: check its page, with bar, Cancel and sum; pick an image.
 *
 *     button -> worker -> page.js -> rows in the store -> drawn here
 *
 * Knows one tab. Whether it may be worked in, and which it is, is decided in this_page.ts.
 */
import { send } from "../lib/messages";
import { listSweeps, watchSweeps } from "../lib/store";
import { type MessageName, say } from "../lib/words";
import { el } from "./dom";
import { type Sum, sumOf, sumShown, sumWords } from "./sweep_sum";

export class SweepTools {
  readonly elements: HTMLElement[];
  readonly #tabId: number;
  readonly #news: HTMLElement;
  readonly #fault = el("p", { class: "error", role: "alert" });
  readonly #result = el("div", { id: "sweep-result" });
  readonly #sweep = button("sweep", "tab_sweep", () => void this.#begin("sweep"));
  readonly #pick = button("pick", "tab_pick", () => void this.#begin("pick"));
  readonly #cancel = button("cancel", "tab_cancel", () => void this.#end());
  #wasUnderWay = false;

  /** `news` is where what came of it is announced, once. */
  constructor(tabId: number, news: HTMLElement) {
    this.#tabId = tabId;
    this.#news = news;
    const row = el("div", { class: "row" }, this.#sweep, this.#cancel, this.#pick);
    this.elements = [row, this.#fault, this.#result];
  }

  /** Draw it, now and whenever a sweep gets on; returns how to stop. */
  async start(): Promise<() => void> {
    await this.#draw();
    return watchSweeps(() => void this.#draw());
  }

  async #begin(kind: "sweep" | "pick"): Promise<void> {
    const started = await send(kind, { tabId: this.#tabId });
    this.#fault.textContent = started === "started" ? "" : say("tab_not_reached");
    if (started !== "started" || kind === "sweep") return;
    this.#news.textContent = say("tab_picking");
    // A popup hides the page that it is about.
    if (document.body.className === "popup") window.close();
  }

  async #end(): Promise<void> {
    await send("sweep-cancel", { tabId: this.#tabId });
  }

  async #draw(): Promise<void> {
    const sum = sumOf(await listSweeps(this.#tabId));
    const isUnderWay = sum !== null && !sum.isEnded;
    this.#offer(isUnderWay ? this.#cancel : this.#sweep);
    this.#sweep.textContent = say(hasMore(sum) ? "tab_sweep_on" : "tab_sweep");
    this.#result.replaceChildren(...(sum ? sumShown(sum) : []));
    if (sum && this.#wasUnderWay && !isUnderWay) this.#news.textContent = sumWords(sum);
    this.#wasUnderWay = isUnderWay;
  }

  /** Show one of the two buttons; what is hidden loses the focus, so it is handed on before. */
  #offer(wanted: HTMLButtonElement): void {
    const other = wanted === this.#sweep ? this.#cancel : this.#sweep;
    wanted.hidden = false;
    if (document.activeElement === other) wanted.focus();
    other.hidden = true;
  }
}

function hasMore(sum: Sum | null): boolean {
  return sum?.isEnded === true && sum.left > 0;
}

function button(id: string, name: MessageName, click: () => void): HTMLButtonElement {
  return el("button", { type: "button", id, click }, say(name));
}
