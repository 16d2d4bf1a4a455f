"""/v1/batches over HTTP, on real SQLite and a real Valkey: taken whole, or refused whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import msgspec
import pytest
import redis
import sqlalchemy as sa
from msgspec.structs import replace

from sdk.wire import Event, EventType, PointName, Priority, Scope, Verdict
from server import ids
from server.board import RedisBoard
from server.courier import Bell
from server.limits import RedisMeter
from server.metrics import Metrics
from server.queue import RqQueue
from server.routes import batches
from server.rules.batches import BatchDesk
from server.rules.caller import Caller, Limits
from server.rules.desk import Desk
from server.rules.limits import Limiter
from server.rules.readiness import Pace, Readiness
from server.settings import ServerSettings
from server.spool import FileSpool
from server.store.batches import SqlBatches
from server.store.engine import Database
from server.store.scans import SqlScans
from server.store.tables import BatchRow, EventRow, ScanRow
from tests.fakes import ManualClock
from tests.server.scenes import BEAT, completed, failed
from tests.server.small_app import WHO, small_app
from tests.server.test_metrics import value
from tests.store.conftest import opened as opened_database
from worker.contract import (
    BULK_SCANS,
    FIELD,
    SCANS,
    Entry,
    Outcome,
    decode_entry,
    encode,
    worker_key,
)
from worker.guard import Policy

pytestmark = pytest.mark.anyio

URL = "https://example.com/{}.jpg"
JUDGE = "judge-1"
CALLERS = {
    "me": Caller(owner="me", key_id="key_me", scopes=frozenset({Scope.SCAN})),
    "another": Caller(owner="another", key_id="key_a", scopes=frozenset(Scope)),
    "reader": Caller(owner="me", key_id="key_r", scopes=frozenset({Scope.READ})),
    "public": Caller(
        owner="me", key_id="key_p", scopes=frozenset({Scope.SCAN}), is_publishable=True
    ),
    "limited": Caller(
        owner="me",
        key_id="key_l",
        scopes=frozenset({Scope.SCAN}),
        limits=Limits(rate_per_minute=5, parallel=4),
    ),
}
HEADERS = {WHO: "me", "x-request-id": "req_mine"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The routes of batches over real parts, all of them in reach."""

    client: httpx.AsyncClient
    database: Database
    records: SqlScans
    spool: FileSpool
    clock: ManualClock
    redis: redis.Redis
    metrics: Metrics
    desk: BatchDesk

    async def post(self, *scans: dict[str, Any], who: str = "me", **more: Any) -> httpx.Response:
        headers = {**HEADERS, WHO: who, **more.pop("headers", {})}
        body = {"scans": list(scans), **more}
        return await self.client.post("/v1/batches", json=body, headers=headers)

    async def made(self, *scans: dict[str, Any], **more: Any) -> Any:
        answer = await self.post(*scans, **more)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def get(self, path: str, who: str = "me") -> httpx.Response:
        return await self.client.get(f"/v1/batches/{path}", headers={**HEADERS, WHO: who})

    async def counts(self, batch_id: str) -> dict[str, int]:
        """What is counted besides the total, as far as it is not 0."""
        counts = (await self.get(batch_id)).json()["counts"]
        assert counts.pop("total") == sum(counts.values())
        return {name: count for name, count in counts.items() if count}

    async def results(self, batch_id: str) -> list[Any]:
        answer = await self.get(f"{batch_id}/results")
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.text.splitlines()]

    async def cancel(self, batch_id: str, who: str = "me") -> httpx.Response:
        path = f"/v1/batches/{batch_id}/cancel"
        return await self.client.post(path, headers={**HEADERS, WHO: who})

    def posted(self, stream: str) -> list[Entry]:
        entries: Any = self.redis.xrange(stream)
        return [decode_entry(fields[FIELD.encode()]) for _, fields in entries]

    async def events(self, kind: EventType) -> list[Event]:
        query = sa.select(EventRow.body).where(EventRow.type == kind.value)
        rows = await self.database.rows(query)
        return [msgspec.json.decode(row.body, type=Event) for row in rows]

    async def rows(self, table: type[Any]) -> int:
        query = sa.select(sa.func.count()).select_from(table)
        return int((await self.database.rows(query))[0][0])


@pytest.fixture
async def scene(settings: ServerSettings, redis_client: redis.Redis) -> AsyncIterator[Scene]:
    async with _scene(settings, redis_client) as scene:
        yield scene


