"""How long do a page and a look-up take among a million scans? `python benchmarks/million_rows.py`.

Fills an empty SQLite store: nine scans in ten are one owner's, whose lists are then asked for in
each way that GET /v1/scans has, newest page and deep page; scans are read by their ids; digests
are looked up, a hundred at a time, and by their first five digits. Each is asked REPEATS times,
alone, as the server asks: through SqlScans and SqlLookups. Prints p50, p99 and the slowest (and
which of the calls that was) in milliseconds, and the steps that SQLite takes (EXPLAIN QUERY PLAN);
one JSON line; 1 if a p99 misses the bar.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec.structs import replace

from benchmarks.measuring import at_most, tell
from sdk.wire import Input, InputKind, Model, PointName, Scan, Status, Verdict
from server import ids
from server.clock import SystemClock
from server.ending import ended
from server.ports import Opened, ScanFilter
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.lookups import SqlLookups
from server.store.scan_queries import listed
from server.store.scan_rows import ending, row_of
from server.store.scans import SqlScans
from server.store.tables import ScanRow
from worker.contract import Entry, Outcome, RedisSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Call = Callable[[], Awaitable[object]]

BAR_MS = 50.0
REPEATS = 200
AT_ONCE = 10_000
OWNER, JUDGE = "platform", "judge"
BEGUN, SPACING = 1_790_000_000.0, 2.0
"""When the first scan was made, and how far apart they are, in seconds."""
VERDICTS = (*[Verdict.NO_SIGN_OF_AI] * 14, *[Verdict.LIKELY_AI] * 4, Verdict.INCONCLUSIVE)
BATCH = 1000


def main() -> int:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="scans (1,000,000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(measured(Path(name), args.rows))


async def measured(folder: Path, rows: int) -> int:
    """Return the exit status: 0 if every p99 is within the bar."""
    database = Database(ServerSettings(redis=RedisSettings(state_dir=folder)))
    await database.prepare()
    began = time.monotonic()
    made = fill(folder / "records.sqlite3", rows)
    gc.freeze()  # or each full collection walks a million ids, which no server has in memory
    print(f"{rows} rows in {time.monotonic() - began:.0f} s")
    found: dict[str, Any] = {"rows": rows}
    try:
        for name, filters in lists(made).items():
            found[name] = await timed(page_of(database, filters))
            print(f"{name:28}", found[name], *(await plan(database, filters)), sep="  ")
        for name, call in lookups(database, made).items():
            found[name] = await timed(call)
            print(f"{name:28}", found[name], sep="  ")
    finally:
        await database.aclose()
    worst = max(one["p99 ms"] for name, one in found.items() if name != "rows")
    return tell({**found, "bars": [at_most("worst p99 in ms", worst, BAR_MS)]})


def fill(file: Path, rows: int) -> list[tuple[str, str]]:
    """Fill the store; return id and digest of each scan of OWNER, in the order of the ids."""
    chance = random.Random(7)
    engine = sa.create_engine(f"sqlite:///{file}")
    table = ScanRow.__table__
    made: list[tuple[str, str]] = []
    with engine.begin() as connection:
        for index in table.indexes:  # type: ignore[attr-defined]
            index.drop(connection)
        for start in range(0, rows, AT_ONCE):
            some = [scan_row(chance, number) for number in range(start, min(start + AT_ONCE, rows))]
            connection.execute(sa.insert(ScanRow), some)
            made += [(row["id"], row["sha256"]) for row in some if row["owner"] == OWNER]
        for index in table.indexes:  # type: ignore[attr-defined]
            index.create(connection)
    with engine.connect() as connection:  # as one that was filled in a year: its journal is short
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return sorted(made)


def scan_row(chance: random.Random, number: int) -> dict[str, Any]:
    """Return a row as the server writes it: one in fifty failed, one in ten thousand waits."""
    at = BEGUN + number * SPACING
    owner = OWNER if chance.random() < 0.9 else f"owner{chance.randrange(100)}"
    asked = opened(owner, at, number, chance)
    row: dict[str, Any] = {**_EMPTY, **row_of(asked, at)}
    if number % 10_000 == 0:
        return row
    outcome = found(asked, chance, is_failed=number % 50 == 1)
    scan = ended(asked.scan, outcome, sequence=2, completed_at=ids.rfc3339(at + 1))
    end = ending(scan, outcome, row=_Row(row), now=at + 1, is_revised=False)
    return row | {
        "status": end["new_status"],
        "outcome": end["new_outcome"],
        "completed_at": at + 1,
        "sequence": 2,
        "sha256": end["new_sha256"],
        "judge": end["new_judge"],
        "verdict": end["new_verdict"],
    }


_EMPTY = {"outcome": None, "judge": None, "superseded_by": None}


class _Row:
    """A row by its names."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.__dict__ = columns


