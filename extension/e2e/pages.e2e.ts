/**
 * The extension's own pages for everybody: by keyboard alone, from right to left, enlarged to where
 * 320 pixels are left, without colours, in the dark, and told to a screen reader once.
 *
 *     a store filled with every state of a check -> panel, options, first run -> each of these
 *
 * No server: what a page shows comes from the store. axe looks at each; SCREENSHOTS=FOLDER keeps
 * pictures.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { faults, kept } from "./looks.ts";
import { type Browser, skip, startBrowser } from "./system.ts";

/** The popup is the side panel in another frame; the walk looks at it. */
const NAMES = ["welcome", "options", "sidepanel"];
let browser: Browser;

before(async () => {
  if (skip) return;
  browser = await startBrowser();
  // It stays open: it is who works on the check under way, so that nobody takes that up.
  await (await opened("options")).evaluate(fill);
});
after(() => browser?.stop());

for (const name of NAMES) {
  test(`${name} loses nothing where 320 pixels are left, in either direction`, {
    skip,
  }, async () => {
    const page = await opened(name);
    await page.setViewportSize({ width: 320, height: 640 });
    await unfolded(page);

    for (const dir of ["ltr", "rtl"]) {
      await page.evaluate((given) => {
        document.documentElement.dir = given;
      }, dir);

      assert.deepEqual(await sticksOut(page), [], dir);
      assert.deepEqual(await faults(page), [], dir);
      await kept(page, `${name}-320-${dir}`);
    }
    await page.close();
  });

  test(`${name} is whole without colours of its own`, { skip }, async () => {
    const page = await opened(name);
    await unfolded(page);
    await page.emulateMedia({ forcedColors: "active", reducedMotion: "reduce" });

    assert.deepEqual(await faults(page), []);
    await kept(page, `${name}-forced`);
    await page.close();
  });

  test(`everything of ${name} is reached by Tab`, { skip }, async () => {
    const page = await opened(name);
    await unfolded(page);
    const wanted = await page.evaluate(stops);
    const reached = new Set<string>();

    for (let press = 0; press < wanted.length + 3; press++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(focused));
    }

    assert.deepEqual(
      wanted.filter((stop) => !reached.has(stop)),
      [],
    );
    await page.close();
  });
}

test("a result is announced once, however often the list is drawn", { skip }, async () => {
  const page = await opened("sidepanel");
  await page.evaluate(hear);

  await page.evaluate(end, "under-way");
  await page.locator('[data-check="under-way"] .verdict').waitFor();
  await page.evaluate(end, "under-way");
  await page.waitForTimeout(500); // nothing is to be heard

  assert.deepEqual(await page.evaluate(heard), [
    "c.png: Likely AI. About 3 in 100 real photos like this get this label.",
  ]);
  await page.close();
});

test("the focus stays in a card that is drawn anew", { skip }, async () => {
  const page = await opened("sidepanel");
  await page.locator('[data-check="flagged"] summary').first().focus();

  await page.evaluate(report, "flagged");
  await page.getByText("Your server keeps your report: “No AI made it”.").waitFor();

  const inside = await page.evaluate(() =>
    document.activeElement?.closest("[data-check]")?.getAttribute("data-check"),
  );
  assert.equal(inside, "flagged");
  await page.close();
});

async function opened(name: string): Promise<Page> {
  const page = await browser.context.newPage();
  await page.setViewportSize({ width: 420, height: 720 });
  await page.goto(`${browser.origin}/${name}.html`);
  await page.locator("main").waitFor();
  return page;
}

async function unfolded(page: Page): Promise<void> {
  await page.evaluate(() => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
}

/** What needs scrolling sideways to be read, or is cut off. */
function sticksOut(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll("body, main *")]
      .filter((one) => {
        const { left, right, width } = one.getBoundingClientRect();
        return width > 1 && (left < -1 || right > window.innerWidth + 1);
      })
      .map((one) => `${one.tagName} ${one.textContent?.slice(0, 40)}`),
  );
}

/* Put into the page: nothing from outside may be named in these. */

