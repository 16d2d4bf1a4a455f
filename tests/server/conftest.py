"""What the server's tests share: the API over fakes, over real parts, and a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import redis

from server.app import create_app
from server.edge import Edge
from server.rules.keys import Key
from server.settings import ServerSettings
from tests.fakes import ManualClock, MemoryBoard, MemoryQueue, MemoryRecords, MemorySpool
from tests.server import postgres
from tests.server.scenes import BEAT
from tests.valkey_server import Valkey, running
from worker.contract import RedisSettings, encode, worker_key

BASE_URL = "http://127.0.0.1:8417"


class NoKeys:
    """A Finder where no key was ever made: every caller is local."""

    async def find(self, digests: Sequence[str]) -> dict[str, Key]:
        return {}

    async def are_there_any(self) -> bool:
        return False

    async def origins(self, now: float) -> frozenset[str]:
        return frozenset()

    async def note_uses(self, uses: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Api:
    """The API over fakes, with all of them in reach. Its background work does not run."""

    client: httpx.AsyncClient
    edge: Edge
    clock: ManualClock
    records: MemoryRecords
    board: MemoryBoard
    queue: MemoryQueue
    spool: MemorySpool


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def postgres_address() -> Iterator[str]:
    """The address of a PostgreSQL of this module; skips where none is installed."""
    programs = postgres.programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    with postgres.running(programs) as address:
        yield address


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock = ManualClock()
    records, board, queue = MemoryRecords(clock), MemoryBoard(), MemoryQueue()
    spool = MemorySpool(clock)
    board.workers.append(BEAT)
    edge = create_app(
        ServerSettings(redis=RedisSettings(state_dir=tmp_path), queue_limit=3),
        records=records,
        board=board,
        queue=queue,
        spool=spool,
        finder=NoKeys(),
        clock=clock,
    )
    async with calling(edge) as client:
        yield Api(
            client=client,
            edge=edge,
            clock=clock,
            records=records,
            board=board,
            queue=queue,
            spool=spool,
        )


@asynccontextmanager
async def calling(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that runs in this loop, without a socket."""
    transport = httpx.ASGITransport(app=edge)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@asynccontextmanager
async def alive(edge: Edge) -> AsyncIterator[None]:
    """Run the application's lifespan, its background work included, as a server does."""
    to_app, from_app = (anyio.create_memory_object_stream[Any](1) for _ in range(2))
    async with anyio.create_task_group() as group:
        group.start_soon(edge, {"type": "lifespan"}, to_app[1].receive, from_app[0].send)
        await to_app[0].send({"type": "lifespan.startup"})
        assert (await from_app[1].receive())["type"] == "lifespan.startup.complete"
        yield
        await to_app[0].send({"type": "lifespan.shutdown"})
        assert (await from_app[1].receive())["type"] == "lifespan.shutdown.complete"
    for stream in (*to_app, *from_app):
        stream.close()


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds, which something else brings about; fail after 30 s."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - there is no event for what another process does
            await anyio.sleep(0.01)


@pytest.fixture(scope="session")
def valkey_of_session() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture
def valkey(valkey_of_session: Valkey) -> Valkey:
    """A running server that holds nothing but the beat of a worker."""
    with redis.Redis.from_url(valkey_of_session.url) as client:
        client.flushall()
        client.set(worker_key(BEAT.name), encode(BEAT))
    return valkey_of_session


@pytest.fixture
def redis_client(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
def settings(valkey: Valkey, tmp_path: Path) -> ServerSettings:
    """Settings of a server over a real Valkey and a folder of its own."""
    return ServerSettings(redis=RedisSettings(redis_url=valkey.url, state_dir=tmp_path / "state"))
