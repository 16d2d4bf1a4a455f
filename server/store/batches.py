"""SQL DOOR: batches. What a batch asks for is recorded whole, in one commit, or not at all.

    open      INSERT batch, its key, all its scans  -->  committed: they exist
    get       one row, and counts by ix_scans_batch
    results   scans by their place in the batch, a page
    waiting   what of it is not final, to be canceled

Ends of batches are in batch_ends.py, with whoever closes scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from sdk.wire import Batch, Problem, Scan
from server.ports import Opened, Precedent
from server.rules.batches import Made, NewBatch

from . import replays, scans
from .batch_ends import batch_of, ended
from .engine import PATIENT_SECONDS, Database
from .scan_rows import scan_of
from .tables import BatchRow, ScanRow

OPEN_SECONDS = 5.0
"""Longest wait for a commit with a thousand scans."""

_BATCHES = BatchRow.__table__
_refused_decoder = msgspec.json.Decoder(list[tuple[int, Problem]])


class Bell(Protocol):
    """Tells the courier that there is something to deliver."""

    def ring(self) -> None:
        """Let it look at once."""
        ...


class SqlBatches:
    """Batches, as rules/batches.py describes them, over one database. Raises Unavailable."""

    def __init__(self, database: Database, *, bell: Bell) -> None:
        self._database = database
        self._bell = bell

    async def precedents(self, openeds: Sequence[Opened]) -> list[list[Precedent]]:
        """Return, for each scan, what workers found of the same image."""

        def work(connection: sa.Connection) -> list[list[Precedent]]:
            return [scans.precedents(connection, opened) for opened in openeds]

        found: list[list[Precedent]] = await self._database.read(work, seconds=OPEN_SECONDS)
        return found

    async def open(self, new: NewBatch, openeds: Sequence[Opened]) -> Made:
        """Record a batch and its scans; raises KeyTaken, and records nothing, if its key was."""

        def work(connection: sa.Connection) -> tuple[Made, int]:
            _take_key(connection, new)
            connection.execute(sa.insert(BatchRow).values(_row(new)))
            inserted = scans.insert(connection, openeds, now=new.at)
            deliveries = inserted.deliveries
            if not openeds:
                deliveries += ended(connection, [new.id], now=new.at)
            recorded = tuple(scan for scan in inserted.scans if scan is not None)
            return Made(_one(connection, new.id), recorded), deliveries

        made, deliveries = await self._database.write(work, seconds=OPEN_SECONDS)
        if deliveries:
            self._bell.ring()
        return made

    async def get(self, batch_id: str, *, owner: str) -> Batch | None:
        """Return the owner's batch as it is now, or None."""

        def work(connection: sa.Connection) -> Batch | None:
            row = connection.execute(_theirs(batch_id, owner)).one_or_none()
            return None if row is None else batch_of(connection, row)

        batch: Batch | None = await self._database.read(work)
        return batch

    async def refused(self, batch_id: str, *, owner: str) -> tuple[int, dict[int, Problem]] | None:
        """Return how many items the owner's batch has, and which were refused and why, or None."""
        rows = await self._database.rows(_theirs(batch_id, owner))
        if not rows:
            return None
        return rows[0].total, dict(_refused_decoder.decode(rows[0].refused_json))

    async def scans(self, batch_id: str, *, owner: str, first: int, limit: int) -> dict[int, Scan]:
        """Return the scans of `limit` items of a batch, from the item `first` on, by item."""
        query = (
            sa.select(ScanRow.__table__)
            .where(
                ScanRow.batch_id == batch_id,
                ScanRow.owner == owner,
                ScanRow.batch_index >= first,
                ScanRow.batch_index < first + limit,
            )
            .order_by(ScanRow.batch_index)
        )
        rows = await self._database.rows(query, seconds=PATIENT_SECONDS)
        return {row.batch_index: scan_of(row) for row in rows}

    async def waiting(self, batch_id: str, *, owner: str) -> list[Scan]:
        """Return those scans of a batch that are not final."""
        query = sa.select(ScanRow.__table__).where(
            ScanRow.batch_id == batch_id, ScanRow.owner == owner, ScanRow.completed_at.is_(None)
        )
        return [scan_of(row) for row in await self._database.rows(query, seconds=OPEN_SECONDS)]


def _take_key(connection: sa.Connection, new: NewBatch) -> None:
    if new.replay is not None:
        use = replays.Use(owner=new.owner, replay=new.replay, subject=new.id)
        replays.take(connection, use, now=new.at)


def _theirs(batch_id: str, owner: str) -> sa.Select[Any]:
    return sa.select(_BATCHES).where(BatchRow.id == batch_id, BatchRow.owner == owner)


def _one(connection: sa.Connection, batch_id: str) -> Batch:
    row = connection.execute(sa.select(_BATCHES).where(BatchRow.id == batch_id)).one()
    return batch_of(connection, row)


def _row(new: NewBatch) -> dict[str, object]:
    return {
        "id": new.id,
        "owner": new.owner,
        "total": new.total,
        "refused_json": msgspec.json.encode(new.refused).decode(),
        "metadata_json": msgspec.json.encode(new.metadata).decode(),
        "callback_url": new.callback_url,
        "created_at": new.at,
        "completed_at": None,
    }
