/**
 * The walk of a stranger, in a real browser against the real system and the fixture site:
 *
 *     install -> first run (nothing sent) -> Finish -> no key: which command makes one -> it works
 *             -> drop a file into the popup -> verdict, with its false-alarm rate
 *             -> watch a site -> point at an image -> its chip and card
 *             -> the menu, the keyboard, the whole page: its very bytes, or why not
 *             -> why? -> report a mistake, appeal -> who runs the server finds both by the API
 *             -> the worker is ended in the middle of a check, which goes on all the same
 *             -> the list of what left this browser; stop watching; forget
 *
 * SCREENSHOTS=FOLDER keeps a picture of each page, light and dark; axe looks at each.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { dropped } from "./drop.ts";
import { type Inside, inside, type Seen, seen, until } from "./inside.ts";
import { inspected, kept } from "./looks.ts";
import { type Pictures, picture, startPictures } from "./pictures.ts";
import { press } from "./press.ts";
import { type Site, startSite } from "./site/site.ts";
import { type Browser, type System, skip, startBrowser, startSystem } from "./system.ts";

const SITE = "http://site.example";
let system: System;
let browser: Browser;
let pictures: Pictures;
let site: Site;

before(async () => {
  if (skip) return;
  [pictures, site] = await Promise.all([startPictures(), startSite()]);
  const hosts = { "open.example": pictures.port, "shut.example": pictures.port, ...site.hosts };
  // The stranger says yes when the browser asks: for the site, and for where its images are.
  const grants = { remembered: [`${SITE}/*`, "http://cdn.example/*"] };
  [system, browser] = await Promise.all([startSystem(), startBrowser(hosts, grants)]);
});
after(async () => {
  await browser?.stop();
  await system?.stop();
  await pictures?.stop();
  await site?.stop();
});

test("a stranger sets it up, checks images in every way, and says what is wrong", {
  skip,
}, async () => {
  await firstRunSendsNothingBeforeFinish();
  await connectionTestNamesTheLikelyCause();
  await droppedFilesGetTheirVerdict();
  await textGetsNoVerdict();
  await menuChecksTheImageOfAPage();
  await menuAsksForAHostThatMayNotBeRead();
  await menuLeavesTheOwnNetworkAlone();
  await aSiteIsWatchedByAClickInThePopup();
  await thePointerChecksAnImage();
  await theKeyboardChecksAnImage();
  await theWholePageIsChecked();
  await aMistakeIsReportedAndFoundByTheApi();
  await aWorkerThatWasEndedGoesOn();
  await settingsListWhatLeft();
  await theSiteIsLeftAloneAgain();
});

async function firstRunSendsNothingBeforeFinish(): Promise<void> {
  const sent: string[] = [];
  browser.context.on("request", (request) => sent.push(request.url()));
  const page = await welcome();

  await page.getByLabel("Address", { exact: true }).fill(system.url);

  assert.deepEqual(
    sent.filter((url) => url.startsWith("http")),
    [],
  );
  await inspected(page, "welcome");
}

async function connectionTestNamesTheLikelyCause(): Promise<void> {
  const page = await welcome();
  const finish = page.getByRole("button", { name: "Finish" });
  const finding = page.locator("#finding");

  await finish.click();
  await finding.getByText("it does not know this extension").waitFor();

  const command = await page.locator("#command").textContent();
  await page.getByLabel("Key", { exact: true }).fill(system.makeKey(command ?? ""));
  // A server knows a new key's origin after a few seconds.
  while ((await finding.getAttribute("data-cause")) !== "ready") {
    await finish.click();
    await page.locator('#finding:not([data-cause="testing"])').waitFor();
  }
  await finding.getByText("It works. Model: fixed").waitFor();

  const options = await opened("options.html");
  await options.getByLabel("Address", { exact: true }).fill("http://127.0.0.1:9");
  await options.getByRole("button", { name: "Test the connection" }).click();
  await options.getByText("Nothing answers on your own machine").waitFor();
  await inspected(options, "options");
  await options.close();
}

async function droppedFilesGetTheirVerdict(): Promise<void> {
  const popup = await opened("popup.html");

  await dropped(popup, "white.png", picture(255));
  await card(popup, "white.png").getByText("Likely AI", { exact: true }).waitFor();
  await dropped(popup, "black.png", picture(0));
  await card(popup, "black.png").getByText("No sign of AI", { exact: true }).waitFor();

  const white = card(popup, "white.png");
  await white.getByText("About 3 in 100 real photos like this get this label.").waitFor();
  await white.getByText("Why", { exact: true }).click();
  await white.getByText("The bytes that this browser sent were judged.").waitFor();
  await inspected(popup, "popup");
}

async function textGetsNoVerdict(): Promise<void> {
  const popup = await opened("popup.html");

  await dropped(popup, "page.html", Buffer.from("<html></html>"), "text/html");

  const text = card(popup, "page.html");
  await text.getByText("This is not an image.").waitFor();
  assert.equal(await text.locator(".verdict").count(), 0);
}

async function menuChecksTheImageOfAPage(): Promise<void> {
  const panel = await opened("sidepanel.html");

  await menuOn("http://open.example/grey.png");

  const shown = card(panel, "open.example");
  await shown.getByText("Can't tell", { exact: true }).waitFor();
  assert.deepEqual(pictures.asked, ["open.example/grey.png"]);
  await panel.close();
}

async function menuAsksForAHostThatMayNotBeRead(): Promise<void> {
  const panel = await opened("sidepanel.html");

  await menuOn("http://shut.example/white.png");

  const shown = card(panel, "shut.example");
  await shown.getByRole("button", { name: "Allow images of shut.example" }).waitFor();
  assert.equal(await shown.locator(".verdict").count(), 0);
  await inspected(panel, "panel");
  await panel.close();
}

async function menuLeavesTheOwnNetworkAlone(): Promise<void> {
  const before = pictures.asked.length;
  const panel = await opened("sidepanel.html");

  await menuOn(`http://127.0.0.1:${pictures.port}/white.png`);

  await card(panel, "127.0.0.1").getByText("It was neither read nor sent.").waitFor();
  assert.equal(pictures.asked.length, before);
  await panel.close();
}

async function aSiteIsWatchedByAClickInThePopup(): Promise<void> {
  const page = await shown("overlay");
  await press(browser, page);
  const popup = await opened("popup.html");
  await popup.getByText("This page belongs to the browser").waitFor();
  await page.bringToFront();

  await popup.getByLabel("Watch images on site.example").click();
  await until(
    () => browser.worker.evaluate(granted),
    (hosts) => hosts.includes(`${SITE}/*`),
  );

  await inside(page, browser.origin); // what watches is there without a reload
  await page.close();
  await popup.close();
}

async function thePointerChecksAnImage(): Promise<void> {
  const page = await shown("formats");
  const look = await lookInto(page);

  await page.locator("#jpeg").hover();
  await look(({ chips }) => chips.length === 1);
  const panel = await opened("sidepanel.html");
  await panel.getByRole("button", { name: "Allow images of cdn.example" }).click();
  await card(panel, "cdn.example").getByText("Likely AI", { exact: true }).waitFor();
  await panel.close();
  await page.bringToFront();
  await look(({ chips }) => chips[0]?.look === "likely_ai");
  // The pointer is still there, so the card opens by itself.
  await look(({ card }) => card?.includes("About 3 in 100 real photos") ?? false);
  await keptInColours(page, "card");
  await page.keyboard.press("Escape");
  await look(({ card, chips }) => card === null && chips.length === 1);
  await keptInColours(page, "chip");
  await page.close();
}

async function theKeyboardChecksAnImage(): Promise<void> {
  const page = await shown("keyboard");
  const look = await lookInto(page);

  await page.keyboard.press("Tab");
  await shortcut();

  await look(({ card }) => card?.includes("Likely AI") ?? false);
  await page.close();
}

async function theWholePageIsChecked(): Promise<void> {
  const panel = await opened("sidepanel.html");
  const page = await shown("thumbnails");

  await panel.getByRole("button", { name: "Check this page" }).click();
  await panel.getByRole("progressbar", { name: "Images of this page checked" }).waitFor();
  await keptInColours(panel, "sweep-under-way");
  const sum = panel.locator(".sum");
  await sum.getByText("This page: 50 of 50 images checked").waitFor({ timeout: 60_000 });

  await panel.getByText(/^(Can't tell|Likely AI): 50$/).waitFor();
  await inspected(panel, "sweep");
  await keptInColours(page, "sweep-page");
  await page.close();
  await panel.close();
}

async function aMistakeIsReportedAndFoundByTheApi(): Promise<void> {
  const panel = await opened("sidepanel.html");
  const white = card(panel, "white.png");

  await white.getByText("Report a mistake").click();
  await white.getByLabel("No AI made it").check();
  await white.getByLabel("Comment (optional)").fill("I took it myself.");
  await inspected(panel, "report");
  await white.getByRole("button", { name: "Send the report" }).click();
  await white.getByText("Your server keeps your report: “No AI made it”.").waitFor();
  await white.getByText("Appeal", { exact: true }).click();
  await white.getByLabel("Why the verdict is wrong").fill("It is a sheet of paper.");
  await white.getByRole("button", { name: "Send the appeal" }).click();
  await white.getByText("Your appeal waits for a decision").waitFor();

  const [, where = ""] = (await white.locator("code").textContent())?.split("GET ") ?? [];
  const secret = system.makeSecret("read");
  const [report] = await found(where, secret);
  assert.deepEqual(
    [report?.label, report?.comment, report?.verdict],
    ["not_ai", "I took it myself.", "likely_ai"],
  );
  assert.equal((await found(`${system.url}/v1/feedback`, secret))[0]?.id, report?.id);
  const [appeal] = await found(`${system.url}/v1/appeals`, secret);
  assert.equal(appeal?.reason, "It is a sheet of paper.");
  await panel.close();
}

/** What a list of the server has, asked by who runs it. */
async function found(url: string, secret: string): Promise<Record<string, unknown>[]> {
  const answer = await fetch(url, { headers: { Authorization: `Bearer ${secret}` } });
  assert.equal(answer.status, 200, url);
  return ((await answer.json()) as { data: Record<string, unknown>[] }).data;
}

