"""SQL DOOR: the audit log, who did what, append-only and chained. Says if it is whole.

    row 1 --hash--> row 2 --hash--> row 3       hash = sha256 of the row and the hash before it
                                     `- head    seq and hash, to be kept elsewhere

    add      one act, in the transaction of the act: both happened or neither did
    verify   the first row that was changed, is missing or was put in, and how
    entries  a page, newest first

Triggers refuse UPDATE and DELETE (server/migrations). Who may drop those can still write another
chain that is whole by itself, or cut the end off: a head that was kept elsewhere tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from .engine import PATIENT_SECONDS, Database
from .tables import AuditRow

GENESIS = "0" * 64
"""What the first row has for the hash before it."""
PAGE = 1000
"""Rows that are read at once."""
LOCK = 7_046_824
"""PostgreSQL advisory lock of who appends; the number means nothing."""


class Entry(Struct, frozen=True, kw_only=True):
    """One act as it is recorded. `at` is Unix time, `detail_json` the text that is hashed."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail_json: str
    previous: str
    hash: str

    @property
    def head(self) -> Head:
        """What names this row and all before it."""
        return Head(self.seq, self.hash)


class Head(Struct, frozen=True):
    """The end of a chain: kept elsewhere, it tells a chain that was cut or written anew."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class FaultKind(StrEnum):
    """What is wrong with a row of the chain."""

    CHANGED = "changed"
    MISSING = "missing"
    INSERTED = "inserted"
    CUT = "cut"
    REWRITTEN = "rewritten"


class Fault(Struct, frozen=True):
    """The first row that is not as it was written, and a sentence on how that shows."""

    seq: int
    kind: FaultKind
    detail: str


class Verified(Struct, frozen=True):
    """What a walk along the chain found: its rows, its end, and the first fault if there is one."""

    count: int
    head: Head
    fault: Fault | None = None


def add(
    connection: sa.Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    now: float,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record an act in its own transaction. Call it last: it holds up all others who append.

    actor and subject have at most 64 characters, action 32; detail is anything JSON has, and
    nothing that must be forgotten one day, since no row can be taken out.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    # SQLite's writers take turns already (BEGIN IMMEDIATE).
    newest = sa.select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)
    last = connection.execute(newest).one_or_none()
    entry = sealed(
        Head(*last) if last else Head(0, GENESIS),
        at=now,
        actor=actor,
        action=action,
        subject=subject,
        detail=detail or {},
    )
    connection.execute(sa.insert(AuditRow).values(msgspec.structs.asdict(entry)))


def sealed(
    head: Head, *, at: float, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> Entry:
    """Return the row that follows this head. Pure."""
    entry = Entry(
        seq=head.seq + 1,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        detail_json=msgspec.json.encode(detail, order="sorted").decode(),
        previous=head.hash,
        hash="",
    )
    return msgspec.structs.replace(entry, hash=digest(entry))


def digest(entry: Entry) -> str:
    """Return what `hash` must be: sha256 in hex of the other columns as a JSON array. Pure.

    The array is written without blanks: [seq, at, actor, action, subject, detail_json, previous].
    """
    columns = [getattr(entry, name) for name in Entry.__struct_fields__ if name != "hash"]
    return hashlib.sha256(msgspec.json.encode(columns)).hexdigest()


class SqlAudit:
    """The audit log as it is read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        limit: int = PAGE,
    ) -> list[Entry]:
        """Return the newest rows that are about these, newest first; raises Unavailable.

        Walks the log from its end: for people at a terminal, not for callers who wait.
        """
        asked = {AuditRow.actor: actor, AuditRow.action: action, AuditRow.subject: subject}
        wanted = [column == value for column, value in asked.items() if value is not None]
        query = sa.select(*_COLUMNS).where(*wanted).order_by(AuditRow.seq.desc()).limit(limit)
        rows = await self._database.rows(query, seconds=PATIENT_SECONDS)
        return [_entry(row) for row in rows]

    async def verify(self, expected: Head | None = None) -> Verified:
        """Walk the whole chain and say what is wrong first; raises Unavailable.

        `expected` is a head of earlier, which must be in the chain still.
        """
        count, last = 0, Head(0, GENESIS)
        async for entry in self._chain():
            fault = _fault(last, entry) or _unexpected(entry, expected)
            if fault is not None:
                return Verified(count, last, fault)
            count, last = count + 1, entry.head
        return Verified(count, last, _cut(last, expected))

    async def _chain(self) -> AsyncIterator[Entry]:
        """Yield all rows, oldest first, in pages."""
        rows: Sequence[Any] = await self._page(AuditRow.seq.is_not(None))
        while rows:
            for row in rows:
                yield _entry(row)
            rows = await self._page(AuditRow.seq > rows[-1].seq)

    async def _page(self, condition: sa.ColumnElement[bool]) -> Sequence[Any]:
        query = sa.select(*_COLUMNS).where(condition).order_by(AuditRow.seq).limit(PAGE)
        return await self._database.rows(query, seconds=PATIENT_SECONDS)


_COLUMNS = tuple(getattr(AuditRow, name) for name in Entry.__struct_fields__)


def _entry(row: Any) -> Entry:
    return Entry(**row._mapping)


def _fault(last: Head, entry: Entry) -> Fault | None:
    """Return what is wrong with a row that stands behind `last`."""
    if entry.seq > last.seq + 1:
        first, final = last.seq + 1, entry.seq - 1
        which = f"row {first} is" if first == final else f"rows {first} to {final} are"
        return Fault(first, FaultKind.MISSING, f"{which} missing before row {entry.seq}")
    if digest(entry) != entry.hash:
        return Fault(entry.seq, FaultKind.CHANGED, "its contents are not what its hash was made of")
    if entry.previous != last.hash or entry.seq <= last.seq:
        detail = "it does not follow the row before it: one of the two was put there later"
        return Fault(entry.seq, FaultKind.INSERTED, detail)
    return None


def _unexpected(entry: Entry, expected: Head | None) -> Fault | None:
    if expected is None or entry.seq != expected.seq or entry.hash == expected.hash:
        return None
    detail = f"its hash is {entry.hash}, not the one expected: the chain was written anew"
    return Fault(entry.seq, FaultKind.REWRITTEN, detail)


def _cut(last: Head, expected: Head | None) -> Fault | None:
    if expected is None or expected.seq <= last.seq:
        return None
    detail = f"the log ends at row {last.seq}, but row {expected.seq} was there: its end is cut off"
    return Fault(last.seq + 1, FaultKind.CUT, detail)
