"""SQL DOOR: the truth about scans, in SQLite or PostgreSQL. Knows nothing of Redis or HTTP.

    prepare  check the file, run migrations  ---> or StartRefused, with what to do
    precedents  SELECT the same image        ---> what workers found of it before
    open     INSERT, queued or final         ---> committed: the scan exists; one commit for all
                                                  who open at once
    close    UPDATE where not final          ---> committed: the first outcome stands, watchers wake
    stale    SELECT not final and old        ---> what the sweep must look at

SQLite runs in WAL mode and syncs each commit, because a 202 is a promise; writers take turns in
this process, and BEGIN IMMEDIATE makes them take turns between processes. It works on threads, a
transaction at a time: aiosqlite goes to its thread and back three times a statement, which on a
busy machine is most of what a look-up takes (docs/decisions/0021). Every call ends within its
limit: whatever goes wrong or takes too long is Unavailable("store").
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import msgspec
import sqlalchemy as sa
import structlog
from advanced_alchemy.base import DefaultBase
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from sdk.wire import PointName, Scan
from worker.contract import Entry, Outcome, decode_entry, decode_outcome, encode

from .ending import ended
from .ids import rfc3339
from .ports import Clock, Opened, Precedent, Unavailable
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
PRECEDENTS = 6
"""Most outcomes that are looked at for one image; there are three operating points."""
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
_Work = Callable[[sa.Connection], T]
_Connect = Callable[[], AbstractContextManager[sa.Connection]]
_scan_decoder = msgspec.json.Decoder(Scan)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


_ENDED_AT_PLACE = "place IS NOT NULL AND completed_at IS NOT NULL"
_JUDGED_UPLOAD = "judge IS NOT NULL AND upload_id IS NOT NULL"


class ScanRow(DefaultBase):
    """One scan. Times are Unix seconds; `opened`, `entry` and `outcome` are JSON.

    `place` stands for the canonical URL, `judge` for who judged; both are NULL, and `outcome` too,
    in a scan that was given the verdict of another, so that it is never a precedent itself.
    """

    __tablename__ = "scans"

    __table_args__ = (
        sa.Index("ix_scans_open", "created_at", **_where("completed_at IS NULL")),
        sa.Index("ix_scans_upload", "upload_id", **_where("upload_id IS NOT NULL")),
        sa.Index("ix_scans_place", "place", "completed_at", **_where(_ENDED_AT_PLACE)),
        sa.Index("ix_scans_sha256", "sha256", "completed_at", **_where(_JUDGED_UPLOAD)),
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
    place: Mapped[str | None] = mapped_column(sa.String(32))
    sha256: Mapped[str | None] = mapped_column(sa.String(64))
    judge: Mapped[str | None] = mapped_column(sa.String(64))


class SqlRecords:
    """Records, Precedents and Uses over SQL; see ports.py. `run` must run beside it."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._database = _database(settings, busy_seconds=BUSY_SECONDS)
        self._openings: Together[_Row] = Together(self._open)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._waiting: dict[str, list[anyio.Event]] = {}
        self._is_prepared = False

    async def prepare(self) -> None:
        """Make the store ready: the file whole, the tables of this version. Raises StartRefused."""
        if self._is_prepared:
            return
        database = _database(self._settings, busy_seconds=PATIENT_SECONDS)
        try:
            await _check_and_migrate(database, self._settings)
        finally:
            await database.dispose()
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
        await self._database.dispose()

    async def open(self, opened: Opened) -> None:
        """Record a new scan: as queued, or as it is if it is final already."""
        await self._openings.do(_row_of(opened, self._clock.now()))

    async def precedents(self, opened: Opened) -> list[Precedent]:
        """Return the newest few outcomes for the scan's place, or upload's bytes, newest first."""
        is_upload = opened.place is None
        about: _Row = {"about": opened.scan.input.sha256 if is_upload else opened.place}
        rows = await self._read(QUICK_SECONDS, _OF_UPLOAD if is_upload else _OF_PLACE, about)
        return [_precedent(row) for row in rows]

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
        end = partial(_end, first, self._clock.now())
        recorded = await self._bounded(PATIENT_SECONDS, self._database.write(end))
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
        def insert(connection: sa.Connection) -> None:
            connection.execute(_NEW, list(rows))

        await self._bounded(QUICK_SECONDS, self._database.write(insert))

    async def _read(
        self, seconds: float, query: sa.Executable, about: _Row | None = None
    ) -> Sequence[Any]:
        def read(connection: sa.Connection) -> Sequence[Any]:
            return connection.execute(query, about).all()

        return await self._bounded(seconds, self._database.read(read))

    async def _bounded(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; raise Unavailable if it fails, or takes longer than this.

        It is left behind then, and not cancelled, nor is it with its caller: what runs on a thread
        cannot be, and a commit under way must not be cut off.
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


class _Database(Protocol):
    """Runs work on a connection, whole; `write` in a transaction that commits at its end."""

    async def read(self, work: _Work[T]) -> T: ...
    async def write(self, work: _Work[T]) -> T: ...
    async def dispose(self) -> None: ...


class _Sqlite:
    """A file, on threads: one trip for all statements of a transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(is_writer=True)
        self._threads = anyio.CapacityLimiter(CONNECTIONS)
        self._turn = anyio.Lock()

    async def read(self, work: _Work[T]) -> T:
        return await self._on_thread(self._engine.connect, work)

    async def write(self, work: _Work[T]) -> T:
        # There is one writer; waiting here costs less than SQLite's busy handler, which polls.
        async with self._turn:
            return await self._on_thread(self._writer.begin, work)

    async def dispose(self) -> None:
        await anyio.to_thread.run_sync(self._engine.dispose, limiter=self._threads)

    async def _on_thread(self, connect: _Connect, work: _Work[T]) -> T:
        def run() -> T:
            with connect() as connection:
                return work(connection)

        return await anyio.to_thread.run_sync(run, limiter=self._threads)


class _Postgres:
    """A server, by asyncio: a connection to it waits on no thread."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: _Work[T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: _Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def dispose(self) -> None:
        await self._engine.dispose()


_NEW = sa.insert(ScanRow)
_END = (
    sa.update(ScanRow)
    .where(ScanRow.id == sa.bindparam("scan_id"), ScanRow.completed_at.is_(None))
    .values(
        status=sa.bindparam("new_status"),
        outcome=sa.bindparam("new_outcome"),
        completed_at=sa.bindparam("now"),
        sequence=ScanRow.sequence + 1,
        sha256=sa.bindparam("new_sha256"),
        judge=sa.bindparam("new_judge"),
    )
)


def _end(outcomes: Mapping[str, Outcome], now: float, connection: sa.Connection) -> list[str]:
    """Record the outcomes of scans that have none; return the ids of these."""
    is_open = ScanRow.id.in_(outcomes) & ScanRow.completed_at.is_(None)
    recorded = list(connection.scalars(sa.select(ScanRow.id).where(is_open).with_for_update()))
    if recorded:
        connection.execute(_END, [_ending(outcomes[scan_id], now) for scan_id in recorded])
    return recorded


def _newest(condition: str, column: Any) -> sa.Executable:
    """Select the newest few outcomes for an image; `condition` is that of the index to be used."""
    return (
        sa.select(ScanRow.outcome, ScanRow.operating_point, ScanRow.completed_at)
        .where(sa.text(condition), column == sa.bindparam("about"), ScanRow.outcome.is_not(None))
        .order_by(ScanRow.completed_at.desc())
        .limit(PRECEDENTS)
    )


_OF_PLACE = _newest(_ENDED_AT_PLACE, ScanRow.place)
_OF_UPLOAD = _newest(_JUDGED_UPLOAD, ScanRow.sha256)


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0] or type(cause).__name__


