"""Every error that a call of the SDK can raise, once.

    PinclipError                       code, message, hint
      * InputError                     what was passed cannot be sent; nothing was sent
      + APIError                       scan_id, if the call was about one
        + APIConnectionError           no answer came
          * APITimeoutError            ... within `timeout`
          * APITLSError                ... because neither side could be sure of the other
        * APIResponseValidationError   an answer came that is not pinclip's
        + APIStatusError               status_code, problem, request_id, retry_after
          * BadRequestError            400
          * AuthenticationError        401
          * PermissionDeniedError      403
          * NotFoundError              404
          * ConflictError              409
          * UnprocessableEntityError   422
          * RateLimitError             429
          * InternalServerError        500 and above
      * ScanFailed                     the scan is final and has no verdict
      * ScanTimeout                    the scan is not final yet; `client.wait` takes it up again
      * BatchTimeout                   the batch is not complete yet; `client.batches.wait` goes on
      * WebhookSignatureError          a delivery is not to be trusted

`code` is stable and is what to test for: a ProblemCode or a ScanErrorCode where the server gave
one, a word of this module otherwise. `message` says what happened, `hint` what to do next. None
of them stands for a verdict. Settings that cannot work raise environment.SettingsError.
"""

from __future__ import annotations

from typing import Any

from .codes import ProblemCode, ScanErrorCode
from .wire import Batch, Problem, Scan, Status

BYTES_HELP: frozenset[str] = frozenset(
    {
        ScanErrorCode.FETCH_FORBIDDEN,
        ScanErrorCode.FETCH_ADDRESS_BLOCKED,
        ProblemCode.ADDRESS_BLOCKED,
    }
)
"""Failures of a URL after which its bytes can still be judged, by who can get them."""
BYTES_HINT = " With `check(url, bytes_of=...)` your own function gets them."


class PinclipError(Exception):
    """What every error of the SDK has: a stable code, what happened, what to do next."""

    code: str = "unknown"

    def __init__(self, message: str, *, hint: str = "") -> None:
        stop = "" if message.endswith((".", "!", "?", ")")) else "."
        super().__init__(f"{message}{stop} {hint}".strip())
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception rebuilds itself from its text alone, which breaks process pools.
        return _rebuild, (type(self), self.args), self.__dict__


class InputError(PinclipError, ValueError):
    """What was passed cannot be sent: not a URL, empty, too large. No request was made."""

    code = "input_invalid"


class APIError(PinclipError):
    """A request had no usable answer. `scan_id` names the scan it was about, if any."""

    scan_id: str | None = None


class APIConnectionError(APIError):
    """No answer came, after all retries."""

    code = "connection_failed"


class APITimeoutError(APIConnectionError):
    """No answer came within `timeout`, after all retries."""

    code = "request_timeout"


class APITLSError(APIConnectionError):
    """No connection that can be trusted: the certificate, or no TLS at the other end."""

    code = "tls_failed"


class APIResponseValidationError(APIError):
    """The answer is not one that pinclip gives: a proxy's page, or a server too new or too old."""

    code = "response_invalid"


class APIStatusError(APIError):
    """The server refused the request. `problem` is None where another program answered."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        problem: Problem | None = None,
        request_id: str | None = None,
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        shown = f"{message} (request {request_id})" if request_id else message
        super().__init__(shown, hint=hint)
        self.status_code = status_code
        self.problem = problem
        self.code = problem.code if problem else ProblemCode.UNKNOWN
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds that the server asked us to wait, or None."""


class BadRequestError(APIStatusError):
    """400: the request is not what it should be; `problem.errors` names the fields."""


class AuthenticationError(APIStatusError):
    """401: the key is missing or not valid."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: no such scan, or not a pinclip server."""


class ConflictError(APIStatusError):
    """409: the state of the thing does not allow this now."""


class UnprocessableEntityError(APIStatusError):
    """422: well formed, but refused, such as an address that is not public."""


class RateLimitError(APIStatusError):
    """429: too many requests, after all retries."""


class InternalServerError(APIStatusError):
    """500 and above: the server or something before it is broken or busy, after all retries."""


class ScanFailed(PinclipError):
    """The scan is final and has no verdict; `scan.error` says why."""

    def __init__(self, scan: Scan) -> None:
        error = scan.error
        if error is None:
            super().__init__(f"Scan {scan.id} was {scan.status} without a verdict.")
            canceled = scan.status is Status.CANCELED
            self.code = ScanErrorCode.CANCELED if canceled else ScanErrorCode.UNKNOWN
        else:
            more = BYTES_HINT if error.code in BYTES_HELP and scan.input.url else ""
            super().__init__(
                f"Scan {scan.id} failed, {error.code}: {error.detail}",
                hint=f"{error.hint}{more}",
            )
            self.code = error.code
        self.scan = scan


class ScanTimeout(PinclipError):
    """The scan has no verdict yet. It goes on: `client.wait(error.scan_id)` takes it up again."""

    code = "scan_timeout"

    def __init__(self, scan: Scan, *, timeout: float) -> None:
        super().__init__(
            f"Scan {scan.id} is still {scan.status} after {timeout:g} s.",
            hint=f"It goes on: wait for {scan.id} again, or give it longer.",
        )
        self.scan = scan
        self.scan_id = scan.id


class BatchTimeout(PinclipError):
    """Some of the batch is not final. It goes on: `client.batches.wait(error.batch)` does, too."""

    code = "batch_timeout"

    def __init__(self, batch: Batch, *, timeout: float) -> None:
        super().__init__(
            f"Batch {batch.id} has {batch.counts.waiting} of {batch.counts.total} scans that wait "
            f"after {timeout:g} s.",
            hint=f"It goes on: wait for {batch.id} again, or give it longer.",
        )
        self.batch = batch


class WebhookSignatureError(PinclipError):
    """The delivery is forged, changed, replayed, or not from pinclip. Do not act on it."""

    code = "webhook_signature_invalid"


def of_status(status_code: int) -> type[APIStatusError]:
    """Return the class for an HTTP status that is not a success."""
    if status_code >= 500:
        return InternalServerError
    return _BY_STATUS.get(status_code, APIStatusError)


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def _rebuild(kind: type[PinclipError], args: tuple[Any, ...]) -> PinclipError:
    return kind.__new__(kind, *args)
