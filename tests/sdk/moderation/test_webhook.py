"""The webhook adapter, over real HTTP both ways, with the standard's own library opposite."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from benchmarks.scripted_server import ScriptedServer
from sdk import AsyncClient
from sdk.environment import Secret, SettingsError, load
from sdk.moderation import Journal, Mode, Runner
from sdk.moderation.clock import SystemClock
from sdk.moderation.journal import Made
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Item,
    ItemGone,
    Notice,
    PermissionLost,
    PlatformError,
    RateLimited,
    UndoResult,
    Unsure,
)
from sdk.moderation.platforms.webhook import PLUGIN, Webhook, WebhookSettings
from sdk.moderation.platforms.webhook_inbox import BODY_LIMIT_BYTES
from sdk.moderation.rules import read_policy
from sdk.moderation.testing import Case, check_platform, picture
from tests.sdk.moderation.fakes.loopback import serving
from tests.sdk.moderation.fakes.webhook import EVENTS_SECRET, SECRET, FakeForum, signed
from tests.sdk.moderation.playing import first

# Certificates would take 40 ms a request; a connection that is kept would outlive its test.
HTTP = httpx.Client(verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
ITEM = Item(id="post/1", extra={"n": "1"})
ACTION = Action(
    kind=ActionKind.REMOVE, key="k1", sha256="0" * 64, scan_id="scan_1", text="Likely AI."
)
EVENT = {
    "id": "evt_1",
    "type": "ping",
    "timestamp": "2026-09-21T13:46:40.000Z",
    "sequence": 0,
    "data": {},
    "replay_of": None,
}


class WebhookStage:
    """The conformance suite's way to the forum."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, forum: FakeForum, url: str, inbox: Path) -> None:
        self.forum = forum
        self.settings = WebhookSettings(
            webhook_bot_secret=Secret(SECRET),
            webhook_secret=Secret(EVENTS_SECRET),
            webhook_bot_target=f"{url}/orders?token=not-to-be-shown",
            webhook_bot_port=0,
            webhook_bot_inbox=inbox,
        )

    @asynccontextmanager
    async def open(self) -> Any:
        async with PLUGIN.open(self.settings) as platform:
            assert isinstance(platform, Webhook)
            self.forum.bot = platform.address
            await asyncio.to_thread(self.forum.flush)
            try:
                yield platform
            finally:
                self.forum.bot = None

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        return await asyncio.to_thread(self.forum.post, images, is_exempt=is_exempt)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        await asyncio.to_thread(self.forum.edit, item_id, images)

    async def delete(self, item_id: str) -> None:
        self.forum.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        return [ActionKind(kind) for kind in self.forum.in_force(item_id)]

    async def notices(self, item_id: str) -> Sequence[str]:
        return self.forum.notices(item_id)

    async def rate_limit(self, seconds: float) -> None:
        self.forum.limit(seconds)

    async def forbid(self) -> None:
        self.forum.is_forbidden = True

    async def allow(self) -> None:
        self.forum.is_forbidden = False

    async def lose_answer(self) -> None:
        self.forum.app.lose_answer()

    async def human_acts(self, item_id: str) -> None:
        self.forum.human_acts(item_id)


class Site:
    """One server for all tests, each with a forum of its own: to start one takes long."""

    url: str
    forum: FakeForum

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.forum.app(scope, receive, send)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    with serving(site) as site.url:
        yield site


@pytest.fixture
def stage(site: Site, tmp_path: Path) -> Iterator[WebhookStage]:
    site.forum = FakeForum()
    with site.forum.http:
        yield WebhookStage(site.forum, site.url, tmp_path / "inbox.sqlite3")


def post(
    address: str, item: object, *, delivery: str = "msg_1", path: str = "/items", **how: Any
) -> httpx.Response:
    body = item if isinstance(item, bytes) else json.dumps(item).encode()
    headers = signed(body, delivery=delivery, **how)
    return HTTP.post(address + path, content=body, headers=headers)


