/**
 * An extension as it is after the first run, with a key of its own, on sites that it may watch.
 *
 * The first run itself is walked in walk.e2e.ts; this writes what comes of it.
 */
import type { Page } from "playwright-core";
import type { Browser, System } from "./system.ts";

/** What the tests use of the extension's own API, in its pages. */
interface Own {
  chrome: {
    storage: { local: { set(items: object): Promise<void> } };
    runtime: { sendMessage(message: object): Promise<unknown> };
  };
}

/**
 * Make a key, keep the settings, and have these sites watched; `granted` at startBrowser.
 *
 * Returns a page of the extension, from which messages of its own pages can be sent.
 */
export async function setUp(
  system: System,
  browser: Browser,
  watched: string[] = [],
  settings: object = {},
): Promise<Page> {
  const words = "keys create --owner me --name extension --scope scan --publishable --origin";
  const key = system.makeKey(`pinclip ${words} ${browser.origin}`);
  const page = await browser.context.newPage();
  await page.goto(`${browser.origin}/popup.html`);
  const kept = { version: 2, isSetUp: true, backend: system.url, key, ...settings };
  await page.evaluate(async (given) => {
    await (globalThis as unknown as Own).chrome.storage.local.set({ settings: given });
  }, kept);
  await known(page, system.url, key);
  for (const pattern of watched) await send(page, { kind: "site-enabled", pattern });
  return page;
}

/** Send what only the extension's own pages may send; returns the worker's answer. */
export async function send(own: Page, message: object): Promise<unknown> {
  return own.evaluate(
    (given) => (globalThis as unknown as Own).chrome.runtime.sendMessage(given),
    message,
  );
}

/** A server knows a new key's origin after a few seconds. */
async function known(page: Page, url: string, key: string): Promise<void> {
  await page.evaluate(
    async ([backend, secret]) => {
      const headers = { Authorization: `Bearer ${secret}` };
      const ask = () => fetch(`${backend}/v1/lookups/range/00000`, { headers });
      for (let tries = 0; tries < 100; tries++) {
        if (
          await ask().then(
            (answer) => answer.ok,
            () => false,
          )
        )
          return;
        await new Promise((done) => setTimeout(done, 200));
      }
      throw new Error("The server does not take the key.");
    },
    [url, key] as const,
  );
}
