"""What the benchmarks share: medians, bars, JSON lines, and what a process costs (Linux, /proc).

    line = {"name": ..., ..., "bars": [at_most("cache hit, p50 ms", 4.2, 5.0), ...]}
    return tell(line)          prints it; 1 if one of its bars is missed

A bar goes with the value it is held against, so that docs/performance.md can show both. Knows
nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def at_least(what: str, value: float, bar: float) -> dict[str, Any]:
    """Return a bar that `value` reaches from above."""
    return {"what": what, "value": value, "bar": bar, "is": "at least", "met": value >= bar}


def at_most(what: str, value: float, bar: float) -> dict[str, Any]:
    """Return a bar that `value` must not pass."""
    return {"what": what, "value": value, "bar": bar, "is": "at most", "met": value <= bar}


def tell(line: Mapping[str, Any]) -> int:
    """Print a result as a JSON line; return 1 if a bar of it is missed, and say which."""
    print(json.dumps(line), flush=True)
    missed = [bar for bar in line.get("bars", ()) if not bar["met"]]
    for bar in missed:
        say(f"{bar['what']}: {bar['value']}, {bar['is']} {bar['bar']} wanted.")
    return int(bool(missed))


def say(text: str) -> None:
    """Tell a person who waits how far it is; the result is on stdout alone."""
    print(text, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of them do not pass; the largest where there are few."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, taking turns after one round that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            spent = seconds(run)
            if turn:
                taken[name].append(spent)
    return {name: statistics.median(each) for name, each in taken.items()}


def family(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += family(int(child))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that these have used, and those of their children that ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def megabytes(pids: Iterable[int]) -> float:
    """Return the memory of these, pages that they share counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if row.startswith("Pss:"):
                    total += int(row.split()[1])
    return round(total / 1024, 1)


def open_files(pids: Iterable[int]) -> int:
    """Return how many descriptors these hold."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{pid}/fd"))
    return total


def has_loaded(pid: int, library: str) -> bool:
    """Return whether a file of this name is mapped into the process."""
    return library in Path(f"/proc/{pid}/maps").read_text()


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
