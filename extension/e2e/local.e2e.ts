/**
 * Judging in the browser itself: get the model, turn it on, and no image leaves any more.
 *
 *     options: Download -> 404: what the server's owner may do
 *              the file is there -> Download -> on
 *     popup:   a file -> the offscreen page's thread -> verdict; nothing was uploaded
 *              an animation, a file that may declare AI -> the server, as before
 *     options: Remove -> the server again
 *
 * The model is a real ONNX file in the real runtime, but one that only sees brightness.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { crc32 } from "node:zlib";
import type { Page } from "playwright-core";
import { BRIGHTNESS, exported } from "../local/testing.ts";
import { dropped } from "./drop.ts";
import { inspected } from "./looks.ts";
import { picture } from "./pictures.ts";
import { setUp } from "./set_up.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";

const BLACK = picture(5);
const NOT_SENT = /was not sent/;
let folder: string;
let system: System;
let browser: Browser;
let popup: Page;

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "pinclip-model-"));
  process.env.PINCLIP_ONNX = join(folder, "model.onnx");
  [system, browser] = await Promise.all([startSystem(), startBrowser()]);
  popup = await setUp(system, browser);
  await popup.reload(); // it was opened before there were settings
});
after(async () => {
  await browser?.stop();
  await system?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test("a browser with the model judges by itself", { skip }, async () => {
  const options = await browser.context.newPage();
  await options.goto(`${browser.origin}/options.html`);

  await options.getByRole("button", { name: "Download the model" }).click();
  await options.getByText("pinclip export --small").waitFor();
  writeFileSync(join(folder, "model.onnx"), model());
  await options.getByRole("button", { name: "Download the model" }).click();
  await options.getByText("The model fixed is here").waitFor();
  await inspected(options, "local");

  assert.match(await checked("white.png", picture(250)), /Likely AI[\s\S]*was not sent/);
  assert.match(await checked("black.png", BLACK), /No sign of AI[\s\S]*was not sent/);
  assert.deepEqual(await sent(options), [2, 0]);

  assert.doesNotMatch(await checked("declares.png", declaring(BLACK)), NOT_SENT);
  assert.doesNotMatch(await checked("moves.png", moving(BLACK)), NOT_SENT);
  assert.deepEqual(await sent(options), [4, 2]);

  await options.getByRole("button", { name: "Remove the model" }).click();
  await options.getByText("The model is gone").waitFor();
  assert.doesNotMatch(await checked("grey.png", picture(9)), NOT_SENT);
  assert.deepEqual(await sent(options), [5, 3]);
});

/** A model by the name and checksum of the one that the server's workers have. */
function model(): Uint8Array {
  const vectors = join(import.meta.dirname, "../../tests/vectors/local.json");
  const said = JSON.parse(readFileSync(vectors, "utf8"));
  const weightsSha256 = createHash("sha256").update("fixed").digest("hex");
  return exported({ ...said, id: "fixed", weightsSha256, graph: BRIGHTNESS });
}

/** Drop a file on the popup; what its card says in the end, with all that it can tell. */
async function checked(name: string, bytes: Buffer): Promise<string> {
  await dropped(popup, name, bytes);
  const card = popup.locator(".card", { hasText: name });
  await card.locator("[data-verdict]").waitFor();
  return (await card.textContent()) ?? "";
}

/** How many look-ups and how many images left this browser. */
async function sent(options: Page): Promise<[number, number]> {
  await options.reload();
  await options.locator("#rows li").first().waitFor();
  const rows = await options.locator("#rows li").allTextContents();
  const count = (words: RegExp) => rows.filter((row) => words.test(row)).length;
  return [count(/Five digits/), count(/An image/)];
}

/** The picture with a text behind it, as generators leave one in it. */
function declaring(png: Buffer): Buffer {
  return Buffer.concat([png, Buffer.from("Steps: 20, Sampler: Euler")]);
}

const IDAT = 33; // behind the signature and IHDR
const END = 12;

/** The picture twice, one after the other: an animated PNG. */
function moving(png: Buffer): Buffer {
  const size = png.subarray(16, 24);
  const shown = (number: number) =>
    chunk("fcTL", word(number), size, word(0, 0), Buffer.from([0, 1, 0, 9, 0, 0]));
  const pixels = png.subarray(IDAT + 8, -END - 4);
  return Buffer.concat([
    png.subarray(0, IDAT),
    chunk("acTL", word(2, 0)),
    shown(0),
    png.subarray(IDAT, -END),
    shown(1),
    chunk("fdAT", word(2), pixels),
    png.subarray(-END),
  ]);
}

function chunk(name: string, ...data: Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from(name), ...data]);
  return Buffer.concat([word(body.length - 4), body, word(crc32(body))]);
}

function word(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, 4 * at);
  return bytes;
}
