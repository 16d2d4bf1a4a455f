"""The audit log: every act chained to the one before, and what becomes of each way to touch it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from sdk.environment import Secret
from server.ports import Unavailable
from server.settings import ServerSettings
from server.store import audit
from server.store.audit import FaultKind, Head, SqlAudit
from server.store.engine import Database
from server.store.tables import AuditRow
from tests.store.conftest import opened
from worker.contract import RedisSettings

AT = 1_790_000_000.25

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """For what does not hang on the database: the walk along the chain."""
    async with opened(ServerSettings(redis=RedisSettings(state_dir=tmp_path))) as database:
        yield database


async def record(database: Database, count: int, *, actor: str = "key_1") -> None:
    def write(connection: sa.Connection) -> None:
        for number in range(count):
            audit.add(
                connection,
                actor=actor,
                action="scan.erase",
                subject=f"scan_{number}",
                detail={"why": "asked", "n": number},
                now=AT + number,
            )

    await database.write(write, seconds=60)


async def test_chain_of_acts_is_whole_and_has_them_newest_first(database: Database) -> None:
    await record(database, 3)
    await record(database, 1, actor="key_2")

    found = await SqlAudit(database).verify()
    entries = await SqlAudit(database).entries(actor="key_1", limit=2)

    assert (found.count, found.head.seq, found.fault) == (4, 4, None)
    assert [(entry.seq, entry.subject) for entry in entries] == [(3, "scan_2"), (2, "scan_1")]


async def test_log_without_rows_is_whole(database: Database) -> None:
    assert await SqlAudit(database).verify() == audit.Verified(0, Head(0, audit.GENESIS))


async def test_hash_can_be_made_by_anybody_with_sha256_and_json(database: Database) -> None:
    await record(database, 2)

    newest, first = await SqlAudit(database).entries()

    columns = [
        newest.seq,
        newest.at,
        newest.actor,
        newest.action,
        newest.subject,
        newest.detail_json,
        first.hash,
    ]
    text = json.dumps(columns, separators=(",", ":"), ensure_ascii=False)
    assert newest.hash == hashlib.sha256(text.encode()).hexdigest()


async def test_act_that_is_rolled_back_leaves_no_row(database: Database) -> None:
    def fail(connection: sa.Connection) -> None:
        audit.add(connection, actor="a", action="b", subject="c", now=AT)
        raise RuntimeError("the act failed")

    with pytest.raises(RuntimeError):
        await database.write(fail)

    await record(database, 1)
    assert (await SqlAudit(database).verify()).count == 1


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor = 'somebody'", "DELETE FROM audit WHERE seq = 2"],
)
async def test_database_refuses_to_touch_a_row(database: Database, statement: str) -> None:
    await record(database, 3)

    # SQLite's driver calls it an IntegrityError, and PostgreSQL's nothing that is our fault.
    with pytest.raises((IntegrityError, Unavailable), match="append-only"):
        await _run(database, sa.text(statement))

    assert (await SqlAudit(database).verify()).count == 3


TAMPERING = {
    "changed": ("UPDATE audit SET actor = 'somebody' WHERE seq = 3", 3, FaultKind.CHANGED),
    "changed_time": ("UPDATE audit SET at = at + 1 WHERE seq = 3", 3, FaultKind.CHANGED),
    "changed_hash": (f"UPDATE audit SET hash = '{'a' * 64}' WHERE seq = 3", 3, FaultKind.CHANGED),
    "removed": ("DELETE FROM audit WHERE seq = 3", 3, FaultKind.MISSING),
    "removed_first": ("DELETE FROM audit WHERE seq < 3", 1, FaultKind.MISSING),
    "renumbered": ("UPDATE audit SET seq = 9 WHERE seq = 5", 5, FaultKind.MISSING),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_verify_names_the_first_row_that_was_touched(sqlite: Database, name: str) -> None:
    statement, seq, kind = TAMPERING[name]
    await record(sqlite, 5)

    await _without_triggers(sqlite, sa.text(statement))

    fault = (await SqlAudit(sqlite).verify()).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (seq, kind)


async def test_row_that_was_made_to_look_right_does_not_fit_the_next(sqlite: Database) -> None:
    await record(sqlite, 5)
    entries = await SqlAudit(sqlite).entries()
    before = entries[-2].head
    forged = audit.sealed(
        before, at=AT, actor="somebody", action="scan.erase", subject="scan_9", detail={}
    )

    change = sa.update(AuditRow).where(AuditRow.seq == 3)
    values = {name: getattr(forged, name) for name in ("at", "actor", "subject", "detail_json")}
    await _without_triggers(sqlite, change.values(**values, hash=forged.hash))

    fault = (await SqlAudit(sqlite).verify()).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (4, FaultKind.INSERTED)


async def test_head_that_was_kept_tells_that_the_end_was_cut_off(sqlite: Database) -> None:
    await record(sqlite, 5)
    head = (await SqlAudit(sqlite).verify()).head

    await _without_triggers(sqlite, sa.text("DELETE FROM audit WHERE seq > 3"))

    assert (await SqlAudit(sqlite).verify()).fault is None
    fault = (await SqlAudit(sqlite).verify(head)).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (4, FaultKind.CUT)


async def test_head_that_was_kept_tells_that_all_was_written_anew(sqlite: Database) -> None:
    await record(sqlite, 3)
    head = (await SqlAudit(sqlite).verify()).head

    await _without_triggers(sqlite, sa.text("DELETE FROM audit"))
    await record(sqlite, 5, actor="somebody")

    assert (await SqlAudit(sqlite).verify()).fault is None
    fault = (await SqlAudit(sqlite).verify(head)).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (3, FaultKind.REWRITTEN)


async def test_head_that_was_kept_stays_right_while_the_log_grows(sqlite: Database) -> None:
    await record(sqlite, 3)
    head = (await SqlAudit(sqlite).verify()).head

    await record(sqlite, 3)

    assert (await SqlAudit(sqlite).verify(head)).fault is None


async def test_chain_longer_than_a_page_is_walked_to_its_end(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 4)
    await record(sqlite, 10)

    await _without_triggers(sqlite, sa.text("DELETE FROM audit WHERE seq = 9"))

    found = await SqlAudit(sqlite).verify()
    assert found.count == 8
    assert found.fault is not None
    assert found.fault.seq == 9


async def test_processes_that_append_at_once_make_one_chain(
    database: Database, store_settings: ServerSettings
) -> None:
    state_dir = str(store_settings.redis.state_dir)
    address = str(store_settings.database_url)
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=_append, args=(state_dir, address, f"key_{n}")) for n in range(3)
    ]

    for child in children:
        child.start()
    for child in children:
        await anyio.to_thread.run_sync(child.join)

    assert [child.exitcode for child in children] == [0, 0, 0]
    found = await SqlAudit(database).verify()
    assert (found.count, found.fault) == (60, None)


def _append(state_dir: str, address: str, actor: str) -> None:
    """Append 20 acts, each in a transaction of its own, as one of several processes."""

    async def run() -> None:
        redis = RedisSettings(state_dir=Path(state_dir))
        database = Database(ServerSettings(redis=redis, database_url=Secret(address)))
        left = 20
        while left:
            with suppress(Unavailable):  # SQLite: another process had its turn for too long
                await record(database, 1, actor=actor)
                left -= 1
        await database.aclose()

    anyio.run(run)


async def _run(database: Database, statement: sa.Executable) -> None:
    def work(connection: sa.Connection) -> None:
        connection.execute(statement)

    await database.write(work)


async def _without_triggers(database: Database, statement: sa.Executable) -> None:
    """Do what somebody can who owns the SQLite file."""

    def work(connection: sa.Connection) -> None:
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = connection.execute(query).all()
        for name, _ in triggers:
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sa.text(sql))

    await database.write(work)
