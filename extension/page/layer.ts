/**
 * Everything that this extension draws into a page: chips over images, the open card, veils, toasts.
 *
 *     show(painted, told) -> chip (and veil) -> Follower says where -> placed, hidden, gone
 *                              | click, pointer
 *                              v
 *                            Card -> acts: report, open the panel, again
 *
 * It owns the one host in the top layer (host.ts) and every node in it, and adds nothing to the
 * page's own elements. It knows no server, no storage and no messages, only what it is told. A page
 * can draw a label like ours, and can tell where ours lie; it cannot read, move or press them.
 */
import { browser } from "wxt/browser";
import type { Told } from "../lib/messages";
import { el } from "../ui/dom";
import { announcement } from "../ui/verdict";
import { Card } from "./card";
import { allWords, drawChip, drawVeil, isFlagged, trusted } from "./chip";
import { Follower, type Spot } from "./follow";
import { type Box, chipSpot, chipWidth, type Measure } from "./geometry";
import { Host } from "./host";
import { isStill, type Painted } from "./painted";
import { dress } from "./sheet";
import { News, Toast, type ToastAction } from "./toast";
import { isBefore, isConnected } from "./unshadowed";

/** How a flagged image looks. */
export type Flagged = "show" | "dim" | "cover";

export interface LayerActs {
  report(checkId: string): void;
  openPanel(checkId: string): void;
  again(painted: Painted): void;
}

export interface Layer {
  /** Events with this as their target are ours. */
  readonly host: Element;
  /** Chip over the image: under way, verdict, or error; replaces an older one of the same image. */
  show(painted: Painted, told: Told): void;
  /** Its card, for a pointer that rests on the image: it closes when the pointer leaves. */
  open(painted: Painted): void;
  /** Its card, asked for by hand: it stays until it is closed. */
  openCard(painted: Painted, byKeyboard: boolean): void;
  /** The image changed or is gone. */
  drop(painted: Painted): void;
  /** Frame the image that would be checked; null for none. */
  outline(painted: Painted | null): void;
  toast(text: string, actions?: ToastAction[]): void;
  hideToast(): void;
  /** Dim or cover images with an AI verdict; never before there is one. */
  flagged(mode: Flagged): void;
  /** Hide all of it while the screen is read. */
  conceal(isConcealed: boolean): void;
  /** Everything is gone: nodes, observers, listeners; nothing is shown from now on. */
  destroy(): void;
}

export function makeLayer(acts: LayerActs): Layer {
  return new PageLayer(acts);
}

/** How long a pointer rests on a chip before its card opens. */
const HOVER_MS = 200;

interface Item {
  painted: Painted;
  told: Told;
  chip: HTMLElement;
  veil: HTMLElement | null;
  /** The user wants to see it all the same. */
  isShown: boolean;
}

