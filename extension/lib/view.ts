/**
 * What people are shown of a verdict, whether it comes from a scan or from a look-up. Pure.
 *
 *     Scan | Lookup -> View (plain data: it is stored and passed between contexts)
 *
 * Without a verdict there is no View: no state and no error ever reads as one.
 */
import type { Lookup, OperatingPoint, Scan, Verdict } from "./wire";

/** How the bytes that were judged came to the server; `here`: they went nowhere. */
export type BytesFrom = "browser" | "server" | "lookup" | "capture" | "here";

export interface View {
  verdict: Verdict;
  probability: number | null;
  /** How often images made by people get `likely_ai`, and on how many that was measured. */
  falseAlarms: { rate: number; n: number; slice: string } | null;
  reasons: { code: string; text: string }[];
  warnings: string[];
  declaration: { kind: string; trust: string } | null;
  from: BytesFrom;
  sha256: string | null;
  size: { width: number; height: number } | null;
  bytes: number | null;
  modelId: string | null;
  /** RFC 3339. */
  judgedAt: string | null;
  scanId: string | null;
}

/** The view of a completed scan; null for one without a verdict. */
export function viewOfScan(scan: Scan): View | null {
  if (scan.status !== "completed" || scan.verdict === null) return null;
  const { width, height, bytes, sha256, fetched_by } = scan.input;
  return {
    verdict: scan.verdict,
    probability: scan.probability,
    falseAlarms: falseAlarms(scan.operating_point),
    reasons: scan.reasons,
    warnings: scan.warnings,
    declaration: scan.declaration,
    from: fetched_by === "server" ? "server" : "browser",
    sha256,
    size: width !== null && height !== null ? { width, height } : null,
    bytes,
    modelId: scan.model?.id ?? null,
    judgedAt: scan.completed_at,
    scanId: scan.id,
  };
}

/** The view of what was known of bytes; null where nothing was. */
export function viewOfLookup(lookup: Lookup, bytes: number): View | null {
  if (lookup.verdict === null) return null;
  return {
    verdict: lookup.verdict,
    probability: lookup.probability,
    falseAlarms: falseAlarms(lookup.operating_point),
    reasons: [],
    warnings: [],
    declaration: null,
    from: "lookup",
    sha256: lookup.sha256,
    size: null,
    bytes,
    modelId: lookup.model?.id ?? null,
    judgedAt: lookup.judged_at,
    scanId: null,
  };
}

/**
 * The view of a picture of the screen: never more than inconclusive. Pure.
 *
 * What the screen shows was scaled, and mixed with what lies over it: no rate of any error was
 * measured on such pixels.
 */
export function asCapture(view: View): View {
  const warnings = [...new Set([...view.warnings, "rendered_capture"])];
  const unknown = { probability: null, falseAlarms: null, reasons: [], declaration: null };
  return { ...view, ...unknown, verdict: "inconclusive", warnings, from: "capture" };
}

function falseAlarms(point: OperatingPoint | null): View["falseAlarms"] {
  const rate = point?.expected_false_alarm_rate;
  if (!point || rate === null || rate === undefined || point.n < 1) return null;
  return { rate, n: point.n, slice: point.slice };
}