@asynccontextmanager
async def _scene(
    settings: ServerSettings, redis_client: redis.Redis, queue_limit: int = 10_000
) -> AsyncIterator[Scene]:
    settings.redis.state_dir.mkdir(0o700)
    redis_client.set(worker_key(BEAT.name), encode(replace(BEAT, judge=JUDGE)))
    clock, metrics = ManualClock(), Metrics()
    board, queue = RedisBoard(settings.redis), RqQueue(settings.redis)
    meter = RedisMeter(settings.redis)
    async with opened_database(settings) as database:
        bell = Bell()
        records = SqlScans(database, clock, bell)
        scans = Desk(
            records=records,
            precedents=records,
            board=board,
            queue=queue,
            spool=FileSpool(settings.redis.state_dir, clock),
            clock=clock,
            policy=Policy((), ()),
            readiness=Readiness(
                records=records,
                board=board,
                clock=clock,
                pace=Pace(clock),
                queue_limit=queue_limit,
            ),
            limiter=Limiter(meter, clock),
            counters=metrics,
        )
        desk = BatchDesk(batches=SqlBatches(database, bell=bell), scans=scans)
        async with small_app(batches.router, callers=CALLERS, batch_desk=desk) as client:
            yield Scene(
                client=client,
                database=database,
                records=records,
                spool=scans.spool,  # type: ignore[arg-type]
                clock=clock,
                redis=redis_client,
                metrics=metrics,
                desk=desk,
            )
    for end in (board, queue, meter):
        await end.aclose()


def _urls(*names: object) -> list[dict[str, Any]]:
    return [{"url": URL.format(name)} for name in names]


async def test_batch_is_recorded_and_posted_whole_as_bulk_unless_an_item_says_otherwise(
    scene: Scene,
) -> None:
    asked = [*_urls("a", "b"), {**_urls("c")[0], "priority": "interactive"}]

    answer = await scene.post(*asked, metadata={"job": "7"})

    batch = answer.json()
    assert ids.is_id("batch", batch["id"])
    assert answer.headers["location"] == f"/v1/batches/{batch['id']}"
    assert (batch["status"], batch["metadata"]) == ("running", {"job": "7"})
    assert batch["counts"]["total"] == batch["counts"]["waiting"] == 3
    bulk, people = scene.posted(BULK_SCANS), scene.posted(SCANS)
    assert [entry.url for entry in bulk] == [URL.format("a"), URL.format("b")]
    assert [entry.url for entry in people] == [URL.format("c")]
    assert {entry.request_id for entry in bulk} == {"req_mine"}
    assert {entry.priority for entry in bulk} == {Priority.BULK}
    assert (await scene.get(batch["id"])).json() == batch
    assert (await scene.get(batch["id"], who="reader")).json() == batch
    scan = await scene.records.get(bulk[0].scan_id, owner="me")
    assert scan is not None
    assert scan.batch_id == batch["id"]


async def test_item_that_cannot_be_accepted_is_refused_by_itself_and_the_others_go_on(
    scene: Scene,
) -> None:
    items = [
        {"url": "https:///nowhere"},
        *_urls("good"),
        {"url": "http://127.0.0.1/a.jpg"},
        {"url": "ftp://example.com/a.jpg"},
        {"upload_id": ids.upload_id(scene.clock.now())},
        {"sha256": "0" * 64},
        {"sha256": "not one"},
        {**_urls("b")[0], "callback_url": "http://127.0.0.1/told"},
    ]
    codes = [
        "url_invalid",
        None,
        "address_blocked",
        "url_scheme_not_allowed",
        "expired",
        "not_found",
        "invalid_parameter",
        "webhook_url_rejected",
    ]

    batch = await scene.made(*items)

    assert await scene.counts(batch["id"]) == {"waiting": 1, "refused": 7}
    results = await scene.results(batch["id"])
    assert [line["index"] for line in results] == list(range(8))
    assert [line["problem"] and line["problem"]["code"] for line in results] == codes
    for index, line in enumerate(results):
        if line["problem"]:
            assert line["problem"]["hint"]
            assert line["problem"]["request_id"] == "req_mine"
            (fault,) = line["problem"]["errors"]
            assert fault["pointer"].startswith(f"/scans/{index}/")
    assert results[1]["scan"]["input"]["url"] == URL.format("good")


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        ({"scans": []}, "invalid_parameter", ["/scans"]),
        ({"scans": [{"url": "a", "sha256": "b"}, {}]}, "invalid_parameter",
         ["/scans/0/url", "/scans/1"]),
        ({"scans": [{"ulr": "a"}, {"url": "b"}]}, "unknown_field", ["/scans/0/ulr"]),
        ({"scans": [{"url": 5}]}, "invalid_parameter", ["/scans/0/url"]),
        ({"scans": [{"url": "a", "operating_point": "mild"}]}, "operating_point_unknown",
         ["/scans/0/operating_point"]),
        ({"scans": [{"url": "a"}], "callback_url": "http://10.0.0.1/"}, "webhook_url_rejected",
         ["/callback_url"]),
        ({"scans": [{"url": "a"}] * 1001}, "batch_too_large", []),
        ({"scans": [{"url": "a" * 5_000}] * 900}, "body_too_large", []),
    ],
    ids=["none", "images", "unknown", "type", "point", "callback", "many", "bytes"],
)  # fmt: skip
async def test_batch_whose_form_is_wrong_is_refused_whole(
    scene: Scene, body: dict[str, Any], code: str, pointers: Sequence[str]
) -> None:
    answer = await scene.client.post("/v1/batches", json=body, headers=HEADERS)

    problem = answer.json()
    assert problem["code"] == code, problem
    assert [fault["pointer"] for fault in problem["errors"]] == list(pointers)
    assert await scene.rows(BatchRow) == await scene.rows(ScanRow) == 0


