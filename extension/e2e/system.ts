/**
 * What a walk through the extension needs: the whole system, a browser with the extension in it.
 *
 *     startSystem()  `pinclip up` on a folder of its own, with the detector that measures brightness
 *     makeKey()      the command that the settings page shows, run as it is shown
 *     makeSecret()   a key of the same owner that may read, as who runs the server has one
 *     startBrowser() Debian's Chromium with .output/chrome-mv3, and a profile that goes with it
 *
 * No driver can press a button of the browser's own question for a host, so a profile may be given
 * what a user once said yes to: see Grants.
 *
 * Owns processes and folders and their end; knows nothing of what is walked.
 */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type BrowserContext, chromium, type Worker } from "playwright-core";

const ROOT = resolve(import.meta.dirname, "../..");
const BUILT = resolve(import.meta.dirname, "../.output/chrome-mv3");
const PINCLIP = join(ROOT, ".venv/bin/pinclip");
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const READY_WITHIN_MS = 120_000;

/** Why nothing can be walked here, or false. */
export const skip = existsSync(CHROMIUM) ? false : `no Chromium at ${CHROMIUM}: set CHROMIUM`;

export interface System {
  url: string;
  /** Run what the settings page shows; returns the key that it prints. */
  makeKey(command: string): string;
  /** A secret key of the owner that the settings page's command names. */
  makeSecret(scope: "read" | "moderate"): string;
  /** Run a command of pinclip on this system's folder; returns what it prints. */
  run(...words: string[]): string;
  stop(): Promise<void>;
}

/** `detector`: null for the model that pinclip has by default. */
export async function startSystem(
  detector: string | null = "worker.testing:load_fixed",
): Promise<System> {
  const folder = mkdtempSync("/tmp/pc"); // short: a unix socket's name has little room
  const port = await freePort();
  const env = surroundings(folder, port, detector);
  const log = join(folder, "up.log");
  const sink = openSync(log, "a");
  const up = spawn(PINCLIP, ["up"], { cwd: ROOT, env, stdio: ["ignore", sink, sink] });
  // A test that fails as it begins never stops it: then it ends with the tests, and holds none up.
  up.unref();
  process.once("exit", () => up.kill("SIGINT"));
  const ended = new Promise<void>((done) => up.once("exit", () => done()));
  const url = `http://127.0.0.1:${port}`;
  await ready(url, () => readFileSync(log, "utf8").slice(-4000));
  const run = (...words: string[]) =>
    execFileSync(PINCLIP, words, { cwd: ROOT, env, encoding: "utf8", stdio: "pipe" });
  return {
    url,
    run,
    makeKey: (command) => keyIn(run(...command.split(" ").slice(1))),
    makeSecret: (scope) =>
      keyIn(run(..."keys create --owner me --name reader --scope".split(" "), scope)),
    stop: async () => {
      up.ref();
      up.kill("SIGINT");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function surroundings(folder: string, port: number, detector: string | null): NodeJS.ProcessEnv {
  const env = { ...process.env };
  delete env.PINCLIP_DETECTOR;
  return {
    ...env,
    PINCLIP_PORT: String(port),
    PINCLIP_STATE_DIR: join(folder, "state"),
    ...(detector ? { PINCLIP_DETECTOR: detector } : {}),
  };
}

function keyIn(said: string): string {
  const [key] = said.match(/[ps]k_[0-9A-Za-z]{49}/) ?? [];
  if (!key) throw new Error(`no key in: ${said}`);
  return key;
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

/** Match patterns, such as `http://site.example/*`, that the profile begins with. */
export interface Grants {
  /** Granted now. */
  granted?: string[];
  /** Granted before and given back: the browser grants it to a click without asking again. */
  remembered?: string[];
}

/** `hosts`: names that the browser shall find on loopback, as `name: port`. */
export async function startBrowser(
  hosts: Record<string, number> = {},
  grants: Grants = {},
): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), "pinclip-profile-"));
  grant(profile, grants);
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
  const worker = await workerOf(context);
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

/** The extension's worker; a browser without one is closed, so that a test ends where it fails. */
async function workerOf(context: BrowserContext): Promise<Worker> {
  try {
    return context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
  } catch (error) {
    await context.close();
    throw error;
  }
}

/** Write what was granted into the profile as Chromium itself does. */
function grant(profile: string, { granted = [], remembered = [] }: Grants): void {
  const { permissions } = JSON.parse(readFileSync(join(BUILT, "manifest.json"), "utf8"));
  const all = [...granted, ...remembered];
  const settings = {
    path: BUILT,
    location: 8, // given on the command line
    state: 1,
    active_permissions: { api: permissions, explicit_host: granted },
    granted_permissions: { api: permissions, explicit_host: all },
    runtime_granted_permissions: { api: [], explicit_host: all },
  };
  // Without the developer's mode, an unpacked extension that reloads itself stays off.
  const extensions = { ui: { developer_mode: true }, settings: { [idOf(BUILT)]: settings } };
  mkdirSync(join(profile, "Default"));
  writeFileSync(join(profile, "Default/Preferences"), JSON.stringify({ extensions }));
}

/** The id that Chromium gives an unpacked extension: its path's digest in the letters a to p. */
function idOf(path: string): string {
  const digits = createHash("sha256").update(path).digest("hex").slice(0, 32);
  return [...digits].map((digit) => "abcdefghijklmnop"[Number.parseInt(digit, 16)]).join("");
}

function mapped([name, port]: [string, number]): string {
  return `MAP ${name} 127.0.0.1:${port}`;
}
