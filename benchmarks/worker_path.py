"""What does a scan cost from an address to a verdict? `python benchmarks/worker_path.py`.

    stages      fetch, decode, prepare, forward, each alone: milliseconds, and CPU milliseconds
    lone scan   through the whole running system, nobody else asking, in turn with
                decode + prepare + forward in this process: the ratio of the two medians
    again       the same address once more: the answer is known, the bytes are fetched, or found
                unchanged where the origin gives an ETag (304)
    cache hit   the same address where its origin vouches for its answer: nobody fetches anything
    in flight   1, 8, 32, 64 callers: scans a second, against the bound 1 / (F + P / cores)
    the worker  memory with its decoders, and whether torch is in the process

F is the forward pass an image at the worker's batch limit, P the CPU time of fetch, decode and
prepare. A score that accuses is looked at twice; how many were is told, and F counts for each.
Each picture is a megapixel from loopback and has bytes of its own. One JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.callers import Answer, Caller, load
from benchmarks.measuring import (
    at_least,
    at_most,
    cores,
    cpu_seconds,
    family,
    has_loaded,
    megabytes,
    percentile,
    say,
    seconds,
    tell,
)
from benchmarks.origins import Origins
from benchmarks.pictures import photo
from benchmarks.running_system import RunningSystem
from pinclip import detector
from worker.decoding import DecodePool
from worker.fetcher import HttpFetcher
from worker.guard import Policy
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from worker.ports import Decoded

CALLERS = {1: 20, 8: 64, 32: 96, 64: 128}
"""Callers at a time, and how many scans they share."""
AT = 32
"""Callers at which the share of the bound has its bar."""
LATENCY_BAR, HIT_BAR_MS, SHARE_BAR, MEMORY_BAR_MB = 1.5, 5.0, 0.90, 600.0


def main() -> int:
    """Measure and print a line; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lone", type=int, default=30, help="lone scans (30)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the scans in flight")
    args = parser.parse_args()
    callers = {number: max(2, int(args.share * count)) for number, count in CALLERS.items()}
    with tempfile.TemporaryDirectory(dir="/tmp") as name, Origins() as origins:
        numbers = itertools.count()
        urls = (origins.url(f"photo/{number}.jpg") for number in numbers)
        bench = Bench(origins, urls)
        with RunningSystem(Path(name), origins.port) as system:
            line = {
                "name": "worker_path",
                "batch limit": bench.batch_limit,
                **bench.stages(),
                **bench.lone(system, args.lone),
                "in flight": {str(number): bench.rate(system, number, count)
                              for number, count in callers.items()},
                **worker(system),
            }  # fmt: skip
        line["bound scans a second"] = round(bound(line["ms"], line["cpu ms"]), 2)
        for found in line["in flight"].values():
            found["share of bound"] = round(share(found, line["ms"], line["cpu ms"]), 3)
    return tell({**line, "bars": bars(line)})


