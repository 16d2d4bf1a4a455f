/**
 * Judging in this browser, as a check asks for it: bytes -> View, or null for the server's turn.
 *
 *     may declare AI?  -> null: the server reads declarations
 *     no model here?   -> null
 *     offscreen page   -> Local -> View
 *
 * Chromium only: Firefox has no offscreen pages. Never throws: whatever goes wrong here, the check
 * goes on as if this tier were off.
 */
import { browser } from "wxt/browser";
import type { Bytes } from "../lib/images";
import type { Settings } from "../lib/store";
import type { View } from "../lib/view";
import { type Answer, CHANNEL, IN_USE, type Local, type Question } from "./channel";
import { mayDeclare } from "./declares";
import { keptModel } from "./shelf";

/** Opening the model takes seconds, and images wait for each other. */
const TIMEOUT_MS = 120_000;
const PAGE = "/offscreen.html";

export async function localView(
  bytes: Bytes,
  name: { sha256: string; point: Settings["point"] },
): Promise<View | null> {
  if (import.meta.env.FIREFOX || mayDeclare(bytes)) return null;
  try {
    if ((await keptModel()) === null) return null;
    const found = await navigator.locks.request(IN_USE, { mode: "shared" }, async () => {
      await havePage();
      return asked({ id: crypto.randomUUID(), bytes, point: name.point });
    });
    return found && viewOf(found, bytes.length, name.sha256);
  } catch {
    return null;
  }
}

let making: Promise<void> | null = null;

/** There is one page for all; two at once are refused by the browser. */
async function havePage(): Promise<void> {
  if (await browser.offscreen.hasDocument()) return;
  making ??= browser.offscreen
    .createDocument({
      url: PAGE,
      reasons: ["WORKERS"],
      justification: "Runs the detector in a thread of its own.",
    })
    .finally(() => {
      making = null;
    });
  await making;
}

function asked(question: Question): Promise<Local | null> {
  const channel = new BroadcastChannel(CHANNEL);
  const answered = new Promise<Local | null>((done) => {
    channel.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      if (data.id === question.id) done(data.judged);
    });
    setTimeout(done, TIMEOUT_MS, null);
  });
  channel.postMessage(question);
  return answered.finally(() => channel.close());
}

function viewOf({ size, modelId, ...judged }: Local, bytes: number, sha256: string): View {
  return {
    ...judged,
    reasons: [],
    declaration: null,
    from: "here",
    sha256,
    size,
    bytes,
    modelId,
    judgedAt: new Date().toISOString(),
    scanId: null,
  };
}