class PageLayer implements Layer {
  readonly #acts: LayerActs;
  readonly #items = new Map<Element, Item>();
  readonly #images = new WeakMap<Element, Element>();
  readonly #measures: Measure = {
    isRtl: browser.i18n.getMessage("@@bidi_dir") === "rtl",
    width: chipWidth(allWords()),
  };
  readonly #host = new Host(() => this.destroy());
  readonly #follower: Follower;
  readonly #card: Card;
  readonly #news = new News();
  readonly #toast = new Toast((text) => this.#news.say(text));
  readonly #frame = el("div", { class: "frame gone" });
  readonly #veils = el("div", {});
  readonly #chips = el("div", {});
  readonly #layer: HTMLElement;
  #mode: Flagged = "show";
  #isOver = false;
  #hover: ReturnType<typeof setTimeout> | undefined;

  constructor(acts: LayerActs) {
    this.#acts = acts;
    const { element, root } = this.#host;
    const { isRtl, width } = this.#measures;
    this.#card = new Card(element, root, isRtl);
    this.#follower = new Follower(element, this.#measures, {
      placed: (image, spot) => this.#placed(image, spot),
      left: (image) => this.#left(image),
      isStill: (image) => this.#isStill(image),
      covered: (by) => this.#covered(by),
    });
    this.#layer = el(
      "div",
      { class: "layer", lang: browser.i18n.getUILanguage(), dir: isRtl ? "rtl" : "ltr" },
      ...[this.#veils, this.#frame, this.#chips, this.#toast.element, this.#news.element],
    );
    this.#layer.style.setProperty("--chip", `${width}px`);
    dress(root);
    root.append(this.#layer);
  }

  get host(): Element {
    return this.#host.element;
  }

  show(painted: Painted, told: Told): void {
    if (this.#isOver) return;
    this.#host.ensure();
    const old = this.#items.get(painted.element);
    if (old && old.painted.address !== painted.address) this.drop(painted);
    this.#forgetGone();
    const known = this.#items.get(painted.element);
    const item = known ?? this.#added(painted, told);
    const isNews = known?.told.id !== told.id || !isEnded(known.told);
    item.told = told;
    this.#draw(item);
    if (isNews && isEnded(told)) this.#news.result(announcement(told), isFlagged(told));
  }

  drop(painted: Painted): void {
    const item = this.#items.get(painted.element);
    if (!item) return;
    if (this.#card.isOpenFor(painted.element)) this.#card.close();
    this.#items.delete(painted.element);
    this.#follower.remove(painted.element);
    item.chip.remove();
    item.veil?.remove();
  }

  open(painted: Painted): void {
    this.#open(painted.element, { isPinned: false, takesFocus: false });
  }

  openCard(painted: Painted, byKeyboard: boolean): void {
    this.#open(painted.element, { isPinned: true, takesFocus: byKeyboard });
  }

  outline(painted: Painted | null): void {
    this.#frame.classList.toggle("gone", painted === null);
    if (painted) put(this.#frame, this.#follower.boxOf(painted.element), { isSized: true });
  }

  toast(text: string, actions: ToastAction[] = []): void {
    this.#host.ensure();
    this.#toast.show(text, actions);
  }

  hideToast(): void {
    this.#toast.hide();
  }

  flagged(mode: Flagged): void {
    this.#mode = mode;
    for (const item of this.#items.values()) this.#draw(item);
  }

  conceal(isConcealed: boolean): void {
    this.#layer.classList.toggle("concealed", isConcealed);
  }

  destroy(): void {
    this.#isOver = true;
    clearTimeout(this.#hover);
    this.#card.close();
    this.#news.stop();
    this.#follower.destroy();
    this.#host.destroy();
    this.#items.clear();
    this.#chips.replaceChildren();
    this.#veils.replaceChildren();
  }

  /* Items */

  #added(painted: Painted, told: Told): Item {
    const { element } = painted;
    const chip = el("button", {
      type: "button",
      class: "chip gone",
      "aria-haspopup": "dialog",
      "aria-expanded": "false",
      click: trusted(() => this.#pressed(element)),
      pointerenter: (event) => this.#entered(element, event as PointerEvent),
      pointerleave: () => clearTimeout(this.#hover),
    });
    const item = { painted, told, chip, veil: null, isShown: false };
    this.#items.set(element, item);
    this.#images.set(chip, element);
    return item;
  }

  #draw(item: Item): void {
    drawChip(item.chip, item.told);
    this.#drawVeil(item);
    this.#follower.add(item.painted.element);
    if (this.#card.isOpenFor(item.painted.element)) this.#drawCard(item);
  }

  #drawVeil(item: Item): void {
    const isVeiled = this.#mode !== "show" && isFlagged(item.told) && !item.isShown;
    item.veil?.remove();
    item.veil = null;
    if (!isVeiled) return;
    item.veil = el("div", {});
    drawVeil(item.veil, item.told, this.#mode as "dim" | "cover", () => this.#unveil(item));
    this.#follower.again(item.painted.element);
  }

  #unveil(item: Item): void {
    item.isShown = true;
    this.#drawVeil(item);
    item.chip.focus({ preventScroll: true });
  }

  #drawCard({ painted, told }: Item): void {
    this.#card.draw(told, {
      report: () => this.#acts.report(told.id),
      openPanel: () => this.#acts.openPanel(told.id),
      again: () => this.#acts.again(painted),
      close: () => this.#card.close(),
    });
  }

  /** What the page took away is let go, so that a list that goes on for ever does not keep it. */
  #forgetGone(): void {
    for (const { painted } of this.#items.values()) {
      if (!isConnected(painted.element)) this.drop(painted);
    }
  }

  /* What the follower says */

  #placed(image: Element, { seen, visible }: Spot): void {
    const item = this.#items.get(image);
    if (!item) return;
    const { chip, veil } = item;
    chip.classList.toggle("gone", visible === null);
    if (visible) this.#placeChip(chip, visible);
    if (!chip.isConnected) this.#insert(chip, image);
    if (veil) this.#placeVeil(veil, seen, visible !== null);
    if (this.#card.isOpenFor(image)) this.#card.place();
  }

  #placeChip(chip: HTMLElement, visible: Box): void {
    const { box, isSmall } = chipSpot(visible, this.#measures);
    put(chip, box);
    chip.classList.toggle("small", isSmall);
  }

  /** Chips stand in the order of their images: so does Tab go through them. */
  #insert(chip: HTMLElement, image: Element): void {
    let next: Element | null = null;
    // From the end: most come as the page is scrolled down. A card has no image, it stays behind.
    for (let other = this.#chips.lastElementChild; other; other = other.previousElementSibling) {
      const its = this.#images.get(other);
      if (its && !isBefore(image, its)) break;
      if (its) next = other;
    }
    this.#chips.insertBefore(chip, next);
  }

  #placeVeil(veil: HTMLElement, seen: Box, isSeen: boolean): void {
    veil.classList.toggle("gone", !isSeen);
    veil.classList.toggle("small", seen.right - seen.left < 160 || seen.bottom - seen.top < 100);
    put(veil, seen, { isSized: true });
    if (!veil.isConnected) this.#veils.append(veil);
  }

  #left(image: Element): void {
    const item = this.#items.get(image);
    if (!item) return;
    if (!isConnected(image)) this.drop(item.painted);
    item.chip.remove();
    item.veil?.remove();
  }

  #covered(by: Element): void {
    if (!this.#layer.matches(".concealed")) this.#host.raise(by);
  }

  #isStill(image: Element): boolean {
    const item = this.#items.get(image);
    if (item && isStill(item.painted)) return true;
    if (item) this.drop(item.painted);
    return false;
  }

  /* The card */

  #open(image: Element, how: { isPinned: boolean; takesFocus: boolean }): void {
    const item = this.#items.get(image);
    if (!item?.chip.isConnected) return;
    this.#card.open({ image, chip: item.chip }, how);
    this.#drawCard(item);
  }

  #pressed(image: Element): void {
    if (this.#card.isOpenFor(image) && this.#card.isPinned) this.#card.close();
    else this.#open(image, { isPinned: true, takesFocus: false });
  }

  #entered(image: Element, { isTrusted, pointerType }: PointerEvent): void {
    clearTimeout(this.#hover);
    if (!isTrusted || pointerType === "touch") return;
    const how = { isPinned: false, takesFocus: false };
    this.#hover = setTimeout(() => this.#open(image, how), HOVER_MS);
  }
}

function isEnded({ view, error }: Told): boolean {
  return view !== null || error !== null;
}

/** Move an element, and size it if asked for. A translation is no layout shift. */
function put(element: HTMLElement, box: Box, { isSized = false } = {}): void {
  element.style.translate = `${box.left}px ${box.top}px`;
  if (!isSized) return;
  element.style.width = `${box.right - box.left}px`;
  element.style.height = `${box.bottom - box.top}px`;
}
