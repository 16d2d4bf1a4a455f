"""The Mastodon adapter, driven by Mastodon.py, against a fake of Mastodon on loopback.

First by its API alone, then with its webhook, which posts to the adapter over real HTTP.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk.environment import Secret, SettingsError, load, variables
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    UndoResult,
    Unsure,
)
from sdk.moderation.platforms.mastodon import (
    BODY_LIMIT_BYTES,
    PLUGIN,
    MastodonPlatform,
    MastodonSettings,
)
from sdk.moderation.testing import Case, check_platform
from tests.sdk.moderation.fakes.loopback import serving
from tests.sdk.moderation.fakes.mastodon import (
    SCOPES,
    TOKEN,
    WEBHOOK_SECRET,
    FakeMastodon,
    deliver,
    signature_of,
    told,
)
from tests.sdk.moderation.playing import doing, items

GUIDE = Path(__file__).parents[3] / "docs/guides/mastodon.md"


class MastodonStage:
    """The conformance suite's way to the fake."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, fake: FakeMastodon, url: str) -> None:
        self.fake = fake
        self.settings = MastodonSettings(
            mastodon_url=url, mastodon_token=Secret(TOKEN), mastodon_poll_seconds=0.02
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Platform]:
        async with PLUGIN.open(self.settings) as platform:
            self.fake.looks.expect_one()
            yield platform
        self.fake.looks.expect_none()

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        await self.fake.looks.wait()
        return self.fake.post(len(images), roles=("Moderator",) if is_exempt else ())

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self.fake.edit(item_id, len(images))

    async def delete(self, item_id: str) -> None:
        self.fake.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        return [ActionKind.REPORT for _ in self.fake.reports_about(item_id)]

    async def notices(self, item_id: str) -> Sequence[str]:
        return [mention["text"] for mention in self.fake.mentions]

    async def rate_limit(self, seconds: float) -> None:
        self.fake.limit(seconds)

    async def forbid(self) -> None:
        self.fake.is_forbidden = True

    async def allow(self) -> None:
        self.fake.is_forbidden = False

    async def lose_answer(self) -> None:
        self.fake.app.lose_answer()

    async def human_acts(self, item_id: str) -> None:
        self.fake.moderator_resolves(item_id)


class ToldStage(MastodonStage):
    """The same with the webhook, and a look at the timeline only when the adapter begins."""

    def __init__(self, fake: FakeMastodon, url: str, inbox: Path) -> None:
        super().__init__(fake, url)
        self.inbox = inbox
        self.settings = msgspec.structs.replace(
            self.settings,
            mastodon_poll_seconds=600,
            mastodon_webhook_secret=Secret(WEBHOOK_SECRET),
            mastodon_webhook_port=0,
            mastodon_webhook_inbox=inbox,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Platform]:
        async with super().open() as platform:
            assert isinstance(platform, MastodonPlatform)
            self.fake.hook = f"{platform.address}/statuses"
            try:
                yield platform
            finally:
                self.fake.hook = None

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        await self.fake.looks.wait()
        return await self.publish(len(images), roles=("Moderator",) if is_exempt else ())

    async def publish(self, images: int = 1, **fields: Any) -> str:
        """Post something that the webhook tells of."""
        return await asyncio.to_thread(self.fake.post, images, **fields)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        await asyncio.to_thread(self.fake.edit, item_id, len(images))

    def kept(self) -> list[bytes]:
        """Return what is on disk."""
        with closing(sqlite3.connect(self.inbox)) as base:
            return [body for (body,) in base.execute("SELECT body FROM inbox")]


class Site:
    """One server for all tests, each with a fake of its own: to start one takes long."""

    url: str
    fake: FakeMastodon

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.fake.app(scope, receive, send)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    with serving(site) as site.url:
        yield site


@pytest.fixture
def stage(site: Site) -> MastodonStage:
    site.fake = FakeMastodon()
    return MastodonStage(site.fake, site.url)


@pytest.fixture
def told_stage(site: Site, tmp_path: Path) -> ToldStage:
    site.fake = FakeMastodon()
    return ToldStage(site.fake, site.url, tmp_path / "inbox.sqlite3")


