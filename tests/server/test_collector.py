"""The collector and the sweep, step by step, on fakes and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from sdk.codes import ScanErrorCode
from sdk.wire import Health, Status
from server.collector import OVERDUE_SECONDS, SWEEP_SECONDS, Collector
from server.metrics import Metrics
from server.ports import Unavailable
from server.rules.caller import LOCAL_OWNER
from server.rules.limits import Limiter
from server.rules.readiness import Pace
from tests.fakes import (
    ManualClock,
    MemoryBoard,
    MemoryMeter,
    MemoryQueue,
    MemoryRecords,
    MemorySpool,
    chunks_of,
)
from tests.server.scenes import completed, opened
from worker.contract import DEADLINE_SECONDS, Entry, Outcome

pytestmark = pytest.mark.anyio


class PickyRecords(MemoryRecords):
    """Records that cannot take the outcome of one scan."""

    poison = ""

    async def close(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        if any(outcome.scan_id == self.poison for outcome in outcomes):
            raise ValueError("cannot be stored")
        return await super().close(outcomes)


class Disputes:
    """Nothing is left to do; notes how often that was asked."""

    def __init__(self) -> None:
        self.settled = 0

    async def settle(self) -> int:
        self.settled += 1
        return 0


class World:
    """A Collector over fakes, with all of them in reach."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.records = PickyRecords(self.clock)
        self.board = MemoryBoard()
        self.queue = MemoryQueue()
        self.spool = MemorySpool(self.clock)
        self.meter = MemoryMeter()
        self.disputes = Disputes()
        self.counters = Metrics()
        self.collector = Collector(
            records=self.records,
            uses=self.records,
            board=self.board,
            queue=self.queue,
            spool=self.spool,
            clock=self.clock,
            pace=Pace(self.clock),
            limiter=Limiter(self.meter, self.clock),
            disputes=self.disputes,
            counters=self.counters,
        )

    async def open(self, *, upload_id: str | None = None, is_posted: bool = True) -> Entry:
        scan = opened(self.clock.now(), upload_id=upload_id)
        await self.records.open(scan)
        if is_posted:
            await self.board.post([scan.entry])
        return scan.entry

    async def status(self, entry: Entry) -> Status:
        scan = await self.records.get(entry.scan_id, owner=LOCAL_OWNER)
        assert scan is not None
        return scan.status


@pytest.fixture
def world() -> World:
    return World()


async def test_collect_records_then_acknowledges(world: World) -> None:
    entry = await world.open()
    world.board.publish(completed(entry.scan_id))

    assert await world.collector.collect() == 1

    assert await world.status(entry) is Status.COMPLETED
    assert world.board.results == []


async def test_scans_that_end_are_counted_and_give_their_places_back(world: World) -> None:
    entries = [await world.open() for _ in range(2)]
    late = await world.open()
    for entry in entries:
        world.board.publish(replace(completed(entry.scan_id), seconds={"fetch": 0.25, "x": 9.0}))
    world.clock.advance(3)

    await world.collector.collect()
    world.clock.advance(DEADLINE_SECONDS)
    await world.collector.sweep()

    assert sorted(world.meter.given_back) == sorted(entry.scan_id for entry in (*entries, late))
    text = world.counters.exposition(Health(status="ok"), None).decode()
    assert 'pinclip_scans_total{operating_point="none",verdict="likely_ai"} 2.0' in text
    assert 'pinclip_scan_errors_total{code="deadline_exceeded"} 1.0' in text
    assert 'pinclip_scan_duration_seconds_sum{stage="fetch"} 0.5' in text
    assert 'stage="x"' not in text


async def test_sweep_tells_how_old_the_oldest_is_and_what_was_lost(world: World) -> None:
    await world.open(is_posted=False)
    world.clock.advance(OVERDUE_SECONDS + 5)

    await world.collector.sweep()

    text = world.counters.exposition(Health(status="ok"), None).decode()
    assert f"pinclip_oldest_scan_seconds {OVERDUE_SECONDS + 5}" in text
    assert "pinclip_scans_posted_again_total 1.0" in text
    assert world.disputes.settled == 1


async def test_collect_acknowledges_nothing_that_is_not_recorded(world: World) -> None:
    entry = await world.open()
    world.board.publish(completed(entry.scan_id))
    world.records.fault = Unavailable("store", "full")
    with pytest.raises(Unavailable):
        await world.collector.collect()
    assert len(world.board.results) == 1

    world.records.fault = None
    await world.collector.collect()

    assert await world.status(entry) is Status.COMPLETED
    assert world.board.results == []


async def test_collect_records_once_when_the_acknowledgement_was_lost(world: World) -> None:
    entry = await world.open()
    world.board.publish(completed(entry.scan_id, score=0.9))
    taken = await world.board.collect(64, 0)
    await world.records.close([item.outcome for item in taken if item.outcome])

    world.board._given.clear()
    await world.collector.collect()

    assert await world.status(entry) is Status.COMPLETED
    assert world.board.results == []


async def test_collect_steps_over_what_it_cannot_read(world: World) -> None:
    entry = await world.open()
    world.board.publish(None)
    world.board.publish(completed(entry.scan_id))

    await world.collector.collect()

    assert await world.status(entry) is Status.COMPLETED
    assert world.board.results == []


async def test_collect_lets_one_bad_outcome_block_no_other(world: World) -> None:
    entries = [await world.open() for _ in range(5)]
    world.records.poison = entries[2].scan_id
    for entry in entries:
        world.board.publish(completed(entry.scan_id))

    await world.collector.collect()

    statuses = [await world.status(entry) for entry in entries]
    assert [status is Status.COMPLETED for status in statuses] == [True, True, False, True, True]
    assert world.board.results == []


