/**
 * The one door to the browser's storage: every key that this extension keeps, and for how long.
 *
 *     local    settings          what the user chose, with the version they were written by
 *              site:PATTERN      a site whose images are watched
 *              sent:DAY:ID       what left this browser, a row each; two days
 *              scan:ID           a scan that was made on the server, for who wants it erased there
 *     session  check:ID          a check: under way, done or failed; gone when the browser ends
 *              verdict:...       what is known of bytes, stamped with the model; an hour
 *              model             the model that the server judged with last
 *              sweep:TAB:FRAME   how the check of a whole page gets on; gone with the page
 *              shown             the check that the panel was opened for
 *
 * One key for each thing, so that two contexts (a panel and the worker) never write the same one
 * at once. The key of the server is in `local`, never in `sync`. Whatever is read is checked: a
 * value that is not what it should be counts as none.
 */
import * as v from "valibot";
import { browser } from "wxt/browser";
import type { View } from "./view";
import type { Verdict } from "./wire";

const POINTS = ["strict", "balanced", "sensitive"] as const;
/** How much may leave this browser for an image; each holds what stands before it. */
export const SENDS = ["lookup", "bytes", "url"] as const;
export type Send = (typeof SENDS)[number];

export const MODIFIERS = ["none", "alt", "ctrl", "shift"] as const;
/** What becomes of images that are likely AI or declared so. */
export const FLAGGED = ["show", "dim", "cover"] as const;
/** How long a pointer rests on an image before it is asked about, in milliseconds. */
export const DWELL_MS = { least: 200, most: 2000 };

const settingsSchema = v.object({
  version: v.literal(2),
  /** False until the first run was finished: nothing is sent before. */
  isSetUp: v.boolean(),
  backend: v.string(),
  key: v.string(),
  point: v.picklist(POINTS),
  send: v.picklist(SENDS),
  privateHosts: v.picklist(["never", "ask"]),
  /** Whether a pointer that rests on an image asks; only on sites that the user has enabled. */
  hover: v.boolean(),
  dwellMs: v.pipe(v.number(), v.minValue(DWELL_MS.least), v.maxValue(DWELL_MS.most)),
  /** The key that must be held for it. */
  modifier: v.picklist(MODIFIERS),
  flagged: v.picklist(FLAGGED),
  /** Whether this browser judges by itself what the server does not know. */
  localTier: v.boolean(),
});
export type Settings = v.InferOutput<typeof settingsSchema>;

export const DEFAULTS: Settings = {
  version: 2,
  isSetUp: false,
  backend: "http://127.0.0.1:8417",
  key: "",
  point: "balanced",
  send: "bytes",
  privateHosts: "never",
  hover: true,
  dwellMs: 400,
  modifier: "none",
  flagged: "show",
  localTier: false,
};

/** What may be asked for an image again, once the user has allowed what was missing. */
export interface Source {
  url: string;
  tabId: number | null;
  frameId: number;
  /** The origin of the frame that shows it, never its path; null where that is not known. */
  site: string | null;
}

/** One check. It is under way until `view` or `error` is there. */
export interface Check {
  id: string;
  /** What the user knows the image by: its file's name, or its host. Never the page's address. */
  title: string;
  startedAt: number;
  stage: "getting" | "asking" | "sending" | "waiting" | "done" | "failed";
  source: Source | null;
  /** A picture of the screen, which gives no more than inconclusive. */
  isCapture: boolean;
  /** The frame of a page that asked, which alone is told; null: it was asked for elsewhere. */
  frame: { tabId: number; frameId: number } | null;
  /** Whether the user pointed at this very image; hovers and sweeps make room sooner. */
  how: "user" | "hover" | "sweep";
  scanId: string | null;
  view: View | null;
  error: { code: string; detail: string; hint: string; origin: string | null } | null;
  /** What the user said of the verdict, and the appeal against it. */
  reported?: { label: "ai" | "not_ai"; scanId: string; at: number };
  appealed?: { id: string };
}

