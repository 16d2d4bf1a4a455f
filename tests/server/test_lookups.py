"""/v1/lookups over HTTP, on real SQLite and a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa
from msgspec.structs import replace

from sdk.wire import PointName, Scope, Verdict
from server import ids
from server.board import RedisBoard
from server.limits import RedisMeter
from server.routes import lookups
from server.rules.caller import Caller, Limits
from server.rules.limits import Limiter
from server.rules.lookups import LookupDesk
from server.rules.readiness import Pace, Readiness
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.lookups import SqlLookups
from server.store.scans import SqlScans
from server.store.tables import OverrideRow
from tests.fakes import ManualClock
from tests.server.scenes import BEAT
from tests.server.small_app import WHO, small_app
from tests.store.asked import asked, judged, record
from tests.store.conftest import opened
from worker.contract import encode, worker_key

pytestmark = pytest.mark.anyio

JUDGE = "judge-1"
CAT, DOG = "abcde" + "1" * 59, "abcde" + "2" * 59
CALLERS = {
    "me": Caller(owner="me", key_id="key_me", scopes=frozenset({Scope.READ})),
    "another": Caller(owner="another", key_id="key_a", scopes=frozenset({Scope.SCAN})),
    "moderator": Caller(owner="me", key_id="key_m", scopes=frozenset({Scope.MODERATE})),
    "public": Caller(
        owner="me",
        key_id="key_p",
        scopes=frozenset({Scope.SCAN}),
        is_publishable=True,
        limits=Limits(rate_per_minute=2),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The routes of look-ups over real parts."""

    client: httpx.AsyncClient
    database: Database
    clock: ManualClock
    redis: redis.Redis

    async def judged(
        self, sha256: str, verdict: Verdict, *, point: PointName = PointName.BALANCED
    ) -> None:
        new = asked(self.clock.now(), owner="somebody", point=point)
        outcome = judged(new.scan.id, sha256, verdict=verdict, judge=JUDGE)
        await record(self.database, new, outcome, now=self.clock.now())

    async def overturned(self, sha256: str, owner: str) -> None:
        row = {"owner": owner, "sha256": sha256, "appeal_id": ids.new("apl", 0), "created_at": 0.0}
        await self.database.write(
            lambda connection: connection.execute(sa.insert(OverrideRow).values(row))
        )

    async def ask(self, *sha256s: str, who: str = "me", **more: Any) -> httpx.Response:
        body = {"sha256": list(sha256s), **more}
        return await self.client.post("/v1/lookups", json=body, headers={WHO: who})

    async def around(self, path: str, who: str = "me", **headers: str) -> httpx.Response:
        asked_by = {WHO: who, **headers}
        return await self.client.get(f"/v1/lookups/range/{path}", headers=asked_by)


@pytest.fixture
async def scene(settings: ServerSettings, redis_client: redis.Redis) -> AsyncIterator[Scene]:
    settings.redis.state_dir.mkdir(0o700)
    redis_client.set(worker_key(BEAT.name), encode(replace(BEAT, judge=JUDGE)))
    clock = ManualClock()
    board, meter = RedisBoard(settings.redis), RedisMeter(settings.redis)
    async with opened(settings) as database:
        readiness = Readiness(
            records=SqlScans(database, clock),
            board=board,
            clock=clock,
            pace=Pace(clock),
            queue_limit=10,
        )
        desk = LookupDesk(
            lookups=SqlLookups(database), readiness=readiness, limiter=Limiter(meter, clock)
        )
        async with small_app(lookups.router, callers=CALLERS, lookup_desk=desk) as client:
            yield Scene(client=client, database=database, clock=clock, redis=redis_client)
    await board.aclose()
    await meter.aclose()


async def test_look_up_answers_for_each_in_the_order_asked_also_where_nothing_is_known(
    scene: Scene,
) -> None:
    await scene.judged(CAT, Verdict.LIKELY_AI)

    answer = await scene.ask(DOG, CAT.upper(), CAT)

    assert answer.status_code == 200
    data = answer.json()["data"]
    assert [(one["sha256"], one["verdict"]) for one in data] == [
        (DOG, None),
        (CAT, "likely_ai"),
        (CAT, "likely_ai"),
    ]
    assert data[1]["probability"] == 0.8
    assert data[1]["model"]["id"] == "fixed"
    assert data[0]["judged_at"] is None


