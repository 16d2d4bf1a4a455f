"""Inbox: what other software posts, verified, and on disk before it is answered.

    POST /items   -> signed? -> an item?   -> row -> 202      GET /healthz -> 200
    POST /events  -> signed? -> an event?  -> row -> 202
                       401         400         the same webhook-id again: 202, and no second row

An ASGI application of its own, without a framework: two paths and a few refusals. Knows neither
the bot nor what the rows are for; the reader of a row says when it may go.
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

from sdk import webhooks
from sdk.environment import Secret
from sdk.errors import APIResponseValidationError, InputError, WebhookSignatureError
from sdk.moderation.clock import SystemClock
from sdk.moderation.platform import PlatformError

from .orders import read_item

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

    async def put(self, kind: Kind, *, delivery: str, body: bytes) -> None:
        """Keep a delivery, unless the one of this id is there already."""
        await self._do(_put, kind, delivery, body, self._clock.now())
        async with self._news:
            self._news.notify_all()

    async def rows(self, kind: Kind, *, after: int | None) -> AsyncIterator[Row]:
        """Yield the rows behind `after`, or with None those never read, then wait for more.

        A row counts as read when the next one is asked for.
        """
        last = after or 0
        while True:
            async with self._news:
                while (row := await self._do(_next, kind, last, after is None)) is None:
                    await self._news.wait()
            yield row
            last = row.n
            await self._do(_mark_read, last)

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


class Door:
    """The ASGI application that fills an inbox.

    Items are signed with `items_secret`, events with `events_secret`, that of the endpoint at
    the pinclip server; without it no event is taken. Raises InputError for a secret that is none.
    """

    def __init__(self, inbox: Inbox, *, items_secret: Secret, events_secret: Secret) -> None:
        self._inbox = inbox
        self._secrets = {"/items": (Kind.ITEM, items_secret)}
        if events_secret:
            self._secrets["/events"] = (Kind.EVENT, events_secret)
        for _, secret in self._secrets.values():
            webhooks.sign(b"", secret, event_id="trial", timestamp=0)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except _Refused as refused:
            answer = refused.answer
        except InboxError as error:
            answer = (503, error.code, str(error))
        with contextlib.suppress(OSError):  # who does not wait for the answer will ask again
            await _respond(send, *answer)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, str, str]:
        path = scope["path"].rstrip("/")
        if path == "/healthz":
            return 200, "ok", "Signed items are taken at /items, events at /events."
        if path not in self._secrets:
            raise _Refused(404, "not_found", "POST items to /items, pinclip's events to /events.")
        if scope["method"] != "POST":
            raise _Refused(405, "method_not_allowed", f"Use POST, not {scope['method'][:20]}.")
        kind, secret = self._secrets[path]
        body = await _read(receive)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        _verify(kind, body, headers, secret)
        await self._inbox.put(kind, delivery=headers["webhook-id"], body=body)
        return 202, "accepted", "It is written down."


class _Refused(Exception):
    """What to answer instead of 202."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.answer = (status, code, detail)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "body_incomplete", "The connection ended before the body did.")
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT_BYTES:
            raise _Refused(
                413, "body_too_large", f"The body is larger than {BODY_LIMIT_BYTES} bytes."
            )
        if not message.get("more_body", False):
            return bytes(body)


def _verify(kind: Kind, body: bytes, headers: Mapping[str, str], secret: Secret) -> None:
    """Refuse what is not signed, and what is signed but not of this kind."""
    try:
        webhooks.unwrap(body, headers, secret)
    except WebhookSignatureError as error:
        raise _Refused(401, error.code, str(error)) from error
    except (APIResponseValidationError, RecursionError) as error:  # signed, and no event
        if kind is Kind.EVENT:
            raise _Refused(400, "event_unreadable", str(error)) from error
    if kind is Kind.ITEM:
        try:
            read_item(body)
        except InputError as error:
            raise _Refused(400, "item_unreadable", str(error)) from error


async def _respond(send: Send, status: int, code: str, detail: str) -> None:
    body = msgspec.json.encode({"status": status, "code": code, "detail": detail})
    kind = b"application/json" if status < 300 else b"application/problem+json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _put(base: sqlite3.Connection, kind: Kind, delivery: str, body: bytes, now: float) -> None:
    base.execute("DELETE FROM inbox WHERE is_read = 1 AND received_at < ?", (now - KEPT_SECONDS,))
    base.execute(
        "INSERT OR IGNORE INTO inbox (kind, delivery, body, received_at) VALUES (?, ?, ?, ?)",
        (kind, delivery, body, now),
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