def reporting(text: str = "Likely AI.", key: str = "k" * 32) -> Action:
    return doing(ActionKind.REPORT, key, text=text)


def test_mastodon_conforms(
    stage: MastodonStage, record_property: Callable[[str, object], None]
) -> None:
    stage.fake.page_size = 5  # Mastodon.py takes 2 ms to read a post

    report = asyncio.run(check_platform(stage))

    record_property("conformance", str(report))
    assert not [outcome for outcome in report.outcomes if outcome.state == "skipped"]


def test_mastodon_removes_and_labels_nothing(stage: MastodonStage) -> None:
    async def scene() -> frozenset[Capability]:
        async with stage.open() as platform:
            return platform.capabilities

    assert asyncio.run(scene()) == {Capability.REPORT, Capability.NOTIFY}


def test_items_begin_now_and_come_in_the_order_of_their_last_change(stage: MastodonStage) -> None:
    old, edited = stage.fake.post(1), stage.fake.post(1)

    async def scene() -> list[Item]:
        async with stage.open() as platform:
            reading = asyncio.create_task(items(platform, None, count=3))
            await stage.fake.looks.wait()
            first = stage.fake.post(1)
            stage.fake.edit(edited, 1)
            last = stage.fake.post(1)
            assert [item.id for item in await reading] == [first, edited, last]
            return await reading

    assert old not in [item.id for item in asyncio.run(scene())]


def test_items_after_a_cursor_go_back_over_pages_and_tell_of_edits_meanwhile(
    stage: MastodonStage,
) -> None:
    before = [stage.fake.post(1) for _ in range(3)]

    async def scene() -> list[str]:
        async with stage.open() as platform:
            cursor = (await items(platform, "", count=3))[-1].cursor
        missed = [stage.fake.post(1) for _ in range(85)]
        stage.fake.edit(missed[-1], 2)
        stage.fake.edit(before[0], 1)
        async with stage.open() as platform:
            found = [item.id for item in await items(platform, cursor, count=86)]
        assert found == [*missed, before[0]]
        return found

    assert len(asyncio.run(scene())) == 86


def test_a_report_keeps_its_key_where_the_text_is_too_long(stage: MastodonStage) -> None:
    identity = stage.fake.post(1)

    async def scene() -> None:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            await platform.apply(item, reporting("x" * 2000))
            await platform.apply(item, reporting("x" * 2000))

    asyncio.run(scene())
    [report] = stage.fake.reports_about(identity)
    assert len(report["comment"]) == 1000
    assert report["comment"].endswith(f"x… [{'k' * 32}]")


def test_a_report_is_left_to_the_moderator_who_took_it_up(stage: MastodonStage) -> None:
    identity = stage.fake.post(1)

    async def scene() -> UndoResult:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            token = await platform.apply(item, reporting())
            stage.fake.moderator_takes_up(identity)
            return await platform.undo(token)

    assert asyncio.run(scene()) is UndoResult.KEPT_FOR_HUMAN
    assert len(stage.fake.reports_about(identity)) == 1


def test_a_report_of_a_deleted_post_does_not_stay_in_the_queue(stage: MastodonStage) -> None:
    identity = stage.fake.post(1)

    async def scene() -> UndoResult:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            token = await platform.apply(item, reporting())
            stage.fake.delete(identity)
            return await platform.undo(token)

    assert asyncio.run(scene()) is UndoResult.GONE
    assert stage.fake.reports_about(identity) == []


def test_only_a_role_of_the_team_spares_and_not_the_word_of_a_bot(stage: MastodonStage) -> None:
    stage.fake.statuses[stage.fake.post(1)]["account"]["bot"] = True
    stage.fake.post(1, roles=("Owner",))

    async def scene() -> list[bool]:
        async with stage.open() as platform:
            return [await platform.exempt(item) for item in await items(platform, "", count=2)]

    assert asyncio.run(scene()) == [False, True]


