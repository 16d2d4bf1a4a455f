"""sdk.moderation.runner where things go wrong: hostile posts, junk from adapters, lost answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk import PinclipError
from sdk.moderation import (
    Action,
    ActionKind,
    Capability,
    Decision,
    Item,
    Journal,
    JournalError,
    Looked,
    Media,
    Mode,
    Notice,
    PermissionLost,
    PlatformError,
    RateLimited,
    Terms,
    UndoResult,
    UndoToken,
    Unsure,
    Wording,
)
from sdk.moderation.fake import FakePlatform
from sdk.moderation.journal import Outcome, Stance, State
from sdk.moderation.looking import LONGEST_PAUSE_SECONDS
from sdk.wire import Appeal, AppealState, Event, EventData, EventType, ScanAppeal

from .bots import AI, CLEAR, EVERYTHING, LABEL, NOW, Bot, bot

pytestmark = pytest.mark.anyio

DAY = 86_400.0
REMOVE = '[[rule]]\nverdict = "likely_ai"\naction = "remove"\n'


class Odd(FakePlatform):
    """A platform that does what a test wants, and then what it is asked for."""

    def __init__(self, it: Bot, *, after: Sequence[Exception | None] = ()) -> None:
        super().__init__(it.place)
        self.after = list(after)
        """What `apply` raises, one a call, once it has acted."""
        self.before: Exception | None = None
        """What `apply` raises instead of acting."""
        it.runner._platform = self

    async def apply(self, item: Item, action: Action) -> UndoToken:
        if self.before is not None:
            raise self.before
        token = await super().apply(item, action)
        error = self.after.pop(0) if self.after else None
        if error is not None:
            raise error
        return token


async def overturned(it: Bot, image: bytes) -> Event:
    scan = it.server.overturn(it.server.scan_of(image).id)
    appeal = Appeal(
        id="apl_1",
        scan_id=scan.id,
        state=AppealState.OVERTURNED,
        reason="I drew it.",
        created_at=scan.created_at,
    )
    return Event(
        id="evt_1",
        type=EventType.APPEAL_DECIDED,
        timestamp=scan.created_at,
        sequence=2,
        data=EventData(appeal=appeal),
    )


# Verdicts that do not hold.


async def test_edit_that_could_not_be_looked_at_undoes_nothing_and_hides_no_overturned_verdict(
    tmp_path: Path,
) -> None:
    class Fails(FakePlatform):
        async def media(self, item: Item) -> Sequence[Media]:
            if item.revision == "2":
                raise PlatformError("Not today.")
            return await super().media(item)

    async with bot(tmp_path) as it:
        it.runner._platform = Fails(it.place)
        post = await it.post(AI % 1)
        it.place.edit(post, [AI % 1])
        await it.catch_up()
        it.clock.at += DAY
        await it.runner.watch()
        assert it.place.actions(post) == [ActionKind.LABEL]

        await overturned(it, AI % 1)
        it.clock.at += DAY
        await it.runner.watch()
        assert it.place.actions(post) == []


async def test_overturned_verdict_is_undone_though_the_edited_post_could_not_be_scanned(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.place.edit(post, [b"decode_failed:1"])
        await it.catch_up()
        await overturned(it, AI % 1)
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == []


async def test_appeal_that_is_decided_after_months_is_undone_all_the_same(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.clock.at += 90 * DAY
        await it.runner.watch()

        assert await it.runner.handle(await overturned(it, AI % 1))

        assert it.place.actions(post) == []


async def test_verdict_that_changes_twice_is_undone_once_and_the_post_left_alone(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        await overturned(it, AI % 1)
        it.clock.at += DAY
        await it.runner.watch()
        old = it.server.scan_of(AI % 1)
        it.server.scans[old.id] = msgspec.structs.replace(
            old, verdict="likely_ai", appeal=msgspec.structs.replace(old.appeal, state="none")
        )
        it.place.edit(post, [AI % 1])
        await it.catch_up()
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == []
        assert len(it.place.marks(post)) == 1
        assert len(it.place.notices(post)) == 2


async def test_appeal_that_is_only_open_undoes_nothing_under_a_milder_policy(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        old = it.server.scan_of(AI % 1)
        changed = msgspec.structs.replace(old, appeal=ScanAppeal(AppealState.OPEN, "apl_1"))

    async with bot(tmp_path, rules=LABEL.replace("label", "report")) as it:
        it.server.scans[old.id] = changed
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_what_was_overturned_while_it_waited_for_a_person_is_not_done(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path, mode=Mode.REVIEW) as it:
        await it.post(AI % 1)
        await it.post(AI % 2)
        await overturned(it, AI % 1)
        it.clock.at += DAY
        for entry in it.journal.entries(State.WAITING):
            it.journal.approve(entry.action.key, by="ada", at=it.clock.at)
        await it.runner.mend()

        assert [mark.post_id for mark in it.place.marks()] == ["post-2"]
        [entry] = it.journal.entries(State.FAILED)
        assert "is inconclusive now" in entry.why


async def test_what_waited_is_not_done_while_nobody_can_tell_whether_it_still_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bot(tmp_path, mode=Mode.REVIEW) as it:
        post = await it.post(AI % 1)
        [entry] = it.journal.entries(State.WAITING)
        it.journal.approve(entry.action.key, by="ada", at=NOW)
        it.server.answers(503)
        it.clock.at += DAY
        await it.runner.mend()
        assert it.place.marks() == []

        it.server.answers(None)
        it.clock.at += DAY
        await it.runner.mend()
        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_undo_that_fails_is_done_by_the_bot_that_comes_after(tmp_path: Path) -> None:
    class Cannot(FakePlatform):
        async def undo(self, token: UndoToken) -> UndoResult:
            raise OSError("the line is cut")

    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.runner._platform = Cannot(it.place)
        await it.runner.handle(await overturned(it, AI % 1))
        assert it.place.actions(post) == [ActionKind.LABEL]

    async with bot(tmp_path) as it:
        it.clock.at += 301
        await it.runner.mend()

        assert it.place.actions(post) == []


async def test_image_that_a_person_has_settled_is_no_ground_for_anything_else(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path, mode=Mode.REVIEW) as it:
        post = await it.post(AI % 1)
        [entry] = it.journal.entries(State.WAITING)
        it.journal.reject(entry.action.key, by="ada", at=NOW)

    async with bot(tmp_path, rules=REMOVE) as it:
        it.place.edit(post, [AI % 1])
        await it.catch_up()
        assert it.place.actions(post) == []

        it.place.edit(post, [AI % 1, AI % 2])  # another image is another question
        await it.catch_up()
        assert it.place.actions(post) == [ActionKind.REMOVE]

        it.server.overturn(it.server.scan_of(AI % 2).id)
        it.clock.at += DAY
        await it.runner.watch()
        assert it.place.actions(post) == []


# What was perhaps done.


@pytest.mark.parametrize(
    "later",
    [PermissionLost("Not yours any more."), PlatformError("Never."), KeyError("id")],
    ids=["permission lost", "refused", "fault of the adapter"],
)
async def test_action_that_may_have_been_taken_is_never_written_off(
    tmp_path: Path, later: Exception
) -> None:
    async with bot(tmp_path) as it:
        odd = Odd(it, after=[Unsure("no answer"), *([later] * 3)])
        post = await it.post(AI % 1)
        assert len(it.journal.entries(State.INTENDED)) == 1

        odd.after.clear()
        it.clock.at += 2 * DAY
        await it.runner.mend()

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_fault_of_the_adapter_after_it_acted_is_not_taken_for_a_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bot(tmp_path) as it:
        Odd(it, after=[ConnectionResetError("half an answer")])
        post = await it.post(AI % 1)
        it.clock.at += DAY
        await it.runner.mend()

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_bot_killed_while_acting_keeps_the_action_when_its_permission_is_lost(
    tmp_path: Path,
) -> None:
    class Dies(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            await super().apply(item, action)
            raise asyncio.CancelledError

    async with bot(tmp_path) as it:
        it.runner._platform = Dies(it.place)
        with pytest.raises(asyncio.CancelledError):
            await it.post(AI % 1)

    async with bot(tmp_path) as it:
        it.place.forbid()
        await it.runner.mend()
        assert it.journal.stance().fell_back
        it.place.allow()
        it.clock.at += 2 * DAY
        await it.runner.mend()

        assert len(it.place.marks()) == 1
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_refusal_at_the_first_try_ends_the_action(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        Odd(it).before = PlatformError("Labels are not for this post.")
        await it.post(AI % 1)

        [entry] = it.journal.entries(State.FAILED)
        assert "Labels are not for this post." in entry.why


@pytest.mark.parametrize(
    "data",
    [{"id": 5}, {"id": object()}, {"id": "\udcff"}, None],
    ids=["int", "any", "text", "none"],
)
async def test_token_that_cannot_be_kept_spoils_no_journal(
    tmp_path: Path, data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Junk(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            token = await super().apply(item, action)
            return token if is_mended else UndoToken(kind=action.kind, data=data)

    is_mended = False
    async with bot(tmp_path) as it:
        it.runner._platform = Junk(it.place)
        post = await it.post(AI % 1)
        assert len(it.journal.entries(State.INTENDED)) == 1

        is_mended = True
        it.clock.at += 2 * DAY
        await it.runner.mend()
        assert it.place.actions(post) == [ActionKind.LABEL]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_action_that_the_platform_lost_the_way_back_from_is_not_taken(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path, rules=REMOVE, mode=Mode.REVIEW) as it:
        await it.post(AI % 1)
        [entry] = it.journal.entries(State.WAITING)
        it.journal.approve(entry.action.key, by="ada", at=NOW)
        able = EVERYTHING - {Capability.RESTORE}
        it.runner._platform = FakePlatform(it.place, capabilities=able)
        await it.runner.mend()

        assert it.place.marks() == []
        [entry] = it.journal.entries(State.FAILED)
        assert "cannot remove and restore" in entry.why


async def test_bot_does_not_run_by_a_journal_that_it_does_not_hold(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.runner._journal = Journal(it.journal.path)
        with pytest.raises(JournalError, match="not held"):
            await asyncio.wait_for(it.runner.run(), 10)
        it.runner._journal.close()


async def test_full_disk_ends_the_run_before_anything_is_done(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        [(pages,)] = it.journal._all("PRAGMA page_count")
        it.journal._all(f"PRAGMA max_page_count = {pages}")
        it.place.post([AI % 1] * 50)

        with pytest.raises(JournalError, match="full"):
            await asyncio.wait_for(it.runner.run(), 10)
        assert it.place.marks() == []
        assert it.journal.cursor is None

        it.journal._all("PRAGMA max_page_count = 100000")
        await it.catch_up()
        assert [mark.kind for mark in it.place.marks()] == ["label"]


async def test_every_cancelled_step_leaves_one_action_and_a_way_back(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = it.place.post([AI % 1])
        for steps in range(40):
            running = asyncio.create_task(it.catch_up())
            for _ in range(steps):
                await asyncio.sleep(0.001)
            running.cancel()
            await asyncio.wait([running])
        await it.runner.mend()
        await it.catch_up()

        assert it.place.actions(post) == [ActionKind.LABEL]
        [entry] = it.journal.entries(State.APPLIED)
        assert entry.token is not None


# Brakes.


async def test_policy_that_nobody_had_a_report_of_is_not_enforced_by_the_bot_that_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bot(tmp_path, mode=Mode.OBSERVE) as it:
        it.journal.take_stance(Stance(mode=Mode.ENFORCE, policy_id="the edited file", since=NOW))
        await it.post(AI % 1)
        await it.post(AI % 2)

        assert it.place.marks() == []
        assert len(it.journal.entries(State.WOULD)) == 2
        said = [each.message for each in caplog.records if "other_policy" in each.message]
        assert len(said) == 1


async def test_clock_that_is_put_back_does_not_release_the_brake(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.clock.at -= DAY
        for number in range(7):
            await it.post(AI % number)

        assert len(it.place.marks()) == 5


async def test_clock_that_is_put_back_holds_up_no_undo(tmp_path: Path) -> None:
    class Cannot(FakePlatform):
        async def undo(self, token: UndoToken) -> UndoResult:
            raise OSError("the line is cut")

    async with bot(tmp_path) as it:
        it.clock.at += 365 * DAY
        first, second = await it.post(AI % 1), await it.post(AI % 2)
        it.runner._platform = Cannot(it.place)
        await it.runner.handle(await overturned(it, AI % 1))
        it.runner._platform = FakePlatform(it.place)

        it.clock.at = NOW
        await overturned(it, AI % 2)
        await it.runner.mend()
        await it.runner.watch()

        assert it.place.actions(first) == it.place.actions(second) == []


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, -5.0])
async def test_platform_that_asks_for_absurd_patience_is_asked_again_in_time(
    tmp_path: Path, seconds: float
) -> None:
    async with bot(tmp_path) as it:
        Odd(it, after=[RateLimited("Wait.", retry_after=seconds)])
        post = await it.post(AI % 1)

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert 1.0 <= max(it.clock.slept) <= LONGEST_PAUSE_SECONDS


# Notices.


async def test_notice_without_an_answer_is_not_sent_again(tmp_path: Path) -> None:
    class Loses(FakePlatform):
        async def notify(self, item: Item, notice: Notice) -> None:
            await super().notify(item, notice)
            raise Unsure("no answer")

    async with bot(tmp_path) as it:
        it.runner._platform = Loses(it.place)
        post = await it.post(AI % 1)
        await it.runner.mend()

        assert len(it.place.notices(post)) == 1


async def test_notice_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.runner._terms = Terms(
            policy_id=it.journal.stance().policy_id, wording=Wording(acted="{why!z}")
        )
        post = await it.post(AI % 1)

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert it.journal.unread() == []


# Strangers' text, and adapters' junk.


class Feeds(FakePlatform):
    """Gives these items instead of its own."""

    def __init__(self, it: Bot, **junk: Any) -> None:
        super().__init__(it.place)
        self.junk = junk

    def of(self, post: str) -> Item:
        return Item(**{"id": post, "revision": "1", "cursor": "1", **self.junk})


@pytest.mark.parametrize(
    "junk",
    [
        {"author": "\udcff\x1b[31m" * 1000},
        {"url": "https://example.org/\udcff"},
        {"author": "a" * 5_000_000},
    ],
    ids=["author", "url", "long"],
)
async def test_post_with_a_hostile_author_or_address_is_moderated_like_any_other(
    tmp_path: Path, junk: dict[str, Any]
) -> None:
    async with bot(tmp_path) as it:
        post = it.place.post([AI % 1])
        await it.runner.take(Feeds(it, **junk).of(post))

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert [seen.item.id for seen in it.journal.seen_since(0)] == [post]


@pytest.mark.parametrize(
    "junk",
    [{"author": 5}, {"extra": {"channel": 7}}, {"revision": None}, {"id": "\udcff"}, {"id": 3}],
    ids=["author", "extra", "revision", "text", "id"],
)
async def test_item_that_is_none_is_left_out_and_spoils_no_journal(
    tmp_path: Path, junk: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with bot(tmp_path) as it:
        await it.runner.take(Feeds(it, **junk).of(it.place.post([AI % 1])))
        assert it.place.marks() == []

        post = await it.post(CLEAR % 1)
        assert post in [seen.item.id for seen in it.journal.seen_since(0)]
        assert any(record.levelno == logging.ERROR for record in caplog.records)


async def test_gallery_of_fifty_has_a_scan_or_a_reason_for_each_image(tmp_path: Path) -> None:
    class Gallery(FakePlatform):
        async def media(self, item: Item) -> Sequence[Media]:
            good = list(await super().media(item))
            address = "https://example.org/\udcff"  # a picture, if with another name
            junk: Any = [Media("j/0", url=address), Media("j/1"), Media("j/2", load=_raises)]
            odd: Any = [Media(7, url=8), Media("\udcff", load=_surprise)]  # type: ignore[arg-type]
            return [*junk, *odd, *good]

    async with bot(tmp_path) as it:
        it.runner._platform = Gallery(it.place)
        post = await it.post(*(CLEAR % number for number in range(49)), AI % 1)

        seen = it.journal.newest(post)
        assert seen is not None
        assert (seen.outcome, len(seen.looked)) == (Outcome.LOOKED, 55)
        assert sum(isinstance(each.result, PinclipError) for each in seen.looked) == 4
        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_same_image_in_two_posts_and_twice_in_one_is_acted_on_once_in_each(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        posts = [await it.post(AI % 1, AI % 1), await it.post(AI % 1)]
        assert [it.place.actions(post) for post in posts] == [[ActionKind.LABEL]] * 2

        for scan_id in list(it.server.scans):  # as the server does for all scans of the image
            it.server.overturn(scan_id)
        it.clock.at += DAY
        await it.runner.watch()
        assert [it.place.actions(post) for post in posts] == [[], []]


@pytest.mark.parametrize("raised", [PinclipError("no"), ValueError("\udcff\x1b[2J")])
async def test_policy_that_raises_whatever_ends_the_item_and_not_the_run(
    tmp_path: Path, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pytest keeps of a log, xdist sends on, and no lone surrogate can be sent.
    monkeypatch.setattr(logging.getLogger("pinclip.bot"), "propagate", False)

    class Raises:
        def decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
            raise raised

    async with bot(tmp_path, policy=Raises()) as it:
        post = await it.post(AI % 1)

        seen = it.journal.newest(post)
        assert seen is not None
        assert seen.outcome is Outcome.FAILED


async def test_error_of_the_platform_with_a_strangers_text_can_be_written_down(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        Odd(it).before = PlatformError("\udcff\x1b[2J" * 10_000)
        await it.post(AI % 1)

        [entry] = it.journal.entries(State.FAILED)
        assert entry.why.isprintable()
        assert len(entry.why) < 2000


async def _raises() -> bytes:
    raise KeyError("url")


async def _surprise() -> Any:
    return "no bytes"
