/**
 * What a walk through the extension needs: the whole system, a browser with the extension in it.
 *
 *     startSystem()  `pinclip up` on a folder of its own, with the detector that measures brightness
 *     makeKey()      the command that the settings page shows, run as it is shown
 *     startBrowser() Debian's Chromium with .output/chrome-mv3, and a profile that goes with it
 *
 * Owns processes and folders and their end; knows nothing of what is walked.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type BrowserContext, chromium, type Worker } from "playwright-core";

const ROOT = resolve(import.meta.dirname, "../..");
const BUILT = resolve(import.meta.dirname, "../.output/chrome-mv3");
const PINCLIP = join(ROOT, ".venv/bin/pinclip");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const READY_WITHIN_MS = 120_000;

export interface System {
  url: string;
  /** Run what the settings page shows; returns the key that it prints. */
  makeKey(command: string): string;
  stop(): Promise<void>;
}

export async function startSystem(): Promise<System> {
  const folder = mkdtempSync("/tmp/pc"); // short: a unix socket's name has little room
  const port = await freePort();
  const env = {
    ...process.env,
    PINCLIP_PORT: String(port),
    PINCLIP_STATE_DIR: join(folder, "state"),
    PINCLIP_DETECTOR: "worker.testing:load_fixed",
  };
  const log = join(folder, "up.log");
  const sink = openSync(log, "a");
  const up = spawn(PINCLIP, ["up"], { cwd: ROOT, env, stdio: ["ignore", sink, sink] });
  const ended = new Promise<void>((done) => up.once("exit", () => done()));
  const url = `http://127.0.0.1:${port}`;
  await ready(url, () => readFileSync(log, "utf8").slice(-4000));
  return {
    url,
    makeKey: (command) => {
      const [, ...words] = command.split(" ");
      const said = execFileSync(PINCLIP, words, { cwd: ROOT, env, encoding: "utf8" });
      const [key] = said.match(/pk_[0-9A-Za-z]+/) ?? [];
      if (!key) throw new Error(`no key in: ${said}`);
      return key;
    },
    stop: async () => {
      up.kill("SIGINT");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function ready(url: string, log: () => string): Promise<void> {
  const until = Date.now() + READY_WITHIN_MS;
  while (Date.now() < until) {
    const isReady = await fetch(`${url}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (isReady) return;
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error(`not ready: ${log()}`);
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const { port } = probe.address() as AddressInfo;
  await new Promise((done) => probe.close(done));
  return port;
}

export interface Browser {
  context: BrowserContext;
  worker: Worker;
  /** chrome-extension://ID */
  origin: string;
  stop(): Promise<void>;
}

/** `hosts`: names that the browser shall find on loopback, as `name: port`. */
export async function startBrowser(hosts: Record<string, number> = {}): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), "pinclip-profile-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: false, // Playwright's own headless has no extensions; Chromium's new one has
    args: [
      `--host-resolver-rules=${Object.entries(hosts).map(mapped).join(",")}`,
      "--headless=new",
      "--no-sandbox", // a container has no user namespaces to build one of
      `--disable-extensions-except=${BUILT}`,
      `--load-extension=${BUILT}`,
    ],
    ignoreDefaultArgs: ["--disable-extensions"],
    locale: "en-US",
  });
  context.setDefaultTimeout(15_000);
  const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
  return {
    context,
    worker,
    origin: `chrome-extension://${new URL(worker.url()).host}`,
    stop: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

function mapped([name, port]: [string, number]): string {
  return `MAP ${name} 127.0.0.1:${port}`;
}