async function aWorkerThatWasEndedGoesOn(): Promise<void> {
  const popup = await opened("popup.html");
  await card(popup, "white.png").waitFor();
  await popup.evaluate(async () => {
    const { storage } = (globalThis as unknown as Storages).chrome;
    const [done] = Object.values(await storage.session.get(null)).filter(
      (value) => value?.title === "white.png",
    );
    const begun = { id: "1", title: "begun.png", startedAt: Date.now(), source: null, error: null };
    const waiting = { stage: "waiting", scanId: done?.view?.scanId, view: null };
    await storage.session.set({ "check:1": { ...begun, ...waiting } });
  });
  const devtools = await browser.context.newCDPSession(popup);
  await devtools.send("ServiceWorker.enable");
  await devtools.send("ServiceWorker.stopAllWorkers");

  await popup.reload();

  await card(popup, "begun.png").getByText("Likely AI", { exact: true }).waitFor();
  await popup.close();
}

type Kept = { title?: string; view?: { scanId?: string } } | undefined;
interface Storages {
  chrome: {
    storage: {
      session: { get(all: null): Promise<Record<string, Kept>>; set(items: object): Promise<void> };
    };
  };
}

/** What the browser tells the worker when the menu's entry is chosen; no driver can open a menu. */
async function menuOn(srcUrl: string): Promise<void> {
  const click = { menuItemId: "check-image", srcUrl, frameId: 0, editable: false };
  await browser.worker.evaluate((info) => {
    const { onClicked } = (globalThis as unknown as Menus).chrome.contextMenus;
    onClicked.dispatch(info, undefined);
  }, click);
}