async def test_results_are_lines_in_the_order_of_the_request_while_it_runs_and_after(
    scene: Scene,
) -> None:
    batch = await scene.made(*_urls(*range(230)))
    entries = scene.posted(BULK_SCANS)
    await scene.records.close([completed(entry.scan_id) for entry in entries[200:]])

    results = await scene.results(batch["id"])

    assert [line["scan"]["input"]["url"] for line in results[:200]] == [
        URL.format(index) for index in range(200)
    ]
    assert [line["index"] for line in results] == list(range(230))
    assert [line["scan"]["status"] for line in results] == ["queued"] * 200 + ["completed"] * 30
    assert results[-1]["scan"]["verdict"] == "likely_ai"
    assert await scene.counts(batch["id"]) == {"waiting": 200, "completed": 30}


async def test_batch_is_complete_with_its_last_scan_and_that_is_told_once(scene: Scene) -> None:
    batch = await scene.made(*_urls("a", "b"), callback_url="https://example.com/told")
    one, other = (entry.scan_id for entry in scene.posted(BULK_SCANS))

    await scene.records.close([completed(one)])
    assert (await scene.get(batch["id"])).json()["status"] == "running"
    assert await scene.events(EventType.BATCH_COMPLETED) == []
    scene.clock.advance(5)
    await scene.records.close([failed(other), completed(one)])

    now = (await scene.get(batch["id"])).json()
    assert (now["status"], now["completed_at"]) == ("completed", ids.rfc3339(scene.clock.now()))
    assert await scene.counts(batch["id"]) == {"completed": 1, "failed": 1}
    (event,) = await scene.events(EventType.BATCH_COMPLETED)
    assert event.data.batch is not None
    assert (event.data.batch.id, event.data.batch.counts.failed) == (batch["id"], 1)


async def test_batch_of_which_all_is_refused_is_complete_at_once_and_told(scene: Scene) -> None:
    batch = await scene.made({"url": "nonsense"}, callback_url="https://example.com/told")

    assert batch["status"] == "completed"
    assert await scene.counts(batch["id"]) == {"refused": 1}
    assert len(await scene.events(EventType.BATCH_COMPLETED)) == 1
    assert scene.posted(BULK_SCANS) == []


async def test_known_bytes_are_completed_at_once_and_no_worker_hears_of_them(scene: Scene) -> None:
    sha256 = "ab" * 32
    await scene.made(*_urls("a"))
    (entry,) = scene.posted(BULK_SCANS)
    await scene.records.close([replace(_seen(entry.scan_id, sha256), judge=JUDGE)])

    batch = await scene.made({"sha256": sha256}, {"sha256": "cd" * 32})

    assert batch["status"] == "completed"
    assert await scene.counts(batch["id"]) == {"completed": 1, "refused": 1}
    first, second = await scene.results(batch["id"])
    assert (first["scan"]["verdict"], first["scan"]["input"]["kind"]) == ("likely_ai", "sha256")
    assert second["problem"]["code"] == "not_found"
    assert len(scene.posted(BULK_SCANS)) == 1


def _seen(scan_id: str, sha256: str) -> Outcome:
    outcome = completed(scan_id)
    return replace(outcome, verdict=Verdict.LIKELY_AI, input=replace(outcome.input, sha256=sha256))


