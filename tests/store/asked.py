"""Scans as stores are given them: asked for by an owner, and judged."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec.structs import replace

from sdk.wire import Input, InputKind, PointName, Scan, Status, Verdict
from server import ids
from server.ports import Opened
from server.store import scans
from server.store.engine import Database
from tests.server.scenes import URL, completed
from worker.contract import Entry, Outcome

OWNER = "somebody"


def asked(
    at: float,
    *,
    owner: str = OWNER,
    point: PointName = PointName.BALANCED,
    batch_id: str | None = None,
    batch_index: int | None = None,
) -> Opened:
    """Return a new scan of a URL, accepted at this Unix time."""
    scan_id = ids.scan_id(at)
    return Opened(
        owner=owner,
        scan=Scan(
            id=scan_id,
            status=Status.QUEUED,
            input=Input(kind=InputKind.URL, url=URL),
            batch_id=batch_id,
            sequence=1,
            created_at=ids.rfc3339(at),
        ),
        entry=Entry(
            scan_id=scan_id,
            kind=InputKind.URL,
            operating_point=point,
            deadline=at + 900,
            url=URL,
        ),
        batch_index=batch_index,
    )


def judged(scan_id: str, sha256: str, *, verdict: Verdict, judge: str = "") -> Outcome:
    """Return what a worker says of these bytes."""
    found = completed(scan_id)
    seen = replace(found.input, sha256=sha256)
    return replace(found, verdict=verdict, judge=judge, input=seen)


async def record(
    database: Database, new: Opened, outcome: Outcome | None = None, *, now: float
) -> None:
    """Record a scan, and how it ended."""

    def work(connection: sa.Connection) -> None:
        scans.insert(connection, [new], now=now)
        if outcome is not None:
            scans.end(connection, {new.scan.id: outcome}, now=now)

    await database.write(work)
