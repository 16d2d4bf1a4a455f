"""What the tests of server/store share: its tables on a real database, SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from alembic import command

from sdk.environment import Secret
from server.settings import ServerSettings
from server.store.engine import Database, alembic_config, database_file
from tests.fakes import ManualClock
from tests.server import postgres
from worker.contract import RedisSettings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """The address of a PostgreSQL of this session; skips where none is installed."""
    folder = postgres.programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt install postgresql)")
    pytest.importorskip("asyncpg")
    with postgres.running(folder) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> ServerSettings:
    """Settings of each kind of database; its tables are not made yet."""
    redis = RedisSettings(state_dir=tmp_path / "state")
    redis.state_dir.mkdir(0o700)
    if request.param == "sqlite":
        return ServerSettings(redis=redis)
    address = Secret(request.getfixturevalue("postgres_address"))
    return ServerSettings(redis=redis, database_url=address)


@pytest.fixture
async def database(store_settings: ServerSettings) -> AsyncIterator[Database]:
    """A database with empty tables."""
    async with opened(store_settings) as database:
        yield database


@asynccontextmanager
async def opened(settings: ServerSettings) -> AsyncIterator[Database]:
    """Give the database of these settings, with its tables empty; close it at the end."""
    if not settings.database_url:
        database_file(settings).write_bytes(_empty_file())
    database = Database(settings, quick_seconds=30)
    try:
        if settings.database_url:
            await database.write(_start_anew, seconds=30)
            await database.prepare()
        yield database
    finally:
        await database.aclose()


@cache
def _empty_file() -> bytes:
    """Return a SQLite file with all tables; made once, since each commit waits for the disk."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.sqlite3"
        engine = sa.create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            command.upgrade(alembic_config(connection), "head")
        engine.dispose()
        return file.read_bytes()


def _start_anew(connection: sa.Connection) -> None:
    # Not row by row: those of the audit log cannot be deleted.
    connection.execute(sa.text("DROP SCHEMA public CASCADE"))
    connection.execute(sa.text("CREATE SCHEMA public"))
