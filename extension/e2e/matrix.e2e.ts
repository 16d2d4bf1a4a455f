/**
 * Every page of the fixture site, with the real extension, server and browser: which bytes were
 * judged, over which image the verdict stands, and the plain reason where the bytes cannot be had.
 *
 *     a place on a page --pointer stays on it--> check --> sha256 of what was judged = of what the
 *                                                          site gave the browser for that address
 *                                                      --> or the reason that is written in REASONS
 *                        what is no image         --> nobody is asked
 *
 * The pages hold each complaint about extensions that touch images: srcset, lazy loading, hotlinks,
 * twins, closed roots, content policies, guessed addresses, retries, accidental hovers, cookies,
 * permissions. Ends of the worker and of the extension are in lifecycle.e2e.ts and ways.e2e.ts.
 *
 * Where only a person's own act will do (a broken image, pixels without an address), the worker is
 * told what the browser tells it for the menu. One line at the end counts both.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { CDPSession, Frame, Page } from "playwright-core";
import type { Check } from "../lib/store.ts";
import { inside, type Seen, seen, until } from "./inside.ts";
import { press } from "./press.ts";
import { send, setUp } from "./set_up.ts";
import { type Target, there } from "./site/pages/row.ts";
import { ROWS, type Site, startSite } from "./site/site.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";
import { activeTab, checkIds, chooseInMenu, newChecks, pressShortcut } from "./worker.ts";

const SITE = "http://site.example";
const CDN = "http://cdn.example";
const OPEN = [`${SITE}/*`, `${CDN}/*`, "http://other.example/*"];
const DWELL_MS = 200;
/** After which a pointer would have asked, if it had found an image. */
const PASSED_MS = DWELL_MS + 400;

let system: System;
let browser: Browser;
let site: Site;
/** A page of the extension. */
let own: Page;
const counted = { right: 0, claimed: 0, said: 0, others: 0, quiet: 0 };

before(async () => {
  if (skip) return;
  site = await startSite();
  [system, browser] = await Promise.all([
    startSystem(),
    startBrowser(site.hosts, { granted: OPEN }),
  ]);
  own = await setUp(system, browser, OPEN, { dwellMs: DWELL_MS });
});
after(async () => {
  await browser?.stop();
  await system?.stop();
  await site?.stop();
  const { right, claimed, said, others, quiet } = counted;
  console.log(
    `right bytes in ${right} of ${claimed} claimed; a plain reason in ${said} of ${others} others; ` +
      `nobody asked in ${quiet} places without an image`,
  );
});

/* Every place of every page */

/** Why the bytes of a painted image cannot be had, or not be judged, by page and place. */
const REASONS: Record<string, string> = {
  "drawing #file": "format_unsupported",
  "blob #gone": "blob_gone",
  "private #i": "fetch_forbidden",
  "expiring #i": "fetch_not_found",
  "shut #i": "host_not_granted",
  "big #i": "fetch_too_large",
  "local #i": "private_address",
  // Where it was sent on to is not told to an extension that was not let in there.
  "toLocal #i": "fetch_failed",
  "toPrivate #i": "fetch_failed",
  "gigantic #long": "not_an_image",
  "truncated #i": "decode_failed",
  "wide #i": "image_too_large",
};

/** The address of the bytes of images that are their own address. */
const MADE: Record<string, string> = {
  "data #i": `${SITE}/p/bright-data1.png`,
  "data #d": `${SITE}/p/bright-data2.png`,
  "blob #kept": `${SITE}/p/bright-blob-kept.png`,
};

for (const [name, { targets = [] }] of Object.entries(ROWS)) {
  if (targets.length === 0) continue;
  test(`a pointer on ${name}`, { skip }, async () => {
    let page: Page | null = null;
    for (const target of targets) {
      page = await shown(name, target, page);
      await pointedAt(name, target, page);
    }
  });
}

/** The page as the target wants it: the one that is open, if nothing about it was changed. */
async function shown(name: string, target: Target, open: Page | null): Promise<Page> {
  const { scale, width, first } = target;
  if (open && !scale && !width && !first) {
    await open.keyboard.press("Escape"); // a card that is open may lie over what comes next
    return open;
  }
  const page = await opened(`${SITE}/${name}`, { scale, width });
  if (first) await page.evaluate(first);
  return page;
}

