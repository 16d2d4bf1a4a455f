"""`pinclip package RUN`: from a training run to weights that serve, and the card that says of what.

    RUN/scores.csv   out of fold   -> thresholds, error rates, probabilities       calibrate.py
    RUN/final        every image   -> adapter.safetensors, the score's head
    RUN's activations              -> the head's rows that name the slice          probe.py
    all of it                      -> meta.json, CARD.md                           card.py

What is claimed comes from the folds; what ships was trained on everything. Heads that were trained
side by side become one hidden layer, standardisation goes into its weights. Trains no detector.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from safetensors.numpy import save

from . import adapters, calibrate, card, data, metrics, probe, runs, weights
from .activations import Pictures
from .calibrate import Held
from .checkpoint import CheckpointError, write_whole
from .data.errors import DataError
from .data.sets import open_set, readable
from .distributed import World
from .preprocess import PREPROCESSING
from .recipe import Recipe, RecipeError, read_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import PinClip

    Floats = NDArray[np.float64]
    Matrix = NDArray[np.float32]
    Names = NDArray[np.str_]

BASE, HEAD, ADAPTER = "base.safetensors", "head.safetensors", "adapter.safetensors"
INT8 = "int8.safetensors"
REFUSALS = (CheckpointError, DataError, RecipeError, weights.WeightsError)
BATCH = 64
FEWEST_FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its recipe and images, the final model, and features (N, D) it reads."""

    how: Recipe
    rows: tuple[data.Row, ...]
    model: PinClip
    features: Matrix


def run(options: argparse.Namespace) -> int:
    """Write weights of a run; exit status 0, or 2 with the reason on stderr."""
    try:
        meta = package(options)
    except REFUSALS as error:
        sys.stderr.write(f"pinclip: {error}\n")
        return 2
    sys.stdout.write(card.table(meta) + "\n")
    return 0


def package(options: argparse.Namespace) -> weights.Meta:
    """Write adapter, head, meta.json and CARD.md into options.out, and return what was measured.

    Raises DataError, RecipeError, CheckpointError or WeightsError.
    """
    run = open_run(options.run, options.data, work=options.work)
    held, kind = _held(run.rows, options.run / "scores.csv"), _slices(run)
    predicted = np.array(data.SLICES)[kind.held_out.argmax(axis=1)]
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / BASE).exists():
        shutil.copyfile(weights.open_weights().folder / BASE, out / BASE)
    write_whole(out / HEAD, save(head_tensors(run.model, kind.head)))
    (out / INT8).unlink(missing_ok=True)  # made for another head; int8.add makes them anew
    tuned = adapter_tensors(run.model)
    if tuned:
        write_whole(out / ADAPTER, save(tuned))
    meta = _meta(run, held, predicted, out, options)
    told = msgspec.json.format(msgspec.json.encode(meta), indent=1)
    write_whole(out / "meta.json", told + b"\n")
    weights.open_weights(out)  # what was written is what serves, or it is refused here
    write_whole(out / "CARD.md", card.render(meta, run.how).encode())
    return meta


def open_run(run: Path, folder: Path, *, work: Path | None) -> Run:
    """Return a run with its images; raises CheckpointError for other data or an unfinished run."""
    how, tower, world = read_recipe(run / "recipe.toml"), runs.shipped_tower(), World()
    found = open_set(folder, layout=how.data.layout, folds=how.data.folds)
    images, _ = readable(found, limit=how.data.unreadable)
    facts = runs.read_facts(run)
    if facts.data != data.digest(images.rows):
        raise CheckpointError(
            "checkpoint_data",
            f"{run} was trained on other data than {folder} holds: give the folder it was trained "
            f"on ({facts.images} images, digest {facts.data[:12]}).",
        )
    model = runs.load_model(run, runs.FINAL, tower.visual)
    pictures = Pictures(read=images.read, how=how, preprocessing=runs.preprocessing(tower.visual))
    inputs = runs.inputs_of(tower, pictures, images.rows, work=work or run / "work", world=world)
    parts = torch.split(torch.arange(len(images.rows)), BATCH)
    with torch.no_grad():
        features = torch.cat([model.features(inputs(part, epoch=None)) for part in parts])
    return Run(
        how=how,
        rows=tuple(images.rows),
        model=model,
        features=features.cpu().numpy(),
    )


def head_tensors(model: PinClip, kind: probe.Head) -> dict[str, NDArray[Any]]:
    """Return head.safetensors: the score's head on raw features, and the rows of the slices.

    (features - mean) / scale becomes part of the weights; members become rows of one hidden layer.
    """
    head = model.head
    mean, scale = _array(head.mean), _array(head.scale)
    width = len(mean)
    score, bias = np.zeros((1, width), np.float32), _array(head.bias).mean(keepdims=True)
    found: dict[str, NDArray[Any]] = {}
    if head.inner is None or head.inner_bias is None:
        score = _array(head.weight).mean(axis=0, keepdims=True) / scale
        bias = bias - score @ mean
    else:
        inner = _array(head.inner).reshape(-1, width) / scale  # (members * hidden, D)
        found["hidden.weight"] = inner
        found["hidden.bias"] = _array(head.inner_bias).ravel() - inner @ mean
        found["hidden.output"] = _array(head.weight).ravel() / len(head.weight)
    found["weight"] = np.concatenate([score, kind.weight])
    found["bias"] = np.concatenate([bias, kind.bias])
    kinds = {"hidden.weight": np.float16}  # half of the file; the rest is small
    return {
        name: np.ascontiguousarray(tensor, kinds.get(name, np.float32))
        for name, tensor in found.items()
    }


