"""/v1/webhooks over HTTP and real SQL: what an owner does with endpoints, and sees of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar, Request
from litestar.di import Provide

from sdk.wire import EndpointState, EventData, EventType, Scope
from server import ids, problems
from server.routes import webhooks as routes
from server.rules import webhooks as rules
from server.rules.caller import Caller
from server.rules.deliveries import Answer, Health, Next
from server.rules.webhooks import WebhooksDesk
from server.settings import ServerSettings
from server.store import webhooks
from server.store.deliveries import SqlDeliveries
from server.store.engine import Database
from server.store.scans import SqlScans
from server.store.webhooks import NewEvent, SqlWebhooks
from tests.fakes import ManualClock, MemoryBoard
from tests.store.conftest import opened
from worker.contract import RedisSettings
from worker.guard import Policy

pytestmark = pytest.mark.anyio

URL = "https://ada.example/hook"
EVERY_ROUTE = [
    ("POST", "/v1/webhooks", {"url": URL}),
    ("GET", "/v1/webhooks", None),
    ("GET", "/v1/webhooks/callback-secret", None),
    ("POST", "/v1/webhooks/callback-secret/rotate", None),
    ("GET", "/v1/webhooks/{id}", None),
    ("PATCH", "/v1/webhooks/{id}", {}),
    ("DELETE", "/v1/webhooks/{id}", None),
    ("POST", "/v1/webhooks/{id}/rotate", None),
    ("POST", "/v1/webhooks/{id}/test", None),
    ("GET", "/v1/webhooks/{id}/deliveries", None),
    ("POST", "/v1/webhooks/{id}/deliveries/{delivery}/replay", None),
    ("POST", "/v1/webhooks/{id}/events/{event}/replay", None),
]


@dataclass(frozen=True, kw_only=True)
class Api:
    """The routes over a real database, as any caller whom the headers name."""

    client: httpx.AsyncClient
    database: Database
    clock: ManualClock

    async def made(self, **more: object) -> dict[str, Any]:
        answer = await self.client.post("/v1/webhooks", json={"url": URL, **more})
        assert answer.status_code == 201
        return answer.json()  # type: ignore[no-any-return]  # JSON has no type

    async def told(self) -> str:
        """Tell of a scan that ended; return the event's id."""
        now = self.clock.now()
        event = NewEvent(
            owner="ada",
            type=EventType.SCAN_FAILED,
            subject=ids.scan_id(now),
            sequence=2,
            data=EventData(),
        )

        def work(connection: sa.Connection) -> None:
            webhooks.add(connection, [event], now=now)

        await self.database.write(work)
        return event.id

    async def deliveries(self, endpoint_id: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/v1/webhooks/{endpoint_id}/deliveries")
        assert answer.status_code == 200
        return answer.json()["data"]  # type: ignore[no-any-return]  # JSON has no type

    async def attempt(self, answer: Answer, following: Next) -> None:
        """Do as the courier does with one delivery."""
        store, now = SqlDeliveries(self.database), self.clock.now()
        (claimed,) = await store.claim(now=now, lease_seconds=9, limit=1, per_endpoint=2)
        await store.record(claimed, answer, decide=lambda _: following, now=now)


def _caller(request: Request[Any, Any, Any]) -> Caller:
    return Caller(
        owner=request.headers.get("owner", "ada"),
        key_id="key_1",
        scopes=frozenset(map(Scope, request.headers.get("scopes", "admin").split())),
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock = ManualClock()
    async with opened(ServerSettings(redis=RedisSettings(state_dir=tmp_path))) as database:
        store = SqlWebhooks(database)
        desk = WebhooksDesk(
            endpoints=store,
            deliveries=store,
            replays=SqlScans(database, clock),
            flights=MemoryBoard(),
            clock=clock,
            policy=Policy(),
        )
        app = Litestar(
            [routes.router],
            dependencies={
                "caller": Provide(_caller, sync_to_thread=False),
                "webhooks_desk": Provide(lambda: desk, sync_to_thread=False),
            },
            exception_handlers=problems.handlers(),
            openapi_config=None,
            logging_config=None,
        )
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield Api(client=client, database=database, clock=clock)


async def test_create_shows_the_secret_once(api: Api) -> None:
    answer = await api.client.post("/v1/webhooks", json={"url": "HTTPS://Ada.Example:443/hook"})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["events"], made["state"]) == (URL, [], "enabled")
    read = (await api.client.get(answer.headers["location"])).json()
    assert read == {**made, "secret": None}
    assert (await api.client.get("/v1/webhooks")).json() == {"data": [read]}


async def test_create_again_with_the_same_key_shows_the_same_endpoint_and_secret(api: Api) -> None:
    once = {"idempotency-key": "k"}

    first, again = [
        await api.client.post("/v1/webhooks", json={"url": URL}, headers=once) for _ in range(2)
    ]

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert first.json()["secret"].startswith("whsec_")
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len((await api.client.get("/v1/webhooks")).json()["data"]) == 1


async def test_key_of_another_endpoint_is_refused_and_tells_another_nothing(api: Api) -> None:
    once = {"idempotency-key": "k"}
    first = await api.client.post("/v1/webhooks", json={"url": URL}, headers=once)

    other = await api.client.post("/v1/webhooks", json={"url": f"{URL}?2"}, headers=once)
    reader = await api.client.post(
        "/v1/webhooks", json={"url": URL}, headers={**once, "scopes": "scan read moderate"}
    )
    bobs = await api.client.post(
        "/v1/webhooks", json={"url": URL}, headers={**once, "owner": "bob"}
    )

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (reader.status_code, reader.json()["code"]) == (403, "scope_missing")
    assert bobs.status_code == 201
    assert bobs.json()["secret"] != first.json()["secret"]


async def test_key_is_free_again_if_its_endpoint_was_refused_or_is_deleted(api: Api) -> None:
    once = {"idempotency-key": "k"}
    refused = await api.client.post("/v1/webhooks", json={"url": "ftp://h.com/"}, headers=once)
    first = await api.client.post("/v1/webhooks", json={"url": URL}, headers=once)
    await api.client.delete(f"/v1/webhooks/{first.json()['id']}")

    second = await api.client.post("/v1/webhooks", json={"url": URL}, headers=once)

    assert (refused.status_code, first.status_code, second.status_code) == (422, 201, 201)
    assert second.json()["id"] != first.json()["id"]


async def test_endpoint_that_is_one_too_many_leaves_its_key_free(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ENDPOINTS_LIMIT", 1)
    made, once = await api.made(), {"idempotency-key": "k"}
    refused = await api.client.post("/v1/webhooks", json={"url": URL}, headers=once)
    await api.client.delete(f"/v1/webhooks/{made['id']}")

    second = await api.client.post("/v1/webhooks", json={"url": URL}, headers=once)

    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert second.status_code == 201


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest",
        "ftp://h.com/",
        "h.com",
        "https://user:word@h.com/",
        "https://h.com:8080/",
    ],
)
async def test_url_that_nothing_can_be_delivered_to_is_rejected(url: str, api: Api) -> None:
    endpoint = await api.made()

    for answer in (
        await api.client.post("/v1/webhooks", json={"url": url}),
        await api.client.patch(f"/v1/webhooks/{endpoint['id']}", json={"url": url}),
    ):
        assert answer.status_code == 422
        assert answer.json()["code"] == "webhook_url_rejected"
        assert answer.json()["errors"][0]["pointer"] == "/url"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"url": URL, "event": []}, "unknown_field", "/event"),
        ({"url": 5}, "invalid_parameter", "/url"),
        ({}, "invalid_parameter", "/url"),
        ({"url": URL, "events": ["scan.done"]}, "invalid_parameter", "/events/0"),
        ({"url": URL, "description": "x" * 501}, "invalid_parameter", "/description"),
        ({"url": URL, "description": "\x00"}, "invalid_parameter", "/description"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_create_says_what_is_wrong_where(
    body: dict[str, object], code: str, pointer: str, api: Api
) -> None:
    answer = await api.client.post("/v1/webhooks", json=body)

    assert answer.json()["code"] == code
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_change_leaves_what_is_not_named(api: Api) -> None:
    made = await api.made(events=["scan.failed", "scan.failed"], description="Mine")
    path = f"/v1/webhooks/{made['id']}"

    changed = (await api.client.patch(path, json={"url": "https://b.example/"})).json()

    assert made["events"] == ["scan.failed"]
    assert changed == {**made, "url": "https://b.example/", "secret": None}
    assert (await api.client.get(path)).json() == changed


async def test_disabled_endpoint_gets_what_it_missed_once_it_is_enabled(api: Api) -> None:
    made = await api.made()
    path = f"/v1/webhooks/{made['id']}"

    disabled = (await api.client.patch(path, json={"state": "disabled"})).json()
    told = await api.told()
    (waiting,) = await api.deliveries(made["id"])
    enabled = (await api.client.patch(path, json={"state": "enabled"})).json()
    (due,) = await api.deliveries(made["id"])

    assert disabled["disabled_reason"] == "Disabled by its owner."
    assert (waiting["event_id"], waiting["next_attempt_at"]) == (told, None)
    assert enabled["disabled_reason"] is None
    assert due["next_attempt_at"] is not None


async def test_rotate_shows_another_secret(api: Api) -> None:
    made = await api.made()

    rotated = await api.client.post(f"/v1/webhooks/{made['id']}/rotate")

    assert rotated.status_code == 200
    assert rotated.json() == {**made, "secret": rotated.json()["secret"]}
    assert rotated.json()["secret"] != made["secret"]


async def test_callback_secret_is_shown_and_rotated(api: Api) -> None:
    first = (await api.client.get("/v1/webhooks/callback-secret")).json()["secret"]
    again = (await api.client.get("/v1/webhooks/callback-secret")).json()["secret"]
    new = (await api.client.post("/v1/webhooks/callback-secret/rotate")).json()["secret"]

    assert first == again != new
    assert (await api.client.get("/v1/webhooks/callback-secret")).json()["secret"] == new
    assert (await api.client.get("/v1/webhooks")).json() == {"data": []}


async def test_delete_forgets_endpoint_and_deliveries(api: Api) -> None:
    made = await api.made()
    await api.told()

    assert (await api.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204

    for answer in (
        await api.client.delete(f"/v1/webhooks/{made['id']}"),
        await api.client.get(f"/v1/webhooks/{made['id']}/deliveries"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.client.get("/v1/webhooks")).json() == {"data": []}


async def test_ping_goes_out_whatever_the_endpoint_wants_to_hear(api: Api) -> None:
    made = await api.made(events=["scan.failed"])

    answer = await api.client.post(f"/v1/webhooks/{made['id']}/test")

    assert answer.status_code == 202
    assert answer.json()["event_type"] == "ping"
    assert await api.deliveries(made["id"]) == [answer.json()]


async def test_ping_of_a_disabled_endpoint_is_a_conflict(api: Api) -> None:
    made = await api.made()
    await api.client.patch(f"/v1/webhooks/{made['id']}", json={"state": "disabled"})

    answer = await api.client.post(f"/v1/webhooks/{made['id']}/test")

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "enabled" in answer.json()["detail"]


async def test_failed_delivery_is_kept_and_replayed_under_a_new_id(api: Api) -> None:
    made = await api.made()
    told = await api.told()
    reason = "ada.example answered with status 500."
    await api.attempt(Answer(status=500, reason=reason), Next(at=None, health=Health()))
    (failed,) = await api.deliveries(made["id"])
    path = f"/v1/webhooks/{made['id']}/deliveries/{failed['id']}/replay"

    api.clock.advance(1)
    first = (await api.client.post(path)).json()
    api.clock.advance(1)
    second = await api.client.post(f"/v1/webhooks/{made['id']}/events/{first['event_id']}/replay")

    assert (failed["state"], failed["last_status"], failed["last_error"]) == ("failed", 500, reason)
    assert second.status_code == 202
    assert len({told, first["event_id"], second.json()["event_id"]}) == 3
    for event_id in (first["event_id"], second.json()["event_id"]):
        kept = await SqlWebhooks(api.database).event("ada", event_id)
        assert kept is not None
        assert (kept.event.id, kept.event.replay_of) == (event_id, told)
        assert (kept.event.type, kept.event.sequence) == (EventType.SCAN_FAILED, 2)


async def test_event_of_before_is_replayed_to_an_endpoint_that_is_new(api: Api) -> None:
    await api.made()
    told = await api.told()
    late = await api.made()

    answer = await api.client.post(f"/v1/webhooks/{late['id']}/events/{told}/replay")

    assert answer.status_code == 202
    assert await api.deliveries(late["id"]) == [answer.json()]


async def test_deliveries_come_in_pages_newest_first(api: Api) -> None:
    made = await api.made()
    told = []
    for _ in range(5):
        api.clock.advance(1)
        told.append(await api.told())
    path = f"/v1/webhooks/{made['id']}/deliveries"

    seen: list[str] = []
    page = (await api.client.get(path, params={"limit": 2})).json()
    seen += [one["event_id"] for one in page["data"]]
    while page["has_more"]:
        following = {"limit": 2, "cursor": page["next_cursor"]}
        page = (await api.client.get(path, params=following)).json()
        seen += [one["event_id"] for one in page["data"]]

    assert seen == told[::-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"cursor": "x"}, "cursor_invalid"),
        ({"cursor": "é"}, "cursor_invalid"),
        ({"cursor": ""}, "cursor_invalid"),
        ({"limit": 0}, "invalid_parameter"),
        ({"limit": 101}, "invalid_parameter"),
        ({"limit": "many"}, "invalid_parameter"),
    ],
    ids=str,
)
async def test_page_that_does_not_exist_is_refused(
    asked: dict[str, Any], code: str, api: Api
) -> None:
    made = await api.made()

    answer = await api.client.get(f"/v1/webhooks/{made['id']}/deliveries", params=asked)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("state", list(EndpointState))