async function pointedAt(name: string, target: Target, page: Page): Promise<void> {
  const place = `${name} ${target.at}`;
  const before = await checkIds(own);
  const box = await pointTo(page, target);
  if (target.paints === null) await nobodyIsAsked(before, place);
  else if (target.paints === "pixels") await saysOnlyPixels(page, box, place);
  else if (REASONS[place]) await saysWhyNot(REASONS[place], before, place);
  else await bytesAreRight(MADE[place] ?? target.paints, { before, place, page, target, box });
}

async function nobodyIsAsked(before: string[], place: string): Promise<void> {
  await sleep(PASSED_MS);

  assert.equal(await countSince(before), 0, place);
  counted.quiet++;
}

async function saysOnlyPixels(page: Page, box: Box, place: string): Promise<void> {
  counted.others++;
  await until(
    async () => chipsIn(await seenIn(page), box).length,
    (chips) => chips === 1,
  );
  const { card } = await seenIn(page);
  assert.match(card ?? "", /no file of its own/, place);
  counted.said++;
}

interface Pointed {
  before: string[];
  place: string;
  page: Page;
  target: Target;
  box: Box;
}

async function saysWhyNot(reason: string, before: string[], place: string): Promise<void> {
  counted.others++;
  const { error } = await newCheck(before);
  assert.equal(error?.code, reason, `${place}: ${JSON.stringify(error)}`);
  counted.said++;
}

async function bytesAreRight(
  address: string,
  { before, place, page, target, box }: Pointed,
): Promise<void> {
  counted.claimed++;
  const { view, error } = await newCheck(before);
  const what = `${place}: ${JSON.stringify(error ?? view)}`;
  assert.equal(view?.sha256, sha256(site.bytesAt(address)), what);
  assert.equal(view?.verdict, verdictOf(address), what);
  const look = await seenIn(page, target.frame);
  if (look) {
    const [chip, ...more] = chipsIn(look, box);
    assert.equal(chip?.look, verdictOf(address), `${place}: ${JSON.stringify(look)}`);
    assert.deepEqual(more, [], place);
    assert.ok(target.frame || (await isOurs(page, chip as Box)), `covered: ${place}`);
  }
  counted.right++;
}

/* What takes more than a pointer */

const BROKEN: Record<string, string> = {
  missing: "fetch_not_found",
  failing: "fetch_http_error",
  html: "not_an_image",
  empty: "image_empty",
};
for (const [name, reason] of Object.entries(BROKEN)) {
  test(`the menu on the broken image of ${name}: why, and it is asked for once`, {
    skip,
  }, async () => {
    await opened(`${SITE}/${name}`);
    const address = ROWS[name]?.html.match(/src="([^"]*)"/)?.[1] ?? "";
    const before = await checkIds(own);
    site.asked.length = 0;

    await chooseInMenu({ browser, own }, "check-image", address);

    await saysWhyNot(reason, before, name);
    assert.deepEqual(pathsAsked(), [new URL(address).pathname]);
  });
}

test("a host that wants a Referer gets the site's name, in the second request of two", {
  skip,
}, async () => {
  const page = await opened(`${SITE}/hotlink`);
  const before = await checkIds(own);
  site.asked.length = 0;

  await pointTo(page, { at: "#i", paints: null });

  await newCheck(before);
  assert.deepEqual(
    site.asked.map(({ headers }) => headers.referer),
    [undefined, `${SITE}/`],
  );
});

test("cookies go nowhere until the user says so for that image; then its bytes are right", {
  skip,
}, async () => {
  const page = await opened(`${SITE}/private`);
  const before = await checkIds(own);
  site.asked.length = 0;
  await pointTo(page, { at: "#i", paints: null });
  const refused = await newCheck(before);
  assert.equal(refused.error?.code, "fetch_forbidden");
  assert.ok(site.asked.every(({ headers }) => headers.cookie === undefined));
  const between = await checkIds(own);

  await send(own, {
    kind: "check-again",
    checkId: refused.id,
    isAllowed: false,
    withCookies: true,
  });

  await judgedRight(await newCheck(between), `${SITE}/private/bright-private.png`);
});

