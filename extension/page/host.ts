/**
 * The one element that this extension adds to a page, on top of everything and kept there.
 *
 *     page opens a popover                       -> shown anew, above it; a few times a second
 *     page opens a modal dialog, or full screen  -> moved into it: everything outside is inert
 *     page removes it, or sets attributes        -> put back, a few times; then given up
 *
 * It scrolls with the document by itself (an absolute box in the top layer), so what lies still in
 * the document costs nothing while scrolling. Knows nothing of what is drawn in it.
 */

import { el } from "../ui/dom";
import {
  appendTo,
  closest,
  fullscreenElement,
  holdsNode,
  isA,
  isConnected,
  openRootOf,
  queryAll,
  rootElement,
} from "./unshadowed";

/** A page that builds itself anew takes it away once or twice; what goes on is a fight. */
const PUT_BACKS = { most: 5, withinMs: 60_000 };
const RAISES = { most: 4, withinMs: 1000 };
/** What the page's own scripts shall not see bubble: they would take it for their own. */
const KEPT_INSIDE = [
  ...["click", "dblclick", "auxclick", "contextmenu", "mousedown", "mouseup", "mousemove"],
  ...["pointerdown", "pointerup", "pointermove", "touchstart", "touchend", "wheel"],
  ...["keydown", "keyup", "keypress", "focusin", "focusout", "mouseover", "mouseout"],
];

export class Host {
  readonly element: HTMLElement;
  readonly root: ShadowRoot;
  readonly #gaveUp: () => void;
  readonly #observer = new MutationObserver(() => this.#changed());
  readonly #end = new AbortController();
  readonly #raises = new Budget(RAISES);
  readonly #putBacks = new Budget(PUT_BACKS);
  #modals: Element[] = [];
  #later: ReturnType<typeof setTimeout> | undefined;

  /** `gaveUp` is called once if the page does not suffer it. */
  constructor(gaveUp: () => void) {
    this.#gaveUp = gaveUp;
    this.element = el("div");
    this.element.popover = "manual";
    this.root = this.element.attachShadow({ mode: "closed" });
    for (const kind of KEPT_INSIDE) {
      this.root.addEventListener(kind, (event) => event.stopPropagation(), { passive: true });
    }
    this.#listen();
    this.raise();
  }

  /** Be on top now, or as soon as it was not too often already; `over` is what is there instead. */
  raise(over: Element | null = null): void {
    if (this.#end.signal.aborted) return;
    const modal = over === null ? null : modalAround(over);
    if (modal && !this.#modals.includes(modal)) this.#modals.push(modal);
    if (this.#raises.spend()) this.#raise();
    else this.#later ??= setTimeout(() => this.#raiseLater(), RAISES.withinMs);
  }

  /** Be in the document at all: a dialog that held it may be gone, of which nothing tells. */
  ensure(): void {
    if (!this.element.isConnected) this.raise();
  }

  destroy(): void {
    this.#end.abort();
    this.#observer.disconnect();
    clearTimeout(this.#later);
    this.element.remove();
    this.root.replaceChildren();
  }

  #listen(): void {
    const how = { capture: true, passive: true, signal: this.#end.signal };
    addEventListener("toggle", (event) => this.#toggled(event as ToggleEvent), how);
    addEventListener("fullscreenchange", () => this.raise(), how);
  }

  /** The page opened or closed something of the top layer; such events reach us from light trees. */
  #toggled(event: ToggleEvent): void {
    const { target, newState } = event;
    if (target === this.element) {
      if (newState === "closed" && this.element.isConnected) this.raise();
      return;
    }
    if (!(target instanceof Element)) return;
    this.#modals = this.#modals.filter((modal) => modal !== target);
    if (newState === "open" && isA(target, "dialog:modal")) this.#modals.push(target);
    const isOurs = holdsNode(target, this.element);
    if (newState === "open" ? isA(target, TOP) : isOurs) this.raise();
  }

  #raiseLater(): void {
    this.#later = undefined;
    this.raise();
  }

  #raise(): void {
    const focused = this.root.activeElement;
    const parent = this.#topModal() ?? fullScreen() ?? rootElement();
    if (parent === null) return;
    if (this.element.parentNode !== parent) this.#moveTo(parent);
    else if (this.element.matches(":popover-open")) this.element.hidePopover();
    if (this.element.isConnected) this.element.showPopover();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }

  #moveTo(parent: Element): void {
    appendTo(parent, this.element);
    this.#observer.disconnect();
    this.#observer.observe(document, { childList: true });
    this.#observer.observe(parent, { childList: true });
    this.#observer.observe(this.element, { attributes: true });
  }

  /** The modal dialog that was opened last; one of a shadow tree is found by what lies over us. */
  #topModal(): Element | null {
    const isOpen = (modal: Element) => isConnected(modal) && isA(modal, ":modal");
    this.#modals = this.#modals.filter(isOpen);
    return this.#modals.at(-1) ?? queryAll("dialog:modal").at(-1) ?? null;
  }

  /** The page changed where it is, or what it carries. */
  #changed(): void {
    const stray = [...this.element.attributes].filter(({ name }) => name !== "popover");
    const isWhole = stray.length === 0 && this.element.getAttribute("popover") === "manual";
    if (isWhole && this.element.isConnected) return;
    if (!this.#putBacks.spend()) {
      if (!this.element.isConnected) this.#gaveUp();
      return;
    }
    for (const { name } of stray) this.element.removeAttribute(name);
    if (!isWhole) this.element.popover = "manual";
    this.raise();
  }
}

/** So many times within a while, and no more. */
class Budget {
  readonly #limits: { most: number; withinMs: number };
  #spentAt: number[] = [];

  constructor(limits: { most: number; withinMs: number }) {
    this.#limits = limits;
  }

  spend(): boolean {
    const now = performance.now();
    this.#spentAt = this.#spentAt.filter((at) => now - at < this.#limits.withinMs);
    if (this.#spentAt.length >= this.#limits.most) return false;
    this.#spentAt.push(now);
    return true;
  }
}

/** What a page can put over everything. */
const TOP = "dialog:modal, :popover-open";

/** What fills the screen, unless it is of a kind that shows no children. */
function fullScreen(): Element | null {
  const full = fullscreenElement();
  return full && isA(full, "img, video, canvas, iframe, object, embed") ? null : full;
}

/** The modal dialog that an element lies in or, as the host of an open shadow root, holds. */
function modalAround(element: Element): Element | null {
  const inside = openRootOf(element)?.querySelector("dialog:modal") ?? null;
  return closest(element, "dialog:modal") ?? inside;
}