async def test_time_is_told_to_the_hour_and_nothing_of_the_scan(scene: Scene) -> None:
    await scene.judged(CAT, Verdict.LIKELY_AI)

    (one,) = (await scene.ask(CAT)).json()["data"]

    hour = scene.clock.now() // 3600 * 3600
    assert one["judged_at"] == ids.rfc3339(hour) != ids.rfc3339(scene.clock.now())
    assert set(one) == {
        "sha256",
        "verdict",
        "probability",
        "operating_point",
        "model",
        "judged_at",
    }


async def test_verdict_is_of_the_operating_point_that_was_asked_for(scene: Scene) -> None:
    await scene.judged(CAT, Verdict.INCONCLUSIVE, point=PointName.STRICT)
    await scene.judged(CAT, Verdict.LIKELY_AI)

    strict = await scene.ask(CAT, operating_point="strict")
    around = await scene.around("abcde?operating_point=strict")

    assert strict.json()["data"][0]["verdict"] == "inconclusive"
    assert around.json()["data"][0]["verdict"] == "inconclusive"


async def test_what_an_owner_had_overturned_is_not_accused_for_it(scene: Scene) -> None:
    await scene.judged(CAT, Verdict.LIKELY_AI)
    await scene.overturned(CAT, "me")

    answers = [await scene.ask(CAT, who=who) for who in ("me", "another")]
    ranges = [await scene.around("abcde", who=who) for who in ("me", "another")]

    for mine, theirs in (answers, ranges):
        assert mine.json()["data"][0]["verdict"] == "inconclusive"
        assert theirs.json()["data"][0]["verdict"] == "likely_ai"


async def test_range_has_all_that_begin_so_and_can_be_kept_for_a_minute(scene: Scene) -> None:
    await scene.judged(DOG, Verdict.NO_SIGN_OF_AI)
    await scene.judged(CAT, Verdict.LIKELY_AI)
    await scene.judged("f" * 64, Verdict.LIKELY_AI)

    answer = await scene.around("ABCDE")

    assert answer.json()["prefix"] == "abcde"
    assert [one["sha256"] for one in answer.json()["data"]] == [CAT, DOG]
    assert answer.headers["cache-control"] == "private, max-age=60"
    again = await scene.around("abcde", **{"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await scene.judged("abcde" + "3" * 59, Verdict.LIKELY_AI)
    changed = await scene.around("abcde", **{"if-none-match": answer.headers["etag"]})
    assert changed.status_code == 200


@pytest.mark.parametrize(
    ("sha256s", "pointer"),
    [([], "/sha256"), (["0" * 64] * 101, "/sha256"), (["0" * 64, "0" * 63], "/sha256/1")],
    ids=["none", "many", "short"],
)
async def test_look_up_of_what_is_no_sha256_is_refused(
    scene: Scene, sha256s: list[str], pointer: str
) -> None:
    answer = await scene.ask(*sha256s)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("abcd", "invalid_parameter"),
        ("abcdef", "invalid_parameter"),
        ("abcdg", "invalid_parameter"),
        ("abcde?operating_point=mild", "operating_point_unknown"),
        ("abcde?operatng_point=strict", "invalid_parameter"),
        ("abcde?operating_point=strict&operating_point=balanced", "invalid_parameter"),
    ],
)
async def test_range_that_is_none_is_refused(scene: Scene, path: str, code: str) -> None:
    assert (await scene.around(path)).json()["code"] == code


async def test_public_key_may_look_up_within_its_limits(scene: Scene) -> None:
    answers = [
        await scene.ask(CAT, DOG, who="public"),
        await scene.around("abcde", who="public"),
        await scene.around("abcde", who="public"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_look_ups_need_a_key_that_reads(scene: Scene) -> None:
    answers = [await scene.ask(CAT, who="moderator"), await scene.around("abcde", who="moderator")]

    assert [answer.json()["code"] for answer in answers] == ["scope_missing"] * 2


async def test_without_a_worker_nobody_can_say_whose_verdicts_count(scene: Scene) -> None:
    await scene.judged(CAT, Verdict.LIKELY_AI)
    scene.redis.flushall()

    answer = await scene.ask(CAT)

    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
