"""REDIS DOOR: the worker's half of Redis, on the streams and keys of contract.py; never SQL.

    SCANS and BULK_SCANS, group WORKERS            what a claim is
      new entry      --XREADGROUP COUNT-->  held   the entry in this worker's pending list
      expired lease  --XPENDING IDLE,              idle time = age of the lease
                       XCLAIM min-idle-->   held   delivery count = attempt, one more
      held           --XCLAIM JUSTID-->     held   idle time 0, same attempt: the beat
      held           --XCLAIM IDLE, count-1-->     expired at once: given back
      held           --XACK, XDEL, XADD RESULTS--> done

A claim looks at SCANS first, its expired leases and then its new entries, and at BULK_SCANS for
the room that is left and is not kept for people; each BULK_TURN-th batch the other way round. The
token names the stream.

Each of these is one Lua script, for three reasons: an empty look at two streams is one round
trip; nobody takes an entry between the look at who holds it and the change; and a script that has
written may add while Redis is full, so outcomes get out of a full Redis and make room, which
MULTI is refused (docs/decisions/0017).

A lease is taken over with XPENDING and XCLAIM and not with XAUTOCLAIM: that looks at ten pending
entries a call, and finds nothing when the first ten are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from .contract import (
    BULK_SCANS,
    BULK_TURN,
    FIELD,
    LEASE_SECONDS,
    PAPERS_EXPIRE_SECONDS,
    RESULTS,
    SCANS,
    STREAMS,
    WORKER_EXPIRES_SECONDS,
    WORKERS,
    Outcome,
    Papers,
    WorkerBeat,
    decode_entry,
    encode,
    papers_key,
    phase_key,
    worker_key,
)
from .ports import Claim, Unavailable

PHASE_SECONDS = 60
"""How long a phase is shown that nobody has told anew; longer than a fetch may take."""

_CLAIM = """
-- KEYS: streams, the one to look at first before the other. ARGV: four for all, then the most to
-- take of each stream. Returns {{stream, attempt, entry}, ...}
local group, worker, lease, room = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local claims, expired = {}, {}
for i, stream in ipairs(KEYS) do  -- before anything is taken: it fails where there is no group
  expired[i] = redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', 1)[1]
end
for i, stream in ipairs(KEYS) do
  local most = math.min(room, tonumber(ARGV[4 + i]))
  if most > 0 and expired[i] then
    -- Alone: it may be what killed the last holder of its whole batch.
    if #claims > 0 then break end
    local entry = redis.call('XCLAIM', stream, group, worker, lease, expired[i][1])[1]
    if entry then return {{stream, expired[i][4] + 1, entry}} end
  end
  local new = most > 0 and redis.call(  -- COUNT 0 means all
    'XREADGROUP', 'GROUP', group, worker, 'COUNT', most, 'STREAMS', stream, '>')
  for _, entry in ipairs(new and new[1][2] or {}) do
    table.insert(claims, {stream, 1, entry})
    room = room - 1
  end
end
return claims
"""

_EACH_HELD = """
-- KEYS: RESULTS. ARGV: four for all, then five for each claim. Returns 1 for each claim that is
-- held, 0 for each that is not.
local group, worker, lease, field = unpack(ARGV, 1, 4)
local answers = {}
for at = 5, #ARGV, 5 do
  local stream, id, attempt, phase, outcome = unpack(ARGV, at, at + 4)
  local rows = redis.pcall('XPENDING', stream, group, id, id, 1)
  if rows.err then
    if string.sub(rows.err, 1, 7) ~= 'NOGROUP' then return rows end
    rows = {}  -- Redis was wiped
  end
  local is_held = rows[1] and rows[1][2] == worker and rows[1][4] == tonumber(attempt)
  table.insert(answers, is_held and 1 or 0)
  if is_held then
    %s
  end
