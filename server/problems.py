"""Any error -> one Problem (RFC 9457), for the routes and for edge.py. Knows no route.

Refused       its code                    Unavailable   redis, store -> store_unavailable
HTTPException litestar's own, by status                 worker       -> model_unavailable
anything else internal, logged with its traceback and told without it
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Fault, Problem

from .ports import Unavailable
from .refused import Refused
from .rules.limits import OverLimit

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "x-request-id"
RETRY_SECONDS = 5
"""Retry-After of a 503 that knows no better."""

_IANA = "https://iana.org/assignments/http-problem-types"
_TYPES = {
    ProblemCode.RATE_LIMITED: f"{_IANA}#quota-exceeded",
    ProblemCode.ABNORMAL_USAGE: f"{_IANA}#abnormal-usage-detected",
}
"""Types that are not ours, because clients know them: draft-ietf-httpapi-ratelimit-headers-11."""
_BY_STATUS = {
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    406: ProblemCode.NOT_ACCEPTABLE,
    413: ProblemCode.BODY_TOO_LARGE,
    415: ProblemCode.MEDIA_TYPE_UNSUPPORTED,
}
_log = structlog.get_logger(__name__)


def problem(
    code: ProblemCode,
    detail: str,
    *,
    request_id: str,
    errors: tuple[Fault, ...] = (),
    violated_policies: tuple[str, ...] = (),
) -> Problem:
    """Return the problem of a code, with all that is always true of it."""
    facts = PROBLEMS[code]
    return Problem(
        type=_TYPES.get(code, f"/v1/errors/{code}"),
        title=facts.title,
        status=facts.status,
        detail=detail,
        code=code,
        hint=facts.hint,
        request_id=request_id,
        retryable=facts.retryable,
        errors=errors,
        violated_policies=violated_policies,
    )


def problem_of(error: Exception, *, request_id: str) -> tuple[Problem, dict[str, str]]:
    """Return an error as a problem, with the headers that belong to it."""
    if isinstance(error, Unavailable):
        error = _refusal_of(error)
    if isinstance(error, HTTPException):
        return _problem_of_litestar(error, request_id=request_id)
    if not isinstance(error, Refused):
        _log.error("request_failed", exc_info=error)
        error = Refused(ProblemCode.INTERNAL, "The request failed; the log says why.")
    told = problem(
        error.code,
        error.detail,
        request_id=request_id,
        errors=error.errors,
        violated_policies=error.violated_policies if isinstance(error, OverLimit) else (),
    )
    return told, _headers_of(told.status, error.retry_after)


def encode(told: Problem) -> bytes:
    """Write a problem as it travels."""
    return msgspec.json.encode(told)


def handlers() -> ExceptionHandlersMap:
    """Return what litestar needs to answer every exception with a problem."""
    return {Exception: _answer}


def _answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    told, headers = problem_of(error, request_id=request.headers.get(REQUEST_ID, ""))
    return Response(encode(told), status_code=told.status, media_type=MEDIA_TYPE, headers=headers)


def _headers_of(status: int, retry_after: int | None) -> dict[str, str]:
    if status == 401:
        return {"www-authenticate": "Bearer"}
    if status in (429, 503):
        return {"retry-after": str(retry_after or RETRY_SECONDS)}
    return {}


def _refusal_of(fault: Unavailable) -> Refused:
    is_model = fault.part == "worker"
    code = ProblemCode.MODEL_UNAVAILABLE if is_model else ProblemCode.STORE_UNAVAILABLE
    return Refused(code, f"{fault.part}: {fault.detail}.", retry_after=fault.retry_after)


def _problem_of_litestar(
    error: HTTPException, *, request_id: str
) -> tuple[Problem, dict[str, str]]:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        is_theirs = 400 <= error.status_code < 500
        code = ProblemCode.INVALID_PARAMETER if is_theirs else ProblemCode.INTERNAL
    if code is ProblemCode.INTERNAL:
        _log.error("request_failed", exc_info=error)
    told = problem(code, error.detail or PROBLEMS[code].title, request_id=request_id)
    return told, {name.lower(): value for name, value in (error.headers or {}).items()}
