"""SQL DOOR: forgets what is too old, a small transaction at a time. Decides no age.

    scans      by id, which sorts by time  -->  their events, appeals, feedback, keys, and they
    batches    by id, no scan left         -->  the same of a batch
    replays, endpoints of callback_urls    -->  as many as fit

What is found first is told in `after`, so that what has to stay is not looked at again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sdk.wire import AppealState
from server import ids
from server.rules.retention import Step

from . import appeals, audit, feedback, replays, webhooks
from .engine import PATIENT_SECONDS, Database, Work
from .tables import BatchRow, DeliveryRow, EndpointRow, ReplayRow, ScanRow

SCANS_AT_ONCE = 100
"""Most scans in one transaction: with their events, about as long as a batch of outcomes."""
ROWS_AT_ONCE = 500
"""Most other rows in one."""
ACTOR = "retention"
ACTION = "retention.erase"


class SqlRetention:
    """Store of rules/retention.py over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget_scans(self, *, before: float, after: str) -> Step:
        """Erase final scans that were asked for before, whose id is above `after`."""
        query = (
            sa.select(ScanRow.id, ScanRow.owner)
            .where(
                ScanRow.id > after,
                ScanRow.id < _first_id("scan", before),
                ScanRow.completed_at.is_not(None),
                ScanRow.appeal_state != AppealState.OPEN.value,
            )
            .order_by(ScanRow.id)
            .limit(SCANS_AT_ONCE)
            .with_for_update(skip_locked=True)
        )

        def forget(connection: sa.Connection) -> Step:
            rows = connection.execute(query).all()
            scan_ids = [row.id for row in rows]
            for owner in {row.owner for row in rows}:
                theirs = [row.id for row in rows if row.owner == owner]
                appeals.forget(connection, owner=owner, scan_ids=theirs)
                feedback.forget(connection, owner=owner, scan_ids=theirs)
            _forget_told(connection, scan_ids)
            connection.execute(sa.delete(ScanRow).where(ScanRow.id.in_(scan_ids)))
            return _step(scan_ids, SCANS_AT_ONCE)

        return await self._do(forget)

    async def forget_batches(self, *, before: float, after: str) -> Step:
        """Forget completed batches of before of which no scan is left."""
        query = (
            sa.select(BatchRow.id)
            .where(
                BatchRow.id > after,
                BatchRow.id < _first_id("batch", before),
                BatchRow.completed_at.is_not(None),
                ~sa.exists().where(ScanRow.batch_id == BatchRow.id),
            )
            .order_by(BatchRow.id)
            .limit(ROWS_AT_ONCE)
        )

        def forget(connection: sa.Connection) -> Step:
            batch_ids = list(connection.scalars(query))
            _forget_told(connection, batch_ids)
            connection.execute(sa.delete(BatchRow).where(BatchRow.id.in_(batch_ids)))
            return _step(batch_ids, ROWS_AT_ONCE)

        return await self._do(forget)

    async def forget_replays(self, *, now: float) -> Step:
        """Forget answers that may not be given again any more."""
        key = sa.tuple_(ReplayRow.owner, ReplayRow.key)
        old = (
            sa.select(ReplayRow.owner, ReplayRow.key)
            .where(ReplayRow.created_at <= now - replays.KEPT_SECONDS)
            .limit(ROWS_AT_ONCE)
        )
        return await self._do(lambda connection: _delete(connection, ReplayRow, key.in_(old)))

    async def forget_callbacks(self, *, before: float) -> Step:
        """Forget endpoints of callback_urls that are as old and have no delivery left.

        The one without a URL has the owner's callback secrets, and stays.
        """
        old = (
            sa.select(EndpointRow.id)
            .where(
                EndpointRow.is_callback == sa.true(),
                EndpointRow.url != "",
                EndpointRow.created_at < before,
                ~sa.exists().where(DeliveryRow.endpoint_id == EndpointRow.id),
            )
            .limit(ROWS_AT_ONCE)
        )

        def forget(connection: sa.Connection) -> Step:
            if connection.dialect.name == "postgresql":
                # Whoever is about to deliver to one of them makes sure of it by INSERT: wait for
                # them, and let others wait, or their delivery would have lost its endpoint.
                connection.execute(sa.text("LOCK TABLE endpoints IN SHARE ROW EXCLUSIVE MODE"))
            return _delete(connection, EndpointRow, EndpointRow.id.in_(old))

        return await self._do(forget)

    async def tell(self, counts: Mapping[str, int], *, before: float, now: float) -> None:
        """Write into the audit log how much was erased, and of before when."""
        detail = {**counts, "before": ids.rfc3339(before)}

        def add(connection: sa.Connection) -> None:
            audit.add(
                connection, actor=ACTOR, action=ACTION, subject="records", detail=detail, now=now
            )

        await self._database.write(add, seconds=PATIENT_SECONDS)

    async def _do(self, work: Work[Step]) -> Step:
        return await self._database.write(work, seconds=PATIENT_SECONDS)


def _forget_told(connection: sa.Connection, subjects: Sequence[str]) -> None:
    """Forget what was told of these: events with their deliveries, and keys of replay."""
    webhooks.erase(connection, subjects)
    connection.execute(sa.delete(ReplayRow).where(ReplayRow.subject.in_(subjects)))


def _delete(connection: sa.Connection, table: type[Any], is_old: sa.ColumnElement[bool]) -> Step:
    count = connection.execute(sa.delete(table).where(is_old)).rowcount
    return Step(count, "" if count == ROWS_AT_ONCE else None)


def _step(found: Sequence[str], most: int) -> Step:
    return Step(len(found), found[-1] if len(found) == most else None)


def _first_id(prefix: str, at: float) -> str:
    """Return what sorts before all ids that are made at this Unix time or later."""
    return ids.new(prefix, at)[:-16] + "0" * 16
