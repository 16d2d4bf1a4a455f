"""Fakes of the server's ports. Each passes the suite in tests/seams that the real one passes.

    MemoryRecords  MemoryBoard  MemoryQueue  MemorySpool  MemoryMeter  ManualClock

A fake's fault is set as `fault`: each call then raises it, until it is taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence

import anyio
import msgspec

from sdk.wire import InputKind, Scan, Status, Upload
from server import ids
from server.ports import (
    Collected,
    Erased,
    Kept,
    KeyTaken,
    Opened,
    Precedent,
    Recall,
    ScanFilter,
    Unavailable,
)
from server.rules.caller import Caller
from server.rules.limits import Levels
from worker.contract import UPLOAD_SECONDS, Entry, Outcome, Papers, WorkerBeat


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
    """Records and Precedents in dictionaries. Tells nobody of anything, and audits nothing."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._opened: dict[str, tuple[Opened, float]] = {}
        self._ended: dict[str, tuple[Outcome, float]] = {}
        self._erased: dict[str, str] = {}
        self._replaced: dict[str, str] = {}
        self._kept: dict[tuple[str, str], tuple[Kept, float]] = {}
        self._changed = anyio.Event()

    async def open(self, opened: Opened, *, recall: Recall | None = None) -> Scan:
        final = recall(await self.precedents(opened)) if recall is not None else None
        if final is not None:
            opened = msgspec.structs.replace(opened, scan=final)
        self._check()
        now, replay, scan_id = self._clock.now(), opened.replay, opened.scan.id
        if replay is not None:
            if await self.replay(replay.key, owner=opened.owner) is not None:
                raise KeyTaken
            kept = Kept(fingerprint=replay.fingerprint, subject=scan_id)
            self._kept[opened.owner, replay.key] = kept, now
        self._opened[scan_id] = opened, now
        return opened.scan

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        self._check()
        if scan_id not in self._opened or self._opened[scan_id][0].owner != owner:
            return None
        return self._scan(scan_id)

    async def opened(self, scan_id: str, *, owner: str) -> Opened | None:
        scan = await self.get(scan_id, owner=owner)
        if scan is None:
            return None
        return msgspec.structs.replace(self._opened[scan_id][0], scan=scan, replay=None)

    async def page(
        self, wanted: ScanFilter, *, owner: str, before_id: str | None, limit: int
    ) -> list[Scan]:
        self._check()
        theirs = [self._scan(id_) for id_, (one, _) in self._opened.items() if one.owner == owner]
        found = [
            scan
            for scan in theirs
            if _is_wanted(scan, wanted) and (before_id is None or scan.id < before_id)
        ]
        return sorted(found, key=lambda scan: scan.id, reverse=True)[:limit]

    async def watch(self, scan_id: str, seconds: float, *, owner: str) -> Scan | None:
        self._check()
        with anyio.move_on_after(seconds):
            while scan_id in self._opened and self._waits(scan_id):
                await self._changed.wait()
        return await self.get(scan_id, owner=owner)

    async def close(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        self._check()
        owners: dict[str, str] = {}
        for outcome in outcomes:
            if outcome.scan_id in self._opened and self._waits(outcome.scan_id):
                opened = self._opened[outcome.scan_id][0]
                self._ended[outcome.scan_id] = outcome, self._clock.now()
                owners[outcome.scan_id] = opened.owner
                if opened.scan.rescore_of and outcome.status is Status.COMPLETED:
                    self._replaced[opened.scan.rescore_of] = opened.scan.id
        self._tell()
        return owners

    async def erase(self, scan_id: str, *, owner: str, actor: str) -> Erased | None:
        scan = await self.get(scan_id, owner=owner)
        if scan is None:
            return None
        opened, _ = self._opened.pop(scan_id)
        self._ended.pop(scan_id, None)
        self._kept = {key: pair for key, pair in self._kept.items() if pair[0].subject != scan_id}
        self._erased[scan_id] = owner
        self._tell()
        return Erased(was_final=scan.status.is_final, upload_id=opened.entry.upload_id)

    async def is_erased(self, scan_id: str, *, owner: str) -> bool:
        self._check()
        return self._erased.get(scan_id) == owner

    async def replay(self, key: str, *, owner: str) -> Kept | None:
        self._check()
        kept, at = self._kept.get((owner, key), (None, 0.0))
        return kept if at > self._clock.now() - 24 * 3600 else None

    def _scan(self, scan_id: str) -> Scan:
        scan = self._opened[scan_id][0].scan
        if not scan.status.is_final and scan_id in self._ended:
            outcome, at = self._ended[scan_id]
            scan = _final(scan, outcome, at)
        if scan_id in self._replaced:
            scan = msgspec.structs.replace(
                scan, superseded_by=self._replaced[scan_id], sequence=scan.sequence + 1
            )
        return scan

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def stale(self, before: float) -> list[Entry]:
        self._check()
        waiting = [pair for id_, pair in self._opened.items() if self._waits(id_)]
        return [opened.entry for opened, at in waiting if at < before]

    async def precedents(self, opened: Opened) -> list[Precedent]:
        self._check()
        found = []
        for scan_id, (outcome, at) in self._ended.items():
            one = self._opened[scan_id][0]
            if _is_about(opened, one, outcome):
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
        self.under_way: set[tuple[str, str]] = set()
        self.shown: dict[tuple[str, str], Papers] = {}
        self.turns: set[str] = set()
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

    async def papers(self, weights_sha256: str, calibration_id: str) -> Papers:
        self._check()
        return self.shown.get((weights_sha256, calibration_id), Papers())

    async def take_turn(self, name: str, seconds: int) -> bool:
        self._check()
        is_first = name not in self.turns
        self.turns.add(name)
        return is_first

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

    async def begin(self, owner: str, key: str) -> bool:
        self._check()
        is_first = (owner, key) not in self.under_way
        self.under_way.add((owner, key))
        return is_first

    async def end(self, owner: str, key: str) -> None:
        self._check()
        self.under_way.discard((owner, key))

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
        self._kept: dict[str, tuple[str, Upload]] = {}

    async def store(self, chunks: AsyncIterable[bytes], *, owner: str) -> Upload:
        data = b"".join([chunk async for chunk in chunks])
        self._check()
        now = self._clock.now()
        upload = Upload(
            id=ids.upload_id(now),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            expires_at=ids.rfc3339(now + UPLOAD_SECONDS),
        )
        self._kept[upload.id] = owner, upload
        return upload

    async def find(self, upload_id: str, *, owner: str) -> Upload | None:
        self._check()
        whose, upload = self._kept.get(upload_id, (owner, None))
        if whose != owner:
            return None
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


class MemoryMeter(_Faulty):
    """Meter that has enough of everything, and notes what was given back."""

    def __init__(self) -> None:
        self.levels = Levels()
        self.given_back: list[str] = []

    async def take(
        self, caller: Caller, *, cost: int, scan_ids: Sequence[str], abnormal: int
    ) -> Levels:
        self._check()
        return self.levels

    async def give_back(self, owner: str, scan_ids: Sequence[str]) -> None:
        self._check()
        self.given_back += scan_ids


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield these pieces, as a body arrives."""
    for chunk in chunks:
        yield chunk


def _is_about(asked: Opened, other: Opened, outcome: Outcome) -> bool:
    """True if the other scan is a precedent for the one that is asked for."""
    if asked.place is not None:
        return other.place == asked.place
    is_of_bytes = outcome.judge and outcome.input.sha256 == asked.scan.input.sha256
    if asked.entry.kind is InputKind.SHA256:
        is_same_point = other.entry.operating_point is asked.entry.operating_point
        return bool(is_of_bytes and is_same_point)
    return bool(is_of_bytes and other.entry.upload_id)


def _is_wanted(scan: Scan, wanted: ScanFilter) -> bool:
    at = ids.made_at(scan.id)
    pairs = (
        (wanted.status, scan.status),
        (wanted.verdict, scan.verdict),
        (wanted.sha256, scan.input.sha256),
        (wanted.batch_id, scan.batch_id),
    )
    is_like = all(value in (None, has) for value, has in pairs)
    is_since = wanted.since is None or at >= wanted.since
    return is_like and is_since and (wanted.before is None or at < wanted.before)


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