def test_a_notice_is_a_private_mention_within_the_limit_and_once(stage: MastodonStage) -> None:
    stage.fake.post(1)
    notice = Notice(subject="Reported", text="y" * 900, appeal_url="https://p.example/apl_1")

    async def scene() -> None:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            await platform.notify(item, notice)
            await platform.notify(item, notice)

    asyncio.run(scene())
    [mention] = stage.fake.mentions
    assert mention["visibility"] == "direct"
    assert mention["text"].startswith("@author Reported\n\nyyy")
    assert mention["text"].endswith("y…\n\nhttps://p.example/apl_1")


def test_a_rate_limit_says_how_long_to_wait(stage: MastodonStage) -> None:
    stage.fake.post(1)

    async def scene() -> float:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            stage.fake.limit(20)
            with pytest.raises(RateLimited) as caught:
                await platform.media(item)
            return caught.value.retry_after

    assert 10 < asyncio.run(scene()) < 30


def test_a_server_that_is_down_leaves_a_write_unsure_and_not_a_read(stage: MastodonStage) -> None:
    stage.fake.post(1)

    async def scene() -> None:
        async with stage.open() as platform:
            [item] = await items(platform, "", count=1)
            stage.fake.is_down = True
            with pytest.raises(Unsure):
                await platform.notify(item, Notice(subject="", text=""))
            with pytest.raises(PlatformError) as caught:
                await platform.media(item)
            assert type(caught.value) is PlatformError

    asyncio.run(scene())


def test_open_says_that_the_token_is_not_taken(stage: MastodonStage) -> None:
    stage.fake.token = "another"

    async def scene() -> None:
        async with stage.open():
            pass

    with pytest.raises(PermissionLost, match="token"):
        asyncio.run(scene())


def test_mastodon_conforms_by_its_webhook(told_stage: ToldStage) -> None:
    told_stage.fake.page_size = 5

    report = asyncio.run(check_platform(told_stage))

    assert [outcome for outcome in report.outcomes if outcome.state != "passed"] == []
    assert set(told_stage.fake.answers) == {202}


def attempt(stage: ToldStage, body: bytes, signature: str | None) -> tuple[int, str]:
    """Return the status and code that the adapter answers to a delivery."""

    async def scene() -> tuple[int, str]:
        async with stage.open():
            hook = stage.fake.hook
            assert hook is not None
            answer = await asyncio.to_thread(deliver, hook, body, signature=signature)
            return answer.status_code, answer.json()["code"]

    return asyncio.run(scene())


POST = {
    "id": "110000000007",
    "created_at": "2026-11-01T10:00:00.000Z",
    "edited_at": None,
    "visibility": "public",
    "url": "https://social.example/@author/110000000007",
    "content": "<p>Look at this</p>",
    "account": {"id": "100", "acct": "author", "roles": []},
    "media_attachments": [{"id": "1", "type": "image", "url": "https://files.example/1.png"}],
}
BODY = told("status.created", POST)
SIGNATURE = signature_of(BODY)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        pytest.param(BODY, None, id="unsigned"),
        pytest.param(BODY, "", id="empty"),
        pytest.param(BODY, signature_of(BODY, secret="another secret"), id="another secret"),
        pytest.param(BODY, SIGNATURE.removeprefix("sha256="), id="no method"),
        pytest.param(BODY, SIGNATURE.replace("sha256=", "sha1="), id="another method"),
        pytest.param(BODY, SIGNATURE[:-1], id="cut short"),
        pytest.param(BODY, "sha256=\xe9", id="not ASCII"),
        pytest.param(BODY[:-1] + bytes([BODY[-1] ^ 1]), SIGNATURE, id="a bit of the body"),
        pytest.param(BODY, SIGNATURE[:-1] + chr(ord(SIGNATURE[-1]) ^ 1), id="a bit of the sign"),
    ],
)
def test_what_mastodon_did_not_sign_is_refused_and_not_kept(
    told_stage: ToldStage, body: bytes, signature: str | None
) -> None:
    assert attempt(told_stage, body, signature) == (401, "webhook_signature_invalid")
    assert told_stage.kept() == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"{'event': 1}", 400, "event_unreadable", id="no JSON"),
        pytest.param(b'{"content": "Hello"}', 400, "event_unreadable", id="a template of its own"),
        pytest.param(
            b'{"event": "status.created", "object": %s}' % (b"[" * 5000 + b"]" * 5000),
            400,
            "event_unreadable",
            id="deep JSON",
        ),
        pytest.param(b"0" * (BODY_LIMIT_BYTES + 1), 413, "body_too_large", id="too large"),
        pytest.param(told("account.created", {"id": "1"}), 202, "ignored", id="another event"),
        pytest.param(
            told("status.created", {**POST, "visibility": "private"}), 202, "ignored", id="private"
        ),
        pytest.param(
            told("status.created", {**POST, "visibility": "direct"}), 202, "ignored", id="direct"
        ),
        pytest.param(
            told("status.created", {**POST, "media_attachments": [], "reblog": POST}),
            202,
            "ignored",
            id="a boost",
        ),
        pytest.param(
            told("status.created", {**POST, "media_attachments": [{"id": "1", "type": "video"}]}),
            202,
            "ignored",
            id="no image",
        ),
    ],
)
def test_what_is_signed_and_no_post_for_all_with_images_is_not_kept(
    told_stage: ToldStage, body: bytes, status: int, code: str
) -> None:
    assert attempt(told_stage, body, signature_of(body)) == (status, code)
    assert told_stage.kept() == []


