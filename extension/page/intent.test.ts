// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { PageSettings } from "../lib/messages";
import { Intent, REST_MS } from "./intent";
import type { Painted } from "./painted";

const DWELL_MS = 400;
const SIDE = 120;
let settings: PageSettings;
let images: Painted[];
let asked: Painted[];
let looked: number;
let intent: Intent;
/** Where the browser has laid the images out. */
const boxes = new WeakMap<Element, DOMRect>();

/** Images of 120 x 120 pixels, one beside the other. */
const row = (count: number): Painted[] =>
  Array.from({ length: count }, (_, at) => {
    const element = document.createElement("img");
    boxes.set(element, new DOMRect(at * SIDE, 0, SIDE, SIDE));
    document.body.append(element);
    return { element, kind: "img", address: `https://a.example/${at}.png` } as const;
  });

const at = (x: number, y: number) => (y < SIDE ? (images[Math.floor(x / SIDE)] ?? null) : null);

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Element.prototype, "getBoundingClientRect").mockImplementation(function (this: Element) {
    return boxes.get(this) ?? new DOMRect();
  });
  document.body.replaceChildren();
  settings = { hover: true, dwellMs: DWELL_MS, modifier: "none", flagged: "show" };
  images = row(50);
  asked = [];
  looked = 0;
  intent = new Intent({
    settings: () => settings,
    paintedAt: (x, y) => {
      looked += 1;
      return at(x, y);
    },
    asked: (painted) => asked.push(painted),
    isFor: (target) => (target as Element).id !== "ours",
  });
  intent.start();
});
afterEach(() => {
  intent.stop();
  vi.useRealTimers();
});

/** What a person does; `isTrusted` false is what a script of the page does. */
function does(event: Event, target: Element = document.body, isTrusted = true): void {
  Object.defineProperty(event, "isTrusted", { value: isTrusted });
  target.dispatchEvent(event);
}
function move(x: number, y = 50, init: PointerEventInit = {}): void {
  const target = at(x, y)?.element ?? document.body;
  const place = { clientX: x, clientY: y, bubbles: true, pointerType: "mouse" };
  does(new PointerEvent("pointermove", { ...place, ...init }), target);
}
const key = (type: string, init: KeyboardEventInit) =>
  does(new KeyboardEvent(type, { bubbles: true, ...init }));
const pass = (ms: number) => vi.advanceTimersByTime(ms);

test("an image is asked about once the pointer stayed for the dwell, and not before", () => {
  move(50);
  pass(DWELL_MS - 1);
  expect(asked).toEqual([]);

  pass(1);

  expect(asked).toEqual([images[0]]);
});

test("moving about within the image does not begin the dwell anew", () => {
  move(50);
  pass(REST_MS);
  for (let ms = REST_MS; ms < DWELL_MS; ms += 20) {
    move(50 + (ms % 40));
    pass(20);
  }

  expect(asked).toEqual([images[0]]);
});

test("it is asked about once, however long the pointer stays and moves on it", () => {
  for (let times = 0; times < 20; times++) {
    move(40 + times);
    pass(DWELL_MS);
  }

  expect(asked).toEqual([images[0]]);
});

test("it knows whether the pointer is still there when the answer comes", () => {
  move(50);
  pass(DWELL_MS);
  expect(intent.isOn(images[0] as Painted)).toBe(true);

  move(500, 500);

  expect(intent.isOn(images[0] as Painted)).toBe(false);
});

test("going to another image begins anew", () => {
  move(50);
  pass(DWELL_MS - 100);
  move(SIDE + 50);
  pass(DWELL_MS - 1);
  expect(asked).toEqual([]);

  pass(1);

  expect(asked).toEqual([images[1]]);
});

test("a smaller image inside the box of a larger one is another image", () => {
  move(50);
  pass(DWELL_MS);
  const inner = row(1)[0] as Painted;
  images[0] = inner;

  move(52);
  pass(DWELL_MS);

  expect(asked.at(-1)).toBe(inner);
});

test("a sweep over 50 thumbnails asks for nothing", () => {
  for (let x = 0; x < 50 * SIDE; x += 10) {
    move(x);
    pass(16); // 600 pixels a second
  }
  move(50 * SIDE + 500, 500);
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});

test("what is painted is looked at when the pointer rests, never for each move", () => {
  for (let x = 0; x < 5000; x += 5) {
    move(x);
    pass(8);
  }
  expect(looked).toBe(0);

  pass(DWELL_MS);

  expect(looked).toBe(2);
});

test.each([
  ["a press", () => does(new PointerEvent("pointerdown", { bubbles: true }))],
  ["scrolling", () => does(new Event("scroll"))],
  ["the wheel", () => does(new WheelEvent("wheel", { bubbles: true }))],
  ["a key", () => key("keydown", { key: "a" })],
  [
    "leaving the window",
    () => does(new PointerEvent("pointerout", { bubbles: true, relatedTarget: null })),
  ],
  ["the end", () => intent.stop()],
])("%s ends it", (_, end) => {
  move(50);
  pass(REST_MS + 10);

  end();
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});

test("an image that is swapped under the pointer is not asked about: it was not meant", () => {
  move(50);
  pass(DWELL_MS - 10);
  images[0] = { ...(images[0] as Painted), address: "https://a.example/other.png" };

  pass(DWELL_MS);

  expect(asked).toEqual([]);
});

test("a finger has no hover", () => {
  move(50, 50, { pointerType: "touch" });
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});

test("moves that a script of the page made count for nothing", () => {
  const init = { clientX: 50, clientY: 50, bubbles: true, pointerType: "mouse" };
  does(new PointerEvent("pointermove", init), document.body, false);
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});

test("what is ours on the page is not asked about, nor what lies below it", () => {
  const ours = document.createElement("div");
  ours.id = "ours";
  document.body.append(ours);
  move(50);
  pass(REST_MS);

  const init = { clientX: 60, clientY: 50, bubbles: true, pointerType: "mouse" };
  does(new PointerEvent("pointermove", init), ours);
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});

test("with a modifier, nothing is asked unless it is held", () => {
  settings = { ...settings, modifier: "alt" };
  move(50);
  pass(2 * DWELL_MS);
  expect(asked).toEqual([]);

  key("keydown", { key: "Alt", altKey: true });
  pass(DWELL_MS);

  expect(asked).toEqual([images[0]]);
});

test("letting go of the modifier ends it", () => {
  settings = { ...settings, modifier: "shift" };
  move(50, 50, { shiftKey: true });
  pass(DWELL_MS - 50);

  key("keyup", { key: "Shift", shiftKey: false });
  pass(2 * DWELL_MS);

  expect(asked).toEqual([]);
});
