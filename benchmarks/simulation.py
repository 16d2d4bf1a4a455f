"""Do more workers do more? `python benchmarks/simulation.py [--workers 1 2 4 8 16 32]`.

    callers --> API --> Redis --> 1..32 worker processes, each with a device that is a sleep
                 `----- collector <-- outcomes

Everything is real but the device, so that a machine of a few cores can hold many workers. What
they cost in CPU stays: the sleep is chosen so that MOST workers together need LOAD of the scans a
second that this machine reaches when the device takes no time, which is measured first. Parallel
efficiency is the rate of N workers over N times that of one. Then each shared part is driven
alone, to say which would be full first:

    redis       posting, claiming and completing by the worker's ledger, one process
    collector   outcomes from Redis to the records, in batches as it takes them
    api         POST /v1/scans from CALLERS connections while no worker runs

One JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import as_if_working
from benchmarks.callers import Answer, Caller, load
from benchmarks.doubles import ASLEEP
from benchmarks.measuring import at_least, cpu_seconds, family, say, tell
from benchmarks.origins import Origins
from benchmarks.parts import Parts
from sdk.wire import Input, InputKind, Model, Status, Verdict
from server.board import RedisBoard
from worker.contract import FIELD, RESULTS, Entry, Outcome, PointName, encode
from worker.ledger import StreamLedger, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = (1, 2, 4, 8, 16, 32)
MOST = 16
"""Workers up to which the efficiency has its bar."""
EFFICIENCY_BAR = 0.9
LOAD = 0.5
CALLERS = 8
DEEP = 6
"""Callers for each worker: enough that none waits for work."""
ROUNDS = 8
"""Fewest scans for each worker while it is measured."""
SIDE_BATCH, FORWARD_BATCH = 64, 8
WORKER = {"PINCLIP_DETECTOR": ASLEEP, "PINCLIP_IN_FLIGHT": "4", "PINCLIP_BATCH_LIMIT": "1"}
"""As few in flight as keep a device busy: what one holds, another cannot take."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each number of workers (8)")
    parser.add_argument("--scans", type=int, default=1000, help="for each part alone (1000)")
    args = parser.parse_args()
    with Origins(hosts=64) as origins:
        urls = (origins.url(f"small/{number}.jpg") for number in itertools.count())
        ceiling = at_full_speed(origins, urls, args.scans // 2)
        say(f"without a device: {ceiling}")
        asleep = round(MOST / (LOAD * ceiling["scans a second"]), 3)
        rates = {}
        for count in args.workers:
            rates[count] = with_workers(origins, urls, count, asleep, args.seconds)
            say(f"{count} workers: {rates[count]:.1f} scans a second")
        alone = each_alone(origins, args.scans)
    efficiency = {
        count: round(rates[count] / (count * rates[min(rates)] / min(rates)), 3) for count in rates
    }
    held = [share for count, share in efficiency.items() if count <= MOST]
    return tell(
        {
            "name": "simulation",
            "without a device": ceiling,
            "device seconds an image": asleep,
            "sleep is for": MOST,
            "scans a second": {str(count): round(rate, 2) for count, rate in rates.items()},
            "efficiency": {str(count): share for count, share in efficiency.items()},
            "each alone, scans a second": alone,
            "full first": min(alone, key=lambda part: alone[part]),
            "bars": [
                at_least(f"parallel efficiency, to {MOST} workers", min(held), EFFICIENCY_BAR)
            ],
        }
    )


def at_full_speed(origins: Origins, urls: Iterator[str], count: int) -> dict[str, float]:
    """Return what this machine reaches with two workers whose device takes no time."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Parts(Path(name), allow_port=origins.port) as parts,
    ):
        for number in range(2):
            parts.start_worker(f"w{number}", **WORKER)
        parts.wait_for(2)
        load(parts.port, CALLERS, itertools.islice(urls, 40))
        pids = [pid for each in parts.workers.values() for pid in family(each.pid)]
        worker, api = cpu_seconds(pids), cpu_seconds([parts.api.pid])
        began = time.monotonic()
        load(parts.port, 2 * CALLERS, itertools.islice(urls, count))
        taken = time.monotonic() - began
        return {
            "scans a second": round(count / taken, 1),
            "worker's cpu ms a scan": round(1000 * (cpu_seconds(pids) - worker) / count, 2),
            "api's cpu ms a scan": round(1000 * (cpu_seconds([parts.api.pid]) - api) / count, 2),
        }


def with_workers(
    origins: Origins, urls: Iterator[str], count: int, asleep: float, seconds: float
) -> float:
    """Return scans a second of so many workers, between the first tenth and the last."""
    scans = max(count * ROUNDS, int(count * seconds / asleep))
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Parts(Path(name), allow_port=origins.port) as parts,
    ):
        for number in range(count):
            parts.start_worker(f"w{number}", **WORKER, BENCH_SECONDS=str(asleep))
        parts.wait_for(count)
        answers = load(parts.port, DEEP * count, itertools.islice(urls, scans))
    return steady(answers, DEEP * count)


def steady(answers: list[Answer], callers: int) -> float:
    """Return answers a second while all callers were there: all but the first and the last."""
    at = sorted(answer.at for answer in answers)
    edge = min(callers, len(at) // 4)
    inside = at[edge : len(at) - edge]
    return (len(inside) - 1) / (inside[-1] - inside[0])


def each_alone(origins: Origins, scans: int) -> dict[str, float]:
    """Return scans a second of Redis, collector and API, each with nothing else to do."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Parts(Path(name), allow_port=origins.port) as parts,
        as_if_working(parts),
    ):
        ids, accepted = accept(parts, scans)
        collected = collect(parts, ids)
        ledger = claim_and_complete(parts, scans)
    return {"api": round(accepted, 1), "collector": round(collected, 1), "redis": round(ledger, 1)}


