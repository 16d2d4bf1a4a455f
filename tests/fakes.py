"""Fakes of the server's ports. Each passes the suite in tests/seams that the real one passes.

    MemoryRecords  MemoryBoard  MemoryQueue  MemorySpool  ManualClock

A fake's fault is set as `fault`: each call then raises it, until it is taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence

import anyio
import msgspec

from sdk.wire import Scan, Upload
from server import ids
from server.ports import Collected, Opened, Precedent, Unavailable
from worker.contract import UPLOAD_SECONDS, Entry, Outcome, WorkerBeat


class ManualClock:
    """Time that moves only when told: `advance` wakes who slept long enough."""

    def __init__(self, at: float = 1_790_000_000.0) -> None:
        self._at = at
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def now(self) -> float:
        return self._at

    def monotonic(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        wake = anyio.Event()
        self._sleepers.append((self._at + seconds, wake))
        await wake.wait()

    def advance(self, seconds: float) -> None:
        self._at += seconds
        for at, wake in self._sleepers:
            if at <= self._at:
                wake.set()


class _Faulty:
    """What can be made to fail."""

    fault: Unavailable | None = None

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


class MemoryRecords(_Faulty):
    """Records, Precedents and Uses in dictionaries."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._opened: dict[str, tuple[Opened, float]] = {}
        self._ended: dict[str, tuple[Outcome, float]] = {}
        self._changed = anyio.Event()

    async def open(self, opened: Opened) -> None:
        self._check()
        self._opened[opened.scan.id] = opened, self._clock.now()

    async def get(self, scan_id: str) -> Scan | None:
        self._check()
        if scan_id not in self._opened:
            return None
        scan = self._opened[scan_id][0].scan
        if scan.status.is_final or scan_id not in self._ended:
            return scan
        outcome, at = self._ended[scan_id]
        return _final(scan, outcome, at)

    async def watch(self, scan_id: str, seconds: float) -> Scan | None:
        self._check()
        with anyio.move_on_after(seconds):
            while scan_id in self._opened and self._waits(scan_id):
                await self._changed.wait()
        return await self.get(scan_id)

    async def close(self, outcomes: Sequence[Outcome]) -> list[str]:
        self._check()
        recorded = []
        for outcome in outcomes:
            if outcome.scan_id in self._opened and self._waits(outcome.scan_id):
                self._ended[outcome.scan_id] = outcome, self._clock.now()
                recorded.append(outcome.scan_id)
        self._changed.set()
        self._changed = anyio.Event()
        return recorded

    async def stale(self, before: float) -> list[Entry]:
        self._check()
        waiting = [pair for id_, pair in self._opened.items() if self._waits(id_)]
        return [opened.entry for opened, at in waiting if at < before]

    async def precedents(self, opened: Opened) -> list[Precedent]:
        self._check()
        found = []
        for scan_id, (outcome, at) in self._ended.items():
            one = self._opened[scan_id][0]
            is_of_place = opened.place is not None and one.place == opened.place
            is_of_bytes = opened.place is None and one.entry.upload_id and outcome.judge
            if is_of_place or (is_of_bytes and outcome.input.sha256 == opened.scan.input.sha256):
                point = one.entry.operating_point
                found.append(Precedent(outcome=outcome, operating_point=point, at=at))
        return sorted(found, key=lambda one: one.at, reverse=True)[:6]

    def _waits(self, scan_id: str) -> bool:
        is_final = self._opened[scan_id][0].scan.status.is_final
        return not is_final and scan_id not in self._ended

    def _ended_at(self, scan_id: str) -> float:
        return self._ended[scan_id][1] if scan_id in self._ended else self._opened[scan_id][1]

    async def ping(self) -> None:
        self._check()

    async def uses(self, upload_ids: Sequence[str], since: float) -> dict[str, bool]:
        self._check()
        found: dict[str, bool] = {}
        for scan_id, (opened, _) in self._opened.items():
            upload_id = opened.entry.upload_id
            if upload_id in upload_ids:
                is_needed = self._waits(scan_id) or self._ended_at(scan_id) > since
                found[upload_id] = found.get(upload_id, False) or is_needed
        return found


