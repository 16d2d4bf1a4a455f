"""Whether one more scan can be taken, and what /readyz says. Asks the ports, changes nothing.

board.state --at most once a second--> Redis down?     store_unavailable
                                       no worker?      model_unavailable
                                       queue too long? queue_full, with when to come back

Too long is 10,000 scans (queue_limit), or 120 s of work at the pace measured, if that is less:
a scan that waits much longer passes its deadline. For bulk it is half of that, so that a backlog
never locks people out (docs/decisions/0017).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

from sdk.codes import ProblemCode
from sdk.wire import Health, Priority
from server.ports import Board, Clock, Records, Unavailable
from server.refused import Refused
from worker.contract import DEADLINE_SECONDS, WORKER_EXPIRES_SECONDS, WorkerBeat

FRESH_SECONDS = 1.0
"""How long one look at Redis serves all requests."""
PROBE_SECONDS = 0.9
"""Longest wait for one part when /readyz asks."""
PACE_SECONDS = 60.0
"""Span over which the pace of the work is measured."""
PACE_KNOWN_SECONDS = 5.0
"""Shortest span that tells a pace; longer than one batch takes."""
PACE_NONE_SECONDS = 30.0
"""Span after which no scan done means a pace of none; longer than a fetch may take."""
WORK_SECONDS = 120
"""Most work that may wait, at the pace measured."""
IN_TIME = 0.8
"""Share of the time until its deadline that the last scan of a batch may wait."""
FEWEST = 64
"""So many scans may wait at any pace; from so many on, the workers have enough to do to tell it."""
LONGEST_RETRY_SECONDS = 120
"""Longest wait that is asked of anybody; clients honour no more."""
RETRY_SECONDS = 5
"""Wait asked for while a part is down."""


class Pace:
    """How many scans become final a second, as this process sees it while there is enough to do.

    With little to do, the pace would be that of the requests and not of the workers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy_since: float | None = None
        self._done: deque[tuple[float, int]] = deque()
        self._known: float | None = None

    def saw(self, *, is_busy: bool) -> None:
        """Note whether the workers have enough to do."""
        if not is_busy:
            self._busy_since = None
            self._done.clear()
        elif self._busy_since is None:
            self._busy_since = self._clock.monotonic()

    def add(self, count: int) -> None:
        """Note that so many scans have just become final."""
        if self._busy_since is not None:
            self._done.append((self._clock.monotonic(), count))
            self._forget_old()

    def per_second(self) -> float | None:
        """Return the pace of the last minute, or else the last that was known, if any was."""
        if self._busy_since is None:
            return self._known
        self._forget_old()
        span = min(self._clock.monotonic() - self._busy_since, PACE_SECONDS)
        done = sum(count for _, count in self._done)
        if span >= (PACE_KNOWN_SECONDS if done else PACE_NONE_SECONDS):
            self._known = done / span
        return self._known

    def seconds_for(self, depth: int) -> int:
        """Return how long `depth` scans will take at this pace, in whole seconds, within limits."""
        pace = self.per_second()
        if not pace:
            return LONGEST_RETRY_SECONDS
        return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(depth / pace)))

    def _forget_old(self) -> None:
        while self._done and self._clock.monotonic() - self._done[0][0] > PACE_SECONDS:
            self._done.popleft()