def test_webhook_conforms(
    stage: WebhookStage, record_property: Callable[[str, object], None]
) -> None:
    report = asyncio.run(check_platform(stage))
    record_property("conformance", str(report))

    assert [one for one in report.outcomes if one.state != "passed"] == []


def answered(stage: WebhookStage, ask: Callable[[str], httpx.Response]) -> httpx.Response:
    async def scene() -> httpx.Response:
        async with stage.open() as platform:
            return await asyncio.to_thread(ask, platform.address)

    return asyncio.run(scene())


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        pytest.param(
            lambda at: HTTP.post(f"{at}/items", content=b"{}"),
            401,
            "webhook_signature_invalid",
            id="unsigned",
        ),
        pytest.param(
            lambda at: post(at, {"id": "1", "images": []}, secret=EVENTS_SECRET),
            401,
            "webhook_signature_invalid",
            id="another secret",
        ),
        pytest.param(
            lambda at: post(at, {"id": "1", "images": []}, age=3600),
            401,
            "webhook_signature_invalid",
            id="an hour old",
        ),
        pytest.param(lambda at: post(at, {"id": "1"}), 400, "item_unreadable", id="no images"),
        pytest.param(lambda at: post(at, b"nonsense"), 400, "item_unreadable", id="no JSON"),
        pytest.param(
            lambda at: post(at, b'{"new": %s}' % (b"[" * 5000 + b"]" * 5000)),
            400,
            "item_unreadable",
            id="deep JSON",
        ),
        pytest.param(
            lambda at: post(
                at, {"id": "1", "images": [], "type": "post", "timestamp": "now", "data": {}}
            ),
            202,
            "accepted",
            id="an item with fields like those of an event",
        ),
        pytest.param(
            lambda at: post(at, {"type": "new"}, path="/events", secret=EVENTS_SECRET),
            400,
            "event_unreadable",
            id="no event",
        ),
        pytest.param(lambda at: HTTP.get(f"{at}/items"), 405, "method_not_allowed", id="GET"),
        pytest.param(lambda at: post(at, {}, path="/"), 404, "not_found", id="another path"),
        pytest.param(
            lambda at: HTTP.post(f"{at}/items", content=b"0" * (BODY_LIMIT_BYTES + 1)),
            413,
            "body_too_large",
            id="too large",
        ),
        pytest.param(lambda at: HTTP.get(f"{at}/healthz"), 200, "ok", id="health"),
    ],
)
def test_the_door_takes_nothing_but_signed_items_and_events(
    stage: WebhookStage, ask: Callable[[str], httpx.Response], status: int, code: str
) -> None:
    answer = answered(stage, ask)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_item_that_was_answered_202_is_there_after_a_kill_and_once(
    stage: WebhookStage,
) -> None:
    urls = ["https://example.org/a.jpg"]

    async def posted_and_died() -> None:
        async with stage.open() as platform:
            for _ in range(3):  # a sender that did not hear the answer repeats itself
                answer = await asyncio.to_thread(
                    post, platform.address, {"id": "1", "images": urls, "author": "somebody"}
                )
                assert answer.status_code == 202
            await asyncio.to_thread(
                post, platform.address, {"id": "2", "images": []}, delivery="msg_2"
            )

    async def restarted() -> tuple[list[Item], list[str | None]]:
        async with stage.open() as platform:
            items = await first(platform.items(None), count=2)
            return items, [image.url for image in await platform.media(items[0])]

    asyncio.run(posted_and_died())
    items, media = asyncio.run(restarted())

    assert [(item.id, item.author) for item in items] == [("1", "somebody"), ("2", None)]
    assert media == urls