class MemoryBoard(_Faulty):
    """Board in lists. `workers` and `phases` are what a worker would have said."""

    def __init__(self) -> None:
        self.waiting: list[Entry] = []
        self.results: list[Collected] = []
        self.workers: list[WorkerBeat] = []
        self.phases: dict[str, str] = {}
        self._given: set[str] = set()
        self._published = 0
        self._news = anyio.Event()

    def publish(self, outcome: Outcome | None) -> None:
        """Do what a worker does when it is done; None is an outcome that cannot be read."""
        if outcome is not None:
            self.waiting = [one for one in self.waiting if one.scan_id != outcome.scan_id]
        self._published += 1
        self.results.append(Collected(token=f"{self._published}-0", outcome=outcome))
        self._news.set()

    async def post(self, entries: Sequence[Entry]) -> None:
        self._check()
        self.waiting.extend(entries)

    async def missing(self, scan_ids: Sequence[str]) -> set[str]:
        self._check()
        known = {entry.scan_id for entry in self.waiting}
        known |= {item.outcome.scan_id for item in self.results if item.outcome}
        return set(scan_ids) - known

    async def collect(self, limit: int, wait_seconds: float) -> list[Collected]:
        self._check()
        with anyio.move_on_after(wait_seconds):
            while not self._new():
                await self._news.wait()
                self._news = anyio.Event()
        new = self._new()[:limit]
        self._given |= {item.token for item in new}
        return new

    def _new(self) -> list[Collected]:
        return [item for item in self.results if item.token not in self._given]

    async def acknowledge(self, tokens: Sequence[str]) -> None:
        self._check()
        self.results = [item for item in self.results if item.token not in tokens]

    async def phase(self, scan_id: str) -> str | None:
        self._check()
        return self.phases.get(scan_id)

    async def state(self) -> tuple[int, list[WorkerBeat]]:
        self._check()
        return len(self.waiting), list(self.workers)


class MemoryQueue(_Faulty):
    """Queue that counts; a few tickets say as much as many."""

    def __init__(self) -> None:
        self.tickets = 0

    async def ring(self) -> None:
        self._check()
        self.tickets = min(self.tickets + 1, 4)


class MemorySpool(_Faulty):
    """Spool in a dictionary."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._kept: dict[str, Upload] = {}

    async def store(self, chunks: AsyncIterable[bytes]) -> Upload:
        data = b"".join([chunk async for chunk in chunks])
        self._check()
        now = self._clock.now()
        upload = Upload(
            id=ids.upload_id(now),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            expires_at=ids.rfc3339(now + UPLOAD_SECONDS),
        )
        self._kept[upload.id] = upload
        return upload

    async def find(self, upload_id: str) -> Upload | None:
        self._check()
        upload = self._kept.get(upload_id)
        if upload and ids.made_at(upload_id) + UPLOAD_SECONDS < self._clock.now():
            return None
        return upload

    async def kept(self) -> list[str]:
        self._check()
        return sorted(self._kept)

    async def forget(self, upload_ids: Sequence[str]) -> None:
        self._check()
        for upload_id in upload_ids:
            self._kept.pop(upload_id, None)


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield these pieces, as a body arrives."""
    for chunk in chunks:
        yield chunk


def _final(scan: Scan, outcome: Outcome, at: float) -> Scan:
    seen = msgspec.structs.asdict(outcome.input)
    learnt = {name: value for name, value in seen.items() if value is not None}
    shared = set(Outcome.__struct_fields__) & set(Scan.__struct_fields__) - {"input"}
    return msgspec.structs.replace(
        scan,
        **{name: getattr(outcome, name) for name in shared},
        input=msgspec.structs.replace(scan.input, **learnt),
        sequence=scan.sequence + 1,
        completed_at=ids.rfc3339(at),
    )
