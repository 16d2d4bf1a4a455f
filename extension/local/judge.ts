/**
 * (outputs of the model, the picture's size) -> what is said of it, as worker/verdicts.py does. Pure.
 *
 *     slice with too few real images measured      inconclusive    + uncalibrated_slice
 *     short side under 224 pixels                  inconclusive    + small_image
 *     score >= threshold, and so scored again      likely_ai
 *     score >= threshold, but not so again         inconclusive    + verdict_unstable
 *     score <  clear_below                         no_sign_of_ai
 *     between them, or clear_below not measured    inconclusive
 *
 * Same rules and same numbers, held to that by tests/vectors/local.json. Declarations are not read
 * here: files that may have one are left to the server.
 */
import type { View } from "../lib/view";
import type { Verdict } from "../lib/wire";
import type { Model, Point } from "./model";

const CALIBRATED_N = 300;
const SMALL_PIXELS = 224;

/** What the model says of one picture. */
export interface Reading {
  score: number;
  probability: number | null;
  slice: string;
  points: Record<string, Point>;
}

export type Judged = Pick<View, "verdict" | "probability" | "falseAlarms" | "warnings">;

/** One row of the model's outputs in words; throws RangeError for what is not finite. */
export function readingOf(row: ArrayLike<number>, model: Model): Reading {
  const [logit = Number.NaN, ...slices] = Array.from(row);
  if (![logit, ...slices].every(Number.isFinite) || slices.length !== model.slices.length) {
    throw new RangeError("The model gave outputs that are no numbers.");
  }
  const [slice, { calibration, points }] = model.slices[
    slices.indexOf(Math.max(...slices))
  ] as Model["slices"][number];
  const probability = calibration && sigmoid(logit / calibration.temperature + calibration.bias);
  return { score: sigmoid(logit), probability, slice, points };
}

/** The threshold that a reading is measured by, where its error rate is known. */
type Measured = { threshold: number; clearBelow: number | null; rate: number; n: number } | null;

interface Size {
  width: number;
  height: number;
}

/** Whether the verdict hangs on the picture being scored once more, re-encoded. */
export function mustConfirm(reading: Reading, size: Size, point: string): boolean {
  return byScore(reading, measured(reading, point), size) === "likely_ai";
}

/** What is known of a picture; `again`: the reading of it re-encoded, where that was asked for. */
export function judge(reading: Reading, again: Reading | null, size: Size, point: string): Judged {
  const by = measured(reading, point);
  const found = byScore(reading, by, size);
  const holds = by !== null && again !== null && again.score >= by.threshold;
  const isUnstable = found === "likely_ai" && !holds;
  const clearBelow = by?.clearBelow ?? null;
  const warnings: [code: string, isSo: boolean][] = [
    ["small_image", isSmall(size)],
    ["screenshot_like", reading.slice === "screenshot"],
    ["illustration", reading.slice === "illustration"],
    ["verdict_unstable", isUnstable],
    ["uncalibrated_slice", clearBelow === null],
  ];
  return {
    verdict: isUnstable ? "inconclusive" : found,
    probability: clearBelow === null ? null : reading.probability,
    falseAlarms: by && { rate: by.rate, n: by.n, slice: reading.slice },
    warnings: warnings.filter(([, isSo]) => isSo).map(([code]) => code),
  };
}

function measured(reading: Reading, point: string): Measured {
  const facts = reading.points[point];
  if (!facts || facts.n < CALIBRATED_N || facts.threshold === null) return null;
  if (facts.false_alarm_rate === null || facts.ci95 === null) return null;
  // n images show no rate below 3 / n.
  const rate = Math.max(facts.false_alarm_rate, 3 / facts.n);
  return { threshold: facts.threshold, clearBelow: facts.clear_below, rate, n: facts.n };
}

function byScore({ score }: Reading, by: Measured, size: Size): Verdict {
  if (by === null || isSmall(size)) return "inconclusive";
  if (score >= by.threshold) return "likely_ai";
  return by.clearBelow !== null && score < by.clearBelow ? "no_sign_of_ai" : "inconclusive";
}

function isSmall({ width, height }: Size): boolean {
  return Math.min(width, height) < SMALL_PIXELS;
}

function sigmoid(logit: number): number {
  return 0.5 * (1 + Math.tanh(0.5 * logit));
}
