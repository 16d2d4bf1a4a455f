"""SQL DOOR: one database, SQLite or PostgreSQL, for all that server/store/ keeps in it.

    prepare   check the file, run migrations   ---> or StartRefused, with what to do
    read      work(connection)                 ---> what it returns, or Unavailable
    write     work(connection), a transaction  ---> the same, and it is committed

Work is a plain function that is given a connection and runs whole: on PostgreSQL by asyncio, on
SQLite on a thread, a transaction at a time. aiosqlite goes to its thread and back three times a
statement, which on a busy machine is most of what a look-up takes (docs/decisions/0021).

SQLite runs in WAL mode and syncs each commit, because a 202 is a promise. One thread writes, and
BEGIN IMMEDIATE makes processes take turns; each thread keeps its connection, since fetching one
from the pool for each transaction costs more than the transaction (docs/decisions/0028). Every
call ends within its limit: whatever goes wrong or takes too long is Unavailable("store"). Knows
no table.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import sqlalchemy as sa
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from server.ports import Unavailable
from server.refused import StartRefused
from server.settings import ServerSettings

QUICK_SECONDS = 0.9
"""Longest wait for the store while a caller waits."""
PATIENT_SECONDS = 10.0
"""Longest wait for the store in the background."""
BUSY_SECONDS = 0.7
"""How long SQLite waits for another process that writes; less than QUICK, so that it ends first."""
CONNECTIONS = 8
"""Most connections to the store; SQLite gives each a thread."""
MIGRATION_LOCK = 7_046_823
"""PostgreSQL advisory lock under which migrations run; the number means nothing."""
MIGRATIONS = Path(__file__).parent.parent / "migrations"

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")
_FAULTS = (SQLAlchemyError, sqlite3.Error, OSError)
_OURS = (DataError, IntegrityError, ProgrammingError)
T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""What is done with a connection; it must not keep it, and be quick: see above where it runs."""


class Database:
    """The connections of one process. Every store of the process takes the same one.

    `quick_seconds` is the longest wait for what gives no limit of its own.
    """

    def __init__(self, settings: ServerSettings, *, quick_seconds: float = QUICK_SECONDS) -> None:
        self._settings = settings
        self._quick_seconds = quick_seconds
        self._connections = _connections(settings, busy_seconds=BUSY_SECONDS)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._is_prepared = False

    async def prepare(self) -> None:
        """Make the store ready: the file whole, the tables of this version. Raises StartRefused."""
        if self._is_prepared:
            return
        connections = _connections(self._settings, busy_seconds=PATIENT_SECONDS)
        try:
            await _check_and_migrate(connections, self._settings)
        finally:
            await connections.dispose()
        self._is_prepared = True

    async def aclose(self) -> None:
        """Close all connections, after what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENT_SECONDS)
        await self._connections.dispose()

    async def rows(
        self,
        query: sa.Executable,
        about: dict[str, object] | None = None,
        *,
        seconds: float | None = None,
    ) -> Sequence[Any]:
        """Return all rows of a SELECT, `about` the values of its parameters; raises Unavailable."""
        return await self.read(lambda c: c.execute(query, about).all(), seconds=seconds)

    async def read(self, work: Work[T], *, seconds: float | None = None) -> T:
        """Return what `work` returns, which changes nothing; raises Unavailable."""
        return await self._bounded(self._connections.read(work), seconds)

    async def write(self, work: Work[T], *, seconds: float | None = None) -> T:
        """Return what `work` returns, once its transaction is committed; raises Unavailable.

        A fault of ours (a value that no column takes) is raised as SQLAlchemy has it.
        """
        return await self._bounded(self._connections.write(work), seconds)

    async def _bounded(self, work: asyncio.Future[T], limit: float | None) -> T:
        """Return what `work` returns; raise Unavailable if it fails, or takes longer than this.

        It is left behind then, and not cancelled, nor is it with its caller: what runs on a thread
        cannot be, and a commit under way must not be cut off.
        """
        seconds = self._quick_seconds if limit is None else limit
        self._under_way.add(work)
        work.add_done_callback(self._over)
        await asyncio.wait({work}, timeout=seconds)
        if not work.done():
            raise Unavailable("store", f"no answer within {seconds:g} s")
        try:
            return work.result()
        except _OURS:
            raise
        except _FAULTS as error:
            raise Unavailable("store", _reason(error)) from error

    def _over(self, work: asyncio.Future[Any]) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()  # asked for, so that asyncio does not complain where nobody waits


class _Connections(Protocol):
    """Begins work on a connection, whole; `write` in a transaction that commits at its end."""

    def read(self, work: Work[T]) -> asyncio.Future[T]: ...
    def write(self, work: Work[T]) -> asyncio.Future[T]: ...
    async def dispose(self) -> None: ...


class _Sqlite:
    """A file, on threads: one trip for all statements of a transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # There is one writer; waiting for it costs less than SQLite's busy handler, which polls.
        self._writer = _Threads(engine.execution_options(is_writer=True), most=1)
        self._readers = _Threads(engine, most=CONNECTIONS - 1)

    def read(self, work: Work[T]) -> asyncio.Future[T]:
        return self._readers.begin(work)

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        return self._writer.begin(work)

    async def dispose(self) -> None:
        await anyio.to_thread.run_sync(self._dispose)

    def _dispose(self) -> None:
        self._writer.close()
        self._readers.close()
        self._engine.dispose()


