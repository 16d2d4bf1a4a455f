"""SQL DOOR: when a batch is over, in the transaction in which its last scan became final.

    ended   lock the batches  -->  none of their scans open any more?  -->  completed_at, event

Locked first and looked at after: of two who close the last two scans at once, the later one sees
what the other did. Counts are one query by an index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sdk.wire import Batch, BatchCounts, BatchStatus, EventData, EventType, Status
from server.ids import rfc3339

from . import webhooks
from .tables import BatchRow, ScanRow
from .webhooks import NewEvent

COMPLETED_SEQUENCE = 1
"""Sequence of a batch's one event."""

_BATCHES = BatchRow.__table__
_words_decoder = msgspec.json.Decoder(dict[str, str])


class _Anything(msgspec.Struct, array_like=True):
    """One refused item, of which only that it is there matters."""


_refused_decoder = msgspec.json.Decoder(list[_Anything])


def ended(connection: sa.Connection, batch_ids: Sequence[str], *, now: float) -> int:
    """Complete those of these batches that have no open scan; return how many deliveries tell.

    To be called once the scans are recorded as final, or erased, in the same transaction.
    """
    lock = (
        sa.select(BatchRow.id)
        .where(BatchRow.id.in_(batch_ids), BatchRow.completed_at.is_(None))
        .order_by(BatchRow.id)
        .with_for_update()
    )
    running = list(connection.scalars(lock))
    if not running:
        return 0
    open_ = sa.exists().where(ScanRow.batch_id == BatchRow.id, ScanRow.completed_at.is_(None))
    is_over = BatchRow.id.in_(running) & ~open_
    over = list(connection.scalars(sa.select(BatchRow.id).where(is_over)))
    if not over:
        return 0
    connection.execute(sa.update(BatchRow).where(BatchRow.id.in_(over)).values(completed_at=now))
    events = [_event(connection, batch_id) for batch_id in over]
    return int(webhooks.add(connection, events, now=now))


def counts_of(connection: sa.Connection, row: Any) -> BatchCounts:
    """Return how many items of this batch are where; one that was erased counts as canceled."""
    query = (
        sa.select(ScanRow.status, sa.func.count())
        .where(ScanRow.batch_id == row.id)
        .group_by(ScanRow.status)
    )
    found = Counter({Status(status): count for status, count in connection.execute(query)})
    refused = len(_refused_decoder.decode(row.refused_json))
    completed, failed = found[Status.COMPLETED], found[Status.FAILED]
    waiting = sum(count for status, count in found.items() if not status.is_final)
    return BatchCounts(
        total=row.total,
        waiting=waiting,
        completed=completed,
        failed=failed,
        canceled=row.total - refused - waiting - completed - failed,
        refused=refused,
    )


def batch_of(connection: sa.Connection, row: Any) -> Batch:
    """Build the batch as callers see it."""
    is_over = row.completed_at is not None
    return Batch(
        id=row.id,
        status=BatchStatus.COMPLETED if is_over else BatchStatus.RUNNING,
        counts=counts_of(connection, row),
        metadata=_words_decoder.decode(row.metadata_json),
        created_at=rfc3339(row.created_at),
        completed_at=rfc3339(row.completed_at) if is_over else None,
    )


def _event(connection: sa.Connection, batch_id: str) -> NewEvent:
    row = connection.execute(sa.select(_BATCHES).where(BatchRow.id == batch_id)).one()
    return NewEvent(
        owner=row.owner,
        type=EventType.BATCH_COMPLETED,
        subject=row.id,
        sequence=COMPLETED_SEQUENCE,
        data=EventData(batch=batch_of(connection, row)),
        callback_url=row.callback_url,
    )
