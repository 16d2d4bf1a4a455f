/**
 * What the extension costs and how fast it is, measured in the real browser; run by hand.
 *
 *     node e2e/numbers.ts [FILE.json]      prints a table, and writes it if a file is named
 *
 *     hover to badge     of images that the server knows: from the pointer's last move, less the dwell
 *     unknown image      one megapixel, the model by default: where the time goes
 *     50 thumbnails      a pointer that sweeps over them: what is asked for
 *     500 images         all with a verdict: main-thread time for a second of scrolling, with and
 *                        without; layout shift; memory after the page was left
 *
 * Nothing is asserted: the numbers are for people, and for the file.
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { CDPSession, Page } from "playwright-core";
import { type Inside, inside, ROOTS, until } from "./inside.ts";
import { send, setUp } from "./set_up.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";
import { startWall, type Wall } from "./wall.ts";
import { activeTab, checksOf } from "./worker.ts";

const SITE = "http://wall.example";
/** The same pages where page.js is not: what they cost by themselves. */
const BARE = "http://bare.example";
const DWELL_MS = 400;
const HOVERS = 30;
const UNKNOWN = 7;
const SCROLL_S = 4;
const ROUNDS = 3;
const LOADED_WITHIN_MS = 120_000;

interface Setting {
  system: System;
  browser: Browser;
  wall: Wall;
  own: Page;
}
type Row = [what: string, value: number, unit: string];

/* Hover to badge */

/** Runs in page.js's world: when the pointer last moved, and when each verdict was drawn. */
const WATCH = `(() => {
  globalThis.moved = 0;
  globalThis.badges = [];
  addEventListener("pointermove", (event) => { moved = event.timeStamp; }, { capture: true });
  const seen = new Set();
  const look = () => {
    for (const root of ${ROOTS}) {
      for (const chip of root.querySelectorAll(".chip:not(.gone)")) {
        const isVerdict = !["under_way", "failed"].includes(chip.dataset.look);
        if (seen.has(chip) || !isVerdict) continue;
        seen.add(chip);
        badges.push(performance.now() - moved);
      }
    }
    requestAnimationFrame(look);
  };
  look();
})()`;

/** Milliseconds from the last move to the badge, for one image after another. */
async function hovered(page: Page, world: Inside, count: number): Promise<number[]> {
  await world.evaluate(WATCH);
  for (let n = 0; n < count; n++) {
    await page.evaluate((at) => document.images[at]?.scrollIntoView({ block: "center" }), n);
    await sleep(300); // no move while it settles
    const box = await page.locator("img").nth(n).boundingBox();
    if (!box) throw new Error("the image is not there");
    await page.mouse.move(box.x + box.width - 60, box.y + box.height - 40, { steps: 3 });
    await until(
      () => world.evaluate<number>("badges.length"),
      (badges) => badges > n,
      60_000,
    );
  }
  return world.evaluate<number[]>("badges");
}

async function knownImages({ system, browser, wall, own }: Setting): Promise<Row[]> {
  const images = (start: number) =>
    Array.from({ length: HOVERS }, (_, n) => `<p><img src="/at/128/${start + n}.png">`).join("");
  wall.page("known", images(0));
  await teach(system, browser, HOVERS);
  await own.evaluate(NOTE_STAGES);
  const { page, world } = await opened({ browser }, "known");
  const ms = (await hovered(page, world, HOVERS)).map((all) => all - DWELL_MS);
  await page.close();
  return [
    [`hover to badge, known image, less the dwell: median of ${HOVERS}`, median(ms), "ms"],
    ["... fastest", Math.min(...ms), "ms"],
    ["... slowest", Math.max(...ms), "ms"],
    ["... read the bytes, hash them", await spent(own, "getting", "asking"), "ms"],
    ["... look it up", await spent(own, "asking", "done"), "ms"],
  ];
}

/** Have the server know pictures that this browser has not seen: another program sends them. */
async function teach(system: System, { origin }: Browser, count: number): Promise<void> {
  const words = "keys create --owner me --name other --scope scan".split(" ");
  const key = /sk_[0-9A-Za-z]+/.exec(system.run(...words))?.[0] ?? "";
  const { picture } = await import("./pictures.ts");
  const headers = { Authorization: `Bearer ${key}`, "X-Origin": origin };
  for (let n = 0; n < count; n++) {
    const body = new Blob([new Uint8Array(picture(128, 400 + n, 300))], { type: "image/png" });
    const how = { method: "POST", headers };
    const upload = await asJson(await fetch(`${system.url}/v1/uploads`, { ...how, body }));
    await asJson(
      await fetch(`${system.url}/v1/scans`, {
        ...how,
        headers: { ...headers, "Content-Type": "application/json", Prefer: "wait=20" },
        body: JSON.stringify({ upload_id: upload.id }),
      }),
    );
  }
}

