"""The detector: weights, an engine and the measured error rates, behind three steps.

    rgb --prepare--> (3, 224, 224) --forward--> (K,) --finish--> Reading
        any thread                  one thread        any thread
    rgb --prepare_reencoded--^  the same picture, saved again smaller: does its score hold?

`load` chooses the engine and the number format and says why in `reason`:

    auto engine     torch where torch is installed and a CUDA GPU is there, else openvino
    auto precision  bfloat16 on CPUs with AMX and GPUs that have it, else float32

Decides nothing about an image: names of verdicts belong to those who use the readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from msgspec import Struct

from .preprocess import prepare, reencoded, to_rgb
from .weights import Point, SliceFacts, Weights, named, open_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "float32", "bfloat16")


class EngineError(Exception):
    """The engine or number format asked for cannot run here; the text says what can."""


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


class Tower(Protocol):
    """An engine with the model in it."""

    engine: str
    precision: str
    device: str

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K)."""
        ...


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
    _check_choice("engine", engine, ENGINES)
    _check_choice("precision", precision, PRECISIONS)
    if batch_limit < 1:
        raise ValueError(f"batch_limit is {batch_limit}: set it to 1 or more.")
    which = named(weights) if isinstance(weights, str) else weights
    opened = which if isinstance(which, Weights) else open_weights(which)
    engine, why_engine = _pick_engine(engine)
    build = _torch_tower if engine == "torch" else _openvino_tower
    tower, why_precision = build(opened, precision)
    reason = f"{why_engine}; {why_precision}"
    return Detector(opened, tower, batch_limit=batch_limit, reason=reason)


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EngineError(f"{what} is {value!r}: set it to one of {', '.join(allowed)}.")


def _pick_engine(asked: str) -> tuple[str, str]:
    """Return the engine and why; torch is imported only where a GPU device file exists."""
    if asked == "torch" and not _is_installed("torch", "open_clip"):
        raise EngineError("engine is torch, which is not installed: pip install 'pinclip[torch]'")
    if asked != "auto":
        return asked, f"{asked}: as set"
    if Path("/dev/nvidiactl").exists() and _is_installed("torch", "open_clip") and _has_cuda():
        return "torch", "torch: a CUDA GPU is there"
    return "openvino", "openvino: no CUDA GPU with torch"


def _openvino_tower(weights: Weights, asked: str) -> tuple[Tower, str]:
    if not _is_installed("openvino"):
        raise EngineError(
            "engine is openvino, which is not installed: pip install 'pinclip[worker]'"
        )
    from .graph import OpenVinoTower, has_bfloat16

    precision, why = pick_precision(asked, has_it=has_bfloat16(), is_fast=_has_amx())
    blocks, pools = weights.meta.blocks, weights.meta.pools
    tower = OpenVinoTower(weights.base(), blocks, weights.head(), pools=pools, precision=precision)
    return tower, why


def _torch_tower(weights: Weights, asked: str) -> tuple[Tower, str]:
    from .tower import TorchTower, has_bfloat16

    device = "cuda" if _has_cuda() else "cpu"
    has_it = has_bfloat16(device)
    is_fast = has_it if device == "cuda" else _has_amx()
    precision, why = pick_precision(asked, has_it=has_it, is_fast=is_fast)
    blocks, pools = weights.meta.blocks, weights.meta.pools
    tower = TorchTower(
        weights.base(), blocks, weights.head(), pools=pools, precision=precision, device=device
    )
    return tower, why


def pick_precision(asked: str, *, has_it: bool, is_fast: bool) -> tuple[str, str]:
    """Return the number format and why; `has_it`: bfloat16 runs here, `is_fast`: in hardware."""
    if asked == "bfloat16" and not has_it:
        raise EngineError(
            "precision is bfloat16, which this processor does not have: set it to float32 or auto."
        )
    if asked != "auto":
        return asked, f"{asked}: as set"
    if has_it and is_fast:
        return "bfloat16", "bfloat16: this processor multiplies matrices in it"
    return "float32", "float32: this processor has no matrix unit for bfloat16 (AMX)"


def _is_installed(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _has_amx() -> bool:
    """Return whether /proc/cpuinfo names amx_bf16; False where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any("amx_bf16" in line.split() for line in text.splitlines() if line.startswith("flags"))


def _sigmoid(logit: Any) -> float:
    """Return a number in (0, 1); accurate and without overflow for any finite logit."""
    return float(0.5 * (1.0 + np.tanh(0.5 * float(logit))))