class Readiness:
    """The state of the parts, looked at no more often than it changes."""

    def __init__(
        self, *, records: Records, board: Board, clock: Clock, pace: Pace, queue_limit: int
    ) -> None:
        self._records = records
        self._board = board
        self._clock = clock
        self._pace = pace
        self._queue_limit = queue_limit
        self._one_looks = anyio.Lock()
        self._looked_at = -math.inf
        self._depth = 0
        self._workers: Sequence[WorkerBeat] = ()
        self._fault: Unavailable | None = None

    async def judges(self) -> frozenset[str]:
        """Return whose verdicts count now, as beats name them; raises Unavailable if nobody's."""
        await self._look()
        if self._fault:
            raise Unavailable(self._fault.part, self._fault.detail, self._fault.retry_after)
        if not self._workers:
            raise _no_worker()
        return frozenset(beat.judge for beat in self._workers if beat.judge)

    async def admit(self, priority: Priority = Priority.INTERACTIVE, *, count: int = 1) -> None:
        """Return if so many more scans can be taken, and count them; raises Unavailable or Refused.

        Many are taken where one more would be, so that a slow machine takes them too; but not
        more than are done before their deadline, at the pace measured.
        """
        await self.judges()
        limit = self._limit(priority)
        if self._depth >= limit:
            raise self._queue_full(priority, limit)
        in_time = self._in_time()
        if count > 1 and self._depth + count > in_time:
            raise self._not_in_time(count, in_time)
        self._depth += count

    def give_back(self) -> None:
        """Count one less: a scan that there was room for needs none."""
        self._depth = max(0, self._depth - 1)

    def _limit(self, priority: Priority) -> int:
        """Return how many scans may wait, at the pace measured, for one more to be taken."""
        limit, pace = self._queue_limit, self._pace.per_second()
        if pace is not None:
            limit = min(limit, max(FEWEST, int(pace * WORK_SECONDS)))
        return _bulk_share(limit) if priority is Priority.BULK else limit

    def _in_time(self) -> int:
        """Return how many scans may wait, at the pace measured, for the last to be in time."""
        pace = self._pace.per_second()
        seconds = DEADLINE_SECONDS * IN_TIME
        return self._queue_limit if pace is None else max(FEWEST, int(pace * seconds))

    def _queue_full(self, priority: Priority, limit: int) -> Refused:
        pace = self._pace.per_second()
        known = "not known yet" if pace is None else f"{pace:.1f} a second"
        return Refused(
            ProblemCode.QUEUE_FULL,
            f"{self._depth} scans are waiting, and {limit} may for another {priority} one; the "
            f"pace is {known}.",
            retry_after=self._pace.seconds_for(self._depth),
        )

    def _not_in_time(self, count: int, in_time: int) -> Refused:
        return Refused(
            ProblemCode.QUEUE_FULL,
            f"{self._depth} scans are waiting; with {count} more at once, the last would not be "
            f"done within its {DEADLINE_SECONDS:g} s: {max(0, in_time - self._depth)} would. Send "
            "fewer at once, or come again later.",
            retry_after=self._pace.seconds_for(self._depth),
        )

    async def report(self) -> Health:
        """Return each part and what is wrong with it; `status` is ok if nothing is."""
        checks: dict[str, Any] = {}
        async with anyio.create_task_group() as group:
            group.start_soon(_probe, checks, "store", self._store)
            group.start_soon(_probe, checks, "redis", self._redis)
        checks["worker"] = checks["redis"].pop("worker", _down("unknown while Redis is down"))
        is_ok = all(check["ok"] for check in checks.values())
        return Health(status="ok" if is_ok else "unavailable", checks=checks)

    async def _look(self) -> None:
        if self._is_fresh():
            return
        async with self._one_looks:
            if self._is_fresh():
                return
            try:
                self._depth, self._workers = await self._board.state()
                self._fault = None
                enough = min(FEWEST, _bulk_share(self._queue_limit))
                self._pace.saw(is_busy=self._depth >= enough)
            except Unavailable as fault:
                self._fault = fault
            self._looked_at = self._clock.monotonic()

    def _is_fresh(self) -> bool:
        return self._clock.monotonic() - self._looked_at < FRESH_SECONDS

    async def _store(self) -> dict[str, Any]:
        await self._records.ping()
        return {}

    async def _redis(self) -> dict[str, Any]:
        depth, workers = await self._board.state()
        return {"waiting": depth, "worker": _worker_check(workers)}


def _bulk_share(limit: int) -> int:
    """Half of what may wait; at least one, so that bulk passes where nothing waits."""
    return max(1, limit // 2)


async def _probe(
    checks: dict[str, Any], part: str, ask: Callable[[], Awaitable[dict[str, Any]]]
) -> None:
    try:
        with anyio.fail_after(PROBE_SECONDS):
            checks[part] = {"ok": True, **await ask()}
    except Unavailable as fault:
        checks[part] = _down(fault.detail)
    except TimeoutError:
        checks[part] = _down(f"no answer within {PROBE_SECONDS:g} s")


def _worker_check(workers: Sequence[WorkerBeat]) -> dict[str, Any]:
    if not workers:
        return _down(_no_worker().detail)
    return {"ok": True, "workers": [_shown(beat) for beat in workers]}


def _shown(beat: WorkerBeat) -> dict[str, str]:
    return {
        "name": beat.name,
        "model": beat.model.id,
        "engine": beat.engine,
        "precision": beat.precision,
        "device": beat.device,
    }


def _no_worker() -> Unavailable:
    return Unavailable(
        "worker",
        f"no worker has said in the last {WORKER_EXPIRES_SECONDS} s that it can score; it may "
        "still be loading its model",
        RETRY_SECONDS,
    )


def _down(detail: str) -> dict[str, Any]:
    return {"ok": False, "detail": detail}
