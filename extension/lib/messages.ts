/**
 * The one table of messages between the parts of this extension, with the check of who sent them.
 *
 *     own pages  --OwnMessages-->    worker   check again, take up, sweep or pick in a tab, sites
 *     page.js    --FrameMessages-->  worker   check this image, how a sweep gets on, open the panel
 *     worker     --PageMessages-->   page.js  show a check, sweep, pick, tear down
 *
 * Who sent a message is what the browser says of it, never what the message says: a web page and
 * another extension are refused, page.js may not send what own pages may, nor they what it may.
 * Messages are JSON; bytes are read where they are sent, so that none carries any.
 */
import { browser } from "wxt/browser";
import type { Check, Settings, Sweep } from "./store";

/** A check as a site's page gets it: nothing of it tells where else the user was. */
export type Told = Pick<Check, "id" | "stage" | "view" | "error" | "title">;

/** What page.js needs of the settings; `hover` is false on sites that the user has not enabled. */
export type PageSettings = Pick<Settings, "hover" | "dwellMs" | "modifier" | "flagged">;

/** CSS pixels of the top frame's viewport. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

type Nothing = Record<never, never>;
export type Started = "started" | "not_injectable";

/** From the pages of this extension. What is not in OwnAnswers is answered by null. */
export interface OwnMessages {
  "check-again": { checkId: string; isAllowed: boolean; withCookies: boolean };
  "take-up": Nothing;
  sweep: { tabId: number };
  "sweep-cancel": { tabId: number };
  pick: { tabId: number };
  /** `pattern` is that of sites.ts; the permission is asked for by the page, in its click. */
  "site-enabled": { pattern: string };
  "site-disabled": { pattern: string };
}
export interface OwnAnswers {
  sweep: Started;
  pick: Started;
}

/** From page.js, in whatever frame it runs. What is not in FrameAnswers is answered by null. */
export interface FrameMessages {
  "page-hello": Nothing;
  /** The same `checkId`, a UUID, is the same check: it is waited for, never made twice. */
  "check-image": { checkId: string; address: string; how: Check["how"] };
  /** What the screen shows at `rect`; `scale` is devicePixelRatio. Only of a tab's top frame. */
  "capture-image": { checkId: string; rect: Rect; scale: number };
  "sweep-progress": Omit<Sweep, "tabId" | "frameId" | "at">;
  /** Cancel in every frame of the tab. */
  "sweep-cancel": Nothing;
  /** Picking has ended in this frame: end it in the tab's others. */
  "pick-end": Nothing;
  /** Show the trusted copy of a check; `isReport`: with its form for a mistake open. */
  "open-panel": { checkId: string; isReport: boolean };
}
export interface FrameAnswers {
  /** null: nothing to do here; the first run is not finished, or the site no longer enabled. */
  "page-hello": PageSettings | null;
  /** null: the id is that of another frame's check. */
  "check-image": Told | null;
  "capture-image": Told | null;
}

/** From the worker to page.js. */
export interface PageMessages {
  /** A check that was begun elsewhere (the menu), for the chip over the image at `address`. */
  "show-check": { address: string; told: Told };
  "sweep-start": { sweepId: string };
  "sweep-cancel": Nothing;
  "pick-start": Nothing;
  "pick-end": Nothing;
  /** The picture of the screen is taken: what was hidden for it may show again. */
  captured: { checkId: string };
  "check-focused": Nothing;
  /** Check what was right-clicked last. */
  "check-context": Nothing;
  /** Say page-hello again; null there means: tear down. */
  "settings-changed": Nothing;
  "tear-down": Nothing;
}
export interface PageAnswers {
  /** True where the frame had such an image, and checks it. */
  "check-focused": boolean;
  "check-context": boolean;
}

type Sent<T> = { [K in keyof T]: { kind: K } & T[K] }[keyof T];
export type OwnMessage = Sent<OwnMessages>;
export type FrameMessage = Sent<FrameMessages>;
export type PageMessage = Sent<PageMessages>;

type Answered<K, A> = K extends keyof A ? A[K] : null;
export type OwnHandlers = {
  [K in keyof OwnMessages]: (
    content: OwnMessages[K],
  ) => Promise<K extends keyof OwnAnswers ? OwnAnswers[K] : unknown>;
};
export type FrameHandlers = {
  [K in keyof FrameMessages]: (
    content: FrameMessages[K],
    frame: Frame,
  ) => Promise<K extends keyof FrameAnswers ? FrameAnswers[K] : unknown>;
};

