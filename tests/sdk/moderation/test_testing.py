"""check_platform: the FakePlatform passes every case, and each way to be wrong fails its own."""

from __future__ import annotations

import asyncio
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from sdk.moderation.fake import MODERATOR, FakePlace, FakePlatform
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    UndoResult,
    UndoToken,
    Unsure,
)
from sdk.moderation.stage import NEVER_SKIPPED
from sdk.moderation.testing import (
    Case,
    ConformanceError,
    FakeStage,
    Outcome,
    Report,
    State,
    check_platform,
    picture,
)

pytestmark = pytest.mark.anyio
QUICK = 0.4
"""Patience with what never comes, in seconds."""


class StageOf(FakeStage):
    """A FakeStage whose adapter is another."""

    def __init__(self, adapter: type[FakePlatform], place: FakePlace | None = None) -> None:
        super().__init__(place or FakePlace())
        self.adapter = adapter

    def open(self) -> AbstractAsyncContextManager[Platform]:
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Platform]:
        yield self.adapter(self.place)


async def failures(stage: FakeStage, *cases: Case, patience: float = QUICK) -> dict[Case, str]:
    """Return what the suite says of the cases that fail."""
    try:
        await check_platform(stage, cases=cases or tuple(Case), patience=patience)
    except ConformanceError as error:
        return {one.case: one.text for one in error.report.failed}
    return {}


@pytest.mark.parametrize("is_file", [False, True], ids=["memory", "file"])
async def test_fake_platform_conforms(tmp_path: Path, is_file: bool) -> None:
    place = FakePlace(tmp_path / "place.db" if is_file else None)

    report = await check_platform(FakeStage(place))

    assert [outcome.case for outcome in report.outcomes] == list(Case)
    assert {outcome.state for outcome in report.outcomes} == {State.PASSED}


# Each of these is wrong in one way that people have been wrong in.


class CanNothing(FakePlatform):
    capabilities = frozenset()


class RemovesForGood(FakePlatform):
    capabilities = frozenset({Capability.REMOVE})


