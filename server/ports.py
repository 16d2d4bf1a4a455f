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

from collections.abc import AsyncIterable, Sequence
from typing import Protocol

from msgspec import Struct, field

from sdk.wire import PointName, Scan, Upload
from worker.contract import Entry, Outcome, WorkerBeat


class Unavailable(Exception):
    """A part of the system is down; `part` says which, `retry_after` in whole seconds."""

    def __init__(self, part: str, detail: str, retry_after: int = 5) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
        self.detail = detail
        self.retry_after = retry_after


class Opened(Struct, frozen=True, kw_only=True):
    """A scan to be recorded, with the entry that a worker will need and what the caller added.

    `place` stands for the URL in its canonical form. A scan that is final already has been given
    a verdict on record, and no worker will hear of it.
    """

    scan: Scan
    entry: Entry
    place: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


class Precedent(Struct, frozen=True, kw_only=True):
    """An outcome of a worker, as recorded `at` (Unix time) for a scan at this operating point."""

    outcome: Outcome
    operating_point: PointName
    at: float


class Collected(Struct, frozen=True, kw_only=True):
    """One outcome off the results stream, with the stream id that acknowledges it."""

    token: str
    outcome: Outcome | None


class Records(Protocol):
    """The truth. A commit has happened when a call returns; raises Unavailable."""

    async def open(self, opened: Opened) -> None:
        """Record a new scan: as queued, or as it is if it is final already."""
        ...

    async def get(self, scan_id: str) -> Scan | None:
        """Return the scan as last recorded, or None."""
        ...

    async def watch(self, scan_id: str, seconds: float) -> Scan | None:
        """Return the scan once it is final, or as it is after `seconds`."""
        ...

    async def close(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Record outcomes in one commit; the first for a scan wins. Returns ids recorded now."""
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
        """Return the newest few outcomes for the scan's place, or upload's bytes, newest first.

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

    async def store(self, chunks: AsyncIterable[bytes]) -> Upload:
        """Keep the bytes for 15 minutes; raises Unavailable on a full disk.

        An exception out of `chunks` leaves nothing behind and passes through.
        """
        ...

    async def find(self, upload_id: str) -> Upload | None:
        """Return the upload if it is still kept."""
        ...

    async def kept(self) -> list[str]:
        """Return the ids of all that is kept, leftovers of a crash included."""
        ...

    async def forget(self, upload_ids: Sequence[str]) -> None:
        """Remove uploads that no scan needs any more."""
        ...


class Uses(Protocol):
    """Which uploads a scan has named. Raises Unavailable."""

    async def uses(self, upload_ids: Sequence[str], since: float) -> dict[str, bool]:
        """Of these uploads, return those that a scan has named: True where it is still needed.

        A scan needs its upload until it is final, and if it became final after `since` (Unix
        time), because whoever sent it may send it again.
        """
        ...


class Clock(Protocol):
    """Time. `now` is Unix time, `monotonic` a steady count, both in seconds."""

    def now(self) -> float: ...  # noqa: D102
    def monotonic(self) -> float: ...  # noqa: D102
    async def sleep(self, seconds: float) -> None: ...  # noqa: D102
