/** How a sweep gets on, in words. Pure but for the language. */
import { errorWords, say } from "../lib/words";
import { type Progress, SWEEP_LIMIT } from "./sweep";

export function sweepWords(progress: Progress): string {
  const { isEnded, total, done } = progress;
  if (!isEnded) return say("page_sweep", done, total);
  if (total === 0) return say("page_sweep_none");
  return [...found(progress), ...why(progress)].join(" ");
}

function found({ done, flagged, failed }: Progress): string[] {
  const failures = failed > 0 ? [say("page_sweep_failed", failed)] : [];
  return [say("page_sweep_done", done, flagged), ...failures];
}

/** Why images are left, and what to do about them. */
function why({ reason, left }: Progress): string[] {
  const stopped = reason !== null && reason !== "canceled";
  const detail = stopped ? [errorWords({ code: reason, detail: reason, hint: "" })] : [];
  if (left === 0) return detail;
  if (reason !== null) return [...detail, say("page_sweep_left", left)];
  return [say("page_sweep_more", SWEEP_LIMIT, left)];
}
