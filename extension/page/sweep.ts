/**
 * "Check this page": every image of a frame once, a few at a time, until done, cancelled or in vain.
 *
 *     images of the page --one for each address--> the first 500, those not tried yet first
 *                     --4 at a time--> check --> progress, at most 4 times a second
 *       an error that holds for all: stop, say why, and what was not tried
 *
 * Images that come later, or change, are not swept: the next sweep takes them. Knows nothing of
 * chips and messages.
 */
import type { FrameMessages, Told } from "../lib/messages";
import type { Painted } from "./painted";

export const SWEEP_LIMIT = 500;
const AT_ONCE = 4;
const REPORT_EVERY_MS = 250;

export type Progress = FrameMessages["sweep-progress"];

export interface SweepActs {
  paintedOnPage(): Iterable<Painted>;
  /** Check one image, which the page shows in all these places. Throws if nothing can be asked. */
  check(places: Painted[]): Promise<Told>;
  report(progress: Progress): void;
}

/** Errors that would meet every other image too. */
const FOR_ALL = new Set([
  "auth_missing",
  "auth_invalid",
  "key_revoked",
  "scope_missing",
  "origin_not_allowed",
  "not_set_up",
  "connection_failed",
  "rate_limited",
  "abnormal_usage",
  "queue_full",
  "model_unavailable",
  "store_unavailable",
]);

export class Sweeper {
  readonly #acts: SweepActs;
  /** Addresses that a sweep has tried, and whether they were judged: the next one goes on. */
  #tried = new Map<string, boolean>();
  #run: Run | null = null;

  constructor(acts: SweepActs) {
    this.#acts = acts;
  }

  /** Sweep the page; returns once it has ended. One that is under way is cancelled. */
  async start(sweepId: string): Promise<void> {
    this.cancel();
    this.#run = new Run(this.#inOrder(), sweepId, this.#acts, this.#tried);
    await this.#run.whole();
  }

  /** First what was not tried, then what failed; all over again where everything was judged. */
  #inOrder(): Image[] {
    const images = [...byAddress(this.#acts.paintedOnPage())];
    const fresh = images.filter(([address]) => !this.#tried.has(address));
    const failed = images.filter(([address]) => this.#tried.get(address) === false);
    const open = [...fresh, ...failed];
    return open.length > 0 ? open : images;
  }

  cancel(): void {
    this.#run?.stop("canceled");
    this.#run = null;
  }
}

type Image = [address: string, places: Painted[]];

/** Each address with all its places; what has none is only pixels, which no sweep reads. */
function byAddress(painted: Iterable<Painted>): Map<string, Painted[]> {
  const images = new Map<string, Painted[]>();
  for (const one of painted) {
    if (one.address === null) continue;
    const places = images.get(one.address);
    if (places) places.push(one);
    else images.set(one.address, [one]);
  }
  return images;
}

/** One sweep. */
class Run {
  readonly #queue: Image[];
  readonly #acts: SweepActs;
  readonly #tried: Map<string, boolean>;
  readonly #progress: Progress;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStale = false;

  constructor(images: Image[], sweepId: string, acts: SweepActs, tried: Map<string, boolean>) {
    this.#queue = images.slice(0, SWEEP_LIMIT);
    this.#acts = acts;
    this.#tried = tried;
    this.#progress = {
      sweepId,
      total: this.#queue.length,
      done: 0,
      flagged: 0,
      failed: 0,
      verdicts: {},
      errors: {},
      isEnded: false,
      left: images.length,
      reason: null,
    };
  }

  async whole(): Promise<void> {
    this.#changed();
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, () => this.#lane()));
    } finally {
      this.stop(null);
    }
  }

  /** Take no more images, and report the end; what is being asked ends by itself. */
  stop(reason: string | null): void {
    if (this.#progress.isEnded) return;
    this.#queue.length = 0;
    this.#progress.isEnded = true;
    this.#progress.reason = reason;
    clearTimeout(this.#timer);
    this.#report();
  }

  async #lane(): Promise<void> {
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      const [address, places] = next;
      const told = await this.#acts.check(places);
      this.#tried.set(address, told.error === null);
      if (this.#progress.isEnded) return;
      this.#count(told);
      if (told.error && FOR_ALL.has(told.error.code)) return this.stop(told.error.code);
      this.#changed();
    }
  }

  #count({ view, error }: Told): void {
    const progress = this.#progress;
    progress.done += 1;
    progress.left -= 1;
    if (view) {
      progress.verdicts[view.verdict] = (progress.verdicts[view.verdict] ?? 0) + 1;
      if (isFlagged(view.verdict)) progress.flagged += 1;
    }
    if (error) {
      progress.failed += 1;
      progress.errors[error.code] = (progress.errors[error.code] ?? 0) + 1;
    }
  }

  /** Report now, or as soon as it is time again. */
  #changed(): void {
    this.#isStale = true;
    if (this.#timer !== undefined) return;
    this.#report();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#isStale) this.#changed();
    }, REPORT_EVERY_MS);
  }

  #report(): void {
    this.#isStale = false;
    this.#acts.report(structuredClone(this.#progress));
  }
}

function isFlagged(verdict: string): boolean {
  return verdict === "likely_ai" || verdict === "declared_ai";
}
