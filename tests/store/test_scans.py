"""The scans in SQL: what goes with their end in one commit, what erasing leaves, lists by index."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from sdk.wire import (
    AppealState,
    Event,
    EventData,
    EventType,
    Input,
    InputKind,
    Scan,
    ScanAppeal,
    Status,
    Verdict,
)
from server import ids
from server.ending import ended
from server.ports import KeyTaken, Opened, Replay, ScanFilter
from server.rules.scans import canceled
from server.store import replays, webhooks
from server.store.engine import Database
from server.store.scan_queries import listed
from server.store.scans import SqlScans
from server.store.tables import (
    AppealRow,
    AuditRow,
    DeliveryRow,
    EventRow,
    OverrideRow,
    ReplayRow,
    ScanRow,
    TombstoneRow,
)
from server.store.webhooks import NewEvent
from tests.fakes import ManualClock
from tests.server.scenes import completed, failed, opened

pytestmark = pytest.mark.anyio

OWNER = "acme"
CALLBACK = "https://example.com/told"
SHA256 = "ab" * 32
KEY = Replay(key="k", fingerprint="00" * 32)
FINAL = {"completed_at": "2026-01-01T00:00:00.000Z"}


class Bell:
    """Counts how often it is rung."""

    def __init__(self) -> None:
        self.rung = 0

    def ring(self) -> None:
        self.rung += 1


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def store(database: Database, clock: ManualClock, bell: Bell) -> SqlScans:
    return SqlScans(database, clock, bell)


def _asked(clock: ManualClock, **more: Any) -> Opened:
    clock.advance(1)
    scan = opened(clock.now(), owner=OWNER)
    return replace(scan, callback_url=CALLBACK, **more)


def _rescored(clock: ManualClock, old: Opened) -> Opened:
    new = _asked(clock)
    return replace(new, scan=replace(new.scan, rescore_of=old.scan.id))


async def _events(database: Database) -> list[Event]:
    rows = await database.rows(sa.select(EventRow.body).order_by(EventRow.created_at))
    return [msgspec.json.decode(row.body, type=Event) for row in rows]


async def _count(database: Database, table: type[Any]) -> int:
    (row,) = await database.rows(sa.select(sa.func.count()).select_from(table))
    return int(row[0])


async def _overturn(database: Database, owner: str = OWNER) -> str:
    appeal_id = ids.new("apl", 0)
    values = {"owner": owner, "sha256": SHA256, "appeal_id": appeal_id, "created_at": 0.0}
    await database.write(lambda c: c.execute(sa.insert(OverrideRow).values(values)))
    return appeal_id


async def test_ended_scans_are_told_of_as_they_are(
    store: SqlScans, database: Database, clock: ManualClock, bell: Bell
) -> None:
    good, bad, unwanted = [_asked(clock) for _ in range(3)]
    for one in (good, bad, unwanted):
        await store.open(one)

    await store.close([completed(good.scan.id), failed(bad.scan.id), canceled(unwanted.scan)])

    told = {event.type: event for event in await _events(database)}
    assert set(told) == {EventType.SCAN_COMPLETED, EventType.SCAN_FAILED}
    for kind, one in ((EventType.SCAN_COMPLETED, good), (EventType.SCAN_FAILED, bad)):
        assert told[kind].data.scan == await store.get(one.scan.id, owner=OWNER)
        assert told[kind].sequence == 2
    assert await _count(database, DeliveryRow) == 2
    assert bell.rung == 1


async def test_recalled_scan_is_told_of_too(
    store: SqlScans, database: Database, clock: ManualClock, bell: Bell
) -> None:
    asked = _asked(clock)
    final = ended(asked.scan, completed(asked.scan.id), sequence=1, **FINAL)

    recorded = await store.open(replace(asked, scan=final))

    (event,) = await _events(database)
    assert (event.type, event.data.scan) == (EventType.SCAN_COMPLETED, final)
    assert recorded == final
    assert bell.rung == 1


async def test_precedent_that_cannot_be_read_is_none_and_fails_nobody_beside(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    broken, place = _asked(clock, place="ab" * 16), "cd" * 16
    await store.open(broken)
    await store.close([completed(broken.scan.id)])
    await database.write(lambda c: c.execute(sa.update(ScanRow).values(outcome="{")))
    like_it, other = _asked(clock, place=broken.place), _asked(clock, place=place)
    recorded: list[Scan] = []

    async def open_one(one: Opened) -> None:
        recorded.append(await store.open(one, recall=lambda _found: None))

    async with anyio.create_task_group() as group:
        for one in (like_it, other):
            group.start_soon(open_one, one)

    assert {scan.id for scan in recorded} == {like_it.scan.id, other.scan.id}
    assert {scan.status for scan in recorded} == {Status.QUEUED}


async def test_bytes_that_were_overturned_are_accused_by_no_later_scan(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    appeal_id = await _overturn(database)
    looked_at, known = _asked(clock), _asked(clock)
    final = ended(known.scan, completed(known.scan.id), sequence=1, **FINAL)
    theirs = replace(_asked(clock), owner="other")

    recalled = await store.open(replace(known, scan=final))
    for one in (looked_at, theirs):
        await store.open(one)
        await store.close([replace(completed(one.scan.id), judge="j")])

    mine = await store.get(looked_at.scan.id, owner=OWNER)
    assert mine is not None
    for scan in (mine, recalled):
        assert scan.verdict is Verdict.INCONCLUSIVE
        assert scan.reasons[0].code == "overturned"
        assert scan.appeal == ScanAppeal(AppealState.OVERTURNED, appeal_id)
    told = [event.data.scan for event in await _events(database)]
    assert mine in told
    assert recalled in told
    other = await store.get(theirs.scan.id, owner="other")
    assert other is not None
    assert other.verdict is Verdict.LIKELY_AI
    # What the model said is still known, for others.
    found = await store.precedents(_about_digest(clock))
    assert {one.outcome.verdict for one in found} == {Verdict.LIKELY_AI}


def _about_digest(clock: ManualClock) -> Opened:
    asked = _asked(clock)
    about = Input(kind=InputKind.SHA256, sha256=SHA256)
    entry = replace(asked.entry, kind=InputKind.SHA256, url=None)
    return replace(asked, scan=replace(asked.scan, input=about), entry=entry)


async def test_rescore_replaces_the_scan_and_tells_of_another_verdict(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    old = _asked(clock)
    await store.open(old)
    await store.close([completed(old.scan.id)])
    same, other, broken = [_rescored(clock, old) for _ in range(3)]
    for one in (same, other, broken):
        await store.open(one)

    await store.close([completed(same.scan.id)])
    await store.close([replace(completed(other.scan.id), verdict=Verdict.NO_SIGN_OF_AI)])
    await store.close([failed(broken.scan.id)])

    changed = [
        event for event in await _events(database) if event.type is EventType.SCAN_VERDICT_CHANGED
    ]
    new = await store.get(other.scan.id, owner=OWNER)
    assert [(event.data.scan, event.data.previous) for event in changed] == [
        (new, Verdict.LIKELY_AI)
    ]
    assert changed[0].data.cause == "rescore"
    replaced = await store.get(old.scan.id, owner=OWNER)
    assert replaced is not None
    assert replaced.superseded_by == other.scan.id  # and not by the one that failed
    assert replaced.sequence == 4
    assert replaced.verdict is Verdict.LIKELY_AI


async def test_scans_are_their_owners_alone(store: SqlScans, clock: ManualClock) -> None:
    asked = _asked(clock)
    await store.open(asked)
    scan_id = asked.scan.id

    assert await store.get(scan_id, owner="other") is None
    assert await store.opened(scan_id, owner="other") is None
    assert await store.watch(scan_id, 60, owner="other") is None
    assert await store.erase(scan_id, owner="other", actor="other") is None
    assert await store.page(ScanFilter(), owner="other", before_id=None, limit=9) == []
    assert await store.get(scan_id, owner=OWNER) == asked.scan


async def test_list_finds_what_all_filters_ask_for(store: SqlScans, clock: ManualClock) -> None:
    good, bad, waiting = [_asked(clock) for _ in range(3)]
    for one in (good, bad, waiting):
        await store.open(one)
    await store.close([completed(good.scan.id), failed(bad.scan.id)])
    made = ids.made_at(bad.scan.id)

    async def found(before_id: str | None = None, **wanted: Any) -> list[str]:
        page = await store.page(ScanFilter(**wanted), owner=OWNER, before_id=before_id, limit=9)
        return [scan.id for scan in page]

    assert await found() == [waiting.scan.id, bad.scan.id, good.scan.id]
    assert await found(bad.scan.id) == [good.scan.id]
    assert await found(since=made, before=made + 0.5) == [bad.scan.id]
    assert await found(status=Status.QUEUED) == [waiting.scan.id]
    likely = Verdict.LIKELY_AI
    assert await found(status=Status.COMPLETED, verdict=likely) == [good.scan.id]
    assert await found(status=Status.FAILED, verdict=likely) == []
    assert await found(sha256=SHA256, verdict=likely) == [good.scan.id]
    assert await found(sha256=SHA256, status=Status.FAILED) == []
    assert await found(batch_id=ids.new("batch", 0), status=Status.FAILED) == []


async def test_erased_scan_leaves_nothing_but_that_it_was(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    asked = _asked(clock, replay=KEY)
    asked = replace(asked, scan=replace(asked.scan, metadata={"post": "s3cret"}))
    stays = _asked(clock)
    for one in (asked, stays):
        await store.open(one)
        await store.close([completed(one.scan.id)])
    scan_id = asked.scan.id
    appeal = {
        "id": ids.new("apl", 0),
        "owner": OWNER,
        "scan_id": scan_id,
        "state": "open",
        "reason": "s3cret",
        "created_at": 0.0,
    }
    told = NewEvent(
        owner=OWNER,
        type=EventType.APPEAL_CREATED,
        subject=str(appeal["id"]),
        sequence=1,
        data=EventData(),
        callback_url=CALLBACK,
    )

    def dispute(connection: sa.Connection) -> None:
        connection.execute(sa.insert(AppealRow).values(appeal))
        webhooks.add(connection, [told], now=clock.now())

    await database.write(dispute)

    erased = await store.erase(scan_id, owner=OWNER, actor="key_1")

    assert erased is not None
    assert erased.was_final
    assert await store.get(scan_id, owner=OWNER) is None
    assert await store.is_erased(scan_id, owner=OWNER)
    assert not await store.is_erased(scan_id, owner="other")
    assert await store.erase(scan_id, owner=OWNER, actor="key_1") is None
    for table, left in ((AppealRow, 0), (ReplayRow, 0), (EventRow, 1), (DeliveryRow, 1)):
        assert await _count(database, table) == left
    (tomb,) = await database.rows(sa.select(TombstoneRow.__table__))
    assert (tomb.scan_id, tomb.erased_by) == (scan_id, "key_1")
    (act,) = await database.rows(sa.select(AuditRow.__table__))
    assert (act.actor, act.action, act.subject) == ("key_1", "scan.erase", scan_id)
    assert "s3cret" not in act.detail_json
    assert await store.get(stays.scan.id, owner=OWNER) is not None
    assert await store.close([completed(scan_id)]) == {}


async def test_keys_of_requests_that_share_a_commit_stop_only_each_other(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    one, two = [_asked(clock, replay=KEY) for _ in range(2)]
    theirs, free = replace(_asked(clock, replay=KEY), owner="other"), _asked(clock)
    got: dict[str, Scan | None] = {}

    async def open_(asked: Opened) -> None:
        try:
            got[asked.scan.id] = await store.open(asked)
        except KeyTaken:
            got[asked.scan.id] = None

    async with anyio.create_task_group() as group:
        for asked in (free, one, two, theirs):
            group.start_soon(open_, asked)

    assert got[free.scan.id] == free.scan
    assert got[theirs.scan.id] == theirs.scan
    recorded = [scan_id for scan_id in (one.scan.id, two.scan.id) if got[scan_id] is not None]
    assert len(recorded) == 1
    kept = await store.replay("k", owner=OWNER)
    assert kept is not None
    assert (kept.subject, kept.fingerprint) == (recorded[0], KEY.fingerprint)
    assert await _count(database, ScanRow) == 3


async def test_key_is_free_again_after_a_day(store: SqlScans, clock: ManualClock) -> None:
    await store.open(_asked(clock, replay=KEY))
    clock.advance(replays.KEPT_SECONDS)
    assert await store.replay("k", owner=OWNER) is None
    again = _asked(clock, replay=KEY)

    await store.open(again)

    kept = await store.replay("k", owner=OWNER)
    assert kept is not None
    assert kept.subject == again.scan.id


async def test_revised_scan_is_read_as_it_was_revised(
    store: SqlScans, database: Database, clock: ManualClock
) -> None:
    asked = _asked(clock)
    await store.open(asked)
    await store.close([completed(asked.scan.id)])

    def overturn(connection: sa.Connection) -> None:
        (held,) = store.hold_accused(connection, owner=OWNER, sha256=SHA256, limit=9)
        assert held.callback_url == CALLBACK
        spared = replace(held.scan, verdict=Verdict.INCONCLUSIVE, sequence=3)
        store.revise(connection, [replace(held, scan=spared)])

    before = await store.get(asked.scan.id, owner=OWNER)
    await database.write(overturn)

    assert before is not None
    now = await store.get(asked.scan.id, owner=OWNER)
    assert now == replace(before, verdict=Verdict.INCONCLUSIVE, sequence=3)
    none: list[Any] = await database.write(
        lambda c: store.hold_accused(c, owner=OWNER, sha256=SHA256, limit=9)
    )
    assert none == []


@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ScanFilter(), "ix_scans_owner (owner=?"),
        (ScanFilter(status=Status.FAILED), "ix_scans_owner_status (owner=? AND status=?"),
        (ScanFilter(verdict=Verdict.LIKELY_AI), "ix_scans_owner_verdict (owner=? AND verdict=?"),
        (ScanFilter(sha256=SHA256), "ix_scans_owner_sha256 (owner=? AND sha256=?"),
        (ScanFilter(since=1.0, before=2.0), "ix_scans_owner (owner=? AND id>? AND id<?"),
        (ScanFilter(batch_id="batch_1"), "ix_scans_batch (batch_id=?"),
        (
            ScanFilter(status=Status.COMPLETED, verdict=Verdict.LIKELY_AI),
            "ix_scans_owner_verdict (owner=? AND verdict=?",
        ),
        (
            ScanFilter(sha256=SHA256, verdict=Verdict.LIKELY_AI),
            "ix_scans_owner_sha256 (owner=? AND sha256=?",
        ),
        (ScanFilter(batch_id="batch_1", status=Status.FAILED), "ix_scans_batch (batch_id=?"),
    ],
    ids=[
        "all",
        "status",
        "verdict",
        "sha256",
        "time",
        "batch",
        "status-verdict",
        "sha256-verdict",
        "batch-status",
    ],
)
async def test_each_filter_of_a_list_has_an_index(
    database: Database, wanted: ScanFilter, index: str
) -> None:
    query = listed(wanted, owner=OWNER, before_id=ids.scan_id(1), limit=21)

    def plan(connection: sa.Connection) -> list[str]:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
        return [row[3] for row in rows]

    steps = await database.read(plan)

    assert any(index in step for step in steps), steps
    assert wanted.batch_id or not any("TEMP B-TREE" in step for step in steps), steps