def test_of_a_post_no_text_is_kept(told_stage: ToldStage) -> None:
    assert attempt(told_stage, BODY, SIGNATURE) == (202, "accepted")

    [kept] = told_stage.kept()
    assert str(POST["id"]) in kept.decode()
    assert "Look at this" not in kept.decode()


def test_a_signature_is_that_which_openssl_makes(told_stage: ToldStage) -> None:
    # printf '{"event":"report.created","object":{}}' | openssl dgst -sha256 -hmac SECRET
    body = b'{"event":"report.created","object":{}}'

    assert attempt(
        told_stage, body, "sha256=a388526a26c0337a30b4ddc0adc543a3247bc36d0f3cdc79fe80422d46de5b8d"
    ) == (202, "ignored")


def test_a_post_that_is_told_of_is_yielded_once_however_often_it_is_told(
    told_stage: ToldStage,
) -> None:
    fake = told_stage.fake

    async def scene() -> list[str]:
        async with told_stage.open() as platform:
            reading = asyncio.create_task(items(platform, "", count=3))
            await fake.looks.wait()
            first = await told_stage.publish()
            for _ in range(3):  # Mastodon did not hear the answer, or changed what is no edit
                await asyncio.to_thread(fake.tell, "status.updated", fake.statuses[first])
            await asyncio.to_thread(fake.edit, first, 1)
            last = await told_stage.publish()
            found = [item.id for item in await reading]
            assert found == [first, first, last]
            return found

    assert len(asyncio.run(scene())) == 3
    assert len(fake.answers) == 6


def test_a_post_that_comes_both_ways_is_yielded_once(told_stage: ToldStage) -> None:
    told_stage.settings = msgspec.structs.replace(told_stage.settings, mastodon_poll_seconds=0.2)
    fake = told_stage.fake

    async def a_whole_look() -> None:
        for _ in range(3):  # it reads a page or two
            fake.looks.expect_one()
            await fake.looks.wait()

    async def scene() -> tuple[list[str], list[str]]:
        async with told_stage.open() as platform:
            reading = asyncio.create_task(items(platform, "", count=3))
            told_first = await told_stage.publish()
            await a_whole_look()
            hook, fake.hook = fake.hook, None
            seen_first = await told_stage.publish()
            await a_whole_look()
            fake.hook = hook
            await asyncio.to_thread(fake.tell, "status.created", fake.statuses[seen_first])
            last = await told_stage.publish()
            return [item.id for item in await reading], [told_first, seen_first, last]

    found, posted = asyncio.run(scene())

    assert found == posted


def test_a_post_that_was_not_handled_is_yielded_again_after_a_kill(told_stage: ToldStage) -> None:
    async def scene() -> tuple[str, Item]:
        async with told_stage.open() as platform:
            reading = asyncio.create_task(items(platform, None, count=1))
            await told_stage.fake.looks.wait()
            reply = await told_stage.publish(in_reply_to_account_id="777")
            [item] = await reading
            assert (item.id, item.author) == (reply, "author")
        async with told_stage.open() as platform:
            [again] = await items(platform, item.cursor, count=1)
        return reply, again

    reply, again = asyncio.run(scene())

    assert again.id == reply


