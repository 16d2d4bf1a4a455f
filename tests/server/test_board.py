"""Redis as it really is: gone, silent, wiped, and with what a dead collector left behind."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Coroutine, Iterator

import anyio
import pytest
import redis

from sdk.wire import Priority
from server import ids
from server.board import ABANDONED_MS, PAGE, RedisBoard
from server.ports import Unavailable
from tests.server.scenes import BEAT, completed, opened
from tests.valkey_server import Valkey, running
from worker.contract import (
    BULK_SCANS,
    COLLECTORS,
    FIELD,
    RESULTS,
    SCANS,
    RedisSettings,
    decode_entry,
    encode,
    worker_key,
)

pytestmark = [pytest.mark.anyio, pytest.mark.redis]


@pytest.fixture
async def board(valkey: Valkey) -> AsyncIterator[RedisBoard]:
    board = RedisBoard(RedisSettings(redis_url=valkey.url))
    yield board
    await board.aclose()


@pytest.fixture
def mortal() -> Iterator[Valkey]:
    """A server of this test's own, to be killed."""
    with running() as valkey:
        yield valkey


@pytest.fixture
async def mortal_board(mortal: Valkey) -> AsyncIterator[RedisBoard]:
    board = RedisBoard(RedisSettings(redis_url=mortal.url))
    yield board
    await board.aclose()


async def _everything(board: RedisBoard) -> list[str]:
    """Call all that a board can do, at once; return the parts that were said to be down."""
    down = []

    async def call(work: Coroutine[object, object, object]) -> None:
        try:
            await work
        except Unavailable as fault:
            down.append(fault.part)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(call, board.post([opened(0).entry]))
            group.start_soon(call, board.missing([ids.scan_id(0)]))
            group.start_soon(call, board.collect(1, 0))
            group.start_soon(call, board.acknowledge(["1-1"]))
            group.start_soon(call, board.phase(ids.scan_id(0)))
            group.start_soon(call, board.state())
    return down


async def test_board_says_that_a_dead_server_is_down_and_goes_on_after_its_restart(
    mortal: Valkey, mortal_board: RedisBoard
) -> None:
    mortal.kill()
    assert await _everything(mortal_board) == ["redis"] * 6

    mortal.start()

    assert await _everything(mortal_board) == []


async def test_board_does_not_hang_on_a_silent_server(
    mortal: Valkey, mortal_board: RedisBoard
) -> None:
    assert mortal.process is not None
    mortal.process.send_signal(signal.SIGSTOP)
    try:
        assert await _everything(mortal_board) == ["redis"] * 6
    finally:
        mortal.process.send_signal(signal.SIGCONT)

    assert await _everything(mortal_board) == []


async def test_collect_takes_what_a_dead_collector_held(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    outcome = completed(ids.scan_id(0))
    await board.collect(1, 0)
    redis_client.xadd(RESULTS, {FIELD: encode(outcome)})
    ((_, held),) = redis_client.xreadgroup(COLLECTORS, "dead", {RESULTS: ">"})
    assert await board.collect(64, 0) == []

    redis_client.xclaim(
        RESULTS, COLLECTORS, "dead", 0, [token for token, _ in held], idle=ABANDONED_MS
    )

    assert [item.outcome for item in await board.collect(64, 0)] == [outcome]


async def test_collect_makes_its_group_again_after_a_wipe(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    await board.collect(1, 0)
    redis_client.flushall()
    outcome = completed(ids.scan_id(0))
    redis_client.xadd(RESULTS, {FIELD: encode(outcome)})

    await board.collect(64, 0)

    assert [item.outcome for item in await board.collect(64, 0)] == [outcome]


async def test_collect_survives_a_wipe_while_it_waits(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    await board.collect(1, 0)
    taken = []

    async def collect() -> None:
        taken.append(await board.collect(64, 5))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await anyio.wait_all_tasks_blocked()
            redis_client.flushall()

    assert taken == [[]]


async def test_collect_wakes_up_for_an_outcome(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    await board.collect(1, 0)
    outcome = completed(ids.scan_id(0))
    taken = []

    async def collect() -> None:
        taken.append(await board.collect(64, 60))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await anyio.wait_all_tasks_blocked()
            redis_client.xadd(RESULTS, {FIELD: encode(outcome)})

    assert [item.outcome for item in taken[0]] == [outcome]


async def test_collect_says_what_redis_says_of_a_key_of_another_type(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    redis_client.set(RESULTS, "not a stream")

    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await board.collect(1, 0)


async def test_missing_reads_streams_of_many_pages(board: RedisBoard) -> None:
    entries = [opened(0).entry for _ in range(2 * PAGE + 1)]
    await board.post(entries)
    unknown = ids.scan_id(0)

    missing = await board.missing([unknown, *(entry.scan_id for entry in entries)])

    assert missing == {unknown}


async def test_missing_and_state_step_over_what_they_cannot_read(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    redis_client.xadd(SCANS, {FIELD: b"nonsense"})
    redis_client.xadd(SCANS, {"other": b"field"})
    redis_client.set(worker_key("odd"), b"nonsense")
    scan_id = ids.scan_id(0)

    missing = await board.missing([scan_id])
    depth, workers = await board.state()

    assert (missing, depth, workers) == ({scan_id}, 2, [BEAT])


async def test_board_posts_each_entry_to_the_stream_of_its_priority(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    entries = {
        SCANS: opened(0).entry,
        BULK_SCANS: opened(0, priority=Priority.BULK).entry,
    }

    await board.post(list(entries.values()))

    for stream, entry in entries.items():
        ((_, fields),) = redis_client.xrange(stream)
        assert decode_entry(fields[FIELD.encode()]) == entry


async def test_board_says_that_a_full_server_is_full(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    await board.collect(1, 0)
    redis_client.config_set("maxmemory", "1")
    try:
        for call in (board.state(), board.post([opened(0).entry])):
            with pytest.raises(Unavailable, match="memory is full"):
                await call
        assert await board.collect(64, 0) == []
    finally:
        redis_client.config_set("maxmemory", "0")

    depth, workers = await board.state()
    assert (depth, workers) == (0, [BEAT])


async def test_board_says_that_a_server_which_cannot_write_is_down(
    board: RedisBoard, redis_client: redis.Redis
) -> None:
    redis_client.config_set("min-replicas-to-write", "1")  # as with a disk that fails
    try:
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            await board.state()
    finally:
        redis_client.config_set("min-replicas-to-write", "0")


async def test_board_posts_at_once_what_comes_at_once(board: RedisBoard) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(board.post, [opened(0).entry])

    depth, _ = await board.state()
    assert depth == 50