async def test_cancel_ends_what_is_not_final_and_the_batch_with_it(scene: Scene) -> None:
    batch = await scene.made(*_urls("a", "b", "c"))
    first = scene.posted(BULK_SCANS)[0].scan_id
    await scene.records.close([completed(first)])

    answer = await scene.cancel(batch["id"])

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert await scene.counts(batch["id"]) == {"completed": 1, "canceled": 2}
    results = await scene.results(batch["id"])
    assert [line["scan"]["status"] for line in results] == ["completed", "canceled", "canceled"]
    assert (await scene.cancel(batch["id"])).json() == answer.json()
    assert value(scene.metrics, "pinclip_scan_errors_total", code="canceled") == 2


async def test_scan_of_a_batch_that_was_erased_keeps_its_line_and_counts_as_canceled(
    scene: Scene,
) -> None:
    batch = await scene.made(*_urls("a", "b"))
    first, second = (entry.scan_id for entry in scene.posted(BULK_SCANS))
    await scene.records.close([completed(first)])

    await scene.records.erase(second, owner="me", actor="me")

    assert (await scene.get(batch["id"])).json()["status"] == "completed"
    assert await scene.counts(batch["id"]) == {"completed": 1, "canceled": 1}
    results = await scene.results(batch["id"])
    assert (results[1]["scan"], results[1]["problem"]["code"]) == (None, "expired")


async def test_same_key_makes_one_batch_and_another_body_is_refused(scene: Scene) -> None:
    key = {"headers": {"Idempotency-Key": '"once"'}}
    first = await scene.made(*_urls("a"), **key)

    again = await scene.post(*_urls("a"), **key)
    other = await scene.post(*_urls("b"), **key)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(scene.posted(BULK_SCANS)) == await scene.rows(ScanRow) == 1


async def test_full_queue_refuses_all_of_a_batch(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with _scene(settings, redis_client, queue_limit=6) as scene:
        await scene.made(*_urls("a", "b", "c"))

        answer = await scene.post(*_urls("d"))

        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
        assert await scene.rows(BatchRow) == 1
        assert len(scene.posted(BULK_SCANS)) == await scene.rows(ScanRow) == 3


async def test_batch_that_could_not_be_done_in_time_is_told_how_many_could(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with _scene(settings, redis_client, queue_limit=6) as scene:
        answer = await scene.post(*_urls(*range(7)))

        assert answer.json()["code"] == "queue_full"
        assert "6 would" in answer.json()["detail"]
        assert await scene.rows(ScanRow) == 0


async def test_limits_count_each_scan_of_a_batch_and_refuse_it_whole(scene: Scene) -> None:
    await scene.made(*_urls("a", "b", "c"), who="limited")

    over = await scene.post(*_urls("d", "e", "f"), who="limited")
    never = await scene.post(*_urls(*range(6)), who="limited")

    assert (over.status_code, over.json()["code"]) == (429, "rate_limited")
    assert sorted(over.json()["violated-policies"]) == ["parallel", "scans"]
    assert (never.status_code, never.json()["code"]) == (413, "batch_too_large")
    assert await scene.rows(ScanRow) == 3
    batch_ids = [row.id for row in await scene.database.rows(sa.select(BatchRow.id))]
    await scene.cancel(batch_ids[0], who="limited")
    room = await scene.post(*_urls("d", "e"), who="limited")
    assert room.status_code == 202, "what was canceled counts as running no more"


@pytest.mark.parametrize("who", ["reader", "public"])
async def test_reading_and_public_keys_make_no_batches(scene: Scene, who: str) -> None:
    answer = await scene.post(*_urls("a"), who=who)

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert await scene.rows(BatchRow) == 0


async def test_batch_of_another_owner_does_not_exist(scene: Scene) -> None:
    batch = await scene.made(*_urls("a"))

    answers = [
        await scene.get(batch["id"], who="another"),
        await scene.get(f"{batch['id']}/results", who="another"),
        await scene.cancel(batch["id"], who="another"),
        await scene.get("batch_nonsense"),
    ]

    assert [answer.json()["code"] for answer in answers] == ["not_found"] * 4
    assert await scene.counts(batch["id"]) == {"waiting": 1}
    public = await scene.get(batch["id"], who="public")
    assert public.json()["code"] == "scope_missing"


async def test_silent_redis_costs_an_accepted_batch_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_entries: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(scene.desk.scans.board, "post", silent)

    batch = await scene.made(*_urls("a", "b"))

    assert batch["counts"]["waiting"] == 2
    assert len(await scene.records.stale(scene.clock.now() + 1)) == 2


async def test_each_item_has_its_own_operating_point(scene: Scene) -> None:
    await scene.made({**_urls("a")[0], "operating_point": "strict"}, *_urls("b"))

    points = [entry.operating_point for entry in scene.posted(BULK_SCANS)]

    assert points == [PointName.STRICT, PointName.BALANCED]