def opened(owner: str, at: float, number: int, chance: random.Random) -> Opened:
    """Return a scan of a URL; one in ten is of a batch."""
    scan_id = ids.scan_id(at)
    url = f"https://images.example/{number:x}/{chance.randrange(1 << 60):x}.jpg"
    batch = number // BATCH if number // BATCH % 10 == 0 else None
    return Opened(
        owner=owner,
        scan=Scan(
            id=scan_id,
            status=Status.QUEUED,
            input=Input(kind=InputKind.URL, url=url),
            batch_id=None if batch is None else batch_id(batch),
            sequence=1,
            created_at=ids.rfc3339(at),
            context={"platform": "forum", "item_id": str(number)},
        ),
        entry=Entry(
            scan_id=scan_id,
            kind=InputKind.URL,
            operating_point=PointName.BALANCED,
            deadline=at + 900,
            url=url,
        ),
        place=f"{number:032x}",
        batch_index=None if batch is None else number % BATCH,
    )


def batch_id(number: int) -> str:
    """Return the id of a batch, the same for the same number."""
    return f"batch_{number:026d}"


def found(asked: Opened, chance: random.Random, *, is_failed: bool) -> Outcome:
    """Return what a worker says of an image; every hundredth image is the same one."""
    one_of = chance.randrange(100)
    sha256 = "ab" * 32 if not one_of else f"{chance.randrange(1 << 256):064x}"
    outcome = Outcome(
        scan_id=asked.scan.id,
        attempt=1,
        worker="worker-1",
        status=Status.FAILED if is_failed else Status.COMPLETED,
        input=replace(asked.scan.input, sha256=sha256, bytes=123456, width=640, height=480),
    )
    if is_failed:
        return outcome
    return replace(
        outcome,
        verdict=chance.choice(VERDICTS),
        score=0.5,
        probability=0.5,
        model=Model("pinclip-b16", "00" * 32),
        judge=JUDGE,
    )


def lists(made: list[tuple[str, str]]) -> dict[str, tuple[ScanFilter, str | None]]:
    """Return what is asked for, by name: the filters, and the id where the page begins."""
    last, middle = made[-1], made[len(made) // 2]
    at, batch = ids.made_at(middle[0]), batch_id(0)
    asked = {
        "all": ScanFilter(),
        "completed": ScanFilter(status=Status.COMPLETED),
        "failed": ScanFilter(status=Status.FAILED),
        "canceled (none)": ScanFilter(status=Status.CANCELED),
        "likely_ai": ScanFilter(verdict=Verdict.LIKELY_AI),
        "completed, declared_ai (none)": ScanFilter(
            status=Status.COMPLETED, verdict=Verdict.DECLARED_AI
        ),
        "sha256": ScanFilter(sha256=last[1]),
        "sha256 of thousands": ScanFilter(sha256="ab" * 32),
        "batch": ScanFilter(batch_id=batch),
        "batch, failed": ScanFilter(batch_id=batch, status=Status.FAILED),
        "a day": ScanFilter(since=at, before=at + 86_400),
        "likely_ai of a day": ScanFilter(verdict=Verdict.LIKELY_AI, since=at, before=at + 86_400),
    }
    newest = {f"list {name}": (wanted, None) for name, wanted in asked.items()}
    deep = {"list all, deep": (ScanFilter(), middle[0])}
    return {**newest, **deep}


def page_of(database: Database, filters: tuple[ScanFilter, str | None]) -> Call:
    """Return what asks for the page of a hundred."""
    scans, (wanted, before_id) = SqlScans(database, SystemClock()), filters

    async def call() -> object:
        return await scans.page(wanted, owner=OWNER, before_id=before_id, limit=101)

    return call


def lookups(database: Database, made: list[tuple[str, str]]) -> dict[str, Call]:
    """Return what asks for scans and digests, by name."""
    scans, known = SqlScans(database, SystemClock()), SqlLookups(database)
    chance = random.Random(8)
    how: dict[str, Any] = {
        "point": PointName.BALANCED,
        "judges": [JUDGE],
        "owner": OWNER,
    }

    async def read() -> object:
        return await scans.get(chance.choice(made)[0], owner=OWNER)

    async def hundred() -> object:
        return await known.of([sha256 for _, sha256 in chance.sample(made, 100)], **how)

    async def around() -> object:
        prefix = f"{chance.randrange(1 << 20):05x}"
        first, last = prefix + "0" * 59, prefix + "f" * 59
        return await known.between(first, last, limit=1000, **how)

    return {"read": read, "look up 100": hundred, "look up a range": around}


async def plan(database: Database, filters: tuple[ScanFilter, str | None]) -> Iterator[str]:
    """Return the steps that SQLite takes for a page."""
    query = listed(filters[0], owner=OWNER, before_id=filters[1], limit=101)

    def explain(connection: sa.Connection) -> list[str]:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]

    steps: list[str] = await database.read(explain)
    return iter(steps)


async def timed(call: Call) -> dict[str, float]:
    """Return p50 and p99 of a call, in milliseconds."""
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await call()
        spent.append(1000 * (time.perf_counter() - began))
    cuts = statistics.quantiles(spent, n=100)
    slowest = max(range(REPEATS), key=spent.__getitem__)
    return {
        "p50 ms": round(cuts[49], 2),
        "p99 ms": round(cuts[98], 2),
        "slowest ms": round(spent[slowest], 2),
        "which": slowest,
    }


if __name__ == "__main__":
    raise SystemExit(main())
