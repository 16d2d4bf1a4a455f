/**
 * Which address is painted, asked in a real browser on every page of the fixture site.
 *
 *     page/painted.ts -> bundled into a tiny extension (only one opens closed roots)
 *                     -> its isolated world in each frame of a page -> what it says, compared
 *                                                                      with what the page shows
 *
 * One line at the end: how many places were right.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { type BrowserContext, type CDPSession, chromium, type Page } from "playwright-core";
import { build, type Rolldown } from "vite";
import type { Target } from "./site/pages/row.ts";
import type { Answers, Told } from "./site/probe.ts";
import { ROWS, type Site, startSite } from "./site/site.ts";
import { CHROMIUM, skip } from "./system.ts";

const SETTLED_WITHIN_MS = 5000;
const NAME = "painted-probe";
let site: Site;
let context: BrowserContext;
let folder: string;
let right = 0;
let asked = 0;

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), "pinclip-painted-"));
  [site] = await Promise.all([startSite(), writeExtension()]);
  context = await chromium.launchPersistentContext(join(folder, "profile"), {
    executablePath: CHROMIUM,
    headless: false,
    args: [
      `--host-resolver-rules=${Object.entries(site.hosts).map(([n, p]) => `MAP ${n} 127.0.0.1:${p}`)}`,
      "--headless=new",
      "--no-sandbox",
      `--disable-extensions-except=${folder}`,
      `--load-extension=${folder}`,
    ],
    ignoreDefaultArgs: ["--disable-extensions"],
  });
});
after(async () => {
  if (skip) return;
  await context?.close();
  await site?.stop();
  rmSync(folder, { recursive: true, force: true });
  console.log(`the painted address in ${right} of ${asked} places`);
});

for (const [name, { targets = [] }] of Object.entries(ROWS)) {
  if (targets.length === 0) continue;
  test(`what is painted on ${name}`, { skip }, async () => {
    let page: Page | null = null;
    for (const target of targets) {
      asked++;
      page = await shown(name, target, page);
      await asserted(name, target, page);
      right++;
    }
    await page?.close();
  });
}

test("an image tab shows that image", { skip }, async () => {
  const page = await context.newPage();
  await page.goto("http://cdn.example/p/bright-bare.png");

  const answers = await probed(page, { at: "img", paints: null });

  assert.deepEqual(answers.at, { kind: "img", address: "http://cdn.example/p/bright-bare.png" });
  await page.close();
});

test("ten thousand images are listed in one go", { skip }, async () => {
  const page = await context.newPage();
  await page.goto("http://site.example/many?n=10000");

  const { all, tookMs } = await probed(page, { at: "a:nth-child(3)", paints: null });

  assert.equal(all.length, 10_000);
  console.log(`10,000 images listed in ${Math.round(tookMs)} ms`);
  await page.close();
});

/** The page as the target wants it: the one that is open, if nothing about it was changed. */
async function shown(name: string, target: Target, open: Page | null): Promise<Page> {
  const { scale, width, first } = target;
  if (open && !scale && !width && !first) return open;
  await open?.close();
  const page = await context.newPage();
  await sized(page, target);
  await page.goto(`http://site.example/${name}`);
  if (first) await page.evaluate(first);
  return page;
}

async function asserted(name: string, target: Target, page: Page): Promise<void> {
  const answers = await settled(page, target);

  const where = `${name} ${JSON.stringify(target)}`;
  assert.ok(isExpected(answers.at, target), `${where}: ${JSON.stringify(answers.at)}`);
  assert.ok(answers.still, where);
  const isListed = answers.all.some((one) => isExpected(one, target));
  assert.equal(isListed, target.paints !== null && target.paints !== "pixels", `listed: ${where}`);
  if (target.paints !== null) {
    assert.ok(isExpected(answers.of, target), `of: ${where}: ${JSON.stringify(answers.of)}`);
  }
}

function isExpected(told: Told, { paints, kind }: Target): boolean {
  if (paints === null || told === null) return told === paints;
  if (kind !== undefined && told.kind !== kind) return false;
  if (paints === "pixels") return told.address === null;
  if (/^\w+:$/.test(paints)) return told.address?.startsWith(paints) === true;
  return told.address === paints;
}

async function sized(page: Page, { width = 1000, scale = 1 }: Target): Promise<void> {
  const session = await context.newCDPSession(page);
  await session.send("Emulation.setDeviceMetricsOverride", {
    width,
    height: 800,
    deviceScaleFactor: scale,
    mobile: false,
  });
}

/** What it says once that is as expected, or after a while: pages load at their own pace. */
async function settled(page: Page, target: Target): Promise<Answers> {
  const until = Date.now() + (target.paints === null ? 300 : SETTLED_WITHIN_MS);
  for (;;) {
    const answers = await probed(page, target);
    const isDone = target.paints !== null && isExpected(answers.at, target);
    if (isDone || Date.now() > until) return answers;
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Ask in the frame that the target is in. A frame of another site has a process of its own. */
async function probed(page: Page, { at, frame = "" }: Target): Promise<Answers> {
  for (const one of page.frames()) {
    const session = await context.newCDPSession(one).catch(() => context.newCDPSession(page));
    for (const contextId of await worlds(session)) {
      const expression = `location.href.endsWith(${JSON.stringify(frame)}) ? probe(${JSON.stringify(at)}) : null`;
      const answer = await session.send("Runtime.evaluate", {
        expression,
        contextId,
        returnByValue: true,
      });
      if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
      if (answer.result.value) return answer.result.value as Answers;
    }
    await session.detach();
  }
  throw new Error(`no frame ${frame}`);
}

/** The isolated worlds of the tiny extension in a process. */
async function worlds(session: CDPSession): Promise<number[]> {
  const found: number[] = [];
  session.on("Runtime.executionContextCreated", ({ context: { id, name } }) => {
    if (name === NAME) found.push(id);
  });
  await session.send("Runtime.enable");
  return found;
}

async function writeExtension(): Promise<void> {
  const built = (await build({
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      minify: false,
      lib: {
        entry: resolve(import.meta.dirname, "site/probe.ts"),
        formats: ["iife"],
        name: "unused",
        fileName: "content",
      },
    },
  })) as Rolldown.RolldownOutput[];
  writeFileSync(join(folder, "content.js"), built[0]?.output[0].code ?? "");
  const script = {
    matches: ["<all_urls>"],
    js: ["content.js"],
    all_frames: true,
    match_origin_as_fallback: true,
    run_at: "document_start",
  };
  const manifest = { manifest_version: 3, name: NAME, version: "1", content_scripts: [script] };
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
}
