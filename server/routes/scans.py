"""/v1/scans over HTTP: decode, call rules/scans.py, encode. Decides nothing about scans."""

from __future__ import annotations

import re

from litestar import Response, Router, get, post
from litestar.params import FromPath

from sdk.wire import Scan
from server.problems import REQUEST_ID
from server.rules import scans as rules
from server.rules.requests import read_scan_request

from .bodies import read_json
from .given import AnyRequest, GivenDesk

WAIT_LIMIT_SECONDS = 30
"""Longest wait that `Prefer: wait=N` can ask for."""
RETRY_SECONDS = 1
"""Retry-After of a scan that is not final."""

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)
_ANEW = re.compile(r"no-cache|no-store|max-age=0+", re.IGNORECASE)


@post("/", status_code=202, operation_id="submitScan")
async def submit(request: AnyRequest, desk: GivenDesk) -> Response[Scan]:
    """Accept one image to be judged: 202, or 200 if it is known or the wait was long enough."""
    asked = read_scan_request(await read_json(request))
    seconds = preferred_wait(request.headers.getall("prefer", []))
    scan = await rules.submit(
        asked,
        request_id=request.headers[REQUEST_ID],
        wait_seconds=seconds or 0,
        is_anew=wants_anew(request.headers.getall("cache-control", [])),
        desk=desk,
    )
    return _answer(scan, seconds)


@get("/{scan_id:str}", operation_id="getScan")
async def get_scan(request: AnyRequest, scan_id: FromPath[str], desk: GivenDesk) -> Response[Scan]:
    """Return the scan as it is, or with `Prefer: wait=N` as soon as it is final."""
    seconds = preferred_wait(request.headers.getall("prefer", []))
    if seconds:
        return _answer(await rules.wait(scan_id, seconds=seconds, desk=desk), seconds)
    scan = await rules.get(scan_id, desk=desk)
    return Response(scan, status_code=200, headers=_come_again(scan))


def preferred_wait(values: list[str]) -> int | None:
    """Return N of `Prefer: wait=N` (RFC 7240) in seconds, at most 30; None if it is not asked."""
    for preference in ",".join(values).split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if found:
            return min(int(found[1]), WAIT_LIMIT_SECONDS)
    return None


def wants_anew(values: list[str]) -> bool:
    """True if Cache-Control (RFC 9111, 5.2.1) asks for no answer that was given before."""
    return any(_ANEW.fullmatch(directive.strip()) for directive in ",".join(values).split(","))


def _answer(scan: Scan, seconds: int | None) -> Response[Scan]:
    """Answer 200 for a scan that is final, 202 for one that is not, and say if we waited."""
    headers = {"location": f"/v1/scans/{scan.id}", **_come_again(scan)}
    if not scan.status.is_final:
        return Response(scan, status_code=202, headers=headers)
    if seconds is not None:
        headers["preference-applied"] = f"wait={seconds}"
    return Response(scan, status_code=200, headers=headers)


def _come_again(scan: Scan) -> dict[str, str]:
    return {} if scan.status.is_final else {"retry-after": str(RETRY_SECONDS)}


router = Router("/v1/scans", route_handlers=[submit, get_scan], tags=["scans"])
