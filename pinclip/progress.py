"""How far one training is: the model, what moves it, and what of both is on the disk.

    fold-3/checkpoint.safetensors    model.*, optimiser.*, the step: all that the next step needs
           model.safetensors         the model alone, weights averaged: the result
           failed-step.*             weights and files of a step whose loss was no number
           logs/                     monitor.py

The first process writes, all read. Knows no loss and takes no step.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from . import checkpoint, data, recipe
from .checkpoint import State
from .distributed import gains_from_bfloat16
from .optimise import Optimiser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from .data.manifest import Row
    from .distributed import World
    from .model import PinClip
    from .recipe import Recipe
    from .train import Examples

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"
FAILED = "failed-step"
"""Name of what is kept of a step whose loss was no number: .json and .safetensors."""


class TrainingError(Exception):
    """A training that cannot go on: the text says at which step, and what to do."""


class Stopped(Exception):
    """SIGTERM came: the run is saved and can be taken up again."""


class Run:
    """What belongs to one training: the model, what moves it, where it is, where it is kept."""

    def __init__(
        self,
        model: PinClip,
        examples: Examples,
        how: Recipe,
        *,
        keep: Tensor,
        out: Path | None,
        world: World,
        total: int,
    ) -> None:
        self.model, self.examples, self.how = model, examples, how
        self.out, self.world, self.total = out, world, total
        self.done = 0
        self.y = examples.is_ai.to(world.device)
        self.optimiser = Optimiser(model, how.optimise, total=total)
        self.logs = out / "logs" if out is not None and world.is_first else None
        self.is_mixed = gains_from_bfloat16(world.device)
        self._recipe, self._data = recipe.digest(how), data_digest(examples.rows, keep)

    def take_up(self) -> bool:
        """Go on from the checkpoint in `out`; False where there is none."""
        if self.out is None or not (self.out / CHECKPOINT).exists():
            return False
        path = self.out / CHECKPOINT
        tensors, state = checkpoint.load(path, recipe=self._recipe, data=self._data)
        self.optimiser.restore(_part(tensors, "optimiser."))
        self.model.load_trained_state(_part(tensors, "model."))
        self.done = state.step
        return True

    @property
    def is_time_to_save(self) -> bool:
        """Whether the step that was just taken is one after which a checkpoint is due."""
        return self.done % self.how.optimise.checkpoint_steps == 0 or self.done == self.total

    def save(self) -> None:
        """Write the checkpoint; only the first process does."""
        tensors = {f"model.{name}": each for name, each in self.model.trained_state().items()}
        tensors |= {f"optimiser.{n}": each for n, each in self.optimiser.tensors().items()}
        self._write(CHECKPOINT, tensors)

    def finish(self) -> None:
        """Write the model alone, with its averaged weights."""
        self._write(MODEL, self.model.trained_state())

    def failure(self, step: int, batch: Tensor, means: dict[str, float]) -> TrainingError:
        """Keep what is needed to see why a loss is no number, and return the error to raise."""
        told = ", ".join(f"{name} {value:g}" for name, value in means.items())
        if self.out is not None and self.world.is_first:
            files = [self.examples.rows[index].file for index in batch.tolist()]
            kept = {"step": step, "terms": {k: repr(v) for k, v in means.items()}, "files": files}
            checkpoint.write_whole(self.out / f"{FAILED}.json", msgspec.json.encode(kept))
            self._write(f"{FAILED}.safetensors", self.model.trained_state())
        return TrainingError(
            f"Step {step} gave no finite loss or gradient ({told}): nothing was moved. Its files "
            f"and weights are in {self.out or 'no folder, as none was given'}: lower the rates of "
            "[optimise], or look at those images; the last checkpoint still stands."
        )

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        if self.out is not None and self.world.is_first:
            state = State(recipe=self._recipe, data=self._data, step=self.done)
            checkpoint.save(self.out / name, tensors, state)


def data_digest(rows: Sequence[Row], keep: Tensor) -> str:
    """Return the sha256 that names the images trained on: data.digest and which of them."""
    kept = [rows[index] for index in keep.tolist()]
    return hashlib.sha256((data.digest(rows) + data.digest(kept)).encode()).hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