test("one address that gives other bytes now gets another verdict", { skip }, async () => {
  const address = `${CDN}/current/bright-turn.png`;
  const first = await pointedOnce("changing");
  await judgedRight(first.check, address);

  site.turn();
  const second = await pointedOnce("changing");

  await judgedRight(second.check, address);
  assert.notEqual(first.check.view?.sha256, second.check.view?.sha256);
});

test("an image that is swapped while its bytes are read gets no verdict", { skip }, async () => {
  const page = await opened(`${SITE}/slow`);
  const before = await checkIds(own);
  const box = await pointTo(page, { at: "#i", paints: null });
  await until(
    async () => chipsIn(await seenIn(page), box).length,
    (chips) => chips === 1,
  );

  await page.evaluate((next) => {
    document.images[0]?.setAttribute("src", next);
  }, `${CDN}/p/dark-swapped.png`);

  await newCheck(before);
  await sleep(300); // it is told to the page after it is kept
  assert.deepEqual((await seenIn(page)).chips, []);
});

for (const at of ["#clean", "#tainted", "#gl"]) {
  test(`the pixels of canvas ${at}, picked, are read from the screen and never for sure`, {
    skip,
  }, async () => {
    const page = await opened(`${SITE}/canvas`);
    await press(browser, page);
    const before = await checkIds(own);
    await chooseInMenu({ browser, own }, "pick-image");
    await until(
      () => seenIn(page),
      ({ toast }) => toast !== null,
    );

    const { x, y, width, height } = await boxOf(page, at);
    await page.mouse.click(x + width / 2, y + height / 2);

    const { view, error } = await newCheck(before);
    assert.equal(view?.verdict, "inconclusive", JSON.stringify(error));
    assert.ok(view?.warnings.includes("rendered_capture"));
  });
}

test("the pointer crosses fifty thumbnails: two are asked about at most", { skip }, async () => {
  const page = await opened(`${SITE}/thumbnails`);
  const before = await checkIds(own);
  site.asked.length = 0;

  for (let n = 0; n < 50; n++) {
    const { x, y, width, height } = (await page.locator(`#t${n}`).boundingBox()) as Box;
    await page.mouse.move(x + width / 2, y + height / 2);
  }
  await sleep(PASSED_MS);

  assert.ok((await countSince(before)) <= 2);
  assert.ok(site.asked.length <= 2, JSON.stringify(pathsAsked()));
});

test("this page is checked: fifty thumbnails once each, and no icon", { skip }, async () => {
  const page = await opened(`${SITE}/thumbnails`);
  const tab = await activeTab(own);
  const before = await checkIds(own);
  site.asked.length = 0;

  await send(own, { kind: "sweep", tabId: tab.id });

  const checks = await newChecks(own, before, { count: 50, withinMs: 60_000 });
  const judged = checks.map(({ view }) => view?.sha256).sort();
  const shown = Array.from({ length: 50 }, (_, n) => there(`bright-t${n}-120x90`));
  assert.deepEqual(judged, shown.map((one) => sha256(site.bytesAt(one))).sort());
  assert.ok(site.asked.length <= 50);
  await page.goto(`${SITE}/small`);
  await send(own, { kind: "sweep", tabId: tab.id });
  await sleep(PASSED_MS);
  assert.equal(await countSince(before), 50);
});

test("an image in a tab of its own", { skip }, async () => {
  const address = there("bright-bare");
  const page = await opened(address);
  const before = await checkIds(own);

  await pointTo(page, { at: "img", paints: null });

  await judgedRight(await newCheck(before), address);
});

for (const [what, address] of [
  ["a page of the browser", "chrome://version/"],
  ["a file of this machine", "file:///etc/hostname"],
  ["a paper", `${SITE}/paper.pdf`],
] as const) {
  test(`the shortcut on ${what} says that nobody is let in, or that no image is there`, {
    skip,
  }, async () => {
    await opened(address);
    const before = await checkIds(own);

    await pressShortcut(browser, own);

    const { error } = await newCheck(before);
    assert.match(error?.code ?? "", /^(page_unreachable|no_focus)$/, address);
  });
}

