"""Does it grow? `python benchmarks/soak.py [--minutes 30] [--share 0.05]`.

    callers: megapixels, small ones, seen ones, uploads, what is no image, what is gone
                --> the whole running system, with the real model for a share of all batches
    each SAMPLE_SECONDS: memory (PSS) and open files of the API, the worker with its decoders,
                and Valkey

Prints one JSON line: what was scanned, and for each process the memory and open files at the end,
and the slope an hour, fitted to the second half, when caches and pools are full.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.callers import WAIT, Caller
from benchmarks.doubles import MIXED
from benchmarks.measuring import family, megabytes, open_files, tell
from benchmarks.origins import Origins
from benchmarks.pictures import numbered, photo
from benchmarks.running_system import RunningSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLERS = 8
PAUSE_SECONDS = 0.5
"""Between two scans of one caller: the point is to last, not to hurry."""
SAMPLE_SECONDS = 5.0
PARTS = ("api", "worker", "valkey")
MIX = ("small", "small", "small", "photo", "seen", "upload", "broken", "gone")
"""What is asked for, in turn."""


def main() -> int:
    """Load, sample and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.05, help="of batches that are real (0.05)")
    args = parser.parse_args()
    settings = {"PINCLIP_DETECTOR": MIXED, "BENCH_SHARE": str(args.share)}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Origins() as origins,
        RunningSystem(Path(name), origins.port, **settings) as system,
        Load(system, origins) as load,
    ):
        samples = list(sampled(system, 60 * args.minutes))
    return tell(
        {
            "name": "soak",
            "minutes": args.minutes,
            "share of batches that are real": args.share,
            "ends": dict(load.ends),
            **{part: figures(samples, part) for part in PARTS},
        }
    )


class Load:
    """Callers that ask for the mix as long as the block lasts, and count how it ended."""

    def __init__(self, system: RunningSystem, origins: Origins) -> None:
        self.ends: collections.Counter[str] = collections.Counter()
        self._system = system
        self._origins = origins
        self._numbers = itertools.count()
        self._jpeg = photo(400, 300)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with Caller(self._system.port) as caller:
            while not self._over.wait(PAUSE_SECONDS):
                number = next(self._numbers)
                scan = self._one(caller, MIX[number % len(MIX)], number)
                self.ends[_end_of(scan)] += 1

    def _one(self, caller: Caller, kind: str, number: int) -> dict[str, Any]:
        if kind != "upload":
            name = "small/0.jpg" if kind == "seen" else f"{kind}/{number}.jpg"
            return caller.scan(self._origins.url(name)).scan
        body = {"upload_id": caller.upload(numbered(self._jpeg, number))}
        return dict(caller.ask("POST", "/v1/scans", body, WAIT)[1])


def _end_of(scan: dict[str, Any]) -> str:
    """Return how a scan ended: its status, the code of its error, or that of a refusal."""
    if "status" in scan and "input" in scan:
        return str(scan["error"]["code"] if scan["error"] else scan["status"])
    return f"refused: {scan.get('code', 'no answer')}"


def sampled(system: RunningSystem, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what the processes hold, every SAMPLE_SECONDS."""
    began = time.monotonic()
    for turn in itertools.count():
        time.sleep(max(0.0, began + turn * SAMPLE_SECONDS - time.monotonic()))
        at = time.monotonic() - began
        if at > seconds:
            return
        pids = {part: family(system.child_pid(part) or 0) for part in PARTS}
        yield {
            "hours": at / 3600,
            "memory": {part: megabytes(each) for part, each in pids.items()},
            "files": {part: open_files(each) for part, each in pids.items()},
        }


def figures(samples: list[dict[str, Any]], part: str) -> dict[str, float]:
    """Return what a process holds at the end, and by how much that grows an hour."""
    half = samples[len(samples) // 2 :]
    hours = [sample["hours"] for sample in half]
    memory = [sample["memory"][part] for sample in half]
    files = [sample["files"][part] for sample in half]
    return {
        "MB": round(memory[-1], 1),
        "MB an hour": round(slope(hours, memory), 2),
        "open files": files[-1],
        "open files an hour": round(slope(hours, files), 2),
    }


def slope(hours: list[float], values: list[float]) -> float:
    """Return the slope of the straight line nearest to the values."""
    return float(np.polyfit(hours, values, 1)[0]) if len(hours) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main())
