/**
 * Every way in that begins in a site's page, with the real extension, server and browser.
 *
 *     hover | menu on an image | menu on anything else: CSS image, pick | shortcut | check this page
 *       --> the chip over the right image, with its verdict
 *     the worker is ended in the middle --> it goes on       the extension is reloaded --> old UI gone
 *
 * No driver can open the browser's own menu or press its shortcut: there, the worker is told what
 * the browser tells it. Everything in the page is done with a real mouse and keyboard.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { Page } from "playwright-core";
import { type Inside, inside, ROOTS, type Seen, seen, until } from "./inside.ts";
import { press } from "./press.ts";
import { send, setUp } from "./set_up.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";
import { startWall, type Wall } from "./wall.ts";
import { activeTab, chooseInMenu, pressShortcut, type Tab } from "./worker.ts";

const SITE = "http://wall.example";
const PATTERN = `${SITE}/*`;
/** Of another site than its page: not watched, and its images may not be read without a grant. */
const OTHER = "http://other.example";
const WHITE = 255;
const BLACK = 0;

let system: System;
let browser: Browser;
let wall: Wall;
/** A page of the extension. */
let own: Page;
/** Pictures so far: each test has its own. */
let count = 0;

before(async () => {
  if (skip) return;
  wall = await startWall();
  const hosts = { "wall.example": wall.port, "other.example": wall.port };
  system = await startSystem();
  browser = await startBrowser(hosts, { granted: [PATTERN, `${OTHER}/*`] });
  own = await setUp(system, browser, [PATTERN], { flagged: "show" });
});
afterEach(async () => {
  wall?.release();
  for (const page of browser?.context.pages() ?? []) if (page !== own) await page.close();
});
after(async () => {
  await browser?.stop();
  await system?.stop();
  await wall?.stop();
});

test("a pointer that stays on an image of a watched site gets its verdict", { skip }, async () => {
  const { page, shows } = await opened(imageOf(WHITE));
  wall.asked.length = 0;

  await page.mouse.move(100, 100);

  await until(shows, ({ chips }) => chips[0]?.look === "likely_ai");
  // The answer came while the pointer was there: with its rate.
  await until(shows, ({ card }) => card?.includes("3 in 100") ?? false);
  assert.equal(wall.asked.length, 1);
});

test("one that passes by is asked about nothing", { skip }, async () => {
  const { page, shows } = await opened(`${imageOf(WHITE)}<p style="height:600px">`);
  wall.asked.length = 0;

  await page.mouse.move(100, 100);
  await page.mouse.move(100, 500, { steps: 5 });
  await page.waitForTimeout(1000); // the dwell is long over

  assert.equal((await shows()).hosts, 0);
  assert.deepEqual(wall.asked, []);
});

test("on a site that is not watched a pointer is nobody's business", { skip }, async () => {
  const { page } = await opened(imageOf(WHITE), { site: OTHER, isOurs: false });
  wall.asked.length = 0;

  await page.mouse.move(100, 100);
  await page.waitForTimeout(1000); // the dwell is long over

  assert.deepEqual(wall.asked, []);
});

test("an image that is swapped while it is checked gets no verdict of the old one", {
  skip,
}, async () => {
  const { page, shows } = await opened(imageOf(WHITE));
  wall.hold();
  await page.mouse.move(100, 100);
  await until(shows, ({ chips }) => chips.length === 1);

  await page.evaluate((address) => {
    document.images[0]?.setAttribute("src", address);
  }, addressOf(BLACK));

  await until(shows, ({ chips }) => chips.length === 0);
  wall.release();
  await page.waitForTimeout(1000); // what was asked is answered
  assert.deepEqual((await shows()).chips, []);
});

test("the menu on an image shows its chip over it", { skip }, async () => {
  const { page, shows } = await opened(imageOf(BLACK) + imageOf(WHITE));

  await menu("check-image", await page.evaluate(() => document.images[1]?.currentSrc));

  await until(shows, ({ chips }) => chips[0]?.look === "likely_ai");
});

