/**
 * Every error that asking the server can give, by the names and codes of the Python SDK.
 *
 *     PinclipError                     code, message, hint
 *       + InputError                   what was given cannot be sent; nothing was sent
 *       + APIError
 *         + APIConnectionError         no answer came
 *           * APITimeoutError          ... in time
 *         * APIResponseValidationError an answer came that is not pinclip's
 *         + APIStatusError             status, problem, requestId, retryAfter
 *           * BadRequestError 400  AuthenticationError 401  PermissionDeniedError 403
 *             NotFoundError 404  ConflictError 409  UnprocessableEntityError 422
 *             RateLimitError 429  InternalServerError 500 and above
 *       * ScanFailed                   the scan is final and has no verdict
 *       * ScanTimeout                  the scan is not final yet
 *       * ImageError                   the bytes of the image could not be had (only here)
 *
 * `code` is stable and is what to test for. None of them stands for a verdict. The browser does
 * not tell why a connection failed, so there is no APITLSError here: see connection.ts.
 */
import type { Problem, ProblemCode, Scan, ScanErrorCode } from "./wire";

/** Why the bytes of an image could not be had, before anything was sent. */
export type ImageErrorCode =
  | "address_unsupported"
  | "private_address"
  | "host_not_granted"
  | "fetch_forbidden"
  | "fetch_not_found"
  | "fetch_http_error"
  | "fetch_failed"
  | "fetch_too_large"
  | "image_empty"
  | "not_an_image"
  | "blob_gone"
  | "no_focus"
  | "page_unreachable"
  | "capture_not_allowed"
  | "capture_failed";

export type ErrorCode =
  | ProblemCode
  | ScanErrorCode
  | ImageErrorCode
  | "input_invalid"
  | "connection_failed"
  | "request_timeout"
  | "response_invalid"
  | "scan_timeout"
  | "not_known"
  | "not_set_up"
  | "interrupted"
  /** The page shows pixels that have no address; nobody has asked for a picture of them yet. */
  | "only_pixels"
  /** The same in a frame: the browser takes pictures of a whole tab, not of a frame. */
  | "pixels_in_frame";

export class PinclipError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly hint = "",
  ) {
    super(message);
    this.name = new.target.name;
  }
}

export class InputError extends PinclipError {}
export class ImageError extends PinclipError {
  declare readonly code: ImageErrorCode;
}
export class APIError extends PinclipError {}
export class APIConnectionError extends APIError {}
export class APITimeoutError extends APIConnectionError {}
export class APIResponseValidationError extends APIError {}

export class APIStatusError extends APIError {
  constructor(
    readonly status: number,
    readonly problem: Problem | null,
    message: string,
    readonly requestId: string | null,
    /** Seconds that the server asks to wait. */
    readonly retryAfter: number | null,
  ) {
    super(problem?.code ?? "unknown", message, problem?.hint ?? "");
  }
}

export class BadRequestError extends APIStatusError {}
export class AuthenticationError extends APIStatusError {}
export class PermissionDeniedError extends APIStatusError {}
export class NotFoundError extends APIStatusError {}
export class ConflictError extends APIStatusError {}
export class UnprocessableEntityError extends APIStatusError {}
export class RateLimitError extends APIStatusError {}
export class InternalServerError extends APIStatusError {}

export class ScanFailed extends PinclipError {
  constructor(readonly scan: Scan) {
    const otherwise = scan.status === "canceled" ? "canceled" : "unknown";
    super(
      scan.error?.code ?? otherwise,
      scan.error?.detail ?? `Scan ${scan.id} was ${scan.status} without a verdict.`,
      scan.error?.hint ?? "",
    );
  }
}

export class ScanTimeout extends PinclipError {
  constructor(readonly scan: Scan) {
    super("scan_timeout", `Scan ${scan.id} is still ${scan.status}.`);
  }
}

const BY_STATUS: Record<number, typeof APIStatusError> = {
  400: BadRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  422: UnprocessableEntityError,
  429: RateLimitError,
};

/** The class for an HTTP status that is not a success. */
export function ofStatus(status: number): typeof APIStatusError {
  return status >= 500 ? InternalServerError : (BY_STATUS[status] ?? APIStatusError);
}