async def test_sweep_leaves_a_young_scan_alone(world: World) -> None:
    await world.open(is_posted=False)
    world.clock.advance(OVERDUE_SECONDS - 1)

    await world.collector.sweep()

    assert world.board.waiting == []


async def test_sweep_posts_and_rings_for_a_scan_that_redis_does_not_know(world: World) -> None:
    entry = await world.open(is_posted=False)
    world.clock.advance(OVERDUE_SECONDS + 1)

    await world.collector.sweep()

    assert world.board.waiting == [entry]
    assert world.queue.tickets == 1


async def test_sweep_posts_nothing_twice(world: World) -> None:
    await world.open()
    world.clock.advance(OVERDUE_SECONDS + 1)

    await world.collector.sweep()
    await world.collector.sweep()

    assert len(world.board.waiting) == 1


async def test_sweep_does_not_post_what_waits_to_be_collected(world: World) -> None:
    entry = await world.open()
    world.board.publish(completed(entry.scan_id))
    world.clock.advance(OVERDUE_SECONDS + 1)

    await world.collector.sweep()

    assert world.board.waiting == []


async def test_sweep_rings_while_anything_waits(world: World) -> None:
    await world.open()

    await world.collector.sweep()

    assert world.queue.tickets == 1


async def test_sweep_does_not_ring_for_nothing(world: World) -> None:
    await world.collector.sweep()

    assert world.queue.tickets == 0


async def test_sweep_closes_what_is_past_its_deadline(world: World) -> None:
    entry = await world.open(is_posted=False)
    world.clock.advance(DEADLINE_SECONDS + 1)

    await world.collector.sweep()

    scan = await world.records.get(entry.scan_id, owner=LOCAL_OWNER)
    assert scan is not None
    assert scan.status is Status.FAILED
    assert scan.error is not None
    assert scan.error.code is ScanErrorCode.DEADLINE_EXCEEDED
    assert scan.error.hint
    assert scan.verdict is None
    assert world.board.waiting == []


async def test_outcome_that_comes_after_the_deadline_changes_nothing(world: World) -> None:
    entry = await world.open()
    world.clock.advance(DEADLINE_SECONDS + 1)
    await world.collector.sweep()

    world.board.publish(completed(entry.scan_id))
    await world.collector.collect()

    assert await world.status(entry) is Status.FAILED


async def test_sweep_closes_what_is_late_even_while_redis_is_down(world: World) -> None:
    entry = await world.open()
    world.clock.advance(DEADLINE_SECONDS + 1)
    world.board.fault = Unavailable("redis", "gone")

    with pytest.raises(Unavailable):
        await world.collector.sweep()

    assert await world.status(entry) is Status.FAILED


async def test_sweep_forgets_an_upload_that_nobody_named_in_time(world: World) -> None:
    await world.spool.store(chunks_of(b"abc"), owner="acme")
    world.clock.advance(900)
    await world.collector.sweep()
    assert len(await world.spool.kept()) == 1

    world.clock.advance(61)
    await world.collector.sweep()

    assert await world.spool.kept() == []


async def test_sweep_keeps_an_upload_as_long_as_its_scan_waits(world: World) -> None:
    upload = await world.spool.store(chunks_of(b"abc"), owner="acme")
    world.clock.advance(899)
    await world.open(upload_id=upload.id)

    world.clock.advance(DEADLINE_SECONDS - 1)
    await world.collector.sweep()

    assert await world.spool.kept() == [upload.id]


async def test_sweep_forgets_an_upload_a_while_after_its_scan_is_final(world: World) -> None:
    upload = await world.spool.store(chunks_of(b"abc"), owner="acme")
    entry = await world.open(upload_id=upload.id)
    await world.records.close([completed(entry.scan_id)])

    world.clock.advance(59)
    await world.collector.sweep()
    assert await world.spool.kept() == [upload.id]
    world.clock.advance(2)
    await world.collector.sweep()

    assert await world.spool.kept() == []


async def test_tasks_go_on_after_redis_and_the_store_were_down(world: World) -> None:
    lost = await world.open(is_posted=False)
    done = await world.open()
    world.board.publish(completed(done.scan_id))
    world.records.fault = Unavailable("store", "full")
    world.board.fault = Unavailable("redis", "gone")

    async with anyio.create_task_group() as group:
        group.start_soon(world.collector.run)
        for _ in range(5):
            await _pass(world, 10)
        world.records.fault = world.board.fault = None
        for _ in range(3):
            await _pass(world, 10)
        group.cancel_scope.cancel()

    assert await world.status(done) is Status.COMPLETED
    assert world.board.waiting == [lost]


async def test_tasks_go_on_after_a_fault_of_ours(world: World) -> None:
    done = await world.open()
    world.board.publish(completed(done.scan_id))
    world.board.fault = RuntimeError("a fault of ours")  # type: ignore[assignment]

    async with anyio.create_task_group() as group:
        group.start_soon(world.collector.run)
        await _pass(world, 10)
        world.board.fault = None
        await _pass(world, 10)
        group.cancel_scope.cancel()

    assert await world.status(done) is Status.COMPLETED


async def test_sweep_comes_again_every_few_seconds(world: World) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(world.collector.run)
        await _pass(world, 0)
        entry = await world.open(is_posted=False)
        for _ in range(4):
            await _pass(world, SWEEP_SECONDS)
        group.cancel_scope.cancel()

    assert world.board.waiting == [entry]


async def _pass(world: World, seconds: float) -> None:
    """Let time pass, and all that sleeps or waits do what it does then."""
    world.clock.advance(seconds)
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
