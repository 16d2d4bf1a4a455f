/**
 * The one table of messages between the parts of this extension, with the check of who sent them.
 *
 *     panel  --check-again {checkId, isAllowed}-->  worker   read the image of that check anew
 *     panel  --take-up-->                           worker   go on with what broke off
 *
 * All are from pages of this extension alone: a web page, a content script and another extension
 * are refused, whatever they say. Messages are JSON, and small: bytes are read where they are sent.
 */
import { browser } from "wxt/browser";

/** What each message carries. None is answered: what came of it is in the store. */
export interface Messages {
  "check-again": { checkId: string; isAllowed: boolean };
  "take-up": Record<string, never>;
}
export type MessageKind = keyof Messages;
export type Message = { [K in MessageKind]: { kind: K } & Messages[K] }[MessageKind];
export type Handlers = { [K in MessageKind]: (message: Messages[K]) => Promise<unknown> };

const READS: { [K in MessageKind]: (given: Record<string, unknown>) => Messages[K] | null } = {
  "check-again": ({ checkId, isAllowed }) =>
    typeof checkId === "string" && typeof isAllowed === "boolean" ? { checkId, isAllowed } : null,
  "take-up": () => ({}),
};

/** Who sent a message, as the browser says; nothing of it can be forged by the sender. */
export interface Sender {
  id?: string | undefined;
  url?: string | undefined;
  origin?: string | undefined;
}

/** True if a page of this extension sent it: not a content script, which has the site's address. */
export function isOwnPage(sender: Sender): boolean {
  const own = browser.runtime.getURL("/" as "/popup.html");
  return sender.id === browser.runtime.id && (sender.url ?? "").startsWith(own);
}

/** The message that `given` is, if it is one of the table and may come from this sender. */
export function received(given: unknown, sender: Sender): Message | null {
  if (!isOwnPage(sender) || typeof given !== "object" || given === null) return null;
  const { kind } = given as { kind?: unknown };
  if (typeof kind !== "string" || !Object.hasOwn(READS, kind)) return null;
  const content = READS[kind as MessageKind](given as Record<string, unknown>);
  return content === null ? null : ({ kind, ...content } as Message);
}

/** Hand every message of the table to its handler. Call it as the worker starts, not later. */
export function listen(handlers: Handlers): void {
  browser.runtime.onMessage.addListener((given: unknown, sender: Sender, answer: Answer) => {
    const message = received(given, sender);
    if (message === null) return undefined;
    const handler = handlers[message.kind] as (content: unknown) => Promise<unknown>;
    void handler(message).finally(() => answer(null));
    // The open channel keeps the worker alive until then; not every browser takes a promise here.
    return true;
  });
}

type Answer = (nothing: null) => void;

/**
 * Send a message to the worker, which is started if it is not there; returns once it is done.
 *
 * A worker that is ended meanwhile is no error: what came of it is in the store, and what did not
 * is taken up again.
 */
export async function send<K extends MessageKind>(kind: K, content: Messages[K]): Promise<void> {
  await browser.runtime.sendMessage({ kind, ...content }).catch(() => undefined);
}