for (const at of ["#link", "#button", "#laid"]) {
  test(`by keyboard: the image of ${at}, which has the focus`, { skip }, async () => {
    const page = await opened(`${SITE}/keyboard`);
    const target = ROWS.keyboard?.targets?.find((one) => one.at === at);
    const before = await checkIds(own);
    await page.focus(at);

    await pressShortcut(browser, own);

    await judgedRight(await newCheck(before), target?.paints ?? "");
  });
}

test("an image that fills the screen has its chip, on top", { skip }, async () => {
  const page = await opened(`${SITE}/fullscreen`);
  await page.click("#go");
  await page.waitForFunction(() => document.fullscreenElement !== null);
  const before = await checkIds(own);

  const box = await pointTo(page, { at: "#i", paints: null });

  await judgedRight(await newCheck(before), there("bright-full"));
  const [chip] = await until(
    async () => chipsIn(await seenIn(page), box),
    (all) => all.length > 0,
  );
  assert.ok(chip && (await isOurs(page, chip)));
});

test("a page that looks for what was put into it finds no word of it", { skip }, async () => {
  const page = await opened(`${SITE}/reads`);
  const before = await checkIds(own);
  await pointTo(page, { at: "#i", paints: null });
  await newCheck(before);
  await sleep(300);

  const found = await page.evaluate(() => {
    const { found } = globalThis as unknown as { found: string[] };
    const isFindable = (window as unknown as { find(text: string): boolean }).find("Likely AI");
    return { found, isFindable, html: document.documentElement.outerHTML };
  });

  assert.deepEqual([found.found, found.isFindable], [[], false]);
  assert.doesNotMatch(found.html, /Likely AI/);
});

test("a list without end: the chips of images that were taken away are gone", {
  skip,
}, async () => {
  const page = await opened(`${SITE}/endless`);
  for (let turn = 0; turn < 4; turn++) {
    const before = await checkIds(own);
    await page.evaluate((top) => scrollTo(0, top), turn * 50_000);
    await page.mouse.move(60, 300);
    await page.mouse.move(64, 304, { steps: 3 });
    await newCheck(before);
  }

  await until(
    async () => (await seenIn(page)).chips.length,
    (chips) => chips === 1,
  );
});

test("where nobody let us in, the server is asked to fetch only if the user chose that", {
  skip,
}, async () => {
  const before = await checkIds(own);
  await changeSettings({ send: "url" });
  const { check } = await pointedOnce("shut");
  await changeSettings({ send: "bytes" });

  // The name leads nowhere but in this browser: that the server says so shows that it was asked.
  assert.match(check.error?.code ?? "", /^fetch_/);
  assert.notEqual(check.scanId, null);
  assert.equal(await countSince(before), 1);
});

test("nothing on the own network is asked for, and nothing of it is sent on", {
  skip,
}, async () => {
  for (const name of ["local", "toLocal", "toPrivate"]) {
    const page = await opened(`${SITE}/${name}`);
    const before = await checkIds(own);
    site.asked.length = 0;

    await pointTo(page, { at: "#i", paints: null });

    const { scanId } = await newCheck(before);
    assert.equal(scanId, null, name);
    const within = site.asked.filter(({ host }) => /^(printer\.local|10\.)/.test(host));
    // A redirect is followed by the browser, as it was for the page; what comes is not read.
    assert.ok(within.length <= (name === "local" ? 0 : 1), `${name}: ${within.length}`);
  }
});

test("a page that removes what is not its own: no chip, and the panel has the verdict", {
  skip,
}, async () => {
  const { check } = await pointedOnce("removes");

  await judgedRight(check, there("bright-removed"));
});

test("a moving image says that only some of its pictures were judged", { skip }, async () => {
  const { check } = await pointedOnce("formats", "#gif");

  assert.ok(check.view?.warnings.includes("animation_sampled"), JSON.stringify(check.view));
});

/** By page: the verdict, and whether a declaration is told of, and how well it is vouched for. */
const DECLARATIONS: Record<string, [verdict: string, trust: string | undefined]> = {
  declared: ["declared_ai", "unsigned"],
  manifest: ["declared_ai", "unsigned"],
  cutManifest: ["no_sign_of_ai", undefined],
  smeared: ["no_sign_of_ai", undefined],
};
for (const [name, expected] of Object.entries(DECLARATIONS)) {
  test(`what the file of ${name} declares is told with who vouches for it`, { skip }, async () => {
    const { view } = (await pointedOnce(name)).check;

    assert.deepEqual([view?.verdict, view?.declaration?.trust], expected);
  });
}

