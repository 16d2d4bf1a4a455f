"""Workers that die and workers that are replaced: `python benchmarks/restarts.py`.

    kill -9    WORKERS at work on 500 scans; 25 times, at a random moment, one of them is killed
               and another started in its place
    rolling    WORKERS at work on 2,000 scans; each in turn is told to stop (SIGTERM) and replaced
               once it is gone

Scans are submitted at a steady pace and counted as accepted once the API answered 202. Lost: not
final when all should be. Recorded twice: its sequence passed 2. Failed: final without a verdict.
`kill_sweep` kills every part of a supervised system in turn; here only workers, and many. The
model's double takes BENCH_SECONDS an image. A JSON line each.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.callers import FINAL, Caller
from benchmarks.doubles import ASLEEP
from benchmarks.measuring import at_most, tell
from benchmarks.origins import Origins
from benchmarks.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 4
SUBMITTERS = 4
SETTLE_SECONDS = 120.0
"""Longest wait, after the last scan was accepted, for all to be final: leases last 30."""
DOUBLE = {"PINCLIP_DETECTOR": ASLEEP, "BENCH_SECONDS": "0.02", "PINCLIP_IN_FLIGHT": "8"}
SEED = 25


def main() -> int:
    """Run both and print a line each; 1 if anything was lost, recorded twice or failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--kill-scans", type=int, default=500)
    parser.add_argument("--rolling-scans", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=50.0, help="of submitting, each (50)")
    args = parser.parse_args()
    with Origins(hosts=32) as origins:
        killed = under(
            origins,
            args.kill_scans,
            args.seconds,
            lambda parts, names: kill(parts, names, args.kills, args.seconds),
        )
        status = tell({"name": "restarts", "how": "kill -9", "kills": args.kills, **killed})
        rolled = under(origins, args.rolling_scans, args.seconds, roll)
        rolling = tell({"name": "restarts", "how": "rolling SIGTERM", "stops": WORKERS, **rolled})
    return status or rolling


def under(
    origins: Origins,
    scans: int,
    seconds: float,
    disturb: Callable[[Parts, Iterator[str]], None],
) -> dict[str, Any]:
    """Submit scans while the workers are disturbed; return what became of them."""
    names = (f"w{number}" for number in itertools.count())
    urls = [origins.url(f"small/{number}.jpg") for number in range(scans)]
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        Parts(Path(folder), allow_port=origins.port) as parts,
    ):
        for _ in range(WORKERS):
            parts.start_worker(next(names), **DOUBLE)
        parts.wait_for(WORKERS)
        trouble = threading.Thread(target=disturb, args=(parts, names))
        trouble.start()
        accepted = submitted(parts, urls, seconds)
        trouble.join()
        ended = time.monotonic()
        final = settled(parts, accepted)
        settle = time.monotonic() - ended
    return figures(accepted, final, settle)


def submitted(parts: Parts, urls: list[str], seconds: float) -> list[str]:
    """Submit at a steady pace; return the ids that were accepted."""
    began, pace = time.monotonic(), seconds / len(urls)
    local = threading.local()

    def submit(number: int) -> str:
        time.sleep(max(0.0, began + number * pace - time.monotonic()))
        if not hasattr(local, "caller"):
            local.caller = Caller(parts.port)
        return str(local.caller.submit(urls[number])["id"])

    with ThreadPoolExecutor(SUBMITTERS) as threads:
        return list(threads.map(submit, range(len(urls))))


def settled(parts: Parts, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return the scans that are final, once all are or the time is up."""
    final: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + SETTLE_SECONDS
    with Caller(parts.port) as caller:
        for scan_id in ids:
            while scan_id not in final:
                left = max(0, min(30, int(until - time.monotonic())))
                headers = {"Prefer": f"wait={left}"}
                scan = caller.ask("GET", f"/v1/scans/{scan_id}", headers=headers)[1]
                if scan["status"] in FINAL:
                    final[scan_id] = scan
                elif not left:
                    break
    return final


def kill(parts: Parts, names: Iterator[str], kills: int, seconds: float) -> None:
    """Kill a worker at each of so many random moments, and start another."""
    chance = random.Random(SEED)
    began = time.monotonic()
    for moment in sorted(chance.uniform(0, seconds) for _ in range(kills)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        parts.kill_worker(chance.choice(list(parts.workers)))
        parts.start_worker(next(names), **DOUBLE)


def roll(parts: Parts, names: Iterator[str]) -> None:
    """Replace each worker in turn, as a deployment does."""
    for name in list(parts.workers):
        time.sleep(2.0)
        parts.end_worker(name)
        parts.start_worker(next(names), **DOUBLE)
        parts.wait_for(WORKERS)


def figures(accepted: list[str], final: dict[str, dict[str, Any]], settle: float) -> dict[str, Any]:
    """Return the counts and their bars."""
    lost = len(set(accepted) - set(final))
    twice = sum(scan["sequence"] > 2 for scan in final.values())
    failed = [str(scan["error"]["code"]) for scan in final.values() if scan["error"]]
    return {
        "accepted": len(accepted),
        "lost": lost,
        "recorded twice": twice,
        "failed": len(failed),
        "codes": sorted(set(failed)),
        "seconds to the last final": round(settle, 1),
        "bars": [
            at_most("restarts: lost", lost, 0),
            at_most("restarts: recorded twice", twice, 0),
            at_most("restarts: failed", len(failed), 0),
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
