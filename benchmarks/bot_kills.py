"""Kill a moderation bot at random moments: `python benchmarks/bot_kills.py`.

    posts in a file (FakePlace) <--- a bot process, SIGKILLed again and again ---> a scripted server
                                          |
                                       journal        each restart goes on from there
    first while it labels the posts with AI images, then while it undoes all of that by hand's order

The platform takes an action twice if it is asked twice, and loses some answers.
Prints one JSON line: kills, what they hit, posts acted on twice, not acted on, acted on without
reason, and actions that could not be undone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import at_least, at_most, say, tell
from benchmarks.scripted_server import ScriptedServer
from sdk import AsyncClient
from sdk.moderation import (
    Action,
    Brake,
    Item,
    Journal,
    Runner,
    Terms,
    UndoResult,
    UndoToken,
    Wording,
)
from sdk.moderation.fake import FakePlace, FakePlatform
from sdk.moderation.journal import Made, State
from sdk.moderation.rules import read_policy

POLICY = '[[rule]]\nverdict = "likely_ai"\naction = "label"\n'
AI_SHARE = 0.5
UNDO_KILLS_SHARE = 0.25
LOST_ANSWERS = 2
JITTER_SECONDS = 0.05
WAY_SECONDS = 0.01
"""How long a request is under way, and as long its answer."""
PATIENCE_SECONDS = 120.0
TERMS = Terms(
    policy_id="bot_kills", brake=Brake(per_10_minutes=10**6, per_day=10**6), wording=Wording()
)


class Slow(FakePlatform):
    """A platform at the other end of a network: asking and hearing the answer take time."""

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Act, after a while, and say so after another."""
        await asyncio.sleep(WAY_SECONDS)
        token = await super().apply(item, action)
        await asyncio.sleep(WAY_SECONDS)
        return token

    async def undo(self, token: UndoToken) -> UndoResult:
        """Undo, after a while, and say so after another."""
        await asyncio.sleep(WAY_SECONDS)
        result = await super().undo(token)
        await asyncio.sleep(WAY_SECONDS)
        return result


async def bot(folder: Path, url: str) -> None:
    """Be the bot, until it is killed."""
    policy = read_policy(POLICY, name="bot_kills")
    with Journal(folder / "bot.db") as journal:
        journal.hold("fake")
        place = FakePlace(folder / "place.db")
        async with AsyncClient(base_url=url) as client:
            platform = Slow(place)
            runner = Runner(platform, policy, client, journal, mode="enforce", terms=TERMS)
            await runner.run()


class Killer:
    """Starts the bot, and kills it at moments that are spread over all that it has to do."""

    def __init__(self, folder: Path, url: str, draw: random.Random) -> None:
        self._command = [sys.executable, __file__, "--bot", str(folder), "--url", url]
        self._folder = folder
        self._draw = draw
        self.hit: Counter[str] = Counter()
        self.kills = 0

    def kill(self, times: int, count: Callable[[], int], total: int) -> None:
        """Kill it so often while `count` goes up to `total`."""
        for left in range(times, 0, -1):
            steps = 2 * (total - count()) // (left + 1)
            self._kill_at(count, min(count() + self._draw.randint(1, max(steps, 1)), total))

    def _kill_at(self, count: Callable[[], int], until: int) -> None:
        """Run the bot until the count is there, and kill it somewhere in what it does next."""
        child = subprocess.Popen(self._command)
        try:
            _wait(lambda: count() >= until, child)
            time.sleep(self._draw.random() * JITTER_SECONDS)
        finally:
            child.kill()
            child.wait()
        self.kills += 1
        with Journal(self._folder / "bot.db") as journal:
            unfinished = journal.unfinished(float("inf"))
            self.hit[unfinished[0].state.value if unfinished else "between"] += 1

    def finish(self, is_done: Callable[[], bool]) -> None:
        """Run the bot until everything is done."""
        child = subprocess.Popen(self._command)
        try:
            _wait(is_done, child)
        finally:
            child.terminate()
            child.wait()


def measured(folder: Path, *, posts: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill a bot so often over so many posts, and count what went wrong."""
    draw = random.Random(seed)
    place = FakePlace(folder / "place.db")
    accused = _posted(place, posts, draw)
    with Journal(folder / "bot.db") as journal:
        journal.note_report(Made(at=time.time(), items=200, policy_id=TERMS.policy_id))
    with ScriptedServer() as server:
        killer = Killer(folder, server.url, draw)
        undo_kills = round(kills * UNDO_KILLS_SHARE)
        place.lose_answer(LOST_ANSWERS)
        killer.kill(kills - undo_kills, lambda: len(set(server.looks)), posts)
        killer.finish(lambda: _is_handled(folder, posts))
        acted = _acted(place)
        say(f"{killer.kills} kills, {len(acted)} posts acted on")
        without_token = _ask_to_undo(folder)
        killer.kill(undo_kills, lambda: _undone(place), len(accused))
        killer.finish(lambda: not _unfinished(folder))
    left = sum(not mark.is_undone for mark in place.marks())
    place.close()
    return {
        "kills": killer.kills,
        "posts": posts,
        "with an AI image": len(accused),
        "the kills hit": dict(killer.hit),
        "images asked about": len(server.looks),
        "acted on twice": sum(count > 1 for count in acted.values()),
        "not acted on": len(accused - set(acted)),
        "acted on without reason": len(set(acted) - accused),
        "without a way back": without_token + left,
    }


def _posted(place: FakePlace, posts: int, draw: random.Random) -> set[str]:
    """Post so many; return the ids of those with an AI image."""
    accused = set()
    for number in range(posts):
        is_ai = draw.random() < AI_SHARE
        word = b"likely_ai" if is_ai else b"no_sign_of_ai"
        post_id = place.post([b"%s:%d" % (word, number)])
        if is_ai:
            accused.add(post_id)
    return accused


def _acted(place: FakePlace) -> Counter[str]:
    return Counter(mark.post_id for mark in place.marks())


def _undone(place: FakePlace) -> int:
    return sum(mark.is_undone for mark in place.marks())


def _is_handled(folder: Path, posts: int) -> bool:
    with Journal(folder / "bot.db") as journal:
        handled = int(journal.cursor or 0) >= posts
        return handled and not journal.unfinished(float("inf"))


def _unfinished(folder: Path) -> bool:
    with Journal(folder / "bot.db") as journal:
        return bool(journal.unfinished(float("inf")))


def _ask_to_undo(folder: Path) -> int:
    """Order that everything be undone; return how many actions have no token."""
    with Journal(folder / "bot.db") as journal:
        entries = journal.entries(State.APPLIED)
        for entry in entries:
            journal.fall(entry.action.key, why="by hand", at=time.time())
        return sum(entry.token is None for entry in entries)


def _wait(holds: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if child.poll() is not None:
            raise SystemExit(f"The bot ended by itself, with {child.returncode}.")
        if time.monotonic() > until:
            raise SystemExit(f"The bot was not done within {PATIENCE_SECONDS:g} s.")
        time.sleep(0.005)


def main() -> int:
    """Print the figures; returns 1 if an action was lost, doubled, or cannot be undone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--posts", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bot", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bot is not None:
        asyncio.run(bot(args.bot, args.url))
        return 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        found = measured(Path(name), posts=args.posts, kills=args.kills, seed=args.seed)
    wrong = ("acted on twice", "not acted on", "acted on without reason", "without a way back")
    bars = [at_least("kills", found["kills"], args.kills)]
    bars += [at_most(what, found[what], 0) for what in wrong]
    return tell({"name": "bot_kills", **found, "bars": bars})


if __name__ == "__main__":
    sys.exit(main())
