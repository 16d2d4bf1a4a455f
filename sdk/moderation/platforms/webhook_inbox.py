"""Inbox: what other software posts, verified, and on disk before it is answered.

    Door   POST path -> Reader: signed? readable? -> Posted -> 202      GET /healthz -> 200
                                  401      400
    Inbox  put(Posted) -> row, on disk -> next, rows -> whom it is for -> mark_read
           the same delivery again: no second row

An ASGI application of its own, without a framework: a few paths and a few refusals. Knows neither
the bot, nor who signs how, nor what the rows are for; whom a row is for says when it may go.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from sdk.moderation.clock import SystemClock
from sdk.moderation.platform import PlatformError

BODY_LIMIT_BYTES = 32 * 1024 * 1024
"""Largest body that is read: an item with a few images in it."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long a row is kept after it was read, so that a late retry of its sender is known."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
  n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, delivery TEXT NOT NULL,
  body BLOB NOT NULL, received_at REAL NOT NULL, is_read INTEGER NOT NULL DEFAULT 0,
  UNIQUE (kind, delivery));
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox (is_read, received_at);
"""


class Kind(StrEnum):
    """What a row holds."""

    ITEM = "item"
    EVENT = "event"
    STATUS = "status"


class Row(NamedTuple):
    """One delivery as it was posted; `n` counts up over all of them."""

    n: int
    body: bytes


class InboxError(PlatformError):
    """The file cannot be opened, read or written."""

    code = "inbox_unavailable"


class Inbox:
    """One SQLite file. Every method returns when the disk has it; raises InboxError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_SCHEMA)
        self._turn = threading.Lock()
        self._news = asyncio.Condition()
        self._clock = SystemClock()

    async def put(self, posted: Posted) -> None:
        """Keep a delivery, unless the one of this id is there already."""
        await self._do(_put, posted, self._clock.now())
        async with self._news:
            self._news.notify_all()

    async def rows(self, kind: Kind, *, after: int | None) -> AsyncIterator[Row]:
        """Yield the rows behind `after`, or with None those never read, then wait for more.

        A row counts as read when the next one is asked for.
        """
        while True:
            row = await self.next(kind, after=after)
            yield row
            await self.mark_read(row.n)
            after = None if after is None else row.n

    async def next(self, kind: Kind, *, after: int | None = None) -> Row:
        """Return the first row behind `after`, or with None the first never read; wait for it."""
        async with self._news:
            while (row := await self._do(_next, kind, after or 0, after is None)) is None:
                await self._news.wait()
            return row

    async def mark_read(self, n: int) -> None:
        """Let a row go, after a time in which its sender may repeat itself."""
        await self._do(_mark_read, n)

    async def body(self, n: int) -> bytes | None:
        """Return the body of a row, if it is still there."""
        return await self._do(_body, n)

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._base.close()

    async def _do(self, work: Callable[..., T], *args: Any) -> T:
        # In a thread: the disk may take its time. The lock is held there too, since a thread goes
        # on when the task that waits for it is cancelled.
        return await asyncio.to_thread(self._alone, work, args)

    def _alone(self, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self._turn, self._told():
            return work(self._base, *args)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InboxError(
                f"The inbox {self._path} cannot be used: {error}.",
                hint="Make room on its disk, or name another file in a folder that can be written.",
            ) from error


class Posted(NamedTuple):
    """What is kept of a request; the same `delivery` again is no second row of the kind."""

    kind: Kind
    delivery: str
    body: bytes


Reader = Callable[[bytes, Mapping[str, str]], Posted | None]
"""Takes a body and its headers, by names in small letters; verifies them, and returns what to keep
of them, or None for what is signed and not wanted. Raises Refused."""


class Refused(Exception):
    """What to answer instead of 202."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.answer = (status, code, detail)


class Door:
    """The ASGI application that fills an inbox, by a Reader for each path."""

    def __init__(
        self, inbox: Inbox, readers: Mapping[str, Reader], *, limit: int = BODY_LIMIT_BYTES
    ) -> None:
        self._inbox = inbox
        self._readers = readers
        self._limit = limit

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except Refused as refused:
            answer = refused.answer
        except InboxError as error:
            answer = (503, error.code, str(error))
        with contextlib.suppress(OSError):  # who does not wait for the answer will ask again
            await _respond(send, *answer)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, str, str]:
        path, paths = scope["path"].rstrip("/"), " and ".join(self._readers)
        if path == "/healthz":
            return 200, "ok", f"Signed requests are taken at {paths}."
        if path not in self._readers:
            raise Refused(404, "not_found", f"Signed requests are taken at {paths}, by POST.")
        if scope["method"] != "POST":
            raise Refused(405, "method_not_allowed", f"Use POST, not {scope['method'][:20]}.")
        body = await _read(receive, limit=self._limit)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        posted = self._readers[path](body, headers)
        if posted is None:
            return 202, "ignored", "It is signed, and of a kind that is not looked at."
        await self._inbox.put(posted)
        return 202, "accepted", "It is written down."


async def _read(receive: Receive, *, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "body_incomplete", "The connection ended before the body did.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused(413, "body_too_large", f"The body is larger than {limit} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


async def _respond(send: Send, status: int, code: str, detail: str) -> None:
    body = msgspec.json.encode({"status": status, "code": code, "detail": detail})
    kind = b"application/json" if status < 300 else b"application/problem+json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _put(base: sqlite3.Connection, posted: Posted, now: float) -> None:
    base.execute("DELETE FROM inbox WHERE is_read = 1 AND received_at < ?", (now - KEPT_SECONDS,))
    base.execute(
        "INSERT OR IGNORE INTO inbox (kind, delivery, body, received_at) VALUES (?, ?, ?, ?)",
        (*posted, now),
    )


def _next(base: sqlite3.Connection, kind: Kind, after: int, is_new_only: bool) -> Row | None:
    found = base.execute(
        "SELECT n, body FROM inbox WHERE kind = ? AND n > ? AND is_read < ? ORDER BY n LIMIT 1",
        (kind, after, 1 if is_new_only else 2),
    ).fetchone()
    return Row(*found) if found else None


def _mark_read(base: sqlite3.Connection, n: int) -> None:
    base.execute("UPDATE inbox SET is_read = 1 WHERE n = ?", (n,))


def _body(base: sqlite3.Connection, n: int) -> bytes | None:
    found = base.execute("SELECT body FROM inbox WHERE n = ?", (n,)).fetchone()
    return found[0] if found else None
