"""`pinclip bot`: what people do with a bot, on a platform that another package brings."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.scripted_server import ScriptedServer
from sdk.environment import inherited
from sdk.moderation import ActionKind, Journal, Mode
from sdk.moderation.command import _Printable, main
from sdk.moderation.fake import FakePlace
from sdk.moderation.journal import Made, State

from .bots import AI, CLEAR, LABEL

PACKAGE = {
    "testbot.py": """\
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from sdk.environment import Secret
from sdk.moderation import PermissionLost, Plugin
from sdk.moderation.fake import FakePlace, FakePlatform


class Settings(Struct, frozen=True, kw_only=True):
    testbot_place: Path
    testbot_token: Secret = Secret("good")


@asynccontextmanager
async def opened(settings):
    if settings.testbot_token != "good":
        raise PermissionLost("The token is not known here.", hint="Make another.")
    place = FakePlace(settings.testbot_place)
    try:
        yield FakePlatform(place)
    finally:
        place.close()


PLUGIN = Plugin(Settings, opened)


class Nothing:
    def decide(self, item, looked):
        raise NotImplementedError


def policy():
    return Nothing()


def raises():
    raise KeyError("rules")
""",
    "broken.py": "1 / 0\n",
    "needs_more.py": "import a_library_that_nobody_has\n",
    "testbot-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: testbot\nVersion: 1.5\n",
    "testbot-1.5.dist-info/entry_points.txt": """\
