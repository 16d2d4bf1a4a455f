"""How fast is the model alone? `python benchmarks/forward.py [--rounds 3] [--batches 1 8 32]`.

    one photograph --prepare--> batches of 1, 8, 32 --forward--> every engine, taking turns

Milliseconds an image, the ratio to torch float32 eager, and the share of what this machine's own
matrix product gives in the same run (largest of PRODUCTS, by torch and by numpy), counted at the
GMAC of the whole tower; int8 has no such product to be held against. bfloat16 is measured where
the processor multiplies in it (AMX); what is left out is named with the reason. torch.compile is
not measured: a first call takes minutes.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.measuring import at_least, cores, in_turn, seconds, tell
from benchmarks.pictures import photo
from pinclip.detector import Detector, EngineError, load
from worker.images import decode

if TYPE_CHECKING:
    from collections.abc import Callable

GMAC = 17.6
"""Multiply-adds of CLIP ViT-B/16 for one image, in thousand millions."""
PRODUCTS = ((1024, 1024, 1024), (2048, 2048, 2048), (1576, 768, 3072))
"""Matrix products to find the peak; the last is the MLP's at batch 8."""
BASE = "torch float32"
OURS = "openvino auto"
OTHERS = (
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("torch", "bfloat16"),
)
BATCH_BAR = (1, 8)


def main() -> int:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    args = parser.parse_args()
    detectors, skipped = loaded(max(args.batches))
    times = measured(detectors, args.batches, args.rounds)
    peaks = {name: peak(kind) for name, kind in kinds(detectors).items()}
    flops = 2 * GMAC  # thousand millions an image
    line = {
        "name": "forward",
        "threads": cores(),
        "ms an image": {
            name: {f"batch {size}": round(1000 * spent, 1) for size, spent in each.items()}
            for name, each in times.items()
        },
        "times torch float32": {
            name: {f"batch {size}": round(times[BASE][size] / each[size], 2) for size in each}
            for name, each in times.items()
        },
        "share of peak": {
            name: {
                f"batch {size}": round(flops / spent / peaks[detectors[name].precision], 2)
                for size, spent in each.items()
            }
            for name, each in times.items()
            if detectors[name].precision in peaks
        },
        "peak GFLOP/s": {name: round(found) for name, found in peaks.items()},
        "chosen": detectors[OURS].reason,
        "left out": skipped,
        "bars": bars(times),
    }
    return tell(line)


def loaded(batch_limit: int) -> tuple[dict[str, Detector], dict[str, str]]:
    """Return the engines that are measured, and why others are not."""
    ready = partial(load, batch_limit=batch_limit)
    found = {
        BASE: ready(engine="torch", precision="float32"),
        OURS: ready(engine="openvino"),
    }
    skipped: dict[str, str] = {}
    for engine, number in OTHERS:
        name = f"{engine} {number}"
        if (engine, number) == ("openvino", found[OURS].precision):
            continue
        if number == "bfloat16" and "amx_bf16" not in flags():
            skipped[name] = "this processor has no matrix unit for bfloat16 (AMX)"
            continue
        try:
            found[name] = ready(engine=engine, precision=number)
        except EngineError as error:
            skipped[name] = str(error)
    return found, skipped


def measured(
    detectors: dict[str, Detector], batches: list[int], rounds: int
) -> dict[str, dict[int, float]]:
    """Return the median seconds an image of each engine at each batch size."""
    (frame,) = decode(photo(1280, 960)).frames
    rgb = np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
    times: dict[str, dict[int, float]] = {name: {} for name in detectors}
    for size in batches:
        batch = np.stack([detectors[BASE].prepare(rgb)] * size)
        work = {name: partial(each.forward, batch) for name, each in detectors.items()}
        for name, spent in in_turn(work, rounds if size > 1 else 3 * rounds).items():
            times[name][size] = spent / size
    return times


def kinds(detectors: dict[str, Detector]) -> dict[str, torch.dtype]:
    """Return the number formats in use that a matrix product of torch has on a CPU."""
    used = {each.precision for each in detectors.values()}
    return {name: getattr(torch, name) for name in ("float32", "bfloat16") if name in used}


def peak(kind: torch.dtype) -> float:
    """Return the most GFLOP/s that a matrix product of this number format reached here."""
    return max(2e-9 * m * k * n / fastest(kind, m, k, n) for m, k, n in PRODUCTS)


def fastest(kind: torch.dtype, m: int, k: int, n: int) -> float:
    """Return the shortest seconds of several products (m, k) x (k, n)."""
    left, right = torch.rand(m, k, dtype=kind), torch.rand(k, n, dtype=kind)
    ways: list[Callable[[], Any]] = [lambda: left @ right]
    if kind is torch.float32:
        ways.append(partial(np.matmul, left.numpy(), right.numpy()))
    return min(seconds(way) for way in ways for _ in range(5))


def bars(times: dict[str, dict[int, float]]) -> list[dict[str, Any]]:
    """Return the bars that are set for a processor like this one; without AMX or VNNI none is."""
    if "amx_bf16" in flags():
        bar, on = 3.5, "AMX"
    elif flags() & {"avx512_vnni", "avx_vnni"}:
        bar, on = 2.0, "VNNI"
    else:
        return []
    return [
        at_least(
            f"CPU engine against torch float32, batch {size}, with {on}",
            round(times[BASE][size] / times[OURS][size], 2),
            bar,
        )
        for size in BATCH_BAR
        if size in times[OURS]
    ]


def flags() -> set[str]:
    """Return what the processor says it can do."""
    return set(Path("/proc/cpuinfo").read_text().split())


if __name__ == "__main__":
    sys.exit(main())
