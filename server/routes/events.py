"""/v1/scans/{id}/events over HTTP: the states of one scan as server-sent events (SSE).

    id: 2                       the scan's sequence: send it back as Last-Event-ID
    event: scan
    retry: 2000
    data: {"id": "scan_...", "status": "completed", ...}

A comment goes out when nothing else has for 15 s. The stream ends with the scan, or with the
server; who comes back with the last sequence of a scan that is final gets 204, and stays away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from sdk.codes import ProblemCode
from sdk.wire import Scan
from server.refused import Refused
from server.rules import scans as rules

from .given import AnyRequest, GivenCaller, GivenDesk

RETRY_MS = 2000
"""When a client comes back after a stream has broken off."""
_STILL_HERE = ServerSentEventMessage(data=None, comment="still here")
_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}


@get("/{scan_id:str}/events", operation_id="followScan", media_type="text/event-stream")
async def follow(
    request: AnyRequest, scan_id: FromPath[str], caller: GivenCaller, desk: GivenDesk
) -> Response[None] | ServerSentEvent:
    """Send the scan each time that it changes, up to its end."""
    after = last_event(request.headers.getall("last-event-id", []))
    states = await rules.follow(scan_id, caller=caller, after=after, desk=desk)
    if states is None:
        return Response(None, status_code=204)
    return ServerSentEvent(_messages(states), headers=_HEADERS)


def last_event(values: list[str]) -> int | None:
    """Return the sequence of Last-Event-ID; None: there is none. Raises Refused."""
    text = "".join(values).strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise Refused(
        ProblemCode.INVALID_PARAMETER,
        f"Last-Event-ID is {text[:40]!r}: send the id of the last event as it came.",
    )


async def _messages(states: AsyncIterator[Scan | None]) -> AsyncIterator[ServerSentEventMessage]:
    async for scan in states:
        yield _STILL_HERE if scan is None else _message(scan)


def _message(scan: Scan) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        data=msgspec.json.encode(scan).decode(), event="scan", id=scan.sequence, retry=RETRY_MS
    )


router = Router("/v1/scans", route_handlers=[follow], tags=["scans"])
