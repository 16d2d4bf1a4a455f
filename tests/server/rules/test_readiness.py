"""When a scan is let in, and when it is told to come back later."""

from __future__ import annotations

import pytest

from sdk.codes import ProblemCode
from sdk.wire import Priority
from server.ports import Unavailable
from server.refused import Refused
from server.rules.readiness import FEWEST, LONGEST_RETRY_SECONDS, Pace, Readiness
from tests.fakes import ManualClock, MemoryBoard, MemoryRecords
from tests.server.scenes import BEAT, opened

pytestmark = pytest.mark.anyio


class Parts:
    """A Readiness over fakes with one worker, and its parts in reach."""

    def __init__(self, queue_limit: int) -> None:
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
            queue_limit=queue_limit,
        )

    async def wait_for(self, count: int) -> None:
        """Let so many scans wait in Redis, and the last look at it be old."""
        self.board.waiting = [opened(0).entry] * count
        self.clock.advance(1)

    async def work(self, *, per_second: int, seconds: int, waiting: int) -> None:
        """Let the workers be so fast, with so many always waiting."""
        for _ in range(seconds):
            await self.wait_for(waiting)
            await self.is_taken()
            self.pace.add(per_second)

    async def is_taken(self, priority: Priority = Priority.INTERACTIVE) -> bool:
        try:
            await self.readiness.admit(priority)
        except Refused as refused:
            return refused.code is not ProblemCode.QUEUE_FULL
        return True


@pytest.fixture
def parts() -> Parts:
    return Parts(queue_limit=3)


@pytest.fixture
def large() -> Parts:
    return Parts(queue_limit=10_000)


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
    ("priority", "waiting", "expected"),
    [
        pytest.param(Priority.BULK, 4_999, True, id="bulk below its half"),
        pytest.param(Priority.BULK, 5_000, False, id="bulk at its half"),
        pytest.param(Priority.INTERACTIVE, 5_000, True, id="people where bulk is refused"),
        pytest.param(Priority.INTERACTIVE, 9_999, True, id="people below the limit"),
        pytest.param(Priority.INTERACTIVE, 10_000, False, id="people at the limit"),
    ],
)
async def test_admit_refuses_bulk_at_half_of_what_may_wait(
    large: Parts, priority: Priority, waiting: int, expected: bool
) -> None:
    await large.wait_for(waiting)

    assert await large.is_taken(priority) is expected


@pytest.mark.parametrize("queue_limit", [1, 2, 3])
async def test_admit_takes_bulk_where_nothing_waits_whatever_the_limit(queue_limit: int) -> None:
    assert await Parts(queue_limit).is_taken(Priority.BULK)


@pytest.mark.parametrize(
    ("priority", "waiting", "expected"),
    [
        pytest.param(Priority.INTERACTIVE, 359, True, id="below two minutes of work"),
        pytest.param(Priority.INTERACTIVE, 360, False, id="two minutes of work"),
        pytest.param(Priority.BULK, 179, True, id="bulk below one minute"),
        pytest.param(Priority.BULK, 180, False, id="bulk at one minute"),
    ],
)
async def test_admit_takes_two_minutes_of_work_at_the_pace_measured(
    large: Parts, priority: Priority, waiting: int, expected: bool
) -> None:
    await large.work(per_second=3, seconds=30, waiting=200)

    await large.wait_for(waiting)

    assert await large.is_taken(priority) is expected


async def test_admit_takes_no_more_than_the_limit_however_fast_the_work(large: Parts) -> None:
    await large.work(per_second=1000, seconds=30, waiting=9_000)

    await large.wait_for(10_000)

    assert not await large.is_taken()


async def test_admit_takes_a_few_although_nothing_gets_done(large: Parts) -> None:
    await large.work(per_second=0, seconds=60, waiting=200)
    await large.wait_for(200)
    assert not await large.is_taken()

    await large.wait_for(FEWEST - 1)

    assert await large.is_taken()


async def test_admit_takes_the_pace_of_few_requests_for_no_pace_of_the_work(large: Parts) -> None:
    # One a second comes and is done: the workers could do more, and nobody knows how much.
    await large.work(per_second=1, seconds=60, waiting=2)

    await large.wait_for(1_000)

    assert await large.is_taken()


async def test_admit_remembers_the_pace_after_a_quiet_time(large: Parts) -> None:
    await large.work(per_second=3, seconds=30, waiting=200)
    await large.wait_for(0)
    assert await large.is_taken()
    large.clock.advance(600)

    await large.wait_for(361)

    assert not await large.is_taken()


async def test_admit_takes_many_at_once_on_a_slow_machine_if_the_last_will_be_in_time(
    large: Parts,
) -> None:
    await large.work(per_second=1, seconds=60, waiting=64)
    await large.wait_for(64)

    with pytest.raises(Refused) as caught:
        await large.readiness.admit(Priority.INTERACTIVE, count=1000)
    await large.readiness.admit(Priority.INTERACTIVE, count=500)

    assert caught.value.code is ProblemCode.QUEUE_FULL
    assert "with 1000 more at once, the last would not be done" in caught.value.detail
    assert not await large.is_taken(), "all of them are counted"


async def test_refusal_says_how_many_wait_how_many_may_and_how_fast_they_are_done(
    large: Parts,
) -> None:
    await large.work(per_second=10, seconds=30, waiting=700)
    await large.wait_for(700)

    with pytest.raises(Refused) as caught:
        await large.readiness.admit(Priority.BULK)

    assert caught.value.retry_after == 70
    assert caught.value.detail == (
        "700 scans are waiting, and 600 may for another bulk one; the pace is 10.0 a second."
    )


async def test_refusal_says_that_the_pace_is_not_known(large: Parts) -> None:
    await large.wait_for(10_000)

    with pytest.raises(Refused, match="not known yet") as caught:
        await large.readiness.admit()

    assert caught.value.retry_after == LONGEST_RETRY_SECONDS


@pytest.mark.parametrize(
    ("done", "over_seconds", "depth", "expected"),
    [
        pytest.param(0, 10, 50, LONGEST_RETRY_SECONDS, id="nothing seen yet"),
        pytest.param(0, 60, 50, LONGEST_RETRY_SECONDS, id="nothing gets done"),
        pytest.param(100, 2, 50, LONGEST_RETRY_SECONDS, id="too short to tell"),
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
    pace.saw(is_busy=True)
    pace.add(done)
    clock.advance(over_seconds)

    assert pace.seconds_for(depth) == expected


def test_pace_forgets_what_is_older_than_a_minute() -> None:
    clock = ManualClock()
    pace = Pace(clock)
    pace.saw(is_busy=True)
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
