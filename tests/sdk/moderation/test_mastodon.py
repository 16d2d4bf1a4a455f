"""The Mastodon adapter, driven by Mastodon.py, against a fake of Mastodon's API on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

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
from sdk.moderation.platforms.mastodon import PLUGIN, MastodonSettings
from sdk.moderation.testing import Case, check_platform
from tests.sdk.moderation.fakes.loopback import serving
from tests.sdk.moderation.fakes.mastodon import SCOPES, TOKEN, FakeMastodon

GUIDE = Path(__file__).parents[3] / "docs/guides/mastodon.md"


class MastodonStage:
    """The conformance suite's way to the fake."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, fake: FakeMastodon, url: str) -> None:
        self.fake = fake
        self._settings = MastodonSettings(
            mastodon_url=url, mastodon_token=Secret(TOKEN), mastodon_poll_seconds=0.02
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Platform]:
        async with PLUGIN.open(self._settings) as platform:
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


@pytest.fixture
def stage() -> Iterator[MastodonStage]:
    fake = FakeMastodon()
    with serving(fake.app) as url:
        yield MastodonStage(fake, url)


async def items(platform: Platform, after: str | None, *, count: int) -> list[Item]:
    """Return the first items that are yielded after the cursor."""
    found: list[Item] = []
    stream: AsyncIterator[Item] = platform.items(after)
    async with asyncio.timeout(10), aclosing(stream):  # type: ignore[type-var]
        async for item in stream:
            found.append(item)
            if len(found) == count:
                break
    return found


def reporting(text: str = "Likely AI.", key: str = "k" * 32) -> Action:
    return Action(kind=ActionKind.REPORT, key=key, sha256="0" * 64, scan_id="scan_1", text=text)


def test_mastodon_conforms(stage: MastodonStage) -> None:
    stage.fake.page_size = 5  # Mastodon.py takes 2 ms to read a post

    report = asyncio.run(check_platform(stage))

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