[pinclip.platforms]
testbot = testbot:PLUGIN
needy = needs_more:PLUGIN
odd = testbot:policy
[pinclip.policies]
quiet = testbot:policy
raises = testbot:raises
broken = broken:policy
""",
}


class Shop:
    """A folder with a bot's journal, its platform and policies, and a server."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.folder = folder
        self.server = server
        self.place = FakePlace(folder / "place.db")
        self.path = folder / "pinclip-bot.db"
        self.policy = folder / "policy.toml"
        self.policy.write_text(LABEL)

    def journal(self) -> Journal:
        return Journal(self.path)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a bot in a process of its own."""
        code = "import sys; from sdk.moderation.command import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.Popen(
            [sys.executable, "-c", code, "run", "testbot", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=inherited(
                PYTHONPATH=f"{self.folder}:{Path(__file__).parents[3]}",
                PINCLIP_BASE_URL=self.server.url,
                PINCLIP_TESTBOT_PLACE=str(self.place_path),
            ),
        )

    @property
    def place_path(self) -> Path:
        return self.folder / "place.db"

    def run(self, posts: int, *arguments: str) -> str:
        """Run a bot until it has handled so many posts; return what it said."""
        child = self.start(*arguments)
        try:
            _until(lambda: self._handled() >= posts, child)
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=30)
        finally:
            child.kill()
            child.wait()
        assert child.returncode == 0, said
        return said

    def _handled(self) -> int:
        if not self.path.exists():
            return 0
        with self.journal() as journal:
            return int(journal.cursor or 0) if not journal.unfinished(float("inf")) else 0


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with ScriptedServer() as server:
        made = Shop(tmp_path, server)
        monkeypatch.setenv("PINCLIP_BASE_URL", server.url)
        monkeypatch.setenv("PINCLIP_TESTBOT_PLACE", str(made.place_path))
        yield made
        made.place.close()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command; returns its status, stdout and stderr."""

    def told(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return told


Told = Callable[..., tuple[int, str, str]]


def test_bot_goes_from_observing_by_a_report_to_enforcing_and_back(shop: Shop, told: Told) -> None:
    post = shop.place.post([AI % 1])
    said = shop.run(1, "--policy", str(shop.policy))
    assert "INFO item item=post-1 outcome=looked action=label state=would" in said
    assert shop.place.marks() == []

    status, out, _ = told("report", "--json")
    report = msgspec.json.decode(out)
    assert (status, report["actions"]) == (0, {"label": 1})
    status, _, err = told("mode", "enforce")
    assert status == 2
    assert "1 items; 200 are needed" in err

    with shop.journal() as journal:  # as if there had been 200
        made = Made(at=time.time(), items=200, policy_id=report["policy_id"])  # noqa: TID251 - the command takes this machine's
        journal.note_report(made)
    assert told("mode", "enforce")[0] == 0
    other = shop.place.post([AI % 2])
    shop.run(2)
    assert shop.place.actions(post) == []
    assert shop.place.actions(other) == [ActionKind.LABEL]

    status, out, _ = told("undo", other)
    assert status == 0
    assert " undone label: post-2 " in out
    assert shop.place.actions(other) == []


def test_running_bot_takes_up_what_a_person_approves_and_undoes_what_they_say(
    shop: Shop, told: Told
) -> None:
    post = shop.place.post([AI % 1])
    child = shop.start("--policy", str(shop.policy), "--mode", "review")
    try:
        _until(lambda: shop._handled() >= 1, child)
        status, out, _ = told("review", "--json")
        waiting = msgspec.json.decode(out)
        assert (status, waiting["item_id"], waiting["action"]) == (0, post, "label")

        assert told("review", "approve", waiting["key"][:8])[0] == 0
        _until(lambda: shop.place.actions(post) == [ActionKind.LABEL], child)
        status, _, err = told("undo", "--all", "--since", "1h")
        assert (status, shop.place.actions(post)) == (0, [])
        assert "a bot is running" in err
    finally:
        child.kill()
        child.communicate()


def test_mode_changes_what_a_running_bot_does_at_once(shop: Shop, told: Told) -> None:
    shop.place.post([CLEAR % 1])
    child = shop.start("--policy", str(shop.policy))
    try:
        _until(lambda: shop._handled() >= 1, child)
        assert told("mode", "review")[0] == 0
        shop.place.post([AI % 2])
        _until(lambda: shop._handled() >= 2, child)
        with shop.journal() as journal:
            assert len(journal.entries(State.WAITING)) == 1
    finally:
        child.kill()
        child.communicate()


def test_fallen_back_bot_says_why_until_a_person_lets_it_go_on(shop: Shop, told: Told) -> None:
    with shop.journal() as journal:
        stance = msgspec.structs.replace(journal.stance(), fell_back="5 actions in 10 minutes")
        journal.take_stance(stance)

    assert told("mode")[1] == "observe (fell back: 5 actions in 10 minutes)\n"
    assert told("mode", "review")[1] == "review\n"
    with shop.journal() as journal:
        assert journal.stance().mode is Mode.REVIEW


def test_undo_that_a_moderator_forestalled_is_partly_done(shop: Shop, told: Told) -> None:
    post = shop.place.post([AI % 1])
    with shop.journal() as journal:
        shop.policy.write_text(LABEL)
    shop.run(1, "--policy", str(shop.policy), "--mode", "review")
    with shop.journal() as journal:
        [entry] = journal.entries(State.WAITING)
    told("review", "approve", entry.action.key)
    shop.run(1)
    shop.place.human_acts(post)

    status, out, _ = told("undo", post, "--json")

    assert status == 7
    assert msgspec.json.decode(out)["state"] == "kept"


def _reviewed(shop: Shop, *images: bytes) -> list[str]:
    """Return the posts of these images, and leave what is wanted of them to a person."""
    posts = [shop.place.post([image]) for image in images]
    shop.run(len(posts), "--policy", str(shop.policy), "--mode", "review")
    return posts


def test_undo_without_a_bot_does_nothing_else_that_is_pending_and_says_it_in_the_policys_words(
    shop: Shop, told: Told
) -> None:
    shop.policy.write_text(f'{LABEL}[notices]\nundone = "Entschuldigung."\n')
    post, other = _reviewed(shop, AI % 1, AI % 2)
    with shop.journal() as journal:
        keys = {entry.item.id: entry.action.key for entry in journal.entries(State.WAITING)}
    told("review", "approve", keys[post])
    shop.run(2)
    told("review", "approve", keys[other])

    assert told("undo", "--all")[0] == 0

    assert shop.place.actions(post) == shop.place.actions(other) == []
    assert "Entschuldigung." in shop.place.notices(post)[-1]
    with shop.journal() as journal:
        assert [entry.item.id for entry in journal.entries(State.INTENDED)] == [other]


def test_bot_can_be_stopped_whatever_became_of_its_policy(shop: Shop, told: Told) -> None:
    _reviewed(shop, CLEAR % 1)
    shop.policy.write_text("[[rule]\n")

    assert told("mode", "enforce")[0] == 2
    assert told("mode", "observe") == (0, "observe\n", "")


@pytest.mark.parametrize(
    ("name", "says"), [("broken", "cannot be loaded: ZeroDivisionError"), ("raises", "made: Key")]
)
def test_policy_of_a_package_that_breaks_is_told_in_a_sentence(
    shop: Shop, told: Told, name: str, says: str
) -> None:
    status, _, err = told("run", "testbot", "--policy", name)

    assert status == 3
    assert says in err


def test_undo_needs_no_policy_that_can_be_read(shop: Shop, told: Told) -> None:
    [post] = _reviewed(shop, AI % 1)
    with shop.journal() as journal:
        told("review", "approve", journal.entries(State.WAITING)[0].action.key)
    shop.run(1)
    shop.policy.unlink()

    assert told("undo", post)[0] == 0
    assert shop.place.actions(post) == []


def test_person_whom_the_machine_has_no_name_for_can_decide(
    shop: Shop, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    _reviewed(shop, AI % 1)
    monkeypatch.setattr("getpass.getuser", nobody)
    with shop.journal() as journal:
        [entry] = journal.entries(State.WAITING)

    status, _, err = told("review", "reject", entry.action.key)

    assert (status, err) == (0, f"pinclip: {entry.action.key} is rejected.\n")
    with shop.journal() as journal:
        [entry] = journal.entries(State.REJECTED)
        assert str(entry.by).startswith("user ")


def test_policy_of_another_encoding_is_misuse(shop: Shop, told: Told) -> None:
    shop.policy.write_bytes(b"# \xe4\n")

    status, _, err = told("run", "testbot", "--policy", str(shop.policy))

    assert status == 2
    assert "policy.toml: line 1 is not UTF-8" in err


def test_log_lets_no_stranger_steer_the_terminal_or_begin_a_line(capsys: Any) -> None:
    said = logging.makeLogRecord({"msg": "\x1b[2J", "exc_info": _error("a\n2026 INFO \x9b1m")})

    lines = _Printable("%(message)s").format(said).split("\n")

    assert all(line.isprintable() for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])


def test_second_signal_ends_a_bot_whose_platform_does_not_answer(tmp_path: Path) -> None:
    code = """\
import asyncio, os, signal
from sdk.moderation.command import _on_signals

async def main():
    stop = _on_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    print("stopping", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.stdout, done.returncode) == ("stopping\n", -signal.SIGTERM)


def _error(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_list_shows_platforms_and_policies_of_every_package(shop: Shop, told: Told) -> None:
    _, out, _ = told("list", "--json")

    found = [msgspec.json.decode(line) for line in out.splitlines()]
    assert {"name": "testbot", "group": "pinclip.platforms", "package": "testbot"} in found
    assert {"name": "quiet", "group": "pinclip.policies", "package": "testbot"} in found


def test_new_begins_an_adapter(shop: Shop, told: Told) -> None:
    status, out, _ = told("new", "myboard")

    assert status == 0
    assert (Path(out.strip()) / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["run", "testbt"], 2, "There is no platform 'testbt'. Did you mean testbot?"),
        (["run", "needy"], 3, "pip install --force-reinstall testbot"),
        (["run", "odd"], 3, "is not a Plugin"),
        (["run", "testbot", "--policy", "quite"], 2, "There is no policy 'quite'"),
        (["run", "testbot", "--policy", "none.toml"], 2, "none.toml: No such file"),
        (["run", "testbot", "--policy", "bad.toml"], 2, "rule 1, line 1: `action` is missing"),
        (["run", "testbot", "--mode", "enforce"], 2, "Nobody has had a report"),
        (["report"], 2, "There is no journal pinclip-bot.db"),
        (["review", "--journal", "x.db"], 2, "There is no journal x.db"),
    ],
)
def test_refusal_is_a_sentence_and_a_status(
    shop: Shop, told: Told, arguments: list[str], status: int, says: str
) -> None:
    (shop.folder / "bad.toml").write_text('[[rule]]\nverdict = "likely_ai"')

    found, out, err = told(*arguments)

    assert (found, out) == (status, "")
    assert says in err
    assert all(line.startswith("pinclip: ") for line in err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["undo", "post-9"], "Nothing that the bot did to 'post-9' is in force"),
        (["review", "approve"], "Nothing is named to approve"),
        (["review", "approve", "abc"], "No action that waits is 'abc'"),
    ],
)
def test_naming_nothing_is_misuse(shop: Shop, told: Told, arguments: list[str], says: str) -> None:
    shop.journal().close()

    status, _, err = told(*arguments)

    assert status == 2
    assert says in err


def test_settings_tokens_and_journals_at_fault_are_status_3(
    shop: Shop, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINCLIP_TESTBOT_TOKEN", "bad")
    assert _short(told("run", "testbot")) == (3, "pinclip: The token is not known here.")

    monkeypatch.delenv("PINCLIP_TESTBOT_PLACE")
    assert _short(told("run", "testbot")) == (
        3,
        "pinclip: PINCLIP_TESTBOT_PLACE is not set: set it.",
    )

    shop.path.write_bytes(b"")
    status, sentence = _short(told("report"))
    assert status == 3
    assert "is damaged: the file is empty" in sentence


def test_policy_of_a_package_can_be_named(shop: Shop, told: Told) -> None:
    shop.journal().close()

    _, out, _ = told("report", "--policy", "quiet", "--json")

    assert msgspec.json.decode(out)["policy_id"] == "quiet@1.5"


@pytest.mark.parametrize("age", ["", "12", "h", "-1h", "1y", "nanh"])
def test_age_that_is_none_is_misuse(shop: Shop, age: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", f"--since={age}"])

    assert caught.value.code == 2


def _short(answer: tuple[int, str, str]) -> tuple[int, str]:
    status, _, err = answer
    return status, err.split(" Make")[0].strip()


def _until(holds: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)  # noqa: TID251 - another process is waited for
