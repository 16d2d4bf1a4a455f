"""The loop of docs/method.md, from labelled images to weights.

    Examples --sampling--> batch --cut in parts--> inputs --model--> Pass --losses--> gradients
                              one process or several, each whole parts         |  summed, clipped
        start.py: bank and first head -> AdamW, cosine, average  <-------------+
        every checkpoint_steps and on SIGTERM: a checkpoint; taken up again, it ends the same

Every random number is a function of (seed, step, part). Reads no picture (activations.py), knows
no folder of a run (runs.py) and no argument of a command (command.py).
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from . import data, losses, recipe, sampling, start
from .distributed import World, sum_gradients
from .model import Mode, Pass, PinClip, Prefix
from .monitor import Monitor, facts_of, is_due
from .noise import Noise
from .progress import Run, Stopped
from .recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .data.manifest import Row

STOPPED = 143
"""Exit status after SIGTERM, as of any program that it ends."""
BATCH = 128


class Inputs(Protocol):
    """Where what the model sees comes from: activations.Kept or Drawn, or any like them."""

    def __call__(self, indices: Tensor, *, epoch: int | None) -> Tensor | Prefix:
        """(B,) -> images or prefix, on the model's device; None asks for the picture as it is."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N labelled images: rows, is_ai (N,) bool, weight (N,) of data.weights, and their inputs."""

    rows: Sequence[Row]
    is_ai: Tensor
    weight: Tensor
    inputs: Inputs


def examples(rows: Sequence[Row], inputs: Inputs) -> Examples:
    """Return rows as examples: classes from their labels, weights from their sources."""
    labels = [row.label for row in rows]
    is_ai = torch.tensor([label == "ai" for label in labels])
    weight = torch.from_numpy(data.weights(rows, labels))
    return Examples(rows=tuple(rows), is_ai=is_ai, weight=weight, inputs=inputs)


def fit(
    model: PinClip,
    examples: Examples,
    how: Recipe,
    *,
    keep: Tensor,
    out: Path | None,
    resume: bool = True,
    world: World | None = None,
    survey: start.Survey | None = None,
) -> PinClip:
    """Train a new model (start.make) on the images `keep` (indices) and return it, averaged.

    out: folder of the checkpoint, the model and logs/, or None to keep nothing; a checkpoint there
    is taken up unless `resume` is False. survey: start.survey of this tower and recipe, which holds
    for every fold; made here if None. Raises TrainingError, CheckpointError, SamplingError,
    RecipeError, DeviceError, and Stopped on SIGTERM.
    """
    world = world or World()
    model.to(world.device)
    drawn = sampling.sampler(
        examples.is_ai, examples.weight, keep=keep, batch=how.optimise.batch, seed=how.seed
    )
    total = max(1, round(how.optimise.epochs * drawn.steps))
    run = Run(model, examples, how, keep=keep, out=out, world=world, total=total)
    if not (resume and run.take_up()):
        found = survey or start.survey(model, examples, world)
        start.begin(model, found, examples, keep=keep, sampling=drawn)
        world.same(list(model.trained_state().values()))
    with Monitor(run.logs, total=total, start=run.done, title=_title(out)) as monitor:
        _loop(run, drawn, monitor)
    run.optimiser.use_average()
    run.finish()
    return model.eval()


