"""sdk.moderation.journal: what a bot wrote down is there after anything, or the loss is told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk import PinclipError, Verdict
from sdk.moderation import (
    Action,
    ActionKind,
    Decision,
    Item,
    Journal,
    JournalDamaged,
    JournalError,
    JournalInUse,
    Looked,
    Media,
    Mode,
    PlatformError,
    UndoToken,
)
from sdk.moderation.journal import Made, Outcome, Seen, Stance, State, key_of
from tests.sdk.conftest import scan

DIGEST = "0" * 64


def seen(number: int = 1, *, revision: str = "1", at: float = 100.0) -> Seen:
    """Return an item with one image that was looked at, and one that could not be."""
    found = scan(id=f"scan_{number}")
    looked = (
        Looked(Media(f"{number}/0", url="https://example.org/a.jpg"), found),
        Looked(Media(f"{number}/1"), PlatformError("It is gone.")),
    )
    return Seen(
        item=Item(id=f"post-{number}", revision=revision, cursor=str(number), author="ada"),
        outcome=Outcome.LOOKED,
        why="",
        at=at,
        decision=Decision(action=ActionKind.LABEL, scan_id=found.id, reasons=("It is so.",)),
        looked=looked,
    )


def action(number: int = 1, kind: ActionKind = ActionKind.LABEL) -> Action:
    key = key_of(f"post-{number}", DIGEST, kind)
    return Action(kind=kind, key=key, sha256=DIGEST, scan_id=f"scan_{number}", text="Because.")


def test_everything_is_there_again_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with Journal(path) as journal:
        journal.record(seen(), action=action(), state=State.INTENDED)
        token = UndoToken(kind=ActionKind.LABEL, data={"flair": "before"})
        journal.applied(action().key, token, at=101.0, look_at=400.0, is_told=True)
        journal.take_stance(Stance(mode=Mode.REVIEW, policy_id="p", since=7.0))

    with Journal(path) as journal:
        assert journal.cursor == "1"
        assert journal.knows(seen().item)
        assert journal.stance() == Stance(mode=Mode.REVIEW, policy_id="p", since=7.0)
        [entry] = journal.entries(State.APPLIED)
        assert (entry.item, entry.action, entry.token) == (seen().item, action(), token)
        [again] = journal.seen_since(0)
        assert again.decision == seen().decision
        assert again.looked[0].result == seen().looked[0].result
        failure = again.looked[1].result
        assert isinstance(failure, PinclipError)
        assert (failure.code, str(failure)) == ("platform_failed", "It is gone.")


def test_item_action_and_cursor_are_written_in_one_commit_or_not_at_all(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        nobodys = Action(kind=ActionKind.LABEL, key="k", sha256="", scan_id="scan_9", text="")

        with pytest.raises(StopIteration):  # the action rests on a scan that is not there
            journal.record(seen(), action=nobodys, state=State.INTENDED)

        assert not journal.knows(seen().item)
        assert journal.cursor is None


def test_same_item_image_and_kind_is_one_action(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        for revision in ("1", "2"):
            journal.record(seen(revision=revision), action=action(), state=State.INTENDED)

        assert len(journal.of_item("post-1")) == 1


def test_what_was_observed_only_can_be_meant_later(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        for revision, state in (("1", State.WOULD), ("2", State.INTENDED), ("3", State.WOULD)):
            journal.record(seen(revision=revision), action=action(), state=state)

        [entry] = journal.of_item("post-1")
        assert (entry.state, entry.item.revision) == (State.INTENDED, "2")


def test_only_what_is_in_force_can_fall(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.record(seen(), action=action(), state=State.WAITING)
        journal.fall(action().key, why="by hand", at=1.0)

        assert [entry.state for entry in journal.of_item("post-1")] == [State.WAITING]


def test_person_decides_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.record(seen(), action=action(), state=State.WAITING)

        assert journal.reject(action().key, by="ada", at=1.0)
        assert not journal.approve(action().key, by="bob", at=2.0)

        [entry] = journal.of_item("post-1")
        assert (entry.state, entry.by) == (State.REJECTED, "ada")


def test_report_counts_for_the_policy_it_is_about(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.note_report(Made(at=1.0, items=200, policy_id="a"))
        journal.note_report(Made(at=2.0, items=300, policy_id="a"))

        assert journal.report_made("a") == Made(at=2.0, items=300, policy_id="a")
        assert journal.report_made("b") is None


def test_items_without_an_action_are_forgotten_in_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.record(seen(1, at=1.0))
        journal.record(seen(2, at=1.0), action=action(2), state=State.APPLIED)
        journal.record(seen(3, at=50.0))

        assert journal.forget(before=10.0) == 1

        assert [each.item.id for each in journal.seen_since(0)] == ["post-2", "post-3"]


def test_second_runner_is_refused_and_a_command_beside_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with Journal(path) as first, Journal(path) as second:
        first.hold("fake")
        with pytest.raises(JournalInUse, match="Another bot"):
            second.hold("fake")

        second.note("mode", "seen", at=1.0)
        assert [name for _, name, _ in first.events()] == ["mode"]


def test_journal_is_free_again_when_its_runner_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    code = f"""
        from pathlib import Path
        from sdk.moderation import Journal
        journal = Journal(Path({str(path)!r}))
        journal.hold("fake")
        print("held", flush=True)
        input()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with Journal(path) as journal, pytest.raises(JournalInUse):
            journal.hold("fake")
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()

    with Journal(path) as journal:
        journal.hold("fake")


