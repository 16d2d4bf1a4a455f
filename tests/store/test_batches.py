"""When a batch is over, over SQLite and PostgreSQL: however its scans end, whoever ends them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from sdk.wire import BatchStatus, EventType
from server import ids
from server.courier import Bell
from server.ports import KeyTaken, Opened, Replay
from server.rules.batches import NewBatch
from server.settings import ServerSettings
from server.store.batches import SqlBatches
from server.store.engine import Database, database_file
from server.store.scans import SqlScans
from server.store.tables import BatchRow, EventRow
from tests.fakes import ManualClock
from tests.server.scenes import completed
from tests.store.asked import OWNER, asked
from tests.store.conftest import opened

pytestmark = pytest.mark.anyio


def _new(clock: ManualClock, *, total: int, replay: Replay | None = None) -> NewBatch:
    return NewBatch(
        id=ids.new("batch", clock.now()),
        owner=OWNER,
        total=total,
        refused=(),
        metadata={},
        callback_url="https://example.com/told",
        replay=replay,
        at=clock.now(),
    )


def _scans(new: NewBatch, count: int) -> list[Opened]:
    return [asked(new.at, batch_id=new.id, batch_index=index) for index in range(count)]


async def _told(database: Database) -> int:
    query = sa.select(sa.func.count()).where(EventRow.type == EventType.BATCH_COMPLETED.value)
    return int((await database.rows(query.select_from(EventRow)))[0][0])


@asynccontextmanager
async def _another(settings: ServerSettings) -> AsyncIterator[Database]:
    database = Database(settings, quick_seconds=30)
    try:
        yield database
    finally:
        await database.aclose()


async def test_batch_ends_once_when_processes_close_its_last_scans_at_the_same_time(
    store_settings: ServerSettings, clock: ManualClock
) -> None:
    async with opened(store_settings) as one, _another(store_settings) as other:
        records = [SqlScans(one, clock), SqlScans(other, clock)]
        batches = SqlBatches(one, bell=Bell())
        for turn in range(8):
            new = _new(clock, total=2)
            scans = _scans(new, 2)
            await batches.open(new, scans)

            async with anyio.create_task_group() as group:
                for store, scan in zip(records, scans, strict=True):
                    group.start_soon(store.close, [completed(scan.scan.id)])

            batch = await batches.get(new.id, owner=OWNER)
            assert batch is not None
            assert (batch.status, batch.counts.completed) == (BatchStatus.COMPLETED, 2)
            assert await _told(one) == turn + 1


async def test_key_that_was_used_leaves_nothing_of_the_batch(
    database: Database, clock: ManualClock
) -> None:
    batches = SqlBatches(database, bell=Bell())
    key = Replay(key="once", fingerprint="0" * 64)
    first = _new(clock, total=1, replay=key)
    await batches.open(first, _scans(first, 1))
    second = _new(clock, total=1, replay=key)

    with pytest.raises(KeyTaken):
        await batches.open(second, _scans(second, 1))

    assert await batches.get(second.id, owner=OWNER) is None
    assert len(await database.rows(sa.select(BatchRow.id))) == 1


@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
async def test_no_statement_about_a_batch_walks_a_table(
    store_settings: ServerSettings, clock: ManualClock
) -> None:
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        seen.append((text, values[0] if isinstance(values, list) else values))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        async with opened(store_settings) as database:
            batches, new = SqlBatches(database, bell=Bell()), _new(clock, total=2)
            one, other = _scans(new, 2)
            await batches.precedents([one, other])
            await batches.open(new, [one, other])
            await batches.get(new.id, owner=OWNER)
            await batches.refused(new.id, owner=OWNER)
            await batches.scans(new.id, owner=OWNER, first=0, limit=100)
            await batches.waiting(new.id, owner=OWNER)
            outcomes = [completed(scan.scan.id) for scan in (one, other)]
            await SqlScans(database, clock).close(outcomes)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)

    with closing(sqlite3.connect(database_file(store_settings))) as connection:
        plans = {
            text: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            for text, values in seen
            if text.startswith(("SELECT", "UPDATE"))
        }
    assert any("ix_scans_batch" in line for lines in plans.values() for line in lines)
    walked = {text: lines for text, lines in plans.items() if any("SCAN" in one for one in lines)}
    assert walked == {}


async def test_courier_is_told_when_a_batch_ends_as_it_is_made(
    database: Database, clock: ManualClock
) -> None:
    bell = Bell()

    made = await SqlBatches(database, bell=bell).open(_new(clock, total=0), [])

    assert made.batch.status is BatchStatus.COMPLETED
    with anyio.fail_after(10):
        await bell.wait(60)