def test_a_post_that_was_missed_is_not_hidden_by_a_later_one_that_was_told_of(
    told_stage: ToldStage,
) -> None:
    async def scene() -> tuple[str, list[str]]:
        async with told_stage.open() as platform:
            reading = asyncio.create_task(items(platform, "", count=1))
            await told_stage.fake.looks.wait()
            hook, told_stage.fake.hook = told_stage.fake.hook, None
            missed = await told_stage.publish()
            told_stage.fake.hook = hook
            later = await told_stage.publish()
            [item] = await reading
            assert item.id == later
        async with told_stage.open() as platform:
            return missed, [item.id for item in await items(platform, item.cursor, count=1)]

    missed, found = asyncio.run(scene())

    assert found == [missed]


def test_replies_and_unlisted_posts_come_by_the_webhook_alone(told_stage: ToldStage) -> None:
    async def scene() -> list[str]:
        async with told_stage.open() as platform:
            reading = asyncio.create_task(items(platform, "", count=2))
            await told_stage.fake.looks.wait()
            posted = [
                await told_stage.publish(in_reply_to_account_id="777"),
                await told_stage.publish(visibility="unlisted"),
            ]
            found = await reading
            assert [item.id for item in found] == posted
            assert len(await platform.media(found[1])) == 1
            return posted

    assert len(asyncio.run(scene())) == 2


def test_without_a_secret_nothing_listens(stage: MastodonStage) -> None:
    async def scene() -> str:
        async with stage.open() as platform:
            assert isinstance(platform, MastodonPlatform)
            return platform.address

    assert asyncio.run(scene()) == ""
    assert not stage.settings.mastodon_webhook_inbox.exists()


def test_a_port_in_use_is_told_with_what_to_set(told_stage: ToldStage) -> None:
    async def scene() -> None:
        async with told_stage.open():
            pass

    with socket.create_server(("127.0.0.1", 0)) as other:
        told_stage.settings = msgspec.structs.replace(
            told_stage.settings, mastodon_webhook_port=other.getsockname()[1]
        )
        with pytest.raises(PlatformError) as raised:
            asyncio.run(scene())

    assert "PINCLIP_MASTODON_WEBHOOK_PORT" in raised.value.hint


def test_a_secret_that_cannot_be_mastodons_is_told_and_not_shown() -> None:
    environ = {
        "PINCLIP_MASTODON_URL": "https://social.example",
        "PINCLIP_MASTODON_TOKEN": "t0ken",
        "PINCLIP_MASTODON_WEBHOOK_SECRET": "hunter2!",
    }

    with pytest.raises(SettingsError) as raised:
        load(MastodonSettings, environ)

    [fault] = raised.value.faults
    assert fault.startswith("PINCLIP_MASTODON_WEBHOOK_SECRET")
    assert "hunter2!" not in fault


def test_the_guide_lists_the_scopes_and_the_settings_there_are() -> None:
    said = GUIDE.read_text("utf-8")

    assert set(re.findall(r"^\| `([a-z:]+)` \|", said, re.MULTILINE)) == set(SCOPES.values())
    assert set(re.findall(r"PINCLIP_MASTODON_\w+", said)) == {
        name for name, _, _ in variables(MastodonSettings)
    }


def test_settings_name_what_is_missing_and_hide_the_token() -> None:
    with pytest.raises(SettingsError) as caught:
        load(MastodonSettings, {"PINCLIP_MASTODON_URL": "social.example"})
    settings = load(
        MastodonSettings,
        {"PINCLIP_MASTODON_URL": "https://social.example", "PINCLIP_MASTODON_TOKEN": "t0ken"},
    )

    assert [fault.split()[0] for fault in caught.value.faults] == [
        "PINCLIP_MASTODON_URL",
        "PINCLIP_MASTODON_TOKEN",
    ]
    assert "t0ken" not in repr(settings)
