/**
 * Hover with intent: which image the pointer has stayed on long enough to be asked about.
 *
 *     pointer moves --rests--> an image there? --no--> waits for the next move
 *                                  | yes: the dwell runs
 *                                  |   leaves it, scroll, key, press: off
 *                                  v
 *                     still the same image there? --> asked(painted)
 *
 * Owns one listener for moves, which only compares numbers: what is painted is looked at when the
 * pointer has come to rest, never for each move. Knows nothing of checks and chips. Touch has no
 * hover: a long press is the site's own. Events that scripts made count for nothing.
 */
import type { PageSettings } from "../lib/messages";
import type { Painted } from "./painted";
import { boxOf } from "./unshadowed";

/** A pointer that has not moved for so long has come to rest, and is no longer on its way. */
export const REST_MS = 80;

export interface IntentActs {
  settings(): PageSettings;
  paintedAt(x: number, y: number): Painted | null;
  /** The pointer stayed on this image. */
  asked(painted: Painted): void;
  /** False for what is to be left alone, as our own chips. Asked for every move: keep it cheap. */
  isFor(target: EventTarget | null): boolean;
}

/** Modifiers by the name of their key in a KeyboardEvent, and of their flag in every event. */
const KEYS = { alt: "Alt", ctrl: "Control", shift: "Shift" } as const;
const FLAGS = { alt: "altKey", ctrl: "ctrlKey", shift: "shiftKey" } as const;
type Held = Pick<MouseEvent, "altKey" | "ctrlKey" | "shiftKey">;

interface Point {
  x: number;
  y: number;
}

/** The pointer's intent in one frame. Nothing is listened to before `start`. */
export class Intent {
  readonly #acts: IntentActs;
  #listening: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #at: Point | null = null;
  #isHeld = false;
  /** What the last move was over: another of these may be another image in the same place. */
  #over: EventTarget | null = null;
  /** The image under the resting pointer, and where it is: leaving it is told by numbers alone. */
  #on: { painted: Painted; box: DOMRect } | null = null;

  constructor(acts: IntentActs) {
    this.#acts = acts;
  }

  start(): void {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const how = { capture: true, passive: true, signal: this.#listening.signal } as const;
    const cancel = () => this.cancel();
    addEventListener("pointermove", (event) => this.#moved(event), how);
    addEventListener("keydown", (event) => this.#keyed(event), how);
    addEventListener("keyup", (event) => this.#released(event), how);
    for (const name of ["pointerdown", "scroll", "wheel"]) addEventListener(name, cancel, how);
    addEventListener("visibilitychange", cancel, how);
    // To nothing: out of the window, or into a frame.
    addEventListener("pointerout", ({ relatedTarget }) => relatedTarget ?? this.cancel(), how);
  }

  stop(): void {
    this.cancel();
    this.#listening?.abort();
    this.#listening = null;
  }

  /** Whether the pointer has stayed on this image until now. */
  isOn(painted: Painted): boolean {
    return this.#on !== null && isSame(this.#on.painted, painted);
  }

  /** Forget where the pointer is, until it moves again. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#on = null;
    this.#at = null;
  }

  #moved(event: PointerEvent): void {
    if (!event.isTrusted || event.pointerType === "touch") return;
    if (this.#acts.isFor(event.target)) this.#follow(event);
    else this.cancel();
  }

  #follow(event: PointerEvent): void {
    this.#at = { x: event.clientX, y: event.clientY };
    this.#isHeld = this.#holds(event);
    const isOverSame = event.target === this.#over;
    if (isOverSame && this.#on && isInside(this.#on.box, this.#at)) return;
    this.#over = event.target;
    this.#on = null;
    this.#after(REST_MS, () => this.#rested());
  }

  #keyed(event: KeyboardEvent): void {
    const { modifier } = this.#acts.settings();
    const isModifier = modifier !== "none" && event.key === KEYS[modifier];
    if (!isModifier) this.cancel();
    if (!isModifier || !event.isTrusted || event.repeat || this.#at === null) return;
    // Pressed while the pointer rests on an image: the dwell begins with the key.
    this.#isHeld = true;
    this.#after(REST_MS, () => this.#rested());
  }

  #released(event: KeyboardEvent): void {
    this.#isHeld = this.#holds(event);
  }

  #rested(): void {
    const painted = this.#painted();
    if (painted === null) return;
    this.#on = { painted, box: boxOf(painted.element) };
    const left = this.#acts.settings().dwellMs - REST_MS;
    this.#after(Math.max(0, left), () => this.#stayed());
  }

  #stayed(): void {
    const before = this.#on?.painted;
    const painted = this.#painted();
    // A page that moves or swaps images under the pointer: the one now there was not meant.
    if (!before || painted === null || !isSame(before, painted)) this.cancel();
    else if (this.#isHeld) this.#acts.asked(painted);
  }

  #painted(): Painted | null {
    return this.#at && this.#acts.paintedAt(this.#at.x, this.#at.y);
  }

  #holds(event: Held): boolean {
    const { modifier } = this.#acts.settings();
    return modifier === "none" || event[FLAGS[modifier]];
  }

  #after(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }
}

function isInside(box: DOMRect, { x, y }: Point): boolean {
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}

function isSame(one: Painted, other: Painted): boolean {
  return one.element === other.element && one.address === other.address;
}