def test_journal_of_another_platform_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with Journal(path) as journal:
        journal.hold("discord")

    with Journal(path) as journal, pytest.raises(JournalError, match="on discord, not on reddit"):
        journal.hold("reddit")


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def _replace(path: Path) -> None:
    path.write_bytes(b"{}" * 5000)


@pytest.mark.parametrize("harm", [_cut, _empty, _scribble, _replace])
def test_damaged_journal_is_refused_and_left_as_it_is(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path = tmp_path / "bot.db"
    with Journal(path) as journal:
        journal.record(seen(), action=action(), state=State.INTENDED)
    harm(path)
    before = path.read_bytes()

    with pytest.raises(JournalDamaged, match="Put back a copy"):
        Journal(path)

    assert path.read_bytes() == before


def test_journal_that_is_gone_is_not_made_anew_over_what_is_left_of_it(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    journal = Journal(path)
    journal.record(seen())
    path.unlink()

    with pytest.raises(JournalDamaged, match="is gone"):
        Journal(path)

    journal.close()


@pytest.mark.parametrize(
    ("pragmas", "says"),
    [
        ("CREATE TABLE cookies (name)", "not the journal of a bot"),
        ("PRAGMA application_id = 1885957731; PRAGMA user_version = 9", "version 9"),
    ],
)
def test_other_file_is_told_from_a_journal(tmp_path: Path, pragmas: str, says: str) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.executescript(pragmas)
    db.close()

    with pytest.raises(JournalError, match=says):
        Journal(path)


def test_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(JournalError, match="File exists"):
        Journal(tmp_path / "file" / "bot.db")


def test_keys_are_short_the_same_always_and_differ_with_each_part() -> None:
    keys = {
        key_of(item, digest, kind)
        for item in ("a", "b")
        for digest in ("0", "1")
        for kind in ActionKind
    }

    assert len(keys) == 16
    assert key_of("a", "0", ActionKind.LABEL) == "7e6bb7b58818356b913ac3eb"
    assert all(len(key) == 24 for key in keys)


def test_looks_of_an_item_are_replaced_when_it_falls(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.record(seen(), action=action(), state=State.INTENDED)
        journal.applied(
            action().key, UndoToken(kind=ActionKind.LABEL), at=1.0, look_at=2.0, is_told=False
        )
        fresh = Looked(Media("1/0"), scan(id="scan_2", verdict="inconclusive"))
        journal.fall(action().key, why="rescored", fresh=[fresh], at=3.0)

        newest = journal.newest("post-1")
        assert newest is not None
        result = newest.looked[0].result
        assert getattr(result, "verdict", None) is Verdict.INCONCLUSIVE
        assert [entry.why for entry in journal.entries(State.UNDOING)] == ["rescored"]


def test_link_to_a_journal_leads_to_the_same_lock(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    with Journal(tmp_path / "bot.db") as journal:
        journal.hold("fake")
        link.symlink_to(tmp_path / "bot.db")
        with Journal(link) as other, pytest.raises(JournalInUse):
            other.hold("fake")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE actions SET action = x'7b'",
        "UPDATE actions SET token = '{\"kind\": 5}'",
        "UPDATE actions SET state = 'gome'",
        "UPDATE items SET item = x'ff', outcome = 'x'",
        "UPDATE facts SET value = '{' WHERE name = 'stance'",
    ],
)
def test_damage_that_sqlite_cannot_see_is_told_as_damage(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        journal.take_stance(Stance(mode=Mode.REVIEW))
        journal.record(seen(), action=action(), state=State.INTENDED)
        journal._do(damage)

        with pytest.raises(JournalDamaged, match="damaged"):
            (journal.stance(), journal.of_item("post-1"), list(journal.seen_since(0)))


def test_report_that_was_made_last_counts_whatever_its_date(tmp_path: Path) -> None:
    with Journal(tmp_path / "bot.db") as journal:
        ahead, made = (Made(at=at, items=200, policy_id="a") for at in (9e9, 1e9))
        journal.note_report(ahead)
        journal.note_report(made)

        assert journal.report_made("a") == made
