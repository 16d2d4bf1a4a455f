"""One run of an ablation: an arm is fitted, its threshold chosen, its rates measured.

    Bench (rows, tower, inputs) + Recipe --start, fit--> PinClip
      validation rows --score--> threshold, M                 all that a trial sees
      test rows       --score--> Outcome, one a mode          and a shortcut's swap: planted.py

Both parts come from the trainer (train.py). Knows no arm, no order of runs, no folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pinclip import start
from pinclip.distributed import World
from pinclip.train import Inputs, examples, fit, score_all

from . import macro
from .macro import Held
from .records import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from open_clip.transformer import VisionTransformer
    from torch import Tensor

    from pinclip.data.manifest import Row
    from pinclip.model import Mode, PinClip
    from pinclip.recipe import Recipe
    from pinclip.train import Examples

    Flags = NDArray[np.bool_]

ENERGY_IMAGES = 512
"""Training images on which the energy of the noise is measured."""

InputsFor = Callable[["PinClip"], Inputs]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What arms are run on: labelled rows, a tower, and where a new model's inputs come from.

    `tests` are other inputs of the same rows, by name, that a trained model meets besides its own
    at test. `surveys` are kept by what is read of the frozen tower.
    """

    rows: tuple[Row, ...]
    visual: VisionTransformer
    inputs_for: InputsFor
    tests: Mapping[str, InputsFor] = field(default_factory=dict)
    world: World = World()  # noqa: RUF009 - immutable
    surveys: dict[object, start.Survey] = field(default_factory=dict)


class Fitted(NamedTuple):
    """A trained model, what it was trained from, and on which rows."""

    model: PinClip
    examples: Examples
    trained_on: Tensor


class Judge(NamedTuple):
    """A way of using a model, the threshold for it, and the validation images that gave both."""

    mode: Mode
    threshold: float
    validation: Held

    @property
    def m(self) -> float:
        """M on validation sources."""
        return macro.macro(self.validation, self.threshold)


def fitted(bench: Bench, how: Recipe, rows: Flags) -> Fitted:
    """Return the recipe's model, trained on these rows (N,)."""
    world = bench.world
    model = start.make(bench.visual, how).to(world.device)
    seen = examples(bench.rows, bench.inputs_for(model))
    trained_on = torch.from_numpy(np.flatnonzero(rows))
    # What an untrained model says is the same for every run that reads the same of the tower.
    key = (how.model.features, how.model.blocks, how.equalise)
    survey = bench.surveys.get(key)
    if survey is None or (survey.z is None and start.needs_centroids(how)):
        survey = bench.surveys[key] = start.survey(model, seen, world)
    fit(model, seen, how, keep=trained_on, out=None, world=world, survey=survey)
    return Fitted(model, seen, trained_on)


def judge(bench: Bench, found: Fitted, mode: Mode, rows: Flags) -> Judge:
    """Return the threshold at which M is highest on these (validation) rows."""
    held = _held(bench, found.model, found.examples, rows, mode)
    return Judge(mode, macro.best_threshold(held), held)


def outcomes(bench: Bench, found: Fitted, judged: Judge, rows: Flags) -> list[Outcome]:
    """Return what this use of the model does on left-out rows, and on the bench's other inputs."""
    seen: dict[str, Examples] = {judged.mode: found.examples}
    for name, inputs_for in bench.tests.items():
        seen[f"{judged.mode} {name}"] = examples(bench.rows, inputs_for(found.model))
    return [
        _outcome(name, judged, _held(bench, found.model, each, rows, judged.mode))
        for name, each in seen.items()
    ]


@torch.no_grad()
def energy(bench: Bench, found: Fitted) -> float | None:
    """Return the mean of (tr Sigma + |mu|^2) / d on training images; None without noise."""
    model, seen = found.model, found.examples
    if model.how.noise.kind == "none":
        return None
    every = max(1, len(found.trained_on) // ENERGY_IMAGES)
    chosen = found.trained_on[::every]
    total = torch.zeros(())
    for part in torch.split(chosen, 64):
        told = seen.is_ai[part].to(bench.world.device) if model.how.noise.sees_label else None
        noise = model(seen.inputs(part, epoch=None), gate=1.0, told=told).noise
        if noise is None:
            return None
        each = (noise.log_variance.exp() + noise.mean.square()).mean(dim=1)
        total += each.sum().cpu()
    return float(total / len(chosen))


def _held(bench: Bench, model: PinClip, seen: Examples, rows: Flags, mode: Mode) -> Held:
    chosen = np.flatnonzero(rows)
    logit = score_all(model, seen, torch.from_numpy(chosen), mode=mode, world=bench.world)
    source = np.array([row.source for row in seen.rows])[chosen]
    return Held(logit=logit, is_ai=seen.is_ai.numpy()[chosen], source=source)


def _outcome(name: str, judged: Judge, test: Held) -> Outcome:
    fake, real = macro.rates(test, judged.threshold)
    return Outcome(
        mode=name,
        validation=judged.m,
        threshold=judged.threshold,
        fake=fake,
        real=real,
        areas=macro.areas(test),
        recall_5=macro.recalls(test, 0.05),
        recall_1=macro.recalls(test, 0.01),
        ece=macro.calibration_error(judged.validation, test),
    )