def test_an_event_of_pinclip_comes_again_until_the_next_one_is_asked_for(
    stage: WebhookStage,
) -> None:
    async def events(count: int) -> list[str]:
        async with stage.open() as platform:
            for name in ("evt_1", "evt_2"):
                event = {**EVENT, "id": name}
                how = {"path": "/events", "delivery": name, "secret": EVENTS_SECRET}
                answer = await asyncio.to_thread(post, platform.address, event, **how)
                assert answer.status_code == 202
            return [event.id for event in await first(platform.events(), count=count)]

    assert asyncio.run(events(1)) == ["evt_1"]
    assert asyncio.run(events(2)) == ["evt_1", "evt_2"]
    assert asyncio.run(events(1)) == ["evt_2"]


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (401, {}, PermissionLost),
        (404, {}, PlatformError),
        (409, {}, PlatformError),
        (410, {}, ItemGone),
        (429, {"retry-after": "7"}, RateLimited),
        (429, {}, RateLimited),
        (302, {"location": "http://127.0.0.1:1/"}, PlatformError),
        (500, {}, Unsure),
        (503, {"retry-after": "7"}, RateLimited),
    ],
)
def test_the_targets_status_says_what_became_of_an_action(
    stage: WebhookStage, status: int, headers: dict[str, str], error: type[PlatformError]
) -> None:
    stage.forum.answers.append((status, headers))

    async def scene() -> None:
        async with stage.open() as platform:
            await platform.apply(ITEM, ACTION)

    with pytest.raises(PlatformError) as raised:
        asyncio.run(scene())

    assert type(raised.value) is error
    assert "not-to-be-shown" not in str(raised.value)
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after == (7 if headers else 60)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, UndoResult.UNDONE),
        (409, UndoResult.KEPT_FOR_HUMAN),
        (410, UndoResult.GONE),
    ],
)
def test_the_targets_status_says_what_became_of_an_undo(
    stage: WebhookStage, status: int, result: UndoResult
) -> None:
    async def scene() -> UndoResult:
        async with stage.open() as platform:
            token = await platform.apply(ITEM, ACTION)
            stage.forum.answers.append((status, {}))
            return await platform.undo(token)

    assert asyncio.run(scene()) is result


