/**
 * What the extension's worker and the page that runs the model say to each other.
 *
 *     worker --Question, with the image's bytes--> offscreen page --Answer--> worker
 *
 * A channel of the extension alone: no page and no content script can join it, and unlike messages
 * it carries bytes as they are. Whoever asks holds the lock `IN_USE`, so that the page does not end
 * itself in between.
 */
import type { Bytes } from "../lib/images";
import type { Judged } from "./judge";

export const CHANNEL = "local-tier";
export const IN_USE = "local-tier";

export interface Question {
  id: string;
  bytes: Bytes;
  point: string;
}

/** What was judged; `judged` null where this browser leaves the image to the server. */
export interface Answer {
  id: string;
  judged: Local | null;
}

export interface Local extends Judged {
  size: { width: number; height: number };
  modelId: string;
}
