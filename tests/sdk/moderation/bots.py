"""A bot on a FakePlace, with a scripted server, a journal in a folder, and a clock to be moved.

    async with bot(folder, rules=LABEL) as it:
        post = it.place.post([b"likely_ai:1"])
        await it.catch_up()
        assert it.place.actions(post) == [ActionKind.LABEL]

An image is what the server says of it, and a number to tell it from others. The bot may enforce
what it is given: the report that allows it is on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.scripted_server import ScriptedServer
from sdk import AsyncClient
from sdk.moderation import Capability, Journal, Mode, Policy, RulesPolicy, Runner, Terms
from sdk.moderation.clock import SystemClock
from sdk.moderation.fake import FakePlace, FakePlatform
from sdk.moderation.journal import Made
from sdk.moderation.rules import read_policy

EVERYTHING = frozenset(Capability)
NOW = 1_800_000_000.0
LABEL = '[[rule]]\nverdict = "likely_ai"\naction = "label"\n'
AI = b"likely_ai:%d"
CLEAR = b"no_sign_of_ai:%d"


class MovedClock(SystemClock):
    """A clock that moves by its sleeps, and when a test moves it; `slept` has the sleeps."""

    def __init__(self) -> None:
        self.at = NOW
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0.001)


class Bot:
    """A runner and all that it works with."""

    def __init__(
        self,
        folder: Path,
        server: ScriptedServer,
        client: AsyncClient,
        *,
        policy: Policy,
        terms: Terms,
        mode: Mode | None,
        capabilities: frozenset[Capability] = EVERYTHING,
    ) -> None:
        self.server = server
        self.clock = MovedClock()
        self.place = FakePlace(folder / "place.db")
        self.platform = FakePlatform(self.place, capabilities=capabilities)
        self.journal = Journal(folder / "bot.db")
        self.journal.hold("fake")
        self.journal.note_report(Made(at=NOW, items=200, policy_id=terms.policy_id))
        self.runner = Runner(
            self.platform,
            policy,
            client,
            self.journal,
            mode=mode,
            terms=terms,
            clock=self.clock,
        )

    async def catch_up(self) -> None:
        """Take every item that is there and not handled."""
        cursor = int(self.journal.cursor or 0)
        left = len(self.place.changed_after(cursor))
        feed = self.platform.items(str(cursor))
        for _ in range(left):
            await self.runner.take(await anext(feed))
        await feed.aclose()  # type: ignore[attr-defined]

    async def post(self, *images: bytes, author: str = "somebody") -> str:
        """Post these images, let the bot look at them, and return the post's id."""
        post_id = self.place.post(list(images), author=author)
        await self.catch_up()
        return post_id

    def close(self) -> None:
        self.journal.close()
        self.place.close()


@asynccontextmanager
async def bot(
    folder: Path,
    *,
    rules: str = LABEL,
    mode: Mode | None = Mode.ENFORCE,
    server: ScriptedServer | None = None,
    policy: Policy | None = None,
    **more: Any,
) -> AsyncIterator[Bot]:
    """Yield a bot that is not running: tests call `take`, `mend`, `watch` and `handle`."""
    if server is None:
        with ScriptedServer() as own:
            async with bot(
                folder, rules=rules, mode=mode, server=own, policy=policy, **more
            ) as made:
                yield made
        return
    read: RulesPolicy = read_policy(rules, name="rules")
    async with AsyncClient(base_url=server.url, max_retries=0) as client:
        it = Bot(folder, server, client, policy=policy or read, terms=read.terms, mode=mode, **more)
        try:
            yield it
        finally:
            it.close()
