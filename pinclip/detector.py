"""The detector: weights, an engine and the measured error rates, behind three steps.

    rgb --prepare--> (3, 224, 224) --forward--> (K + D,) --finish--> Reading, with its features
        any thread                  one thread            any thread          |
    rgb --prepare_reencoded--^  the same picture, saved again                 | later, and perhaps
                                smaller: does its score hold?                 v with another head
                                                                Reading <--reread-- any thread

Features are what the head reads: class tokens of a few blocks, D numbers. `features_id` names all
that makes them, so those that one detector gave can be read by any other with the same.
Which engine runs it, and in which number format, is chosen in engines.py; `reason` says why.
Decides nothing about an image: names of verdicts belong to those who use the readings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from . import engines
from .engines import EngineError as EngineError  # `load` raises it
from .preprocess import prepare, reencoded, to_rgb
from .weights import (
    WIDTH,
    Head,
    Point,
    SliceFacts,
    Weights,
    features_identity,
    named,
    open_weights,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from .engines import Tower

CARD, GATE_REPORT = "CARD.md", "gate.json"
"""Files of a weights folder that are for people: nothing is computed from them."""
KEPT = np.dtype("<f2")
"""How features are kept: half the bytes of float32 change a score by less than 1e-3 (0022)."""
_erf = np.frompyfunc(math.erf, 1, 1)
"""numpy has none, and a hidden layer is too small to want scipy for it."""


class Reading(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What the model says of one picture.

    `score` in [0, 1] always; `probability`, were half of all images made by AI, or None where
    the slice is not calibrated; `slice`, the kind of picture; `points`, the slice's operating
    points by name. `features`: what the head read of the picture, D float16 numbers, for
    `Detector.reread`; None from `predict`.
    """

    score: float
    probability: float | None
    slice: str
    points: Mapping[str, Point]
    features: bytes | None = None


class Preprocessor:
    """The part of a detector that needs no engine: which one it is, and what it takes."""

    def __init__(self, weights: Weights) -> None:
        self.weights_id = weights.meta.id
        self.weights_sha256 = weights.sha256
        self.calibration_id = weights.meta.calibration_id
        self.preprocessing = weights.meta.preprocessing

    def prepare(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) upright RGB -> (3, 224, 224), what `forward` takes. Any thread."""
        return prepare(rgb, self.preprocessing)

    def prepare_reencoded(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for the picture at half its size and JPEG quality 70. Any thread."""
        return self.prepare(reencoded(rgb))


