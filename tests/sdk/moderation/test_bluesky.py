"""The Bluesky adapter, driven by atproto, against a fake PDS and a fake Ozone on loopback."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from atproto import models

from sdk.environment import Secret, SettingsError, load, variables
from sdk.moderation.platform import (
    ActionKind,
    Capability,
    Item,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    UndoResult,
    UndoToken,
    Unsure,
)
from sdk.moderation.platforms.bluesky import PLUGIN, BlueskySettings
from sdk.moderation.testing import Case, check_platform
from tests.sdk.moderation.fakes.bluesky import (
    AUTHOR,
    BOT,
    DEFS,
    HANDLE,
    LABELER,
    LIST,
    MODERATOR,
    PASSWORD,
    FakeBluesky,
)
from tests.sdk.moderation.fakes.loopback import serving
from tests.sdk.moderation.playing import doing, items, within

GUIDE = Path(__file__).parents[3] / "docs/guides/bluesky.md"


class BlueskyStage:
    """The conformance suite's way to the fake."""

    skips: Mapping[Case, str] = {Case.EDIT: "Posts of Bluesky cannot be edited."}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, fake: FakeBluesky, url: str) -> None:
        self.fake = fake
        self.settings = BlueskySettings(
            bluesky_url=url,
            bluesky_handle=HANDLE,
            bluesky_password=Secret(PASSWORD),
            bluesky_labeler=LABELER,
            bluesky_feed=LIST,
            bluesky_poll_seconds=0.02,
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
        raise NotImplementedError

    async def delete(self, item_id: str) -> None:
        self.fake.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        reports = [ActionKind.REPORT] * self.fake.open_reports(item_id)
        return reports + [ActionKind.LABEL for _ in self.fake.labels(item_id)]

    async def notices(self, item_id: str) -> Sequence[str]:
        return [event["comment"] for event in self.fake.about(item_id, "modEventComment")]

    async def rate_limit(self, seconds: float) -> None:
        self.fake.limit(seconds)

    async def forbid(self) -> None:
        self.fake.is_moderator = False

    async def allow(self) -> None:
        self.fake.is_moderator = True

    async def lose_answer(self) -> None:
        self.fake.app.lose_answer()

    async def human_acts(self, item_id: str) -> None:
        self.fake.log(item_id, labelling(create=["likely-ai"]), by=MODERATOR)


def labelling(*, create: Sequence[str] = (), negate: Sequence[str] = ()) -> dict[str, object]:
    return {
        "$type": f"{DEFS}modEventLabel",
        "createLabelVals": list(create),
        "negateLabelVals": list(negate),
    }


def other(kind: str) -> dict[str, object]:
    facts = {"reportType": "com.atproto.moderation.defs#reasonOther"} if "Report" in kind else {}
    return {"$type": DEFS + kind, **facts}


@pytest.fixture
def stage() -> Iterator[BlueskyStage]:
    fake = FakeBluesky()
    with serving(fake.app) as url:
        yield BlueskyStage(fake, url)


async def acted(platform: Platform, kind: ActionKind) -> UndoToken:
    [item] = await items(platform, "", count=1)
    return await platform.apply(item, doing(kind))


def test_bluesky_conforms(
    stage: BlueskyStage, record_property: Callable[[str, object], None]
) -> None:
    report = asyncio.run(check_platform(stage))
    record_property("conformance", str(report))

    assert [one.case for one in report.outcomes if one.state == "skipped"] == [Case.EDIT]


def test_bluesky_holds_and_removes_nothing(stage: BlueskyStage) -> None:
    async def scene(platform: Platform) -> frozenset[Capability]:
        return platform.capabilities

    assert within(stage, scene) == {Capability.LABEL, Capability.REPORT, Capability.NOTIFY}


def test_items_after_a_cursor_go_back_over_pages_and_leave_out_posts_without_images(
    stage: BlueskyStage,
) -> None:
    stage.fake.page_size = 4
    seen = stage.fake.post(1)
    missed = [stage.fake.post(1) for _ in range(9)]
    stage.fake.post(0, embed="none")
    last = stage.fake.post(1)

    async def scene(platform: Platform) -> list[Item]:
        [first] = await items(platform, "", count=1)
        assert first.id == seen
        return await items(platform, first.cursor, count=10)

    assert [item.id for item in within(stage, scene)] == [*missed, last]


@pytest.mark.parametrize("embed", ["images", "gallery", "beside_a_quote"])
def test_media_has_every_image_however_the_post_holds_them(stage: BlueskyStage, embed: str) -> None:
    stage.fake.post(3, embed=embed)

    async def scene(platform: Platform) -> list[str | None]:
        [item] = await items(platform, "", count=1)
        return [media.url for media in await platform.media(item)]

    urls = within(stage, scene)
    assert len(set(urls)) == 3
    assert all(url and "feed_fullsize" in url for url in urls)


def test_a_label_says_why_and_is_negated_and_not_deleted(stage: BlueskyStage) -> None:
    uri = stage.fake.post(1)

    async def scene(platform: Platform) -> None:
        await platform.undo(await acted(platform, ActionKind.LABEL))

    within(stage, scene)
    first, second = stage.fake.about(uri, "modEventLabel")
    assert first["createLabelVals"] == second["negateLabelVals"] == ["likely-ai"]
    assert first["comment"] == f"Likely AI. [{'k' * 32}]"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([], [labelling(create=["spam"])], UndoResult.UNDONE, id="another label"),
        pytest.param([], [other("modEventAcknowledge")], UndoResult.UNDONE, id="no label"),
        pytest.param(
            [], [labelling(negate=["likely-ai"])], UndoResult.KEPT_FOR_HUMAN, id="taken off"
        ),
        pytest.param(
            [labelling(create=["likely-ai"])], [], UndoResult.KEPT_FOR_HUMAN, id="on before"
        ),
        pytest.param(
            [labelling(create=["likely-ai"]), labelling(negate=["likely-ai"])],
            [],
            UndoResult.UNDONE,
            id="on and off before",
        ),
    ],
)
def test_a_label_of_a_person_stands(
    stage: BlueskyStage,
    before: list[dict[str, object]],
    after: list[dict[str, object]],
    expected: UndoResult,
) -> None:
    uri = stage.fake.post(1)
    for event in before:
        stage.fake.log(uri, event, by=MODERATOR)

    async def scene(platform: Platform) -> UndoResult:
        token = await acted(platform, ActionKind.LABEL)
        for event in after:
            stage.fake.log(uri, event, by=MODERATOR)
        return await platform.undo(token)

    assert within(stage, scene) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([], ["modEventComment"], UndoResult.UNDONE, id="a comment"),
        pytest.param([], ["modEventAcknowledge"], UndoResult.KEPT_FOR_HUMAN, id="closed"),
        pytest.param([], ["modEventReport"], UndoResult.KEPT_FOR_HUMAN, id="reported too"),
        pytest.param(["modEventReport"], [], UndoResult.KEPT_FOR_HUMAN, id="reported before"),
        pytest.param(
            ["modEventReport", "modEventAcknowledge"], [], UndoResult.UNDONE, id="closed before"
        ),
    ],
)
def test_a_report_stays_open_for_people_who_reported_too(
    stage: BlueskyStage, before: list[str], after: list[str], expected: UndoResult
) -> None:
    uri = stage.fake.post(1)
    for kind in before:
        stage.fake.log(uri, other(kind), by=MODERATOR)

    async def scene(platform: Platform) -> UndoResult:
        token = await acted(platform, ActionKind.REPORT)
        for kind in after:
            stage.fake.log(uri, other(kind), by=MODERATOR)
        return await platform.undo(token)

    assert within(stage, scene) is expected


