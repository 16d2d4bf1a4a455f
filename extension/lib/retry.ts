/**
 * Whether a request is worth another try, and after how long. Pure: as sdk/_retry.py.
 *
 *     no answer, 408, 429, 500 and above -> again          Retry-After up to 120 s -> never sooner
 *     409, the same request is under way -> again          Retry-After above 120 s -> not again
 *                                                          otherwise -> 0.5 to 1 s, 1 to 2 s, ...
 */
import type { ProblemCode } from "./wire";

const FIRST_BACKOFF_SECONDS = 0.5;
/** Lower end of the longest back-off; jitter adds up to as much again. */
const LAST_BACKOFF_SECONDS = 4;
const RETRY_AFTER_LIMIT_SECONDS = 120;
/** Longest Retry-After that is read as a number; longer ones are centuries. */
const DIGITS_LIMIT = 9;

/** Tell if the same request may do better later; null stands for no answer at all. */
export function mayRetry(status: number | null, code: ProblemCode | null = null): boolean {
  if (code === "idempotency_in_flight") return true;
  return status === null || status === 408 || status === 429 || status >= 500;
}

/** Seconds before the next try, or null to give up; `draw` is random in [0, 1). */
export function delay(attempt: number, retryAfter: number | null, draw: number): number | null {
  if (retryAfter !== null && retryAfter > RETRY_AFTER_LIMIT_SECONDS) return null;
  const shortest = Math.min(FIRST_BACKOFF_SECONDS * 2 ** attempt, LAST_BACKOFF_SECONDS);
  return Math.max(shortest * (1 + draw), retryAfter ?? 0);
}

/**
 * Seconds a Retry-After header asks for; null where it cannot be read.
 *
 * A date there is measured from `date`, the same answer's Date header, so that neither side's
 * clock need be right. Only what RFC 9110 lets a server write is read.
 */
export function readRetryAfter(text: string | null, date: string | null): number | null {
  const asked = (text ?? "").trim();
  if (/^[0-9]+$/.test(asked)) {
    return asked.length <= DIGITS_LIMIT ? Number(asked) : Number.POSITIVE_INFINITY;
  }
  const until = readDate(asked);
  const since = readDate((date ?? "").trim());
  return until === null || since === null ? null : Math.max((until - since) / 1000, 0);
}

/** Milliseconds since 1970, if the text is spelt as HTTP spells dates. */
function readDate(text: string): number | null {
  if (text.length !== "Sun, 06 Nov 1994 08:49:37 GMT".length) return null;
  const when = new Date(text);
  return Number.isNaN(when.valueOf()) || when.toUTCString() !== text ? null : when.valueOf();
}
