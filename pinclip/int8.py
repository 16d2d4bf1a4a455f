"""Finds the ranges with which the tower may run in 8 bits, and whether it may at all.

    prepared images --extremes--> least and greatest number of each channel, by linear layer
                    --levels----> smooth (in,), range (2,)         SmoothQuant, arXiv 2211.10438
    other images    --compare---> float32 against 8 bits: Change
                    --add-------> int8.safetensors, and its line in meta.json

Used where weights are made, never where they serve: what ships is statistics, no image. `add` gives
up blocks, the worst first, until the rest passes the bar; a block that was given up stays float32.
Knows nothing of speed: 8 bits pay on processors with VNNI.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import openvino as ov
import openvino.opset15 as op
from safetensors.numpy import save

from . import graph, metrics
from .weights import LINEAR, Base, File, Levels, Weights, digest, open_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Extremes = tuple[Floats, Floats]

FILE = "int8.safetensors"
SMOOTHING = 0.8
"""Exponent of SmoothQuant: how much of a channel's size goes from the inputs to the weights."""
MEAN_BAR, AUC_BAR = 0.02, 0.005
"""How far 8 bits may be from float32: mean change of the score, and fall of the AUROC."""
SMALLEST = 1e-4
BATCH = 8


class Change(NamedTuple):
    """What 8 bits change: mean and largest change of the score in [0, 1], and AUROC of both."""

    mean: float
    largest: float
    auc_float32: float
    auc_int8: float

    @property
    def passes(self) -> bool:
        """Whether weights may ship with it."""
        return self.mean <= MEAN_BAR and self.auc_float32 - self.auc_int8 <= AUC_BAR


def add(folder: Path, *, images: Floats, held: Floats, is_ai: NDArray[np.bool_]) -> Change:
    """Put ranges that pass the bar beside the weights in `folder`, and say so in meta.json.

    images (N, 3, 224, 224): real images as `Detector.prepare` makes them, which the ranges are
    taken from; held (M, 3, 224, 224) with is_ai (M,): others, which they are judged on. Raises
    ValueError, and writes nothing, if no block passes.
    """
    weights = open_weights(folder)
    found = levels(weights.base(), extremes(weights, images))
    exact = logits(weights, held, {})
    change = compare(exact, logits(weights, held, found), is_ai)
    while not change.passes:
        found = _without_worst(weights, images, found)
        if not found:
            raise ValueError(f"No block may run in 8 bits: with the best alone, {change}.")
        change = compare(exact, logits(weights, held, found), is_ai)
    write(found, folder / FILE)
    origin = (
        f"activations of {len(images)} images; on {len(held)} others the score changes by "
        f"{change.mean:.4f} (mean), AUROC from {change.auc_float32:.4f} to {change.auc_int8:.4f}"
    )
    file = File(
        file=FILE, sha256=digest(folder / FILE), license=weights.meta.license, origin=origin
    )
    meta = msgspec.structs.replace(weights.meta, int8=file)
    told = msgspec.json.format(msgspec.json.encode(meta), indent=1)
    (folder / "meta.json").write_bytes(told + b"\n")
    open_weights(folder)  # what was written is what serves, or it is refused here
    return change


def extremes(weights: Weights, images: Floats) -> dict[str, Extremes]:
    """Return the least and the greatest number of each channel that enters each linear layer."""
    model = graph.build(weights.base(), weights.meta.blocks, None)
    entering = {
        node.get_friendly_name(): node.input_value(0)
        for node in model.get_ops()
        if node.get_friendly_name() in LINEAR
    }
    axes = op.constant(np.array([0, 1], np.int64))
    outputs = [
        reduce(values, axes)
        for reduce in (op.reduce_min, op.reduce_max)
        for values in entering.values()
    ]
    probe = ov.Model(outputs, model.get_parameters(), "extremes")
    request = graph.compiled(probe, "float32").create_infer_request()
    each = [_copied(request.infer([part])) for part in _batches(images)]
    size = len(entering)
    least = [np.min([seen[i] for seen in each], axis=0) for i in range(size)]
    greatest = [np.max([seen[i + size] for seen in each], axis=0) for i in range(size)]
    return dict(zip(entering, zip(least, greatest, strict=True), strict=True))


def levels(base: Base, seen: Mapping[str, Extremes]) -> dict[str, Levels]:
    """Return how 8 bits stand for what was seen entering each layer."""
    found = {}
    for layer, (least, greatest) in seen.items():
        at = f"{layer}_weight" if layer.endswith("in_proj") else f"{layer}.weight"
        column = np.maximum(np.abs(base.tensor(at)).max(axis=0), SMALLEST)
        channel = np.maximum(np.maximum(-least, greatest), SMALLEST)
        smooth = channel**SMOOTHING / column ** (1 - SMOOTHING)
        smooth = smooth.astype(np.float16).astype(np.float32)  # as it is stored
        found[layer] = Levels(smooth=smooth, range=_range(least / smooth, greatest / smooth))
    return found


def compare(exact: Floats, rounded: Floats, is_ai: NDArray[np.bool_]) -> Change:
    """Return what became of the scores, from logits (M,) in float32 and in 8 bits."""
    change = np.abs(_sigmoid(exact) - _sigmoid(rounded))
    return Change(
        mean=float(change.mean()),
        largest=float(change.max()),
        auc_float32=metrics.auc(exact, is_ai),
        auc_int8=metrics.auc(rounded, is_ai),
    )


def logits(weights: Weights, images: Floats, found: Mapping[str, Levels]) -> Floats:
    """Return the logits of the score, (N,), with the layers of `found` in 8 bits."""
    meta, head = weights.meta, weights.head()
    with TemporaryDirectory() as name:
        path = Path(name) / FILE
        write(found, path)
        tower = graph.OpenVinoTower(weights.base(int8=path), meta.blocks, head, precision="int8")
    return np.concatenate([tower.forward(part)[:, 0] for part in _batches(images)])


def write(found: Mapping[str, Levels], path: Path) -> None:
    """Write ranges as a safetensors file."""
    tensors: dict[str, NDArray[Any]] = {}
    for layer, one in found.items():
        tensors[f"{layer}.smooth"] = one.smooth.astype(np.float16)
        tensors[f"{layer}.range"] = one.range
    path.write_bytes(save(tensors))


def _without_worst(
    weights: Weights, images: Floats, found: Mapping[str, Levels]
) -> dict[str, Levels]:
    """Return `found` without the block whose 8 bits, alone, change the logit most."""
    exact = logits(weights, images, {})
    blocks: dict[str, dict[str, Levels]] = {}
    for layer, one in found.items():
        blocks.setdefault(layer.rpartition("resblocks.")[2].partition(".")[0], {})[layer] = one
    wrong = {
        block: float(np.square(logits(weights, images, own) - exact).mean())
        for block, own in blocks.items()
    }
    worst = blocks[max(wrong, key=lambda block: wrong[block])]
    return {layer: one for layer, one in found.items() if layer not in worst}


def _range(least: Floats, greatest: Floats) -> Floats:
    """Return both ends of 256 steps over these numbers, one of which is 0."""
    low, high = min(float(least.min()), 0.0), max(float(greatest.max()), 0.0)
    step = max(high - low, SMALLEST) / 255
    below = round(-low / step)
    return np.array([-below * step, (255 - below) * step], np.float32)


def _batches(images: Floats) -> list[Floats]:
    return [np.ascontiguousarray(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]


def _copied(result: Any) -> list[Floats]:
    return [result[index].copy() for index in range(len(result))]


def _sigmoid(logit: Floats) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * logit.astype(np.float64)))
