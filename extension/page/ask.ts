/**
 * Asking the worker from a page, and being told by it.
 *
 *     ask(kind, content) --> worker        ended in between? the same again, a few times
 *                            this script has no extension any more? Orphaned
 *     hear(handlers)     <-- worker        from no one else: not a page, not another tab's script
 *
 * A check has the id that it was first asked with, so asking again finds what has become of it
 * and never sends an image twice. Knows nothing of what is asked.
 */
import { browser } from "wxt/browser";
import {
  type FrameAnswers,
  type FrameMessages,
  type PageMessages,
  receivedByPage,
  type Sender,
  type Told,
} from "../lib/messages";

/** Waits before asking again, in milliseconds: a worker that was ended is back within these. */
export const WAITS_MS = [100, 500, 1500];

/** This script outlived its extension, which was updated, switched off or removed. */
export class Orphaned extends Error {}

/** What a message is answered by; null, where the worker refused it or could not be reached. */
type Answer<K> = K extends keyof FrameAnswers ? FrameAnswers[K] | null : null;

/** True if the extension that this script is part of is gone; nothing of `browser` works then. */
export function isOrphaned(): boolean {
  try {
    return !browser.runtime?.id;
  } catch {
    return true;
  }
}

/** The worker's answer. Throws Orphaned. */
export async function ask<K extends keyof FrameMessages>(
  kind: K,
  content: FrameMessages[K],
): Promise<Answer<K>> {
  for (const wait of [...WAITS_MS, null]) {
    if (isOrphaned()) throw new Orphaned();
    try {
      return ((await browser.runtime.sendMessage({ kind, ...content })) ?? null) as Answer<K>;
    } catch {
      // The channel broke: the worker was ended, or is not up yet. Else it would have answered.
      if (wait !== null) await new Promise((done) => setTimeout(done, wait));
    }
  }
  if (isOrphaned()) throw new Orphaned();
  return null as Answer<K>;
}

/** Ask for a check: one that could not be asked for is told as failed, never left open. */
export async function askCheck<K extends "check-image" | "capture-image">(
  kind: K,
  content: FrameMessages[K],
): Promise<Told> {
  const told = (await ask(kind, content)) as Told | null;
  return told ?? failed(content.checkId, "interrupted");
}

/** An id for a check, which no one guesses: a UUID. */
export function newId(): string {
  // Not crypto.randomUUID: pages that came by plain http have none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40; // version 4: random
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A check that failed in the page already. */
export function failed(id: string, code: string, detail: string = code): Told {
  const error = { code, detail, hint: "", origin: null };
  return { id, title: "", stage: "failed", view: null, error };
}

/** A check that has just begun. */
export function begun(id: string): Told {
  return { id, title: "", stage: "getting", view: null, error: null };
}

export type PageHandlers = { [K in keyof PageMessages]: (content: PageMessages[K]) => unknown };

/** Hand what the worker says to its handler, and answer with what that gives; returns the end. */
export function hear(handlers: PageHandlers): () => void {
  const listener = (given: unknown, sender: Sender, answer: (given: unknown) => void) => {
    const message = receivedByPage(given, sender);
    if (message === null) return undefined;
    const handler = handlers[message.kind] as (content: unknown) => unknown;
    void answered(handler, message).then(answer);
    return true; // the channel stays open until then
  };
  browser.runtime.onMessage.addListener(listener);
  return () => {
    // Of an extension that is gone there is nothing to take the listener from.
    if (!isOrphaned()) browser.runtime.onMessage.removeListener(listener);
  };
}

async function answered(handler: (content: unknown) => unknown, message: unknown) {
  try {
    return (await handler(message)) ?? null;
  } catch {
    return null;
  }
}
