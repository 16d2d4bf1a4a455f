"""Appeals from HTTP to SQL: who may, what is refused, what an overturned verdict brings about."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
import sqlalchemy as sa

from sdk.environment import Secret
from sdk.wire import (
    Appeal,
    AppealState,
    Event,
    Input,
    InputKind,
    Reason,
    Scan,
    ScanAppeal,
    Scope,
    Status,
    Verdict,
)
from server import ids
from server.ports import KeyTaken, Opened, Replay
from server.routes import appeals as routes
from server.rules.appeals import AppealDesk, NewAppeal
from server.rules.caller import Caller
from server.settings import ServerSettings
from server.store import appeals as store
from server.store.appeals import SqlAppeals
from server.store.audit import SqlAudit
from server.store.engine import Database
from server.store.scan_rows import row_of
from server.store.scans import SqlScans
from server.store.tables import EventRow, OverrideRow, ScanRow
from tests.fakes import ManualClock, MemoryBoard
from tests.server.scenes import opened
from tests.server.small_app import small_app
from worker.contract import RedisSettings

SHA256 = "ab" * 32
CALLBACK = "https://example.com/told"
WHY = {"reason": "I painted it; the layers are at the link.", "evidence_url": "https://a.example/x"}
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

pytestmark = pytest.mark.anyio


def _caller(owner: str, key: str, *scopes: Scope) -> Caller:
    return Caller(owner=owner, key_id=key, scopes=frozenset(scopes))


CALLERS = {
    "acme": _caller("acme", "key_1", Scope.SCAN, Scope.READ),
    "moderator": _caller("acme", "key_2", Scope.MODERATE, Scope.READ),
    "reader": _caller("acme", "key_3", Scope.READ),
    "other": _caller("other", "key_4", Scope.ADMIN),
}


@dataclass(frozen=True, kw_only=True)
class Api:
    """The routes of appeals over a real database, and the scans they are about."""

    client: httpx.AsyncClient
    database: Database
    appeals: SqlAppeals
    scans: SqlScans
    clock: ManualClock

    async def ask(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        asks = {"who": who, **headers}
        return await self.client.request(method, path, json=body, headers=asks)

    async def appeal(self, scan: Scan, *, who: str = "acme") -> Appeal:
        answer = await self.ask(who, "POST", f"/v1/scans/{scan.id}/appeals", WHY)
        assert answer.status_code == 201, answer.text
        return msgspec.json.decode(answer.content, type=Appeal)

    async def decide(self, appeal: Appeal, decision: str, **more: str) -> httpx.Response:
        body = {"decision": decision, **more}
        return await self.ask("moderator", "POST", f"/v1/appeals/{appeal.id}/decision", body)

    async def put(self, *scans: Scan, owner: str = "acme") -> None:
        def work(connection: sa.Connection) -> None:
            rows = [row_of(_opened(scan, owner), self.clock.now()) for scan in scans]
            connection.execute(sa.insert(ScanRow), rows)

        await self.database.write(work)

    async def now(self, scan: Scan, *, owner: str = "acme") -> Scan:
        def work(connection: sa.Connection) -> Scan:
            held = self.scans.hold(connection, owner=owner, scan_id=scan.id)
            assert held is not None
            return held.scan

        return await self.database.write(work)

    async def told(self) -> list[tuple[str, str, int]]:
        """Return type, subject and sequence of every event, in order."""
        return [
            (event.type.value, row.subject, event.sequence) for row, event in await self.events()
        ]

    async def events(self) -> list[tuple[Any, Event]]:
        rows = await self.database.rows(sa.select(EventRow.__table__).order_by(EventRow.id))
        found = [(row, msgspec.json.decode(row.body, type=Event)) for row in rows]
        return sorted(found, key=lambda pair: (pair[1].type, pair[0].subject, pair[1].sequence))


@pytest.fixture
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    is_postgres = getattr(request, "param", "sqlite") == "postgresql"
    address = request.getfixturevalue("postgres_address") if is_postgres else ""
    database = Database(
        ServerSettings(
            redis=RedisSettings(state_dir=tmp_path / "state"), database_url=Secret(address)
        )
    )
    await database.prepare()
    yield database
    if is_postgres:
        names = sa.text("TRUNCATE appeals, overrides, scans, events, deliveries, replays")
        await database.write(lambda c: c.execute(names))
    await database.aclose()


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    clock = ManualClock()
    scans = SqlScans(database, clock)
    appeals = SqlAppeals(database, scans=scans, clock=clock)
    desk = AppealDesk(appeals=appeals, replays=scans, flights=MemoryBoard(), clock=clock)
    async with small_app(routes.router, callers=CALLERS, appeal_desk=desk) as client:
        yield Api(client=client, database=database, appeals=appeals, scans=scans, clock=clock)


_numbers = itertools.count()


def _opened(scan: Scan, owner: str) -> Opened:
    """Return the scan as it is recorded; somebody is told of it, so that events are written."""
    entry = opened(ids.made_at(scan.id)).entry
    return Opened(owner=owner, scan=scan, entry=entry, callback_url=CALLBACK)


def scan(
    *,
    verdict: Verdict | None = Verdict.LIKELY_AI,
    status: Status = Status.COMPLETED,
    sha256: str = SHA256,
) -> Scan:
    at = 1_790_000_000.0 + next(_numbers)
    return Scan(
        id=ids.new("scan", at),
        status=status,
        verdict=verdict,
        score=0.93,
        reasons=(Reason("model_above_threshold", "It is above."),),
        input=Input(kind=InputKind.URL, url="http://example.com/cat.jpg", sha256=sha256),
        sequence=2,
        created_at=ids.rfc3339(at),
        completed_at=ids.rfc3339(at),
    )


@BOTH
async def test_appeal_again_with_the_same_key_is_the_same_appeal_as_it_is_now(api: Api) -> None:
    disputed, other = scan(), scan()
    await api.put(disputed, other)
    path, once = f"/v1/scans/{disputed.id}/appeals", {"idempotency-key": "k"}

    first = await api.ask("acme", "POST", path, WHY, **once)
    again = await api.ask("acme", "POST", path, WHY, **once)
    otherwise = await api.ask("acme", "POST", path, {"reason": "No."}, **once)
    elsewhere = await api.ask("acme", "POST", f"/v1/scans/{other.id}/appeals", WHY, **once)
    unkeyed = await api.ask("acme", "POST", path, WHY)
    await api.decide(msgspec.json.decode(first.content, type=Appeal), "uphold")
    later = await api.ask("acme", "POST", path, WHY, **once)

    assert (first.status_code, again.status_code, later.status_code) == (201, 201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == later.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert (later.json()["id"], later.json()["state"]) == (first.json()["id"], "upheld")
    for answer in (otherwise, elsewhere):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (unkeyed.status_code, unkeyed.json()["code"]) == (409, "appeal_exists")
    assert [kind for kind, *_ in await api.told()] == ["appeal.created", "appeal.decided"]


async def test_appeal_that_is_refused_leaves_its_key_free(api: Api) -> None:
    unsure, disputed, taken = scan(verdict=Verdict.INCONCLUSIVE), scan(), scan()
    await api.put(unsure, disputed, taken)
    await api.appeal(taken)
    for one in (unsure, taken):
        path = f"/v1/scans/{one.id}/appeals"
        refused = await api.ask("acme", "POST", path, WHY, **{"idempotency-key": "k"})
        assert refused.status_code == 409

    path = f"/v1/scans/{disputed.id}/appeals"
    answer = await api.ask("acme", "POST", path, WHY, **{"idempotency-key": "k"})

    assert answer.status_code == 201


@BOTH
async def test_of_two_appeals_with_one_key_that_nobody_kept_apart_one_is_made(api: Api) -> None:
    disputed, other = scan(), scan()
    await api.put(disputed, other)
    made = [
        NewAppeal(
            id=ids.new("apl", api.clock.now()),
            owner="acme",
            scan_id=one.id,
            reason="Mine.",
            evidence_url=None,
            at=api.clock.now(),
            replay=Replay(key="k", fingerprint="0" * 64),
        )
        for one in (disputed, disputed, other)
    ]
    await api.appeals.create(made[0], check=lambda _: None)

    for late in made[1:]:
        with pytest.raises(KeyTaken):
            await api.appeals.create(late, check=lambda _: None)

    assert [one.id for one in await api.appeals.page(owner="acme", before=None, limit=9)] == [
        made[0].id
    ]
    assert await api.now(other) == other


@BOTH
async def test_overturned_verdict_is_taken_back_wherever_the_owner_has_these_bytes(
    api: Api,
) -> None:
    disputed, copy, declared = scan(), scan(), scan(verdict=Verdict.DECLARED_AI)
    unsure, elsewhere = scan(verdict=Verdict.INCONCLUSIVE), scan(sha256="cd" * 32)
    theirs = scan()
    await api.put(disputed, copy, declared, unsure, elsewhere)
    await api.put(theirs, owner="other")
    appeal = await api.appeal(disputed)

    answer = await api.decide(appeal, "overturn", note="The layers are real.")

    assert answer.status_code == 200
    assert answer.json()["state"] == "overturned"
    for one in (disputed, copy, declared):
        now = await api.now(one)
        assert now.verdict is Verdict.INCONCLUSIVE
        assert [reason.code for reason in now.reasons] == ["overturned", "model_above_threshold"]
        assert now.score == one.score
        assert now.appeal == ScanAppeal(AppealState.OVERTURNED, appeal.id)
    assert await api.now(unsure) == unsure
    assert await api.now(elsewhere) == elsewhere
    assert await api.now(theirs, owner="other") == theirs
    assert await api.told() == [
        ("appeal.created", appeal.id, 1),
        ("appeal.decided", appeal.id, 2),
        *sorted(
            [
                ("scan.verdict_changed", disputed.id, 4),
                ("scan.verdict_changed", copy.id, 3),
                ("scan.verdict_changed", declared.id, 3),
            ]
        ),
    ]
    changed = {row.subject: event.data for row, event in await api.events() if event.data.cause}
    assert changed[declared.id].previous is Verdict.DECLARED_AI
    assert changed[copy.id].cause == "appeal"
    assert changed[copy.id].scan is not None
    assert changed[copy.id].scan.verdict is Verdict.INCONCLUSIVE


@BOTH
async def test_upheld_verdict_stands(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    appeal = await api.appeal(disputed)

    answer = await api.decide(appeal, "uphold")

    now = await api.now(disputed)
    assert (answer.json()["state"], answer.json()["note"]) == ("upheld", None)
    assert (now.verdict, now.reasons) == (disputed.verdict, disputed.reasons)
    assert now.appeal == ScanAppeal(AppealState.UPHELD, appeal.id)
    assert [kind for kind, _, _ in await api.told()] == ["appeal.created", "appeal.decided"]
    assert await api.database.rows(sa.select(OverrideRow.__table__)) == []


@BOTH
async def test_decision_is_in_the_audit_log(api: Api) -> None:
    disputed = scan()
    await api.put(disputed, scan())
    appeal = await api.appeal(disputed)

    await api.decide(appeal, "overturn", note="private words")

    (entry,) = await SqlAudit(api.database).entries(subject=appeal.id)
    assert (entry.actor, entry.action) == ("key_2", "appeal.overturn")
    assert msgspec.json.decode(entry.detail_json) == {
        "owner": "acme",
        "scan_id": disputed.id,
        "sha256": SHA256,
        "verdict": "likely_ai",
        "scans_changed": 2,
    }


@BOTH
async def test_appeal_is_read_back_as_it_was_made(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    made = await api.ask("acme", "POST", f"/v1/scans/{disputed.id}/appeals", WHY)

    read = await api.ask("reader", "GET", made.headers["location"])

    assert read.status_code == 200
    assert read.json() == {
        "id": made.json()["id"],
        "scan_id": disputed.id,
        "state": "open",
        **WHY,
        "note": None,
        "created_at": ids.rfc3339(api.clock.now()),
        "decided_at": None,
    }
    assert (await api.now(disputed)).appeal == ScanAppeal(AppealState.OPEN, made.json()["id"])
    assert (await api.now(disputed)).sequence == 3


@BOTH
async def test_two_at_once_make_one_appeal_and_one_decision(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    answers: list[httpx.Response] = []

    async def ask(who: str, path: str, body: dict[str, str]) -> None:
        answers.append(await api.ask(who, "POST", path, body))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask, "acme", f"/v1/scans/{disputed.id}/appeals", WHY)
    made = [answer for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code != 201]
    assert len(made) == 1
    assert {one["code"] for one in refused} == {"appeal_exists"}
    assert all(made[0].json()["id"] in one["detail"] for one in refused)

    answers.clear()
    path = f"/v1/appeals/{made[0].json()['id']}/decision"
    async with anyio.create_task_group() as group:
        for decision in ("uphold", "overturn", "uphold", "overturn"):
            group.start_soon(ask, "moderator", path, {"decision": decision})
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert {one.json()["code"] for one in answers if one.status_code == 409} == {"state_conflict"}


@BOTH
async def test_pages_are_walked_newest_first(api: Api) -> None:
    made = []
    for _ in range(5):
        disputed = scan()
        await api.put(disputed)
        made.append((await api.appeal(disputed)).id)
        api.clock.advance(1)
    await api.put(theirs := scan(), owner="other")
    await api.appeal(theirs, who="other")

    first = (await api.ask("reader", "GET", "/v1/appeals?limit=2")).json()
    second = (
        await api.ask("reader", "GET", f"/v1/appeals?limit=2&cursor={first['next_cursor']}")
    ).json()
    last = (
        await api.ask("reader", "GET", f"/v1/appeals?limit=2&cursor={second['next_cursor']}")
    ).json()

    pages = [first, second, last]
    assert [[one["id"] for one in page["data"]] for page in pages] == [
        [made[4], made[3]],
        [made[2], made[1]],
        [made[0]],
    ]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert last["next_cursor"] is None


async def test_more_copies_than_fit_one_transaction_are_settled_afterwards(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SCANS_AT_ONCE", 3)
    scans = [scan() for _ in range(8)]
    await api.put(*scans)
    appeal = await api.appeal(scans[0])
    await api.decide(appeal, "overturn")

    before = [(await api.now(one)).verdict for one in scans]
    settled = await api.appeals.settle()

    assert (before.count(Verdict.INCONCLUSIVE), settled) == (3, 5)
    assert await api.appeals.settle() == 0
    for one in scans:
        assert (await api.now(one)).verdict is Verdict.INCONCLUSIVE
    changed = [subject for kind, subject, _ in await api.told() if kind == "scan.verdict_changed"]
    assert sorted(changed) == sorted(one.id for one in scans)


@BOTH
async def test_bytes_that_were_overturned_are_known_to_whoever_records_outcomes(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    appeal = await api.appeal(disputed)
    await api.decide(appeal, "overturn")

    asked = [("acme", SHA256), ("acme", "cd" * 32), ("other", SHA256)]
    found = await api.database.read(lambda c: store.overridden(c, asked))
    nothing = await api.database.read(lambda c: store.overridden(c, []))

    assert (found, nothing) == ({("acme", SHA256): appeal.id}, {})


@BOTH
async def test_scan_that_was_recorded_too_late_to_be_seen_is_settled(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    await api.decide(await api.appeal(disputed), "overturn")
    late = scan()
    await api.put(late)

    assert await api.appeals.settle() == 1

    assert (await api.now(late)).verdict is Verdict.INCONCLUSIVE
    assert await api.appeals.settle() == 0


async def test_copy_with_an_appeal_of_its_own_keeps_it(api: Api) -> None:
    disputed, copy = scan(), scan()
    await api.put(disputed, copy)
    mine, its = await api.appeal(disputed), await api.appeal(copy)

    await api.decide(mine, "overturn")
    assert (await api.now(copy)).verdict is Verdict.INCONCLUSIVE
    assert (await api.now(copy)).appeal == ScanAppeal(AppealState.OPEN, its.id)

    await api.decide(its, "overturn")

    now = await api.now(copy)
    assert now.appeal == ScanAppeal(AppealState.OVERTURNED, its.id)
    assert [reason.code for reason in now.reasons] == ["overturned", "model_above_threshold"]


async def test_appeals_of_erased_scans_are_gone(api: Api) -> None:
    disputed = scan()
    await api.put(disputed)
    appeal = await api.appeal(disputed)

    async def forget(owner: str) -> None:
        work = partial(store.forget, owner=owner, scan_ids=[disputed.id])
        await api.database.write(work)

    await forget("other")
    assert (await api.ask("reader", "GET", f"/v1/appeals/{appeal.id}")).status_code == 200
    await forget("acme")

    assert (await api.ask("reader", "GET", f"/v1/appeals/{appeal.id}")).status_code == 404


@pytest.mark.parametrize(
    "about",
    [
        {"verdict": Verdict.INCONCLUSIVE},
        {"verdict": Verdict.NO_SIGN_OF_AI},
        {"status": Status.QUEUED, "verdict": None},
        {"status": Status.FAILED, "verdict": None},
        {"status": Status.CANCELED, "verdict": None},
    ],
    ids=["inconclusive", "no_sign_of_ai", "queued", "failed", "canceled"],
)
async def test_only_an_accusation_is_appealed(api: Api, about: dict[str, Any]) -> None:
    one = scan(**about)
    await api.put(one)

    answer = await api.ask("acme", "POST", f"/v1/scans/{one.id}/appeals", WHY)

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    word = (about["verdict"] or about["status"]).value
    assert word in answer.json()["detail"]
    assert await api.now(one) == one


@pytest.mark.parametrize(
    ("who", "method", "path", "code"),
    [
        ("reader", "POST", "/v1/scans/{scan}/appeals", "scope_missing"),
        ("moderator", "POST", "/v1/scans/{scan}/appeals", "scope_missing"),
        ("acme", "POST", "/v1/appeals/{appeal}/decision", "scope_missing"),
        ("other", "POST", "/v1/scans/{scan}/appeals", "not_found"),
        ("other", "POST", "/v1/appeals/{appeal}/decision", "not_found"),
        ("other", "GET", "/v1/appeals/{appeal}", "not_found"),
        ("acme", "POST", "/v1/scans/nothing/appeals", "not_found"),
        ("acme", "GET", "/v1/appeals/nothing", "not_found"),
        ("moderator", "POST", "/v1/appeals/nothing/decision", "not_found"),
        ("reader", "GET", "/v1/appeals?cursor=nothing", "cursor_invalid"),
        ("reader", "GET", "/v1/appeals?limit=0", "invalid_parameter"),
        ("reader", "GET", "/v1/appeals?limit=101", "invalid_parameter"),
        ("reader", "GET", "/v1/appeals?limit=ten", "invalid_parameter"),
    ],
)
async def test_refusals(api: Api, who: str, method: str, path: str, code: str) -> None:
    disputed = scan()
    await api.put(disputed)
    appeal = await api.appeal(disputed)
    body = None
    if method == "POST":
        body = {"decision": "overturn"} if path.endswith("decision") else WHY

    answer = await api.ask(who, method, path.format(scan=disputed.id, appeal=appeal.id), body)

    assert answer.json()["code"] == code
    assert (await api.now(disputed)).verdict is Verdict.LIKELY_AI


WRONG: Sequence[tuple[str, dict[str, Any], str]] = [
    ("appeals", {}, "/reason"),
    ("appeals", {"reason": " "}, "/reason"),
    ("appeals", {"reason": 7}, "/reason"),
    ("appeals", {"reason": "x" * 4001}, "/reason"),
    ("appeals", {"reason": "a\0b"}, "/reason"),
    ("appeals", {"reason": "why", "evidence": "x"}, "/evidence"),
    ("appeals", {"reason": "why", "evidence_url": "javascript:alert(1)"}, "/evidence_url"),
    ("appeals", {"reason": "why", "evidence_url": "https://"}, "/evidence_url"),
    ("appeals", {"reason": "why", "evidence_url": "http://[1"}, "/evidence_url"),
    ("appeals", {"reason": "why", "evidence_url": "http://a.example/\0"}, "/evidence_url"),
    ("decision", {}, "/decision"),
    ("decision", {"decision": "maybe"}, "/decision"),
    ("decision", {"decision": "uphold", "note": "x" * 4001}, "/note"),
    ("decision", {"decision": "uphold", "note": "\0"}, "/note"),
]


@pytest.mark.parametrize(("what", "body", "pointer"), WRONG)
async def test_body_that_is_wrong_is_told_where(
    api: Api, what: str, body: dict[str, Any], pointer: str
) -> None:
    disputed = scan()
    await api.put(disputed)
    path = f"/v1/scans/{disputed.id}/appeals"
    if what == "decision":
        path = f"/v1/appeals/{(await api.appeal(disputed)).id}/decision"

    answer = await api.ask("acme" if what == "appeals" else "moderator", "POST", path, body)

    assert answer.status_code == 400
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
