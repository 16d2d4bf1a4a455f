/**
 * The one door to the browser's storage: every key that this extension keeps, and for how long.
 *
 *     local    settings          what the user chose, with the version they were written by
 *              sent:DAY:ID       what left this browser, a row each; two days
 *     session  check:ID          a check: under way, done or failed; gone when the browser ends
 *              verdict:...       what is known of bytes, stamped with the model; an hour
 *              model             the model that the server judged with last
 *
 * One key for each thing, so that two contexts (a panel and the worker) never write the same one
 * at once. The key of the server is in `local`, never in `sync`. Whatever is read is checked: a
 * value that is not what it should be counts as none.
 */
import * as v from "valibot";
import { browser } from "wxt/browser";
import type { View } from "./view";

const POINTS = ["strict", "balanced", "sensitive"] as const;
/** How much may leave this browser for an image; each holds what stands before it. */
export const SENDS = ["lookup", "bytes", "url"] as const;
export type Send = (typeof SENDS)[number];

const settingsSchema = v.object({
  version: v.literal(1),
  /** False until the first run was finished: nothing is sent before. */
  isSetUp: v.boolean(),
  backend: v.string(),
  key: v.string(),
  point: v.picklist(POINTS),
  send: v.picklist(SENDS),
  privateHosts: v.picklist(["never", "ask"]),
});
export type Settings = v.InferOutput<typeof settingsSchema>;

export const DEFAULTS: Settings = {
  version: 1,
  isSetUp: false,
  backend: "http://127.0.0.1:8417",
  key: "",
  point: "balanced",
  send: "bytes",
  privateHosts: "never",
};

/** What may be asked for an image again, once the user has allowed what was missing. */
export interface Source {
  url: string;
  tabId: number | null;
  frameId: number;
}

/** One check. It is under way until `view` or `error` is there. */
export interface Check {
  id: string;
  /** What the user knows the image by: its file's name, or its host. Never the page's address. */
  title: string;
  startedAt: number;
  stage: "getting" | "asking" | "sending" | "waiting" | "done" | "failed";
  source: Source | null;
  scanId: string | null;
  view: View | null;
  error: { code: string; detail: string; hint: string; origin: string | null } | null;
}

/** One thing that left this browser. */
export interface Sent {
  at: number;
  what: "prefix" | "bytes" | "url" | "test";
  bytes: number;
  to: string;
}

const VERDICT_LIFE_MS = 60 * 60 * 1000;
const CHECKS_KEPT = 30;
const DAYS_KEPT = 2;

/* Settings */

/** The settings as they are now; the defaults for what was never set or cannot be read. */
export async function loadSettings(): Promise<Settings> {
  const { settings } = await browser.storage.local.get("settings");
  return migrated(settings);
}

export async function saveSettings(settings: Settings): Promise<void> {
  await browser.storage.local.set({ settings });
}

/**
 * Settings of any version as those of this one. Pure.
 *
 * A field that an older version lacks is as by default, one that cannot be read too; the others
 * stay. What a newer version wrote is read as far as it is known here.
 */
export function migrated(stored: unknown): Settings {
  if (typeof stored !== "object" || stored === null) return DEFAULTS;
  const given: Record<string, unknown> = { ...stored, version: DEFAULTS.version };
  const kept = Object.entries(settingsSchema.entries).map(([name, schema]) => {
    const value = v.safeParse(schema, given[name]);
    return [name, value.success ? value.output : DEFAULTS[name as keyof Settings]];
  });
  return Object.fromEntries(kept) as Settings;
}

/* Checks */

export async function saveCheck(check: Check): Promise<void> {
  await browser.storage.session.set({ [`check:${check.id}`]: check });
}

export async function loadCheck(id: string): Promise<Check | null> {
  const name = `check:${id}`;
  return ((await browser.storage.session.get(name))[name] as Check | undefined) ?? null;
}

export async function removeCheck(id: string): Promise<void> {
  await browser.storage.session.remove(`check:${id}`);
}

/** All checks of this session, newest first; those over CHECKS_KEPT are dropped. */
export async function listChecks(): Promise<Check[]> {
  const all = await browser.storage.session.get(null);
  const checks = Object.entries(all)
    .filter(([name]) => name.startsWith("check:"))
    .map(([, value]) => value as Check)
    .sort((a, b) => b.startedAt - a.startedAt);
  const old = checks.slice(CHECKS_KEPT).map((check) => `check:${check.id}`);
  if (old.length > 0) await browser.storage.session.remove(old);
  return checks.slice(0, CHECKS_KEPT);
}

/** True once nothing about a check will change by itself. */
export function isEnded(check: Check): boolean {
  return check.view !== null || check.error !== null;
}

/** Drop the checks that have ended. */
export async function clearChecks(): Promise<void> {
  const ended = (await listChecks()).filter(isEnded);
  await browser.storage.session.remove(ended.map((check) => `check:${check.id}`));
}

/** Call `changed` whenever a check was saved or dropped; returns how to stop. */
export function watchChecks(changed: () => void): () => void {
  const listener = (changes: Record<string, unknown>, area: string) => {
    if (area === "session" && Object.keys(changes).some((name) => name.startsWith("check:"))) {
      changed();
    }
  };
  browser.storage.onChanged.addListener(listener);
  return () => browser.storage.onChanged.removeListener(listener);
}

/* Verdicts */

interface Known {
  view: View;
  modelId: string | null;
  at: number;
}

/** Under which server, bytes and operating point a verdict is kept. */
export interface VerdictName {
  backend: string;
  sha256: string;
  point: Settings["point"];
}

/** A verdict of this session, unless it is older than an hour or another model's. */
export async function loadVerdict(name: VerdictName, now: number): Promise<View | null> {
  const key = verdictKey(name);
  const found = await browser.storage.session.get([key, modelKey(name)]);
  const known = found[key] as Known | undefined;
  const isFresh = known !== undefined && now - known.at < VERDICT_LIFE_MS;
  return isFresh && known.modelId === (found[modelKey(name)] ?? null) ? known.view : null;
}

/** Keep a verdict, and note its model: verdicts of another one are not used from now on. */
export async function saveVerdict(name: VerdictName, view: View, now: number): Promise<void> {
  const known: Known = { view, modelId: view.modelId, at: now };
  await browser.storage.session.set({ [verdictKey(name)]: known, [modelKey(name)]: view.modelId });
}

function verdictKey(name: VerdictName): string {
  return `verdict:${name.backend}:${name.point}:${name.sha256}`;
}

function modelKey(name: VerdictName): string {
  return `model:${name.backend}`;
}

/* What left this browser */

export async function noteSent(sent: Sent): Promise<void> {
  await browser.storage.local.set({ [`sent:${dayOf(sent.at)}:${crypto.randomUUID()}`]: sent });
}

/** What left this browser on the day of `now`, newest first; what is older than two days goes. */
export async function listSent(now: number): Promise<Sent[]> {
  const all = await browser.storage.local.get(null);
  const names = Object.keys(all).filter((name) => name.startsWith("sent:"));
  const oldest = `sent:${dayOf(now - (DAYS_KEPT - 1) * 24 * 3600 * 1000)}`;
  const old = names.filter((name) => name < oldest);
  if (old.length > 0) await browser.storage.local.remove(old);
  return names
    .filter((name) => name.startsWith(`sent:${dayOf(now)}:`))
    .map((name) => all[name] as Sent)
    .sort((a, b) => b.at - a.at);
}

/** The day in the user's own time zone, as YYYY-MM-DD. */
function dayOf(at: number): string {
  const day = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}