/** One stop of Tab each: a group of radio buttons is one. */
function stops(): string[] {
  const all = document.querySelectorAll<HTMLInputElement>(
    "button, input, select, textarea, summary",
  );
  return [...all]
    .filter((one) => one.checkVisibility() && !one.disabled)
    .map((one) => one.name || one.id || (one.textContent ?? ""))
    .filter((name, index, names) => !isGroup(name) || names.indexOf(name) === index);

  function isGroup(name: string): boolean {
    return document.querySelector(`input[type=radio][name="${CSS.escape(name)}"]`) !== null;
  }
}

function focused(): string {
  const one = document.activeElement as HTMLInputElement;
  return one.name || one.id || (one.textContent ?? "");
}

function hear(): void {
  const said: string[] = [];
  (globalThis as unknown as { said: string[] }).said = said;
  const news = document.querySelector("#news") as Element;
  new MutationObserver(() => said.push(news.textContent ?? "")).observe(news, { childList: true });
}

function heard(): string[] {
  return (globalThis as unknown as { said: string[] }).said;
}

interface Storage {
  get(name: string): Promise<Record<string, object>>;
  set(items: object): Promise<void>;
}
interface Storages {
  chrome: { storage: { session: Storage; local: Storage } };
}

/** A check under way gets the verdict of one that has it. */
async function end(id: string): Promise<void> {
  const { session } = (globalThis as unknown as Storages).chrome.storage;
  const [flagged, now] = await Promise.all([
    session.get("check:flagged"),
    session.get(`check:${id}`),
  ]);
  const { view } = flagged["check:flagged"] as { view: object };
  await session.set({ [`check:${id}`]: { ...now[`check:${id}`], stage: "done", view } });
}

async function report(id: string): Promise<void> {
  const { session } = (globalThis as unknown as Storages).chrome.storage;
  const now = (await session.get(`check:${id}`))[`check:${id}`];
  const reported = { label: "not_ai", scanId: "scan_1", at: Date.now() };
  await session.set({ [`check:${id}`]: { ...now, reported } });
}

/** A store in which every state of a check is there. */
async function fill(): Promise<void> {
  const { session, local } = (globalThis as unknown as Storages).chrome.storage;
  const view = {
    verdict: "likely_ai",
    probability: 0.94,
    falseAlarms: { rate: 0.03, n: 2488, slice: "photo" },
    reasons: [{ code: "model_above_threshold", text: "Scores this high are rare in real photos." }],
    warnings: ["heavy_recompression", "a_warning_of_a_newer_server"],
    declaration: null,
    from: "browser",
    sha256: "c".repeat(64),
    size: { width: 1200, height: 800 },
    bytes: 183_220,
    modelId: "pinclip-b16-with-a-long-name-2026.11",
    judgedAt: "2026-11-26T12:00:00Z",
    scanId: "scan_1",
  };
  const source = { url: "https://a.example/1.png", tabId: 1, frameId: 0, site: null };
  const error = { code: "", detail: "", hint: "", origin: null };
  const check = {
    stage: "done",
    source,
    frame: null,
    how: "user",
    scanId: null,
    view,
    error: null,
  };
  const failed = { ...check, stage: "failed", view: null };
  const rows = {
    flagged: { ...check, title: "a-name-that-is-long-and-has-no-place-to-break".repeat(4) },
    clear: { ...check, title: "b.png", view: { ...view, verdict: "no_sign_of_ai" } },
    unsure: { ...check, title: "u.png", view: { ...view, verdict: "inconclusive", warnings: [] } },
    declared: {
      ...check,
      title: "d.png",
      view: { ...view, verdict: "declared_ai", declaration: { kind: "c2pa", trust: "trusted" } },
      reported: { label: "not_ai", scanId: "scan_01JABCDEFGHJKMNPQRSTVWXYZ", at: 0 },
      appealed: { id: "apl_01JABCDEFGHJKMNPQRSTVWXYZ" },
    },
    "under-way": { ...check, title: "c.png", stage: "waiting", view: null },
    forbidden: { ...failed, title: "a.example", error: { ...error, code: "fetch_forbidden" } },
    host: {
      ...failed,
      title: "images.example",
      error: { ...error, code: "host_not_granted", origin: "https://images.example" },
    },
  };
  void navigator.locks.request("check:under-way", () => new Promise(() => undefined));
  await local.set({ settings: { version: 2, isSetUp: true, backend: "http://127.0.0.1:9" } });
  for (const [id, row] of Object.entries(rows)) {
    await session.set({ [`check:${id}`]: { id, startedAt: Date.now(), ...row } });
  }
}