def _row_of(opened: Opened, now: float) -> _Row:
    scan, entry = opened.scan, opened.entry
    is_final = scan.status.is_final
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
        "completed_at": now if is_final else None,
        "place": None if is_final else opened.place,
        "sha256": scan.input.sha256,
    }


def _ending(outcome: Outcome, now: float) -> _Row:
    return {
        "scan_id": outcome.scan_id,
        "new_status": outcome.status.value,
        "new_outcome": encode(outcome).decode(),
        "now": now,
        "new_sha256": outcome.input.sha256,
        "new_judge": outcome.judge or None,
    }


def _precedent(row: sa.Row[Any]) -> Precedent:
    return Precedent(
        outcome=decode_outcome(row.outcome.encode()),
        operating_point=PointName(row.operating_point),
        at=row.completed_at,
    )


def _scan_of(row: sa.Row[Any]) -> Scan:
    """Build the scan as callers see it: as it was accepted, and over it what came of it."""
    scan = _scan_decoder.decode(row.opened)
    if row.outcome is None:
        return scan
    outcome = decode_outcome(row.outcome.encode())
    completed_at = rfc3339(row.completed_at)
    return ended(scan, outcome, sequence=row.sequence, completed_at=completed_at)


def _by(size: int, ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _database_file(settings: ServerSettings) -> Path:
    return settings.redis.state_dir / "records.sqlite3"


def _database(settings: ServerSettings, *, busy_seconds: float) -> _Database:
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
        config = SQLAlchemyAsyncConfig(
            connection_string=f"postgresql+asyncpg://{rest}", engine_config=options
        )
        return _Postgres(config.get_engine())
    options.connect_args = {"timeout": busy_seconds}
    engine = SQLAlchemySyncConfig(
        connection_string=f"sqlite:///{_database_file(settings)}", engine_config=options
    ).get_engine()
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return _Sqlite(engine)


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN; the driver's own would come too late
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("is_writer"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _check_and_migrate(database: _Database, settings: ServerSettings) -> None:
    try:
        if not settings.database_url:
            await anyio.to_thread.run_sync(_check_file, _database_file(settings))
        await database.write(_migrate)
    except CommandError as error:
        raise StartRefused(_newer(settings, error)) from error
    except _FAULTS as error:
        raise _start_refused(settings, error) from error


def _check_file(file: Path) -> None:
    """Return if this is a whole database, or none yet; blocks."""
    file.parent.mkdir(0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=PATIENT_SECONDS)) as connection:
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer.partition("\n")[2] or answer)


def _migrate(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
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
