"""SQL as it really is: damaged files, locks, full disks, versions, two processes over one file."""

from __future__ import annotations

import resource
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import Connection, Executable, create_engine
from sqlalchemy.dialects import sqlite

from sdk.environment import Secret
from sdk.wire import Status
from server.ending import ended
from server.ports import Unavailable
from server.refused import StartRefused
from server.rules.caller import LOCAL_OWNER
from server.settings import ServerSettings
from server.store.engine import alembic_config
from server.store.scan_queries import OF_PLACE, OF_UPLOAD
from server.store.tables import ScanRow
from tests.fakes import ManualClock
from tests.server.scenes import completed, opened
from tests.server.sql_records import SqlRecords
from worker.contract import RedisSettings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def local(tmp_path: Path) -> ServerSettings:
    return ServerSettings(redis=RedisSettings(state_dir=tmp_path / "state"))


@pytest.fixture
def file(local: ServerSettings) -> Path:
    return local.redis.state_dir / "records.sqlite3"


@pytest.fixture
async def records(local: ServerSettings, clock: ManualClock) -> AsyncIterator[SqlRecords]:
    records = SqlRecords(local, clock)
    await records.prepare()
    yield records
    await records.aclose()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock of a database, as another process might."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file grow beyond the size that this one has, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_commit_is_synced_to_a_write_ahead_log(records: SqlRecords) -> None:
    # What the promise of a 202 rests on; SQLite would not complain if it were otherwise.
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await records._database.read(pragmas) == ["wal", 2]
    assert await records._database.write(pragmas) == ["wal", 2]


async def test_migrations_make_the_tables_that_the_code_uses(
    records: SqlRecords, file: Path
) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), ScanRow.metadata)
    engine.dispose()

    assert differences == []


PREPARE = """
import sys, anyio
from pathlib import Path
from server.clock import SystemClock
from server.store.engine import Database
from server.settings import ServerSettings
from worker.contract import RedisSettings

settings = ServerSettings(redis=RedisSettings(state_dir=Path(sys.argv[1])))
anyio.run(Database(settings).prepare)
"""


async def test_prepare_may_run_in_many_processes_at_once(
    local: ServerSettings, clock: ManualClock
) -> None:
    words = [sys.executable, "-c", PREPARE, str(local.redis.state_dir)]

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(partial(anyio.run_process, words, cwd=ROOT))

    records = SqlRecords(local, clock)
    await records.ping()
    await records.aclose()


async def test_scans_are_there_after_a_restart(
    records: SqlRecords, local: ServerSettings, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)

    again = SqlRecords(local, clock)
    await again.prepare()

    assert await again.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan
    await again.aclose()


@pytest.mark.usefixtures("records")
async def test_state_folder_is_ours_alone(local: ServerSettings) -> None:
    folder = await anyio.Path(local.redis.state_dir).stat()

    assert folder.st_mode & 0o777 == 0o700


DAMAGE = {
    "not a database": lambda data: b"hello" * 1000,
    "one page overwritten": lambda data: data[:-8192] + b"\xff" * 4096 + data[-4096:],
    "cut off": lambda data: data[: len(data) // 2 - 100],
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damaged_file_refuses_the_start_and_says_what_to_do(
    records: SqlRecords, file: Path, local: ServerSettings, clock: ManualClock, damage: str
) -> None:
    for _ in range(200):
        await records.open(opened(clock.now()))
    await records.aclose()
    _overwrite(file, DAMAGE[damage])
    again = SqlRecords(local, clock)

    with pytest.raises(StartRefused) as caught:
        await again.prepare()

    sentence = str(caught.value)
    assert str(file) in sentence
    assert "is damaged" in sentence
    assert "move it aside" in sentence
    assert caught.value.is_lasting
    await again.aclose()


def _overwrite(file: Path, damage: Callable[[bytes], bytes]) -> None:
    file.write_bytes(damage(file.read_bytes()))


async def test_file_of_a_newer_version_refuses_the_start(
    records: SqlRecords, file: Path, local: ServerSettings, clock: ManualClock
) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StartRefused, match="newer version"):
        await SqlRecords(local, clock).prepare()


async def test_folder_in_place_of_the_file_refuses_the_start(
    file: Path, local: ServerSettings, clock: ManualClock
) -> None:
    await anyio.Path(file).mkdir(parents=True)

    with pytest.raises(StartRefused, match="cannot be opened"):
        await SqlRecords(local, clock).prepare()


async def test_file_in_place_of_the_folder_refuses_the_start(
    local: ServerSettings, clock: ManualClock
) -> None:
    await anyio.Path(local.redis.state_dir).write_text("")

    with pytest.raises(StartRefused, match="cannot be opened"):
        await SqlRecords(local, clock).prepare()


async def test_postgres_that_is_not_there_refuses_the_start_for_now(
    tmp_path: Path, clock: ManualClock
) -> None:
    address = Secret(f"postgresql://user:hunter2@/name?host={tmp_path}")
    there_is_none = ServerSettings(redis=RedisSettings(state_dir=tmp_path), database_url=address)

    with pytest.raises(StartRefused) as caught:
        await SqlRecords(there_is_none, clock).prepare()

    assert not caught.value.is_lasting
    assert "DATABASE_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_open_gives_up_on_a_locked_file_and_works_again_after(
    records: SqlRecords, file: Path, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    with locked(file), anyio.fail_after(30), pytest.raises(Unavailable, match="store"):
        await records.open(scan)

    await records.open(scan)

    assert await records.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan


async def test_open_waits_for_no_writer_for_ever(records: SqlRecords, clock: ManualClock) -> None:
    writing, over = threading.Event(), threading.Event()

    def write(_: Connection) -> None:
        writing.set()
        assert over.wait(30)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(records._database.write, write, seconds=30))
        await anyio.to_thread.run_sync(writing.wait)
        with anyio.fail_after(30), pytest.raises(Unavailable, match="no answer within"):
            await records.open(opened(clock.now()))
        over.set()

    scan = opened(clock.now())
    await records.open(scan)

    assert await records.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan


