"""The JSON lines adapter, between real pipes, real files and a real child process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_server import ScriptedServer
from sdk.errors import InputError
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Item,
    ItemGone,
    Notice,
    PermissionLost,
    Platform,
    UndoToken,
)
from sdk.moderation.platforms.jsonl import LINE_LIMIT_BYTES, Jsonl
from sdk.moderation.testing import Case, check_platform, picture
from tests.sdk.moderation.fakes.jsonl import FakeProgram

ONE_WAY = "Nothing is read back: what became of an item is the reader's to know."
ACTION = Action(
    kind=ActionKind.LABEL, key="k1", sha256="0" * 64, scan_id="scan_1", text="Likely AI."
)


class JsonlStage:
    """The conformance suite's way to the program at the other end."""

    skips: Mapping[Case, str] = {
        Case.DELETED: ONE_WAY,
        Case.HUMAN: ONE_WAY,
        Case.LOST_ANSWER: "A pipe gives no answer that could be lost.",
        Case.RATE_LIMIT: "A pipe that is full makes the writer wait by itself.",
    }
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, program: FakeProgram) -> None:
        self.program = program

    @asynccontextmanager
    async def open(self) -> Any:
        yield Jsonl(source=self.program.bot_stdin, sink=self.program.bot_stdout)

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        return self.program.post(images, is_exempt=is_exempt)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self.program.edit(item_id, images)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        return [ActionKind(kind) for kind in self.program.in_force(item_id)]

    async def notices(self, item_id: str) -> Sequence[str]:
        return self.program.notices(item_id)

    async def forbid(self) -> None:
        self.program.stop_reading()

    async def allow(self) -> None:
        self.program.read_again()

    async def delete(self, item_id: str) -> None:
        raise NotImplementedError

    async def rate_limit(self, seconds: float) -> None:
        raise NotImplementedError

    async def lose_answer(self) -> None:
        raise NotImplementedError

    async def human_acts(self, item_id: str) -> None:
        raise NotImplementedError


@pytest.fixture
def program(tmp_path: Path) -> Iterator[FakeProgram]:
    program = FakeProgram(tmp_path)
    yield program
    program.close()


def platform(program: FakeProgram) -> Jsonl:
    return Jsonl(source=program.bot_stdin, sink=program.bot_stdout)


async def all_items(platform: Platform) -> list[Item]:
    async with asyncio.timeout(10):
        return [item async for item in platform.items(None)]


def test_jsonl_conforms(
    program: FakeProgram, record_property: Callable[[str, object], None]
) -> None:
    report = asyncio.run(check_platform(JsonlStage(program)))
    record_property("conformance", str(report))

    assert len(report.outcomes) == len(Case)


def test_bad_lines_are_told_on_stderr_and_skipped(
    program: FakeProgram, caplog: pytest.LogCaptureFixture
) -> None:
    program.write_line(b'{"id": "a", "images": []')
    program.write_line(b'{"id": "b"}')
    program.write_line(b"\xff\xfe")
    program.write_line(b'{"new": %s, "id": "d"}' % (b"[" * 5000 + b"]" * 5000))
    program.write_line(b"")
    program.write_line(b'{"id": "c", "images": ["https://example.org/c.jpg"], "new": 1}')
    program.end()

    items = asyncio.run(all_items(platform(program)))

    assert [item.id for item in items] == ["c"]
    assert [record.getMessage().split(" is skipped")[0] for record in caplog.records] == [
        "Line 1",
        "Line 2",
        "Line 3",
        "Line 4",
    ]


