"""REDIS DOOR: the worker's half of Redis, on the streams and keys of contract.py; never SQL.

    SCANS stream, group WORKERS                    what a claim is
      new entry      --XREADGROUP COUNT-->  held   the entry in this worker's pending list
      expired lease  --XPENDING IDLE,              idle time = age of the lease
                       XCLAIM min-idle-->   held   delivery count = attempt, one more
      held           --XCLAIM JUSTID-->     held   idle time 0, same attempt: the beat
      held           --XCLAIM IDLE, count-1-->     expired at once: given back
      held           --MULTI: XADD RESULTS, XACK, XDEL-->  done

A lease is taken over with XPENDING and XCLAIM and not with XAUTOCLAIM: that looks at ten pending
entries a call, and finds nothing when the first ten are alive.

Who holds an entry is read before it is changed, in two steps. A claim that passes to another
between the two can be renewed or completed by its old holder once more. Neither loses a scan:
the stolen lease runs out like any other, and of two outcomes the records keep the first
(docs/decisions/0001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.typing import StreamIdT

from .contract import (
    FIELD,
    LEASE_SECONDS,
    RESULTS,
    SCANS,
    WORKER_EXPIRES_SECONDS,
    WORKERS,
    Outcome,
    WorkerBeat,
    decode_entry,
    encode,
    phase_key,
    worker_key,
)
from .ports import Claim, Unavailable

PHASE_SECONDS = 60
"""How long a phase is shown that nobody has told anew; longer than a fetch may take."""

T = TypeVar("T")
Fields = dict[bytes, bytes]

log = structlog.get_logger()


def connect(address: str, *, timeout_seconds: float, answer_seconds: float | None = None) -> Redis:
    """Return a client that asks once more on a connection that was lost, and waits no longer.

    `answer_seconds` is for callers whose commands block at the server on purpose.
    """
    return Redis.from_url(
        address,
        socket_timeout=timeout_seconds if answer_seconds is None else answer_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 1, (NotConnected,)),
    )


class StreamLedger:
    """The Ledger of one worker process; `worker` names it in Redis. See ports.Ledger."""

    def __init__(
        self,
        address: str,
        *,
        worker: str,
        timeout_seconds: float = 0.5,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._redis = connect(address, timeout_seconds=timeout_seconds)
        self._worker = worker
        self._lease_ms = int(lease_seconds * 1000)

    def __repr__(self) -> str:
        return f"StreamLedger({self._worker})"

    def claim(self, limit: int) -> list[Claim]:
        """Take up to `limit` new scans, or one whose lease ran out, alone; never waits."""
        with _translated():
            return self._in_group(lambda: self._take_over() or self._take_new(limit))

    def renew(self, claims: Sequence[Claim]) -> None:
        """Start the leases of these claims anew, except those that passed to another."""
        with _translated():
            ids: list[StreamIdT] = [_entry_id(claim) for claim in self._still_held(claims)]
            if ids:
                self._redis.xclaim(SCANS, WORKERS, self._worker, 0, ids, justid=True)

    def release(self, claims: Sequence[Claim]) -> None:
        """Give these scans back at once, as if they had not been delivered."""
        with _translated():
            pipe = self._redis.pipeline(transaction=True)
            for claim in self._still_held(claims):
                pipe.xclaim(
                    SCANS,
                    WORKERS,
                    self._worker,
                    0,
                    [_entry_id(claim)],
                    idle=self._lease_ms,
                    retrycount=claim.attempt - 1,
                    justid=True,
                )
                pipe.delete(phase_key(claim.entry.scan_id))
            pipe.execute()

    def phase(self, claims: Sequence[Claim], status: str) -> None:
        """Tell who asks that these scans are `fetching` or `scoring`, for PHASE_SECONDS."""
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            for claim in claims:
                pipe.set(phase_key(claim.entry.scan_id), status, ex=PHASE_SECONDS)
            pipe.execute()

    def complete(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[bool]:
        """Publish outcomes and end their claims; False where the lease has passed to another."""
        with _translated():
            held = {claim.token for claim in self._still_held([claim for claim, _ in outcomes])}
            ours = [(claim, outcome) for claim, outcome in outcomes if claim.token in held]
            if ours:
                self._publish(ours)
            return [claim.token in held for claim, _ in outcomes]

    def depth(self) -> int:
        """How many scans wait or are held."""
        with _translated():
            return self._redis.xlen(SCANS)

    def beat(self, beat: WorkerBeat) -> None:
        """Say that this worker is alive, for WORKER_EXPIRES_SECONDS."""
        with _translated():
            self._redis.set(worker_key(beat.name), encode(beat), ex=WORKER_EXPIRES_SECONDS)

    def leave(self) -> None:
        """Forget this worker: its beat, and its name in the group unless it still holds a scan."""
        with _translated():
            self._redis.delete(worker_key(self._worker))
            held = self._in_group(
                lambda: self._redis.xpending_range(SCANS, WORKERS, "-", "+", 1, self._worker)
            )
            if not held:
                self._redis.xgroup_delconsumer(SCANS, WORKERS, self._worker)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _in_group(self, ask: Callable[[], T]) -> T:
        """Return `ask()`; where Redis was wiped, make the group again and ask once more."""
        try:
            return ask()
        except ResponseError as error:
            if not _is_groupless(error):
                raise
        log.info("ledger_group_created", stream=SCANS, group=WORKERS)
        try:
            # From the first entry: the server may have posted before there was a group.
            self._redis.xgroup_create(SCANS, WORKERS, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        return ask()

    def _take_over(self) -> list[Claim]:
        """Claim the oldest entry whose lease ran out.

        Never more than one: it may be what killed the last holder of its whole batch.
        """
        expired = self._redis.xpending_range(SCANS, WORKERS, "-", "+", 1, idle=self._lease_ms)
        if not expired:
            return []
        entry_id, deliveries = expired[0]["message_id"], int(expired[0]["times_delivered"])
        taken = self._redis.xclaim(
            SCANS, WORKERS, self._worker, self._lease_ms, [cast(bytes, entry_id)]
        )
        return self._read(cast("list[tuple[bytes, Fields]]", taken), attempt=deliveries + 1)

    def _take_new(self, limit: int) -> list[Claim]:
        answer = self._redis.xreadgroup(WORKERS, self._worker, {SCANS: ">"}, count=limit)
        entries = cast("list[tuple[bytes, list[tuple[bytes, Fields]]]]", answer)
        return self._read(entries[0][1], attempt=1) if entries else []

    def _read(self, entries: Sequence[tuple[bytes, Fields]], *, attempt: int) -> list[Claim]:
        """Return the entries as claims; drop what is no Entry, since no worker ever could."""
        claims = []
        for entry_id, fields in entries:
            try:
                entry = decode_entry(fields[FIELD.encode()])
            except (KeyError, msgspec.DecodeError) as error:
                log.error("ledger_entry_dropped", entry_id=entry_id.decode(), why=repr(error))
                self._drop(entry_id)
            else:
                token = f"{entry_id.decode()}:{attempt}"
                claims.append(Claim(entry=entry, token=token, attempt=attempt))
        return claims

    def _drop(self, entry_id: bytes) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.xack(SCANS, WORKERS, entry_id)
        pipe.xdel(SCANS, entry_id)
        pipe.execute()

    def _still_held(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those whose entry is still pending for this worker, under the same delivery."""
        pipe = self._redis.pipeline(transaction=False)
        for claim in claims:
            pipe.xpending_range(SCANS, WORKERS, _entry_id(claim), _entry_id(claim), 1)
        answers = pipe.execute(raise_on_error=False)
        return [
            claim for claim, answer in zip(claims, answers, strict=True) if self._is(claim, answer)
        ]

    def _is(self, claim: Claim, answer: Any) -> bool:
        if isinstance(answer, Exception):
            if isinstance(answer, ResponseError) and _is_groupless(answer):
                return False
            raise answer
        return any(
            row["consumer"] == self._worker.encode() and row["times_delivered"] == claim.attempt
            for row in answer
        )

    def _publish(self, ours: Sequence[tuple[Claim, Outcome]]) -> None:
        ids = [_entry_id(claim) for claim, _ in ours]
        pipe = self._redis.pipeline(transaction=True)
        for _, outcome in ours:
            pipe.xadd(RESULTS, {FIELD: encode(outcome)})
        pipe.xack(SCANS, WORKERS, *ids)
        pipe.xdel(SCANS, *ids)
        pipe.delete(*(phase_key(outcome.scan_id) for _, outcome in ours))
        pipe.execute()


def _entry_id(claim: Claim) -> str:
    return claim.token.partition(":")[0]


def _is_groupless(error: ResponseError) -> bool:
    return str(error).startswith("NOGROUP")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable(f"Redis did not answer as it should: {error}") from error
