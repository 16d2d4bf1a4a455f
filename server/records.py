"""SQL DOOR: the truth about scans, in SQLite or PostgreSQL. Knows nothing of Redis or HTTP.

    prepare  check the file, run migrations  ---> or StartRefused, with what to do
    open     INSERT, queued                  ---> committed: the scan exists; one commit for all
                                                  who open at once
    close    UPDATE where not final          ---> committed: the first outcome stands, watchers wake
    stale    SELECT not final and old        ---> what the sweep must look at

SQLite runs in WAL mode and syncs each commit, because a 202 is a promise; writers take turns in
this process, and BEGIN IMMEDIATE makes them take turns between processes. Every call ends within
its limit: whatever goes wrong or takes too long is Unavailable("store").
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import (
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
import sqlalchemy as sa
import structlog
from advanced_alchemy.base import DefaultBase
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from sdk.wire import Input, Scan
from worker.contract import Entry, Outcome, decode_entry, decode_outcome, encode

from .ids import rfc3339
from .ports import Clock, Opened, Unavailable
from .refused import StartRefused
from .settings import ServerSettings
from .together import Together

QUICK_SECONDS = 0.9
"""Longest wait for the store while a caller waits."""
PATIENT_SECONDS = 10.0
"""Longest wait for the store in the background."""
BUSY_SECONDS = 0.7
"""How long SQLite waits for another process that writes; less than QUICK, so that it ends first."""
POLL_SECONDS = 1.0
"""How often watchers look for scans that another process recorded."""
IDS_AT_ONCE = 500
"""Most ids in one query."""
CONNECTIONS = 8
"""Most connections to the store; SQLite gives each a thread."""
MIGRATION_LOCK = 7_046_823
"""PostgreSQL advisory lock under which migrations run; the number means nothing."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")
_FAULTS = (SQLAlchemyError, sqlite3.Error, OSError)
_OURS = (DataError, IntegrityError, ProgrammingError)
_log = structlog.get_logger(__name__)
_Row = dict[str, object]
T = TypeVar("T")
_scan_decoder = msgspec.json.Decoder(Scan)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