def accept(parts: Parts, scans: int) -> tuple[list[str], float]:
    """Submit from several connections; return the ids and how many a second were accepted."""
    ids: list[str] = []

    def run(count: int) -> None:
        with Caller(parts.port) as caller:
            for _ in range(count):
                ids.append(caller.submit("https://images.example/7.jpg")["id"])

    threads = [threading.Thread(target=run, args=(scans // CALLERS,)) for _ in range(CALLERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ids, len(ids) / (time.monotonic() - began)


def collect(parts: Parts, ids: list[str]) -> float:
    """Put an outcome for each scan into Redis; return how many a second were recorded."""
    redis = connect(parts.redis.address, timeout_seconds=5)
    pipe = redis.pipeline(transaction=True)
    for scan_id in ids:
        pipe.xadd(RESULTS, {FIELD: encode(outcome(scan_id))})
    query = "SELECT count(*) FROM scans WHERE completed_at IS NOT NULL"
    with closing(redis), closing(sqlite3.connect(parts.state / "records.sqlite3")) as records:
        began = time.monotonic()
        pipe.execute()
        while records.execute(query).fetchone()[0] < len(ids):
            time.sleep(0.02)
    return len(ids) / (time.monotonic() - began)


def claim_and_complete(parts: Parts, scans: int) -> float:
    """Post as the API does, claim and complete as a worker does; return scans a second."""
    parts.api.terminate()  # its collector would take part
    parts.api.wait()
    return asyncio.run(_through_redis(parts, scans))


async def _through_redis(parts: Parts, scans: int) -> float:
    board = RedisBoard(parts.redis)
    done, began = 0, time.monotonic()
    with closing(StreamLedger(parts.redis.address, worker="alone", timeout_seconds=5)) as ledger:
        while done < scans:
            await board.post([entry(f"scan_{done + number}") for number in range(SIDE_BATCH)])
            claims = ledger.claim(SIDE_BATCH)
            for start in range(0, len(claims), FORWARD_BATCH):
                part = claims[start : start + FORWARD_BATCH]
                ledger.phase(part, Status.SCORING.value)
                ledger.complete([(claim, outcome(claim.entry.scan_id)) for claim in part])
            done += len(claims)
    taken = time.monotonic() - began
    await board.aclose()
    return done / taken


def entry(scan_id: str) -> Entry:
    """Return a scan as the API posts it."""
    return Entry(
        scan_id=scan_id,
        kind=InputKind.URL,
        operating_point=PointName.BALANCED,
        deadline=time.time() + 900,
        url="https://images.example/7.jpg",
    )


def outcome(scan_id: str) -> Outcome:
    """Return what a worker says of a scan."""
    return Outcome(
        scan_id=scan_id,
        attempt=1,
        worker="alone",
        status=Status.COMPLETED,
        verdict=Verdict.INCONCLUSIVE,
        score=0.5,
        probability=0.5,
        model=Model(id="none", weights_sha256="0" * 64),
        input=Input(kind=InputKind.URL, url="https://images.example/7.jpg", sha256="0" * 64),
    )


if __name__ == "__main__":
    sys.exit(main())