/** Who sent a message, as the browser says; nothing of it can be forged by the sender. */
export interface Sender {
  id?: string | undefined;
  url?: string | undefined;
  origin?: string | undefined;
  tab?: Tab | undefined;
  frameId?: number | undefined;
}
interface Tab {
  id?: number | undefined;
  windowId?: number | undefined;
  url?: string | undefined;
}

/** The frame of a page that a message came from. */
export interface Frame {
  tabId: number;
  frameId: number;
  windowId: number;
  /** The origin of what it shows, of the tab's page where it has none of its own; else null. */
  site: string | null;
}

/** True if a page of this extension sent it: not a content script, which has the site's address. */
export function isOwnPage(sender: Sender): boolean {
  return sender.id === browser.runtime.id && (sender.url ?? "").startsWith(ownAddress());
}

/** The frame that a message came from, if our page.js runs in it; null for any other sender. */
export function frameOf(sender: Sender): Frame | null {
  const { id, tab, frameId, url = "" } = sender;
  if (id !== browser.runtime.id || url.startsWith(ownAddress())) return null;
  if (tab?.id === undefined || tab.windowId === undefined || frameId === undefined) return null;
  return { tabId: tab.id, frameId, windowId: tab.windowId, site: siteOf(sender) };
}

/** Frames without an address of their own (about:blank, srcdoc, sandboxed) go by their tab's. */
function siteOf({ origin, url, tab }: Sender): string | null {
  const origins = [origin, url, tab?.url].map(originOf);
  return origins.find((one) => one !== null) ?? null;
}

function originOf(address: string | undefined): string | null {
  try {
    const { protocol, origin } = new URL(address ?? "");
    return /^https?:$/.test(protocol) ? origin : null;
  } catch {
    return null;
  }
}

function ownAddress(): string {
  return browser.runtime.getURL("/" as "/popup.html");
}

/* What a message must carry; everything else of it is left out */

type Reads<T> = { [K in keyof T]: (given: Record<string, unknown>) => T[K] | null };

