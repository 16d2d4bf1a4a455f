"""Reads server-sent events line by line, as the HTML standard has them. Pure.

    b"id: 2"  b"event: scan"  b"data: {...}"  b""   --feed-->  None, None, None, Message

Lines come as bytes without their end: JSON may hold letters that `str.splitlines` takes for one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_IN_HEADER = re.compile(rb"[\x21-\x7e]{0,255}")
"""What can be sent back as Last-Event-ID; the standard takes more, no header does."""


class Message(NamedTuple):
    """One event: what to send back as Last-Event-ID, and its data."""

    id: str
    data: bytes
    retry_seconds: float | None


class Parser:
    """The fields of the event that is under way."""

    def __init__(self) -> None:
        self._id = ""
        self._data: list[bytes] = []
        self._retry: float | None = None

    def feed(self, line: bytes) -> Message | None:
        """Take a line; return the event that it ends, if it has data."""
        if not line:
            return self._end()
        name, _, value = line.partition(b":")  # without a name it is a comment
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and _IN_HEADER.fullmatch(value):
            self._id = value.decode("ascii")
        elif name == b"retry" and value.isdigit():
            self._retry = int(value[:9]) / 1000
        return None

    def _end(self) -> Message | None:
        data, self._data = self._data, []
        return Message(self._id, b"\n".join(data), self._retry) if data else None
