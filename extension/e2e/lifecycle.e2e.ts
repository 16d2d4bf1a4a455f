/**
 * What may befall a check between the pointer and the verdict, with the real parts:
 *
 *     the worker is ended at each stage        --> it goes on, and nothing is sent twice
 *     key revoked, too many, busy, no server   --> named, never a verdict, and over once it is over
 *     a host's grant missing, taken back       --> named; the server is asked only if it may be
 *     a host that wants to know the site, a host that wants to know who asks
 *     messages from who may not send them      --> nothing happens
 *
 * The server is behind a relay that can hold what is asked of it, or go away.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { Page } from "playwright-core";
import { type Inside, inside, type Seen, seen, until } from "./inside.ts";
import { press } from "./press.ts";
import { type Relay, startRelay } from "./relay.ts";
import { send, setUp } from "./set_up.ts";
import { type Site, startSite } from "./site/site.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";
import { startWall, type Wall } from "./wall.ts";

const WALL = "http://wall.example";
/** Watched as well, until its grant is taken back. */
const LATER = "http://later.example";
/** Never granted. */
const SHUT = "http://ungranted.example";
const GRANTED = [WALL, LATER, "http://site.example", "http://cdn.example"].map(patternOf);
const WHITE = 255;

let [system, browser, relay]: [System?, Browser?, Relay?] = [];
let [wall, site]: [Wall?, Site?] = [];
/** A page of the extension. */
let own: Page;
let count = 0;
/** Have the first key used again. */
let keptKey: () => Promise<void>;

before(async () => {
  if (skip) return;
  [wall, site] = [await startWall(), await startSite()];
  const { port } = wall;
  const hosts = { "wall.example": port, "later.example": port, "ungranted.example": port };
  [system, browser] = await Promise.all([
    startSystem(),
    startBrowser({ ...hosts, ...site.hosts }, { granted: GRANTED }),
  ]);
  relay = await startRelay(system.url);
  own = await setUp({ ...system, url: relay.url }, browser, [WALL, LATER].map(patternOf));
  const { settings } = await local();
  keptKey = () => change({ key: (settings as { key: string }).key });
});
afterEach(async () => {
  if (skip) return;
  wall?.release();
  relay?.release();
  relay?.refuse(null);
  for (const page of browser?.context.pages() ?? []) if (page !== own) await page.close();
  await forget();
});
after(async () => {
  await browser?.stop();
  await Promise.all([relay?.offline(), system?.stop(), wall?.stop(), site?.stop()]);
});

/* The worker is ended */

for (const [stage, start] of [
  ["looked up", "GET /v1/lookups"],
  ["sent", "POST /v1/uploads"],
  ["asked for", "POST /v1/scans"],
  ["waited for", "GET /v1/scans/"],
] as const) {
  test(`a worker that is ended while an image is ${stage} goes on`, { skip }, async () => {
    const { page, shows } = await opened();
    const held = relay?.hold(start);
    const before = relay?.asked.length;
    await page.mouse.move(100, 100);
    await held;

    await endWorker();
    relay?.release();

    await until(shows, ({ chips }) => isJudged(chips[0]), 40_000);
    const [only, ...more] = await checks("hover");
    assert.deepEqual([only?.stage, more.length], ["done", 0]);
    if (stage === "waited for") {
      const sent = relay?.asked.slice(before).filter((name) => name.startsWith("POST"));
      assert.deepEqual(sent, ["POST /v1/uploads", "POST /v1/scans"]);
    }
  });
}

test("a Referer that an ended worker has left is gone once it is back", { skip }, async () => {
  const rule = {
    id: 1,
    condition: { urlFilter: "|http://cdn.example/a.png|" },
    action: {
      type: "modifyHeaders",
      requestHeaders: [{ header: "referer", operation: "set", value: "http://site.example/" }],
    },
  };
  await own.evaluate(
    (given) =>
      (globalThis as unknown as Own).chrome.declarativeNetRequest.updateSessionRules({
        addRules: [given],
      }),
    rule,
  );
  assert.equal((await rules()).length, 1);

  await endWorker();
  await send(own, { kind: "take-up" });

  await until(rules, (now) => now.length === 0);
});

/* The server */

test("a key that was revoked is named", { skip }, async (context) => {
  context.after(keptKey);
  const secret = await useKey();
  system?.run("keys", "revoke", (await factsOf(secret)).id);
  await until(
    () => factsOf(secret),
    ({ status }) => status === 401,
  );

  assert.equal(await failure(), "key_revoked");
});

test("too many requests are named, and not waited for", { skip }, async (context) => {
  context.after(keptKey);
  await useKey("--rate", "1/min");
  await hovered(() => true);

  assert.equal(await failure(), "rate_limited");
});

