/**
 * The words in which people read a verdict, in their language. No DOM; of the browser only i18n.
 *
 *     View -> verdictWords "Likely AI"   sentences ["About 3 in 100 real photos ...", ...]
 *     error code -> a sentence that says what happened and what to do
 *
 * The rules of the rate are those of the SDK (`rate_in_words`): whole images in a round number,
 * and never less than 3/n, which is where "none seen" begins to mean something.
 */
import { browser } from "wxt/browser";
import type { View } from "./view";
import type { Verdict } from "./wire";

export type MessageName = Exclude<Parameters<typeof browser.i18n.getMessage>[0], `@@${string}`>;

/** A text of _locales in the user's language. */
export function say(name: MessageName, ...values: (string | number)[]): string {
  return browser.i18n.getMessage(name as "extension_name", values.map(String));
}

const VERDICT_NAMES: Record<Verdict, MessageName> = {
  likely_ai: "verdict_likely_ai",
  declared_ai: "verdict_declared_ai",
  inconclusive: "verdict_inconclusive",
  no_sign_of_ai: "verdict_no_sign_of_ai",
};

/** A shape for each verdict, so that colour is never the only sign. */
export const SHAPES: Record<Verdict, string> = {
  likely_ai: "▲",
  declared_ai: "◆",
  inconclusive: "?",
  no_sign_of_ai: "○",
};

export function verdictWords(verdict: Verdict): string {
  return say(VERDICT_NAMES[verdict]);
}

export interface Rate {
  isMeasured: boolean;
  images: number;
  of: number;
}

/** A rate as people count: images of 100, 1000, ... Not measured below 3/n: "at most". Pure. */
export function rateInImages(rate: number, n: number): Rate {
  const floor = 3 / n;
  const shown = Math.max(rate, floor);
  const of = [100, 1000, 10_000].find((size) => shown * size >= 1) ?? 100_000;
  return { isMeasured: rate >= floor, images: roundHalfEven(shown * of), of };
}

/** Round as Python formats, so that both say the same of the same rate. */
function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/** "About 3 in 100 real photos like this get this label." */
export function falseAlarmSentence(alarms: NonNullable<View["falseAlarms"]>): string {
  const { isMeasured, images, of } = rateInImages(alarms.rate, alarms.n);
  return say(isMeasured ? "rate_about" : "rate_at_most", images, of, people(alarms.slice));
}

const SLICES: Record<string, MessageName> = {
  photo: "slice_photo",
  illustration: "slice_illustration",
  cgi: "slice_cgi",
  screenshot: "slice_screenshot",
};

function people(slice: string): string {
  return say(SLICES[slice] ?? "slice_any");
}

/** What a reader of the verdict should know first: its error rate, or what it does not show. */
export function mainSentence(view: View): string {
  switch (view.verdict) {
    case "likely_ai":
      return view.falseAlarms ? falseAlarmSentence(view.falseAlarms) : say("can_be_wrong");
    case "declared_ai":
      return view.declaration
        ? say("declared_by", view.declaration.kind, trustWords(view.declaration.trust))
        : say("declared");
    case "no_sign_of_ai":
      return say("no_proof");
    case "inconclusive":
      return say("cannot_tell");
  }
}

const TRUSTS: Record<string, MessageName> = {
  trusted: "trust_trusted",
  untrusted: "trust_untrusted",
  invalid: "trust_invalid",
};

function trustWords(trust: string): string {
  return say(TRUSTS[trust] ?? "trust_unsigned");
}

const WARNINGS: Record<string, MessageName> = {
  small_image: "warning_small_image",
  heavy_recompression: "warning_heavy_recompression",
  screenshot_like: "warning_screenshot_like",
  illustration: "warning_illustration",
  verdict_unstable: "warning_verdict_unstable",
  uncalibrated_slice: "warning_uncalibrated_slice",
  declaration_unsigned: "warning_declaration_unsigned",
  animation_sampled: "warning_animation_sampled",
  client_supplied_bytes: "warning_client_supplied_bytes",
  rendered_capture: "warning_rendered_capture",
};

/** A warning in words; one of a newer server by its own name. */
export function warningWords(code: string): string {
  const name = WARNINGS[code];
  return name ? say(name) : code.replaceAll("_", " ");
}

const ERRORS: Record<string, MessageName> = {
  address_unsupported: "error_address_unsupported",
  private_address: "error_private_address",
  host_not_granted: "error_host_not_granted",
  fetch_forbidden: "error_fetch_forbidden",
  fetch_not_found: "error_fetch_not_found",
  fetch_http_error: "error_fetch_http_error",
  fetch_failed: "error_fetch_http_error",
  fetch_too_large: "error_fetch_too_large",
  body_too_large: "error_fetch_too_large",
  image_empty: "error_not_an_image",
  not_an_image: "error_not_an_image",
  format_unsupported: "error_format_unsupported",
  decode_failed: "error_decode_failed",
  image_too_small: "error_image_too_small",
  image_too_large: "error_image_too_large",
  blob_gone: "error_blob_gone",
  only_pixels: "error_only_pixels",
  pixels_in_frame: "error_pixels_in_frame",
  capture_not_allowed: "error_capture_not_allowed",
  capture_failed: "error_capture_failed",
  page_unreachable: "error_page_unreachable",
  no_focus: "error_no_focus",
  not_known: "error_not_known",
  not_set_up: "error_not_set_up",
  interrupted: "error_interrupted",
  connection_failed: "error_connection_failed",
  request_timeout: "error_request_timeout",
  scan_timeout: "error_request_timeout",
  response_invalid: "error_response_invalid",
  auth_missing: "error_auth",
  auth_invalid: "error_auth",
  key_revoked: "error_auth",
  scope_missing: "error_auth",
  origin_not_allowed: "error_origin_not_allowed",
  rate_limited: "error_rate_limited",
  abnormal_usage: "error_rate_limited",
  state_conflict: "error_state_conflict",
  appeal_exists: "error_appeal_exists",
  expired: "error_expired",
  queue_full: "error_busy",
  model_unavailable: "error_busy",
  store_unavailable: "error_busy",
  shutting_down: "error_busy",
};

/** What happened and what to do; for a code that is not known, what the server said. */
export function errorWords(error: { code: string; detail: string; hint: string }): string {
  const name = ERRORS[error.code];
  if (name) return say(name);
  return say("error_other", [error.detail, error.hint].filter(Boolean).join(" ") || error.code);
}
