/**
 * What the layer says apart from any image: a line at the bottom of the view, and, for a screen
 * reader, each result once.
 *
 *     toast("Checking 3 of 40", [Cancel])   drawn anew as often as it changes, heard when it is new
 *     news("a.png: Likely AI. ...")         one by one; of many at once only how many
 */
import { say } from "../lib/words";
import { el } from "../ui/dom";
import { labelled, words } from "./chip";

export interface ToastAction {
  label: string;
  act(): void;
}

/** Results that come within this time are told together. */
const TOGETHER_MS = 800;

export class Toast {
  readonly element: HTMLElement;
  readonly #words = el("span", {});
  readonly #buttons = el("span", { class: "buttons" });
  readonly #heard: (text: string) => void;
  #labels = "";
  #actions: ToastAction[] = [];

  constructor(heard: (text: string) => void) {
    this.#heard = heard;
    this.element = el("div", { class: "toast gone" }, this.#words, this.#buttons);
  }

  /** Buttons that stay the same keep the focus, and a text that only counts on is not read out. */
  show(text: string, actions: ToastAction[]): void {
    const labels = JSON.stringify(actions.map(({ label }) => label));
    const isNew = this.element.matches(".gone") || labels !== this.#labels;
    this.#words.dataset.words = text;
    this.#actions = actions;
    this.element.classList.remove("gone");
    if (!isNew) return;
    this.#labels = labels;
    const press = (index: number) => () => this.#actions[index]?.act();
    const buttons = actions.map(({ label }, index) => labelled(label, press(index)));
    this.#buttons.replaceChildren(...buttons);
    this.#heard(text);
  }

  hide(): void {
    this.element.classList.add("gone");
  }
}

/** The one polite live region. */
export class News {
  readonly element = el("p", { class: "heard", role: "status", "aria-live": "polite" });
  #waiting: { text: string; isFlagged: boolean }[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  say(text: string): void {
    this.element.replaceChildren(words("span", text));
  }

  result(text: string, isFlagged: boolean): void {
    this.#waiting.push({ text, isFlagged });
    this.#timer ??= setTimeout(() => this.#tell(), TOGETHER_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #tell(): void {
    this.#timer = undefined;
    const [first, ...more] = this.#waiting;
    const flagged = this.#waiting.filter((one) => one.isFlagged).length;
    const count = this.#waiting.length;
    this.#waiting = [];
    if (first) this.say(more.length === 0 ? first.text : say("layer_many", count, flagged));
  }
}