/** How a sweep of one frame gets on: images in all, done, and of those flagged and failed. */
export interface Sweep {
  sweepId: string;
  tabId: number;
  frameId: number;
  total: number;
  done: number;
  flagged: number;
  failed: number;
  /** How many got each verdict, and each code of an error. */
  verdicts: Partial<Record<Verdict, number>>;
  errors: Record<string, number>;
  isEnded: boolean;
  /** Images that were not tried: it was cancelled or stopped, or there were too many. */
  left: number;
  /** Why it ended early: "canceled", or the code of an error that holds for every image. */
  reason: string | null;
  at: number;
}

/** One thing that left this browser. */
export interface Sent {
  at: number;
  what: "prefix" | "bytes" | "url" | "test" | "report" | "model";
  bytes: number;
  to: string;
}

/** One scan that this browser had the server make. */
export interface Made {
  id: string;
  at: number;
  backend: string;
}

/** The check that the panel was opened for; `isReport`: to report a mistake. */
export interface Shown {
  checkId: string;
  isReport: boolean;
  at: number;
}

const VERDICT_LIFE_MS = 60 * 60 * 1000;
/** Checks of images that the user pointed at, and of those that were asked about on the way. */
const CHECKS_KEPT = { user: 100, other: 600 };
const VERDICTS_KEPT = 2000;
const SCANS_KEPT = 1000;
const DAYS_KEPT = 2;
/** Of the 10 MiB that a browser gives to a session's storage. */
const SESSION_TIDY_BYTES = 5 * 1024 * 1024;

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

/** Call `changed` whenever the settings were saved, or a site was enabled or disabled. */
export function watchSettings(changed: () => void): () => void {
  return watch("local", /^(settings$|site:)/, changed);
}

/* Sites */

/** The patterns of the sites whose images are watched, as far as the browser lets us. */
export async function listSites(): Promise<string[]> {
  const all = await browser.storage.local.get(null);
  return namesOf(all, "site:").map((name) => name.slice("site:".length));
}

export async function saveSite(pattern: string): Promise<void> {
  await browser.storage.local.set({ [`site:${pattern}`]: true });
}

export async function removeSites(patterns: string[]): Promise<void> {
  await browser.storage.local.remove(patterns.map((pattern) => `site:${pattern}`));
}

export function watchSites(changed: () => void): () => void {
  return watch("local", /^site:/, changed);
}

/* Checks */

export async function saveCheck(check: Check): Promise<void> {
  await browser.storage.session.set({ [checkKey(check.id)]: check });
}

export async function loadCheck(id: string): Promise<Check | null> {
  const name = checkKey(id);
  return ((await browser.storage.session.get(name))[name] as Check | undefined) ?? null;
}

export async function removeCheck(id: string): Promise<void> {
  await browser.storage.session.remove(checkKey(id));
}

/** All checks of this session, newest first; those over CHECKS_KEPT are dropped. */
export async function listChecks(): Promise<Check[]> {
  const all = await browser.storage.session.get(null);
  const checks = checksOf(all);
  const old = new Set(tooOld(checks));
  if (old.size > 0) await browser.storage.session.remove([...old].map(checkKey));
  return checks.filter((check) => !old.has(check.id));
}

function checksOf(all: Record<string, unknown>): Check[] {
  const checks = namesOf(all, "check:").map((name) => all[name] as Check);
  return checks.sort((a, b) => b.startedAt - a.startedAt);
}

/** Checks by the way make room for one another, never those that the user pointed at. Pure. */
function tooOld(newestFirst: Check[]): string[] {
  const pointedAt = newestFirst.filter((check) => check.how === "user");
  const others = newestFirst.filter((check) => check.how !== "user");
  const old = [...pointedAt.slice(CHECKS_KEPT.user), ...others.slice(CHECKS_KEPT.other)];
  return old.filter(isEnded).map((check) => check.id);
}

/** True once nothing about a check will change by itself. */
export function isEnded(check: Check): boolean {
  return check.view !== null || check.error !== null;
}

/** Drop the checks that have ended. */
export async function clearChecks(): Promise<void> {
  const ended = (await listChecks()).filter(isEnded);
  await browser.storage.session.remove(ended.map((check) => checkKey(check.id)));
}

/** Call `changed` whenever a check was saved or dropped; returns how to stop. */
export function watchChecks(changed: () => void): () => void {
  return watch("session", /^check:/, changed);
}

