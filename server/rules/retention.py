"""What is kept for how long, and the hourly work of forgetting the rest.

    scans, with their events, appeals and feedback    PINCLIP_RETENTION_DAYS
    batches of which no scan is left                  the same
    answers to an Idempotency-Key                     24 h, or as long as what they name
    endpoints made for a callback_url                 30 days without a delivery
    events and deliveries                             30 days, which is the courier's work

A scan whose appeal is open stays until that is decided; what is not final is never touched.
One process at a time does this, in small transactions, so that nobody who writes has to wait.
What was erased is told in the audit log as counts. Knows nothing of SQL or Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from msgspec import Struct

from server.ports import Clock, Unavailable

DAY = 86_400.0
CALLBACK_DAYS = 30
"""So long an endpoint of a callback_url is kept that nothing is delivered to."""
EVERY_SECONDS = 3600.0
"""Time between two looks of one process."""
FIRST_SECONDS = 60.0
"""Time before the first, so that a start is not slowed down."""
TURN = "retention"
TURN_SECONDS = 3540
"""How long one process has the turn: until about the next look, so that it is taken hourly."""
PAUSE_SECONDS = 0.05
"""Rest after each transaction, for others who write."""

_log = structlog.get_logger(__name__)


class Step(Struct, frozen=True):
    """What one transaction forgot, and the id after which to go on; None: that was all."""

    count: int
    after: str | None = None


class Store(Protocol):
    """What these rules need of the store: each call is one small transaction.

    Times are Unix seconds. Raises Unavailable.
    """

    async def forget_scans(self, *, before: float, after: str) -> Step:
        """Erase final scans that were asked for before, whose id is above `after`."""
        ...

    async def forget_batches(self, *, before: float, after: str) -> Step:
        """Forget completed batches of before of which no scan is left."""
        ...

    async def forget_replays(self, *, now: float) -> Step:
        """Forget answers that may not be given again any more."""
        ...

    async def forget_callbacks(self, *, before: float) -> Step:
        """Forget endpoints of callback_urls that are as old and have no delivery left."""
        ...

    async def tell(self, counts: Mapping[str, int], *, before: float, now: float) -> None:
        """Write into the audit log how much was erased, and of before when."""
        ...


class Turns(Protocol):
    """Lets one of all processes do a task."""

    async def take_turn(self, name: str, seconds: int) -> bool:
        """True for the first who asks in so many seconds; raises Unavailable."""
        ...


@dataclass(frozen=True, kw_only=True)
class RetentionDesk:
    """What these rules work with. `days` is how long a scan is kept; 0: for ever."""

    store: Store
    turns: Turns
    clock: Clock
    days: int


async def run(desk: RetentionDesk) -> None:
    """Forget what is old, hourly, until cancelled; no failure ends it."""
    await desk.clock.sleep(FIRST_SECONDS)
    while True:
        try:
            if await desk.turns.take_turn(TURN, TURN_SECONDS):
                await forget(desk)
        except Unavailable as fault:
            _log.warning("retention_waits", reason=str(fault))
        except Exception as error:
            _log.error("retention_failed", exc_info=error)
        await desk.clock.sleep(EVERY_SECONDS)


async def forget(desk: RetentionDesk) -> dict[str, int]:
    """Forget all that is too old now, and return how many of each; raises Unavailable.

    What was erased before a failure is told in the audit log, too.
    """
    now = desk.clock.now()
    before = now - desk.days * DAY
    counts: Counter[str] = Counter()
    try:
        if desk.days:
            await _forget_scans(desk, before, counts)
        await _all(desk, counts, "replays", lambda _: desk.store.forget_replays(now=now))
        unused = now - CALLBACK_DAYS * DAY
        await _all(desk, counts, "callbacks", lambda _: desk.store.forget_callbacks(before=unused))
    finally:
        erased = {name: counts[name] for name in ("scans", "batches") if counts[name]}
        if erased:
            await desk.store.tell(erased, before=before, now=now)
    _log.info("retention_done", **counts)
    return dict(counts)


async def _forget_scans(desk: RetentionDesk, before: float, counts: Counter[str]) -> None:
    await _all(
        desk, counts, "scans", lambda after: desk.store.forget_scans(before=before, after=after)
    )
    await _all(
        desk, counts, "batches", lambda after: desk.store.forget_batches(before=before, after=after)
    )


async def _all(
    desk: RetentionDesk,
    counts: Counter[str],
    name: str,
    step: Callable[[str], Awaitable[Step]],
) -> None:
    """Take steps until one was the last, and count what they forgot."""
    after: str | None = ""
    while after is not None:
        done = await step(after)
        counts[name] += done.count
        after = done.after
        if after is not None:
            await desk.clock.sleep(PAUSE_SECONDS)