def adapter_tensors(model: PinClip) -> dict[str, NDArray[np.float32]]:
    """Return adapter.safetensors: factors a (r, W) and b (W, r) of q, k, v of each tuned block."""
    found: dict[str, NDArray[np.float32]] = {}
    for block, part in model.adapters().items():
        down, up = adapters.factors(part)
        for index, name in enumerate("qkv"):
            at = f"transformer.resblocks.{block - 1}.attn.in_proj.{name}"
            found[f"{at}.a"] = np.ascontiguousarray(_array(down[index]))
            found[f"{at}.b"] = np.ascontiguousarray(_array(up[index]))
    return found


def _slices(run: Run) -> probe.Answer:
    """Return which slice an image is taken for, held out, and the head that ships.

    The features are the final model's: where the tower was tuned, it has seen the images.
    """
    fold = np.array([row.fold for row in run.rows])
    if len(np.unique(fold)) < FEWEST_FOLDS:
        raise RecipeError(
            f"The set has {len(np.unique(fold))} folds and packaging needs {FEWEST_FOLDS}, one to "
            "choose on and one to report on beside those that train: set data.folds, train again."
        )
    return probe.answer(run.features, fold, probe.slice_question(run.rows), probe.SLICE_SETTINGS)


def _held(rows: Sequence[data.Row], path: Path) -> Held:
    """Return the out-of-fold logits of every row; raises CheckpointError if some are missing."""
    with path.open(newline="", encoding="utf-8") as lines:
        logits = {line["file"]: float(line["score"]) for line in csv.DictReader(lines)}
    missing = [row.file for row in rows if row.file not in logits]
    if missing:
        raise CheckpointError(
            "checkpoint_unfinished",
            f"{path} has no score for {len(missing)} of {len(rows)} images: train with "
            "--all-folds to the end first.",
        )
    return Held(
        logit=np.array([logits[row.file] for row in rows]),
        is_ai=np.array([row.label == "ai" for row in rows]),
        fold=np.array([row.fold for row in rows]),
        group=np.array([row.group for row in rows]),
        weight=data.weights(rows, [row.label for row in rows]),
    )


def _meta(
    run: Run, held: Held, predicted: Names, out: Path, options: argparse.Namespace
) -> weights.Meta:
    slices = {name: calibrate.slice_facts(held.where(predicted == name)) for name in data.SLICES}
    model, is_tuned = run.how.model, run.how.model.adapter.kind != "none"
    return weights.Meta(
        format=weights.FORMAT,
        id=f"pinclip-b16-{options.release}",
        date=options.date,
        command=(
            f"pinclip train {run.how.name}.toml --data DATA --out RUN --all-folds; pinclip package "
            f"RUN --data DATA -o WEIGHTS --release {options.release} --date {options.date}"
        ),
        license="MIT",
        model=weights.MODEL,
        base=_file(out / BASE, "openai/clip-vit-base-patch16, weight-only int8"),
        head=_file(out / HEAD, "trained by pinclip train"),
        adapter=_file(out / ADAPTER, "trained by pinclip train") if is_tuned else None,
        hidden=model.hidden * model.members,
        blocks=model.blocks,
        outputs=("score", *data.SLICES),
        preprocessing=PREPROCESSING,
        calibration_id=weights.calibration_id(slices),
        prior=0.5,
        evaluation=_evaluation(run.rows, held),
        slices=slices,
        data=_data(run.rows, options.description),
        sources=_sources(run.rows, held, predicted, slices),
    )


def _file(path: Path, origin: str) -> weights.File:
    return weights.File(file=path.name, sha256=weights.digest(path), license="MIT", origin=origin)


def _data(rows: Sequence[data.Row], description: str) -> weights.Data:
    labels = Counter(row.label for row in rows)
    return weights.Data(
        description=description,
        sha256=data.digest(rows),
        images=len(rows),
        real=labels["real"],
        ai=labels["ai"],
        sources=len({(row.label, row.source) for row in rows}),
        groups=len({row.group for row in rows}),
    )


def _evaluation(rows: Sequence[data.Row], held: Held) -> dict[str, float]:
    """Return the figures over all images; photos and others by the manifest's style."""
    is_photo = np.array([row.slice == "photo" for row in rows])
    found = {"auc": metrics.auc(held.logit, held.is_ai)}
    for name, where in (("auc_photos", is_photo), ("auc_others", ~is_photo)):
        if len(np.unique(held.is_ai[where])) == 2:
            found[name] = metrics.auc(held.logit[where], held.is_ai[where])
    for rate in (0.01, 0.03, 0.05):
        found[f"recall_at_{rate:.2f}"] = metrics.recall_at(held.logit, held.is_ai, rate)
    return {name: round(value, 4) for name, value in found.items()}


def _sources(
    rows: Sequence[data.Row],
    held: Held,
    predicted: Names,
    slices: Mapping[str, weights.SliceFacts],
) -> tuple[weights.SourceRow, ...]:
    """Return what became of each source at the balanced point, thresholds of other folds."""
    flagged, abstained = np.zeros((2, len(rows)), bool)
    for name, facts in slices.items():
        where = predicted == name
        if facts.points["balanced"].threshold is None:
            abstained |= where
        else:
            rate = calibrate.FALSE_ALARMS["balanced"]
            flagged[where] = calibrate.cross_fitted(held.where(where), rate)[0]
    members: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault((row.label, row.source), []).append(index)
    return tuple(
        weights.SourceRow(
            source=source,
            label=label,
            slice=Counter(predicted[found].tolist()).most_common(1)[0][0],
            n=len(found),
            flagged=int(flagged[found].sum()),
            abstained=int(abstained[found].sum()),
        )
        for (label, source), found in sorted(members.items())
    )


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().float().numpy()