class ScanRow(DefaultBase):
    """One scan. Times are Unix seconds; `opened`, `entry` and `outcome` are JSON."""

    __tablename__ = "scans"

    __table_args__ = (
        sa.Index("ix_scans_open", "created_at", **_where("completed_at IS NULL")),
        sa.Index("ix_scans_upload", "upload_id", **_where("upload_id IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(sa.String(31), primary_key=True)
    owner: Mapped[str | None] = mapped_column(sa.String(64))
    status: Mapped[str] = mapped_column(sa.String(16))
    sequence: Mapped[int]
    created_at: Mapped[float]
    deadline: Mapped[float]
    completed_at: Mapped[float | None]
    url: Mapped[str | None] = mapped_column(sa.Text)
    upload_id: Mapped[str | None] = mapped_column(sa.String(30))
    operating_point: Mapped[str] = mapped_column(sa.String(16))
    context: Mapped[str] = mapped_column(sa.Text)
    metadata_: Mapped[str] = mapped_column("metadata", sa.Text)
    opened: Mapped[str] = mapped_column(sa.Text)
    entry: Mapped[str] = mapped_column(sa.Text)
    outcome: Mapped[str | None] = mapped_column(sa.Text)


class SqlRecords:
    """Records and Uses over SQL, as ports.py describes them. `run` must run beside it."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = _engine(settings, busy_seconds=BUSY_SECONDS)
        self._writer = self._engine.execution_options(is_writer=True)
        self._turn = anyio.Lock()
        self._openings: Together[_Row] = Together(self._open)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._waiting: dict[str, list[anyio.Event]] = {}
        self._is_prepared = False

    async def prepare(self) -> None:
        """Make the store ready: the file whole, the tables of this version. Raises StartRefused."""
        if self._is_prepared:
            return
        engine = _engine(self._settings, busy_seconds=PATIENT_SECONDS)
        try:
            await _check_and_migrate(engine, self._settings)
        finally:
            await engine.dispose()
        self._is_prepared = True

    async def run(self) -> None:
        """Wake watchers of scans that another process recorded, until cancelled."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            try:
                await self._wake_final()
            except Unavailable:
                continue  # whoever asks for a scan hears of it
            except Exception as error:
                _log.error("watch_failed", exc_info=error)

    async def aclose(self) -> None:
        """Close all connections, after what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENT_SECONDS)
        await self._engine.dispose()

    async def open(self, opened: Opened) -> None:
        """Record a new scan as queued."""
        await self._openings.do(_row_of(opened, self._clock.now()))

    async def get(self, scan_id: str) -> Scan | None:
        """Return the scan as last recorded, or None."""
        rows = await self._read(QUICK_SECONDS, sa.select(ScanRow).where(ScanRow.id == scan_id))
        return _scan_of(rows[0]) if rows else None

    async def watch(self, scan_id: str, seconds: float) -> Scan | None:
        """Return the scan once it is final, or as it is after `seconds`."""
        with self._waits_for(scan_id) as is_final:
            scan = await self.get(scan_id)
            if scan is None or scan.status.is_final:
                return scan
            with anyio.move_on_after(seconds):
                await is_final.wait()
        return await self.get(scan_id)

    async def close(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Record outcomes in one commit; the first for a scan wins. Returns ids recorded now."""
        first = {outcome.scan_id: outcome for outcome in reversed(outcomes)}
        if not first:
            return []
        recorded = await self._bounded(PATIENT_SECONDS, self._update(first))
        self._wake(recorded)
        return recorded

    async def stale(self, before: float) -> list[Entry]:
        """Return the entries of scans that are not final and were opened before this Unix time."""
        query = (
            sa.select(ScanRow.entry)
            .where(ScanRow.completed_at.is_(None), ScanRow.created_at < before)
            .order_by(ScanRow.created_at)
        )
        rows = await self._read(PATIENT_SECONDS, query)
        return [decode_entry(entry.encode()) for (entry,) in rows]

    async def ping(self) -> None:
        """Return if the store can be read; raises Unavailable."""
        await self._read(QUICK_SECONDS, sa.select(ScanRow.id).limit(1))

    async def uses(self, upload_ids: Sequence[str], since: float) -> dict[str, bool]:
        """Return which of these uploads a scan has named, and whether one still needs it."""
        is_needed = ScanRow.completed_at.is_(None) | (ScanRow.completed_at > since)
        found: dict[str, bool] = {}
        for ids in _by(IDS_AT_ONCE, upload_ids):
            query = (
                sa.select(ScanRow.upload_id, sa.func.max(sa.case((is_needed, 1), else_=0)))
                .where(ScanRow.upload_id.in_(ids))
                .group_by(ScanRow.upload_id)
            )
            rows = await self._read(PATIENT_SECONDS, query)
            found.update({upload_id: bool(needed) for upload_id, needed in rows})
        return found

    async def _wake_final(self) -> None:
        for ids in _by(IDS_AT_ONCE, list(self._waiting)):
            is_final = ScanRow.completed_at.is_not(None)
            query = sa.select(ScanRow.id).where(ScanRow.id.in_(ids), is_final)
            rows = await self._read(QUICK_SECONDS, query)
            self._wake([scan_id for (scan_id,) in rows])

    def _wake(self, scan_ids: Sequence[str]) -> None:
        for scan_id in scan_ids:
            for is_final in self._waiting.get(scan_id, ()):
                is_final.set()

    @contextmanager
    def _waits_for(self, scan_id: str) -> Iterator[anyio.Event]:
        is_final = anyio.Event()
        waiting = self._waiting.setdefault(scan_id, [])
        waiting.append(is_final)
        try:
            yield is_final
        finally:
            waiting.remove(is_final)
            if not waiting:
                self._waiting.pop(scan_id, None)

    async def _open(self, rows: Sequence[_Row]) -> None:
        await self._bounded(QUICK_SECONDS, self._insert(rows))

    async def _insert(self, rows: Sequence[_Row]) -> None:
        async with self._writing() as connection:
            await connection.execute(sa.insert(ScanRow), list(rows))

    async def _update(self, outcomes: Mapping[str, Outcome]) -> list[str]:
        async with self._writing() as connection:
            is_open = ScanRow.id.in_(outcomes) & ScanRow.completed_at.is_(None)
            query = sa.select(ScanRow.id).where(is_open).with_for_update()
            recorded = list((await connection.execute(query)).scalars())
            if recorded:
                now = self._clock.now()
                rows = [_ending(outcomes[scan_id], now) for scan_id in recorded]
                await connection.execute(_END, rows)
        return recorded

    async def _read(self, seconds: float, query: sa.Executable) -> Sequence[Any]:
        async def read() -> Sequence[Any]:
            async with self._engine.connect() as connection:
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows

        return await self._bounded(seconds, read())

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that commits at the end of the block."""
        # SQLite has one writer; waiting here costs less than its busy handler, which polls.
        is_sqlite = self._engine.dialect.name == "sqlite"
        turn = self._turn if is_sqlite else nullcontext()
        async with turn, self._writer.begin() as connection:
            yield connection

    async def _bounded(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; raise Unavailable if it fails, or takes longer than this.

        It is left behind then, and not cancelled, nor is it with its caller: a statement that is
        cancelled on its way leaves aiosqlite with a close that never ends.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._over)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise Unavailable("store", f"no answer within {seconds:g} s")
        try:
            return task.result()
        except _OURS:
            raise
        except _FAULTS as error:
            raise Unavailable("store", _reason(error)) from error

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, so that asyncio does not complain where nobody waits


_END = (
    sa.update(ScanRow)
    .where(ScanRow.id == sa.bindparam("scan_id"), ScanRow.completed_at.is_(None))
    .values(
        status=sa.bindparam("new_status"),
        outcome=sa.bindparam("new_outcome"),
        completed_at=sa.bindparam("now"),
        sequence=ScanRow.sequence + 1,
    )
)


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0] or type(cause).__name__


def _row_of(opened: Opened, now: float) -> _Row:
    scan, entry = opened.scan, opened.entry
    return {
        "id": scan.id,
        "status": scan.status.value,
        "sequence": scan.sequence,
        "created_at": now,
        "deadline": entry.deadline,
        "url": entry.url,
        "upload_id": entry.upload_id,
        "operating_point": entry.operating_point.value,
        "context": msgspec.json.encode(opened.context).decode(),
        "metadata": msgspec.json.encode(opened.metadata).decode(),
        "opened": msgspec.json.encode(scan).decode(),
        "entry": encode(entry).decode(),
    }


def _ending(outcome: Outcome, now: float) -> _Row:
    return {
        "scan_id": outcome.scan_id,
        "new_status": outcome.status.value,
        "new_outcome": encode(outcome).decode(),
        "now": now,
    }


def _scan_of(row: sa.Row[Any]) -> Scan:
    """Build the scan as callers see it: as it was accepted, and over it what came of it."""
    scan = _scan_decoder.decode(row.opened)
    if row.outcome is None:
        return scan
    outcome = decode_outcome(row.outcome.encode())
    shared = set(Outcome.__struct_fields__) & set(Scan.__struct_fields__) - {"input"}
    return msgspec.structs.replace(
        scan,
        **{name: getattr(outcome, name) for name in shared},
        input=_joined(scan.input, outcome.input),
        sequence=row.sequence,
        completed_at=rfc3339(row.completed_at),
    )


def _joined(asked: Input, seen: Input) -> Input:
    """Return what a worker saw, and where it saw nothing what was asked."""
    learnt = {
        name: value for name, value in msgspec.structs.asdict(seen).items() if value is not None
    }
    return msgspec.structs.replace(asked, **learnt)


def _by(size: int, ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _database_file(settings: ServerSettings) -> Path:
    return settings.redis.state_dir / "records.sqlite3"


def _engine(settings: ServerSettings, *, busy_seconds: float) -> AsyncEngine:
    options = EngineConfig(
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=QUICK_SECONDS,  # type: ignore[arg-type]  # SQLAlchemy takes a float
    )
    address = str(settings.database_url)
    if address:
        _, _, rest = address.partition("://")
        options.connect_args = {"timeout": PATIENT_SECONDS, "command_timeout": PATIENT_SECONDS}
        return SQLAlchemyAsyncConfig(
            connection_string=f"postgresql+asyncpg://{rest}", engine_config=options
        ).get_engine()
    options.connect_args = {"timeout": busy_seconds}
    engine = SQLAlchemyAsyncConfig(
        connection_string=f"sqlite+aiosqlite:///{_database_file(settings)}", engine_config=options
    ).get_engine()
    sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
    sa.event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN; the driver's own would come too late
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("is_writer"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _check_and_migrate(engine: AsyncEngine, settings: ServerSettings) -> None:
    is_sqlite = engine.dialect.name == "sqlite"
    try:
        if is_sqlite:
            await anyio.to_thread.run_sync(_check_file, _database_file(settings))
        async with engine.execution_options(is_writer=True).begin() as connection:
            if not is_sqlite:
                await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            await connection.run_sync(_migrate)
    except CommandError as error:
        raise StartRefused(_newer(settings, error)) from error
    except _FAULTS as error:
        raise _start_refused(settings, error) from error


def _check_file(file: Path) -> None:
    """Return if this is a whole database, or none yet; blocks.

    With sqlite3 itself: aiosqlite leaves a thread behind where a file cannot be opened.
    """
    file.parent.mkdir(0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=PATIENT_SECONDS)) as connection:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer.partition("\n")[2] or answer)


def _migrate(connection: sa.Connection) -> None:
    config = AlembicConfig(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    command.upgrade(config, "head")


def _newer(settings: ServerSettings, error: CommandError) -> str:
    place = _database_file(settings) if not settings.database_url else "DATABASE_URL"
    return (
        f"The database {place} was last used by a newer version ({error}): start that version, "
        "or give this one another state folder with PINCLIP_STATE_DIR."
    )


def _start_refused(settings: ServerSettings, error: BaseException) -> StartRefused:
    """Say in a sentence why the store cannot be used, and what to do."""
    reason = _reason(error)
    if settings.database_url:
        return StartRefused(
            f"The database of DATABASE_URL cannot be used ({reason}): check that it runs and that "
            "the address, the user and the password are right.",
            is_lasting=False,
        )
    file = _database_file(settings)
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.OperationalError | OSError):
        return StartRefused(
            f"The database {file} cannot be opened ({reason}): check that the folder exists, is "
            "ours to write and has room, or name another with PINCLIP_STATE_DIR."
        )
    return StartRefused(
        f"The database {file} is damaged ({reason}): restore it from a backup, or move it aside "
        f"(mv {file} {file}.damaged, and its -wal and -shm files if there are any); the next "
        "start then makes a new one, which knows no earlier scans."
    )