test("the menu on a CSS image checks what was right-clicked", { skip }, async () => {
  const body = `<div style="width:300px;height:200px;background:url(${addressOf(WHITE)})"></div>`;
  const { page, shows } = await opened(body);
  await page.mouse.click(100, 100, { button: "right" });

  await menu("pick-image");

  await until(shows, ({ card }) => card?.includes("Likely AI") ?? false);
});

test("picked: a click on a linked image checks it, and does not follow the link", {
  skip,
}, async () => {
  const { page, shows } = await opened(`<a href="/gone">${imageOf(WHITE)}</a>`);

  await menu("pick-image");
  await until(shows, ({ toast }) => toast?.includes("Esc") ?? false);
  await page.mouse.click(100, 100);

  await until(shows, ({ card }) => card?.includes("Likely AI") ?? false);
  assert.equal((await shows()).toast, null);
  assert.ok(page.url().startsWith(`${SITE}/page`), page.url());
});

test("picked by keyboard: Tab goes to the second image, Enter checks it", { skip }, async () => {
  const { page, shows } = await opened(imageOf(BLACK) + imageOf(WHITE));

  await menu("pick-image");
  await until(shows, ({ toast }) => toast?.includes("Esc") ?? false);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await until(shows, ({ toast }) => toast?.includes("2") ?? false);
  await page.keyboard.press("Enter");

  await until(shows, ({ card }) => card?.includes("Likely AI") ?? false);
});

test("Esc ends picking, and the page has its clicks again", { skip }, async () => {
  const { page, shows } = await opened(`<a href="/page-gone">${imageOf(WHITE)}</a>`);
  wall.page("page-gone", "there");

  await menu("pick-image");
  await until(shows, ({ toast }) => toast?.includes("Esc") ?? false);
  await page.keyboard.press("Escape");
  await until(shows, ({ toast }) => toast === null);
  await page.mouse.click(100, 100);

  await page.waitForURL("**/page-gone");
});