def test_only_the_team_is_spared(stage: BlueskyStage) -> None:
    for author in (AUTHOR, MODERATOR, BOT, LABELER):
        stage.fake.post(1, author=author)

    async def scene(platform: Platform) -> dict[str | None, bool]:
        found = await items(platform, "", count=4)
        return {item.author: await platform.exempt(item) for item in found}

    assert within(stage, scene) == {AUTHOR: False, MODERATOR: True, BOT: True, LABELER: True}


def test_a_notice_is_one_comment_for_the_moderators(stage: BlueskyStage) -> None:
    uri = stage.fake.post(1)
    notice = Notice(subject="Labelled", text="Likely AI.", appeal_url="https://p.example/apl_1")

    async def scene(platform: Platform) -> None:
        [item] = await items(platform, "", count=1)
        await platform.notify(item, notice)
        await platform.notify(item, notice)

    within(stage, scene)
    [comment] = stage.fake.about(uri, "modEventComment")
    assert comment["comment"] == "Labelled\n\nLikely AI.\n\nhttps://p.example/apl_1"


def test_a_rate_limit_says_how_long_to_wait(stage: BlueskyStage) -> None:
    stage.fake.post(1)

    async def scene(platform: Platform) -> float:
        [item] = await items(platform, "", count=1)
        stage.fake.limit(20)
        with pytest.raises(RateLimited) as caught:
            await platform.media(item)
        return caught.value.retry_after

    assert 10 < within(stage, scene) < 30


def test_a_server_that_is_down_leaves_a_write_unsure_and_not_a_read(stage: BlueskyStage) -> None:
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


def test_open_says_that_the_bot_is_not_in_the_team(stage: BlueskyStage) -> None:
    stage.fake.is_moderator = False

    async def scene(_platform: Platform) -> None:
        pass

    with pytest.raises(PermissionLost, match="moderator of the labeler's team"):
        within(stage, scene)


def test_the_guide_defines_the_label_and_lists_the_settings_there_are() -> None:
    said = GUIDE.read_text("utf-8")
    (definition,) = re.findall(r"```json\n(.*?)```", said, re.DOTALL)

    label = models.ComAtprotoLabelDefs.LabelValueDefinition(**json.loads(definition))
    assert (
        label.identifier == BlueskyStage(FakeBluesky(), "http://localhost").settings.bluesky_label
    )
    assert set(re.findall(r"PINCLIP_BLUESKY_\w+", said)) == {
        name for name, _, _ in variables(BlueskySettings)
    }


def test_settings_name_every_fault_and_hide_the_password() -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            BlueskySettings,
            {
                "PINCLIP_BLUESKY_HANDLE": HANDLE,
                "PINCLIP_BLUESKY_LABELER": "labeler.example.com",
                "PINCLIP_BLUESKY_FEED": "https://bsky.app/profile/x/lists/y",
                "PINCLIP_BLUESKY_LABEL": "likely AI",
            },
        )

    assert [fault.split()[0] for fault in caught.value.faults] == [
        "PINCLIP_BLUESKY_PASSWORD",
        "PINCLIP_BLUESKY_LABELER",
        "PINCLIP_BLUESKY_FEED",
        "PINCLIP_BLUESKY_LABEL",
    ]
    assert PASSWORD not in repr(BlueskyStage(FakeBluesky(), "http://localhost").settings)
