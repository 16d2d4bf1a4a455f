/**
 * The one open card: when it opens, where the focus is, and what closes it (WCAG 1.4.13).
 *
 *     pointer rests on the chip, or on the image when the verdict comes  -> open until it leaves
 *     click, key, or asked for by hand                                   -> open until closed
 *     Esc, Close, the chip again                                         -> closed; focus goes back
 *
 * What tells or opens something in the user's name waits until the card has been seen for a moment:
 * a page may put it under a click that was meant for something else.
 */
import type { Told } from "../lib/messages";
import { el } from "../ui/dom";
import { type CardActs, drawCard } from "./chip";
import { viewBox } from "./follow";
import { type Box, cardSpot, holds, seenFrom } from "./geometry";
import { HOST_PX } from "./sheet";
import { activeElement, bodyElement, boxOf, isConnected, openRootOf } from "./unshadowed";

const LEAVE_MS = 300;
const SEEN_FIRST_MS = 300;
/** How often the browser looks whether something lies over the card; 100 is what it allows. */
const SEEN_EACH_MS = 100;

/** What the card is open for. */
export interface Anchor {
  image: Element;
  chip: HTMLElement;
}

export class Card {
  readonly element = el("div", { class: "card", role: "dialog", tabindex: "-1" });
  readonly #host: Element;
  readonly #root: ShadowRoot;
  readonly #isRtl: boolean;
  readonly #sizes = new ResizeObserver(() => this.place());
  #anchor: Anchor | null = null;
  #isPinned = false;
  #back: HTMLElement | null = null;
  #listening: AbortController | null = null;
  #leaving: ReturnType<typeof setTimeout> | undefined;
  #sight: IntersectionObserver | null = null;
  #seenSince = Infinity;

  constructor(host: Element, root: ShadowRoot, isRtl: boolean) {
    this.#host = host;
    this.#root = root;
    this.#isRtl = isRtl;
  }

  isOpenFor(image: Element): boolean {
    return this.#anchor?.image === image;
  }

  get isPinned(): boolean {
    return this.#isPinned;
  }

  open(anchor: Anchor, how: { isPinned: boolean; takesFocus: boolean }): void {
    if (!this.isOpenFor(anchor.image)) {
      this.close();
      this.#anchor = anchor;
      anchor.chip.after(this.element);
      anchor.chip.setAttribute("aria-expanded", "true");
      this.#listen();
    }
    this.#isPinned ||= how.isPinned;
    if (how.takesFocus) this.#takeFocus();
  }

  /** Draw it anew; who was in it with the keyboard stays in it. */
  draw(told: Told, acts: CardActs): void {
    const hadFocus = this.element.contains(this.#root.activeElement);
    const wasOpen = this.element.querySelector("details")?.open ?? false;
    drawCard(this.element, told, {
      again: acts.again,
      close: acts.close,
      report: () => this.#ifSeen(acts.report),
      openPanel: () => this.#ifSeen(acts.openPanel),
    });
    const details = this.element.querySelector("details");
    if (details) details.open = wasOpen;
    if (hadFocus) this.element.focus({ preventScroll: true });
    this.place();
  }

  /** Put it next to its chip. */
  place(): void {
    if (!this.#anchor || this.#anchor.chip.matches(".gone")) return;
    const chip = this.#anchor.chip.getBoundingClientRect();
    const { width, height } = this.element.getBoundingClientRect();
    const at = cardSpot(chip, { width, height }, viewBox(), this.#isRtl);
    const origin = this.#host.getBoundingClientRect();
    const box: Box = { ...at, right: at.left + width, bottom: at.top + height };
    const { left, top } = seenFrom(box, origin, origin.width / HOST_PX || 1);
    this.element.style.translate = `${left}px ${top}px`;
  }

  close(): void {
    if (!this.#anchor) return;
    const { chip } = this.#anchor;
    const hadFocus = this.element.contains(this.#root.activeElement);
    this.#anchor = null;
    this.#isPinned = false;
    this.#listening?.abort();
    this.#sizes.disconnect();
    this.#sight?.disconnect();
    clearTimeout(this.#leaving);
    chip.setAttribute("aria-expanded", "false");
    this.element.remove();
    if (hadFocus) giveBack(this.#back, chip);
    this.#back = null;
  }

  #takeFocus(): void {
    const focused = (this.#root.activeElement as HTMLElement | null) ?? deepestFocus();
    if (!this.element.contains(focused)) this.#back = focused;
    this.element.focus({ preventScroll: true });
  }

  #listen(): void {
    this.#listening = new AbortController();
    const how = { capture: true, signal: this.#listening.signal };
    window.addEventListener("keydown", (event) => this.#keyed(event), how);
    window.addEventListener("pointermove", (event) => this.#moved(event), {
      ...how,
      passive: true,
    });
    this.#sizes.observe(this.element);
    this.#watchSight();
  }

  #keyed(event: KeyboardEvent): void {
    if (event.key !== "Escape" || !event.isTrusted) return;
    // The same key would close the page's dialog, or end its full screen.
    event.preventDefault();
    event.stopImmediatePropagation();
    this.close();
  }

  #moved(event: PointerEvent): void {
    if (this.#isPinned || !this.#anchor) return;
    const { image } = this.#anchor;
    const isOver = event.target === this.#host || holds(boxOf(image), event.clientX, event.clientY);
    if (isOver) {
      clearTimeout(this.#leaving);
      this.#leaving = undefined;
    } else this.#leaving ??= setTimeout(() => this.#left(), LEAVE_MS);
  }

  #left(): void {
    this.#leaving = undefined;
    const isInUse = this.element.contains(this.#root.activeElement);
    if (!this.#isPinned && !isInUse) this.close();
  }

  /* Whether a person has seen it */

  /** Browsers that can tell whether anything lies over it do; in the others it only has to wait. */
  #watchSight(): void {
    this.#seenSince = performance.now();
    if (!("isVisible" in IntersectionObserverEntry.prototype)) return;
    this.#seenSince = Infinity;
    const how = { trackVisibility: true, delay: SEEN_EACH_MS, threshold: [0, 0.5, 1] };
    this.#sight = new IntersectionObserver((entries) => this.#sighted(entries), how);
    this.#sight.observe(this.element);
  }

  #sighted(entries: IntersectionObserverEntry[]): void {
    const last = entries.at(-1) as (IntersectionObserverEntry & { isVisible: boolean }) | undefined;
    if (!last?.isVisible) this.#seenSince = Infinity;
    else if (this.#seenSince === Infinity) this.#seenSince = performance.now();
  }

  #ifSeen(act: () => void): void {
    if (performance.now() - this.#seenSince >= SEEN_FIRST_MS) act();
  }
}

/** What has the focus in the page, open roots included. */
function deepestFocus(): HTMLElement | null {
  let focused = activeElement();
  for (let root = focused && openRootOf(focused); root?.activeElement; ) {
    focused = root.activeElement;
    root = openRootOf(focused);
  }
  return focused instanceof HTMLElement && focused !== bodyElement() ? focused : null;
}

function giveBack(back: HTMLElement | null, chip: HTMLElement): void {
  const target = back && isConnected(back) ? back : chip;
  HTMLElement.prototype.focus.call(target, { preventScroll: true });
}