async function asJson(answer: Response): Promise<{ id: string }> {
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as { id: string };
}

/* An unknown image, by the model by default */

const STAGES = ["getting", "asking", "sending", "waiting", "done"] as const;
type Times = Partial<Record<(typeof STAGES)[number], number>>;

async function unknownImages({ browser, wall, own }: Setting): Promise<Row[]> {
  // The first is for what a model does once; it is not counted.
  const images = Array.from(
    { length: UNKNOWN + 1 },
    (_, n) => `<p><img src="/hills/${n}.png" width="600">`,
  );
  wall.page("unknown", images.join(""));
  await own.evaluate(NOTE_STAGES);
  const { page, world } = await opened({ browser }, "unknown");
  const ms = (await hovered(page, world, UNKNOWN + 1)).slice(1).map((all) => all - DWELL_MS);
  await page.close();
  return [
    [`unknown image of 1 megapixel, less the dwell: median of ${UNKNOWN}`, median(ms), "ms"],
    ["... read the bytes, hash them", await spent(own, "getting", "asking"), "ms"],
    ["... look it up", await spent(own, "asking", "sending"), "ms"],
    ["... upload, submit", await spent(own, "sending", "waiting"), "ms"],
    ["... wait for the model", await spent(own, "waiting", "done"), "ms"],
  ];
}

/** From one stage to another, the first check left out. */
async function spent(own: Page, from: keyof Times, to: keyof Times): Promise<number> {
  const all = (await own.evaluate("Object.values(globalThis.stages)")) as Times[];
  const spans = all.slice(1).map((one) => (one[to] ?? Number.NaN) - (one[from] ?? Number.NaN));
  return median(spans);
}

/** Runs in a page of the extension: when each check entered each stage. */
const NOTE_STAGES = `(() => {
  globalThis.stages = {};
  chrome.storage.session.onChanged.addListener((changes) => {
    for (const [name, { newValue }] of Object.entries(changes)) {
      if (!name.startsWith("check:") || !newValue) continue;
      const times = (stages[name] ??= {});
      times[newValue.stage] ??= performance.now();
    }
  });
})()`;

/* 50 thumbnails */

async function thumbnails({ browser, wall, own }: Setting): Promise<Row[]> {
  const all = Array.from(
    { length: 50 },
    (_, n) => `<img src="/at/0/${n}.png" width="110" height="90">`,
  );
  wall.page("thumbnails", `<div style="width:1150px">${all.join("")}</div>`);
  const { page } = await opened({ browser }, "thumbnails");
  const before = (await checksOf(own)).length;
  for (let row = 0; row < 5; row++) {
    await page.mouse.move(20, 50 + row * 95);
    await page.mouse.move(1120, 50 + row * 95, { steps: 110 });
  }
  await sleep(1500); // what was going to be asked has been
  const asked = (await checksOf(own)).length - before;
  await page.close();
  return [["a pointer swept over 50 thumbnails: checks", asked, ""]];
}

/* 500 images */

async function manyImages({ browser, wall, own }: Setting): Promise<Row[]> {
  const all = Array.from(
    { length: 500 },
    (_, n) => `<img src="/at/255/${n}.png" width="220" height="160">`,
  );
  wall.page("many", `<div style="width:920px">${all.join("")}</div>`);
  wall.page("blank", "left");
  const bare = await opened({ browser, site: BARE }, "many");
  const { page } = await opened({ browser }, "many");
  await left(page);
  // The same page was there before, and nothing of ours in it: what it leaves by itself.
  const before = await heapOf(page);
  await page.goto(`${SITE}/many`, { timeout: LOADED_WITHIN_MS });
  const { devtools } = await inside(page, browser.origin);
  const began = performance.now();
  await sweptWhole(own, page);
  const sweepS = (performance.now() - began) / 1000;
  const costs = { bare: [] as number[], ours: [] as number[] };
  let shift = 0;
  for (let round = 0; round < ROUNDS; round++) {
    costs.bare.push((await scrolled(bare.page, bare.world.devtools)).ms);
    const { ms, shifted } = await scrolled(page, devtools);
    costs.ours.push(ms);
    shift = Math.max(shift, shifted);
  }
  await devtools.detach();
  await left(page);
  const after = await heapOf(page);
  await page.goto(`${SITE}/many`, { timeout: LOADED_WITHIN_MS });
  await sweptWhole(own, page);
  await left(page);
  const again = await heapOf(page);
  await Promise.all([bare.page.close(), page.close()]);
  return [
    ["sweep over 500 images, all unknown", sweepS, "s"],
    ["scrolling them: main thread without the extension", median(costs.bare), "ms/s"],
    ["... with 500 verdicts", median(costs.ours), "ms/s"],
    ["... added", median(costs.ours) - median(costs.bare), "ms/s"],
    ["... layout shift", shift, ""],
    ["heap once that page was left, before it was swept", before, "kB"],
    ["... once it was left with 500 verdicts (the script is compiled now)", after, "kB"],
    ["... once it was left so again", again, "kB"],
    ["... more than the first time", (again / after - 1) * 100, "%"],
  ];
}