interface Menus {
  chrome: { contextMenus: { onClicked: { dispatch(info: object, tab: undefined): void } } };
}

async function settingsListWhatLeft(): Promise<void> {
  const options = await opened("options.html");

  await options.locator("#rows summary").click();
  const rows = await options.locator("#rows li").allTextContents();

  assert.ok(rows.some((row) => row.includes("An image (")));
  assert.ok(rows.some((row) => row.includes("Five digits of a checksum")));
  assert.equal(rows.filter((row) => row.includes("A report or an appeal")).length, 2);
  assert.ok((await options.locator("#scans pre").textContent())?.includes("curl -X DELETE"));
  await inspected(options, "options-used");
  await options.close();
}

async function theSiteIsLeftAloneAgain(): Promise<void> {
  const options = await opened("options.html");

  await options.getByRole("button", { name: "Stop watching site.example" }).click();
  await options.getByText("the browser's permission is given back").waitFor();
  await options.getByRole("button", { name: "Take back cdn.example" }).click();
  await options.getByText("Images of cdn.example may not be read any more.").waitFor();
  assert.deepEqual(await browser.worker.evaluate(granted), []);
  await options.getByRole("button", { name: "Forget what this browser keeps" }).click();
  await options.getByText("None that this browser knows of.").waitFor();

  assert.equal(await options.locator("#rows").textContent(), "Nothing.");
  const popup = await opened("popup.html");
  await popup.getByText("Nothing checked yet in this session.").waitFor();
}

