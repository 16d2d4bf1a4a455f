"""What Board promises, on the fake and on a real Valkey with what a worker would write to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest
import redis

from sdk.wire import Priority
from server import ids
from server.board import RedisBoard
from server.ports import Board
from tests.fakes import MemoryBoard
from tests.server.scenes import BEAT, completed, failed, opened
from tests.valkey_server import Valkey, running
from worker.contract import (
    FIELD,
    RESULTS,
    STREAMS,
    WORKERS,
    Outcome,
    RedisSettings,
    WorkerBeat,
    encode,
    phase_key,
    worker_key,
)

pytestmark = [pytest.mark.anyio, pytest.mark.redis]


class Worker(Protocol):
    """What the other side of the board does."""

    def publish(self, outcome: Outcome | None) -> None: ...
    def beat(self, beat: WorkerBeat) -> None: ...
    def say(self, scan_id: str, phase: str) -> None: ...
    def hold_all(self) -> None: ...


class MemoryWorker:
    def __init__(self, board: MemoryBoard) -> None:
        self._board = board

    def publish(self, outcome: Outcome | None) -> None:
        self._board.publish(outcome)

    def beat(self, beat: WorkerBeat) -> None:
        self._board.workers.append(beat)

    def say(self, scan_id: str, phase: str) -> None:
        self._board.phases[scan_id] = phase

    def hold_all(self) -> None:
        pass  # what is held is still waiting, to the server


class RedisWorker:
    """Writes what worker/contract.py says that a worker writes."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def publish(self, outcome: Outcome | None) -> None:
        self._client.xadd(RESULTS, {FIELD: encode(outcome) if outcome else b"not an outcome"})
        for stream in STREAMS.values():
            for token, fields in self._client.xrange(stream):
                if outcome and outcome.scan_id.encode() in fields[FIELD.encode()]:
                    self._client.xdel(stream, token)

    def beat(self, beat: WorkerBeat) -> None:
        self._client.set(worker_key(beat.name), encode(beat))

    def say(self, scan_id: str, phase: str) -> None:
        self._client.set(phase_key(scan_id), phase)

    def hold_all(self) -> None:
        for stream in STREAMS.values():
            self._client.xgroup_create(stream, WORKERS, id="0", mkstream=True)
        self._client.xreadgroup(WORKERS, "worker-1", dict.fromkeys(STREAMS.values(), ">"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def valkey_of_module() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture(params=["fake", "valkey"])
async def sides(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Board, Worker]]:
    """The server's half, and a worker to play the other half."""
    if request.param == "fake":
        fake = MemoryBoard()
        yield fake, MemoryWorker(fake)
        return
    valkey: Valkey = request.getfixturevalue("valkey_of_module")
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        board = RedisBoard(RedisSettings(redis_url=valkey.url, redis_timeout_seconds=5))
        yield board, RedisWorker(client)
        await board.aclose()


Sides = tuple[Board, Worker]


async def test_board_counts_what_was_posted(sides: Sides) -> None:
    board, _ = sides

    await board.post([opened(0).entry, opened(0, priority=Priority.BULK).entry])
    await board.post([opened(0).entry])

    depth, workers = await board.state()
    assert (depth, workers) == (3, [])


async def test_board_names_the_workers_that_live(sides: Sides) -> None:
    board, worker = sides
    worker.beat(BEAT)

    _, workers = await board.state()

    assert workers == [BEAT]


@pytest.mark.parametrize("priority", Priority)
async def test_board_misses_only_what_was_never_posted(sides: Sides, priority: Priority) -> None:
    board, worker = sides
    waiting, held, done = (opened(0, priority=priority).entry for _ in range(3))
    never = ids.scan_id(0)
    await board.post([held, done])
    worker.hold_all()
    worker.publish(completed(done.scan_id))
    await board.post([waiting])

    missing = await board.missing([waiting.scan_id, held.scan_id, done.scan_id, never])

    assert missing == {never}


async def test_board_gives_each_outcome_once(sides: Sides) -> None:
    board, worker = sides
    await board.collect(64, 0)
    outcomes = [completed(ids.scan_id(0)), failed(ids.scan_id(0))]
    for outcome in outcomes:
        worker.publish(outcome)

    first = await board.collect(64, 0)
    second = await board.collect(64, 0)

    assert [item.outcome for item in first] == outcomes
    assert second == []


async def test_board_gives_no_more_than_asked_for(sides: Sides) -> None:
    board, worker = sides
    await board.collect(64, 0)
    for _ in range(3):
        worker.publish(completed(ids.scan_id(0)))

    assert [len(await board.collect(2, 0)) for _ in range(3)] == [2, 1, 0]


async def test_board_gives_what_is_no_outcome_as_none(sides: Sides) -> None:
    board, worker = sides
    await board.collect(64, 0)
    worker.publish(None)

    taken = await board.collect(64, 0)

    assert [item.outcome for item in taken] == [None]


async def test_board_forgets_what_is_acknowledged(sides: Sides) -> None:
    board, worker = sides
    await board.collect(64, 0)
    entry = opened(0).entry
    await board.post([entry])
    worker.publish(completed(entry.scan_id))
    taken = await board.collect(64, 0)

    await board.acknowledge([item.token for item in taken])

    assert await board.missing([entry.scan_id]) == {entry.scan_id}


async def test_board_acknowledges_nothing_without_complaint(sides: Sides) -> None:
    board, _ = sides

    await board.acknowledge([])


async def test_board_tells_the_phase_that_a_worker_said(sides: Sides) -> None:
    board, worker = sides
    scan_id = ids.scan_id(0)
    worker.say(scan_id, "scoring")

    assert await board.phase(scan_id) == "scoring"
    assert await board.phase(ids.scan_id(0)) is None


async def test_one_request_with_a_key_is_under_way_at_a_time(sides: Sides) -> None:
    board, _ = sides
    key = '"any \\ characters"'

    assert await board.begin("acme", key)
    assert not await board.begin("acme", key)
    assert await board.begin("other", key)
    await board.end("acme", key)
    await board.end("acme", key)
    assert await board.begin("acme", key)
    await board.end("acme", key)
    await board.end("other", key)