test("a busy server is named, and a check is made once it is not", { skip }, async () => {
  const problem = { type: "about:blank", title: "Busy", detail: "The queue is full.", hint: "" };
  const busy = { ...problem, code: "queue_full", request_id: "req_1", retryable: true };
  relay?.refuse({ status: 503, body: busy });

  assert.equal(await failure(), "queue_full");

  relay?.refuse(null);
  await hovered((check) => check.stage === "done");
});

test("a server that is not there is named, and a check is made once it is", { skip }, async () => {
  await relay?.offline();

  assert.equal(await failure(), "connection_failed");

  await relay?.online();
  await hovered((check) => check.stage === "done");
});

/* Hosts */

test("an image of a host that was not granted is not sent, and neither is its address", {
  skip,
}, async () => {
  const before = relay?.asked.length;

  assert.equal(await failure(SHUT), "host_not_granted");

  assert.equal(relay?.asked.length, before);
});

test("the server is told its address where the user has chosen that", { skip }, async (context) => {
  context.after(() => change({ send: "bytes" }));
  await change({ send: "url" });
  const before = relay?.asked.length ?? 0;

  // The server finds no such host; what counts is that it was asked, and for nothing else.
  const code = await failure(SHUT);

  assert.match(code ?? "", /^fetch_/);
  const sent = relay?.asked.slice(before).filter((name) => name.startsWith("POST"));
  assert.deepEqual(sent, ["POST /v1/scans"]);
});

test("a host that wants to know the site is told it, once and no more of it", {
  skip,
}, async () => {
  const done = await swept("hotlink");

  assert.deepEqual([done.stage, done.view?.verdict], ["done", "likely_ai"]);
  const [, ...ours] = asked("/hotlink/");
  assert.deepEqual(ours, [undefined, "http://site.example/"]);
  assert.deepEqual(await rules(), []);
});

test("a host that wants to know who asks is told so only after a yes to this image", {
  skip,
}, async () => {
  const failed = await swept("private");
  assert.equal(failed.error?.code, "fetch_forbidden");
  assert.deepEqual(cookies("/private/"), ["reader=1", undefined, undefined]);

  const yes = { checkId: failed.id, isAllowed: false, withCookies: true };
  await send(own, { kind: "check-again", ...yes });

  const again = (await checks("user")).find((one) => one.title === "site.example");
  assert.deepEqual([again?.stage, again?.view?.verdict], ["done", "likely_ai"]);
  assert.equal(cookies("/private/").at(-1), "reader=1");
});

test("what was found on a page goes with the page", { skip }, async () => {
  await swept("hotlink");
  await until(sweeps, (rows) => rows.length === 1);

  await browser?.context.pages().at(-1)?.reload();

  await until(sweeps, (rows) => rows.length === 0);
});

test("a canvas is judged by a picture of the screen, once the user has called us", {
  skip,
}, async () => {
  const { page, tabId, shows } = await opened(
    `<canvas width="300" height="200"></canvas><script>
       const pen = document.querySelector("canvas").getContext("2d");
       pen.fillStyle = "white"; pen.fillRect(0, 0, 300, 200);
     </script>`,
  );
  await press(browser as Browser, page);
  await send(own, { kind: "pick", tabId });
  await until(shows, ({ toast }) => toast !== null);

  await page.mouse.click(100, 100);

  const done = await until(lastCheck, (check) => check?.stage === "done");
  assert.deepEqual(done?.view?.size, { width: 300, height: 200 });
  const { verdict, probability, warnings } = done?.view ?? {};
  assert.deepEqual([verdict, probability], ["inconclusive", null]);
  assert.ok(warnings?.includes("rendered_capture"));
});

/* Who may say what */

const OWN_MESSAGES = [
  { kind: "take-up" },
  { kind: "site-enabled", pattern: "http://cdn.example/*" },
  { kind: "check-again", checkId: "1", isAllowed: true, withCookies: true },
  { kind: "sweep", tabId: 1 },
];

test("page.js may not say what the extension's own pages may", { skip }, async () => {
  const { world } = await opened();

  for (const message of OWN_MESSAGES) assert.equal(await said(world, message), null, message.kind);

  assert.deepEqual(await sites(), [LATER, WALL].map(patternOf));
});

test("the extension's own pages may not say what page.js may", { skip }, async () => {
  const checkId = "11111111-2222-4333-8444-555555555555";
  const image = { kind: "check-image", checkId, address: `${WALL}/at/0/1.png`, how: "user" };

  for (const message of [{ kind: "page-hello" }, image]) {
    assert.equal((await send(own, message)) ?? null, null, message.kind);
  }
});

