"""What a community does with a bot, from the first look to the day when a verdict falls.

The bot runs from a clean environment with the built wheel, against `pinclip up`. It follows a
pipe, as README.md shows it: items on stdin, what to do on stdout.
"""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sdk
from benchmarks.running_system import RunningSystem, free_port
from sdk import Verdict
from sdk.environment import inherited
from sdk.moderation.report import REPORT_ITEMS
from tests.journeys.clean_venv import clean_venv
from tests.journeys.conftest import FIXED
from tests.journeys.pictures import picture

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN_SECONDS = 150.0
POLICY = """
[[rule]]
verdict = "likely_ai"
action = "label"

[notices]
appeal_url = "https://community.example/appeal"
"""
LABELLED = Path(__file__).parents[3] / "shared" / "data"
"""Labelled images beside the checkout, for those who have them."""
TRIED = 40
"""Images among which there is one that the default model calls likely AI."""


class World(NamedTuple):
    """A system that runs, a picture that it calls likely AI, and one that it does not."""

    system: RunningSystem
    ai: Path
    real: Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean_venv(tmp_path_factory.mktemp("clean"))


@pytest.fixture(params=["fixed", "default"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    is_fixed = request.param == "fixed"
    if not is_fixed and not (LABELLED / "manifest.csv").exists():
        pytest.skip("no labelled images beside the checkout")
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        RunningSystem(Path(folder), free_port(), **(FIXED if is_fixed else {})) as system,
    ):
        yield _drawn(system, tmp_path) if is_fixed else _labelled(system)


def _drawn(system: RunningSystem, folder: Path) -> World:
    ai, real = folder / "white.png", folder / "black.png"
    ai.write_bytes(picture(255))
    real.write_bytes(picture(0))
    return World(system, ai, real)


def _labelled(system: RunningSystem) -> World:
    """Return the first AI and the first real image that the default model sees as such."""
    with (LABELLED / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["style"] == "photo"]

    def first(label: str, verdict: Verdict) -> Path:
        of_label = [row["file"] for row in rows if row["label"] == label]
        images = [LABELLED / "images" / name for name in of_label[:: len(of_label) // TRIED]]
        return next(path for path in images if client.check(path, wait=60).verdict is verdict)

    with sdk.Client(base_url=system.base_url) as client:
        return World(system, first("ai", Verdict.LIKELY_AI), first("real", Verdict.NO_SIGN_OF_AI))


class Bot:
    """`pinclip bot run jsonl` in a process of its own, told items and read line by line."""

    def __init__(self, argv: list[str], environ: dict[str, str], folder: Path) -> None:
        self.orders: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            argv,
            env=environ,
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._order)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.said.append)),
        ]
        for thread in self._threads:
            thread.start()

    def tell(self, **item: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(item) + "\n")
        self._process.stdin.flush()

    def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first order that is so, once there is one."""
        with self._news:
            self._news.wait_for(lambda: any(map(what, self.orders)), timeout=WITHIN_SECONDS)
            found = next(filter(what, self.orders), None)
        assert found is not None, f"the bot wrote {self.orders} and said {self.said[-5:]}"
        return found

    def end(self) -> int:
        """End its stdin; return its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(WITHIN_SECONDS)
        for thread in self._threads:
            thread.join()
        return status

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _order(self, line: str) -> None:
        with self._news:
            self.orders.append(json.loads(line))
            self._news.notify_all()

    def _read(self, stream: Any, take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                take(line)


class Desk:
    """A person's terminal: `pinclip bot`, and a bot, in a folder with a policy."""

    def __init__(self, programs: Path, folder: Path, base_url: str) -> None:
        self._pinclip = str(programs / "pinclip")
        self._folder = folder
        self._environ = {
            "PATH": inherited()["PATH"],
            "PINCLIP_BASE_URL": base_url,
            "HOME": str(folder),
        }
        (folder / "policy.toml").write_text(POLICY)

    def bot(self) -> Bot:
        argv = [self._pinclip, "bot", "run", "jsonl", "--policy", "policy.toml"]
        return Bot(argv, self._environ, self._folder)

    def says(self, *words: str, status: int = 0) -> str:
        """Run a command, which must end with this status; return what it printed."""
        done = subprocess.run(
            [self._pinclip, "bot", *words],
            env=self._environ,
            cwd=self._folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        return done.stdout


def overturned(base_url: str, scan_id: str) -> None:
    """Let a person say that a verdict is wrong, and another agree."""
    with sdk.Client(base_url=base_url) as people:
        appeal = people.appeals.create(scan_id, reason="I painted it myself.")
        people.appeals.decide(appeal.id, "overturn", note="Seen the layers.")


def test_bot_observes_reports_labels_and_undoes_its_label(
    world: World, programs: Path, tmp_path: Path
) -> None:
    desk = Desk(programs, tmp_path, world.system.base_url)

    # It observes, and does nothing.
    first = desk.bot()
    for number in range(REPORT_ITEMS):
        image = world.ai if number % 50 == 0 else world.real
        first.tell(id=f"old-{number}", images=[str(image)])
    assert first.end() == 0
    assert first.orders == []

    # A person looks at what it would have done, and lets it.
    desk.says("mode", "enforce", status=2)
    assert f"items looked at: {REPORT_ITEMS}" in desk.says("report")
    desk.says("mode", "enforce")

    # It labels the AI image and leaves the other alone; when the verdict falls, so does the label.
    bot = desk.bot()
    try:
        bot.tell(id="real", images=[str(world.real)])
        bot.tell(id="new", images=[str(world.ai)])
        label = bot.until(lambda order: order["type"] == "action")
        told = bot.until(lambda order: order["type"] == "notice" and not order.get("is_undo"))
        overturned(world.system.base_url, label["scan_id"])
        undo = bot.until(lambda order: order["type"] == "undo")
        sorry = bot.until(lambda order: order["type"] == "notice" and order.get("is_undo", False))
        assert bot.end() == 0
    finally:
        bot.kill()

    assert (label["item"], label["kind"]) == ("new", "label")
    assert "in 100" in told["text"]
    assert told["appeal_url"] == "https://community.example/appeal"
    assert undo["key"] == label["key"]
    assert sorry["item"] == "new"
    assert sum(order["type"] == "action" for order in bot.orders) == 1
    assert any("undone" in line for line in bot.said)
