"""Do both engines say the same, and how fast? `python benchmarks/parity.py DATA [--images N]`.

    N images of DATA, one of each source in turn
      --prepare--> the same arrays --> torch float32        the measure
                                       openvino float32     bar: score and probability within 0.01
                                       openvino bfloat16    for the record, where the CPU has it

Times are medians of ROUNDS, the engines taking turns, in ms an image at batch 1 and 8. Prints
one JSON line; exit status 1 over the bar. DATA has manifest.csv and images/.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from pinclip import data
from pinclip.detector import Detector, Reading, load
from pinclip.graph import has_bfloat16
from pinclip.preprocess import to_rgb

BAR = 0.01
BATCH = 8
ROUNDS = 9


def main() -> int:
    """Measure, print, and return 1 if the engines differ by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    paths = _spread(options.data, options.images)
    detectors = _detectors()
    outputs = _outputs(paths, detectors)
    measure = outputs["torch float32"]
    differences = {
        name: _differences(detectors[name], found, measure)
        for name, found in outputs.items()
        if found is not measure
    }
    measured = {
        "name": "parity",
        "weights": detectors["torch float32"].weights_id,
        "images": len(paths),
        "against torch float32": differences,
        "ms an image": _times(detectors, paths),
    }
    print(json.dumps(measured))
    worst = max(differences["openvino float32"][key] for key in ("score_max", "probability_max"))
    return 1 if worst > BAR else 0


def _spread(folder: Path, count: int) -> list[Path]:
    """Return files that come from as many sources as can be, always the same ones."""
    members: dict[tuple[str, str], list[str]] = {}
    for row in sorted(data.read_manifest(folder), key=lambda row: row.sha256_of_original):
        members.setdefault((row.label, row.source), []).append(row.file)
    turns = chain.from_iterable(zip_longest(*members.values()))
    return [folder / "images" / file for file in turns if file is not None][:count]


def _detectors() -> dict[str, Detector]:
    wanted = [("torch", "float32"), ("openvino", "float32")]
    if has_bfloat16():
        wanted.append(("openvino", "bfloat16"))
    return {
        f"{engine} {precision}": load(engine=engine, precision=precision, batch_limit=BATCH)
        for engine, precision in wanted
    }


def _outputs(paths: list[Path], detectors: dict[str, Detector]) -> dict[str, np.ndarray]:
    """Return the raw outputs (N, K) of each detector, from the same prepared arrays."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    for start in range(0, len(paths), BATCH):
        batch = _prepared(paths[start : start + BATCH], detectors)
        for name, detector in detectors.items():
            found[name].append(detector.forward(batch))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _prepared(paths: list[Path], detectors: dict[str, Detector]) -> np.ndarray:
    prepare = detectors["torch float32"].prepare
    return np.stack([prepare(to_rgb(Image.open(path))) for path in paths])


def _differences(
    detector: Detector, outputs: np.ndarray, measure: np.ndarray
) -> dict[str, float | int]:
    ours, theirs = detector.finish(outputs), detector.finish(measure)
    scores = [abs(a.score - b.score) for a, b in zip(ours, theirs, strict=True)]
    said = [
        abs(a.probability - b.probability)
        for a, b in zip(ours, theirs, strict=True)
        if a.probability is not None and b.probability is not None
    ]
    return {
        "score_max": round(max(scores), 6),
        "score_mean": round(statistics.mean(scores), 6),
        "probability_max": round(max(said), 6),
        "probability_mean": round(statistics.mean(said), 6),
        "other_slice": sum(a.slice != b.slice for a, b in zip(ours, theirs, strict=True)),
        "other_side_of_balanced": sum(
            _is_flagged(a) != _is_flagged(b) for a, b in zip(ours, theirs, strict=True)
        ),
    }


def _is_flagged(reading: Reading) -> bool:
    threshold = reading.points["balanced"].threshold
    return threshold is not None and reading.score >= threshold


def _times(detectors: dict[str, Detector], paths: list[Path]) -> dict[str, dict[str, float]]:
    batch = _prepared(paths[:BATCH], detectors)
    taken: dict[str, dict[str, list[float]]] = {
        name: {"batch 1": [], f"batch {BATCH}": []} for name in detectors
    }
    for _ in range(ROUNDS):
        for name, detector in detectors.items():
            for label, part in (("batch 1", batch[:1]), (f"batch {BATCH}", batch)):
                began = time.perf_counter()
                detector.forward(part)
                taken[name][label].append((time.perf_counter() - began) / len(part) * 1000)
    return {
        name: {label: round(statistics.median(values), 1) for label, values in labels.items()}
        for name, labels in taken.items()
    }


if __name__ == "__main__":
    sys.exit(main())