end
return answers
"""

_RENEW = _EACH_HELD % "redis.call('XCLAIM', stream, group, worker, 0, id, 'JUSTID')"

_RELEASE = (
    _EACH_HELD
    % """redis.call(
      'XCLAIM', stream, group, worker, 0, id, 'IDLE', lease, 'RETRYCOUNT', attempt - 1, 'JUSTID')
    redis.call('DEL', phase)"""
)

_COMPLETE = (
    _EACH_HELD
    % """-- In this order: XADD is refused while memory is full, but not after a write.
    redis.call('XACK', stream, group, id)
    redis.call('XDEL', stream, id)
    redis.call('XADD', KEYS[1], '*', field, outcome)
    redis.call('DEL', phase)"""
)

T = TypeVar("T")

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
        self._claim, self._renew, self._release, self._complete = (
            self._redis.register_script(script) for script in (_CLAIM, _RENEW, _RELEASE, _COMPLETE)
        )
        self._worker = worker
        self._lease_ms = int(lease_seconds * 1000)
        self._batches = 0

    def __repr__(self) -> str:
        return f"StreamLedger({self._worker})"

    def claim(self, limit: int, *, bulk: int | None = None) -> list[Claim]:
        """Take up to `limit` new scans, or one whose lease ran out, alone; never waits.

        At most `bulk` of them are bulk, which may be none; None: as many as there is room for.
        """
        with _translated():
            most = {SCANS: limit, BULK_SCANS: limit if bulk is None else bulk}
            claims = self._read(self._in_groups(lambda: self._take(limit, most)))
        self._batches += bool(claims)
        return claims

    def renew(self, claims: Sequence[Claim]) -> None:
        """Start the leases of these claims anew, except those that passed to another."""
        with _translated():
            self._change(self._renew, [(claim, b"") for claim in claims])

    def release(self, claims: Sequence[Claim]) -> None:
        """Give these scans back at once, as if they had not been delivered."""
        with _translated():
            self._change(self._release, [(claim, b"") for claim in claims])

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
            ends = [(claim, encode(outcome)) for claim, outcome in outcomes]
            return self._change(self._complete, ends)

    def depth(self) -> int:
        """How many scans wait or are held."""
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            for stream in STREAMS.values():
                pipe.xlen(stream)
            return sum(pipe.execute())

    def beat(self, beat: WorkerBeat) -> None:
        """Say that this worker is alive, for WORKER_EXPIRES_SECONDS."""
        with _translated():
            self._redis.set(worker_key(beat.name), encode(beat), ex=WORKER_EXPIRES_SECONDS)

    def show(self, beat: WorkerBeat, papers: Papers, *, is_first: bool) -> None:
        """Show the papers of the beat's model for PAPERS_EXPIRE_SECONDS more.

        They travel the first time, and again only where Redis has lost them.
        """
        key = papers_key(beat.model.weights_sha256, beat.calibration_id)
        with _translated():
            if is_first or not self._redis.expire(key, PAPERS_EXPIRE_SECONDS):
                self._redis.set(key, encode(papers), ex=PAPERS_EXPIRE_SECONDS)

    def leave(self) -> None:
        """Forget this worker: its beat, and its name in each group where it holds no scan."""
        with _translated():
            self._redis.delete(worker_key(self._worker))
            self._in_groups(self._leave_groups)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _in_groups(self, ask: Callable[[], T]) -> T:
        """Return `ask()`; where Redis was wiped, make the groups again and ask once more."""
        try:
            return ask()
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
        for stream in STREAMS.values():
            self._make_group(stream)
        return ask()

    def _make_group(self, stream: str) -> None:
        try:
            # From the first entry: the server may have posted before there was a group.
            self._redis.xgroup_create(stream, WORKERS, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            log.info("ledger_group_created", stream=stream, group=WORKERS)

    def _take(self, limit: int, most: Mapping[str, int]) -> list[_Taken]:
        streams = list(STREAMS.values())
        if self._batches % BULK_TURN == BULK_TURN - 1:
            streams.reverse()
        args: list[str | int] = [WORKERS, self._worker, self._lease_ms, limit]
        args += [most[each] for each in streams]
        answer = self._claim(keys=streams, args=args)
        return [_Taken(stream.decode(), attempt, *entry) for stream, attempt, entry in answer]

    def _read(self, taken: Sequence[_Taken]) -> list[Claim]:
        """Return what was taken as claims; drop what is no Entry, since no worker ever could."""
        claims = []
        for one in taken:
            try:
                entry = decode_entry(
                    dict(zip(one.fields[::2], one.fields[1::2], strict=True))[FIELD.encode()]
                )
            except (KeyError, msgspec.DecodeError) as error:
                log.error("ledger_entry_dropped", entry_id=one.id.decode(), why=repr(error))
                self._drop(one)
            else:
                token = f"{one.id.decode()}:{one.attempt}:{one.stream}"
                claims.append(Claim(entry=entry, token=token, attempt=one.attempt))
        return claims

    def _drop(self, taken: _Taken) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.xack(taken.stream, WORKERS, taken.id)
        pipe.xdel(taken.stream, taken.id)
        pipe.execute()

    def _change(self, script: Script, claims: Sequence[tuple[Claim, bytes]]) -> list[bool]:
        """Run a script over those claims that are still held; return which those were."""
        if not claims:
            return []
        args: list[Any] = [WORKERS, self._worker, self._lease_ms, FIELD]
        for claim, outcome in claims:
            entry_id, attempt, stream = claim.token.split(":", 2)
            args += [stream, entry_id, attempt, phase_key(claim.entry.scan_id), outcome]
        return [bool(answer) for answer in script(keys=[RESULTS], args=args)]

    def _leave_groups(self) -> None:
        for stream in STREAMS.values():
            if not self._redis.xpending_range(stream, WORKERS, "-", "+", 1, self._worker):
                self._redis.xgroup_delconsumer(stream, WORKERS, self._worker)


class _Taken(NamedTuple):
    """A stream entry that is now ours; `fields` is name, value, name, value."""

    stream: str
    attempt: int
    id: bytes
    fields: list[bytes]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable(f"Redis did not answer as it should: {error}") from error
