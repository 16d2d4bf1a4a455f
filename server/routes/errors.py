"""/v1/errors/{code}: what a code means. A problem's `type` is such an address."""

from __future__ import annotations

from litestar import Router, get
from litestar.params import FromPath

from sdk.codes import PROBLEMS, SCAN_ERRORS, ProblemCode, ScanErrorCode
from sdk.wire import ErrorFacts
from server.refused import Refused


@get("/{code:str}", operation_id="getErrorCode")
async def get_error_code(code: FromPath[str]) -> ErrorFacts:
    """Return what a code of a problem or of a failed scan means, and what to do about it."""
    if code in tuple(ProblemCode):
        facts = PROBLEMS[ProblemCode(code)]
        return ErrorFacts(
            code=code,
            title=facts.title,
            status=facts.status,
            retryable=facts.retryable,
            hint=facts.hint,
        )
    if code in tuple(ScanErrorCode):
        about = SCAN_ERRORS[ScanErrorCode(code)]
        return ErrorFacts(
            code=code,
            title=about.title,
            status=None,
            retryable=about.retryable,
            hint=about.hint,
        )
    raise Refused(ProblemCode.NOT_FOUND, f"There is no error code {code[:64]!r}.")


router = Router("/v1/errors", route_handlers=[get_error_code], tags=["errors"])
