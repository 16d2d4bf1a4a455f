"""Writes the model as ONNX: `pinclip export -o model.onnx`.

    weights -> torch (adapter merged, head behind the tower) -> ONNX -> compared -> model.onnx
                                                     --small: packed.py ^

    images (B, 3, 224, 224) float32      what preprocess.prepare makes of B pictures
    outputs (B, K) float32               the score's logit, then one for each slice

B is free. What else a user of the file needs is in its metadata: see `properties`. A file whose
outputs differ from torch's is not written. Knows nothing of how pictures are read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from .packed import pack
from .weights import SIZE, Weights, WeightsError, named, open_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

USAGE, CONFIG = 2, 3
TOLERANCE = 1e-3
"""Largest difference of a logit between torch and the ONNX file; float32 sums in another order."""


class Program(Protocol):
    """What of torch.onnx.ONNXProgram is used to write it."""

    def save(self, destination: Path, *, external_data: bool) -> None:
        """Write one file, or with `external_data` two."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file that was asked for; return the exit status."""
    options = _parser().parse_args(argv)
    if not options.output.parent.is_dir():
        return _refuse(f"{options.output.parent} is no folder: make it first.", USAGE)
    try:
        weights = open_weights(named(options.weights))
        export(weights, options.output, is_small=options.small)
    except WeightsError as error:
        return _refuse(str(error), CONFIG)
    except OSError as error:
        return _refuse(f"{options.output} cannot be written: {error.strerror}.", USAGE)
    size = options.output.stat().st_size / 1e6
    sys.stdout.write(f"{options.output}: {weights.meta.id}, {size:.0f} MB\n")
    return 0


def export(weights: Weights, path: Path, *, is_small: bool = False) -> None:
    """Write `weights` as one ONNX file; a file that is there is replaced when all is done.

    `is_small`: in as few bits as the weights ship in; the outputs are the same. Raises RuntimeError
    if onnxruntime does not give what torch gives, OSError if the file cannot be written.
    """
    import onnxscript  # noqa: F401 - torch wants it late; without it, say so before the work
    import torch

    module = network(weights)
    program = torch.onnx.export(
        module,
        (torch.zeros(2, 3, SIZE, SIZE),),  # two: torch takes a size of one for a constant
        dynamo=True,
        input_names=["images"],
        output_names=["outputs"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program.")
    program.model.metadata_props.update(properties(weights))
    if is_small:
        pack(program.model, weights.base())
    publish(program, module, path)


def publish(program: Program, module: nn.Module, path: Path) -> None:
    """Put the program at `path` once it has given what `module` gives; raises RuntimeError."""
    part = path.with_name(f"{path.name}.part")
    try:
        program.save(part, external_data=False)
        _compare(part, module)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def network(weights: Weights) -> nn.Module:
    """Return the whole model in torch, float32: (B, 3, 224, 224) -> (B, K)."""
    from torch import nn

    from .tower import Features, TorchHead, image_tower

    meta = weights.meta
    features = Features(image_tower(weights.base()), meta.blocks)
    return nn.Sequential(features, TorchHead(weights.head())).eval()


def properties(weights: Weights) -> dict[str, str]:
    """Return the file's metadata; values but the names are JSON, as in meta.json.

    `pinclip.preprocessing` says what a picture must become first, `pinclip.outputs` names the K
    outputs, and `pinclip.slices` has the calibration and the thresholds of each slice.
    """
    meta = weights.meta
    parts = {
        "preprocessing": meta.preprocessing,
        "outputs": meta.outputs,
        "slices": meta.slices,
    }
    names = {
        "weights": meta.id,
        "weights_sha256": weights.sha256,
        "calibration_id": meta.calibration_id,
        "license": meta.license,
    }
    encoded = {key: msgspec.json.encode(value).decode() for key, value in parts.items()}
    return {f"pinclip.{key}": value for key, value in (names | encoded).items()}


def _compare(path: Path, module: nn.Module) -> None:
    """Raise RuntimeError unless onnxruntime gives what torch gives."""
    import onnxruntime
    import torch

    batch = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["outputs"], {"images": batch})
    with torch.inference_mode():
        difference = np.abs(found - module(torch.from_numpy(batch)).numpy()).max()
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The ONNX file's outputs differ from torch's by {difference:.2g}, more than "
            f"{TOLERANCE:g}: nothing was written. Try other versions of torch and onnxruntime."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip export",
        description="Write the model as ONNX: images (B, 3, 224, 224) to outputs (B, K).",
        epilog="exit status: 0 the file is written, 2 misuse, 3 the weights cannot be used",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="where to, such as m.onnx"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="a quarter of the size, the same outputs: for browsers (see PINCLIP_ONNX)",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="installed weights by name, or a folder; default: the only ones",
    )
    return parser


def _refuse(sentence: str, status: int) -> int:
    sys.stderr.write(f"pinclip: {sentence}\n")
    return status
