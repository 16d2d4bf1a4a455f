"""What every store relies on: work runs whole or not at all, ends in time, and is not cut off."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

from server.ports import Unavailable
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.tables import TombstoneRow

pytestmark = pytest.mark.anyio


def insert(connection: sa.Connection, number: int = 1) -> None:
    row = {"scan_id": f"scan_{number}", "owner": "ada", "erased_at": 1.0, "erased_by": "key_1"}
    connection.execute(sa.insert(TombstoneRow).values(row))


def pause(connection: sa.Connection) -> None:
    """Take a while: on SQLite this is a thread, on PostgreSQL the loop, which must not wait."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_sleep(0.4)"))
    else:
        threading.Event().wait(0.4)


async def count(database: Database) -> int:
    return len(await database.rows(sa.select(TombstoneRow.scan_id)))


async def test_write_returns_what_the_work_returns_and_is_committed(database: Database) -> None:
    def work(connection: sa.Connection) -> str:
        insert(connection)
        return "done"

    assert await database.write(work) == "done"
    assert await count(database) == 1


async def test_work_that_fails_half_way_leaves_nothing(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        insert(connection)
        raise KeyError("another reason")

    with pytest.raises(KeyError):
        await database.write(work)

    assert await count(database) == 0


async def test_work_after_work_that_failed_is_whole(database: Database) -> None:
    def fail_to_write(connection: sa.Connection) -> None:
        insert(connection)
        raise KeyError("a reason of its own")

    def fail_to_read(connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT * FROM nothing"))

    with pytest.raises(KeyError):
        await database.write(fail_to_write)
    with pytest.raises((Unavailable, ProgrammingError)):
        await database.read(fail_to_read)
    await database.write(insert)

    assert await count(database) == 1


async def test_writes_at_once_are_each_committed(database: Database) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(database.write, partial(insert, number=number))

    assert await count(database) == 20


async def test_rows_takes_the_values_of_its_parameters(database: Database) -> None:
    await database.write(insert)
    query = sa.select(TombstoneRow.owner).where(TombstoneRow.scan_id == sa.bindparam("which"))

    assert [row.owner for row in await database.rows(query, {"which": "scan_1"})] == ["ada"]
    assert await database.rows(query, {"which": "scan_2"}) == []


async def test_fault_of_ours_is_no_outage(database: Database) -> None:
    await database.write(insert)

    with pytest.raises(IntegrityError):
        await database.write(insert)


async def test_work_whose_caller_went_away_is_committed_before_the_database_closes(
    database: Database, store_settings: ServerSettings
) -> None:
    begun = threading.Event()

    def slow(connection: sa.Connection) -> None:
        insert(connection)
        begun.set()
        pause(connection)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(database.write, slow, seconds=30))
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    await database.aclose()

    again = Database(store_settings)
    assert await count(again) == 1
    await again.aclose()


async def test_answer_that_takes_too_long_is_unavailable(database: Database) -> None:
    with pytest.raises(Unavailable, match="no answer within "):
        await database.read(pause, seconds=0.05)