/** A data: address holds its image; with all that base64 adds, one of 20 MiB is within this. */
const ADDRESS_LIMIT = 32 * 1024 * 1024;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const PATTERN = /^https?:\/\/[^/*]{1,255}\/\*$/;
const CODE = /^[a-z_]{1,40}$/;
const CODES_LIMIT = 40;

const isId = (given: unknown): given is string => typeof given === "string" && UUID.test(given);
const isCount = (given: unknown): given is number =>
  Number.isSafeInteger(given) && Number(given) >= 0;
const isLength = (given: unknown): given is number => Number.isFinite(given);

const nothing = () => ({});
const inTab = ({ tabId }: Record<string, unknown>) => (isCount(tabId) ? { tabId } : null);
const ofSite = ({ pattern }: Record<string, unknown>) =>
  typeof pattern === "string" && PATTERN.test(pattern) ? { pattern } : null;

const OWN_READS: Reads<OwnMessages> = {
  "check-again": ({ checkId, isAllowed, withCookies }) =>
    typeof checkId === "string" &&
    typeof isAllowed === "boolean" &&
    typeof withCookies === "boolean"
      ? { checkId, isAllowed, withCookies }
      : null,
  "take-up": nothing,
  sweep: inTab,
  "sweep-cancel": inTab,
  pick: inTab,
  "site-enabled": ofSite,
  "site-disabled": ofSite,
};

const FRAME_READS: Reads<FrameMessages> = {
  "page-hello": nothing,
  "check-image": ({ checkId, address, how }) => {
    const isWay = how === "hover" || how === "user" || how === "sweep";
    const isAddress = typeof address === "string" && address.length <= ADDRESS_LIMIT;
    return isId(checkId) && isAddress && isWay ? { checkId, address, how } : null;
  },
  "capture-image": ({ checkId, rect, scale }) => {
    const place = rectOf(rect);
    return isId(checkId) && place && isLength(scale) ? { checkId, rect: place, scale } : null;
  },
  "sweep-progress": progressOf,
  "sweep-cancel": nothing,
  "pick-end": nothing,
  "open-panel": ({ checkId, isReport }) =>
    isId(checkId) && typeof isReport === "boolean" ? { checkId, isReport } : null,
};

function rectOf(given: unknown): Rect | null {
  if (typeof given !== "object" || given === null) return null;
  const { x, y, width, height } = given as Record<string, unknown>;
  const isRect = isLength(x) && isLength(y) && isLength(width) && isLength(height);
  return isRect ? { x, y, width, height } : null;
}

function progressOf(given: Record<string, unknown>): FrameMessages["sweep-progress"] | null {
  const { sweepId, isEnded, reason, verdicts, errors } = given;
  const counts = countsOf(given, ["total", "done", "flagged", "failed", "left"]);
  const isReason = reason === null || (typeof reason === "string" && CODE.test(reason));
  if (!isId(sweepId) || !counts || typeof isEnded !== "boolean" || !isReason) return null;
  return { ...counts, sweepId, isEnded, reason, verdicts: tally(verdicts), errors: tally(errors) };
}

function countsOf<K extends string>(given: Record<string, unknown>, names: K[]) {
  if (!names.every((name) => isCount(given[name]))) return null;
  return Object.fromEntries(names.map((name) => [name, given[name]])) as Record<K, number>;
}

function tally(given: unknown): Record<string, number> {
  const rows = Object.entries(given ?? {}).filter(([code, n]) => CODE.test(code) && isCount(n));
  return Object.fromEntries(rows.slice(0, CODES_LIMIT));
}

const PAGE_KINDS: Record<keyof PageMessages, true> = {
  "show-check": true,
  "sweep-start": true,
  "sweep-cancel": true,
  "pick-start": true,
  "pick-end": true,
  captured: true,
  "check-focused": true,
  "check-context": true,
  "settings-changed": true,
  "tear-down": true,
};

function contentOf<T>(reads: Reads<T>, given: unknown): Sent<T> | null {
  if (typeof given !== "object" || given === null) return null;
  const { kind } = given as { kind?: unknown };
  if (typeof kind !== "string" || !Object.hasOwn(reads, kind)) return null;
  const content = reads[kind as keyof T](given as Record<string, unknown>);
  return content === null ? null : ({ kind, ...content } as Sent<T>);
}

/** The message that `given` is, if an own page sent it and may. */
export function receivedFromOwn(given: unknown, sender: Sender): OwnMessage | null {
  return isOwnPage(sender) ? contentOf(OWN_READS, given) : null;
}

/** The message that `given` is, if page.js sent it and may; the top frame alone may capture. */
export function receivedFromFrame(
  given: unknown,
  sender: Sender,
): { message: FrameMessage; frame: Frame } | null {
  const frame = frameOf(sender);
  const message = frame && contentOf(FRAME_READS, given);
  if (!frame || !message) return null;
  return message.kind === "capture-image" && frame.frameId !== 0 ? null : { message, frame };
}

/** For page.js: the message that `given` is, if the worker sent it: no tab's script did. */
export function receivedByPage(given: unknown, sender: Sender): PageMessage | null {
  if (sender.id !== browser.runtime.id || sender.tab !== undefined) return null;
  const { kind } = (given ?? {}) as { kind?: unknown };
  const isKnown = typeof kind === "string" && Object.hasOwn(PAGE_KINDS, kind);
  return isKnown ? (given as PageMessage) : null;
}

/** Hand every message to its handler. Call it as the worker starts, not later. */
export function listen(own: OwnHandlers, frames: FrameHandlers): void {
  browser.runtime.onMessage.addListener((given: unknown, sender: Sender, answer: Reply) => {
    const work = begun(given, sender, own, frames);
    if (work === null) return undefined;
    void work.then((what) => answer(what ?? null)).catch(() => answer(null));
    // The open channel keeps the worker alive until then; not every browser takes a promise here.
    return true;
  });
}

type Reply = (what: unknown) => void;
type Handler = (content: unknown, frame?: Frame) => Promise<unknown>;

/** Begun at once: what needs the sender's click would be refused after any wait. */
function begun(given: unknown, sender: Sender, own: OwnHandlers, frames: FrameHandlers) {
  const ours = receivedFromOwn(given, sender);
  if (ours) {
    const { kind, ...content } = ours;
    return (own[kind] as Handler)(content);
  }
  const theirs = receivedFromFrame(given, sender);
  if (!theirs) return null;
  const { kind, ...content } = theirs.message;
  return (frames[kind] as Handler)(content, theirs.frame);
}

/**
 * Send a message from a page of this extension to the worker, which is started if it is not there.
 *
 * A worker that is ended meanwhile is no error (null): what came of it is in the store, and what
 * did not is taken up again.
 */
export async function send<K extends keyof OwnMessages>(
  kind: K,
  content: OwnMessages[K],
): Promise<Answered<K, OwnAnswers> | null> {
  return browser.runtime.sendMessage({ kind, ...content }).catch(() => null);
}

/** Tell page.js in one frame, or in all frames of a tab; null where none is there to answer. */
export async function tell<K extends keyof PageMessages>(
  kind: K,
  content: PageMessages[K],
  to: { tabId: number; frameId?: number },
): Promise<Answered<K, PageAnswers> | null> {
  const where = to.frameId === undefined ? {} : { frameId: to.frameId };
  const said = browser.tabs.sendMessage(to.tabId, { kind, ...content }, where);
  return said.then((answer) => answer ?? null).catch(() => null);
}
