"""What the server needs of the world, as protocols; each has a fake in tests/fakes.py.

Records     the truth, in SQL            (async)
Precedents  what was found of the same image before; the records know
Board       the server's half of Redis   (async)
Queue       ring() a ticket in RQ
Spool       uploads on disk
Uses        which uploads a scan still needs; the records know
Clock       time
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from sdk.wire import PointName, Scan, Status, Upload, Verdict
from worker.contract import Entry, Outcome, WorkerBeat


class Unavailable(Exception):
    """A part of the system is down; `part` says which, `retry_after` in whole seconds."""

    def __init__(self, part: str, detail: str, retry_after: int = 5) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
        self.detail = detail
        self.retry_after = retry_after


class Replay(Struct, frozen=True, kw_only=True):
    """An Idempotency-Key, and what it was first used for: sha256 of method, path and body."""

    key: str
    fingerprint: str


class Kept(Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key was used for: the id of what was made."""

    fingerprint: str
    subject: str


class KeyTaken(Exception):
    """The Idempotency-Key was used by another request while this one was under way."""


class ScanFilter(Struct, frozen=True, kw_only=True):
    """Which of an owner's scans to list; None: any. Times are Unix seconds, `since` included."""

    status: Status | None = None
    verdict: Verdict | None = None
    sha256: str | None = None
    batch_id: str | None = None
    since: float | None = None
    before: float | None = None


class Erased(Struct, frozen=True, kw_only=True):
    """What was forgotten: whether it was final, and the upload that it was about."""

    was_final: bool
    upload_id: str | None


class Opened(Struct, frozen=True, kw_only=True):
    """A scan to be recorded for its owner, with the entry that a worker will need.

    `scan` is as callers see it: batch_id, rescore_of, context and metadata are in it. `place`
    stands for the URL in its canonical form. A scan that is final already has been given a verdict
    on record, and no worker will hear of it. `replay` is kept in the same commit.
    """

    owner: str
    scan: Scan
    entry: Entry
    place: str | None = None
    batch_index: int | None = None
    callback_url: str | None = None
    replay: Replay | None = None


class Precedent(Struct, frozen=True, kw_only=True):
    """An outcome of a worker, as recorded `at` (Unix time) for a scan at this operating point."""

    outcome: Outcome
    operating_point: PointName
    at: float


Recall = Callable[[Sequence[Precedent]], Scan | None]
"""Says of the newest few precedents of a scan how it ends by them; None: somebody must look."""


class Collected(Struct, frozen=True, kw_only=True):
    """One outcome off the results stream, with the stream id that acknowledges it."""

    token: str
    outcome: Outcome | None


class Uses(Protocol):
    """Which uploads a scan has named. Raises Unavailable."""

    async def uses(self, upload_ids: Sequence[str], since: float) -> dict[str, bool]:
        """Of these uploads, return those that a scan has named: True where it is still needed.

        A scan needs its upload until it is final, and if it became final after `since` (Unix
        time), because whoever sent it may send it again.
        """
        ...


