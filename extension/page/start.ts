/**
 * The script in a site's page: wires what a person does there to checks, and the worker to both.
 *
 *     Intent, Picker, Sweeper, the worker's words --> Shown --> Layer
 *
 * One instance a frame. Put in again while one is alive, nothing changes; one that outlived its
 * extension is nudged, sees that it has none any more, and goes. It touches nothing of the page
 * before there is something to show, stores nothing, and knows no server.
 */
import type { PageSettings, Told } from "../lib/messages";
import { say } from "../lib/words";
import { ask, hear, isOrphaned, Orphaned } from "./ask";
import { Intent } from "./intent";
import { type Layer, makeLayer } from "./layer";
import { isStill, type Painted, paintedAt, paintedOf, paintedOnPage, SMALLEST_PX } from "./painted";
import { Picker } from "./pick";
import { Shown } from "./shown";
import { type Progress, Sweeper } from "./sweep";
import { sweepWords } from "./sweep_words";
import { activeElement, bodyElement, hasFocus, rootElement } from "./unshadowed";

/** How often a script that shows something looks whether its extension is still there. */
const ALIVE_EVERY_MS = 2000;
/** In how many places one image gets its chip, and in how many of them in one task. */
const MOST_PLACES = 200;
const PLACES_AT_ONCE = 25;
/** A nudge to scripts of an older extension. Only those heed it: a page gains nothing by it. */
const NUDGE = "pinclip-nudge";
const OFF: PageSettings = { hover: false, dwellMs: 400, modifier: "none", flagged: "show" };

type Holder = { pinclipPage?: PageScript | null };

export function start(): void {
  if (isOrphaned()) return;
  const holder = globalThis as Holder;
  // Not just read: an element of that id would answer to it.
  if (Object.hasOwn(holder, "pinclipPage") && holder.pinclipPage) return;
  if (!(rootElement() instanceof HTMLElement)) return; // a bare SVG or XML file
  if (innerWidth < SMALLEST_PX || innerHeight < SMALLEST_PX) {
    addEventListener("resize", start, { once: true }); // a frame that is hidden at first
    return;
  }
  dispatchEvent(new CustomEvent(NUDGE));
  const script = new PageScript(() => {
    holder.pinclipPage = null;
  });
  holder.pinclipPage = script;
}