class WithoutCursor(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        async for item in super().items(after):
            yield Item(id=item.id, revision=item.revision, author=item.author)


class OtherIds(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        async for item in super().items(after):
            yield Item(id=f"x{item.id}", revision=item.revision, cursor=item.cursor)


class NewestFirst(FakePlatform):
    """Looks seldom, and yields a page as it came."""

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        cursor = int(after or 0)
        while True:
            page = self.place.changed_after(cursor)
            cursor = max([cursor, *(row[0] for row in page)])
            for row in reversed(page):
                yield Item(id=row[1], revision=str(row[2]), cursor=str(row[0]))
            await asyncio.sleep(0.1)


class EndsAtOnce(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        for item in list[Item]():
            yield item


class FirstImageAlone(FakePlatform):
    async def media(self, item: Item) -> Sequence[Media]:
        return (await super().media(item))[:1]


class OneIdForAll(FakePlatform):
    async def media(self, item: Item) -> Sequence[Media]:
        return [one._replace(id="image") for one in await super().media(item)]


class LoadsTheLast(FakePlatform):
    async def media(self, item: Item) -> Sequence[Media]:
        media = await super().media(item)
        return [one._replace(load=media[-1].load) for one in media]


class NoWayToTheImage(FakePlatform):
    async def media(self, item: Item) -> Sequence[Media]:
        return [one._replace(load=None) for one in await super().media(item)]


class MissesEdits(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        async for item in super().items(after):
            if item.revision == "1":
                yield item


class OneRevision(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        async for item in super().items(after):
            yield Item(id=item.id, cursor=item.cursor)

    async def media(self, item: Item) -> Sequence[Media]:
        return await super().media(Item(id=item.id, revision="1"))


class OldImages(FakePlatform):
    async def media(self, item: Item) -> Sequence[Media]:
        return await super().media(Item(id=item.id, revision="1"))


class SparesAll(FakePlatform):
    async def exempt(self, item: Item) -> bool:
        return True


class SparesNobody(FakePlatform):
    async def exempt(self, item: Item) -> bool:
        return False


class DoesNothing(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        return UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})


class LabelsOnly(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        self.place.act(item.id, ActionKind.LABEL, action.key)
        return UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})


class LetsKeyErrorOut(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        raise KeyError("channel")


class Hangs(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        await asyncio.Event().wait()
        raise AssertionError


class SaysUndone(FakePlatform):
    async def undo(self, token: UndoToken) -> UndoResult:
        return UndoResult.UNDONE


class GoneTheSecondTime(FakePlatform):
    async def undo(self, token: UndoToken) -> UndoResult:
        mark = self._find(token.data["post"], token.data["key"])
        if mark and mark.is_undone:
            return UndoResult.GONE
        return await super().undo(token)


class IgnoresTheKey(FakePlatform):
    def _find(self, post_id: str, key: str) -> None:
        return None


class KeysInMemory(FakePlatform):
    def __init__(self, place: FakePlace) -> None:
        super().__init__(place)
        self._done: dict[str, UndoToken] = {}

    async def apply(self, item: Item, action: Action) -> UndoToken:
        if action.key not in self._done:
            self.place.act(item.id, action.kind, action.key)
        token = UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})
        return self._done.setdefault(action.key, token)


class TokensInMemory(FakePlatform):
    def __init__(self, place: FakePlace) -> None:
        super().__init__(place)
        self._tokens: dict[str, UndoToken] = {}

    async def apply(self, item: Item, action: Action) -> UndoToken:
        self._tokens[action.key] = await super().apply(item, action)
        return UndoToken(kind=action.kind, data={"key": action.key})

    async def undo(self, token: UndoToken) -> UndoResult:
        return await super().undo(self._tokens[token.data["key"]])


class BeginsWithNow(FakePlatform):
    async def items(self, after: str | None) -> AsyncIterator[Item]:
        seen = self.place.changed_after(0)
        async for item in super().items(str(seen[-1][0]) if seen else None):
            yield item


class ActsOnWhatIsGone(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except ItemGone:
            return UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})


class UndoRaisesWhereGone(FakePlatform):
    async def undo(self, token: UndoToken) -> UndoResult:
        result = await super().undo(token)
        if result is UndoResult.GONE:
            raise ItemGone("Deleted.")
        return result


class Fails(FakePlatform):
    """Says the same of everything that the platform refuses."""

    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except PlatformError:
            raise PlatformError("It did not work.") from None


class LongestPause(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except RateLimited:
            raise RateLimited("Wait.", retry_after=3600) from None


class NoPause(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except RateLimited:
            raise RateLimited("Wait.", retry_after=0.001) from None


class SwallowsRefusals(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except PermissionLost:
            return UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})


class ActsAgainWhenUnsure(FakePlatform):
    async def apply(self, item: Item, action: Action) -> UndoToken:
        try:
            return await super().apply(item, action)
        except Unsure:
            self.place.act(item.id, action.kind, f"{action.key}2")
            raise


class OverrulesPeople(FakePlatform):
    async def undo(self, token: UndoToken) -> UndoResult:
        result = await super().undo(token)
        if result is UndoResult.KEPT_FOR_HUMAN:
            self.place._db.execute("UPDATE marks SET is_undone = 1")
        return result


class ForgetsPeople(FakePlatform):
    async def undo(self, token: UndoToken) -> UndoResult:
        result = await super().undo(token)
        return UndoResult.UNDONE if result is UndoResult.KEPT_FOR_HUMAN else result


class TellsTwice(FakePlatform):
    async def notify(self, item: Item, notice: Notice) -> None:
        await super().notify(item, notice)
        await super().notify(item, notice)


class LeavesNoWayToObject(FakePlatform):
    async def notify(self, item: Item, notice: Notice) -> None:
        await super().notify(item, Notice(subject=notice.subject, text=notice.text))


@pytest.mark.parametrize(
    ("adapter", "case", "told"),
    [
        (CanNothing, Case.CAPABILITIES, "at least REPORT"),
        (RemovesForGood, Case.CAPABILITIES, "QUARANTINE"),
        (WithoutCursor, Case.ITEMS, "Item.cursor"),
        (OtherIds, Case.ITEMS, "Item.id"),
        (EndsAtOnce, Case.ITEMS, "wait for more"),
        (NewestFirst, Case.ITEMS, "oldest first"),
        (FirstImageAlone, Case.GALLERY, "1 of 3"),
        (OneIdForAll, Case.GALLERY, "Media.id"),
        (LoadsTheLast, Case.GALLERY, "its own image"),
        (NoWayToTheImage, Case.GALLERY, "`load`"),
        (MissesEdits, Case.EDIT, "Item.revision"),
        (OneRevision, Case.EDIT, "Item.revision"),
        (OldImages, Case.EDIT, "1 of 2"),
        (SparesAll, Case.EXEMPT, "ordinary"),
        (SparesNobody, Case.EXEMPT, "moderator"),
        (DoesNothing, Case.APPLY, "report is not in force"),
        (LabelsOnly, Case.APPLY, "label in force"),
        (LetsKeyErrorOut, Case.APPLY, "KeyError"),
        (Hangs, Case.APPLY, "timeout"),
        (SaysUndone, Case.UNDO, "not undone"),
        (GoneTheSecondTime, Case.UNDO, "second time"),
        (IgnoresTheKey, Case.DUPLICATE, "must be one action"),
        (KeysInMemory, Case.RESTART, "not in memory"),
        (TokensInMemory, Case.RESTART, "KeyError"),
        (BeginsWithNow, Case.RESUME, "cursor"),
        (ActsOnWhatIsGone, Case.DELETED, "ItemGone"),
        (UndoRaisesWhereGone, Case.DELETED, "GONE"),
        (Fails, Case.RATE_LIMIT, "retry_after"),
        (LongestPause, Case.RATE_LIMIT, "3600"),
        (NoPause, Case.RATE_LIMIT, "too short"),
        (Fails, Case.PERMISSION, "PlatformError"),
        (SwallowsRefusals, Case.PERMISSION, "nothing"),
        (Fails, Case.LOST_ANSWER, "Unsure"),
        (ActsAgainWhenUnsure, Case.LOST_ANSWER, "in force once"),
        (OverrulesPeople, Case.HUMAN, "overruled"),
        (ForgetsPeople, Case.HUMAN, "KEPT_FOR_HUMAN"),
        (TellsTwice, Case.NOTIFY, "once"),
        (LeavesNoWayToObject, Case.NOTIFY, "appeal_url"),
    ],
)
async def test_adapter_that_is_wrong_fails_the_case_that_is_about_it(
    adapter: type[FakePlatform], case: Case, told: str
) -> None:
    found = await failures(StageOf(adapter), case)

    assert told in found[case]


def test_every_case_has_an_adapter_that_fails_it() -> None:
    marks = test_adapter_that_is_wrong_fails_the_case_that_is_about_it.pytestmark  # type: ignore[attr-defined]
    rows = next(mark.args[1] for mark in marks if mark.name == "parametrize")

    assert {row[1] for row in rows} == set(Case)


async def test_conformance_error_tells_all_that_fails_and_no_more() -> None:
    with pytest.raises(ConformanceError) as caught:
        await check_platform(StageOf(SparesNobody), cases=[Case.ITEMS, Case.EXEMPT])

    assert "1 of 2 cases fail" in str(caught.value)
    assert [one.state for one in caught.value.report.outcomes] == [State.PASSED, State.FAILED]


class Reporting(FakePlatform):
    """Can report, and cannot take a report back."""

    capabilities = frozenset({Capability.REPORT})

    async def undo(self, token: UndoToken) -> UndoResult:
        return UndoResult.KEPT_FOR_HUMAN


async def test_platform_that_can_only_report_conforms_when_it_says_so() -> None:
    stage = StageOf(Reporting)
    stage.irrevocable = frozenset({ActionKind.REPORT})

    report = await check_platform(stage)

    skipped = {one.case for one in report.outcomes if one.state is State.SKIPPED}
    assert skipped == {Case.HUMAN, Case.NOTIFY}


async def test_nothing_but_a_report_may_be_irrevocable() -> None:
    stage = StageOf(FakePlatform)
    stage.irrevocable = frozenset({ActionKind.REMOVE})

    assert "way back" in (await failures(stage, Case.CAPABILITIES))[Case.CAPABILITIES]


async def test_case_is_skipped_for_the_reason_that_the_stage_gives() -> None:
    stage = StageOf(OneRevision)
    stage.skips = {Case.EDIT: "Posts cannot be edited here."}

    report = await check_platform(stage, cases=[Case.EDIT])

    assert report.outcomes == (Outcome(Case.EDIT, State.SKIPPED, "Posts cannot be edited here."),)
    assert str(report) == "skipped  edit          Posts cannot be edited here."


@pytest.mark.parametrize("case", sorted(NEVER_SKIPPED))
async def test_what_no_bot_can_do_without_is_not_skipped(case: Case) -> None:
    stage = StageOf(FakePlatform)
    stage.skips = {case: "We have no time."}

    assert "skips" in (await failures(stage, case))[case]


class Generous(FakeStage):
    """A stage that limits nothing."""

    async def rate_limit(self, seconds: float) -> None:
        pass


async def test_stage_that_refuses_nothing_is_found_out() -> None:
    found = await failures(Generous(FakePlace()), Case.RATE_LIMIT)

    assert "Stage.rate_limit" in found[Case.RATE_LIMIT]


async def test_adapter_that_waits_by_itself_conforms() -> None:
    class Patient(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            await asyncio.sleep(self.place.is_limited())
            return await super().apply(item, action)

    assert await failures(StageOf(Patient), Case.RATE_LIMIT, patience=10) == {}


def test_report_is_a_table() -> None:
    report = Report((Outcome(Case.ITEMS, State.PASSED), Outcome(Case.EDIT, State.FAILED, "Do.")))

    assert str(report).splitlines() == ["passed   items", "failed   edit          Do."]


def test_picture_is_a_png_of_the_shade_that_was_asked_for() -> None:
    data = picture(200, mark=7)

    body = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    pixels = zlib.decompress(body)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (64, 64)
    assert (pixels[1], set(pixels[2:65])) == (7, {200})
    assert len({picture(shade, mark=mark) for shade in (0, 255) for mark in (0, 1)}) == 4


# The place itself: what the runner's tests stand on.


def test_place_in_a_file_outlives_a_killed_process_and_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "place.db"
    place = FakePlace(path)
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from sdk.moderation.fake import FakePlace\n"
        "from sdk.moderation.platform import ActionKind\n"
        "place = FakePlace(Path(sys.argv[1]))\n"
        "post = place.post([b'one', 'https://example.org/two.png'])\n"
        "place.act(post, ActionKind.LABEL, 'k')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    assert done.returncode == -signal.SIGKILL
    [(_, post_id, revision, author)] = place.changed_after(0)
    assert (revision, author) == (1, "somebody")
    assert place.images(post_id, revision=1) == [b"one", "https://example.org/two.png"]
    assert place.actions(post_id) == [ActionKind.LABEL]
    place.close()


def test_place_takes_an_action_as_often_as_it_is_asked_for() -> None:
    place = FakePlace()
    post_id = place.post([b"x"])

    for _ in range(2):
        place.act(post_id, ActionKind.REPORT, "k")

    assert place.actions(post_id) == [ActionKind.REPORT, ActionKind.REPORT]


async def test_what_a_person_decided_holds_until_the_bot_acts_anew() -> None:
    place = FakePlace()
    post_id = place.post([b"x"], author=MODERATOR)
    place.act(post_id, ActionKind.REPORT, "before")
    place.human_acts(post_id)
    place.act(post_id, ActionKind.LABEL, "after")

    before, after = place.marks(post_id)

    assert not place.take_back(before)
    assert place.take_back(after)


async def test_url_of_a_post_is_given_as_it_is() -> None:
    place = FakePlace()
    item = Item(id=place.post(["https://example.org/a.png"]), revision="1")

    assert list(await FakePlatform(place).media(item)) == [
        Media(f"{item.id}/0", url="https://example.org/a.png")
    ]
