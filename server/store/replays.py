"""SQL DOOR: which Idempotency-Key was used for what, for a day. Knows nothing of HTTP.

    add     in the transaction of what was made --> the keys that are ours now; another process
                                                    may have been faster with the others
    take    the same of one key, where nothing is made unless it is ours
    find    what a key was used for, or None
    forget  what was made is erased, and no answer may name it

A row whose day is over is as good as none: whoever uses its key again takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects import postgresql, sqlite

from server.ports import Kept, KeyTaken, Replay

from .tables import ReplayRow

KEPT_SECONDS = 24 * 3600.0
"""How long a key stands for its first request."""


class Use(Struct, frozen=True, kw_only=True):
    """A key that is used by its owner to make `subject`, which is read anew for a replay."""

    owner: str
    replay: Replay
    subject: str


def add(connection: sa.Connection, uses: Sequence[Use], *, now: float) -> list[Use]:
    """Record uses in this transaction; return those whose key had not been used before.

    Of two uses of one key the first is recorded.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = []
    # One by one: few requests have a key, and a conflict must tell which.
    for use in sorted(uses, key=lambda one: (one.owner, one.replay.key)):
        connection.execute(_of(use.owner, use.replay.key, sa.delete(ReplayRow), until=now))
        insert: Any = dialect.insert(ReplayRow).values(_row(use, now))
        done = connection.execute(insert.on_conflict_do_nothing())
        if done.rowcount:
            fresh.append(use)
    return fresh


def take(connection: sa.Connection, use: Use, *, now: float) -> None:
    """Record a use in this transaction; raises KeyTaken, which undoes it, if the key was used."""
    if not add(connection, [use], now=now):
        raise KeyTaken


def find(connection: sa.Connection, *, owner: str, key: str, now: float) -> Kept | None:
    """Return what the owner used this key for in the last day, or None."""
    query = sa.select(ReplayRow.fingerprint, ReplayRow.subject).where(
        ReplayRow.owner == owner,
        ReplayRow.key == key,
        ReplayRow.created_at > now - KEPT_SECONDS,
    )
    row = connection.execute(query).one_or_none()
    return Kept(**row._mapping) if row is not None else None


def forget(connection: sa.Connection, *, owner: str, subjects: Sequence[str]) -> None:
    """Forget the keys with which the owner made these."""
    is_one = (ReplayRow.owner == owner) & ReplayRow.subject.in_(subjects)
    connection.execute(sa.delete(ReplayRow).where(is_one))


def _of(owner: str, key: str, statement: sa.Delete, *, until: float) -> sa.Delete:
    return statement.where(
        ReplayRow.owner == owner,
        ReplayRow.key == key,
        ReplayRow.created_at <= until - KEPT_SECONDS,
    )


def _row(use: Use, now: float) -> dict[str, object]:
    return {
        "owner": use.owner,
        "key": use.replay.key,
        "fingerprint": use.replay.fingerprint,
        "created_at": now,
        "subject": use.subject,
    }
