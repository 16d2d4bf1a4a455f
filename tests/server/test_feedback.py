"""Feedback from HTTP to SQL: who may give and read it, what is refused, what becomes of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sa
from alembic import command

from sdk.environment import Secret
from sdk.wire import FeedbackLabel, Scope, Status, Verdict
from server import ids
from server.ports import KeyTaken, Replay
from server.routes import feedback as routes
from server.rules.caller import Caller
from server.rules.feedback import FEEDBACK_LIMIT, FeedbackDesk, NewFeedback
from server.rules.keys import Kind
from server.settings import ServerSettings
from server.store.engine import Database, alembic_config
from server.store.feedback import SqlFeedback
from server.store.retention import SqlRetention
from server.store.scans import SqlScans
from server.store.tables import EventRow, FeedbackRow, ReplayRow
from tests.fakes import ManualClock, MemoryBoard
from tests.server.platform import Platform, bearing, platform
from tests.server.scenes import URL, failed
from tests.server.small_app import small_app
from tests.store.asked import asked, judged, record
from tests.store.conftest import opened
from worker.contract import Outcome, RedisSettings

SHA256 = "ab" * 32
SAID = {"label": "not_ai", "comment": "I took it in 2014."}
EXTENSION = "chrome-extension://" + "abcdefghijklmnop" * 2
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

pytestmark = pytest.mark.anyio


def _caller(owner: str, *scopes: Scope, is_publishable: bool = False) -> Caller:
    return Caller(
        owner=owner, key_id="key_1", scopes=frozenset(scopes), is_publishable=is_publishable
    )


CALLERS = {
    "acme": _caller("acme", Scope.SCAN, Scope.READ),
    "reader": _caller("acme", Scope.READ),
    "page": _caller("acme", Scope.SCAN, is_publishable=True),
    "powerful page": _caller("acme", Scope.SCAN, Scope.READ, is_publishable=True),
    "other": _caller("other", Scope.ADMIN),
}


@dataclass(frozen=True, kw_only=True)
class Api:
    """The routes of feedback over a real database, and the scans it is about."""

    client: httpx.AsyncClient
    database: Database
    store: SqlFeedback
    scans: SqlScans
    clock: ManualClock

    async def ask(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        asks = {"who": who, **headers}
        return await self.client.request(method, path, json=body, headers=asks)

    async def say(self, scan_id: str, body: Any = SAID, *, who: str = "acme") -> dict[str, Any]:
        answer = await self.ask(who, "POST", f"/v1/scans/{scan_id}/feedback", body)
        assert answer.status_code == 201, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def read(self, path: str = "/v1/feedback", *, who: str = "reader") -> list[Any]:
        answer = await self.ask(who, "GET", path)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    async def scan(
        self, verdict: Verdict | None = Verdict.LIKELY_AI, *, owner: str = "acme", age: float = 0
    ) -> str:
        """Record a completed scan with this verdict, or one that waits still; return its id."""
        at = self.clock.now() - age + next(_numbers) / 1000
        new = asked(at, owner=owner)
        outcome = judged(new.scan.id, SHA256, verdict=verdict) if verdict else None
        await record(self.database, new, outcome, now=at)
        return new.scan.id

    async def end(self, scan_id: str, outcome: Outcome) -> None:
        assert await self.scans.close([outcome])


_numbers = itertools.count()


@pytest.fixture
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    is_postgres = getattr(request, "param", "sqlite") == "postgresql"
    address = request.getfixturevalue("postgres_address") if is_postgres else ""
    redis = RedisSettings(state_dir=tmp_path / "state")
    redis.state_dir.mkdir(0o700)
    async with opened(ServerSettings(redis=redis, database_url=Secret(address))) as database:
        yield database


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    clock = ManualClock()
    scans = SqlScans(database, clock)
    store = SqlFeedback(database, scans=scans)
    desk = FeedbackDesk(store=store, scans=scans, replays=scans, flights=MemoryBoard(), clock=clock)
    async with small_app(routes.router, callers=CALLERS, feedback_desk=desk) as client:
        yield Api(client=client, database=database, store=store, scans=scans, clock=clock)


@BOTH
async def test_feedback_says_what_it_is_about_and_is_read_by_its_owner(api: Api) -> None:
    scan_id = await api.scan()

    said = await api.say(scan_id)

    assert ids.is_id("fbk", said["id"])
    assert said == {
        "id": said["id"],
        "scan_id": scan_id,
        "label": "not_ai",
        "comment": "I took it in 2014.",
        "sha256": SHA256,
        "verdict": "likely_ai",
        "created_at": ids.rfc3339(api.clock.now()),
    }
    assert await api.read() == [said]
    assert await api.read(f"/v1/scans/{scan_id}/feedback") == [said]
    assert await api.read(who="other") == []


@BOTH
async def test_feedback_changes_no_scan_and_is_told_to_nobody(api: Api) -> None:
    scan_id = await api.scan()
    before = await api.scans.get(scan_id, owner="acme")

    for label in ("ai", "not_ai"):
        await api.say(scan_id, {"label": label})

    assert await api.scans.get(scan_id, owner="acme") == before
    assert await api.database.rows(sa.select(EventRow.id)) == []


async def test_verdict_is_the_one_that_there_was_then(api: Api) -> None:
    scan_id = await api.scan()
    said = await api.say(scan_id)
    await api.database.write(
        lambda c: c.execute(sa.text("UPDATE scans SET verdict = 'inconclusive'"))
    )

    (read,) = await api.read()

    assert read == said
    assert read["verdict"] == "likely_ai"


async def test_failed_scan_takes_feedback_and_had_no_verdict(api: Api) -> None:
    scan_id = await api.scan(None)
    await api.end(scan_id, failed(scan_id))

    said = await api.say(scan_id, {"label": "ai"})

    assert (said["label"], said["comment"]) == ("ai", "")
    assert (said["verdict"], said["sha256"]) == (None, None)


async def test_scan_that_is_not_final_takes_none_yet(api: Api) -> None:
    scan_id = await api.scan(None)

    answer = await api.ask("acme", "POST", f"/v1/scans/{scan_id}/feedback", SAID)

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert Status.QUEUED.value in answer.json()["detail"]
    assert await api.read() == []


@BOTH
async def test_scan_takes_so_much_and_no_more_though_many_speak_at_once(api: Api) -> None:
    full, free = await api.scan(), await api.scan()
    answers: list[httpx.Response] = []

    async def say() -> None:
        answers.append(await api.ask("page", "POST", f"/v1/scans/{full}/feedback", SAID))

    for _ in range(FEEDBACK_LIMIT - 2):
        await api.say(full)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(say)

    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    (detail,) = {one.json()["detail"] for one in answers if one.status_code == 409}
    assert f"{FEEDBACK_LIMIT} reports" in detail
    assert len(await api.read(f"/v1/scans/{full}/feedback?limit=100")) == FEEDBACK_LIMIT
    assert await api.say(free)


@BOTH
async def test_feedback_again_with_the_same_key_is_the_same(api: Api) -> None:
    scan_id, other = await api.scan(), await api.scan()
    path, once = f"/v1/scans/{scan_id}/feedback", {"idempotency-key": "k"}

    first = await api.ask("acme", "POST", path, SAID, **once)
    again = await api.ask("page", "POST", path, SAID, **once)
    otherwise = await api.ask("acme", "POST", path, {"label": "ai"}, **once)
    elsewhere = await api.ask("acme", "POST", f"/v1/scans/{other}/feedback", SAID, **once)
    unkeyed = await api.ask("acme", "POST", path, SAID)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for answer in (otherwise, elsewhere):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert unkeyed.json()["id"] != first.json()["id"]
    assert len(await api.read()) == 2


async def test_key_of_the_last_that_fits_is_answered_when_the_scan_is_full(api: Api) -> None:
    scan_id = await api.scan()
    path, once = f"/v1/scans/{scan_id}/feedback", {"idempotency-key": "k"}
    for _ in range(FEEDBACK_LIMIT - 1):
        await api.say(scan_id)
    last = await api.ask("acme", "POST", path, SAID, **once)

    again = await api.ask("acme", "POST", path, SAID, **once)
    late = NewFeedback(
        id=ids.new("fbk", api.clock.now()),
        owner="acme",
        scan_id=scan_id,
        label=FeedbackLabel.AI,
        comment="",
        at=api.clock.now(),
        replay=Replay(key="k", fingerprint="0" * 64),
    )

    assert (again.status_code, again.json()) == (201, last.json())
    with pytest.raises(KeyTaken):  # of two processes one is late, and hears what the other made
        await api.store.create(late, check=lambda *_: pytest.fail("The key is taken."))


async def test_feedback_that_is_refused_leaves_its_key_free(api: Api) -> None:
    waiting, final = await api.scan(None), await api.scan()
    once = {"idempotency-key": "k"}
    refused = await api.ask("acme", "POST", f"/v1/scans/{waiting}/feedback", SAID, **once)
    assert refused.status_code == 409

    answer = await api.ask("acme", "POST", f"/v1/scans/{final}/feedback", SAID, **once)

    assert answer.status_code == 201


@BOTH
async def test_pages_are_walked_newest_first(api: Api) -> None:
    one, two = await api.scan(), await api.scan()
    made = []
    for scan_id in (one, two, one, two, one):
        made.append((await api.say(scan_id))["id"])
        api.clock.advance(1)
    await api.say(await api.scan(owner="other"), who="other")

    assert await _walked(api, "/v1/feedback") == [made[4:2:-1], made[2:0:-1], made[:1]]
    assert await _walked(api, f"/v1/scans/{one}/feedback") == [[made[4], made[2]], [made[0]]]


async def _walked(api: Api, path: str) -> list[list[str]]:
    pages, cursor = [], ""
    while cursor is not None:
        page = (await api.ask("reader", "GET", f"{path}?limit=2{cursor}")).json()
        pages.append([one["id"] for one in page["data"]])
        assert page["has_more"] is (page["next_cursor"] is not None)
        cursor = f"&cursor={page['next_cursor']}" if page["has_more"] else None
    return pages


@BOTH
async def test_erased_scan_takes_its_feedback_with_it(api: Api) -> None:
    gone, stays = await api.scan(), await api.scan()
    path = f"/v1/scans/{gone}/feedback"
    keyed = await api.ask("acme", "POST", path, SAID, **{"idempotency-key": "k"})
    assert keyed.status_code == 201
    kept = await api.say(stays)

    await api.scans.erase(gone, owner="acme", actor="key_1")

    assert await api.read() == [kept]
    assert await api.database.rows(sa.select(ReplayRow.key)) == []
    for answer in (await api.ask("reader", "GET", path), await api.ask("acme", "POST", path, SAID)):
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")


@BOTH
async def test_feedback_is_forgotten_with_the_scans_that_are_too_old(api: Api) -> None:
    old, young = await api.scan(age=1000), await api.scan()
    path = f"/v1/scans/{old}/feedback"
    keyed = await api.ask("acme", "POST", path, SAID, **{"idempotency-key": "k"})
    assert keyed.status_code == 201
    kept = await api.say(young)

    step = await SqlRetention(api.database).forget_scans(before=api.clock.now() - 500, after="")

    assert step.count == 1
    assert await api.database.rows(sa.select(FeedbackRow.id)) == [(kept["id"],)]
    assert await api.database.rows(sa.select(ReplayRow.key)) == []


@pytest.mark.parametrize(
    ("who", "method", "path", "code"),
    [
        ("reader", "POST", "/v1/scans/{scan}/feedback", "scope_missing"),
        ("page", "GET", "/v1/scans/{scan}/feedback", "scope_missing"),
        ("page", "GET", "/v1/feedback", "scope_missing"),
        ("powerful page", "GET", "/v1/scans/{scan}/feedback", "scope_missing"),
        ("powerful page", "GET", "/v1/feedback", "scope_missing"),
        ("other", "POST", "/v1/scans/{scan}/feedback", "not_found"),
        ("other", "GET", "/v1/scans/{scan}/feedback", "not_found"),
        ("acme", "POST", "/v1/scans/nothing/feedback", "not_found"),
        ("acme", "GET", "/v1/scans/nothing/feedback", "not_found"),
        ("reader", "GET", "/v1/feedback?cursor={scan}", "cursor_invalid"),
        ("reader", "GET", "/v1/scans/{scan}/feedback?cursor=nothing", "cursor_invalid"),
        ("reader", "GET", "/v1/feedback?limit=101", "invalid_parameter"),
        ("reader", "GET", "/v1/scans/{scan}/feedback?limit=0", "invalid_parameter"),
    ],
)
async def test_refusals(api: Api, who: str, method: str, path: str, code: str) -> None:
    scan_id = await api.scan()
    said = await api.say(scan_id)

    answer = await api.ask(
        who, method, path.format(scan=scan_id), SAID if method == "POST" else None
    )

    assert answer.json()["code"] == code
    assert await api.read() == [said]


WRONG: Sequence[tuple[dict[str, Any], str]] = [
    ({}, "/label"),
    ({"label": "real"}, "/label"),
    ({"label": ""}, "/label"),
    ({"label": 7}, "/label"),
    ({"label": "ai", "comment": None}, "/comment"),
    ({"label": "ai", "comment": "x" * 2001}, "/comment"),
    ({"label": "ai", "comment": "a\0b"}, "/comment"),
    ({"label": "ai", "coment": "x"}, "/coment"),
]


@pytest.mark.parametrize(("body", "pointer"), WRONG)
async def test_body_that_is_wrong_is_told_where(
    api: Api, body: dict[str, Any], pointer: str
) -> None:
    scan_id = await api.scan()

    answer = await api.ask("acme", "POST", f"/v1/scans/{scan_id}/feedback", body)

    assert answer.status_code == 400
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await api.read() == []


@pytest.mark.parametrize("comment", ["x" * 2000, "\N{GRINNING FACE}" * 2000, "<b>'; --\n\t"])
async def test_comment_is_kept_as_it_was_written(api: Api, comment: str) -> None:
    said = await api.say(await api.scan(), {"label": "ai", "comment": comment})

    assert said["comment"] == comment
    assert await api.read() == [said]


@BOTH
async def test_tables_from_before_get_theirs_and_lose_nothing(api: Api) -> None:
    scan_id = await api.scan()

    def there_and_back(connection: sa.Connection) -> None:
        command.downgrade(alembic_config(connection), "0004")
        assert not sa.inspect(connection).has_table("feedback")
        command.upgrade(alembic_config(connection), "head")

    await api.database.write(there_and_back, seconds=30)

    assert await api.scans.get(scan_id, owner="acme") is not None
    assert await api.say(scan_id)


@pytest.fixture
async def running(settings: ServerSettings) -> AsyncIterator[Platform]:
    async with platform(settings) as running:
        yield running


@pytest.mark.redis
async def test_extension_reports_with_the_key_that_everybody_sees_and_its_owner_reads_it(
    running: Platform,
) -> None:
    """The whole server: an extension's page has the words, and only the owner can read them."""
    made = await running.made("acme", Scope.SCAN, kind=Kind.PUBLISHABLE, origins=(EXTENSION,))
    extension = {**bearing(made), "origin": EXTENSION}
    owner, client = await running.key("acme"), running.client
    scan = await client.post(
        "/v1/scans", json={"url": URL}, headers={**extension, "prefer": "wait=30"}, timeout=40
    )
    assert scan.json()["verdict"] == "likely_ai", scan.text
    path = f"/v1/scans/{scan.json()['id']}/feedback"

    asks = {
        "origin": EXTENSION,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    may = await client.options(path, headers=asks)
    said = await client.post(path, json=SAID, headers={**extension, "idempotency-key": "k"})
    of_scan, of_all = [await client.get(p, headers=extension) for p in (path, "/v1/feedback")]
    elsewhere = await client.post(
        path, json=SAID, headers={**extension, "origin": "https://evil.example"}
    )

    assert (may.status_code, may.headers["access-control-allow-origin"]) == (204, EXTENSION)
    assert "idempotency-key" in may.headers["access-control-allow-headers"]
    assert said.status_code == 201, said.text
    assert said.headers["access-control-allow-origin"] == EXTENSION
    for answer in (of_scan, of_all):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
        assert answer.headers["access-control-allow-origin"] == EXTENSION
    assert elsewhere.json()["code"] == "origin_not_allowed"
    assert (await client.get(path, headers=owner)).json()["data"] == [said.json()]
    assert (await client.get("/v1/feedback", headers=owner)).json()["data"] == [said.json()]

    erased = await client.delete(f"/v1/scans/{scan.json()['id']}", headers=owner)
    assert erased.status_code == 204
    assert (await client.get("/v1/feedback", headers=owner)).json()["data"] == []
