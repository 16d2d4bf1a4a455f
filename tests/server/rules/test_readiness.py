"""When a scan is let in, and when it is told to come back later."""

from __future__ import annotations

import pytest

from sdk.codes import ProblemCode
from server.ports import Unavailable
from server.refused import Refused
from server.rules.readiness import LONGEST_RETRY_SECONDS, Pace, Readiness
from tests.fakes import ManualClock, MemoryBoard, MemoryRecords
from tests.server.scenes import BEAT, opened

pytestmark = pytest.mark.anyio


class Parts:
    """A Readiness over fakes with one worker, a limit of 3, and its parts in reach."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = MemoryBoard()
        self.board.workers.append(BEAT)
        self.records = MemoryRecords(self.clock)
        self.pace = Pace(self.clock)
        self.readiness = Readiness(
            records=self.records,
            board=self.board,
            clock=self.clock,
            pace=self.pace,
            queue_limit=3,
        )


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_admit_lets_in_as_many_as_the_limit_between_two_looks(parts: Parts) -> None:
    for _ in range(3):
        await parts.readiness.admit()

    with pytest.raises(Refused) as caught:
        await parts.readiness.admit()

    assert caught.value.code is ProblemCode.QUEUE_FULL


async def test_admit_lets_in_again_once_the_queue_is_shorter(parts: Parts) -> None:
    await parts.board.post([opened(0).entry for _ in range(3)])
    with pytest.raises(Refused):
        await parts.readiness.admit()

    parts.board.waiting.clear()
    parts.clock.advance(1)

    await parts.readiness.admit()


async def test_admit_asks_redis_at_most_once_a_second(parts: Parts) -> None:
    await parts.readiness.admit()
    parts.board.fault = Unavailable("redis", "gone")
    await parts.readiness.admit()

    parts.clock.advance(1)

    with pytest.raises(Unavailable, match="gone"):
        await parts.readiness.admit()


async def test_admit_remembers_that_redis_is_down_and_notices_that_it_is_back(
    parts: Parts,
) -> None:
    parts.board.fault = Unavailable("redis", "gone")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await parts.readiness.admit()

    parts.board.fault = None
    parts.clock.advance(1)

    await parts.readiness.admit()


async def test_admit_refuses_without_a_worker(parts: Parts) -> None:
    parts.board.workers.clear()

    with pytest.raises(Unavailable) as caught:
        await parts.readiness.admit()

    assert caught.value.part == "worker"


@pytest.mark.parametrize(
    ("done", "over_seconds", "depth", "expected"),
    [
        pytest.param(0, 10, 50, LONGEST_RETRY_SECONDS, id="nothing seen yet"),
        pytest.param(100, 10, 50, 5, id="ten a second"),
        pytest.param(100, 10, 1, 1, id="never less than a second"),
        pytest.param(1, 10, 1000, LONGEST_RETRY_SECONDS, id="never more than the longest"),
        pytest.param(7, 10, 5, 8, id="rounded up"),
    ],
)
def test_pace_says_how_long_the_queue_takes(
    done: int, over_seconds: float, depth: int, expected: int
) -> None:
    clock = ManualClock()
    pace = Pace(clock)
    if done:
        pace.add(done)
    clock.advance(over_seconds)

    assert pace.seconds_for(depth) == expected


def test_pace_forgets_what_is_older_than_a_minute() -> None:
    clock = ManualClock()
    pace = Pace(clock)
    pace.add(1000)

    clock.advance(61)

    assert pace.seconds_for(1) == LONGEST_RETRY_SECONDS


async def test_report_names_what_is_wrong_with_each_part(parts: Parts) -> None:
    parts.records.fault = Unavailable("store", "disk on fire")
    parts.board.fault = Unavailable("redis", "gone")

    health = await parts.readiness.report()

    assert health.status == "unavailable"
    assert health.checks["store"] == {"ok": False, "detail": "disk on fire"}
    assert health.checks["redis"] == {"ok": False, "detail": "gone"}
    assert health.checks["worker"]["ok"] is False


async def test_report_is_ok_and_names_the_workers_when_all_is_well(parts: Parts) -> None:
    health = await parts.readiness.report()

    assert health.status == "ok"
    assert health.checks["worker"]["workers"] == [
        {
            "name": "worker-1",
            "model": "fixed",
            "engine": "fixed",
            "precision": "float32",
            "device": "cpu",
        }
    ]
