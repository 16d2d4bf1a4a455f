"""client.scans: what can be done with scans that were made. How verbs are written: _flows."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from . import _calls as calls
from . import _sse
from ._calls import Call
from ._flows import Emit, Face, Line, Listing, M, Open, Pause, Step, Stream, listing, stream, verb
from .errors import APIConnectionError, APIResponseValidationError, InputError
from .wire import Receipt, Scan, ScanList, Status, Verdict

RETRY_SECONDS = 2.0
"""When to come back after a stream has broken off, unless the server says otherwise."""
RETRY_LIMIT_SECONDS = 60.0
"""Longest time that it may say."""
SILENCE_SECONDS = 30
"""How much longer than usual a stream may be silent: the server says something every 15 s."""
FRUITLESS_LIMIT = 3
"""How often a stream may end before it said anything."""
NO_CONTENT = 204
"""The status of a stream that has nothing more to say."""

T = TypeVar("T")
_decoder = msgspec.json.Decoder(Scan)


class Scans(Face[M]):
    """Scans that were made."""

    @listing
    def list(
        self,
        *,
        status: Status | str | None = None,
        verdict: Verdict | str | None = None,
        sha256: str | None = None,
        batch_id: str | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        page_size: int = 100,
    ) -> Listing[Scan]:
        """Iterate over the scans of this key's owner, newest first, a page at a time.

        `status="queued"` finds all that are not final. Times are RFC 3339 text, or datetimes that
        have a time zone. Iterate over `.pages()` for whole pages. Raises APIError, InputError.

        Examples:
            >>> for scan in client.scans.list(verdict="likely_ai"):
            ...     print(scan.input.url)
            https://example.org/picture.jpg
        """
        query = {
            "status": status,
            "verdict": verdict,
            "sha256": sha256,
            "batch_id": batch_id,
            "created_after": _time(created_after),
            "created_before": _time(created_before),
            "limit": page_size,
        }
        return lambda cursor: calls.get("/v1/scans", ScanList, cursor=cursor, **query)

    @verb
    def get(self, scan_id: str) -> Call[Scan]:
        """Return the scan as it is now, whatever its status. Raises InputError or APIError.

        Examples:
            >>> client.scans.get(scan.id).id == scan.id
            True
        """
        return calls.scan(scan_id)

    @verb
    def cancel(self, scan: Scan | str) -> Call[Scan]:
        """End a scan that is not final, and return it. Raises ConflictError if it is final.

        Examples:
            >>> waiting = client.submit("https://example.org/slow.jpg")
            >>> client.scans.cancel(waiting).status
            <Status.CANCELED: 'canceled'>
        """
        return _of(scan, calls.post(f"{_path(scan)}/cancel", Scan))

    @verb
    def delete(self, scan: Scan | str) -> Call[None]:
        """Erase a scan for good, with its events and upload. Raises APIError.

        Examples:
            >>> client.scans.delete(scan)
        """
        return _of(scan, Call("DELETE", _path(scan), calls.NOTHING))

    @verb
    def rescore(self, scan: Scan | str, *, idempotency_key: str | None = None) -> Call[Scan]:
        """Look again at what a final scan was about: a new scan, most often still queued.

        Its `rescore_of` names the old one, which keeps its verdict. Raises ConflictError if the
        scan is not final, APIStatusError (expired) if its bytes are gone.

        Examples:
            >>> again = client.scans.rescore(scan)
            >>> again.rescore_of == scan.id
            True
        """
        path = f"{_path(scan)}/rescore"
        return _of(scan, calls.post(path, Scan, idempotency_key=idempotency_key))

    @verb
    def receipt(self, scan: Scan | str) -> Call[Receipt]:
        """Return what was said of which bytes, signed; it can be checked without the server.

        Raises ConflictError if there is no verdict.

        Examples:
            >>> client.scans.receipt(scan).algorithm
            'ed25519'
        """
        return _of(scan, calls.get(f"{_path(scan)}/receipt", Receipt))

    @stream
    def events(self, scan: Scan | str) -> Stream[Scan]:
        """Iterate over the states of a scan as they change, up to the final one.

        A connection that breaks is opened again where it was. There is no limit to the time:
        stop to iterate, or use `wait`. Raises APIError.

        Examples:
            >>> for state in client.scans.events(scan):
            ...     print(state.status)
            completed
        """
        yield from _followed(scan)


def _followed(scan: Scan | str) -> Stream[Scan]:
    last, retry, fruitless = "", RETRY_SECONDS, 0
    while fruitless < FRUITLESS_LIMIT:
        if (yield Open(_events(scan, last))) == NO_CONTENT:
            return
        parser, fruitless = _sse.Parser(), fruitless + 1
        while (line := (yield from _line())) is not None:
            fruitless = 0
            message = parser.feed(line)
            if message is None:
                continue
            last = message.id or last
            retry = min(message.retry_seconds or retry, RETRY_LIMIT_SECONDS)
            state = _state(message)
            yield Emit(state)
            if state.status.is_final:
                return
        yield Pause(retry)
    raise APIConnectionError(
        f"The events of {calls.scan_id(scan)} broke off {FRUITLESS_LIMIT} times before the first.",
        hint="A proxy may hold them back: use `client.wait`, which needs no stream.",
    )


def _line() -> Generator[Step | Emit[Scan], Any, bytes | None]:
    """Return the next line, or None if there is none, be it that the connection broke."""
    try:
        line: bytes | None = yield Line()
    except APIConnectionError:
        return None
    return line


def _events(scan: Scan | str, last: str) -> Call[None]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    return Call(
        "GET",
        f"{_path(scan)}/events",
        calls.NOTHING,
        headers=headers,
        wait_seconds=SILENCE_SECONDS,
        scan_id=calls.scan_id(scan),
    )


def _state(message: _sse.Message) -> Scan:
    try:
        return _decoder.decode(message.data)
    except calls.UNREADABLE as fault:
        raise APIResponseValidationError(
            f"The event {message.id or '-'} of a scan is no Scan: {fault}.",
            hint="The server may be newer or older than this client: update both.",
        ) from fault


def _path(scan: Scan | str) -> str:
    return calls.scan_path(calls.scan_id(scan))


def _of(scan: Scan | str, call: Call[T]) -> Call[T]:
    """Return the call with the scan that it is about, for its errors."""
    return call._replace(scan_id=calls.scan_id(scan))


def _time(at: datetime | str | None) -> str | None:
    """Return a time as RFC 3339 has it; raises InputError for one without a time zone."""
    if not isinstance(at, datetime):
        return at
    if at.tzinfo is None:
        raise InputError(
            f"{at.isoformat()} has no time zone.",
            hint="Use datetime(..., tzinfo=timezone.utc) or .astimezone().",
        )
    return at.isoformat()