class _Threads:
    """At most so many threads, each with a connection that it keeps until work fails on it."""

    def __init__(self, engine: sa.Engine, *, most: int) -> None:
        self._engine = engine
        self._most = most
        self._start()

    def begin(self, work: Work[T]) -> asyncio.Future[T]:
        """Return what will hold what `work` returns, or what it raised."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)

    def close(self) -> None:
        """Close all connections, after what is under way; blocks. What comes later opens anew."""
        self._pool.shutdown()
        for connection in self._open:
            connection.close()
        self._start()

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="sqlite")
        self._own = threading.local()
        self._open: set[sa.Connection] = set()

    def _run(self, work: Work[T]) -> T:
        connection = self._connection()
        try:
            with connection.begin():
                return work(connection)
        except BaseException:
            self._own.connection = None
            self._open.discard(connection)
            connection.close()
            raise

    def _connection(self) -> sa.Connection:
        kept: sa.Connection | None = getattr(self._own, "connection", None)
        if kept is None:
            kept = self._own.connection = self._engine.connect()
            self._open.add(kept)
        return kept


class _Postgres:
    """A server, by asyncio: a connection to it waits on no thread."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def read(self, work: Work[T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().create_task(self._read(work))

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().create_task(self._write(work))

    async def dispose(self) -> None:
        await self._engine.dispose()

    async def _read(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def _write(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)


def alembic_config(connection: sa.Connection) -> AlembicConfig:
    """Return what alembic needs to run our revisions on this connection."""
    config = AlembicConfig(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0] or type(cause).__name__


def database_file(settings: ServerSettings) -> Path:
    """Return where SQLite keeps the records."""
    return settings.redis.state_dir / "records.sqlite3"


def _connections(settings: ServerSettings, *, busy_seconds: float) -> _Connections:
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
        connection_string=f"sqlite:///{database_file(settings)}", engine_config=options
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
        connection.connection.cursor().execute("BEGIN IMMEDIATE")


async def _check_and_migrate(connections: _Connections, settings: ServerSettings) -> None:
    try:
        if not settings.database_url:
            await anyio.to_thread.run_sync(_check_file, database_file(settings))
        await connections.write(_migrate)
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
    command.upgrade(alembic_config(connection), "head")


def _newer(settings: ServerSettings, error: CommandError) -> str:
    place = database_file(settings) if not settings.database_url else "DATABASE_URL"
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
    file = database_file(settings)
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
