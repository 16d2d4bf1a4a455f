"""SQL DOOR: what people say of images. Each act is one transaction.

    create   scan held --check--> feedback, with its key of replay
    page     SELECT by owner or scan, newest first
    forget   of scans that are erased, in the transaction that erases them

Of the scans it knows what `Scans` says, which is theirs to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from sdk.wire import Feedback, FeedbackLabel, Scan, Verdict
from server.ids import rfc3339
from server.rules.feedback import NewFeedback

from . import replays
from .appeals import Held
from .engine import Database
from .tables import FeedbackRow

_FEEDBACK = FeedbackRow.__table__


class Scans(Protocol):
    """What feedback needs of the scans, in the transaction that is handed to them."""

    def hold(self, connection: sa.Connection, *, owner: str, scan_id: str) -> Held | None:
        """Return the owner's scan and lock its row (FOR UPDATE), or None."""
        ...


def forget(connection: sa.Connection, *, owner: str, scan_ids: Sequence[str]) -> None:
    """What was said of these scans, which are erased, is gone, and so are its keys of replay."""
    of_them = (_FEEDBACK.c.owner == owner) & _FEEDBACK.c.scan_id.in_(scan_ids)
    feedback_ids = connection.scalars(sa.select(_FEEDBACK.c.id).where(of_them)).all()
    if not feedback_ids:
        return
    replays.forget(connection, owner=owner, subjects=feedback_ids)
    connection.execute(sa.delete(FeedbackRow).where(of_them))


class SqlFeedback:
    """The feedback of one database. Raises Unavailable."""

    def __init__(self, database: Database, *, scans: Scans) -> None:
        self._database = database
        self._scans = scans

    async def create(
        self, new: NewFeedback, *, check: Callable[[Scan, int], None]
    ) -> Feedback | None:
        """Record it with the verdict and sha256 of its scan, and return it; None: no such scan.

        Raises KeyTaken, and records nothing, if the key of its `replay` was used before.
        """
        return await self._database.write(lambda c: self._create(c, new, check))

    async def get(self, feedback_id: str, *, owner: str) -> Feedback | None:
        """Return the owner's, or None."""
        is_it = (_FEEDBACK.c.id == feedback_id) & (_FEEDBACK.c.owner == owner)
        rows = await self._database.rows(sa.select(_FEEDBACK).where(is_it))
        return _feedback(rows[0]._mapping) if rows else None

    async def page(
        self, *, owner: str, scan_id: str | None, before: str | None, limit: int
    ) -> Sequence[Feedback]:
        """Return the owner's, of one scan or of all, newest first, older than the id `before`."""
        query = sa.select(_FEEDBACK).where(_FEEDBACK.c.owner == owner)
        if scan_id is not None:
            query = query.where(_FEEDBACK.c.scan_id == scan_id)
        if before is not None:
            query = query.where(_FEEDBACK.c.id < before)
        rows = await self._database.rows(query.order_by(_FEEDBACK.c.id.desc()).limit(limit))
        return [_feedback(row._mapping) for row in rows]

    def _create(
        self, connection: sa.Connection, new: NewFeedback, check: Callable[[Scan, int], None]
    ) -> Feedback | None:
        held = self._scans.hold(connection, owner=new.owner, scan_id=new.scan_id)
        if held is None:
            return None
        if new.replay is not None:  # before the check: a used key is answered, whatever is now
            use = replays.Use(owner=new.owner, replay=new.replay, subject=new.id)
            replays.take(connection, use, now=new.at)
        check(held.scan, _count(connection, new.scan_id))
        row = _row(new, held.scan)
        connection.execute(sa.insert(FeedbackRow).values(row))
        return _feedback(row)


def _count(connection: sa.Connection, scan_id: str) -> int:
    of_scan = _FEEDBACK.c.scan_id == scan_id
    return connection.scalar(sa.select(sa.func.count()).where(of_scan)) or 0


def _row(new: NewFeedback, scan: Scan) -> dict[str, Any]:
    return {
        "id": new.id,
        "owner": new.owner,
        "scan_id": new.scan_id,
        "label": new.label.value,
        "comment": new.comment,
        "sha256": scan.input.sha256,
        "verdict": scan.verdict and scan.verdict.value,
        "created_at": new.at,
    }


def _feedback(columns: Mapping[str, Any]) -> Feedback:
    return Feedback(
        id=columns["id"],
        scan_id=columns["scan_id"],
        label=FeedbackLabel(columns["label"]),
        comment=columns["comment"],
        sha256=columns["sha256"],
        verdict=None if columns["verdict"] is None else Verdict(columns["verdict"]),
        created_at=rfc3339(columns["created_at"]),
    )
