/**
 * The walk in a real Firefox, as far as it can be driven, by WebDriver BiDi: no geckodriver is needed.
 *
 *     first run -> key -> a file, its verdict -> a watched site: the pointer on an image, its verdict
 *               -> the whole page -> a mistake is reported, and found by the API
 *
 * What no driver reaches is left to people: the browser's own question for a host (the profile is
 * given the answer, as Firefox keeps it), its menu, the shortcut, and what is inside the chip.
 *
 * FIREFOX says where it is (/usr/bin/firefox-esr); without one the test is skipped, and says so.
 * Playwright drives only a Firefox of its own making, so it is Puppeteer here.
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { picture, startPictures } from "./pictures.ts";
import { startSystem } from "./system.ts";

const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const BUILT = resolve(import.meta.dirname, "../.output/firefox-mv3");
/** Firefox gives each installation an id by chance; this one is set, so that it is known. */
const ID = "0e1d2c3b-4a59-4687-8796-a5b4c3d2e1f0";
const FOLDER = process.env.SCREENSHOTS;
const NAME = "pinclip@pinclip.invalid";
/** A name that the profile finds on loopback. */
const SITE = "site.example";
const SAID_WITHIN_MS = 20_000;

const skip = existsSync(FIREFOX) ? false : `no Firefox at ${FIREFOX}: set FIREFOX`;

test("Firefox: first run, key, a file, a watched site, a report", { skip }, async (context) => {
  const [system, pictures] = await Promise.all([startSystem(), startPictures()]);
  context.after(() => Promise.all([system.stop(), pictures.stop()]));
  const browser = await startFirefox(context);

  const welcome = await opened(browser, "welcome.html");
  const command = await welcome.$eval("#command", (shown) => shown.textContent ?? "");
  assert.match(command, new RegExp(`moz-extension://${ID}$`));
  await type(welcome, "#backend", system.url);
  await type(welcome, "#key", system.makeKey(command));
  await welcome.click("#finish");
  await said(welcome, "It works. Model: fixed");

  const popup = await opened(browser, "popup.html");
  await popup.evaluate(drop, "white.png", [...picture(255)]);
  await said(popup, "Likely AI");
  await said(popup, "About 3 in 100 real photos like this get this label.");

  await popup.evaluate(watch, `http://${SITE}/*`);
  const page = await browser.newPage();
  await page.goto(`http://${SITE}:${pictures.port}/page`);
  const image = await page.waitForSelector("img");
  await image?.hover();
  await until(
    async () => (await firstCard(popup)).includes(`${SITE}:${pictures.port}▲Likely AI`),
    () => "the image of the site has no card",
  );
  await until(
    async () => (await page.$$("html > *")).length === 3,
    () => "no chip",
  );
  if (FOLDER) await page.screenshot({ path: join(FOLDER, "firefox-chip.png") });

  await page.bringToFront();
  await press(popup, "#sweep:enabled");
  await said(popup, "This page: 1 of 1 images checked, 1 flagged.");
  await press(popup, ".report input[value=not_ai]");
  await press(popup, ".report button");
  await said(popup, "Your server keeps your report: “No AI made it”.");
  const headers = { Authorization: `Bearer ${system.makeSecret("read")}` };
  const answer = await fetch(`${system.url}/v1/feedback`, { headers });
  const { data } = (await answer.json()) as { data: { label: string }[] };
  assert.deepEqual(
    data.map(({ label }) => label),
    ["not_ai"],
  );
});

async function startFirefox(context: TestContext): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), "pinclip-firefox-"));
  // What the user answers when asked for a site, as Firefox reads it into a new profile.
  const granted = { [NAME]: { permissions: [], origins: [`http://${SITE}/*`] } };
  writeFileSync(join(profile, "extension-preferences.json"), JSON.stringify(granted));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: {
      "extensions.webextensions.uuids": JSON.stringify({ [NAME]: ID }),
      "intl.accept_languages": "en-US",
      "network.dns.localDomains": SITE,
    },
  });
  context.after(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  });
  await browser.installExtension(BUILT);
  return browser;
}

async function opened(browser: Browser, name: string): Promise<Page> {
  const page = await browser.newPage();
  // Firefox tells nothing of the loading of an extension's page, so there is nothing to wait for.
  await page.goto(`moz-extension://${ID}/${name}`, { timeout: 3000 }).catch(() => undefined);
  await page.waitForSelector("main");
  return page;
}

/** A press of a button of a page that is not in front, where Firefox moves no mouse. */
async function press(page: Page, button: string): Promise<void> {
  await page.waitForSelector(button);
  await page.$eval(button, (found) => (found as HTMLElement).click());
}

async function type(page: Page, field: string, text: string): Promise<void> {
  await page.$eval(
    field,
    (input, value) => {
      (input as HTMLInputElement).value = value;
    },
    text,
  );
}

/** What the newest check is said to have found. */
async function firstCard(page: Page): Promise<string> {
  return page.evaluate(() => document.querySelector("#checks article")?.textContent ?? "");
}

/** Puppeteer's own waiting makes functions of text, which the pages' content policy refuses. */
async function said(page: Page, words: string): Promise<void> {
  let text = "";
  const isSaid = async () => {
    text = await page.evaluate(() => document.querySelector("main")?.textContent ?? "");
    return text.includes(words);
  };
  await until(isSaid, () => `${JSON.stringify(words)} was not said in: ${text}`);
}

async function until(isSo: () => Promise<boolean>, otherwise: () => string): Promise<void> {
  const end = Date.now() + SAID_WITHIN_MS;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, otherwise());
    await new Promise((done) => setTimeout(done, 200));
  }
}

/** Put into the page, as all below: it names nothing from outside itself. */
async function watch(pattern: string): Promise<void> {
  const { runtime } = (globalThis as unknown as Own).browser;
  await runtime.sendMessage({ kind: "site-enabled", pattern });
}

interface Own {
  browser: { runtime: { sendMessage(message: object): Promise<unknown> } };
}

function drop(name: string, numbers: number[]): void {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(numbers)], name, { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  document.querySelector("#zone")?.dispatchEvent(event);
}
