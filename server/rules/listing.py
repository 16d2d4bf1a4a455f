"""GET /v1/scans: what a query asks for, page by page. Knows nothing of HTTP or stores.

    query --> known parameters? values right? --> ScanFilter --> records.page --> ScanList
                invalid_parameter                                  `-- next_cursor: where it ended,
                cursor_invalid                                         and for which filters

Every filter has an index. A cursor is opaque, and goes with the filters that it came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from sdk.codes import ProblemCode
from sdk.wire import Fault, ScanList, Status, Verdict
from server import ids
from server.ports import ScanFilter
from server.refused import Refused

from .caller import Caller
from .desk import Desk
from .requests import pointer_to
from .scans import need_no_public_key, need_reading

PAGE_DEFAULT = 20
PAGE_LIMIT = 100
"""Most scans on a page."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORDED = (Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELED)
_cursor_decoder = msgspec.json.Decoder(tuple[str, str])
Query = Sequence[tuple[str, str]]


async def listing(query: Query, *, caller: Caller, desk: Desk) -> ScanList:
    """Return a page of the owner's scans, newest first; raises Refused or Unavailable.

    `status=queued` finds all that are not final, and shows them so.
    """
    need_reading(caller)
    need_no_public_key(caller, "list scans")
    given = _read(query)
    limit = given.pop("limit", PAGE_DEFAULT)
    cursor = given.pop("cursor", None)
    wanted = ScanFilter(**given)
    mark = _mark(caller.owner, wanted)
    before_id = None if cursor is None else _place_of(cursor, mark)
    found = await desk.records.page(
        wanted, owner=caller.owner, before_id=before_id, limit=limit + 1
    )
    has_more = len(found) > limit
    return ScanList(
        data=tuple(found[:limit]),
        has_more=has_more,
        next_cursor=_cursor(mark, found[limit - 1].id) if has_more else None,
    )


def _read(query: Query) -> dict[str, Any]:
    """Return the values of a query by the names of ScanFilter; raises Refused with all faults."""
    given: dict[str, Any] = {}
    faults = list(_faults(query, given))
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise Refused(ProblemCode.INVALID_PARAMETER, faults[0].detail + more, errors=faults)
    return given


def _faults(query: Query, given: dict[str, Any]) -> Iterator[Fault]:
    """Read each parameter into `given`; yield what is wrong with those that cannot be."""
    for name, text in query:
        shown = text[:64]
        if name not in _PARAMETERS:
            names = ", ".join(_PARAMETERS)
            yield _fault(name[:64], f"There is no parameter {name[:64]!r}: use {names}.")
            continue
        field, reader, expected = _PARAMETERS[name]
        value = reader(text)
        if field in given:
            yield _fault(name, f"{name} is given more than once.")
        elif value is None:
            yield _fault(name, f"{name} is {shown!r}: give {expected}.")
        given[field] = value


def _fault(name: str, detail: str) -> Fault:
    return Fault(pointer_to(name), ProblemCode.INVALID_PARAMETER, detail)


def _limit(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) < 9
    return int(text) if is_number and 1 <= int(text) <= PAGE_LIMIT else None


def _status(text: str) -> Status | None:
    return Status(text) if text in _RECORDED else None


def _verdict(text: str) -> Verdict | None:
    return Verdict(text) if text in tuple(Verdict) else None


def _sha256(text: str) -> str | None:
    return text.lower() if _SHA256.fullmatch(text.lower()) else None


def _batch_id(text: str) -> str | None:
    return text if ids.is_id("batch", text) else None


def _time(text: str) -> float | None:
    """Return the Unix time of what RFC 3339 writes, with an offset, from 1970 on."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # "+" of a query that was not encoded
    except ValueError:
        return None
    is_time = at.tzinfo is not None and at >= datetime.fromtimestamp(0, UTC)
    return at.timestamp() if is_time else None


def _text(text: str) -> str:
    return text


_PARAMETERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "limit": ("limit", _limit, f"a whole number from 1 to {PAGE_LIMIT}"),
    "cursor": ("cursor", _text, "next_cursor of the page before"),
    "status": ("status", _status, f"one of {', '.join(_RECORDED)}"),
    "verdict": ("verdict", _verdict, f"one of {', '.join(Verdict)}"),
    "sha256": ("sha256", _sha256, "64 hex digits"),
    "batch_id": ("batch_id", _batch_id, "the id of a batch"),
    "created_after": ("since", _time, "a time such as 2026-11-25T19:05:00Z"),
    "created_before": ("before", _time, "a time such as 2026-11-25T19:05:00Z"),
}


def _mark(owner: str, wanted: ScanFilter) -> str:
    """Return what tells these filters from others."""
    return hashlib.sha256(msgspec.json.encode([owner, wanted])).hexdigest()[:16]


def _cursor(mark: str, last_id: str) -> str:
    text = msgspec.json.encode((mark, last_id))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _place_of(cursor: str, mark: str) -> str:
    """Return the id after which the page begins; raises Refused for what is no cursor of ours."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
        known, last_id = _cursor_decoder.decode(text)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise _no_cursor(cursor, "not one of ours") from error
    if not ids.is_id("scan", last_id):
        raise _no_cursor(cursor, "not one of ours")
    if known != mark:
        raise _no_cursor(cursor, "of a list with other filters")
    return last_id


def _no_cursor(cursor: str, what: str) -> Refused:
    return Refused(ProblemCode.CURSOR_INVALID, f"The cursor {cursor[:64]!r} is {what}.")
