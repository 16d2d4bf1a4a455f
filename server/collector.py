"""Brings outcomes from Redis into the records, and mends what Redis lost. Two endless tasks.

    collect  board.collect -> records.close COMMIT -> acknowledge      a batch at a time
                                    `- count it, give back its place in the owner's limits
    sweep    every 5 s: overdue rows -> past deadline? close as failed
                                        in no stream?  post again
                        anything waiting? ring
                        uploads that no scan needs -> forget
                        bytes that were overturned and are accused still -> settle

Each step can be repeated: an outcome is acknowledged after its commit, the first one recorded
stands, and a scan posted twice is scored twice but recorded once. While SQL or Redis is down a
task waits longer and longer, up to a limit, and then goes on where it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import anyio
import structlog

from sdk.codes import SCAN_ERRORS, ScanErrorCode
from sdk.wire import Input, ScanError, Status
from worker.contract import DEADLINE_SECONDS, UPLOAD_SECONDS, Entry, Outcome

from . import ids
from .metrics import Metrics, Stage
from .ports import Board, Clock, Collected, Queue, Records, Spool, Unavailable, Uses
from .rules.limits import Limiter
from .rules.readiness import Pace
from .rules.scans import REPEAT_SECONDS

BATCH = 64
"""Most outcomes in one commit."""
BATCH_SECONDS = 0.02
"""Shortest time between two batches, so that a stream of outcomes fills them; a lone one that
comes after a pause is recorded at once."""
WAIT_SECONDS = 1.0
"""How long one look for outcomes may block."""
SWEEP_SECONDS = 5.0
"""Time between two sweeps."""
OVERDUE_SECONDS = 10.0
"""Age at which the sweep asks whether Redis still knows a scan."""
POST_AT_ONCE = 500
"""Most entries posted in one round trip."""
LATE_SECONDS = 60.0
"""How much longer than promised an upload is kept, so that none goes while it is being named."""
SHORTEST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 5.0
"""Pauses after a failure: doubled each time, up to the longest."""

_log = structlog.get_logger(__name__)


class Disputes(Protocol):
    """What is left to do of appeals that were decided. Raises Unavailable."""

    async def settle(self) -> int:
        """Change all scans that accuse bytes which were overturned; returns how many."""
        ...


class Collector:
    """The server's background work over its ports."""

    def __init__(
        self,
        *,
        records: Records,
        uses: Uses,
        board: Board,
        queue: Queue,
        spool: Spool,
        clock: Clock,
        pace: Pace,
        limiter: Limiter,
        disputes: Disputes,
        counters: Metrics,
    ) -> None:
        self._records = records
        self._uses = uses
        self._board = board
        self._queue = queue
        self._spool = spool
        self._clock = clock
        self._pace = pace
        self._limiter = limiter
        self._disputes = disputes
        self._counters = counters
        self._held: Sequence[Collected] = ()

    async def run(self) -> None:
        """Collect and sweep until cancelled; no failure ends it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._for_ever, "collect", self._collect_in_batches)
            tasks.start_soon(self._for_ever, "sweep", self._sweep_and_rest)

    async def collect(self) -> int:
        """Record one batch of outcomes; return how many there were."""
        if not self._held:
            self._held = await self._board.collect(BATCH, WAIT_SECONDS)
        taken = len(self._held)
        with anyio.CancelScope(shield=True):  # a stop waits for what has begun
            if taken:
                await self._record()
        return taken

    async def sweep(self) -> None:
        """Close what is past its deadline, post what Redis lost, ring, forget old uploads."""
        now = self._clock.now()
        overdue = await self._records.stale(now - OVERDUE_SECONDS)
        late = [entry for entry in overdue if entry.deadline < now]
        await self._close_late(late)
        await self._forget_uploads(now)
        posted = await self._post_missing([entry for entry in overdue if entry.deadline >= now])
        oldest = min((ids.made_at(entry.scan_id) for entry in overdue), default=now)
        self._counters.swept(oldest_seconds=now - oldest, posted_again=posted)
        await self._disputes.settle()

    async def _record(self) -> None:
        for unread in (item.token for item in self._held if item.outcome is None):
            _log.error("outcome_undecodable", entry=unread)
        outcomes = [item.outcome for item in self._held if item.outcome is not None]
        self._pace.add(await self._close(outcomes))
        await self._board.acknowledge([item.token for item in self._held])
        self._held = ()

    async def _close(self, outcomes: Sequence[Outcome]) -> int:
        """Record outcomes; one that the store cannot take is left out and blocks no other."""
        try:
            owners = await self._records.close(outcomes)
        except Unavailable:
            raise
        except Exception as error:
            if len(outcomes) > 1:
                return sum([await self._close([outcome]) for outcome in outcomes])
            # Its scan will be closed by the sweep, at its deadline.
            _log.error("outcome_unrecordable", scan_id=outcomes[0].scan_id, exc_info=error)
            return 0
        await self._ended(owners, outcomes)
        return len(owners)

    async def _ended(self, owners: Mapping[str, str], outcomes: Sequence[Outcome]) -> None:
        """Count the scans that ended, and give back their places."""
        now = self._clock.now()
        first = {outcome.scan_id: outcome for outcome in reversed(outcomes)}
        of_owner: dict[str, list[str]] = {}
        for scan_id, owner in owners.items():
            outcome, seconds = first[scan_id], now - ids.made_at(scan_id)
            self._counters.scan_ended(outcome, seconds=seconds, stages=_stages(outcome))
            of_owner.setdefault(owner, []).append(scan_id)
        for owner, scan_ids in of_owner.items():
            await self._limiter.done(owner, scan_ids)

    async def _close_late(self, entries: Sequence[Entry]) -> None:
        outcomes = [_too_late(entry) for entry in entries]
        owners = await self._records.close(outcomes)
        for scan_id in owners:
            _log.warning("scan_closed_late", scan_id=scan_id)
        await self._ended(owners, outcomes)

    async def _forget_uploads(self, now: float) -> None:
        kept = await self._spool.kept()
        if not kept:
            return
        needed = await self._uses.uses(kept, now - REPEAT_SECONDS)
        oldest = now - UPLOAD_SECONDS - LATE_SECONDS
        await self._spool.forget(
            [one for one in kept if not needed.get(one, ids.made_at(one) >= oldest)]
        )

    async def _post_missing(self, entries: Sequence[Entry]) -> int:
        """Post what Redis has lost, and return how many these were; ring if anything waits."""
        lost: list[Entry] = []
        if entries:
            missing = await self._board.missing([entry.scan_id for entry in entries])
            lost = [entry for entry in entries if entry.scan_id in missing]
            for start in range(0, len(lost), POST_AT_ONCE):
                await self._board.post(lost[start : start + POST_AT_ONCE])
            if lost:
                _log.warning("scans_posted_again", count=len(lost))
        waiting, _ = await self._board.state()
        if waiting:
            await self._queue.ring()
        return len(lost)

    async def _collect_in_batches(self) -> None:
        began = self._clock.monotonic()
        if await self.collect():
            await self._clock.sleep(max(0.0, BATCH_SECONDS - (self._clock.monotonic() - began)))

    async def _sweep_and_rest(self) -> None:
        await self.sweep()
        await self._clock.sleep(SWEEP_SECONDS)

    async def _for_ever(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            try:
                await step()
                if failures:
                    _log.info("task_goes_on", task=name, failures=failures)
                failures = 0
            except Exception as error:
                failures += 1
                _tell(name, error, failures)
                rest = SHORTEST_REST_SECONDS * 2 ** min(failures - 1, 10)
                await self._clock.sleep(min(rest, LONGEST_REST_SECONDS))


def _tell(name: str, error: Exception, failures: int) -> None:
    """Log an outage once, not at each attempt; a fault of ours always, with its traceback."""
    if not isinstance(error, Unavailable):
        _log.error("task_failed", task=name, exc_info=error)
    elif failures == 1:
        _log.warning("task_waits", task=name, reason=str(error))


def _stages(outcome: Outcome) -> dict[Stage, float]:
    """Return what a worker said of its time, as far as we have a name for it."""
    named = frozenset(Stage)
    return {Stage(name): spent for name, spent in outcome.seconds.items() if name in named}


def _too_late(entry: Entry) -> Outcome:
    code = ScanErrorCode.DEADLINE_EXCEEDED
    facts = SCAN_ERRORS[code]
    return Outcome(
        scan_id=entry.scan_id,
        attempt=0,
        worker="",
        status=Status.FAILED,
        input=Input(kind=entry.kind, url=entry.url),
        error=ScanError(
            code=code,
            detail=f"The scan was not done within {DEADLINE_SECONDS:g} s of being accepted.",
            hint=facts.hint,
            retryable=facts.retryable,
        ),
    )
