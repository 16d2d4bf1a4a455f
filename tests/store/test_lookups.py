"""What is known of bytes, over SQLite and PostgreSQL: whose verdict, which, and by which index."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.dialects import sqlite

from sdk.wire import PointName, Status, Verdict
from server import ids
from server.rules.lookups import Known
from server.settings import ServerSettings
from server.store.engine import Database, database_file
from server.store.lookups import BETWEEN, OF, SqlLookups
from server.store.tables import OverrideRow
from tests.fakes import ManualClock
from tests.store.asked import OWNER, asked, judged, record
from tests.store.conftest import opened

pytestmark = pytest.mark.anyio

JUDGE = "judge-1"
CAT, DOG = "abcde" + "1" * 59, "abcde" + "2" * 59
ELSEWHERE = "abcdf" + "0" * 59
LIVE = [JUDGE, "judge-3"]


async def _judged(
    database: Database,
    clock: ManualClock,
    sha256: str,
    *,
    verdict: Verdict = Verdict.LIKELY_AI,
    judge: str = JUDGE,
    owner: str = OWNER,
    point: PointName = PointName.BALANCED,
) -> None:
    """Record a scan that a worker judged; time goes on."""
    new = asked(clock.now(), owner=owner, point=point)
    outcome = judged(new.scan.id, sha256, verdict=verdict, judge=judge)
    await record(database, new, outcome, now=clock.now())
    clock.advance(60)


async def _of(database: Database, *sha256s: str, owner: str = "me") -> Sequence[Known]:
    return await SqlLookups(database).of(
        sha256s, point=PointName.BALANCED, judges=LIVE, owner=owner
    )


async def _between(database: Database, prefix: str, limit: int) -> list[str]:
    known = await SqlLookups(database).between(
        prefix.ljust(64, "0"),
        prefix.ljust(64, "f"),
        point=PointName.BALANCED,
        judges=LIVE,
        owner="me",
        limit=limit,
    )
    return [one.sha256 for one in known]


async def test_newest_verdict_of_a_live_judge_at_the_point_is_told_whoevers_scan_it_was(
    database: Database, clock: ManualClock
) -> None:
    await _judged(database, clock, CAT, verdict=Verdict.INCONCLUSIVE, owner="another")
    at = clock.now()
    await _judged(database, clock, CAT, verdict=Verdict.LIKELY_AI)
    await _judged(database, clock, CAT, verdict=Verdict.NO_SIGN_OF_AI, judge="judge-gone")
    await _judged(database, clock, CAT, verdict=Verdict.NO_SIGN_OF_AI, point=PointName.STRICT)

    known = await _of(database, CAT, DOG)

    assert [(one.sha256, one.verdict, one.at) for one in known] == [(CAT, Verdict.LIKELY_AI, at)]


async def test_verdict_that_names_no_judge_or_was_given_again_is_no_source(
    database: Database, clock: ManualClock
) -> None:
    await _judged(database, clock, CAT, judge="")
    new = asked(clock.now())
    copy = replace(
        new.scan,
        status=Status.COMPLETED,
        verdict=Verdict.LIKELY_AI,
        input=replace(new.scan.input, sha256=DOG),
    )
    await record(database, replace(new, scan=copy), now=clock.now())

    assert await _of(database, CAT, DOG) == []


async def test_range_has_each_sha256_once_in_their_order_and_none_of_another_range(
    database: Database, clock: ManualClock
) -> None:
    for sha256 in (DOG, CAT, DOG, ELSEWHERE):
        await _judged(database, clock, sha256)

    assert await _between(database, "abcde", 10) == [CAT, DOG]
    assert await _between(database, "abcde", 1) == [CAT]


async def test_what_an_owner_had_overturned_is_told_to_that_owner_alone(
    database: Database, clock: ManualClock
) -> None:
    await _judged(database, clock, CAT)
    override = {"owner": "me", "sha256": CAT, "appeal_id": ids.new("apl", 0), "created_at": 0.0}
    await database.write(
        lambda connection: connection.execute(sa.insert(OverrideRow).values(override))
    )

    (mine,) = await _of(database, CAT)
    (theirs,) = await _of(database, CAT, owner="another")

    assert (mine.is_overridden, theirs.is_overridden) == (True, False)


@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
async def test_both_questions_are_answered_by_the_index_of_what_was_judged(
    store_settings: ServerSettings,
) -> None:
    about = {"point": PointName.BALANCED.value, "judges": LIVE}
    async with opened(store_settings):
        of = _plan(store_settings, OF.params(sha256s=[CAT, DOG], **about))
        between = _plan(store_settings, BETWEEN.params(first=CAT, last=DOG, limit=10, **about))

    for plan in (of, between):
        assert "ix_scans_judged (sha256=? AND operating_point=?)" in plan
        assert "SCAN scans" not in plan
    assert of.count("ix_scans_judged (sha256=? AND operating_point=?)") == 2
    assert "ix_scans_judged (sha256>? AND sha256<?)" in between


def _plan(settings: ServerSettings, query: sa.Select[Any, Any, Any]) -> str:
    text = query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with closing(sqlite3.connect(database_file(settings))) as connection:
        return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}"))