function checkKey(id: string): string {
  return `check:${id}`;
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

/**
 * Make room in the session's storage before it is full: what is too old, or too much, goes.
 *
 * Cheap where there is nothing to do: the browser tells how much it holds.
 */
export async function tidy(now: number): Promise<void> {
  if ((await browser.storage.session.getBytesInUse(null)) < SESSION_TIDY_BYTES) return;
  const all = await browser.storage.session.get(null);
  const at = (name: string) => (all[name] as Known).at;
  const verdicts = namesOf(all, "verdict:").sort((a, b) => at(b) - at(a));
  const isOld = (name: string, index: number) =>
    index >= VERDICTS_KEPT || now - at(name) >= VERDICT_LIFE_MS;
  const old = [...verdicts.filter(isOld), ...tooOld(checksOf(all)).map(checkKey)];
  await browser.storage.session.remove(old);
}

/* Sweeps */

export async function saveSweep(sweep: Sweep): Promise<void> {
  await browser.storage.session.set({ [`sweep:${sweep.tabId}:${sweep.frameId}`]: sweep });
}

/** How the sweeps of a tab's frames get on, the top frame's first. */
export async function listSweeps(tabId: number): Promise<Sweep[]> {
  const all = await browser.storage.session.get(null);
  const rows = namesOf(all, `sweep:${tabId}:`).map((name) => all[name] as Sweep);
  return rows.sort((a, b) => a.frameId - b.frameId);
}

/** Drop what is known of a tab's sweeps, of one frame's where it is given. */
export async function removeSweeps(tabId: number, frameId?: number): Promise<void> {
  const rows = (await listSweeps(tabId)).filter(
    (row) => frameId === undefined || row.frameId === frameId,
  );
  await browser.storage.session.remove(rows.map((row) => `sweep:${tabId}:${row.frameId}`));
}

export function watchSweeps(changed: () => void): () => void {
  return watch("session", /^sweep:/, changed);
}

/* The check that the panel was opened for */

export async function saveShown(shown: Shown): Promise<void> {
  await browser.storage.session.set({ shown });
}

export async function loadShown(): Promise<Shown | null> {
  return ((await browser.storage.session.get("shown")).shown as Shown | undefined) ?? null;
}

export function watchShown(changed: () => void): () => void {
  return watch("session", /^shown$/, changed);
}

/* Scans on the server */

export async function noteScan(made: Made): Promise<void> {
  await browser.storage.local.set({ [`scan:${made.id}`]: made });
}

/** The scans that this browser had servers make, newest first; those over SCANS_KEPT are dropped. */
export async function listScans(): Promise<Made[]> {
  const all = await browser.storage.local.get(null);
  const scans = namesOf(all, "scan:").map((name) => all[name] as Made);
  scans.sort((a, b) => b.at - a.at);
  const old = scans.slice(SCANS_KEPT).map((scan) => `scan:${scan.id}`);
  if (old.length > 0) await browser.storage.local.remove(old);
  return scans.slice(0, SCANS_KEPT);
}

/** Forget everything but what the user chose: settings and sites. */
export async function forgetAll(): Promise<void> {
  const all = Object.keys(await browser.storage.local.get(null));
  await browser.storage.local.remove(all.filter((name) => /^(sent|scan):/.test(name)));
  await browser.storage.session.clear();
}

/* What left this browser */

export async function noteSent(sent: Sent): Promise<void> {
  await browser.storage.local.set({ [`sent:${dayOf(sent.at)}:${crypto.randomUUID()}`]: sent });
}

/** What left this browser on the day of `now`, newest first; what is older than two days goes. */
export async function listSent(now: number): Promise<Sent[]> {
  const all = await browser.storage.local.get(null);
  const names = namesOf(all, "sent:");
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

/* Keys */

function namesOf(all: Record<string, unknown>, start: string): string[] {
  return Object.keys(all).filter((name) => name.startsWith(start));
}

function watch(where: "local" | "session", names: RegExp, changed: () => void): () => void {
  const listener = (changes: Record<string, unknown>, area: string) => {
    if (area === where && Object.keys(changes).some((name) => names.test(name))) changed();
  };
  browser.storage.onChanged.addListener(listener);
  return () => browser.storage.onChanged.removeListener(listener);
}