class Detector(Preprocessor):
    """The model, ready. Only `forward` touches the device, and only one thread may call it."""

    def __init__(self, weights: Weights, tower: Tower, *, batch_limit: int, reason: str) -> None:
        super().__init__(weights)
        meta = weights.meta
        self.batch_limit = batch_limit
        self.engine = tower.engine
        self.precision = tower.precision
        self.device = tower.device
        self.reason = reason
        self.features_id = features_identity(meta, engine=tower.engine, precision=tower.precision)
        self._weights = weights
        self._meta = meta
        self._tower = tower
        self._slices: list[tuple[str, SliceFacts]] = list(meta.slices.items())

    def __repr__(self) -> str:
        return f"Detector({self.weights_id}, {self.engine}, {self.precision}, {self.device})"

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224), 1 <= B <= batch_limit -> (B, K + D) raw outputs. One thread.

        The first of K is the logit of the score, the others are for the slices; then the features.
        """
        size = self._meta.preprocessing.size
        if batch.shape[1:] != (3, size, size) or not 1 <= len(batch) <= self.batch_limit:
            raise ValueError(
                f"A batch is (B, 3, {size}, {size}) with B from 1 to {self.batch_limit}, "
                f"not {batch.shape}: stack what `prepare` returns."
            )
        both = self._tower.forward_both(np.ascontiguousarray(batch, np.float32))
        return np.concatenate(both, axis=1)

    def finish(self, outputs: NDArray[np.float32]) -> list[Reading]:
        """(B, K + D) raw outputs, or (B, K) without features -> B readings, same order.

        Raises ValueError for NaN or infinity, and for outputs of another shape.
        """
        count, wide = len(self._meta.outputs), len(self._meta.blocks) * WIDTH
        if outputs.ndim != 2 or outputs.shape[1] not in (count, count + wide):
            raise ValueError(
                f"Outputs are (B, {count}) or (B, {count + wide}), not {outputs.shape}."
            )
        if not np.isfinite(outputs).all():
            raise ValueError(
                "The model gave outputs that are not numbers: no score can be trusted."
            )
        features = [row.tobytes() or None for row in outputs[:, count:].astype(KEPT)]
        rows = outputs[:, :count].astype(np.float64)
        return [self._read(row, kept) for row, kept in zip(rows, features, strict=True)]

    def reread(self, features: Sequence[bytes]) -> list[Reading]:
        """Return readings of pictures by their features alone, without a forward pass. Any thread.

        They have to come from a detector with the same `features_id`. Raises ValueError for
        features of another length, or that are not numbers.
        """
        size = len(self._meta.blocks) * WIDTH * KEPT.itemsize
        if any(len(kept) != size for kept in features):
            sizes = sorted({len(kept) for kept in features})
            raise ValueError(f"Features of this model have {size} bytes, not {sizes}.")
        rows = np.array([np.frombuffer(kept, KEPT) for kept in features], np.float32)  # (B, D)
        return self.finish(_answer(rows, self._head)) if features else []

    def predict(self, images: Sequence[Image.Image | NDArray[np.uint8]]) -> list[Reading]:
        """Return a reading for each picture: PIL images, or (H, W, 3) uint8 arrays."""
        readings: list[Reading] = []
        for start in range(0, len(images), self.batch_limit):
            part = images[start : start + self.batch_limit]
            batch = np.stack([self.prepare(to_rgb(image)) for image in part])
            readings += self.finish(self.forward(batch)[:, : len(self._meta.outputs)])
        return readings

    @property
    def card(self) -> str | None:
        """The model card, Markdown, if it came with the weights (`CARD.md`)."""
        return _text(self._weights.folder / CARD)

    @property
    def gate_report(self) -> str | None:
        """What `pinclip gate OLD NEW --json` said of the weights, if it came with them."""
        return _text(self._weights.folder / GATE_REPORT)

    @cached_property
    def _head(self) -> Head:
        # Read when it is asked for: the engine has a head of its own, and few need another 11 MB.
        return self._weights.head()

    def _read(self, row: NDArray[np.float64], features: bytes | None) -> Reading:
        name, facts = self._slices[int(row[1:].argmax())]
        probability = None
        if facts.calibration is not None:
            calibration = facts.calibration
            probability = _sigmoid(row[0] / calibration.temperature + calibration.bias)
        return Reading(
            score=_sigmoid(row[0]),
            probability=probability,
            slice=name,
            points=facts.points,
            features=features,
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
    opened = _opened(weights)
    tower, reason = engines.start(opened, engine=engine, precision=precision)
    return Detector(opened, tower, batch_limit=batch_limit, reason=reason)


def load_preprocessor(*, weights: str | Path | Weights | None = None) -> Preprocessor:
    """Return what prepares pictures for the detector of these weights; no engine is started.

    `weights` as in `load`. Raises WeightsError for weights that are missing or damaged.
    """
    return Preprocessor(_opened(weights))


def _opened(weights: str | Path | Weights | None) -> Weights:
    which = named(weights) if isinstance(weights, str) else weights
    return which if isinstance(which, Weights) else open_weights(which)


def _answer(features: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    """(B, D) -> (B, K): what either engine's own head gives for these features."""
    outputs = features @ head.weight.T + head.bias
    if head.hidden is not None:
        inner = features @ head.hidden.weight.T + head.hidden.bias  # (B, H)
        gelu = inner * (1 + _erf(inner / math.sqrt(2)).astype(np.float32)) / 2
        outputs[:, 0] += gelu @ head.hidden.output
    return outputs


def _text(path: Path) -> str | None:
    """Return what a file says; None if there is none, or it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _sigmoid(logit: Any) -> float:
    """Return a number in (0, 1); accurate and without overflow for any finite logit."""
    return float(0.5 * (1.0 + np.tanh(0.5 * float(logit))))