class Bench:
    """The steps of a scan in this process, and the scans of a running system."""

    def __init__(self, origins: Origins, urls: Any) -> None:
        self.batch_limit = WorkerSettings().batch_limit
        self._urls = urls
        self._tagged, self._fresh = origins.url("tagged/0.jpg"), origins.url("fresh/0.jpg")
        self._model = detector.load(batch_limit=self.batch_limit)
        self._fetcher = HttpFetcher(Policy(("127.0.0.0/8",), (origins.port,)))
        self._jpeg = photo(1280, 960)
        self._pool = DecodePool(processes=1)
        self._pool.start()
        self._decoded: Decoded = self._pool.decode(self._jpeg)
        array = self._model.prepare(self._rgb(self._decoded))
        self._one, self._batch = array[None], np.stack([array] * self.batch_limit)

    def stages(self) -> dict[str, dict[str, float]]:
        """Return milliseconds an image of each stage alone, of the clock and of processors."""
        work: dict[str, tuple[Callable[[], object], int]] = {
            "fetch": (self._fetch, 1),
            "decode": (lambda: self._pool.decode(self._jpeg), 1),
            "prepare": (lambda: self._model.prepare(self._rgb(self._decoded)), 1),
            "forward, batch 1": (partial(self._model.forward, self._one), 1),
            f"forward, batch {self.batch_limit}": (
                partial(self._model.forward, self._batch),
                self.batch_limit,
            ),
        }
        found: dict[str, dict[str, float]] = {"ms": {}, "cpu ms": {}}
        for name, (run, images) in work.items():
            repeats = 5 if name.startswith("forward") else 30
            clock, cpu = _costs(run, repeats)
            found["ms"][name] = round(1000 * clock / images, 2)
            found["cpu ms"][name] = round(1000 * cpu / images, 2)
        return found

    def lone(self, system: RunningSystem, count: int) -> dict[str, Any]:
        """Return how long a scan takes that is alone, and the same picture's second scan."""
        scans, alone, again, unchanged, hits = [], [], [], [], []
        with Caller(system.port) as caller:
            caller.scan(next(self._urls))
            caller.scan(self._tagged)
            caller.scan(self._fresh)
            for _ in range(count):
                url = next(self._urls)
                scans.append(_good(caller.scan(url)).seconds)
                again.append(_good(caller.scan(url)).seconds)
                unchanged.append(_good(caller.scan(self._tagged)).seconds)
                hits.append(_good(caller.scan(self._fresh)).seconds)
                alone.append(seconds(self._in_process))
        ratio = statistics.median(scans) / statistics.median(alone)
        return {
            "lone scan": {**_spread(scans), "n": count},
            "decode, prepare and forward alone": _spread(alone),
            "lone over alone, p50": round(ratio, 3),
            "same picture again": _spread(again),
            "same picture again, 304": _spread(unchanged),
            "cache hit": _spread(hits),
        }

    def rate(self, system: RunningSystem, callers: int, count: int) -> dict[str, Any]:
        """Return scans a second with so many callers, and what processors each part used."""
        pids = {part: family(system.child_pid(part) or 0) for part in ("worker", "api", "valkey")}
        urls = [next(self._urls) for _ in range(count)]
        before = {part: cpu_seconds(each) for part, each in pids.items()}
        began = time.monotonic()
        answers = [_good(answer) for answer in load(system.port, callers, urls)]
        taken = max(answer.at for answer in answers) - began
        say(f"{callers} callers: {count / taken:.2f} scans a second")
        return {
            "scans": count,
            "scans a second": round(count / taken, 2),
            "asked to come later": sum(answer.refused for answer in answers),
            "looked at twice": sum(_is_looked_at_twice(answer.scan) for answer in answers),
            "cpu ms a scan": {
                part: round(1000 * (cpu_seconds(each) - before[part]) / count, 1)
                for part, each in pids.items()
            },
            **_spread([answer.seconds for answer in answers]),
        }

    def _fetch(self) -> object:
        return self._fetcher.fetch(next(self._urls), timeout_seconds=10)

    def _in_process(self) -> object:
        array = self._model.prepare(self._rgb(self._pool.decode(self._jpeg)))
        return self._model.finish(self._model.forward(array[None]))

    @staticmethod
    def _rgb(decoded: Decoded) -> NDArray[np.uint8]:
        frame = decoded.frames[0]
        return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)


def bound(ms: dict[str, float], cpu: dict[str, float], looks: float = 1.0) -> float:
    """Return the most scans a second: one device for the forward pass, the rest beside it."""
    forward = [spent for name, spent in ms.items() if name.startswith("forward")]
    rest = cpu["fetch"] + cpu["decode"] + cpu["prepare"]
    return 1000 / (looks * min(forward) + rest / cores())


def share(found: dict[str, Any], ms: dict[str, float], cpu: dict[str, float]) -> float:
    """Return the share of the bound that was reached, second looks counted."""
    looks = 1 + found["looked at twice"] / found["scans"]
    return float(found["scans a second"] / bound(ms, cpu, looks))


def worker(system: RunningSystem) -> dict[str, Any]:
    """Return what the worker's process is like after all that."""
    pid = system.child_pid("worker") or 0
    return {
        "worker, MB with its decoders": megabytes(family(pid)),
        "torch in the worker": has_loaded(pid, "libtorch"),
    }


def bars(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what this benchmark has to reach."""
    reached = line["in flight"][str(AT)]["share of bound"]
    return [
        at_most(
            "lone scan over decode + prepare + forward, p50",
            line["lone over alone, p50"],
            LATENCY_BAR,
        ),
        at_most("cache hit, p50 ms", line["cache hit"]["p50 ms"], HIT_BAR_MS),
        at_least(f"share of the bound at {AT} in flight", reached, SHARE_BAR),
        at_most("worker's memory, MB", line["worker, MB with its decoders"], MEMORY_BAR_MB),
        at_most("torch in the worker's process", int(line["torch in the worker"]), 0),
    ]


def _costs(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return median seconds and mean CPU seconds of a call, decoding children included."""
    run()
    children = [pid for pid in family(os.getpid())[1:] if not _is_origin(pid)]
    cpu = time.process_time() + cpu_seconds(children)
    spent = [seconds(run) for _ in range(repeats)]
    cpu = time.process_time() + cpu_seconds(children) - cpu
    return statistics.median(spent), cpu / repeats


def _is_origin(pid: int) -> bool:
    return b"origins.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _spread(spent: list[float]) -> dict[str, float]:
    return {
        "p50 ms": round(1000 * statistics.median(spent), 1),
        "p99 ms": round(1000 * percentile(spent, 0.99), 1),
    }


def _good(answer: Answer) -> Answer:
    if answer.scan["status"] != "completed":
        raise RuntimeError(f"a scan went wrong: {answer.scan['error']}")
    return answer


def _is_looked_at_twice(scan: dict[str, Any]) -> bool:
    return scan["verdict"] == "likely_ai" or "verdict_unstable" in scan["warnings"]


if __name__ == "__main__":
    sys.exit(main())
