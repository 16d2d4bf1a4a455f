"""The detector: weights, an engine and the measured error rates, behind three steps.

    rgb --prepare--> (3, 224, 224) --forward--> (K,) --finish--> Reading
        any thread                  one thread        any thread
    rgb --prepare_reencoded--^  the same picture, saved again smaller: does its score hold?

Which engine runs it, and in which number format, is chosen in engines.py; `reason` says why.
Decides nothing about an image: names of verdicts belong to those who use the readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from . import engines
from .engines import EngineError as EngineError  # `load` raises it
from .preprocess import prepare, reencoded, to_rgb
from .weights import Point, SliceFacts, Weights, named, open_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from .engines import Tower


class Reading(Struct, frozen=True, kw_only=True):
    """What the model says of one picture.

    `score` in [0, 1] always; `probability`, were half of all images made by AI, or None where
    the slice is not calibrated; `slice`, the kind of picture; `points`, the slice's operating
    points by name.
    """

    score: float
    probability: float | None
    slice: str
    points: Mapping[str, Point]


class Detector:
    """The model, ready. Only `forward` touches the device, and only one thread may call it."""

    def __init__(self, weights: Weights, tower: Tower, *, batch_limit: int, reason: str) -> None:
        meta = weights.meta
        self.weights_id = meta.id
        self.weights_sha256 = weights.sha256
        self.calibration_id = meta.calibration_id
        self.preprocessing = meta.preprocessing
        self.batch_limit = batch_limit
        self.engine = tower.engine
        self.precision = tower.precision
        self.device = tower.device
        self.reason = reason
        self._meta = meta
        self._tower = tower
        self._slices: list[tuple[str, SliceFacts]] = list(meta.slices.items())

    def __repr__(self) -> str:
        return f"Detector({self.weights_id}, {self.engine}, {self.precision}, {self.device})"

    def prepare(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) upright RGB -> (3, 224, 224), what `forward` takes. Any thread."""
        return prepare(rgb, self._meta.preprocessing)

    def prepare_reencoded(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for the picture at half its size and JPEG quality 70. Any thread."""
        return self.prepare(reencoded(rgb))

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224), 1 <= B <= batch_limit -> (B, K) raw outputs. One thread."""
        size = self._meta.preprocessing.size
        if batch.shape[1:] != (3, size, size) or not 1 <= len(batch) <= self.batch_limit:
            raise ValueError(
                f"A batch is (B, 3, {size}, {size}) with B from 1 to {self.batch_limit}, "
                f"not {batch.shape}: stack what `prepare` returns."
            )
        return self._tower.forward(np.ascontiguousarray(batch, np.float32))

    def finish(self, outputs: NDArray[np.float32]) -> list[Reading]:
        """(B, K) raw outputs -> B readings, same order. Raises ValueError for NaN or infinity."""
        if outputs.ndim != 2 or outputs.shape[1] != len(self._meta.outputs):
            raise ValueError(f"Outputs are (B, {len(self._meta.outputs)}), not {outputs.shape}.")
        if not np.isfinite(outputs).all():
            raise ValueError(
                "The model gave outputs that are not numbers: no score can be trusted."
            )
        return [self._read(row) for row in outputs.astype(np.float64)]

    def predict(self, images: Sequence[Image.Image | NDArray[np.uint8]]) -> list[Reading]:
        """Return a reading for each picture: PIL images, or (H, W, 3) uint8 arrays."""
        readings: list[Reading] = []
        for start in range(0, len(images), self.batch_limit):
            part = images[start : start + self.batch_limit]
            batch = np.stack([self.prepare(to_rgb(image)) for image in part])
            readings += self.finish(self.forward(batch))
        return readings

    def _read(self, row: NDArray[np.float64]) -> Reading:
        name, facts = self._slices[int(row[1:].argmax())]
        probability = None
        if facts.calibration is not None:
            calibration = facts.calibration
            probability = _sigmoid(row[0] / calibration.temperature + calibration.bias)
        return Reading(
            score=_sigmoid(row[0]), probability=probability, slice=name, points=facts.points
        )


def load(
    *,
    weights: str | Path | Weights | None = None,
    engine: str = "auto",
    precision: str = "auto",
    batch_limit: int = 8,
) -> Detector:
    """Return a detector that is ready to score.

    `weights`: installed weights by name, a folder (a str that is one, too), or None for the only
    ones installed.
    Raises WeightsError for weights that are missing or damaged, EngineError for an engine or a
    number format that cannot run here.
    """
    if batch_limit < 1:
        raise ValueError(f"batch_limit is {batch_limit}: set it to 1 or more.")
    which = named(weights) if isinstance(weights, str) else weights
    opened = which if isinstance(which, Weights) else open_weights(which)
    tower, reason = engines.start(opened, engine=engine, precision=precision)
    return Detector(opened, tower, batch_limit=batch_limit, reason=reason)


def _sigmoid(logit: Any) -> float:
    """Return a number in (0, 1); accurate and without overflow for any finite logit."""
    return float(0.5 * (1.0 + np.tanh(0.5 * float(logit))))
