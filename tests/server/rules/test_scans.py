"""Scans and the limits of who asks: what is paid for, and when a place is given back. On fakes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sdk.wire import ScanRequest, Scope
from server import ids
from server.metrics import Metrics
from server.ports import Replay, ScanFilter, Unavailable
from server.refused import Refused
from server.rules import scans
from server.rules.caller import Caller, Limits
from server.rules.desk import Desk
from server.rules.limits import Levels, Limiter, OverLimit
from server.rules.readiness import Pace, Readiness
from server.rules.scans import Terms
from tests.fakes import (
    ManualClock,
    MemoryBoard,
    MemoryMeter,
    MemoryQueue,
    MemoryRecords,
    MemorySpool,
)
from tests.server.scenes import BEAT, URL, completed
from worker.guard import Policy
from worker.tracing import Tracing, current

pytestmark = pytest.mark.anyio

ASKED = ScanRequest(url=URL)
TERMS = Terms(request_id="r")
CALLER = Caller(
    owner="acme",
    key_id="key_1",
    scopes=frozenset({Scope.SCAN}),
    limits=Limits(rate_per_minute=60, parallel=2),
)


class Office:
    """A Desk over fakes, with all of them in reach."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.records = MemoryRecords(self.clock)
        self.board = MemoryBoard()
        self.board.workers.append(replace(BEAT, judge="j"))
        self.meter = MemoryMeter()
        self.desk = Desk(
            records=self.records,
            precedents=self.records,
            board=self.board,
            queue=MemoryQueue(),
            spool=MemorySpool(self.clock),
            clock=self.clock,
            policy=Policy(),
            readiness=Readiness(
                records=self.records,
                board=self.board,
                clock=self.clock,
                pace=Pace(self.clock),
                queue_limit=1,
            ),
            limiter=Limiter(self.meter, self.clock),
            counters=Metrics(),
        )

    async def submit(self, **more: Any) -> str:
        terms = replace(TERMS, **more)
        made = await scans.submit(ASKED, caller=CALLER, terms=terms, desk=self.desk)
        return made.scan.id

    async def made(self) -> list[str]:
        page = await self.records.page(ScanFilter(), owner="acme", before_id=None, limit=99)
        return [scan.id for scan in page]


@pytest.fixture
def office() -> Office:
    return Office()


async def test_who_is_over_the_limit_gets_no_scan(office: Office) -> None:
    office.meter.levels = Levels(level=60, wait_seconds=3, violated=("scans",))

    with pytest.raises(OverLimit) as refused:
        await office.submit()

    assert refused.value.code == "rate_limited"
    assert await office.made() == []
    assert office.meter.given_back == []  # nothing was taken


async def test_scan_that_comes_to_nothing_gives_its_place_back(office: Office) -> None:
    first = await office.submit()
    with pytest.raises(Refused) as refused:
        await office.submit()

    assert refused.value.code == "queue_full"
    (back,) = office.meter.given_back
    assert ids.is_scan_id(back)
    assert await office.made() == [first]


async def test_scan_whose_store_is_down_gives_its_place_back(office: Office) -> None:
    office.records.fault = Unavailable("store", "full")

    with pytest.raises(Unavailable):
        await office.submit()

    assert len(office.meter.given_back) == 1


async def test_scan_that_ends_early_gives_its_place_back(office: Office) -> None:
    canceled = await office.submit()
    await scans.cancel(canceled, caller=CALLER, desk=office.desk)
    assert office.meter.given_back == [canceled]

    office.board.waiting.clear()
    office.clock.advance(2)
    erased = await office.submit()
    await scans.erase(erased, caller=CALLER, desk=office.desk)
    assert office.meter.given_back == [canceled, erased]


async def test_known_image_gives_its_place_back_and_is_counted(office: Office) -> None:
    scan_id = await office.submit()
    outcome = replace(completed(scan_id), judge="j", fresh_until=office.clock.now() + 60)
    await office.records.close([outcome])

    known = await office.submit()

    assert office.meter.given_back == [known]
    text = office.desk.counters.exposition(  # type: ignore[attr-defined]
        await office.desk.readiness.report(), None
    )
    assert b"pinclip_scans_recalled_total 1.0" in text


async def test_worker_hears_which_span_caused_the_scan(office: Office) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs pinclip[otel]")
    tracing = Tracing(sdk.TracerProvider(shutdown_on_exit=False))

    with tracing.span("POST /v1/scans"):
        await office.submit()
        cause = current()

    (entry,) = office.board.waiting
    assert cause is not None
    assert entry.traceparent == cause


async def test_replay_costs_nothing(office: Office) -> None:
    replay = Replay(key="k", fingerprint="f")
    first = await office.submit(replay=replay)
    office.meter.levels = Levels(violated=("scans",))

    assert await office.submit(replay=replay) == first


async def test_key_that_only_reads_may_not_submit_and_may_read(office: Office) -> None:
    scan_id = await office.submit()
    reader = replace(CALLER, scopes=frozenset({Scope.READ}))
    moderator = replace(CALLER, scopes=frozenset({Scope.MODERATE}))

    assert (await scans.get(scan_id, caller=reader, desk=office.desk)).id == scan_id
    for refused_call in (
        scans.submit(ASKED, caller=reader, terms=TERMS, desk=office.desk),
        scans.get(scan_id, caller=moderator, desk=office.desk),
    ):
        with pytest.raises(Refused) as refused:
            await refused_call
        assert refused.value.code == "scope_missing"


async def test_scans_of_another_owner_are_not_there(office: Office) -> None:
    scan_id = await office.submit()
    other = replace(CALLER, owner="other")

    for refused_call in (
        scans.get(scan_id, caller=other, desk=office.desk),
        scans.cancel(scan_id, caller=other, desk=office.desk),
        scans.erase(scan_id, caller=other, desk=office.desk),
        scans.rescore(scan_id, caller=other, terms=TERMS, desk=office.desk),
        scans.follow(scan_id, caller=other, after=None, desk=office.desk),
    ):
        with pytest.raises(Refused) as refused:
            await refused_call
        assert refused.value.code == "not_found"
