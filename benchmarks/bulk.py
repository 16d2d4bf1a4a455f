"""What does Ray cost a machine that works alone? `python benchmarks/bulk.py [--images N]`.

    plain    `pinclip predict`'s own pipeline in this process
    bulk     the stages of `pinclip bulk` on a Ray of their own

Both score the same drawn JPEG files with the installed weights, one after the other. Start-up is
told apart: of Ray, and of the stages until their first results. Images a second are counted from
the first batch on, in both, and so is the processor time of all processes, which says what an image
costs on a machine that has other work. Prints one JSON line; the ratio is the point.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sized
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from measuring import at_least, cpu_seconds, family, tell
from PIL import Image

from sdk.environment import load
from sdk.wire import PointName
from worker.bulk import cluster
from worker.bulk.inputs import listed
from worker.predict import Predictor, find
from worker.settings import WorkerSettings


class Rate(NamedTuple):
    """Images a second, processor seconds an image, and the seconds until the first batch."""

    images: float
    processor: float
    first_seconds: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    settings = load(WorkerSettings)
    with TemporaryDirectory() as folder:
        draw(Path(folder), args.images)
        pairs = [
            (plain_rate(folder, settings), bulk_rate(folder, settings)) for _ in range(args.rounds)
        ]
    plain = [plain for plain, _ in pairs]
    bulk = [bulk for _, (bulk, _) in pairs]
    rates = {"plain": plain, "bulk": bulk}
    ratio = median(b.images / p.images for p, b in zip(plain, bulk, strict=True))
    line = {
        "name": "bulk",
        "images": args.images,
        "rounds": args.rounds,
        "images a second": {
            name: round(median(each.images for each in found), 2) for name, found in rates.items()
        },
        "processor seconds an image": {
            name: round(median(each.processor for each in found), 3)
            for name, found in rates.items()
        },
        "seconds until Ray is there": round(median(ready for _, (_, ready) in pairs), 1),
        "seconds from there to the first batch": round(median(b.first_seconds for b in bulk), 1),
        "bars": [at_least("bulk against the plain loop, images a second", round(ratio, 3), 0.9)],
    }
    return tell(line)


def draw(folder: Path, count: int) -> None:
    """Write so many JPEG files of 640 x 480: noise over a ramp, each another."""
    random = np.random.default_rng(8)
    ramp = np.linspace(0, 180, 640)[None, :, None]
    for index in range(count):
        noise = random.integers(0, 60, (480, 640, 3))
        pixels = (ramp + noise).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.jpg", quality=85)


def plain_rate(folder: str, settings: WorkerSettings) -> Rate:
    """Measure the plain loop."""
    with Predictor.open(settings) as predictor:
        lines = predictor.predict(list(find([folder])), point=PointName.BALANCED)
        return rate(iter(lambda: list(islice(lines, settings.batch_limit)), []))


def bulk_rate(folder: str, settings: WorkerSettings) -> tuple[Rate, float]:
    """Measure bulk; also return the seconds until Ray is there."""
    began = time.perf_counter()
    with cluster.running(""):
        ready = time.perf_counter() - began
        return rate(cluster.results(listed([folder]), settings, point=PointName.BALANCED)), ready


def rate(batches: Iterable[Sized]) -> Rate:
    """Measure from the first batch on: it holds the start-up."""
    began = time.perf_counter()
    rest = iter(batches)
    next(rest)
    first, spent = time.perf_counter(), cpu_seconds(family(os.getpid()))
    count = sum(map(len, rest))
    seconds = time.perf_counter() - first
    return Rate(
        images=count / seconds,
        processor=(cpu_seconds(family(os.getpid())) - spent) / count,
        first_seconds=first - began,
    )


if __name__ == "__main__":
    sys.exit(main())
