"""REDIS DOOR: the server's half of what worker/contract.py draws. Knows nothing of SQL or HTTP.

    post         XADD scans, or bulk scans      one round trip for all who post at once
    missing      XRANGE scans, then results     only while something is overdue
    state        XLEN, SET probe; beats         a Redis that takes no more is down
    collect      XAUTOCLAIM, XREADGROUP results what a dead collector held, then what is new
    acknowledge  XACK + XDEL in one MULTI
    begin, end   SET NX, DEL                    a request with an Idempotency-Key is under way
    papers       GET                            what a worker shows of its model
    take_turn    SET NX EX                      one process at a time

Every call ends within the timeout of the settings (`collect` within that and its wait), and
whatever goes wrong is Unavailable("redis"). A wiped Redis has no groups: they are made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec
from redis.exceptions import RedisError, ResponseError

from worker.contract import (
    COLLECTORS,
    FIELD,
    RESULTS,
    STREAMS,
    Entry,
    Outcome,
    Papers,
    RedisSettings,
    WorkerBeat,
    decode_beat,
    decode_outcome,
    decode_papers,
    encode,
    papers_key,
    phase_key,
    worker_key,
)

from .connections import Connections
from .ports import Collected
from .together import Together

CONNECTIONS = 32
"""Most connections to Redis from one process."""
CONSUMER = "collector"
"""One name for all collectors: whoever is alive takes what another left behind."""
ABANDONED_MS = 30_000
"""How long an outcome may be held before another collector takes it."""
PAGE = 500
"""Stream entries, or keys, in one answer."""
FLIGHT_SECONDS = 30
"""How long a request with an Idempotency-Key counts as under way if its process dies."""
PROBE = "pinclip:probe"
"""Key that `state` writes, to see whether Redis takes anything."""
PROBE_SECONDS = 60
"""How long that key stays."""
TURN = "pinclip:turn:"
"""Key of a task that one process does at a time; whoever makes it has the turn."""
_GONE = ("NOGROUP", "UNBLOCKED")


class _Named(msgspec.Struct):
    """Of an Entry or an Outcome only its scan."""

    scan_id: str


_named = msgspec.json.Decoder(_Named)


class RedisBoard:
    """Board over Redis Streams, as ports.py describes it."""

    def __init__(self, settings: RedisSettings) -> None:
        self._connections = Connections(settings, most=CONNECTIONS)
        self._redis = self._connections.redis
        self._posts: Together[Sequence[Entry]] = Together(self._post)

    async def aclose(self) -> None:
        """Close all connections, once nothing is on its way that would open one anew."""
        await self._posts.ended()
        await self._connections.aclose()

    async def post(self, entries: Sequence[Entry]) -> None:
        """Put entries where workers claim them."""
        await self._posts.do(entries)

    async def missing(self, scan_ids: Sequence[str]) -> set[str]:
        """Return those ids that neither wait, nor are held, nor have an outcome to collect."""
        missing = set(scan_ids)
        # RESULTS last: an outcome is published and its entry removed in one step, so a scan that
        # leaves its stream while we read is found there.
        for stream in (*STREAMS.values(), RESULTS):
            async for data in self._all(stream):
                missing.discard(_scan_id(data))
        return missing

    async def collect(self, limit: int, wait_seconds: float) -> list[Collected]:
        """Return outcomes to record, those that a dead collector left behind included."""
        with self._connections.told(wait_seconds):
            answers = await self._take(limit, wait_seconds)
            errors = [answer for answer in answers if isinstance(answer, RedisError)]
            if any(str(error).startswith(_GONE) for error in errors):
                await self._make_group()
                return []
            for error in errors:
                raise error
        left_behind = answers[0][1]
        new = answers[1][0][1] if answers[1] else []
        return [_collected(token, fields) for token, fields in (*left_behind, *new)]

    async def acknowledge(self, tokens: Sequence[str]) -> None:
        """Forget outcomes that are recorded."""
        if not tokens:
            return
        with self._connections.told():
            async with self._pipeline(is_transaction=True) as pipe:
                pipe.xack(RESULTS, COLLECTORS, *tokens)
                pipe.xdel(RESULTS, *tokens)
                await pipe.execute()

    async def begin(self, owner: str, key: str) -> bool:
        """Note that a request with this Idempotency-Key is under way; False if one is already."""
        with self._connections.told():
            was_set = await self._redis.set(_flight(owner, key), b"", nx=True, ex=FLIGHT_SECONDS)
        return bool(was_set)

    async def end(self, owner: str, key: str) -> None:
        """Note that it is over."""
        with self._connections.told():
            await self._redis.delete(_flight(owner, key))

    async def phase(self, scan_id: str) -> str | None:
        """Return `fetching` or `scoring` if a worker said so lately."""
        with self._connections.told():
            value: Any = await self._redis.get(phase_key(scan_id))
        return None if value is None else value.decode()

    async def state(self) -> tuple[int, list[WorkerBeat]]:
        """Return how many scans wait or are held, and the workers that are alive.

        A Redis that refuses to write is Unavailable too: full, a replica, or with a failing disk.
        """
        with self._connections.told():
            async with self._pipeline(is_transaction=False) as pipe:
                for stream in STREAMS.values():
                    pipe.xlen(stream)
                pipe.set(PROBE, b"", ex=PROBE_SECONDS)
                *depths, _ = await pipe.execute()
            keys = [key async for key in self._redis.scan_iter(worker_key("*"), count=PAGE)]
            values: Any = await self._redis.mget(keys) if keys else []
        return sum(depths), list(_beats(values))

    async def papers(self, weights_sha256: str, calibration_id: str) -> Papers:
        """Return what came with these weights, as a worker showed it; empty if none did."""
        with self._connections.told():
            value: Any = await self._redis.get(papers_key(weights_sha256, calibration_id))
        try:
            return Papers() if value is None else decode_papers(value)
        except msgspec.DecodeError:  # of another version
            return Papers()

    async def take_turn(self, name: str, seconds: int) -> bool:
        """True for the first who asks in so many seconds, of all processes: it is their turn."""
        with self._connections.told():
            return bool(await self._redis.set(f"{TURN}{name}", b"", nx=True, ex=seconds))

    async def _post(self, posts: Sequence[Sequence[Entry]]) -> None:
        with self._connections.told():
            async with self._pipeline(is_transaction=False) as pipe:
                for entry in chain.from_iterable(posts):
                    pipe.xadd(STREAMS[entry.priority], {FIELD: encode(entry)})
                await pipe.execute()

    async def _take(self, limit: int, wait_seconds: float) -> list[Any]:
        async with self._pipeline(is_transaction=False) as pipe:
            pipe.xautoclaim(RESULTS, COLLECTORS, CONSUMER, min_idle_time=ABANDONED_MS, count=limit)
            pipe.xreadgroup(
                COLLECTORS,
                CONSUMER,
                {RESULTS: ">"},
                count=limit,
                block=int(wait_seconds * 1000) or None,
            )
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(RESULTS, COLLECTORS, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _all(self, stream: str) -> AsyncIterator[bytes]:
        """Yield the struct of each entry of a stream, page by page."""
        after = "-"
        while True:
            with self._connections.told():
                page: Any = await self._redis.xrange(stream, min=after, count=PAGE)
            for _, fields in page:
                yield fields.get(FIELD.encode(), b"")
            if len(page) < PAGE:
                return
            after = f"({page[-1][0].decode()}"

    def _pipeline(self, *, is_transaction: bool) -> Any:
        # Any, because commands are typed as awaitables, and in a pipeline they are not.
        return self._redis.pipeline(transaction=is_transaction)


def _collected(token: bytes, fields: dict[bytes, bytes]) -> Collected:
    """Read one entry of the results; what is no outcome is None, and still to be acknowledged."""
    outcome: Outcome | None
    try:
        outcome = decode_outcome(fields.get(FIELD.encode(), b""))
    except msgspec.DecodeError:
        outcome = None
    if outcome is not None and not outcome.status.is_final:
        outcome = None
    return Collected(token=token.decode(), outcome=outcome)


def _flight(owner: str, key: str) -> str:
    """Name a request under way; its key may have any characters, and nobody need read it."""
    digest = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
    return f"pinclip:once:{digest}"


def _scan_id(data: bytes) -> str:
    try:
        return _named.decode(data).scan_id
    except msgspec.DecodeError:
        return ""


def _beats(values: Sequence[bytes | None]) -> Iterator[WorkerBeat]:
    for value in values:
        if value is not None:
            try:
                yield decode_beat(value)
            except msgspec.DecodeError:
                continue