async def test_callback_endpoint_is_read_but_not_changed(state: EndpointState, api: Api) -> None:
    event = NewEvent(
        owner="ada",
        type=EventType.SCAN_FAILED,
        subject=ids.scan_id(1.0),
        sequence=2,
        data=EventData(),
        callback_url=URL,
    )

    def work(connection: sa.Connection) -> None:
        webhooks.add(connection, [event], now=1.0)

    await api.database.write(work)
    path = f"/v1/webhooks/{webhooks.callback_id('ada', URL)}"

    assert (await api.client.get(path)).json()["url"] == URL
    assert (await api.client.get(f"{path}/deliveries")).json()["data"][0]["event_id"] == event.id
    for answer in (
        await api.client.patch(path, json={"state": state}),
        await api.client.delete(path),
        await api.client.post(f"{path}/rotate"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


@pytest.mark.parametrize(("method", "path", "body"), EVERY_ROUTE, ids=lambda value: str(value))
async def test_route_needs_the_admin_scope(
    method: str, path: str, body: dict[str, object] | None, api: Api
) -> None:
    made = await api.made()
    path = path.format(id=made["id"], event=ids.new("evt", 1.0), delivery=ids.new("dlv", 1.0))

    answer = await api.client.request(
        method, path, json=body, headers={"scopes": "scan read moderate"}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [row for row in EVERY_ROUTE if "{id}" in row[1]],
    ids=lambda value: str(value),
)
async def test_route_does_not_know_what_is_another_owners(
    method: str, path: str, body: dict[str, object] | None, api: Api
) -> None:
    made = await api.made()
    event = await api.told()
    (delivery,) = await api.deliveries(made["id"])
    path = path.format(id=made["id"], event=event, delivery=delivery["id"])

    answer = await api.client.request(method, path, json=body, headers={"owner": "bob"})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.client.get(f"/v1/webhooks/{made['id']}")).status_code == 200


async def test_event_of_another_owner_is_not_replayed_to_ones_own_endpoint(api: Api) -> None:
    await api.made()
    event = await api.told()
    answer = await api.client.post("/v1/webhooks", json={"url": URL}, headers={"owner": "bob"})
    path = f"/v1/webhooks/{answer.json()['id']}/events/{event}/replay"

    replayed = await api.client.post(path, headers={"owner": "bob"})

    assert (replayed.status_code, replayed.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("an_id", ["x", "whk_0", "evt_01KX3Q8RZ07M2V9C4H8T1B6N5D"])
async def test_what_is_no_endpoint_id_is_not_found(an_id: str, api: Api) -> None:
    answer = await api.client.get(f"/v1/webhooks/{an_id}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
