// @vitest-environment happy-dom
import { beforeEach, expect, test, vi } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import type { Told } from "../lib/messages";
import type { View } from "../lib/view";
import { speak } from "../testing/world";
import { begun, failed } from "./ask";
import type { Layer } from "./layer";
import type { Painted } from "./painted";
import { Shown } from "./shown";

const ADDRESS = "https://a.example/a.png";
const VIEW = { verdict: "likely_ai" } as View;
let shown: Shown;
/** What the layer shows: a line for each call. */
let drawn: string[];
let sent: { kind: string; checkId: string; address: string; how: string }[];
/** Answers the check that was asked for last. */
let answer: (told: Partial<Told>) => void;

beforeEach(() => {
  speak();
  document.body.replaceChildren();
  fakeBrowser.runtime.id = "own";
  drawn = [];
  sent = [];
  fakeBrowser.runtime.sendMessage = ((message: (typeof sent)[0]) => {
    sent.push(message);
    return new Promise((done) => {
      answer = (told) => done({ ...begun(message.checkId), ...told });
    });
  }) as never;
  const layer = {
    show: (painted: Painted, { stage, view, error }: Told) =>
      drawn.push(`${painted.address} ${view?.verdict ?? error?.code ?? stage}`),
    drop: (painted: Painted) => drawn.push(`${painted.address} gone`),
  };
  shown = new Shown(() => layer as unknown as Layer);
});

/** An element that paints this image. */
function image(address = ADDRESS): Painted & { element: HTMLElement } {
  const element = document.createElement("div");
  element.style.backgroundImage = `url("${address}")`;
  document.body.append(element);
  return { element, kind: "background", address };
}
/** Until the browser has told of what changed. */
const settled = () => new Promise((done) => setTimeout(done, 40));

test("an image is shown under way, then with its verdict", async () => {
  const check = shown.check(image(), "hover");
  expect(drawn).toEqual([`${ADDRESS} getting`]);

  answer({ stage: "done", view: VIEW });
  await check;

  expect(drawn).toEqual([`${ADDRESS} getting`, `${ADDRESS} likely_ai`]);
  expect(sent).toMatchObject([{ kind: "check-image", address: ADDRESS, how: "hover" }]);
});

test("an image under way or judged is not asked about again", async () => {
  const one = image();
  const first = shown.check(one, "hover");
  const second = shown.check({ ...one }, "user");
  answer({ stage: "done", view: VIEW });
  await Promise.all([first, second]);

  const third = await shown.check(one, "sweep");

  expect(third.view).toEqual(VIEW);
  expect(sent).toHaveLength(1);
});

test("one that failed is tried again when a person says so, not by a hover", async () => {
  const one = image();
  const first = shown.check(one, "hover");
  answer({ stage: "failed", error: { code: "fetch_failed", detail: "", hint: "", origin: null } });
  await first;

  await shown.check(one, "hover");
  expect(sent).toHaveLength(1);
  void shown.check(one, "user");

  expect(sent).toHaveLength(2);
  expect(sent[1]?.checkId).not.toBe(sent[0]?.checkId);
});

test("an image that changes while it is checked gets no verdict of the old one", async () => {
  const one = image();
  const check = shown.check(one, "hover");

  one.element.style.backgroundImage = 'url("https://a.example/b.png")';
  await settled();
  expect(drawn.at(-1)).toBe(`${ADDRESS} gone`);
  answer({ stage: "done", view: VIEW });
  await check;

  expect(drawn.at(-1)).toBe(`${ADDRESS} gone`);
});

test("a change that no one has told of yet counts too", async () => {
  const one = image();
  const check = shown.check(one, "hover");
  answer({ stage: "done", view: VIEW });
  one.element.style.backgroundImage = 'url("https://a.example/b.png")';

  await check;

  expect(drawn).not.toContain(`${ADDRESS} likely_ai`);
});

test("an image that changes afterwards loses its chip, and can be asked about anew", async () => {
  const one = image();
  const check = shown.check(one, "hover");
  answer({ stage: "done", view: VIEW });
  await check;

  one.element.style.backgroundImage = 'url("https://a.example/b.png")';
  await settled();
  void shown.check({ ...one, address: "https://a.example/b.png" }, "hover");

  expect(drawn.slice(-2)).toEqual([`${ADDRESS} gone`, "https://a.example/b.png getting"]);
});

test("an image that the page let go of is let go of with the next check", async () => {
  const one = image();
  shown.show(one, { ...begun("1"), stage: "done", view: VIEW });

  one.element.remove();
  void shown.check(image("https://a.example/b.png"), "hover");

  expect(drawn).toContain(`${ADDRESS} gone`);
  expect(shown.told(one)).toBeNull();
});

test("a new source that loads without an attribute changing ends the chip", async () => {
  const one = image();
  shown.show(one, { ...begun("1"), stage: "done", view: VIEW });
  one.element.className = ""; // an attribute that changes nothing
  await settled();
  expect(drawn).toHaveLength(1);

  vi.spyOn(window, "getComputedStyle").mockReturnValue({} as CSSStyleDeclaration);
  one.element.dispatchEvent(new Event("load"));

  expect(drawn.at(-1)).toBe(`${ADDRESS} gone`);
});

test("a frame of a video is another one once it plays on", () => {
  const element = document.createElement("video");
  const frame: Painted = { element, kind: "video", address: null };
  document.body.append(element);
  void shown.again(frame, "hover");

  element.dispatchEvent(new Event("play"));

  expect(drawn).toEqual(["null getting", "null gone"]);
});

test("what has only pixels is not read because a pointer passed; it says how to", async () => {
  const one: Painted = { ...image(), kind: "canvas", address: null };

  const told = await shown.check(one, "hover");

  expect(told.error).toMatchObject({ code: "only_pixels" });
  expect(told.error?.detail).toContain("Pick an image");
  expect(sent).toEqual([]);
});

test("a check that was made elsewhere is shown on an image that is still the one", async () => {
  const one = image();
  shown.show(one, failed("1", "not_an_image"));
  one.element.style.backgroundImage = "none";
  shown.show(one, { ...begun("1"), stage: "done", view: VIEW });

  expect(drawn).toEqual([`${ADDRESS} not_an_image`, `${ADDRESS} gone`]);
});

test("at the end nothing is shown any more", () => {
  shown.show(image(), failed("1", "not_an_image"));

  shown.destroy();

  expect(drawn.at(-1)).toBe(`${ADDRESS} gone`);
});
