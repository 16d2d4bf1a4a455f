"""The Lemmy adapter, driven by pythorhead, against a fake of Lemmy's API on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yaml

from sdk.environment import Secret, SettingsError, load, variables
from sdk.moderation.platform import (
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    UndoResult,
    UndoToken,
    Unsure,
)
from sdk.moderation.platforms.lemmy import PLUGIN, LemmySettings
from sdk.moderation.testing import Case, check_platform
from tests.sdk.moderation.fakes.lemmy import AUTHOR, BOT, MODERATOR, PASSWORD, USER, FakeLemmy
from tests.sdk.moderation.fakes.loopback import serving
from tests.sdk.moderation.playing import doing, items, within

GUIDE = Path(__file__).parents[3] / "docs/guides/lemmy.md"


class LemmyStage:
    """The conformance suite's way to the fake."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, fake: FakeLemmy, url: str) -> None:
        self.fake = fake
        self.settings = LemmySettings(
            lemmy_url=url,
            lemmy_user=USER,
            lemmy_password=Secret(PASSWORD),
            lemmy_poll_seconds=0.02,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Platform]:
        async with PLUGIN.open(self.settings) as platform:
            self.fake.looks.expect_one()
            yield platform
        self.fake.looks.expect_none()

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        await self.fake.looks.wait()
        return self.fake.post(len(images), author=MODERATOR if is_exempt else AUTHOR)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self.fake.edit(item_id, len(images))

    async def delete(self, item_id: str) -> None:
        self.fake.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        number = int(item_id)
        reports = [ActionKind.REPORT for _ in self.fake.reports_of(number, by=BOT)]
        return reports + [ActionKind.REMOVE] * self.fake.posts[number]["removed"]

    async def notices(self, item_id: str) -> Sequence[str]:
        return [message["content"] for message in self.fake.messages]

    async def rate_limit(self, seconds: float) -> None:
        self.fake.limit(seconds)

    async def forbid(self) -> None:
        self.fake.is_moderator = False

    async def allow(self) -> None:
        self.fake.is_moderator = True

    async def lose_answer(self) -> None:
        self.fake.app.lose_answer()

    async def human_acts(self, item_id: str) -> None:
        self.fake.remove(int(item_id), True, by=MODERATOR)


@pytest.fixture
def stage() -> Iterator[LemmyStage]:
    fake = FakeLemmy()
    with serving(fake.app) as url:
        yield LemmyStage(fake, url)


async def acted(platform: Platform, kind: ActionKind, key: str = "k" * 32) -> UndoToken:
    [item] = await items(platform, "", count=1)
    return await platform.apply(item, doing(kind, key))


def test_lemmy_conforms(stage: LemmyStage, record_property: Callable[[str, object], None]) -> None:
    report = asyncio.run(check_platform(stage))
    record_property("conformance", str(report))

    assert not [outcome for outcome in report.outcomes if outcome.state == "skipped"]


def test_lemmy_labels_and_holds_nothing(stage: LemmyStage) -> None:
    async def scene(platform: Platform) -> frozenset[Capability]:
        return platform.capabilities

    reportable = {Capability.REPORT, Capability.NOTIFY}
    assert within(stage, scene) == reportable | {Capability.REMOVE, Capability.RESTORE}


def test_items_after_a_cursor_go_back_over_pages_and_tell_of_edits_meanwhile(
    stage: LemmyStage,
) -> None:
    stage.fake.page_size = 4
    pinned, seen = stage.fake.post(1, featured=True), stage.fake.post(1)

    async def scene(platform: Platform) -> list[str]:
        [_, last] = await items(platform, "", count=2)
        missed = [stage.fake.post(1) for _ in range(15)]
        stage.fake.edit(seen, 1)
        stage.fake.edit(missed[-1], 2)
        stage.fake.edit(pinned, 1)
        found = [item.id for item in await items(platform, last.cursor, count=17)]
        assert found == [*missed[:-1], seen, missed[-1], pinned]  # by the last change
        return found

    assert len(within(stage, scene)) == 17


def test_items_leave_out_posts_without_images_and_those_that_are_hidden(stage: LemmyStage) -> None:
    stage.fake.post(0, url="https://news.example/story", body="No [image](https://x.example/a.png)")
    stage.fake.post(1, removed=True)
    stage.fake.post(1, deleted=True)
    shown = stage.fake.post(1)

    async def scene(platform: Platform) -> list[str]:
        return [item.id for item in await items(platform, "", count=1)]

    assert within(stage, scene) == [shown]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"url": "https://i.example/A.JPG?x=1"}, ["https://i.example/A.JPG?x=1"]),
        (
            {"url": "https://i.example/7", "url_content_type": "image/webp"},
            ["https://i.example/7"],
        ),
        (
            {"url": "https://l.example/pictrs/image/7", "body": "![](https://i.example/b)"},
            ["https://l.example/pictrs/image/7", "https://i.example/b"],
        ),
        (
            {"url": None, "body": '![a [b](https://i.example/c.png "title") ![](ftp://x/y.png)'},
            ["https://i.example/c.png"],
        ),
        (
            {"url": "https://i.example/d.png", "body": "![same](https://i.example/d.png)"},
            ["https://i.example/d.png"],
        ),
    ],
    ids=["by name", "by type", "pict-rs and text", "text alone", "the same twice"],
)
def test_media_has_the_linked_image_and_those_in_the_text(
    stage: LemmyStage, content: dict[str, str | None], expected: list[str]
) -> None:
    stage.fake.post(0, **content)

    async def scene(platform: Platform) -> list[str | None]:
        [item] = await items(platform, "", count=1)
        return [media.url for media in await platform.media(item)]

    assert within(stage, scene) == expected