/** Put into the worker. */
async function granted(): Promise<string[]> {
  const { permissions } = (globalThis as unknown as Permissions).chrome;
  return (await permissions.getAll()).origins;
}

interface Permissions {
  chrome: { permissions: { getAll(): Promise<{ origins: string[] }> } };
}

/** A page of the fixture site, in front. */
async function shown(name: string): Promise<Page> {
  const page = await browser.context.newPage();
  await page.setViewportSize({ width: 900, height: 640 });
  await page.goto(`${SITE}/${name}`);
  await page.bringToFront();
  return page;
}

/** Wait until what the extension shows in a page is as it should be. */
async function lookInto(page: Page): Promise<(isIt: (is: Seen) => boolean) => Promise<Seen>> {
  const world: Inside = await inside(page, browser.origin);
  return (isIt) => until(() => seen(world), isIt);
}

async function keptInColours(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await kept(page, `${name}-${colorScheme}`, { fullPage: false });
  }
}

/** What the browser tells the worker when the shortcut is pressed; no driver can press it. */
async function shortcut(): Promise<void> {
  await browser.worker.evaluate(async () => {
    const { tabs, commands } = (globalThis as unknown as Commands).chrome;
    const [tab] = await tabs.query({ active: true, currentWindow: true });
    commands.onCommand.dispatch("check-focused", tab);
  });
}

interface Commands {
  chrome: {
    tabs: { query(which: object): Promise<object[]> };
    commands: { onCommand: { dispatch(name: string, tab: object | undefined): void } };
  };
}

/** The card of the image that is known by this name. */
function card(page: Page, title: string): Locator {
  return page.locator("article", { hasText: title });
}

async function welcome(): Promise<Page> {
  const isWelcome = (page: Page) => page.url() === `${browser.origin}/welcome.html`;
  const page = browser.context.pages().find(isWelcome);
  return page ?? (await browser.context.waitForEvent("page", isWelcome));
}

async function opened(name: string): Promise<Page> {
  const page = await browser.context.newPage();
  await page.setViewportSize({ width: 420, height: 720 });
  await page.goto(`${browser.origin}/${name}`);
  return page;
}
