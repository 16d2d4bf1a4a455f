/**
 * What came of checking a whole page, summed over its frames. No browser, no store.
 *
 *     rows of the frames -> Sum -> "12 of 50 images checked", then how many got which verdict,
 *                                  how many could not be checked and why, how many were left
 */
import type { Sweep } from "../lib/store";
import type { Verdict } from "../lib/wire";
import { errorWords, say, verdictWords } from "../lib/words";
import { el } from "./dom";

export type Sum = Pick<
  Sweep,
  "total" | "done" | "flagged" | "failed" | "left" | "isEnded" | "verdicts" | "errors" | "reason"
>;

/** The rows of one sweep as one; null where there are none. Pure. */
export function sumOf(rows: Sweep[]): Sum | null {
  if (rows.length === 0) return null;
  const all = (name: "total" | "done" | "flagged" | "failed" | "left") =>
    rows.reduce((sum, row) => sum + row[name], 0);
  return {
    total: all("total"),
    done: all("done"),
    flagged: all("flagged"),
    failed: all("failed"),
    left: all("left"),
    isEnded: rows.every((row) => row.isEnded),
    verdicts: added(rows.map((row) => row.verdicts)),
    errors: added(rows.map((row) => row.errors)),
    reason: rows.find((row) => row.reason !== null)?.reason ?? null,
  };
}

function added(counts: Partial<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const [name, count = 0] of counts.flatMap((one) => Object.entries(one))) {
    sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}

/** One sentence: how far it is, or what came of it. It is what a screen reader hears at the end. */
export function sumWords(sum: Sum): string {
  if (!sum.isEnded) return say("tab_progress_words", sum.done, sum.total);
  if (sum.total === 0) return say("tab_sweep_none");
  return say("tab_sweep_ended", sum.done, sum.total, sum.flagged);
}

/** Gravest first, as in the words of the verdicts. */
const ORDER: Verdict[] = ["likely_ai", "declared_ai", "inconclusive", "no_sign_of_ai"];

/** What came of a sweep that has ended, a line each: verdicts, failures by reason, what is left. */
export function sumLines(sum: Sum): string[] {
  const verdicts = ORDER.filter((verdict) => sum.verdicts[verdict]).map((verdict) =>
    say("tab_count", verdictWords(verdict), sum.verdicts[verdict] ?? 0),
  );
  const failures = Object.entries(sum.errors).map(([code, count]) =>
    say("tab_count", count, errorWords({ code, detail: "", hint: "" })),
  );
  return [
    ...verdicts,
    ...(sum.failed > 0 ? [say("tab_failed", sum.failed)] : []),
    ...failures,
    ...(sum.left > 0 ? [say("tab_sweep_left", sum.left)] : []),
    ...stopWords(sum),
  ];
}

/** Why it ended before the last image; that a person cancelled it is known to who did. */
function stopWords({ reason, errors }: Sum): string[] {
  if (reason === null || reason === "canceled" || errors[reason]) return [];
  return [errorWords({ code: reason, detail: "", hint: "" })];
}

/** The sum as it is shown: a bar while it is under way, then the lines. */
export function sumShown(sum: Sum): HTMLElement[] {
  const words = el("p", { class: "sum" }, sumWords(sum));
  if (!sum.isEnded) {
    // A bar without a value says that it is not known yet how many there are.
    const value = sum.total > 0 ? { max: String(sum.total), value: String(sum.done) } : {};
    return [el("progress", { "aria-label": say("tab_progress"), ...value }), words];
  }
  const lines = sumLines(sum).map((line) => el("li", {}, line));
  return lines.length > 0 ? [words, el("ul", { class: "sum-lines" }, ...lines)] : [words];
}