test("an image that another takes the place of, as the window narrows, loses its chip", {
  skip,
}, async () => {
  const { page, check } = await pointedOnce("resize");
  await judgedRight(check, there("bright-broad"));
  const before = await checkIds(own);

  await stage?.devtools.send("Emulation.setDeviceMetricsOverride", { ...WINDOW, width: 600 });

  await until(
    () => seenIn(page),
    ({ chips }) => chips.length === 0,
  );
  await page.mouse.move(5, 5); // who stays on it is not asked about each image that comes
  await pointTo(page, { at: "#i", paints: null });
  await judgedRight(await newCheck(before), there("dark-narrow-320x240"));
});

test("a page that covers everything: the panel has the verdict", { skip }, async () => {
  const { check } = await pointedOnce("covers");

  await judgedRight(check, there("bright-covered"));
});

test("a finger on an image asks nobody: a long press is the site's own", { skip }, async () => {
  const page = await opened(`${SITE}/negotiated`);
  const before = await checkIds(own);
  const { x, y } = await boxOf(page, "#i");
  const touchPoints = [{ x: x + 50, y: y + 50 }];

  await stage?.devtools.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints });
  await sleep(PASSED_MS);
  await stage?.devtools.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });

  assert.equal(await countSince(before), 0);
});

test("it comes with access to no site, and no script in any page", { skip }, async () => {
  const manifest = await own.evaluate(() =>
    (globalThis as unknown as Api).chrome.runtime.getManifest(),
  );

  assert.equal(manifest.host_permissions, undefined);
  assert.equal(manifest.content_scripts, undefined);
  assert.deepEqual(manifest.optional_host_permissions, ["*://*/*"]);
});

test("no larger image than the painted one is guessed", { skip }, async () => {
  const page = await opened(`${SITE}/srcset`);
  const before = await checkIds(own);
  site.asked.length = 0;
  await pointTo(page, { at: "#i", paints: null });
  await newCheck(before);

  assert.ok(
    pathsAsked().every((path) => path === "/p/bright-1x.png"),
    pathsAsked().join(),
  );
});

/* What tests are made of */

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

interface Api {
  chrome: {
    runtime: { getManifest(): Record<string, unknown> };
    storage: {
      local: {
        get(name: string): Promise<{ settings: object }>;
        set(items: object): Promise<void>;
      };
    };
  };
}

async function changeSettings(change: object): Promise<void> {
  await own.evaluate(async (given) => {
    const { local } = (globalThis as unknown as Api).chrome.storage;
    const { settings } = await local.get("settings");
    await local.set({ settings: { ...settings, ...given } });
  }, change);
}

/** Point at a place of a page that is opened for it; returns the check, once ended. */
async function pointedOnce(name: string, at = "#i"): Promise<{ page: Page; check: Check }> {
  const page = await opened(`${SITE}/${name}`);
  const before = await checkIds(own);
  await pointTo(page, { at, paints: null });
  return { page, check: await newCheck(before) };
}

async function judgedRight({ view, error }: Check, address: string): Promise<void> {
  counted.claimed++;
  const what = `${address}: ${JSON.stringify(error ?? view)}`;
  assert.equal(view?.sha256, sha256(site.bytesAt(address)), what);
  assert.equal(view?.verdict, verdictOf(address), what);
  counted.right++;
}

function pathsAsked(): string[] {
  return site.asked.map(({ path }) => path);
}

/** Whether what is on top in the middle of a box is of the extension. */
async function isOurs(page: Page, { x, y, width, height }: Box): Promise<boolean> {
  const world = await inside(page, browser.origin);
  const point = `${x + width / 2}, ${y + height / 2}`;
  return world.evaluate(
    `chrome.dom.openOrClosedShadowRoot(document.elementFromPoint(${point}))?.querySelector(".layer") != null`,
  );
}

/** On the short side; below, no error rate is known. */
const KNOWN_FROM_PX = 224;