class Records(Uses, Protocol):
    """The truth. A commit has happened when a call returns; raises Unavailable."""

    async def open(self, opened: Opened, *, recall: Recall | None = None) -> Scan:
        """Record a new scan and return it: as queued, or as it is if it is final already.

        `recall` is asked about the scan's precedents in the same transaction, and the scan is
        recorded as final if it says so; it is pure, since it may be called on another thread.
        One that is final accuses no bytes that its owner had overturned. Raises KeyTaken, and
        records nothing, if the key of its `replay` was used before.
        """
        ...

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        """Return the owner's scan as last recorded, or None."""
        ...

    async def opened(self, scan_id: str, *, owner: str) -> Opened | None:
        """Return the owner's scan as last recorded, with what it was asked for, or None."""
        ...

    async def page(
        self, wanted: ScanFilter, *, owner: str, before_id: str | None, limit: int
    ) -> list[Scan]:
        """Return the owner's scans that are wanted, newest first, older than the id."""
        ...

    async def watch(self, scan_id: str, seconds: float, *, owner: str) -> Scan | None:
        """Return the owner's scan once it is final, or as it is after `seconds`."""
        ...

    async def close(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        """Record outcomes in one commit; the first for a scan wins.

        Returns the owners of the scans that ended now, by the id of the scan.
        """
        ...

    async def erase(self, scan_id: str, *, owner: str, actor: str) -> Erased | None:
        """Forget the owner's scan and all that tells of it, but that it was; None: no such scan."""
        ...

    async def is_erased(self, scan_id: str, *, owner: str) -> bool:
        """Return whether the owner had such a scan, and it was erased."""
        ...

    async def replay(self, key: str, *, owner: str) -> Kept | None:
        """Return what the owner used this Idempotency-Key for in the last 24 h, or None."""
        ...

    async def stale(self, before: float) -> list[Entry]:
        """Return the entries of scans that are not final and were opened before this Unix time."""
        ...

    async def ping(self) -> None:
        """Return if the store can be read; raises Unavailable."""
        ...


class Precedents(Protocol):
    """What workers found of the same image before. Raises Unavailable."""

    async def precedents(self, opened: Opened) -> list[Precedent]:
        """Return the newest few outcomes for the scan's place, or its bytes, newest first.

        For a sha256 that was asked about, of these bytes however they came, and of judges alone.
        Of a place also what failed, since it tells that the place has changed. Never one that
        was given again.
        """
        ...


class Board(Protocol):
    """The server's half of Redis. Raises Unavailable within the timeout, never hangs."""

    async def post(self, entries: Sequence[Entry]) -> None:
        """Put entries where workers claim them."""
        ...

    async def missing(self, scan_ids: Sequence[str]) -> set[str]:
        """Return those ids that neither wait, nor are held, nor have an outcome to collect."""
        ...

    async def collect(self, limit: int, wait_seconds: float) -> list[Collected]:
        """Return outcomes to record, those that a dead collector left behind included."""
        ...

    async def acknowledge(self, tokens: Sequence[str]) -> None:
        """Forget outcomes that are recorded."""
        ...

    async def begin(self, owner: str, key: str) -> bool:
        """Note that a request with this Idempotency-Key is under way; False if one is already."""
        ...

    async def end(self, owner: str, key: str) -> None:
        """Note that it is over."""
        ...

    async def phase(self, scan_id: str) -> str | None:
        """Return `fetching` or `scoring` if a worker said so lately."""
        ...

    async def state(self) -> tuple[int, list[WorkerBeat]]:
        """Return how many scans wait or are held, and the workers that are alive."""
        ...


class Queue(Protocol):
    """Tickets: "there is work"."""

    async def ring(self) -> None:
        """Make sure that a worker will look at the ledger soon."""
        ...


class Spool(Protocol):
    """Uploads on disk, below the state folder."""

    async def store(self, chunks: AsyncIterable[bytes], *, owner: str) -> Upload:
        """Keep the owner's bytes for 15 minutes; raises Unavailable on a full disk.

        An exception out of `chunks` leaves nothing behind and passes through.
        """
        ...

    async def find(self, upload_id: str, *, owner: str) -> Upload | None:
        """Return the owner's upload if it is still kept."""
        ...

    async def kept(self) -> list[str]:
        """Return the ids of all that is kept, leftovers of a crash included."""
        ...

    async def forget(self, upload_ids: Sequence[str]) -> None:
        """Remove uploads that no scan needs any more."""
        ...


class Clock(Protocol):
    """Time. `now` is Unix time, `monotonic` a steady count, both in seconds."""

    def now(self) -> float: ...  # noqa: D102
    def monotonic(self) -> float: ...  # noqa: D102
    async def sleep(self, seconds: float) -> None: ...  # noqa: D102
