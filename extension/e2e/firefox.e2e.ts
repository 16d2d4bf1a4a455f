/**
 * The first run and one check in a real Firefox, by WebDriver BiDi: no geckodriver is needed.
 *
 * FIREFOX says where it is (/usr/bin/firefox-esr); without one the test is skipped, and says so.
 * Playwright drives only a Firefox of its own making, so it is Puppeteer here.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type TestContext, test } from "node:test";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { picture } from "./pictures.ts";
import { startSystem } from "./system.ts";

const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const BUILT = resolve(import.meta.dirname, "../.output/firefox-mv3");
/** Firefox gives each installation an id by chance; this one is set, so that it is known. */
const ID = "0e1d2c3b-4a59-4687-8796-a5b4c3d2e1f0";
const SAID_WITHIN_MS = 20_000;

const skip = existsSync(FIREFOX) ? false : `no Firefox at ${FIREFOX}: set FIREFOX`;

test("Firefox: first run, key, a file, its verdict", { skip }, async (context) => {
  const system = await startSystem();
  context.after(() => system.stop());
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
});

async function startFirefox(context: TestContext): Promise<Browser> {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: {
      "extensions.webextensions.uuids": JSON.stringify({ "pinclip@pinclip.invalid": ID }),
      "intl.accept_languages": "en-US",
    },
  });
  context.after(() => browser.close());
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

async function type(page: Page, field: string, text: string): Promise<void> {
  await page.$eval(
    field,
    (input, value) => {
      (input as HTMLInputElement).value = value;
    },
    text,
  );
}

/** Puppeteer's own waiting makes functions of text, which the pages' content policy refuses. */
async function said(page: Page, words: string): Promise<void> {
  const until = Date.now() + SAID_WITHIN_MS;
  let text = "";
  while (!text.includes(words)) {
    assert.ok(Date.now() < until, `${JSON.stringify(words)} was not said in: ${text}`);
    await new Promise((done) => setTimeout(done, 200));
    text = await page.evaluate(() => document.querySelector("main")?.textContent ?? "");
  }
}

/** Put into the page: it names nothing from outside itself. */
function drop(name: string, numbers: number[]): void {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(numbers)], name, { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  document.querySelector("#zone")?.dispatchEvent(event);
}