async function sweptWhole(own: Page, page: Page): Promise<void> {
  await page.bringToFront();
  const { id } = await activeTab(own);
  await send(own, { kind: "sweep", tabId: id });
  const rows = () =>
    own.evaluate(
      "chrome.storage.session.get(null).then((all) => Object.entries(all).filter(([name]) => name.startsWith('sweep:')).map(([, row]) => row))",
    ) as Promise<{ isEnded: boolean; done: number; failed: number }[]>;
  const [end] = await until(rows, ([row]) => row?.isEnded === true, 600_000);
  if (end?.done !== 500 || end.failed > 0) throw new Error(`the sweep: ${JSON.stringify(end)}`);
}

/** Scroll for some seconds by the wheel: main-thread time for each, and the layout's shift. */
async function scrolled(
  page: Page,
  devtools: CDPSession,
): Promise<{ ms: number; shifted: number }> {
  await page.bringToFront();
  await page.evaluate(`{
    globalThis.shifted = 0;
    new PerformanceObserver((list) => {
      for (const { value } of list.getEntries()) shifted += value;
    }).observe({ type: "layout-shift", buffered: false });
    scrollTo(0, 0);
  }`);
  await page.mouse.move(960, 300); // beside the images: nothing is asked
  // The thread's own time: what other programs do meanwhile does not count.
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  await sleep(500);
  const busy = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1000;
  };
  const before = await busy();
  const end = performance.now() + SCROLL_S * 1000;
  while (performance.now() < end) {
    await page.mouse.wheel(0, 60);
    await sleep(16);
  }
  const ms = ((await busy()) - before) / SCROLL_S;
  await devtools.send("Performance.disable");
  return { ms, shifted: (await page.evaluate("shifted")) as number };
}

/** Go to an empty page, for good: a page that is replaced is not put aside for going back. */
async function left(page: Page): Promise<void> {
  await page.evaluate("location.replace('/blank')");
  await page.waitForURL("**/blank");
}

/** The heap of a page's process, in kB, rid of what nobody holds. */
async function heapOf(page: Page): Promise<number> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  for (let times = 0; times < 3; times++) {
    await devtools.send("HeapProfiler.collectGarbage");
    await sleep(200);
  }
  const { metrics } = await devtools.send("Performance.getMetrics");
  await devtools.detach();
  return (metrics.find(({ name }) => name === "JSHeapUsedSize")?.value ?? Number.NaN) / 1000;
}

/* All of it */

async function opened(
  { browser, site = SITE }: { browser: Browser; site?: string },
  name: string,
): Promise<{ page: Page; world: Inside }> {
  const page = await browser.context.newPage();
  await page.goto(`${site}/${name}`, { timeout: LOADED_WITHIN_MS });
  await page.bringToFront();
  if (site === SITE) return { page, world: await inside(page, browser.origin) };
  const devtools = await browser.context.newCDPSession(page);
  return {
    page,
    world: { devtools, evaluate: () => Promise.reject(new Error("nothing of ours")) },
  };
}

function median(values: number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Everything that `measure` finds, on a system and a browser of its own. */
async function measured(
  detector: string | null | undefined,
  measures: ((setting: Setting) => Promise<Row[]>)[],
): Promise<Row[]> {
  const wall = await startWall();
  const system = await startSystem(detector);
  const hosts = { "wall.example": wall.port, "bare.example": wall.port };
  const browser = await startBrowser(hosts, { granted: [`${SITE}/*`] });
  try {
    const own = await setUp(system, browser, [`${SITE}/*`], { dwellMs: DWELL_MS });
    // A page of the extension that draws nothing: an open panel would count too.
    await own.goto(`${browser.origin}/LICENSES.txt`);
    const rows: Row[] = [];
    for (const measure of measures)
      rows.push(...print(await measure({ system, browser, wall, own })));
    return rows;
  } finally {
    await browser.stop();
    await system.stop();
    await wall.stop();
  }
}

function print(rows: Row[]): Row[] {
  for (const [what, value, unit] of rows)
    console.log(`${shown(value).padStart(9)} ${unit.padEnd(5)} ${what}`);
  return rows;
}

function shown(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 0);
}

async function main(): Promise<void> {
  if (skip) throw new Error(skip);
  const [, , file] = process.argv;
  const rows = [
    ...(await measured(undefined, [knownImages, thumbnails, manyImages])),
    ...(await measured(null, [unknownImages])),
  ];
  const numbers = rows.map(([what, value, unit]) => ({ what, value, unit }));
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  if (file) writeFileSync(file, `${JSON.stringify({ machine, numbers }, null, 2)}\n`);
}

await main();
