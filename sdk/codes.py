"""Every error code of the product, once: its HTTP status, whether a retry helps, what to do next.

    ProblemCode    a request was refused (RFC 9457 problem)
    ScanErrorCode  a scan was accepted and then failed (`scan.error`)

docs/errors.md is generated from here; the hints are what people read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ProblemCode(StrEnum):
    """Why a request was refused."""

    MALFORMED_JSON = "malformed_json"
    INVALID_PARAMETER = "invalid_parameter"
    UNKNOWN_FIELD = "unknown_field"
    URL_INVALID = "url_invalid"
    URL_SCHEME_NOT_ALLOWED = "url_scheme_not_allowed"
    CURSOR_INVALID = "cursor_invalid"
    UPLOAD_EMPTY = "upload_empty"
    AUTH_MISSING = "auth_missing"
    AUTH_INVALID = "auth_invalid"
    KEY_REVOKED = "key_revoked"
    SCOPE_MISSING = "scope_missing"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight"
    STATE_CONFLICT = "state_conflict"
    APPEAL_EXISTS = "appeal_exists"
    EXPIRED = "expired"
    BATCH_TOO_LARGE = "batch_too_large"
    BODY_TOO_LARGE = "body_too_large"
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported"
    ADDRESS_BLOCKED = "address_blocked"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    WEBHOOK_URL_REJECTED = "webhook_url_rejected"
    OPERATING_POINT_UNKNOWN = "operating_point_unknown"
    MODEL_UNKNOWN = "model_unknown"
    RATE_LIMITED = "rate_limited"
    ABNORMAL_USAGE = "abnormal_usage"
    INTERNAL = "internal"
    QUEUE_FULL = "queue_full"
    MODEL_UNAVAILABLE = "model_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    SHUTTING_DOWN = "shutting_down"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, _value: object) -> ProblemCode:
        """Read a code of a newer server as `unknown`; its status and text still say enough."""
        return cls.UNKNOWN


class ScanErrorCode(StrEnum):
    """Why a scan that was accepted has no verdict."""

    FETCH_DNS = "fetch_dns"
    FETCH_CONNECT = "fetch_connect"
    FETCH_TLS = "fetch_tls"
    FETCH_TIMEOUT = "fetch_timeout"
    FETCH_FORBIDDEN = "fetch_forbidden"
    FETCH_NOT_FOUND = "fetch_not_found"
    FETCH_HTTP_ERROR = "fetch_http_error"
    FETCH_REDIRECTS = "fetch_redirects"
    FETCH_ADDRESS_BLOCKED = "fetch_address_blocked"
    FETCH_TOO_LARGE = "fetch_too_large"
    NOT_AN_IMAGE = "not_an_image"
    FORMAT_UNSUPPORTED = "format_unsupported"
    DECODE_FAILED = "decode_failed"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_TOO_LARGE = "image_too_large"
    SCORING_FAILED = "scoring_failed"
    WORKER_LOST = "worker_lost"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELED = "canceled"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, _value: object) -> ScanErrorCode:
        """Read a code of a newer server as `unknown`."""
        return cls.UNKNOWN


class ProblemFacts(NamedTuple):
    """What is always true of a problem code."""

    status: int
    title: str
    retryable: bool
    hint: str


class ScanErrorFacts(NamedTuple):
    """What is always true of a scan error code."""

    title: str
    retryable: bool
    hint: str


PROBLEMS: dict[ProblemCode, ProblemFacts] = {
    ProblemCode.MALFORMED_JSON: ProblemFacts(
        400, "The body is not JSON", False, 'Send a JSON object such as {"url": "https://..."}.'
    ),
    ProblemCode.INVALID_PARAMETER: ProblemFacts(
        400, "A value is not what it should be", False, "Correct the fields named in `errors`."
    ),
    ProblemCode.UNKNOWN_FIELD: ProblemFacts(
        400,
        "The body has a field that does not exist",
        False,
        "Remove or correct the field named in `errors`; /schema lists those that exist.",
    ),
    ProblemCode.URL_INVALID: ProblemFacts(
        400,
        "The URL cannot be fetched as written",
        False,
        "Send an absolute http or https URL of a public host, without user name or spaces.",
    ),
    ProblemCode.URL_SCHEME_NOT_ALLOWED: ProblemFacts(
        400,
        "Only http and https are fetched",
        False,
        "Send an http or https URL, or upload the bytes to /v1/uploads.",
    ),
    ProblemCode.CURSOR_INVALID: ProblemFacts(
        400,
        "The cursor is not one of ours",
        False,
        "Pass next_cursor of the page before as it is, with the same filters; or begin without.",
    ),
    ProblemCode.UPLOAD_EMPTY: ProblemFacts(
        400, "The upload has no bytes", False, "Send the image's bytes as the body."
    ),
    ProblemCode.AUTH_MISSING: ProblemFacts(
        401,
        "A key is needed",
        False,
        "Send Authorization: Bearer sk_...; `pinclip keys create` on the server makes one.",
    ),
    ProblemCode.AUTH_INVALID: ProblemFacts(
        401, "The key is not known here", False, "Check the key and that it is for this server."
    ),
    ProblemCode.KEY_REVOKED: ProblemFacts(
        401,
        "The key is revoked or past its date",
        False,
        "Use the key that replaced it, or make one with `pinclip keys create`.",
    ),
    ProblemCode.SCOPE_MISSING: ProblemFacts(
        403,
        "The key may not do this",
        False,
        "Use a key with the scope that `detail` names; `pinclip keys list` shows each key's.",
    ),
    ProblemCode.ORIGIN_NOT_ALLOWED: ProblemFacts(
        403,
        "The request comes from a place that may not ask",
        False,
        "Call the server by its own name or address, and not from another site's page.",
    ),
    ProblemCode.NOT_FOUND: ProblemFacts(
        404, "There is nothing at this address", False, "Check the id; ids are case-sensitive."
    ),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemFacts(
        405, "This address does not take this method", False, "See /schema for the methods."
    ),
    ProblemCode.NOT_ACCEPTABLE: ProblemFacts(
        406, "Only JSON is spoken here", False, "Accept application/json."
    ),
    ProblemCode.IDEMPOTENCY_IN_FLIGHT: ProblemFacts(
        409,
        "The first request with this Idempotency-Key is not answered yet",
        True,
        "Wait a second and send the same request again.",
    ),
    ProblemCode.STATE_CONFLICT: ProblemFacts(
        409,
        "It is not in a state that allows this",
        False,
        "Read it again; `detail` says which state it is in and which would do.",
    ),
    ProblemCode.APPEAL_EXISTS: ProblemFacts(
        409, "There is an appeal already", False, "Read the appeal that `detail` names."
    ),
    ProblemCode.EXPIRED: ProblemFacts(
        410,
        "It was here and is gone",
        False,
        "Uploads live 15 minutes: send the bytes again. A scan that was erased stays so.",
    ),
    ProblemCode.BATCH_TOO_LARGE: ProblemFacts(
        413, "The batch has more than 1,000 items", False, "Split it into several batches."
    ),
    ProblemCode.BODY_TOO_LARGE: ProblemFacts(
        413,
        "The body is too large",
        False,
        "Send at most 20 MiB of image, or 64 KiB of JSON; scale the image down.",
    ),
    ProblemCode.MEDIA_TYPE_UNSUPPORTED: ProblemFacts(
        415,
        "The content type is not taken here",
        False,
        "Send application/json to /v1/scans; image bytes or multipart/form-data to /v1/uploads.",
    ),
    ProblemCode.ADDRESS_BLOCKED: ProblemFacts(
        422,
        "The address is not public",
        False,
        "Upload the bytes, or allow the network with PINCLIP_FETCH_ALLOW_NETWORKS on the server.",
    ),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemFacts(
        422,
        "The Idempotency-Key belongs to another request",
        False,
        "Use a new key for a new request; repeat the old one with the same body.",
    ),
    ProblemCode.WEBHOOK_URL_REJECTED: ProblemFacts(
        422,
        "Nothing can be delivered to this URL",
        False,
        "Give an https (or http) URL of a public host, without a user name.",
    ),
    ProblemCode.OPERATING_POINT_UNKNOWN: ProblemFacts(
        422, "No such operating point", False, "Use strict, balanced or sensitive."
    ),
    ProblemCode.MODEL_UNKNOWN: ProblemFacts(
        404, "No live worker has this model", False, "GET /v1/models lists those there are."
    ),
    ProblemCode.RATE_LIMITED: ProblemFacts(
        429,
        "Too many requests",
        True,
        "Wait as long as Retry-After says; the RateLimit header shows what is left.",
    ),
    ProblemCode.ABNORMAL_USAGE: ProblemFacts(
        429,
        "Requests went on although they were refused",
        True,
        "Stop until Retry-After is over, and obey it from then on; the SDK does.",
    ),
    ProblemCode.INTERNAL: ProblemFacts(
        500,
        "Something broke here",
        True,
        "Try again; if it stays, report it with the request_id.",
    ),
    ProblemCode.QUEUE_FULL: ProblemFacts(
        503, "Too much work is waiting", True, "Wait as long as Retry-After says."
    ),
    ProblemCode.MODEL_UNAVAILABLE: ProblemFacts(
        503,
        "No worker is ready to score",
        True,
        "Wait as long as Retry-After says; if it stays, look at the worker's log.",
    ),
    ProblemCode.STORE_UNAVAILABLE: ProblemFacts(
        503,
        "The store cannot be reached or written",
        True,
        "Wait as long as Retry-After says; if it stays, see /readyz for the part that is down.",
    ),
    ProblemCode.SHUTTING_DOWN: ProblemFacts(
        503, "The server is stopping", True, "Wait as long as Retry-After says, then ask again."
    ),
    ProblemCode.UNKNOWN: ProblemFacts(
        500, "A problem this version does not know", False, "Read the detail; update the client."
    ),
}

SCAN_ERRORS: dict[ScanErrorCode, ScanErrorFacts] = {
    ScanErrorCode.FETCH_DNS: ScanErrorFacts(
        "The host name was not found", True, "Check the host name, or send the bytes."
    ),
    ScanErrorCode.FETCH_CONNECT: ScanErrorFacts(
        "The host did not take the connection", True, "Try again later, or send the bytes."
    ),
    ScanErrorCode.FETCH_TLS: ScanErrorFacts(
        "The host's certificate is not valid", False, "Send the bytes instead of the URL."
    ),
    ScanErrorCode.FETCH_TIMEOUT: ScanErrorFacts(
        "The host was too slow", True, "Try again later, or send the bytes."
    ),
    ScanErrorCode.FETCH_FORBIDDEN: ScanErrorFacts(
        "The host refuses us this image",
        False,
        "Send the bytes: POST them to /v1/uploads, or give the SDK a path or bytes.",
    ),
    ScanErrorCode.FETCH_NOT_FOUND: ScanErrorFacts(
        "There is no image at this URL",
        False,
        "Check the URL; the image may have been removed, or the upload is over 15 minutes old.",
    ),
    ScanErrorCode.FETCH_HTTP_ERROR: ScanErrorFacts(
        "The host answered, but not with an image", True, "Try again later, or send the bytes."
    ),
    ScanErrorCode.FETCH_REDIRECTS: ScanErrorFacts(
        "The redirects lead nowhere we may go", False, "Send the final URL, or send the bytes."
    ),
    ScanErrorCode.FETCH_ADDRESS_BLOCKED: ScanErrorFacts(
        "The host is not at a public address",
        False,
        "Send the bytes, or allow the network with PINCLIP_FETCH_ALLOW_NETWORKS on the server.",
    ),
    ScanErrorCode.FETCH_TOO_LARGE: ScanErrorFacts(
        "The file is larger than 20 MiB", False, "Scale the image down and send the bytes."
    ),
    ScanErrorCode.NOT_AN_IMAGE: ScanErrorFacts(
        "The bytes are not an image",
        False,
        "Send the URL of the image itself, not of the page that shows it.",
    ),
    ScanErrorCode.FORMAT_UNSUPPORTED: ScanErrorFacts(
        "The image format is not read",
        False,
        "Convert to JPEG, PNG, WebP, GIF, AVIF or BMP; HEIC needs pinclip[heic] on the worker.",
    ),
    ScanErrorCode.DECODE_FAILED: ScanErrorFacts(
        "The image is damaged or too complex to read",
        False,
        "Open and save it again with an image program, then send the bytes.",
    ),
    ScanErrorCode.IMAGE_TOO_SMALL: ScanErrorFacts(
        "The image is smaller than 32 pixels on a side", False, "Send a larger version."
    ),
    ScanErrorCode.IMAGE_TOO_LARGE: ScanErrorFacts(
        "The image has more than 40 megapixels or a side over 16384",
        False,
        "Scale it down and send the bytes.",
    ),
    ScanErrorCode.SCORING_FAILED: ScanErrorFacts(
        "The model gave no usable score", True, "Try again; if it stays, report the scan's id."
    ),
    ScanErrorCode.WORKER_LOST: ScanErrorFacts(
        "The worker died on this image three times",
        False,
        "Report the scan's id; the image is set aside.",
    ),
    ScanErrorCode.DEADLINE_EXCEEDED: ScanErrorFacts(
        "The scan was not done in time", True, "Submit it again when the system is less busy."
    ),
    ScanErrorCode.CANCELED: ScanErrorFacts("The scan was canceled", False, "Submit it again."),
    ScanErrorCode.UNKNOWN: ScanErrorFacts(
        "An error this version does not know", False, "Read the detail; update the client."
    ),
}