def test_a_removal_says_why_and_is_restored_and_never_purged(stage: LemmyStage) -> None:
    stage.fake.post(1)

    async def scene(platform: Platform) -> None:
        await platform.undo(await acted(platform, ActionKind.REMOVE))

    within(stage, scene)
    removed, restored = [entry["mod_remove_post"] for entry in stage.fake.log]
    assert (removed["removed"], restored["removed"]) == (True, False)
    assert removed["reason"] == f"Likely AI. [{'k' * 32}]"


def test_what_a_person_had_removed_stays_removed(stage: LemmyStage) -> None:
    number = int(stage.fake.post(1))

    async def scene(platform: Platform) -> UndoResult:
        [item] = await items(platform, "", count=1)
        stage.fake.remove(number, True, by=MODERATOR)
        token = await platform.apply(item, doing(ActionKind.REMOVE))
        return await platform.undo(token)

    assert within(stage, scene) is UndoResult.KEPT_FOR_HUMAN
    assert stage.fake.posts[number]["removed"]
    assert len(stage.fake.log) == 1


def test_a_report_that_a_person_resolved_is_left_to_them(stage: LemmyStage) -> None:
    number = int(stage.fake.post(1))

    async def scene(platform: Platform) -> UndoResult:
        token = await acted(platform, ActionKind.REPORT)
        stage.fake.resolve(number, by=MODERATOR)
        await acted(platform, ActionKind.REPORT, key="another")
        return await platform.undo(token)

    assert within(stage, scene) is UndoResult.KEPT_FOR_HUMAN
    assert stage.fake.reports_of(number) == []


def test_a_report_of_ours_is_opened_again_for_another_image(stage: LemmyStage) -> None:
    number = int(stage.fake.post(1))

    async def scene(platform: Platform) -> None:
        await platform.undo(await acted(platform, ActionKind.REPORT))
        assert stage.fake.reports_of(number) == []
        await acted(platform, ActionKind.REPORT, key="another")

    within(stage, scene)
    assert len(stage.fake.reports_of(number)) == 1


def test_a_post_that_was_purged_is_gone(stage: LemmyStage) -> None:
    identity = stage.fake.post(1)

    async def scene(platform: Platform) -> UndoResult:
        [item] = await items(platform, "", count=1)
        token = await platform.apply(item, doing(ActionKind.REMOVE))
        stage.fake.purge(identity)
        with pytest.raises(ItemGone):
            await platform.media(item)
        return await platform.undo(token)

    assert within(stage, scene) is UndoResult.GONE


def test_a_community_alone_is_watched_if_it_is_named(stage: LemmyStage) -> None:
    stage.fake.post(1)
    stage.settings = msgspec.structs.replace(stage.settings, lemmy_community="pictures")

    async def scene(platform: Platform) -> list[Item]:
        return await items(platform, "", count=1)

    assert len(within(stage, scene)) == 1


def test_a_server_that_is_down_leaves_a_write_unsure_and_not_a_read(stage: LemmyStage) -> None:
    stage.fake.post(1)

    async def scene(platform: Platform) -> None:
        [item] = await items(platform, "", count=1)
        stage.fake.is_down = True
        with pytest.raises(Unsure):
            await platform.notify(item, Notice(subject="s", text="t"))
        with pytest.raises(PlatformError) as caught:
            await platform.media(item)
        assert type(caught.value) is PlatformError

    within(stage, scene)


def test_open_says_that_the_password_is_not_taken(stage: LemmyStage) -> None:
    stage.settings = msgspec.structs.replace(stage.settings, lemmy_password=Secret("wrong"))

    async def scene(_platform: Platform) -> None:
        pass

    with pytest.raises(PermissionLost, match=r"incorrect_login.*password"):
        within(stage, scene)


def test_the_guide_lists_the_settings_there_are_and_how_pictrs_is_told() -> None:
    said = GUIDE.read_text("utf-8")
    (compose,) = re.findall(r"```yaml\n(.*?)```", said, re.DOTALL)
    (line,) = yaml.safe_load(compose)["services"]["pictrs"]["environment"]

    name, _, address = line.partition("=")
    assert name == "PICTRS__MEDIA__EXTERNAL_VALIDATION"
    assert address.endswith("/compat/pictrs/sk_...")
    assert set(re.findall(r"PINCLIP_LEMMY_\w+", said)) == {
        name for name, _, _ in variables(LemmySettings)
    }


def test_settings_name_every_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        load(LemmySettings, {"PINCLIP_LEMMY_URL": "https://lemmy.example/"})

    assert [fault.split()[0] for fault in caught.value.faults] == [
        "PINCLIP_LEMMY_URL",
        "PINCLIP_LEMMY_USER",
        "PINCLIP_LEMMY_PASSWORD",
    ]