test("one frame is not told another's check", { skip }, async () => {
  const first = await opened();
  await first.page.mouse.move(100, 100);
  const { id } = (await until(lastCheck, (check) => check?.stage === "done")) as Check;
  const image = { kind: "check-image", checkId: id, address: "data:,", how: "user" };
  assert.deepEqual(((await said(first.world, image)) as Check).view?.verdict, "likely_ai");

  const second = await opened();

  assert.equal(await said(second.world, image), null);
});

test("a page has no way to say anything, and no view of what is kept", { skip }, async () => {
  const { page, world } = await opened();

  const way = await page.evaluate(() => {
    const { chrome } = globalThis as { chrome?: { runtime?: { sendMessage?: unknown } } };
    return typeof chrome?.runtime?.sendMessage;
  });

  assert.equal(way, "undefined");
  for (const area of ["local", "session"]) {
    const words = await world.evaluate<string>(
      `chrome.storage.${area}.get(null).then(() => "given", (error) => String(error))`,
    );
    assert.match(words, /not allowed/);
  }
});

test("private windows are left alone", { skip }, async () => {
  const manifest = await own.evaluate(() =>
    (globalThis as unknown as Own).chrome.runtime.getManifest(),
  );

  assert.equal(manifest.incognito, "not_allowed");
});

/* Last: what cannot be undone here */

test("a grant that was taken back ends what was there, and all that would come", {
  skip,
}, async () => {
  const { page, shows } = await opened(undefined, LATER);
  await page.mouse.move(100, 100);
  await until(shows, ({ chips }) => isJudged(chips[0]));

  await own.evaluate(
    (origins) => (globalThis as unknown as Own).chrome.permissions.remove({ origins }),
    [patternOf(LATER)],
  );

  await until(shows, ({ hosts }) => hosts === 0);
  assert.deepEqual(await sites(), [patternOf(WALL)]);
  const scripts = await own.evaluate(() =>
    (globalThis as unknown as Own).chrome.scripting.getRegisteredContentScripts(),
  );
  assert.deepEqual(
    scripts.map(({ matches }) => matches),
    [[patternOf(WALL)]],
  );
});

/* What the tests do */

interface Opened {
  page: Page;
  world: Inside;
  tabId: number;
  shows(): Promise<Seen>;
}

/** A page of the wall with this body, by default one picture that no test has used. */
async function opened(body = imageOf(), where = WALL): Promise<Opened> {
  const name = `page-${++count}`;
  wall?.page(name, body, "<style>img,canvas{display:block}</style>");
  const { context, origin } = browser as Browser;
  const page = await context.newPage();
  await page.goto(`${where}/${name}`);
  await page.bringToFront();
  const world = await inside(page, origin);
  return { page, world, tabId: await tabOf(page), shows: () => seen(world) };
}

function imageOf(of = ""): string {
  return `<img src="${of}/at/${WHITE}/${++count}.png" width="300" height="200" alt="Picture ${count}">`;
}

/** Rest the pointer on a new image, of `host` where it is given; its check, once it is so. */
async function hovered(isIt: (check: Check) => boolean, host?: string): Promise<Check> {
  await forget();
  const { page } = await opened(imageOf(host));
  await page.mouse.move(100, 100);
  return (await until(lastCheck, (check) => check !== undefined && isIt(check), 30_000)) as Check;
}

/** The code of the error that a new image's check ends by; there is no verdict beside it. */
async function failure(host?: string): Promise<string | undefined> {
  const { view, error } = await hovered((check) => check.stage === "failed", host);
  assert.equal(view, null);
  return error?.code;
}

/** Have the images of a page of the fixture site checked; the one check, once it has ended. */
async function swept(name: string): Promise<Check> {
  const { context } = browser as Browser;
  await forget();
  if (site) site.asked.length = 0;
  const page = await context.newPage();
  await page.goto(`http://site.example/${name}`);
  await press(browser as Browser, page);
  await send(own, { kind: "sweep", tabId: await tabOf(page) });
  const isEnded = (check: Check | undefined) => /done|failed/.test(check?.stage ?? "");
  return (await until(lastCheck, isEnded, 30_000)) as Check;
}

/** What each request of an image said of where it came from, and of who asked. */
function asked(path: string): (string | undefined)[] {
  return headersOf(path).map((headers) => headers.referer);
}
function cookies(path: string): (string | undefined)[] {
  return headersOf(path).map((headers) => headers.cookie);
}
function headersOf(path: string) {
  return (site?.asked ?? []).filter((one) => one.path.startsWith(path)).map((one) => one.headers);
}

/* What the extension keeps */