class PageScript {
  readonly #ended: () => void;
  readonly #life = new AbortController();
  readonly #deaf: () => void;
  #layer: Layer | null = null;
  #settings = OFF;
  #rightClicked: Painted | null = null;
  #alive: ReturnType<typeof setInterval> | undefined;
  /** Said by an extension that is gone, when there are no texts to be had any more. */
  readonly #farewell = [say("page_gone"), say("page_reload"), say("page_close")] as const;
  readonly #shown = new Shown(() => this.#layerNow());
  readonly #sweeper = new Sweeper({
    paintedOnPage,
    check: (places) => this.#sweepOne(places),
    report: (progress) => this.#progressed(progress),
  });
  readonly #picker = new Picker({
    layer: () => this.#layerNow(),
    paintedAt,
    paintedOf,
    paintedOnPage,
    picked: (painted, byKeyboard) => this.#chosen(painted, byKeyboard),
    ended: () => this.#tell("pick-end"),
  });
  readonly #intent = new Intent({
    settings: () => this.#settings,
    paintedAt,
    asked: (painted) => this.#begin(this.#hovered(painted)),
    isFor: (target) => this.#isAlive() && target !== this.#layer?.host,
  });
  readonly #ready: Promise<boolean>;

  constructor(ended: () => void) {
    this.#ended = ended;
    // The listener is there when the injection returns: the worker's next words are not lost.
    this.#deaf = this.#hear();
    this.#watchPage();
    this.#ready = this.#greet();
  }

  /** Everything of this script goes: chips, timers, listeners. */
  destroy(): void {
    this.#stopWorking();
    this.#layer?.destroy();
    this.#layer = null;
    this.#ended();
  }

  #stopWorking(): void {
    clearInterval(this.#alive);
    this.#intent.stop();
    this.#sweeper.cancel();
    this.#life.abort();
    this.#picker.stop();
    this.#shown.destroy();
    this.#deaf();
  }

  /* The worker */

  #hear(): () => void {
    const once =
      <T>(work: (content: T) => unknown) =>
      async (content: T) =>
        (await this.#ready) && this.#life.signal.aborted === false ? work(content) : null;
    return hear({
      "show-check": once(({ address, told }) => this.#showCheck(address, told)),
      captured: once(({ checkId }) => this.#shown.captured(checkId)),
      "sweep-start": once(({ sweepId }) => this.#begin(this.#sweeper.start(sweepId))),
      "sweep-cancel": once(() => this.#sweeper.cancel()),
      "pick-start": once(() => this.#picker.start()),
      "pick-end": once(() => this.#picker.stop()),
      "check-focused": once(() => this.#checkFocused()),
      "check-context": once(() => this.#checkContext()),
      "settings-changed": once(() => this.#begin(this.#greet())),
      "tear-down": () => this.destroy(),
    });
  }

  /** Ask how to behave here; false, and the end of this script, where there is nothing to do. */
  async #greet(): Promise<boolean> {
    try {
      const settings = await ask("page-hello", {});
      if (settings) this.#obey(settings);
      else this.destroy();
      return settings !== null;
    } catch {
      this.destroy();
      return false;
    }
  }

  #obey(settings: PageSettings): void {
    this.#settings = settings;
    this.#layer?.flagged(settings.flagged);
    if (settings.hover) this.#intent.start();
    else this.#intent.stop();
  }

  #tell(kind: "pick-end" | "sweep-cancel"): void {
    this.#begin(ask(kind, {}));
  }

  /* What a person does */

  /** The card opens if the pointer is still there when the answer comes; else there is a chip. */
  async #hovered(painted: Painted): Promise<void> {
    await this.#shown.check(painted, "hover");
    if (this.#intent.isOn(painted) && this.#shown.told(painted)) this.#layerNow().open(painted);
  }

  /** A person's own act: the card opens at once, and says how the check gets on. */
  #chosen(painted: Painted, byKeyboard: boolean): void {
    this.#begin(this.#shown.check(painted, "user"));
    this.#layerNow().openCard(painted, byKeyboard);
  }

  #checkFocused(): boolean {
    const focused = focusedElement();
    const painted = focused && paintedOf(focused);
    if (!painted) return false;
    this.#chosen(painted, true);
    return true;
  }

  #checkContext(): boolean {
    const painted = this.#rightClicked;
    if (!painted || !isStill(painted)) return false;
    this.#chosen(painted, false);
    return true;
  }

  #showCheck(address: string, told: Told): void {
    const painted = this.#placeOf(address);
    if (painted) this.#shown.show(painted, told);
  }

  /** Where the page shows this address: where it was right-clicked, else the first that does. */
  #placeOf(address: string): Painted | null {
    const clicked = this.#rightClicked;
    if (clicked?.address === address && isStill(clicked)) return clicked;
    for (const painted of paintedOnPage()) if (painted.address === address) return painted;
    return null;
  }

  /* Sweeps */

  async #sweepOne([first, ...others]: Painted[]): Promise<Told> {
    const told = await this.#shown.check(first as Painted, "sweep");
    for (const [index, other] of others.slice(0, MOST_PLACES).entries()) {
      // The page goes on in between, however often it shows this image.
      if (index % PLACES_AT_ONCE === 0) await new Promise((done) => setTimeout(done));
      this.#shown.show(other, told);
    }
    return told;
  }

  #progressed(progress: Progress): void {
    if (this.#life.signal.aborted || isOrphaned()) return;
    this.#begin(ask("sweep-progress", progress));
    if (self !== top) return; // one toast for a tab; its panel sums up the frames
    const layer = this.#layerNow();
    const close = { label: say("page_close"), act: () => layer.hideToast() };
    const cancel = { label: say("page_cancel"), act: () => this.#tell("sweep-cancel") };
    layer.toast(sweepWords(progress), [progress.isEnded ? close : cancel]);
  }

  /* The page */

  #watchPage(): void {
    const how = { capture: true, passive: true, signal: this.#life.signal } as const;
    addEventListener("contextmenu", (event) => this.#contextMenu(event), how);
    addEventListener("resize", () => this.#shown.resized(), how);
    addEventListener("pagehide", () => this.#left(), how);
    addEventListener("pageshow", (event) => event.persisted && this.#begin(this.#greet()), how);
    addEventListener(NUDGE, () => isOrphaned() && this.destroy(), how);
    addEventListener("visibilitychange", () => this.#isAlive(), how);
  }

  #contextMenu(event: MouseEvent): void {
    if (!event.isTrusted || !this.#isAlive()) return;
    // By the keyboard it is about what has the focus, not about a place.
    const focused = event.button === 2 ? null : focusedElement();
    const at = paintedAt(event.clientX, event.clientY);
    this.#rightClicked = focused ? paintedOf(focused) : at;
  }

  /** The page is put aside, and may come back as it is: no timer may run meanwhile. */
  #left(): void {
    this.#intent.stop();
    this.#picker.stop();
    this.#sweeper.cancel();
    this.#rightClicked = null;
  }

  #layerNow(): Layer {
    if (this.#layer) return this.#layer;
    this.#layer = makeLayer({
      report: (checkId) => this.#begin(ask("open-panel", { checkId, isReport: true })),
      openPanel: (checkId) => this.#begin(ask("open-panel", { checkId, isReport: false })),
      again: (painted) => this.#begin(this.#shown.again(painted, "user")),
    });
    this.#layer.flagged(this.#settings.flagged);
    this.#alive = setInterval(() => this.#isAlive(), ALIVE_EVERY_MS);
    return this.#layer;
  }

  /* The end of the extension */

  /** Let it run; if the extension turns out to be gone, so does this script. */
  #begin(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (!(error instanceof Orphaned)) throw error;
      this.#isAlive();
    });
  }

  /** False once the extension is gone; then this script goes, and says so if it showed anything. */
  #isAlive(): boolean {
    if (!isOrphaned()) return true;
    if (!this.#life.signal.aborted) this.#sayFarewell();
    return false;
  }

  #sayFarewell(): void {
    this.#stopWorking();
    this.#ended();
    const layer = this.#layer;
    if (!layer) return;
    const [text, reload, close] = this.#farewell;
    const gone = () => layer.destroy();
    layer.toast(text, [
      { label: reload, act: () => location.reload() },
      { label: close, act: gone },
    ]);
    addEventListener(NUDGE, gone, { once: true }); // a newer one is here after all
  }
}

/** The element that has the focus in this very frame, through shadow roots that can be seen. */
function focusedElement(): Element | null {
  if (!hasFocus()) return null;
  let focused = activeElement();
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  const isNone =
    focused === null || focused === bodyElement() || focused instanceof HTMLIFrameElement;
  return isNone ? null : focused;
}
