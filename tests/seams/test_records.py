"""What Records and Uses promise: on the fake, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from sdk.environment import Secret
from sdk.wire import PointName, Priority, Scan, Status, Verdict
from server import ids
from server.app import Store
from server.ending import ended
from server.ports import Opened, Precedent
from server.rules.caller import LOCAL_OWNER
from server.settings import ServerSettings
from server.store.scan_queries import OF_PLACE, OF_UPLOAD
from tests.fakes import ManualClock, MemoryRecords
from tests.server import postgres
from tests.server.scenes import completed, failed, opened
from tests.server.sql_records import SqlRecords
from worker.contract import RedisSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    programs = postgres.programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    with postgres.running(programs) as address:
        yield address


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["fake", "sqlite", "postgres"])
async def records(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield MemoryRecords(clock)
        return
    is_postgres = request.param == "postgres"
    address = request.getfixturevalue("postgres_address") if is_postgres else ""
    sql = SqlRecords(
        ServerSettings(redis=RedisSettings(state_dir=tmp_path), database_url=Secret(address)),
        clock,
    )
    await sql.prepare()
    yield sql
    await sql.aclose()


async def test_records_give_back_a_scan_that_was_opened(records: Store, clock: ManualClock) -> None:
    scan = opened(clock.now())

    await records.open(scan)

    assert await records.get(scan.scan.id, owner=LOCAL_OWNER) == scan.scan


async def test_records_know_nothing_of_a_scan_that_was_not_opened(records: Store) -> None:
    assert await records.get(ids.scan_id(0), owner=LOCAL_OWNER) is None


async def test_records_show_what_the_worker_learnt_over_what_was_asked(
    records: Store, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)
    clock.advance(2)

    await records.close([completed(scan.scan.id)])

    got = await records.get(scan.scan.id, owner=LOCAL_OWNER)
    assert got is not None
    assert (got.status, got.verdict, got.score) == (Status.COMPLETED, Verdict.LIKELY_AI, 0.9)
    assert got.input.url == scan.scan.input.url
    assert got.input.width == 640
    assert got.completed_at == ids.rfc3339(clock.now())
    assert got.sequence == scan.scan.sequence + 1


async def test_records_keep_the_first_outcome(records: Store, clock: ManualClock) -> None:
    scan = opened(clock.now())
    await records.open(scan)

    first = await records.close([completed(scan.scan.id)])
    second = await records.close([failed(scan.scan.id)])

    assert (first, second) == ({scan.scan.id: LOCAL_OWNER}, {})
    got = await records.get(scan.scan.id, owner=LOCAL_OWNER)
    assert got is not None
    assert got.status is Status.COMPLETED


async def test_records_keep_the_first_outcome_of_one_batch(
    records: Store, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)

    recorded = await records.close([failed(scan.scan.id), completed(scan.scan.id)])

    assert recorded == {scan.scan.id: LOCAL_OWNER}
    got = await records.get(scan.scan.id, owner=LOCAL_OWNER)
    assert got is not None
    assert got.status is Status.FAILED
    assert got.verdict is None


async def test_records_ignore_an_outcome_of_a_scan_they_do_not_know(records: Store) -> None:
    assert await records.close([completed(ids.scan_id(0))]) == {}


async def test_records_close_many_in_one_batch(records: Store, clock: ManualClock) -> None:
    scans = [opened(clock.now()) for _ in range(5)]
    for scan in scans:
        await records.open(scan)

    recorded = await records.close([completed(scan.scan.id) for scan in scans[:4]])

    assert set(recorded) == {scan.scan.id for scan in scans[:4]}
    stale = await records.stale(clock.now() + 1)
    assert [scan.entry in stale for scan in scans] == [False, False, False, False, True]


async def test_watch_returns_as_soon_as_the_scan_is_final(
    records: Store, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)
    seen: list[Status] = []

    async def watch() -> None:
        got = await records.watch(scan.scan.id, 60, owner=LOCAL_OWNER)
        assert got is not None
        seen.append(got.status)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await records.close([completed(scan.scan.id)])

    assert seen == [Status.COMPLETED]


async def test_watch_returns_the_scan_as_it_is_when_time_is_up(
    records: Store, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)

    assert await records.watch(scan.scan.id, 0.01, owner=LOCAL_OWNER) == scan.scan


async def test_watch_returns_at_once_for_a_final_scan_and_for_none(
    records: Store, clock: ManualClock
) -> None:
    scan = opened(clock.now())
    await records.open(scan)
    await records.close([completed(scan.scan.id)])

    with anyio.fail_after(30):
        final = await records.watch(scan.scan.id, 60, owner=LOCAL_OWNER)
        nothing = await records.watch(ids.scan_id(0), 60, owner=LOCAL_OWNER)

    assert final is not None
    assert final.status is Status.COMPLETED
    assert nothing is None


async def test_stale_leaves_out_the_young_and_the_final(records: Store, clock: ManualClock) -> None:
    old, done = opened(clock.now()), opened(clock.now())
    await records.open(old)
    await records.open(done)
    await records.close([completed(done.scan.id)])
    clock.advance(10)
    young = opened(clock.now())
    await records.open(young)

    stale = await records.stale(clock.now() - 5)

    assert old.entry in stale
    assert done.entry not in stale
    assert young.entry not in stale


async def test_stale_gives_each_entry_with_its_priority(records: Store, clock: ManualClock) -> None:
    for priority in Priority:
        await records.open(opened(clock.now(), priority=priority))

    stale = await records.stale(clock.now() + 1)

    assert {entry.priority for entry in stale} == set(Priority)


async def test_uses_tell_needed_from_done_from_unnamed(records: Store, clock: ManualClock) -> None:
    waiting, done, unnamed = (ids.upload_id(clock.now()) for _ in range(3))
    await records.open(opened(clock.now(), upload_id=waiting))
    ended = opened(clock.now(), upload_id=done)
    await records.open(ended)
    await records.close([completed(ended.scan.id)])

    uses = await records.uses([waiting, done, unnamed], since=clock.now() + 1)

    assert uses == {waiting: True, done: False}


async def test_uses_hold_an_upload_for_a_while_after_its_scan(
    records: Store, clock: ManualClock
) -> None:
    upload_id = ids.upload_id(clock.now())
    scan = opened(clock.now(), upload_id=upload_id)
    await records.open(scan)
    await records.close([completed(scan.scan.id)])

    assert await records.uses([upload_id], since=clock.now() - 1) == {upload_id: True}


async def test_uses_hold_an_upload_as_long_as_one_of_its_scans_waits(
    records: Store, clock: ManualClock
) -> None:
    upload_id = ids.upload_id(clock.now())
    first, second = (opened(clock.now(), upload_id=upload_id) for _ in range(2))
    await records.open(first)
    await records.open(second)
    await records.close([completed(first.scan.id)])

    assert await records.uses([upload_id], since=clock.now() + 1) == {upload_id: True}


@pytest.fixture
def place() -> str:
    """A place that no other test has scanned; they share a database."""
    return secrets.token_hex(16)


async def judged(records: Store, clock: ManualClock, **about: Any) -> Opened:
    """Record a scan with its outcome, a second after the last one."""
    clock.advance(1)
    scan = replace(opened(clock.now(), upload_id=about.pop("upload_id", None)), **about)
    await records.open(scan)
    await records.close([replace(completed(scan.scan.id), judge="j", fresh_until=9.0)])
    return scan


async def test_precedents_are_the_newest_outcomes_of_the_place(
    records: Store, clock: ManualClock, place: str
) -> None:
    scans = [await judged(records, clock, place=place) for _ in range(8)]
    await judged(records, clock, place=place[::-1])
    await judged(records, clock, place=None)

    found = await records.precedents(replace(opened(clock.now()), place=place))

    newest = [scan.scan.id for scan in reversed(scans)][: len(found)]
    assert [one.outcome.scan_id for one in found] == newest
    assert len(found) >= 3
    assert found[0].at == clock.now() - 2
    assert found[0].operating_point is PointName.BALANCED
    assert (found[0].outcome.judge, found[0].outcome.fresh_until) == ("j", 9.0)


async def test_precedents_of_a_place_tell_of_its_failures_too(
    records: Store, clock: ManualClock, place: str
) -> None:
    await judged(records, clock, place=place)
    clock.advance(1)
    gone = replace(opened(clock.now()), place=place)
    await records.open(gone)
    await records.close([failed(gone.scan.id)])

    found = await records.precedents(replace(opened(clock.now()), place=place))

    assert [one.outcome.status for one in found] == [Status.FAILED, Status.COMPLETED]


async def test_precedents_of_an_upload_are_judged_uploads_of_the_same_bytes(
    records: Store, clock: ManualClock, place: str
) -> None:
    def of(half: str) -> Opened:
        scan = opened(clock.now(), upload_id=ids.upload_id(clock.now()))
        seen = replace(scan.scan.input, sha256=half * 2)
        return replace(scan, scan=replace(scan.scan, input=seen))

    async def end(scan: Opened, judge: str) -> None:
        await records.open(scan)
        outcome = completed(scan.scan.id)
        seen = replace(outcome.input, sha256=scan.scan.input.sha256)
        await records.close([replace(outcome, input=seen, judge=judge)])

    same, other, unjudged = of(place), of(place[::-1]), of(place)
    await end(same, "j")
    await end(other, "j")
    await end(unjudged, "")
    await judged(records, clock, place=place)  # of a URL

    found = await records.precedents(of(place))

    assert [one.outcome.scan_id for one in found] == [same.scan.id]


async def test_scan_that_is_final_is_recorded_so_and_waits_for_nobody(
    records: Store, clock: ManualClock, place: str
) -> None:
    first = opened(clock.now())
    final = ended(
        first.scan,
        completed(first.scan.id),
        sequence=1,
        completed_at=ids.rfc3339(clock.now()),
    )

    await records.open(replace(first, scan=final, place=place))

    assert await records.get(final.id, owner=LOCAL_OWNER) == final
    assert await records.watch(final.id, 60, owner=LOCAL_OWNER) == final
    assert first.entry not in await records.stale(clock.now() + 60)
    assert await records.close([failed(final.id)]) == {}
    assert await records.get(final.id, owner=LOCAL_OWNER) == final
    assert await records.precedents(replace(opened(clock.now()), place=place)) == []


async def test_scan_is_recorded_as_its_precedents_say(
    records: Store, clock: ManualClock, place: str
) -> None:
    first = replace(opened(clock.now()), place=place)
    await records.open(first)
    judged = completed(first.scan.id)
    await records.close([judged])
    clock.advance(1)
    known, other = [replace(opened(clock.now()), place=place) for _ in range(2)]
    asked: list[list[str]] = []

    def recall(found: Sequence[Precedent]) -> Scan:
        asked.append([one.outcome.scan_id for one in found])
        at = ids.rfc3339(clock.now())
        return ended(known.scan, found[0].outcome, sequence=1, completed_at=at)

    recorded = await records.open(known, recall=recall)
    waits = await records.open(other, recall=lambda _found: None)

    assert asked == [[first.scan.id]]
    assert (recorded.status, recorded.verdict) == (Status.COMPLETED, judged.verdict)
    assert await records.get(known.scan.id, owner=LOCAL_OWNER) == recorded
    assert waits == other.scan
    waiting = await records.stale(clock.now() + 1)
    assert other.entry in waiting
    assert known.entry not in waiting


async def test_upload_of_a_scan_that_was_final_at_once_is_let_go(
    records: Store, clock: ManualClock
) -> None:
    upload_id = ids.upload_id(clock.now())
    scan = opened(clock.now(), upload_id=upload_id)
    final = ended(scan.scan, completed(scan.scan.id), sequence=1, completed_at="")

    await records.open(replace(scan, scan=final))

    assert await records.uses([upload_id], since=clock.now() - 1) == {upload_id: True}
    assert await records.uses([upload_id], since=clock.now() + 1) == {upload_id: False}


@pytest.mark.parametrize(
    ("query", "index"), [(OF_PLACE, "ix_scans_place"), (OF_UPLOAD, "ix_scans_sha256")]
)
async def test_postgres_finds_precedents_by_their_index_and_in_its_order(
    postgres_address: str, tmp_path: Path, clock: ManualClock, query: Any, index: str
) -> None:
    options = {"dialect": postgresql.dialect(), "compile_kwargs": {"literal_binds": True}}
    statement = query.params(about="ab").compile(**options)

    def plan(connection: Connection) -> str:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is all but empty
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        return "\n".join(connection.scalars(text(f"EXPLAIN {statement}")))

    settings = ServerSettings(
        redis=RedisSettings(state_dir=tmp_path), database_url=Secret(postgres_address)
    )
    records = SqlRecords(settings, clock)
    await records.prepare()
    found = await records._database.write(plan)
    await records.aclose()

    assert f"Index Scan Backward using {index}" in found
    assert "Sort" not in found


async def test_ping_returns_when_the_store_answers(records: Store) -> None:
    await records.ping()