async def test_reading_goes_on_while_the_file_is_locked(
    records: SqlRecords, file: Path, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)

    with locked(file):
        assert await records.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan


async def test_full_disk_is_unavailable_and_passes(
    records: SqlRecords, file: Path, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(opened(clock.now()))
    with (
        full_disk(file.with_name("records.sqlite3-wal")),
        pytest.raises(Unavailable, match="store"),
    ):
        await records.open(scan)

    await records.open(scan)

    assert await records.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan


async def test_damage_while_running_is_unavailable(
    records: SqlRecords, file: Path, clock: ManualClock
) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE scans")
    connection.close()

    with pytest.raises(Unavailable):
        await records.get(opened(clock.now()).scan.id, owner=LOCAL_OWNER)


async def test_many_opened_at_once_are_all_recorded(
    records: SqlRecords, clock: ManualClock
) -> None:
    scans = [opened(clock.now()) for _ in range(100)]

    async with anyio.create_task_group() as group:
        for scan in scans:
            group.start_soon(records.open, scan)

    assert {entry.scan_id for entry in await records.stale(clock.now() + 1)} == {
        scan.scan.id for scan in scans
    }


async def test_watch_hears_of_a_scan_that_another_process_recorded(
    records: SqlRecords, local: ServerSettings, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)
    other = SqlRecords(local, clock)
    seen: list[Status] = []

    async def watch() -> None:
        got = await records.watch(scan.scan.id, 60, owner=LOCAL_OWNER)
        assert got is not None
        seen.append(got.status)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            runs = anyio.CancelScope()
            group.start_soon(_run_in, runs, records)
            async with anyio.create_task_group() as watching:
                watching.start_soon(watch)
                await anyio.wait_all_tasks_blocked()
                await other.close([completed(scan.scan.id)])
                clock.advance(1)
            runs.cancel()

    assert seen == [Status.COMPLETED]
    await other.aclose()


async def _run_in(scope: anyio.CancelScope, records: SqlRecords) -> None:
    with scope:
        await records.run()


async def test_run_goes_on_after_a_fault_of_ours(
    records: SqlRecords, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = 0

    async def broken() -> None:
        nonlocal called
        called += 1
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(records, "_wake_final", broken)
    async with anyio.create_task_group() as group:
        group.start_soon(records.run)
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert called == 3


@pytest.mark.parametrize(
    ("query", "index"), [(OF_PLACE, "ix_scans_place"), (OF_UPLOAD, "ix_scans_sha256")]
)
async def test_precedents_are_found_by_their_index_and_in_its_order(
    records: SqlRecords, file: Path, query: Executable, index: str
) -> None:
    compiled = query.compile(dialect=sqlite.dialect())  # type: ignore[attr-defined]
    values = [None] * len(compiled.positiontup)

    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", values).fetchall()

    steps = [step for *_, step in rows]
    assert len(steps) == 1, "a second step would be a sort"
    assert f"USING INDEX {index} (" in steps[0]


async def test_scans_of_the_version_before_are_read_and_recalled_by_nobody(
    local: ServerSettings, file: Path, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    before = SqlRecords(local, clock)
    await before.prepare()
    await before.open(scan)
    await before.close([completed(scan.scan.id)])
    await before.aclose()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
    engine.dispose()

    after = SqlRecords(local, clock)
    await after.prepare()

    got = await after.get(scan.scan.id, owner=LOCAL_OWNER)
    assert got is not None
    assert got.status is Status.COMPLETED
    assert await after.precedents(replace(scan, place="ab" * 16)) == []
    await after.aclose()


async def test_scan_that_was_given_a_verdict_stands_in_no_index_of_precedents(
    records: SqlRecords, file: Path, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    final = ended(scan.scan, completed(scan.scan.id), sequence=1, completed_at="")

    await records.open(replace(scan, scan=final, place="ab" * 16))

    with closing(sqlite3.connect(file)) as connection:
        row = connection.execute("SELECT place, judge, outcome, sha256 FROM scans").fetchone()
    assert row == (None, None, None, "ab" * 32)
