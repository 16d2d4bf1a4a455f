/**
 * A stage for what the extension draws into a page: a browser without the extension, pages made of
 * a few lines of HTML, and page/layer.ts in an isolated world as the extension would have it.
 *
 *     stage_page.ts --vite--> one script --CDP--> isolated world of the page <-- act("show", ...)
 *
 * Knows how to set it up and ask it; nothing of what is asserted.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type BrowserContext, type CDPSession, chromium, type Page } from "playwright-core";
import { build, type Rolldown } from "vite";
import type { Told } from "../lib/messages.ts";
import type { View } from "../lib/view.ts";
import { picture } from "./pictures.ts";
import type { Stage } from "./stage_page.ts";
import { CHROMIUM } from "./system.ts";

const EXTENSION = resolve(import.meta.dirname, "..");
const SITE = "http://site.test/";
const GREY = picture(90, 400, 300);

export interface Theatre {
  context: BrowserContext;
  stop(): Promise<void>;
}

export async function startTheatre(): Promise<Theatre> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: false,
    args: ["--headless=new", "--no-sandbox", "--enable-precise-memory-info"],
  });
  const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
  context.setDefaultTimeout(10_000);
  return { context, stop: () => browser.close() };
}

let script: Promise<string> | undefined;

/** stage_page.ts and all that it needs, as one script. */
function bundled(): Promise<string> {
  script ??= build({
    configFile: false,
    root: EXTENSION,
    logLevel: "error",
    build: {
      write: false,
      minify: false,
      target: "esnext",
      lib: { entry: join(EXTENSION, "e2e/stage_page.ts"), formats: ["iife"], name: "layer" },
    },
  }).then((made) => {
    const [{ output }] = made as Rolldown.RolldownOutput[] as [Rolldown.RolldownOutput];
    return output[0].code;
  });
  return script;
}

export interface Scene {
  headers?: Record<string, string>;
  isRtl?: boolean;
  /** The layer's root as an open one, for axe. */
  isOpen?: boolean;
  /** Leave the layer out. */
  isBare?: boolean;
}

type Said<K extends keyof Stage> = Stage[K] extends (...given: never[]) => infer R ? R : Stage[K];

export class Play {
  readonly page: Page;
  readonly devtools: CDPSession;
  /** What was thrown where nobody could catch it. */
  readonly thrown: string[] = [];
  #world = 0;

  constructor(page: Page, devtools: CDPSession) {
    this.page = page;
    this.devtools = devtools;
    devtools.on("Runtime.exceptionThrown", ({ exceptionDetails }) => {
      this.thrown.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    });
  }

  /** Put the layer into the page. */
  async enter({ isRtl = false, isOpen = false }: Scene = {}): Promise<void> {
    await this.devtools.send("Runtime.enable");
    const { frameTree } = await this.devtools.send("Page.getFrameTree");
    const frameId = frameTree.frame.id;
    const made = await this.devtools.send("Page.createIsolatedWorld", { frameId });
    this.#world = made.executionContextId;
    await this.evaluate(browserWith(isRtl, isOpen));
    await this.evaluate(await bundled());
  }

  /** Call one of stage_page.ts, and give what it says. */
  act<K extends keyof Stage>(name: K, ...args: unknown[]): Promise<Said<K>> {
    const given = args.map((arg) => JSON.stringify(arg)).join();
    return this.evaluate(`stage.${name}${name === "done" ? "" : `(${given})`}`);
  }

  /** Call it until it says what is right, or the time is over. */
  async until<K extends keyof Stage>(
    name: K,
    isRight: (said: Said<K>) => boolean,
    ...args: unknown[]
  ): Promise<Said<K>> {
    for (const until = Date.now() + 8000; ; ) {
      const said = await this.act(name, ...args);
      if (isRight(said)) return said;
      if (Date.now() > until)
        throw new Error(`${name}: still ${JSON.stringify(said)}; ${this.thrown}`);
      await this.page.waitForTimeout(50);
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: the one who asks knows what comes
  async evaluate(expression: string): Promise<any> {
    const how = { contextId: this.#world, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.devtools.send("Runtime.evaluate", {
      expression,
      ...how,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? "it threw");
    return result.value;
  }
}

/** Open a page made of this, with the layer in it unless told else. */
export async function play(theatre: Theatre, html: string, scene: Scene = {}): Promise<Play> {
  const page = await theatre.context.newPage();
  await page.route(`${SITE}**`, (route) =>
    route.request().url() === SITE
      ? route.fulfill({ contentType: "text/html", body: html, headers: scene.headers ?? {} })
      : route.fulfill({ contentType: "image/png", body: GREY }),
  );
  await page.goto(SITE);
  const play = new Play(page, await theatre.context.newCDPSession(page));
  if (!scene.isBare) await play.enter(scene);
  return play;
}

/** The part of the browser that page/ uses, with the texts of the real English. */
function browserWith(isRtl: boolean, isOpen: boolean): string {
  const texts = readFileSync(join(EXTENSION, "public/_locales/en/messages.json"), "utf8");
  return `
    globalThis.isOpen = ${isOpen};
    globalThis.browser = { runtime: { id: "stage" }, dom: {
      openOrClosedShadowRoot: (element) => globalThis.rootOf?.(element) ?? element.shadowRoot,
    }, i18n: {
      getUILanguage: () => "${isRtl ? "ar" : "en"}",
      getMessage: (name, values = []) => name === "@@bidi_dir" ? "${isRtl ? "rtl" : "ltr"}" :
        (${texts}[name]?.message ?? "").replace(/\\$(\\d)/g, (_, n) => values[n - 1] ?? ""),
    } };`;
}

/* What the layer is told */

const VIEW: View = {
  verdict: "likely_ai",
  probability: 0.94,
  falseAlarms: { rate: 0.03, n: 1200, slice: "photo" },
  reasons: [{ code: "model_above_threshold", text: "Scores this high are rare among photos." }],
  warnings: [],
  declaration: null,
  from: "browser",
  sha256: "a".repeat(64),
  size: { width: 400, height: 300 },
  bytes: 183_220,
  modelId: "pinclip-b16",
  judgedAt: "2026-11-20T10:00:00Z",
  scanId: "scan_1",
};

export function verdict(of: View["verdict"], id = "1"): Told {
  return { id, title: "cat.png", stage: "done", view: { ...VIEW, verdict: of }, error: null };
}
export const LIKELY = verdict("likely_ai");
export const UNDER_WAY: Told = { ...LIKELY, stage: "sending", view: null };
export const FAILED: Told = {
  ...UNDER_WAY,
  stage: "failed",
  error: { code: "fetch_not_found", detail: "", hint: "", origin: null },
};
