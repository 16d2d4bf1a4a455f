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

/** A page that builds itself anew takes it away once or twice; what goes on is a fight. */
const PUT_BACKS = 5;
const RAISES_PER_S = 4;
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
  readonly #raisedAt: number[] = [];
  #modals: Element[] = [];
  #putBacks = 0;
  #later: ReturnType<typeof setTimeout> | undefined;

  /** `gaveUp` is called once if the page does not suffer it. */
  constructor(sheet: CSSStyleSheet, gaveUp: () => void) {
    this.#gaveUp = gaveUp;
    this.element = document.createElement("div");
    this.element.popover = "manual";
    this.root = this.element.attachShadow({ mode: "closed" });
    this.root.adoptedStyleSheets = [sheet];
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
    if (this.#mayRaise()) this.#raise();
    else this.#later ??= setTimeout(() => this.#raiseLater(), 1000);
  }

  destroy(): void {
    this.#end.abort();
    this.#observer.disconnect();
    clearTimeout(this.#later);
    this.element.remove();
    this.root.adoptedStyleSheets = [];
    this.root.replaceChildren();
  }

  #listen(): void {
    const how = { capture: true, passive: true, signal: this.#end.signal };
    document.addEventListener("toggle", (event) => this.#toggled(event as ToggleEvent), how);
    document.addEventListener("fullscreenchange", () => this.raise(), how);
  }

  /** The page opened or closed something of the top layer; such events reach us from light trees. */
  #toggled(event: ToggleEvent): void {
    const { target, newState } = event;
    if (target === this.element) {
      if (newState === "closed" && this.element.isConnected) this.raise();
      return;
    }
    if (!(target instanceof HTMLElement)) return;
    this.#modals = this.#modals.filter((modal) => modal !== target);
    if (newState === "open" && target.matches("dialog:modal")) this.#modals.push(target);
    const isOurs = target.contains(this.element);
    if (newState === "open" ? target.matches(TOP) : isOurs) this.raise();
  }

  #mayRaise(): boolean {
    const now = performance.now();
    const recent = this.#raisedAt.filter((at) => now - at < 1000);
    this.#raisedAt.splice(0, Infinity, ...recent);
    if (recent.length >= RAISES_PER_S) return false;
    this.#raisedAt.push(now);
    return true;
  }

  #raiseLater(): void {
    this.#later = undefined;
    this.raise();
  }

  #raise(): void {
    const focused = this.root.activeElement;
    const parent = this.#topModal() ?? fullScreen() ?? document.documentElement;
    if (this.element.parentNode !== parent) this.#moveTo(parent);
    else if (this.element.matches(":popover-open")) this.element.hidePopover();
    if (this.element.isConnected) this.element.showPopover();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }

  #moveTo(parent: Element): void {
    parent.append(this.element);
    this.#observer.disconnect();
    this.#observer.observe(document, { childList: true });
    this.#observer.observe(parent, { childList: true });
    this.#observer.observe(this.element, { attributes: true });
  }

  /** The modal dialog that was opened last; one of a shadow tree is found by what lies over us. */
  #topModal(): Element | null {
    const isOpen = (modal: Element) => modal.isConnected && modal.matches(":modal");
    this.#modals = this.#modals.filter(isOpen);
    const before = [...document.querySelectorAll("dialog:modal")];
    return this.#modals.at(-1) ?? before.at(-1) ?? null;
  }

  /** The page changed where it is, or what it carries. */
  #changed(): void {
    const stray = [...this.element.attributes].filter(({ name }) => name !== "popover");
    const isWhole = stray.length === 0 && this.element.getAttribute("popover") === "manual";
    if (isWhole && this.element.isConnected) return;
    this.#putBacks += 1;
    if (this.#putBacks > PUT_BACKS) {
      this.#gaveUp();
      return;
    }
    for (const { name } of stray) this.element.removeAttribute(name);
    if (!isWhole) this.element.popover = "manual";
    this.raise();
  }
}

/** What a page can put over everything. */
const TOP = "dialog:modal, :popover-open";

/** What fills the screen, unless it is of a kind that shows no children. */
function fullScreen(): Element | null {
  const full = document.fullscreenElement;
  return full?.matches("img, video, canvas, iframe, object, embed") ? null : full;
}

/** The modal dialog that an element lies in or, as the host of an open shadow root, holds. */
function modalAround(element: Element): Element | null {
  return (
    element.closest("dialog:modal") ?? element.shadowRoot?.querySelector("dialog:modal") ?? null
  );
}