def test_a_target_that_is_down_may_have_acted(stage: WebhookStage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    stage.settings = WebhookSettings(
        webhook_bot_secret=Secret(SECRET),
        webhook_bot_target=f"http://127.0.0.1:{port}/orders",
        webhook_bot_port=0,
        webhook_bot_inbox=stage.settings.webhook_bot_inbox,
    )

    async def scene() -> None:
        async with stage.open() as platform:
            await platform.notify(ITEM, Notice(subject="Removed", text="By a machine."))

    with pytest.raises(Unsure):
        asyncio.run(scene())


def test_a_data_url_that_is_none_fails_its_image_alone(stage: WebhookStage) -> None:
    good = base64.b64encode(picture(1)).decode()
    images = ["data:image/png;base64,###", f"data:image/png;base64,{good}"]

    async def scene() -> bytes:
        async with stage.open() as platform:
            await asyncio.to_thread(post, platform.address, {"id": "1", "images": images})
            [item] = await first(platform.items(None), count=1)
            broken, whole = await platform.media(item)
            with pytest.raises(PlatformError):
                await broken.load()
            return bytes(await whole.load())

    assert asyncio.run(scene()) == picture(1)


def test_what_cannot_be_written_down_is_not_taken(stage: WebhookStage) -> None:
    async def scene() -> httpx.Response:
        async with stage.open() as platform:
            platform._inbox._base.execute("PRAGMA query_only = ON")  # as a full disk would
            return await asyncio.to_thread(post, platform.address, {"id": "1", "images": []})

    answer = asyncio.run(scene())

    assert (answer.status_code, answer.json()["code"]) == (503, "inbox_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_an_inbox_in_no_folder_is_told_when_the_bot_starts(
    stage: WebhookStage, tmp_path: Path
) -> None:
    stage.settings = msgspec.structs.replace(
        stage.settings, webhook_bot_inbox=tmp_path / "missing" / "inbox.sqlite3"
    )

    with pytest.raises(PlatformError, match="missing"):
        answered(stage, lambda at: httpx.get(at))


def test_a_port_in_use_is_told_with_what_to_set(stage: WebhookStage, tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        settings = WebhookSettings(
            webhook_bot_secret=Secret(SECRET),
            webhook_bot_target="http://127.0.0.1:1/",
            webhook_bot_port=port,
            webhook_bot_inbox=tmp_path / "other.sqlite3",
        )
        async with PLUGIN.open(settings):
            pass

    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PlatformError) as raised:
        asyncio.run(scene(other.getsockname()[1]))

    assert "PINCLIP_WEBHOOK_BOT_PORT" in raised.value.hint


def test_settings_that_cannot_work_are_told_all_at_once() -> None:
    environ = {
        "PINCLIP_WEBHOOK_BOT_SECRET": "hunter2!",
        "PINCLIP_WEBHOOK_BOT_TARGET": "forum.example/orders",
        "PINCLIP_WEBHOOK_BOT_PORT": "99999",
    }

    with pytest.raises(SettingsError) as raised:
        load(WebhookSettings, environ)

    assert len(raised.value.faults) == 3
    assert "hunter2!" not in str(raised.value)


def test_the_bot_keeps_its_own_signal_handlers(stage: WebhookStage) -> None:
    async def scene() -> bool:
        before = signal.getsignal(signal.SIGTERM)
        async with stage.open():
            return signal.getsignal(signal.SIGTERM) is before

    assert asyncio.run(scene())


def test_nothing_is_left_running_when_the_bot_closes(stage: WebhookStage) -> None:
    async def scene() -> set[Any]:
        async with stage.open() as platform:
            reading = asyncio.create_task(first(platform.items(None), count=1))
            await asyncio.sleep(0)
            reading.cancel()
        await asyncio.wait([reading])
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(scene()) == set()


def test_an_appeal_that_is_won_reaches_the_forum_through_a_running_bot(
    stage: WebhookStage, tmp_path: Path
) -> None:
    """Item in, order out; the server's event in, the order's end out: all over signed HTTP."""
    rules = read_policy('[[rule]]\nverdict = "likely_ai"\naction = "label"\n', name="rules")

    async def heard(count: int) -> None:
        for _ in range(count):
            await asyncio.to_thread(stage.forum.heard.get, timeout=10)

    async def scene(server: ScriptedServer) -> None:
        async with AsyncClient(base_url=server.url) as client, stage.open() as platform:
            with Journal(tmp_path / "bot.db") as journal:
                journal.hold("webhook")
                now = SystemClock().now()
                made = Made(at=now, items=200, policy_id=rules.terms.policy_id)
                journal.note_report(made)
                bot = Runner(platform, rules, client, journal, mode=Mode.ENFORCE, terms=rules.terms)
                stop = asyncio.Event()
                running = asyncio.create_task(bot.run(stop))
                await stage.post([b"likely_ai:1"])
                await heard(2)
                scan = server.overturn(server.scan_of(b"likely_ai:1").id)
                data = {"scan": scan, "previous": "likely_ai", "cause": "appeal"}
                event = {**EVENT, "type": "scan.verdict_changed", "data": data}
                body = msgspec.json.encode(event)
                how = {"path": "/events", "delivery": "evt_1", "secret": EVENTS_SECRET}
                answer = await asyncio.to_thread(post, platform.address, body, **how)
                assert answer.status_code == 202
                await heard(2)
                stop.set()
                await running

    with ScriptedServer() as server:
        asyncio.run(scene(server))

    kinds = [(order["type"], order.get("is_undo", False)) for order in stage.forum.orders]
    assert kinds == [("action", False), ("notice", False), ("undo", False), ("notice", True)]
    assert stage.forum.in_force(stage.forum.orders[0]["item"]) == []