def _loop(run: Run, drawn: sampling.Sampler, monitor: Monitor) -> None:
    """Take the steps from run.done to run.total (method 1.6)."""
    how, batches = run.how, drawn.epoch(run.done // drawn.steps)
    run.model.train()
    with _sigterm(is_heard=run.out is not None) as is_told:
        for step in range(run.done, run.total):
            epoch, place = divmod(step, drawn.steps)
            if place == 0:
                batches = drawn.epoch(epoch)
            sums, noise = _gradients(run, batches[place], step=step, epoch=epoch)
            # The same in every process from here on.
            facts = torch.cat([sums, sums.new_tensor([float(is_told())])])
            *means, stops = sum_gradients(run.optimiser.parameters, facts, run.world).tolist()
            terms = dict(zip(TERMS, means, strict=True))
            norm = run.optimiser.clip()
            if not math.isfinite(norm + sum(means)):
                raise run.failure(step, batches[place], terms)
            run.optimiser.step(step)
            run.done = step + 1
            if is_due(run.done, run.total):
                terms |= {"step/gradient": norm, **facts_of(run.model, noise, how.noise)}
                monitor.show(run.done, terms)
            monitor.step()
            if stops or run.is_time_to_save:
                run.save()
            if stops:
                raise Stopped(f"Stopped by SIGTERM after step {run.done} of {run.total}: saved.")


def _gradients(run: Run, batch: Tensor, *, step: int, epoch: int) -> tuple[Tensor, Noise | None]:
    """Add up the gradients of this process's parts of a batch (B,); return the terms (4,)."""
    how, model, device = run.how, run.model, run.world.device
    parts = sampling.parts(batch, how.optimise.accumulate)
    gate = gate_at(step, how.noise)
    sums, noise = torch.zeros(len(TERMS), device=device), None
    for part in run.world.share(len(parts)):
        # The part's own random numbers: dropout draws from torch's, noise from rng.
        seed = sampling.mix(how.seed, step, part)
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed + 1)
        y = run.y[parts[part]]  # (B,)
        told = y if how.noise.sees_label and gate > 0 else None  # A4-VPN alone
        inputs = run.examples.inputs(parts[part], epoch=epoch)
        with torch.autocast(device.type, torch.bfloat16, enabled=run.is_mixed):
            found = model(inputs, gate=gate, draws=how.noise.draws, rng=rng, told=told)
        terms = loss_terms(found, y, how) / len(parts)  # method 1.3
        torch.autograd.backward(terms[0])
        sums += terms.detach()
        noise = found.noise
    return sums, noise


TERMS = ("loss/all", "loss/clean", "loss/pi", "loss/kl")
"""Names of what `loss_terms` returns."""


def loss_terms(found: Pass, y: Tensor, how: Recipe) -> Tensor:
    """Return L and its terms, (4,): L = L_pi + lambda_0 BCE(clean) + beta KL (method 1.3).

    Without noise, or while its gate is 0, L is the cross-entropy of the clean logits alone.
    """
    smoothing = how.optimise.smoothing
    clean = losses.clean(found.clean_each, y, smoothing)
    zero = clean.new_zeros(())
    if found.noisy_each is None or found.noise is None:
        return torch.stack([clean, clean.detach(), zero, zero])
    pi = losses.pi(found.noisy_each, y, smoothing)
    kl = losses.kl(found.noise, how.noise.sigma_0)
    loss = pi + how.noise.lambda_0 * clean + how.noise.beta * kl
    return torch.stack([loss, clean.detach(), pi.detach(), kl.detach()])


def gate_at(step: int, how: recipe.Noise) -> float:
    """Return g = min(1, t / T_warm) at step t, from 0 (method 1.6); 0 where there is no noise."""
    if how.kind == "none":
        return 0.0
    return 1.0 if how.warm_up == 0 else min(1.0, step / how.warm_up)


@torch.no_grad()
def score_all(
    model: PinClip,
    examples: Examples,
    indices: Tensor,
    *,
    mode: Mode = "off",
    world: World | None = None,
) -> NDArray[np.float64]:
    """Return the logits of images (indices into examples), float64, in that order (method 1.7).

    Mode mc draws an image's noise from its file's name, as its pixels may not be at hand.
    """
    world = world or World()
    logits = torch.zeros(len(indices), dtype=torch.float64, device=world.device)
    for place in torch.split(torch.arange(len(indices)), BATCH)[world.rank :: world.size]:
        chosen = indices[place]
        seeds = [_seed_of(examples.rows[i]) for i in chosen.tolist()] if mode == "mc" else None
        inputs = examples.inputs(chosen, epoch=None)
        logits[place] = model.score(inputs, mode=mode, seeds=seeds).double()
    return world.sum(logits).cpu().numpy()


@contextmanager
def _sigterm(*, is_heard: bool) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM came; the step that is under way is finished."""
    told: list[int] = []
    if not is_heard or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGTERM, before)


def _seed_of(row: Row) -> int:
    return int.from_bytes(hashlib.blake2b(row.file.encode(), digest_size=8).digest()) >> 1


def _title(out: Path | None) -> str:
    return "" if out is None else out.name
