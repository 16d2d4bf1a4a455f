"""/v1/scans over HTTP: decode, call rules/scans.py and rules/listing.py, encode.

A scan that is read has an ETag, of the body as it is sent; what is answered to a POST has none.
"""

from __future__ import annotations

import hashlib
import re

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.enums import MediaType
from litestar.params import FromPath

from sdk.wire import Scan, ScanList
from server.problems import REQUEST_ID
from server.rules import listing
from server.rules import scans as rules
from server.rules.requests import read_scan_request
from server.rules.scans import Submitted, Terms

from .bodies import read_json
from .given import AnyRequest, GivenCaller, GivenDesk, caller_of
from .idempotency import replay_headers, replay_of_request

WAIT_LIMIT_SECONDS = 30
"""Longest wait that `Prefer: wait=N` can ask for."""
RETRY_SECONDS = 1
"""Retry-After of a scan that is not final."""
REVALIDATED = "private, no-cache"
"""Cache-Control of what may be kept, and must be asked for anew by its ETag."""
NOT_KEPT = "private, no-store"
"""Cache-Control of what has no ETag."""

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)
_ANEW = re.compile(r"no-cache|no-store|max-age=0+", re.IGNORECASE)


@post("/", status_code=202, operation_id="submitScan")
async def submit(request: AnyRequest, desk: GivenDesk) -> Response[Scan]:
    """Accept one image to be judged: 202, or 200 if it is known or the wait was long enough."""
    body = await read_json(request)
    asked = read_scan_request(body)
    seconds = preferred_wait(request.headers.getall("prefer", []))
    terms = _terms(request, body, seconds)
    caller = caller_of(request)
    return _answer(await rules.submit(asked, caller=caller, terms=terms, desk=desk), seconds)


@get("/", operation_id="listScans")
async def list_scans(
    request: AnyRequest, caller: GivenCaller, desk: GivenDesk
) -> Response[ScanList]:
    """Return a page of the owner's scans, newest first."""
    page = await listing.listing(list(request.query_params.multi_items()), caller=caller, desk=desk)
    return Response(page, headers={"cache-control": NOT_KEPT})


@get("/{scan_id:str}", operation_id="getScan")
async def get_scan(request: AnyRequest, scan_id: FromPath[str], desk: GivenDesk) -> Response[bytes]:
    """Return the scan as it is, or with `Prefer: wait=N` as soon as it is final."""
    seconds = preferred_wait(request.headers.getall("prefer", []))
    caller = caller_of(request)
    scan = await rules.wait(scan_id, seconds=seconds or 0, caller=caller, desk=desk)
    return _tagged(scan, seconds or None, request.headers.getall("if-none-match", []))


@delete("/{scan_id:str}", status_code=204, operation_id="eraseScan")
async def erase(scan_id: FromPath[str], caller: GivenCaller, desk: GivenDesk) -> None:
    """Forget a scan for good, with its events and its upload; one that runs is canceled."""
    await rules.erase(scan_id, caller=caller, desk=desk)


@post("/{scan_id:str}/cancel", status_code=200, operation_id="cancelScan")
async def cancel(scan_id: FromPath[str], caller: GivenCaller, desk: GivenDesk) -> Response[Scan]:
    """End a scan that is not final, without a verdict."""
    scan = await rules.cancel(scan_id, caller=caller, desk=desk)
    return Response(scan, headers={"cache-control": NOT_KEPT})


@post("/{scan_id:str}/rescore", status_code=202, operation_id="rescoreScan")
async def rescore(
    request: AnyRequest, scan_id: FromPath[str], caller: GivenCaller, desk: GivenDesk
) -> Response[Scan]:
    """Look again at what a final scan was about, as a new scan that names it in `rescore_of`."""
    seconds = preferred_wait(request.headers.getall("prefer", []))
    terms = _terms(request, b"", seconds)
    submitted = await rules.rescore(scan_id, caller=caller, terms=terms, desk=desk)
    return _answer(submitted, seconds)


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


def matches(tag: str, values: list[str]) -> bool:
    """True if If-None-Match (RFC 9110, 13.1.2) names this ETag, or any."""
    named = [one.strip().removeprefix("W/") for one in ",".join(values).split(",")]
    return tag in named or "*" in named


def _terms(request: AnyRequest, body: bytes, seconds: int | None) -> Terms:
    return Terms(
        request_id=request.headers[REQUEST_ID],
        wait_seconds=seconds or 0,
        is_anew=wants_anew(request.headers.getall("cache-control", [])),
        replay=replay_of_request(request, body),
    )


def _answer(submitted: Submitted, seconds: int | None) -> Response[Scan]:
    """Answer 200 for a scan that is final, 202 for one that is not, and say if we waited."""
    scan = submitted.scan
    return Response(
        scan,
        status_code=200 if scan.status.is_final else 202,
        headers={
            "location": f"/v1/scans/{scan.id}",
            "cache-control": NOT_KEPT,
            **replay_headers(submitted.is_replayed),
            **_state_headers(scan, seconds),
        },
    )


def _tagged(scan: Scan, seconds: int | None, known: list[str]) -> Response[bytes]:
    """Answer with the scan and its ETag, or 304 to who has it; 202 if we waited in vain."""
    body = msgspec.json.encode(scan)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": REVALIDATED, **_state_headers(scan, seconds)}
    if matches(tag, known):
        return Response(b"", status_code=304, headers=headers)
    if seconds is not None:
        headers["location"] = f"/v1/scans/{scan.id}"
    status = 202 if seconds is not None and not scan.status.is_final else 200
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)


def _state_headers(scan: Scan, seconds: int | None) -> dict[str, str]:
    """Return when to come again, or that a wait was granted."""
    if not scan.status.is_final:
        return {"retry-after": str(RETRY_SECONDS)}
    return {} if seconds is None else {"preference-applied": f"wait={seconds}"}


router = Router(
    "/v1/scans",
    route_handlers=[submit, list_scans, get_scan, erase, cancel, rescore],
    tags=["scans"],
)
