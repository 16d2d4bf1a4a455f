// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test } from "vitest";
import { speak } from "../testing/world";
import type { Painted } from "./painted";
import { Picker } from "./pick";

let images: Painted[];
let picked: [address: string | null, byKeyboard: boolean][];
let outlined: (string | null)[];
let texts: string[];
let acts: { label: string; act(): void }[];
let over: number;
let clicks: number;
let host: HTMLElement;
let picker: Picker;
/** Ends what the site listens to. */
let site: AbortController;

const image = (name: string, alt = ""): Painted => {
  const element = document.createElement("img");
  element.alt = alt;
  document.body.append(element);
  return { element, kind: "img", address: name };
};

beforeEach(() => {
  speak();
  document.body.replaceChildren();
  images = [image("a", "A cat"), image("b"), image("c")];
  [picked, outlined, texts, acts, over, clicks] = [[], [], [], [], 0, 0];
  site = new AbortController();
  host = document.createElement("div");
  document.body.append(host);
  document.body.addEventListener("click", () => clicks++, { signal: site.signal });
  picker = new Picker({
    layer: () => ({
      host,
      outline: (painted) => outlined.push(painted?.address ?? null),
      toast: (text, given = []) => {
        texts.push(text);
        acts = given;
      },
      hideToast: () => texts.push(""),
    }),
    paintedAt: (x) => images[Math.floor(x / 100)] ?? null,
    paintedOf: (element) => images.find((one) => one.element === element) ?? null,
    paintedOnPage: () => images,
    picked: ({ address }, byKeyboard) => picked.push([address, byKeyboard]),
    ended: () => {
      over += 1;
    },
  });
  picker.start();
});
afterEach(() => {
  picker.stop();
  site.abort();
});

function does(event: Event, target: Element = document.body, isTrusted = true): Event {
  Object.defineProperty(event, "isTrusted", { value: isTrusted });
  target.dispatchEvent(event);
  return event;
}
const press = (type: string, x: number, detail = 1) =>
  new MouseEvent(type, { clientX: x, clientY: 10, bubbles: true, cancelable: true, detail });
const key = (name: string, init: KeyboardEventInit = {}) =>
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...init });

test("it says how to pick, and how to get out", () => {
  expect(texts.at(-1)).toContain("Esc");
  expect(acts.map(({ label }) => label)).toEqual(["Cancel"]);
});

test("a click picks the image there, and the page does not get it", () => {
  const click = does(press("click", 120));

  expect(picked).toEqual([["b", false]]);
  expect([clicks, click.defaultPrevented, over]).toEqual([0, true, 1]);
});

test("a click beside all images goes nowhere, and says so", () => {
  does(press("click", 900));

  expect(picked).toEqual([]);
  expect(texts.at(-1)).toContain("no image here");
  expect(clicks).toBe(0);
});

test("after a pick the page has its clicks again", () => {
  does(press("click", 20));

  does(press("click", 20));

  expect([picked.length, clicks]).toEqual([1, 1]);
});

test("a click that a script of the page made picks nothing", () => {
  does(press("click", 20), document.body, false);

  expect([picked, clicks]).toEqual([[], 1]);
});

test("a screen reader's click is on an element", () => {
  does(press("click", 0, 0), images[2]?.element);

  expect(picked).toEqual([["c", true]]);
});

test("a touch is let through until it has become a click", () => {
  expect(does(press("pointerdown", 20)).defaultPrevented).toBe(false);
  expect(does(press("mousedown", 20)).defaultPrevented).toBe(true);
});

test("Tab goes through the images and round, Shift+Tab back; Enter picks", () => {
  for (const shiftKey of [false, false, false, false, true]) does(key("Tab", { shiftKey }));

  expect(outlined).toEqual(["a", "b", "c", "a", "c"]);
  does(key("Enter"));
  expect(picked).toEqual([["c", true]]);
});

test("which image it is, is said in the page's own words, kept apart from ours", () => {
  images[1]?.element.setAttribute("alt", `\u202e${"x".repeat(500)}`);

  does(key("Tab"));
  expect(texts.at(-1)).toBe("Image 1 of 3: \u2068A cat\u2069. Enter checks it.");
  does(key("Tab"));

  expect(texts.at(-1)?.length).toBeLessThan(150);
  expect(texts.at(-1)).toMatch(/\u2069\. Enter checks it\.$/);
  does(key("Tab"));
  expect(texts.at(-1)).toContain("no description");
});

test("each image is a new line to a screen reader, not one that changes", () => {
  texts = [];

  does(key("Tab"));
  does(key("Tab"));

  expect(texts.map((text) => text !== "")).toEqual([false, true, false, true]);
});

test("Tab on a page without an image says so", () => {
  images = [];

  does(key("Tab"));

  expect(texts.at(-1)).toContain("no image here");
});

test.each([["Esc", () => does(key("Escape"))] as const, ["Cancel", () => acts[0]?.act()] as const])(
  "%s ends it without a pick",
  (_, end) => {
    end();

    expect([picked, over, texts.at(-1), outlined.at(-1)]).toEqual([[], 1, "", null]);
    does(press("click", 20));
    expect(clicks).toBe(1);
  },
);

test("a key on our own button is the button's", () => {
  const enter = does(key("Enter"), host);

  expect(enter.defaultPrevented).toBe(false);
  expect(picked).toEqual([]);
});
