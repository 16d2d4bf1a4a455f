"""Ids and times as callers see them: a prefix such as `scan_` and 26 characters that sort by time.

    scan_01KX3Q8RZ0  7M2V9C4H8T1B6N5D
          10: ms     16: chance, 80 bits          Crockford's base 32, as a ULID has it

An id is matched against its pattern before it becomes a path or a key. Pure.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BODY = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")


def new(prefix: str, now: float) -> str:
    """Return a new id, such as `evt_` and 26 characters; `now` is Unix time in seconds."""
    return f"{prefix}_{_body(now)}"


def is_id(prefix: str, text: str) -> bool:
    """True if `text` is written as our ids of this prefix are."""
    return text.startswith(f"{prefix}_") and _BODY.fullmatch(text, len(prefix) + 1) is not None


def scan_id(now: float) -> str:
    """Return a new id for a scan; `now` is Unix time in seconds."""
    return f"scan_{_body(now)}"


def upload_id(now: float) -> str:
    """Return a new id for an upload."""
    return f"upl_{_body(now)}"


def request_id(now: float) -> str:
    """Return a new id for a request that brought none."""
    return f"req_{_body(now)}"


def is_scan_id(text: str) -> bool:
    """True if `text` is written as our scan ids are."""
    return is_id("scan", text)


def is_upload_id(text: str) -> bool:
    """True if `text` is written as our upload ids are."""
    return is_id("upl", text)


def made_at(an_id: str) -> float:
    """Return the Unix time, to the millisecond, at which an id of ours was made."""
    value = 0
    for digit in an_id[-26:-16]:
        value = value * 32 + _DIGITS.index(digit)
    return value / 1000


def rfc3339(at: float) -> str:
    """Write a Unix time as people and JSON read it: 2026-11-25T19:05:00.123Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _body(now: float) -> str:
    value = (int(now * 1000) << 80) | secrets.randbits(80)
    return "".join(_DIGITS[(value >> shift) & 31] for shift in range(125, -1, -5))
