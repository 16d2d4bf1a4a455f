/**
 * The walk of a stranger, in a real browser against the real system:
 *
 *     install -> first run (nothing sent) -> Finish -> no key: which command makes one -> it works
 *             -> drop a file into the popup -> verdict, with its false-alarm rate
 *             -> the menu on an image of a page: its very bytes, or why not
 *             -> the worker is ended in the middle of a check, which goes on all the same
 *             -> the list of what left this browser
 *
 * SCREENSHOTS=FOLDER keeps a picture of each page, light and dark; axe looks at each.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import axe from "axe-core";
import type { Locator, Page } from "playwright-core";
import { type Pictures, picture, startPictures } from "./pictures.ts";
import { type Browser, type System, startBrowser, startSystem } from "./system.ts";

const FOLDER = process.env.SCREENSHOTS;
let system: System;
let browser: Browser;
let pictures: Pictures;

before(async () => {
  pictures = await startPictures();
  const hosts = { "open.example": pictures.port, "shut.example": pictures.port };
  [system, browser] = await Promise.all([startSystem(), startBrowser(hosts)]);
});
after(async () => {
  await browser?.stop();
  await system?.stop();
  await pictures?.stop();
});

test("a stranger sets it up, checks files, and sees what was sent", async () => {
  await firstRunSendsNothingBeforeFinish();
  await connectionTestNamesTheLikelyCause();
  await droppedFilesGetTheirVerdict();
  await textGetsNoVerdict();
  await menuChecksTheImageOfAPage();
  await menuAsksForAHostThatMayNotBeRead();
  await menuLeavesTheOwnNetworkAlone();
  await aWorkerThatWasEndedGoesOn();
  await settingsListWhatLeft();
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
  await white.getByText("Why").click();
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

  const rows = await options.locator("#rows li").allInnerTexts();

  assert.equal(rows.filter((row) => row.includes("An image (")).length, 3);
  assert.equal(rows.filter((row) => row.includes("Five digits of a checksum")).length, 3);
  await inspected(options, "options");
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

/** Drop a file as a person does: by an event with the file in it, nowhere else. */
async function dropped(page: Page, name: string, bytes: Buffer, type = "image/png"): Promise<void> {
  await page.locator("#zone").waitFor();
  const files = await page.evaluateHandle(
    ([title, kind, numbers]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(numbers)], title, { type: kind }));
      return transfer;
    },
    [name, type, [...bytes]] as const,
  );
  await page.dispatchEvent("#zone", "drop", { dataTransfer: files });
}

/** Light and dark: axe finds nothing against WCAG 2.2 AA, and a picture is kept if asked for. */
async function inspected(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await faults(page), [], `${name}, ${colorScheme}`);
    if (!FOLDER) continue;
    await page.screenshot({ path: join(FOLDER, `${name}-${colorScheme}.png`), fullPage: true });
  }
}

async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => {
    const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    return (globalThis as unknown as { axe: typeof axe }).axe.run({ runOnly });
  });
  assert.ok(found.passes.length > 0, "axe looked at nothing");
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join()}`);
}
