"""What is forgotten when it is old, over SQLite and PostgreSQL, and what has to stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from sdk.wire import AppealDecision, AppealState, Verdict
from server import ids
from server.clock import SystemClock
from server.courier import Bell
from server.ports import Replay
from server.rules import retention
from server.rules.appeals import Decision, NewAppeal
from server.rules.batches import NewBatch
from server.rules.retention import DAY, RetentionDesk
from server.store import retention as store
from server.store import webhooks
from server.store.appeals import SqlAppeals
from server.store.batches import SqlBatches
from server.store.engine import Database
from server.store.retention import SqlRetention
from server.store.scans import SqlScans
from server.store.tables import (
    AppealRow,
    AuditRow,
    BatchRow,
    DeliveryRow,
    EndpointRow,
    EventRow,
    ReplayRow,
    ScanRow,
)
from tests.fakes import ManualClock
from tests.store.asked import OWNER, asked, judged, record

pytestmark = pytest.mark.anyio

DAYS = 100
OLD, YOUNG = DAYS + 1, DAYS - 1
"""Ages in days."""


class OneTurn:
    """Turns that are never another's."""

    async def take_turn(self, _name: str, _seconds: int) -> bool:
        return True


class _Clock(SystemClock):
    """Time that stands still, and rests that take no time."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    async def sleep(self, _seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


def _desk(database: Database, now: float, *, days: int = DAYS) -> RetentionDesk:
    return RetentionDesk(
        store=SqlRetention(database), turns=OneTurn(), clock=_Clock(now), days=days
    )


async def _scan(database: Database, now: float, days: float, **more: Any) -> str:
    """Record a scan that became final so many days ago, with an event of it."""
    at = now - days * DAY
    new = replace(asked(at, **more), callback_url="https://example.com/told")
    outcome = judged(new.scan.id, "ab" * 32, verdict=Verdict.LIKELY_AI)
    await record(database, new, outcome, now=at)
    return new.scan.id


async def _appeal(database: Database, scan_id: str, state: AppealState) -> None:
    appeal = {
        "id": ids.new("apl", 0),
        "owner": OWNER,
        "scan_id": scan_id,
        "state": state.value,
        "reason": "mine",
        "created_at": 0.0,
    }

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(AppealRow).values(appeal))
        its = sa.update(ScanRow).where(ScanRow.id == scan_id)
        connection.execute(its.values(appeal_state=state.value))

    await database.write(work)


async def _replay(
    database: Database, key: str, at: float, subject: str = "scan_of_another"
) -> None:
    row = {
        "owner": OWNER,
        "key": key,
        "fingerprint": "0" * 64,
        "created_at": at,
        "subject": subject,
    }
    await database.write(lambda connection: connection.execute(sa.insert(ReplayRow).values(row)))


async def _column(database: Database, column: Any) -> Sequence[Any]:
    return [value for (value,) in await database.rows(sa.select(column).order_by(column))]


async def test_old_final_scans_go_with_all_that_tells_of_them_and_others_stay(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    old = await _scan(database, now, OLD)
    await _appeal(database, old, AppealState.UPHELD)
    await _replay(database, "of the old", now, subject=old)
    disputed = await _scan(database, now, OLD)
    await _appeal(database, disputed, AppealState.OPEN)
    young = await _scan(database, now, YOUNG)
    running = asked(now - OLD * DAY)
    await record(database, running, now=now - OLD * DAY)

    counts = await retention.forget(_desk(database, now))

    assert counts["scans"] == 1
    assert await _column(database, ScanRow.id) == sorted([disputed, running.scan.id, young])
    assert await _column(database, AppealRow.scan_id) == [disputed]
    assert await _column(database, EventRow.subject) == sorted([disputed, young])
    assert len(await _column(database, DeliveryRow.id)) == 2
    assert await _column(database, ReplayRow.key) == []


async def test_reason_of_an_appeal_goes_with_its_scan_wherever_it_was_told(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    scans = SqlScans(database, clock)
    appeals = SqlAppeals(database, scans=scans, clock=clock)
    old, young = await _scan(database, now, OLD), await _scan(database, now, YOUNG)
    for scan_id in (old, young):
        new = NewAppeal(
            id=ids.new("apl", now),
            owner=OWNER,
            scan_id=scan_id,
            reason=f"I painted {scan_id} by hand.",
            evidence_url=None,
            at=now,
            replay=Replay(key=scan_id, fingerprint="0" * 64),
        )
        assert await appeals.create(new, check=lambda _: None)
        decision = Decision(
            appeal_id=new.id,
            owner=OWNER,
            decision=AppealDecision.UPHOLD,
            note="",
            by="key_1",
            at=now,
        )
        assert await appeals.decide(decision, check=lambda _: None)
    told = [body for body in await _column(database, EventRow.body) if "I painted" in body]
    assert len(told) == 4

    await retention.forget(_desk(database, now))

    told = [body for body in await _column(database, EventRow.body) if "I painted" in body]
    assert len(told) == 2
    assert all(young in body for body in told)
    events = await _column(database, EventRow.id)
    assert set(await _column(database, DeliveryRow.event_id)) <= set(events)
    assert await _column(database, ReplayRow.key) == [young]


async def test_what_was_erased_is_in_the_audit_log_as_counts_and_nothing_else_is(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    desk = _desk(database, now)
    await retention.forget(desk)
    assert await _column(database, AuditRow.seq) == []
    for _ in range(3):
        await _scan(database, now, OLD)

    await retention.forget(desk)
    await retention.forget(desk)

    (row,) = await database.rows(sa.select(AuditRow.actor, AuditRow.action, AuditRow.detail_json))
    assert (row.actor, row.action) == ("retention", "retention.erase")
    before = ids.rfc3339(now - DAYS * DAY)
    assert msgspec.json.decode(row.detail_json) == {"scans": 3, "before": before}


async def test_many_scans_go_in_transactions_of_few(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SCANS_AT_ONCE", 2)
    now = clock.now()
    scan_ids = [await _scan(database, now, OLD) for _ in range(5)]
    await _appeal(database, scan_ids[0], AppealState.OPEN)

    step = await SqlRetention(database).forget_scans(before=now - DAYS * DAY, after="")
    assert (step.count, step.after is not None) == (2, True)
    counts = await retention.forget(_desk(database, now))

    assert counts["scans"] == 2
    assert await _column(database, ScanRow.id) == scan_ids[:1]


async def test_batch_goes_once_its_last_scan_has(database: Database, clock: ManualClock) -> None:
    now, at = clock.now(), clock.now() - OLD * DAY
    batches = SqlBatches(database, bell=Bell())
    kept, gone = (
        NewBatch(
            id=ids.new("batch", at),
            owner=OWNER,
            total=1,
            refused=(),
            metadata={},
            callback_url="https://example.com/told",
            replay=Replay(key=key, fingerprint="0" * 64),
            at=at,
        )
        for key in ("kept", "gone")
    )
    for new in (kept, gone):
        await batches.open(new, [])
    disputed = await _scan(database, now, OLD, batch_id=kept.id, batch_index=0)
    await _appeal(database, disputed, AppealState.OPEN)

    counts = await retention.forget(_desk(database, now))

    assert counts["batches"] == 1
    assert await _column(database, BatchRow.id) == [kept.id]
    assert gone.id not in await _column(database, EventRow.subject)


async def test_scans_are_kept_for_ever_where_no_days_are_set(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    old = await _scan(database, now, 10 * OLD)

    await retention.forget(_desk(database, now, days=0))

    assert await _column(database, ScanRow.id) == [old]


async def test_keys_of_replay_go_after_a_day(database: Database, clock: ManualClock) -> None:
    now = clock.now()
    await _replay(database, "old", now - DAY - 1)
    await _replay(database, "young", now - DAY + 1)

    counts = await retention.forget(_desk(database, now))

    assert (counts["replays"], await _column(database, ReplayRow.key)) == (1, ["young"])


async def test_endpoint_of_a_callback_goes_when_nothing_was_delivered_for_long(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    await _scan(database, now, OLD)
    urls = {"": True, "https://example.com/told": True}
    assert set(await _column(database, EndpointRow.url)) == set(urls)

    in_use = await retention.forget(_desk(database, now, days=0))
    await database.write(lambda connection: connection.execute(sa.delete(DeliveryRow)))
    unused = await retention.forget(_desk(database, now, days=0))

    assert (in_use["callbacks"], unused["callbacks"]) == (0, 1)
    assert await _column(database, EndpointRow.id) == [webhooks.callback_id(OWNER)], (
        "the owner's callback secrets stay"
    )


async def test_one_process_has_the_turn_and_a_failure_ends_nothing(
    database: Database, clock: ManualClock
) -> None:
    now = clock.now()
    await _scan(database, now, OLD)
    asked_for: list[int] = []

    class Turns:
        async def take_turn(self, _name: str, seconds: int) -> bool:
            asked_for.append(seconds)
            if len(asked_for) == 1:
                raise RuntimeError("broken")
            return len(asked_for) == 3

    desk = replace_turns(_desk(database, now), Turns())
    with anyio.move_on_after(30) as limit:
        async with anyio.create_task_group() as group:
            group.start_soon(retention.run, desk)
            while len(asked_for) < 3 or await _column(database, ScanRow.id):
                if len(asked_for) < 3:
                    assert await _column(database, ScanRow.id), "another had the turn"
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    assert not limit.cancelled_caught
    assert asked_for[0] < retention.EVERY_SECONDS


def replace_turns(desk: RetentionDesk, turns: Any) -> RetentionDesk:
    return RetentionDesk(store=desk.store, turns=turns, clock=desk.clock, days=desk.days)
