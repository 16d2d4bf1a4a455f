"""sdk.moderation.runner: what a bot does, never does, and takes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from benchmarks.scripted_server import AT, ScriptedServer
from sdk import AsyncClient, AuthenticationError, Verdict
from sdk.moderation import (
    Action,
    ActionKind,
    Capability,
    Decision,
    EnforceRefused,
    Item,
    Looked,
    Mode,
    Runner,
    Terms,
    UndoToken,
)
from sdk.moderation.choices import pace
from sdk.moderation.fake import MODERATOR, FakePlatform
from sdk.moderation.journal import Made, Outcome, State
from sdk.moderation.runner import enter
from sdk.wire import Appeal, AppealState, Event, EventData, EventType

from .bots import AI, CLEAR, EVERYTHING, LABEL, NOW, Bot, bot

pytestmark = pytest.mark.anyio

REMOVE = '[[rule]]\nverdict = "likely_ai"\naction = "remove"\n'
DAY = 86_400.0


class Always:
    """A policy that wants one thing, whatever the scans say."""

    def __init__(self, action: ActionKind) -> None:
        self._action = action

    def decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
        scan = looked[0].result
        return Decision(action=self._action, scan_id=getattr(scan, "id", None))


async def test_bot_labels_the_post_with_an_ai_image_and_tells_its_author(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        accused, other = await it.post(CLEAR % 1, AI % 2), await it.post(CLEAR % 3)

        assert it.place.actions(accused) == [ActionKind.LABEL]
        assert it.place.actions(other) == []
        [notice] = it.place.notices(accused)
        assert "about 1 in 100" in notice


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.REVIEW])
async def test_bot_that_may_not_act_does_nothing_and_writes_down_what_it_would(
    tmp_path: Path, mode: Mode
) -> None:
    async with bot(tmp_path, mode=mode) as it:
        post = await it.post(AI % 1)
        await it.runner.mend()

        assert it.place.marks() == []
        state = State.WOULD if mode is Mode.OBSERVE else State.WAITING
        assert [entry.item.id for entry in it.journal.entries(state)] == [post]


async def test_what_a_person_approves_is_done_and_what_they_reject_is_never_asked_again(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path, mode=Mode.REVIEW) as it:
        good, bad = await it.post(AI % 1), await it.post(AI % 2)
        keys = {entry.item.id: entry.action.key for entry in it.journal.entries(State.WAITING)}

        it.journal.approve(keys[good], by="ada", at=NOW)
        it.journal.reject(keys[bad], by="ada", at=NOW)
        await it.runner.mend()
        it.place.edit(bad, [AI % 2])
        await it.catch_up()

        assert it.place.actions(good) == [ActionKind.LABEL]
        assert it.place.actions(bad) == []
        assert it.journal.entries(State.WAITING) == []


async def test_needs_human_waits_for_one_also_when_enforcing(tmp_path: Path) -> None:
    async with bot(tmp_path, rules=f"{LABEL}needs_human = true\n") as it:
        post = await it.post(AI % 1)

        assert it.place.actions(post) == []
        assert len(it.journal.entries(State.WAITING)) == 1


@pytest.mark.parametrize(
    ("image", "most"),
    [
        (b"inconclusive:1", [ActionKind.REPORT]),
        (b"declared_ai:unsigned", [ActionKind.REPORT]),
        (b"declared_ai:untrusted", [ActionKind.REPORT]),
        (b"declared_ai:trusted", [ActionKind.REMOVE]),
        (b"no_sign_of_ai:1", []),
        (b"decode_failed:1", []),
    ],
)
async def test_no_policy_gets_more_than_the_law_allows(
    tmp_path: Path, image: bytes, most: list[ActionKind]
) -> None:
    async with bot(tmp_path, policy=Always(ActionKind.REMOVE)) as it:
        post = await it.post(image)

        assert it.place.actions(post) == most


async def test_nothing_is_removed_where_it_could_not_be_restored(tmp_path: Path) -> None:
    able = EVERYTHING - {Capability.RESTORE}
    async with bot(tmp_path, rules=REMOVE, capabilities=able) as it:
        post = await it.post(AI % 1)

        assert it.place.actions(post) == [ActionKind.QUARANTINE]


async def test_exempt_authors_are_not_even_looked_at(tmp_path: Path) -> None:
    async with bot(tmp_path, rules=f'exempt_authors = ["press"]\n{LABEL}') as it:
        posts = [await it.post(AI % 1, author=MODERATOR), await it.post(AI % 2, author="press")]

        assert it.server.looks == []
        assert [it.place.actions(post) for post in posts] == [[], []]
        seen = [it.journal.newest(post) for post in posts]
        assert [each and each.outcome for each in seen] == [Outcome.EXEMPT] * 2


async def test_edit_is_looked_at_and_the_same_image_is_not_acted_on_twice(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(CLEAR % 1)
        it.place.edit(post, [CLEAR % 1, AI % 2])
        await it.catch_up()
        it.place.edit(post, [AI % 2])
        await it.catch_up()

        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_label_goes_when_the_image_is_edited_out(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.place.edit(post, [CLEAR % 2])
        await it.catch_up()
        await it.runner.watch()

        assert it.place.actions(post) == []


async def test_item_that_is_yielded_again_is_not_asked_about_again(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        await it.post(AI % 1)
        first = await anext(it.platform.items(None))
        await it.runner.take(first)

        assert len(it.server.looks) == 1
        assert len(it.place.marks()) == 1


async def test_deleted_post_ends_the_item_and_not_the_run(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        gone = it.place.post([AI % 1])
        it.place.delete(gone)
        await it.catch_up()
        post = await it.post(AI % 2)

        seen = it.journal.newest(gone)
        assert seen is not None
        assert seen.outcome is Outcome.GONE
        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_adapter_that_breaks_ends_the_item_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakePlatform):
        async def exempt(self, item: Item) -> bool:
            if item.id == "post-1":
                raise KeyError("author")
            return False

    async with bot(tmp_path) as it:
        it.runner._platform = Broken(it.place)
        await it.post(AI % 1)
        post = await it.post(AI % 2)

        assert it.place.actions(post) == [ActionKind.LABEL]
        seen = it.journal.newest("post-1")
        assert seen is not None
        assert seen.why == "KeyError: 'author'"


async def test_action_without_an_answer_is_asked_for_again_and_done_once(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.place.lose_answer(2)
        post = await it.post(AI % 1)

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_action_that_never_has_an_answer_stays_intended_and_is_tried_later(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        it.place.lose_answer(5)
        post = await it.post(AI % 1)
        assert len(it.journal.entries(State.INTENDED)) == 1

        await it.runner.mend()  # not yet: it waits for its time
        assert len(it.journal.entries(State.INTENDED)) == 1
        it.clock.at += 301
        await it.runner.mend()

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_rate_limit_is_waited_out(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = it.place.post([AI % 1])
        item = await anext(it.platform.items(None))
        it.place.rate_limit(0.05)
        await it.runner.take(item)

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert it.clock.slept


async def test_bot_without_permission_acts_no_more_and_goes_on_looking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bot(tmp_path) as it:
        it.place.forbid()
        first = await it.post(AI % 1)
        it.place.allow()
        second = await it.post(AI % 2)

        assert it.place.marks() == []
        stance = it.journal.stance()
        assert (stance.mode, stance.fell_back[:15]) == (Mode.OBSERVE, "permission lost")
        would = [entry.item.id for entry in it.journal.entries(State.WOULD)]
        assert would == [first, second]
        assert any(record.levelno == logging.CRITICAL for record in caplog.records)


async def test_brake_ends_acting_until_a_person_says_otherwise(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        for number in range(7):
            await it.post(AI % number)
        assert len(it.place.marks()) == 5
        assert it.journal.stance().fell_back == "5 actions in 10 minutes; the brake allows 5"

        it.clock.at += 2 * DAY  # time alone does not release it
        await it.post(AI % 8)
        assert len(it.place.marks()) == 5

        policy_id = it.journal.stance().policy_id
        enter(it.journal, Mode.ENFORCE, policy_id=policy_id, now=it.clock.at, by="ada")
        it.clock.at += 1
        await it.post(AI % 9)
        assert len(it.place.marks()) == 6


async def test_brake_counts_a_day_as_well(tmp_path: Path) -> None:
    rules = f"{LABEL}[brake]\nper_10_minutes = 2\nper_day = 3\n"
    async with bot(tmp_path, rules=rules) as it:
        for number in range(5):
            await it.post(AI % number)
            it.clock.at += 601

        assert len(it.place.marks()) == 3
        assert "a day" in it.journal.stance().fell_back


async def test_restart_does_not_release_the_brake(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        for number in range(6):
            await it.post(AI % number)

    async with bot(tmp_path, mode=Mode.ENFORCE) as it:
        it.clock.at += 2 * DAY
        await it.post(AI % 7)

        assert len(it.place.marks()) == 5
        assert it.journal.stance().fell_back


async def test_what_a_person_approves_is_not_braked(tmp_path: Path) -> None:
    async with bot(tmp_path, mode=Mode.REVIEW) as it:
        for number in range(7):
            await it.post(AI % number)
        for entry in it.journal.entries(State.WAITING):
            it.journal.approve(entry.action.key, by="ada", at=NOW)
        await it.runner.mend()

        assert len(it.place.marks()) == 7


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "Nobody has had a report"),
        (Made(at=NOW, items=199, policy_id=""), "199 items; 200 are needed"),
        (Made(at=NOW - 31 * DAY, items=500, policy_id=""), "31 days old"),
        (Made(at=NOW, items=500, policy_id="another"), "Nobody has had a report"),
    ],
    ids=["none", "too few", "too old", "of another policy"],
)
async def test_nothing_is_enforced_that_nobody_has_seen(
    tmp_path: Path, made: Made | None, says: str
) -> None:
    async with (
        bot(tmp_path, mode=Mode.OBSERVE) as it,
        AsyncClient(base_url=it.server.url) as client,
    ):
        it.journal._do("DELETE FROM reports")
        if made is not None:
            it.journal.note_report(made)

        with pytest.raises(EnforceRefused, match=says):
            Runner(
                it.platform,
                Always(ActionKind.LABEL),
                client,
                it.journal,
                mode="enforce",
                terms=Terms(),
                clock=it.clock,
            )

        assert it.journal.stance().mode is Mode.OBSERVE


async def test_bot_that_died_between_intending_and_acting_acts_when_it_is_back(
    tmp_path: Path,
) -> None:
    class Dies(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            raise asyncio.CancelledError

    async with bot(tmp_path) as it:
        it.runner._platform = Dies(it.place)
        with pytest.raises(asyncio.CancelledError):
            await it.post(AI % 1)
        assert it.place.marks() == []

    async with bot(tmp_path) as it:
        await it.runner.mend()

        assert [mark.kind for mark in it.place.marks()] == ["label"]
        assert len(it.journal.entries(State.APPLIED)) == 1


async def test_bot_that_died_after_acting_does_not_act_twice(tmp_path: Path) -> None:
    class Dies(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            await super().apply(item, action)
            raise asyncio.CancelledError

    async with bot(tmp_path) as it:
        it.runner._platform = Dies(it.place)
        with pytest.raises(asyncio.CancelledError):
            await it.post(AI % 1)

    async with bot(tmp_path) as it:
        await it.runner.mend()

        assert len(it.place.marks()) == 1
        [entry] = it.journal.entries(State.APPLIED)
        assert entry.token is not None


async def test_overturned_verdict_is_found_by_asking_and_undone_with_a_notice(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.server.overturn(it.server.scan_of(AI % 1).id)

        await it.runner.watch()  # too early
        assert it.place.actions(post) == [ActionKind.LABEL]
        it.clock.at += pace(0) + 1
        await it.runner.watch()

        assert it.place.actions(post) == []
        assert "undone" in it.place.notices(post)[-1]


async def test_event_of_an_overturned_appeal_undoes_at_once_and_its_double_does_nothing(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        scan = it.server.overturn(it.server.scan_of(AI % 1).id)
        appeal = Appeal(
            id="apl_1",
            scan_id=scan.id,
            state=AppealState.OVERTURNED,
            reason="I drew it.",
            created_at=AT,
        )
        event = _event(EventType.APPEAL_DECIDED, EventData(appeal=appeal))

        assert await it.runner.handle(event) is True
        assert await it.runner.handle(event) is False

        assert it.place.actions(post) == []
        assert len(it.place.notices(post)) == 2


async def test_event_of_a_new_models_verdict_undoes_and_one_of_another_scan_does_nothing(
    tmp_path: Path,
) -> None:
    async with bot(tmp_path) as it:
        post, other = await it.post(AI % 1), await it.post(AI % 2)
        old = it.server.scan_of(AI % 1)
        new = it.server.rescore(old.id, Verdict.NO_SIGN_OF_AI)
        stranger = msgspec.structs.replace(new, id="scan_x", rescore_of="scan_y")

        for scan in (stranger, new):
            data = EventData(scan=scan, previous=Verdict.LIKELY_AI, cause="rescore")
            await it.runner.handle(_event(EventType.SCAN_VERDICT_CHANGED, data))

        assert it.place.actions(post) == []
        assert it.place.actions(other) == [ActionKind.LABEL]


async def test_gallery_keeps_its_label_while_another_image_supports_it(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1, AI % 2)
        for number, expected in ((1, [ActionKind.LABEL]), (2, [])):
            it.server.overturn(it.server.scan_of(AI % number).id)
            it.clock.at += DAY
            await it.runner.watch()

            assert it.place.actions(post) == expected


async def test_what_a_person_did_since_stands(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.place.human_acts(post)
        it.server.overturn(it.server.scan_of(AI % 1).id)
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert [entry.item.id for entry in it.journal.entries(State.KEPT)] == [post]


async def test_milder_policy_undoes_nothing_that_was_done_under_the_old_one(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)

    mild = '[[rule]]\nverdict = "likely_ai"\naction = "report"\n'
    async with bot(tmp_path, rules=mild) as it:
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_erased_scan_and_absent_server_undo_nothing(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        post = await it.post(AI % 1)
        it.server.scans.clear()
        it.clock.at += DAY
        await it.runner.watch()
        it.server.answers(503)
        it.clock.at += DAY
        await it.runner.watch()

        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_policy_that_breaks_undoes_nothing_and_does_not_end_the_run(tmp_path: Path) -> None:
    class Breaks(Always):
        def decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
            if broken:
                raise ZeroDivisionError
            return super().decide(item, looked)

    broken: list[bool] = []
    async with bot(tmp_path, policy=Breaks(ActionKind.LABEL)) as it:
        post = await it.post(AI % 1)
        broken.append(True)
        it.server.overturn(it.server.scan_of(AI % 1).id)
        it.clock.at += DAY
        await it.runner.watch()
        assert it.place.actions(post) == [ActionKind.LABEL]

        broken.clear()
        it.clock.at += DAY
        await it.runner.watch()
        assert it.place.actions(post) == []


async def test_platform_that_never_answers_holds_up_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hangs(FakePlatform):
        async def apply(self, item: Item, action: Action) -> UndoToken:
            if item.id == "post-1":
                await asyncio.Event().wait()
            return await super().apply(item, action)

    monkeypatch.setattr("sdk.moderation.runner.ANSWER_SECONDS", 0.01)
    async with bot(tmp_path) as it:
        it.runner._platform = Hangs(it.place)
        hung, post = await it.post(AI % 1), await it.post(AI % 2)

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert [entry.item.id for entry in it.journal.entries(State.INTENDED)] == [hung]


async def test_bot_that_waits_for_the_server_stops_when_it_is_told(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.server.answers(503)
        it.place.post([AI % 1])
        stop = asyncio.Event()
        running = asyncio.create_task(it.runner.run(stop))
        await _until(lambda: len(it.clock.slept) >= 3)
        stop.set()
        await asyncio.wait_for(running, 10)

        assert it.journal.cursor is None


async def test_looking_again_ends_after_thirty_days(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        await it.post(AI % 1)
        it.clock.at += 31 * DAY
        await it.runner.watch()

        assert it.journal.due(it.clock.at + 1000 * DAY) == []


async def test_server_that_is_down_is_waited_for_and_no_item_is_lost(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.server.answers(503)
        post = it.place.post([AI % 1])
        taking = asyncio.create_task(it.catch_up())
        await _until(lambda: len(it.clock.slept) >= 3)
        assert it.journal.cursor is None
        it.server.answers(None)
        await taking

        assert it.place.actions(post) == [ActionKind.LABEL]
        assert it.clock.slept[:3] == [1.0, 2.0, 4.0]


async def test_refused_key_ends_the_run_and_loses_no_item(tmp_path: Path) -> None:
    async with bot(tmp_path) as it:
        it.server.answers(401)
        it.place.post([AI % 1])

        with pytest.raises(AuthenticationError):
            await asyncio.wait_for(it.runner.run(), 10)

        assert it.journal.cursor is None


async def test_run_follows_new_posts_hears_events_and_stops_when_it_is_told(tmp_path: Path) -> None:
    class Relayed(FakePlatform):
        def __init__(self, it: Bot) -> None:
            super().__init__(it.place)
            self.heard: asyncio.Queue[Event] = asyncio.Queue()

        async def events(self) -> AsyncIterator[Event]:
            while True:
                yield await self.heard.get()

    async with bot(tmp_path) as it:
        it.runner._platform = relay = Relayed(it)
        stop = asyncio.Event()
        running = asyncio.create_task(it.runner.run(stop))
        post = it.place.post([AI % 1])
        await _until(lambda: it.place.actions(post) == [ActionKind.LABEL])

        scan = it.server.overturn(it.server.scan_of(AI % 1).id)
        data = EventData(scan=scan, previous=Verdict.LIKELY_AI, cause="appeal")
        relay.heard.put_nowait(_event(EventType.SCAN_VERDICT_CHANGED, data))
        await _until(lambda: it.place.actions(post) == [])
        stop.set()
        await asyncio.wait_for(running, 10)


async def test_run_ends_when_the_platform_has_no_more(tmp_path: Path) -> None:
    class Ends(FakePlatform):
        async def items(self, after: str | None) -> AsyncIterator[Item]:
            for _ in range(2):
                yield await anext(super().items(after))

    async with bot(tmp_path) as it:
        it.runner._platform = Ends(it.place)
        post = it.place.post([AI % 1])
        await asyncio.wait_for(it.runner.run(), 10)

        assert it.place.actions(post) == [ActionKind.LABEL]


async def test_items_that_break_off_are_followed_again_from_the_cursor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class BreaksOff(FakePlatform):
        opened = 0

        async def items(self, after: str | None) -> AsyncIterator[Item]:
            self.opened += 1
            yield await anext(super().items(after))
            if self.opened == 1:
                raise ValueError("half a message")

    async with bot(tmp_path) as it:
        it.runner._platform = BreaksOff(it.place)
        posts = [it.place.post([AI % 1]), it.place.post([AI % 2])]
        await asyncio.wait_for(it.runner.run(), 10)

        assert [len(it.place.actions(post)) for post in posts] == [1, 1]
        assert len(it.server.looks) == 2


def _event(kind: EventType, data: EventData) -> Event:
    return Event(id="evt_1", type=kind, timestamp=AT, sequence=2, data=data)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the place is looked at from outside
            await asyncio.sleep(0.01)


def test_scripted_server_is_what_the_client_takes_for_a_server() -> None:
    from sdk import Client

    with ScriptedServer() as server, Client(base_url=server.url) as client:
        scan = client.check(b"likely_ai:1")

        assert client.get(scan.id) == scan