test("a canvas that is picked is judged as the screen shows it, and never for sure", {
  skip,
}, async () => {
  const { page, shows } = await opened('<canvas width="300" height="250"></canvas>');
  await press(browser, page); // the browser lets us see the tab for a person's own act alone

  await menu("pick-image");
  await until(shows, ({ toast }) => toast !== null);
  await page.mouse.click(100, 100);

  const { card } = await until(shows, (now) => /Can't tell|screen/.test(now.card ?? ""));
  assert.doesNotMatch(card ?? "", /Likely AI|No sign/);
});

test("a pointer on a canvas is told that it has only pixels, and what to do", {
  skip,
}, async () => {
  const { page, shows } = await opened('<canvas width="300" height="200"></canvas>');

  await page.mouse.move(100, 100);

  await until(shows, ({ card }) => card?.includes("no file of its own") ?? false);
});

test("the shortcut checks the image of the link that has the focus", { skip }, async () => {
  const { page, shows } = await opened(`<a href="/gone">${imageOf(WHITE)}</a>`);
  await page.keyboard.press("Tab");

  await pressShortcut(browser, own);

  await until(shows, ({ card }) => card?.includes("Likely AI") ?? false);
});

test("the shortcut checks the image in the frame that has the focus", { skip }, async () => {
  wall.page("inner", `<a href="/gone">${imageOf(WHITE)}</a>`);
  const { page, shows } = await opened('<iframe src="/inner" width="500" height="400">');
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");

  await pressShortcut(browser, own);

  const [, frame] = page.frames();
  assert.ok(frame);
  await until(
    () => session("check:"),
    (all) => all.some((one) => one.stage === "done"),
  );
  assert.deepEqual((await shows()).chips, []); // it is the inner frame's
});

test("this page is checked: every image once, how it gets on, and what was found", {
  skip,
}, async () => {
  const white = Array.from({ length: 5 }, () => imageOf(WHITE)).join("");
  const black = Array.from({ length: 20 }, () => imageOf(BLACK)).join("");
  const { shows, tab } = await opened(white + black);
  wall.asked.length = 0;

  const started = await send(own, { kind: "sweep", tabId: tab.id });

  assert.equal(started, "started");
  const end = await until(swept, (row) => row?.isEnded === true, 60_000);
  assert.deepEqual(
    [end?.total, end?.done, end?.flagged, end?.failed, end?.left],
    [25, 25, 5, 0, 0],
  );
  assert.equal(new Set(wall.asked).size, 25);
  assert.equal(wall.asked.length, 25);
  const { toast } = await shows();
  assert.match(toast ?? "", /Images checked: 25\. Likely or declared AI: 5\./);
});

test("cancelled in the page, it takes no more", { skip }, async () => {
  const images = Array.from({ length: 30 }, () => imageOf(BLACK)).join("");
  const { page, shows, tab, world } = await opened(images);
  wall.hold();
  await send(own, { kind: "sweep", tabId: tab.id });
  await until(shows, ({ toast }) => toast?.includes("of 30") ?? false);

  const place = await world.evaluate<{ x: number; y: number }>(CANCEL);
  await page.waitForTimeout(400); // our buttons take no click in their first moment
  await page.mouse.click(place.x, place.y);

  const end = await until(swept, (row) => row?.isEnded === true);
  assert.deepEqual([end?.reason, end?.left], ["canceled", 30]);
});

test("of 2,000 images that the page lets go of, none is held", { skip }, async () => {
  const few = Array.from({ length: 4 }, () => addressOf(WHITE));
  const images = Array.from(
    { length: 2000 },
    (_, n) => `<img src="${few[n % 4]}" width="100" height="80">`,
  );
  const { page, shows, tab, world } = await opened(`<main>${images.join("")}</main><p>rest</p>`);
  await send(own, { kind: "sweep", tabId: tab.id });
  await until(swept, (row) => row?.isEnded === true, 60_000);
  await until(shows, ({ chips }) => chips.length > 5);

  await page.evaluate(`{
    globalThis.held = [...document.images].map((image) => new WeakRef(image));
    document.querySelector("main").remove();
    document.body.append(Object.assign(new Image(200, 200), { src: "${addressOf(BLACK)}" }));
  }`);
  await until(shows, ({ chips }) => chips.length === 0);
  await page.mouse.move(100, 120);
  await until(shows, ({ chips }) => chips.length === 1);

  await until(
    async () => {
      await world.devtools.send("HeapProfiler.collectGarbage");
      return page.evaluate("held.filter((one) => one.deref()).length");
    },
    (held) => held === 0,
  );
});

test("a worker that is ended in the middle of a hover's check goes on", { skip }, async () => {
  const { page, shows, world } = await opened(imageOf(WHITE));
  wall.hold();
  wall.asked.length = 0;
  await page.mouse.move(100, 100);
  await until(
    async () => wall.asked.length,
    (asked) => asked > 0,
  );

  await endWorker(world);
  wall.release();

  await until(shows, ({ chips }) => chips[0]?.look === "likely_ai", 30_000);
});

test("a worker that is ended in the middle of a sweep goes on", { skip }, async () => {
  const images = Array.from({ length: 12 }, () => imageOf(WHITE)).join("");
  const { tab, world } = await opened(images);
  wall.hold();
  wall.asked.length = 0;
  await send(own, { kind: "sweep", tabId: tab.id });
  await until(
    async () => wall.asked.length,
    (asked) => asked >= 4,
  );

  await endWorker(world);
  wall.release();

  const end = await until(swept, (row) => row?.isEnded === true, 60_000);
  assert.deepEqual([end?.done, end?.flagged, end?.failed], [12, 12, 0]);
});

test("a page gains nothing by what a newer version says to an older one", { skip }, async () => {
  const { page, shows } = await opened(imageOf(WHITE));
  await page.mouse.move(100, 100);
  await until(shows, ({ chips }) => chips.length === 1);

  await page.evaluate(() => dispatchEvent(new CustomEvent("pinclip-nudge")));

  assert.equal((await shows()).chips.length, 1);
});

test("after an update, what is old goes: the new one takes over, or the page is to be reloaded", {
  skip,
}, async () => {
  const unwatched = await opened(imageOf(WHITE), { site: OTHER, isOurs: false });
  await menu("pick-image");
  await until(
    () => hostsOf(unwatched.page),
    (hosts) => hosts === 1,
  );
  await unwatched.page.mouse.click(100, 100);
  const watched = await opened(imageOf(WHITE) + imageOf(BLACK));
  await watched.page.mouse.move(100, 100);
  await until(watched.shows, ({ chips }) => chips[0]?.look === "likely_ai");

  await own.evaluate(() => (globalThis as unknown as Own).chrome.runtime.reload()).catch(() => {});

  await until(
    () => hostsOf(watched.page),
    (hosts) => hosts === 0,
  );
  const world = await inside(watched.page, browser.origin);
  await watched.page.mouse.move(120, 320);
  const now = await until(
    () => seen(world),
    ({ chips }) => chips[0]?.look === "no_sign_of_ai",
  );
  assert.equal(now.chips.length, 1);
  await until(
    () => drawnIn(unwatched.page),
    (words) => words.includes("Reload this page"),
  );
  assert.doesNotMatch(await drawnIn(unwatched.page), /Likely AI/);
});

/* What the tests do */

const menu = (entry: string, srcUrl?: string) => chooseInMenu({ browser, own }, entry, srcUrl);

interface Opened {
  page: Page;
  world: Inside;
  shows(): Promise<Seen>;
  tab: Tab;
}

/** A page of the site with this body; waits until page.js is in it. */
async function opened(body: string, { site = SITE, isOurs = true } = {}): Promise<Opened> {
  const name = `page-${count++}`;
  wall.page(name, body, "<style>img,canvas{display:block}</style>");
  const page = await browser.context.newPage();
  await page.goto(`${site}/${name}`);
  await page.bringToFront();
  const tab = await activeTab(own);
  if (!isOurs) return { page } as Opened;
  const world = await inside(page, browser.origin);
  return { page, world, tab, shows: () => seen(world) };
}

/** A picture of this grey that no test has used. */
function imageOf(grey: number): string {
  return `<img src="${addressOf(grey)}" width="300" height="200" alt="A picture">`;
}

function addressOf(grey: number): string {
  return `/at/${grey}/${count++}.png`;
}

interface Own {
  chrome: {
    runtime: { reload(): void };
    storage: { session: { get(all: null): Promise<Record<string, unknown>> } };
  };
}

interface Row {
  stage?: string;
  isEnded?: boolean;
  total?: number;
  done?: number;
  flagged?: number;
  failed?: number;
  left?: number;
  reason?: string | null;
}

/** What the worker keeps under names that begin so. */
async function session(start: string): Promise<Row[]> {
  const all = await own.evaluate(() =>
    (globalThis as unknown as Own).chrome.storage.session.get(null),
  );
  return Object.entries(all)
    .filter(([name]) => name.startsWith(start))
    .map(([, value]) => value as Row);
}

/** How the only sweep gets on. */
async function swept(): Promise<Row | undefined> {
  return (await session("sweep:"))[0];
}

async function endWorker({ devtools }: Inside): Promise<void> {
  await devtools.send("ServiceWorker.enable");
  await devtools.send("ServiceWorker.stopAllWorkers");
}

/** Elements of ours in the document, as the page can count them. */
async function hostsOf(page: Page): Promise<number> {
  return page.evaluate(() => document.querySelectorAll("div").length);
}

/** All that is drawn by us in a page whose extension is gone, and with it the way into its world. */
async function drawnIn(page: Page): Promise<string> {
  const devtools = await page.context().newCDPSession(page);
  const whole = await devtools.send("DOM.getDocument", { depth: -1, pierce: true });
  await devtools.detach();
  return [...JSON.stringify(whole).matchAll(/"data-words","([^"]*)"/g)]
    .map(([, text]) => text)
    .join(" ");
}

/** Where the toast's button is. */
const CANCEL = `(() => {
  const [root] = ${ROOTS};
  const box = root.querySelector(".toast button").getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
})()`;