interface Check {
  id: string;
  how: string;
  title: string;
  startedAt: number;
  stage: string;
  error: { code: string } | null;
  view: {
    verdict: string;
    probability: number | null;
    warnings: string[];
    size: { width: number; height: number } | null;
  } | null;
}

interface Own {
  chrome: {
    declarativeNetRequest: {
      getSessionRules(): Promise<object[]>;
      updateSessionRules(change: object): Promise<void>;
    };
    permissions: { remove(what: object): Promise<boolean> };
    runtime: { getManifest(): { incognito?: string } };
    scripting: { getRegisteredContentScripts(): Promise<{ matches?: string[] }[]> };
    storage: {
      local: {
        get(all: null): Promise<Record<string, unknown>>;
        set(items: object): Promise<void>;
      };
      session: { get(all: null): Promise<Record<string, unknown>>; clear(): Promise<void> };
    };
    tabs: { query(what: object): Promise<{ id: number }[]> };
  };
}

async function checks(how?: string): Promise<Check[]> {
  const all = await own.evaluate(() =>
    (globalThis as unknown as Own).chrome.storage.session.get(null),
  );
  const found = Object.entries(all).filter(([name]) => name.startsWith("check:"));
  const rows = found.map(([, value]) => value as Check);
  rows.sort((a, b) => b.startedAt - a.startedAt);
  return rows.filter((row) => how === undefined || row.how === how);
}

async function sweeps(): Promise<string[]> {
  const all = await own.evaluate(() =>
    (globalThis as unknown as Own).chrome.storage.session.get(null),
  );
  return Object.keys(all).filter((name) => name.startsWith("sweep:"));
}

async function forget(): Promise<void> {
  await own.evaluate(() => (globalThis as unknown as Own).chrome.storage.session.clear());
}

async function lastCheck(): Promise<Check | undefined> {
  return (await checks())[0];
}

async function rules(): Promise<object[]> {
  return own.evaluate(() =>
    (globalThis as unknown as Own).chrome.declarativeNetRequest.getSessionRules(),
  );
}

async function local(): Promise<Record<string, unknown>> {
  return own.evaluate(() => (globalThis as unknown as Own).chrome.storage.local.get(null));
}

async function sites(): Promise<string[]> {
  const names = Object.keys(await local()).filter((name) => name.startsWith("site:"));
  return names.map((name) => name.slice("site:".length)).sort();
}

async function change(what: object): Promise<void> {
  const { settings } = await local();
  await own.evaluate(
    (given) => (globalThis as unknown as Own).chrome.storage.local.set({ settings: given }),
    { ...(settings as object), ...what },
  );
}

/** Make a key with these limits, and use it from now on. */
async function useKey(...limits: string[]): Promise<string> {
  const words = "keys create --owner me --name limited --scope scan --publishable --origin";
  const said = system?.run(...words.split(" "), browser?.origin ?? "", ...limits) ?? "";
  const [secret = ""] = said.match(/pk_[0-9A-Za-z]+/) ?? [];
  await until(
    () => factsOf(secret),
    ({ status }) => status === 200,
  );
  await change({ key: secret });
  return secret;
}

/** What the server says to this key, and of it. */
async function factsOf(key: string): Promise<{ status: number; id: string }> {
  return own.evaluate(
    async ([url, secret]) => {
      const headers = { Authorization: `Bearer ${secret}` };
      const answer = await fetch(`${url}/v1/key`, { headers }).catch(() => null);
      const { id = "" } = answer ? ((await answer.json()) as { id?: string }) : {};
      return { status: answer?.status ?? 0, id };
    },
    [relay?.url, key] as const,
  );
}

/* The browser */

function patternOf(origin: string): string {
  return `${origin}/*`;
}

function isJudged(chip: { look: string } | undefined): boolean {
  return chip?.look === "likely_ai";
}

/** What a message from page.js's own world is answered by; null where nobody heard it. */
async function said(world: Inside, message: object): Promise<unknown> {
  const given = JSON.stringify(message);
  return world.evaluate(`chrome.runtime.sendMessage(${given}).then((x) => x ?? null, () => null)`);
}

async function endWorker(): Promise<void> {
  const devtools = await (browser as Browser).context.newCDPSession(own);
  await devtools.send("ServiceWorker.enable");
  await devtools.send("ServiceWorker.stopAllWorkers");
  await devtools.detach();
}

async function tabOf(page: Page): Promise<number> {
  const [tab] = await own.evaluate(
    (url) => (globalThis as unknown as Own).chrome.tabs.query({ url }),
    page.url(),
  );
  if (!tab) throw new Error(`no tab shows ${page.url()}`);
  return tab.id;
}