/** The site's pictures tell by their name how they score, and how large they are. */
function verdictOf(address: string): string {
  const [, width = "400", height = "300"] = address.match(/-(\d+)x(\d+)\.png/) ?? [];
  if (Math.min(Number(width), Number(height)) < KNOWN_FROM_PX) return "inconclusive";
  if (/declared|\/manifest/.test(address)) return "declared_ai";
  return /\/dark|smeared|cut-manifest/.test(address) ? "no_sign_of_ai" : "likely_ai";
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The one page that is walked with, since a new one each time costs more than the walk. */
let stage: { page: Page; devtools: CDPSession } | null = null;

async function opened(
  url: string,
  { scale = 1, width = 1000 }: { scale?: number | undefined; width?: number | undefined } = {},
): Promise<Page> {
  stage ??= await newStage();
  const { page, devtools } = stage;
  await page.mouse.move(0, 0);
  const size = { ...WINDOW, width, deviceScaleFactor: scale };
  await devtools.send("Emulation.setDeviceMetricsOverride", size);
  await page.goto(url);
  await page.bringToFront();
  return page;
}

const WINDOW = { width: 1000, height: 800, deviceScaleFactor: 1, mobile: false };

async function newStage() {
  const page = await browser.context.newPage();
  return { page, devtools: await browser.context.newCDPSession(page) };
}

/** Move the pointer to the middle of the target, as a hand does; returns its box in its frame. */
async function pointTo(page: Page, { at, frame }: Target): Promise<Box> {
  const box = frame ? await boxInFrame(page, at, frame) : await boxOf(page, at);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x - 9, y - 9);
  await page.mouse.move(x, y, { steps: 3 });
  if (!frame) return box;
  return frameOf(page, frame)
    .locator(at)
    .evaluate((element) => {
      const { left, top, width, height } = element.getBoundingClientRect();
      return { x: left, y: top, width, height };
    });
}

/** By the browser's own tools: pages may have put something else in the place of functions. */
async function boxOf(page: Page, at: string): Promise<Box> {
  const devtools = await page.context().newCDPSession(page);
  const { root } = await devtools.send("DOM.getDocument", { depth: 0 });
  const { nodeId } = await devtools.send("DOM.querySelector", {
    nodeId: root.nodeId,
    selector: at,
  });
  await devtools.send("DOM.scrollIntoViewIfNeeded", { nodeId });
  const { model } = await devtools.send("DOM.getBoxModel", { nodeId });
  await devtools.detach();
  const [x = 0, y = 0] = model.border;
  return { x, y, width: model.width, height: model.height };
}

async function boxInFrame(page: Page, at: string, frame: string): Promise<Box> {
  const box = await frameOf(page, frame).locator(at).boundingBox();
  if (!box) throw new Error(`${at} has no box`);
  return box;
}

function frameOf(page: Page, ending: string): Frame {
  const found = page.frames().find((one) => one.url().endsWith(ending));
  if (!found) throw new Error(`no frame ${ending}`);
  return found;
}

/** What the extension shows; null in a frame that shares its process with the page. */
async function seenIn(page: Page): Promise<Seen>;
async function seenIn(page: Page, frame: string | undefined): Promise<Seen | null>;
async function seenIn(page: Page, frame?: string): Promise<Seen | null> {
  try {
    const world = await inside(frame ? frameOf(page, frame) : page, browser.origin);
    const look = await seen(world);
    await world.devtools.detach();
    return look;
  } catch (error) {
    if (frame && String(error).includes("separate CDP session")) return null;
    throw error;
  }
}

/** The chips whose middle lies in a box. */
function chipsIn({ chips }: Seen, box: Box): Seen["chips"] {
  return chips.filter(({ x, y, width, height }) => {
    const [middle, level] = [x + width / 2, y + height / 2];
    const isBeside = middle < box.x || middle > box.x + box.width;
    return !isBeside && level >= box.y && level <= box.y + box.height;
  });
}

/** The check that has begun since, once it has ended. */
async function newCheck(before: string[]): Promise<Check> {
  const [check] = await newChecks(own, before);
  return check as Check;
}

async function countSince(before: string[]): Promise<number> {
  return (await checkIds(own)).length - before.length;
}