def test_a_line_without_end_is_skipped_and_the_next_one_read(tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    good = b'{"id": "1", "images": []}'
    source.write_bytes(b"x" * (3 * LINE_LIMIT_BYTES) + b"\n" + good)
    with source.open("rb") as file:
        items = asyncio.run(all_items(Jsonl(source=file.fileno(), sink=1)))

    assert [(item.id, item.cursor) for item in items] == [("1", "2")]


def test_images_are_urls_or_files_and_a_file_must_be_there(program: FakeProgram) -> None:
    async def scene() -> tuple[list[str | None], bytes]:
        [item] = await all_items(platform(program))
        url, file, missing, empty = await platform(program).media(item)
        assert file.load
        assert missing.load
        assert empty.load
        with pytest.raises(ItemGone):
            await missing.load()
        with pytest.raises(InputError):
            await empty.load()
        return [url.url, file.url], await file.load()

    folder = program._folder
    (folder / "a.png").write_bytes(picture(3))
    (folder / "empty.png").touch()
    names = [
        "https://example.org/a.jpg",
        *(str(folder / name) for name in ("a.png", "b", "empty.png")),
    ]
    program.write_line(json.dumps({"id": "1", "images": names}).encode())
    program.end()

    urls, image = asyncio.run(scene())

    assert urls == ["https://example.org/a.jpg", None]
    assert image == picture(3)


def test_an_order_says_all_that_a_stranger_needs(program: FakeProgram) -> None:
    item = Item(id="7", revision="2", url="https://example.org/7")

    async def scene() -> None:
        bot = platform(program)
        token = await bot.apply(item, ACTION)
        await bot.undo(token)
        await bot.notify(item, Notice(subject="Labelled", text="By a machine."))
        await bot.notify(item, Notice(subject="Labelled", text="By a machine."))

    asyncio.run(scene())

    action, undo, notice, same = program.read()
    assert action == {
        "type": "action",
        "key": "k1",
        "item": "7",
        "kind": "label",
        "revision": "2",
        "url": "https://example.org/7",
        "sha256": "0" * 64,
        "scan_id": "scan_1",
        "text": "Likely AI.",
    }
    assert undo == {"type": "undo", "key": "k1", "item": "7", "kind": "label"}
    assert notice == same
    assert notice["key"].startswith("notice_")


def test_a_reader_that_is_gone_takes_the_bot_its_permission(program: FakeProgram) -> None:
    program.stop_reading()

    with pytest.raises(PermissionLost):
        asyncio.run(platform(program).apply(Item(id="7"), ACTION))

    program.read_again()


def test_a_slow_reader_stops_nothing_but_the_line_and_loses_none(program: FakeProgram) -> None:
    token = UndoToken(kind=ActionKind.LABEL, data={"key": "k" * 1000, "item": "7"})

    async def scene() -> None:
        bot = platform(program)
        telling = [asyncio.create_task(bot.undo(token)) for _ in range(200)]
        while not all(task.done() for task in telling):  # it runs although the pipe is full
            await asyncio.sleep(0.01)
            program.read()

    asyncio.run(scene())

    assert len(program.read()) == 200


SCRIPT = """
import asyncio
from sdk.moderation.platform import Action, ActionKind
from sdk.moderation.platforms.jsonl import PLUGIN

async def main() -> None:
    async with PLUGIN.open(PLUGIN.settings()) as platform:
        async for item in platform.items(None):
            kind = ActionKind.LABEL
            action = Action(kind=kind, key=item.id, sha256="", scan_id="", text="")
            await platform.apply(item, action)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["pipe", "file", "nothing"])
def test_stdin_may_be_a_pipe_a_file_or_nothing(kind: str, tmp_path: Path) -> None:
    lines = b'{"id": "1", "images": []}\nnonsense\n{"id": "2", "images": []}\n'
    (tmp_path / "items").write_bytes(lines)
    command = [sys.executable, "-c", SCRIPT]

    if kind == "pipe":
        done = subprocess.run(command, input=lines, capture_output=True, check=True)
    else:
        source = tmp_path / "items" if kind == "file" else Path("/dev/null")
        with source.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, check=True)

    orders = [json.loads(line)["item"] for line in done.stdout.splitlines()]
    assert orders == ([] if kind == "nothing" else ["1", "2"])
    assert (b"Line 2 is skipped" in done.stderr) is (kind != "nothing")


BOT = """
import asyncio, sys
from pathlib import Path
from sdk import AsyncClient
from sdk.moderation import Journal, Runner
from sdk.moderation.clock import SystemClock
from sdk.moderation.journal import Made
from sdk.moderation.platforms.jsonl import PLUGIN
from sdk.moderation.rules import read_policy

RULES = (
    '[[rule]]\\nverdict = "likely_ai"\\naction = "label"\\n'
    "[brake]\\nper_10_minutes = 50\\nper_day = 50"
)

async def main(folder: Path, url: str) -> None:
    rules = read_policy(RULES, name="rules")
    async with AsyncClient(base_url=url) as client, PLUGIN.open(PLUGIN.settings()) as platform:
        with Journal(folder / "bot.db") as journal:
            journal.hold("jsonl")
            made = Made(at=SystemClock().now(), items=200, policy_id=rules.terms.policy_id)
            journal.note_report(made)
            bot = Runner(
                platform, rules, client, journal, mode="enforce", terms=rules.terms
            )
            await bot.run()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_a_bot_that_was_killed_says_everything_and_nothing_twice_to_who_knows_keys(
    tmp_path: Path,
) -> None:
    count = 12
    for number in range(count):
        (tmp_path / str(number)).write_bytes(b"likely_ai:%d" % number)
    lines = [json.dumps({"id": f"i{n}", "images": [str(tmp_path / str(n))]}) for n in range(count)]
    feed = "\n".join(lines).encode() + b"\n"

    with ScriptedServer() as server:
        command = [sys.executable, "-c", BOT, str(tmp_path), server.url]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as bot:
            assert bot.stdin
            assert bot.stdout
            bot.stdin.write(feed)
            bot.stdin.flush()
            before = [bot.stdout.readline() for _ in range(5)]
            bot.kill()
            before += bot.stdout.readlines()
        again = subprocess.run(command, input=feed, capture_output=True, check=True).stdout
        once_more = subprocess.run(command, input=feed, capture_output=True, check=True).stdout

    orders = [
        json.loads(line) for line in (*before, *again.splitlines()) if line.rstrip().endswith(b"}")
    ]
    acted = {(order["item"], order["key"]) for order in orders if order["type"] == "action"}
    told = {(order["item"], order["key"]) for order in orders if order["type"] == "notice"}
    assert sorted(item for item, _ in acted) == sorted(f"i{number}" for number in range(count))
    assert sorted(item for item, _ in told) == sorted(f"i{number}" for number in range(count))
    assert once_more == b""
