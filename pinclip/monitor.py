"""What a run looks like while it runs: one live line, TensorBoard curves, warnings.

    Pass, losses  --every LOG_STEPS-->  facts  --> logs/ (TensorBoard)
                                           +-->  warnings, each said once (method.md 2)
                  --every step------->  tqdm: 40%|####      | loss 0.412 trS 0.98 attention 3.1

Only looks: nothing of the training depends on it. TensorBoard and the line belong to the first
process; the others have a Monitor that keeps quiet.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Never, Self

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from .adapters import NAME, attached
from .bank import effective_rank
from .noise import Noise, NoiseGenerator, entropy, strength

if TYPE_CHECKING:
    from torch import Tensor

    from . import recipe

LOG_STEPS = 20
"""Steps between two points of a curve."""
STRENGTH = (0.2, 3.0)
"""tr Sigma / (d sigma_0^2) outside: variance collapses or runs away (method.md 2, warning 1)."""
SATURATED = 0.95
"""Share of its limit beyond which the mean is held by the limit alone."""
PEAKED, FLAT, POOR = 0.02, 0.999, 1.5
"""Attention: entropy as a share of log M below or above, effective rank below (warning 3)."""


class Monitor:
    """The line, the curves and the warnings of one training; `warnings` lists what was said.

    folder: where TensorBoard's files go; None for no files and no line.
    """

    def __init__(self, folder: Path | None, *, total: int, start: int, title: str = "") -> None:
        self.warnings: list[str] = []
        self._writer = None if folder is None else SummaryWriter(str(folder), purge_step=start)
        self._line: tqdm[Never] = tqdm(
            total=total,
            initial=start,
            desc=title,
            unit="step",
            disable=True if folder is None else None,  # None: only where someone looks
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.close()
        if self._writer is not None:
            self._writer.close()

    def step(self) -> None:
        """Move the line on."""
        self._line.update()

    def show(self, step: int, facts: Mapping[str, float]) -> None:
        """Turn facts by name, such as "loss/pi", into the line's end, points and warnings."""
        self._line.set_postfix(
            {name.split("/")[-1]: f"{value:.3g}" for name, value in facts.items()}
        )
        if self._writer is not None:
            for name, value in facts.items():
                self._writer.add_scalar(name, value, step)
        for warning in warnings_of(facts):
            self._warn(step, warning)

    def _warn(self, step: int, warning: str) -> None:
        kind = warning.partition(":")[0]
        if any(kind == said.partition(":")[0] for said in self.warnings):
            return
        self.warnings.append(warning)
        if self._writer is not None:
            self._writer.add_text("warnings", warning, step)
            self._line.write(f"pinclip: warning at step {step}: {warning}", file=sys.stderr)


def is_due(step: int, total: int) -> bool:
    """Return whether facts are taken at this step (from 1): at first, every LOG_STEPS, at last."""
    return step == 1 or step == total or step % LOG_STEPS == 0


@torch.no_grad()
def facts_of(model: nn.Module, noise: Noise | None, how: recipe.Noise) -> dict[str, float]:
    """Return what there is to say of the noise (B, d), its attention and the adapters.

    noise/strength is tr Sigma / (d sigma_0^2); noise/mean the RMS of mu, noise/mean_share the
    average |mu_j| as a share of its limit m; attention/entropy is in shares of log M;
    adapter/share is ||W' - W|| / ||W|| over the tuned blocks.
    """
    facts = {}
    if noise is not None:
        if how.kind != "mean":
            facts["noise/strength"] = float(strength(noise, how.sigma_0))
        facts["noise/mean"] = float(noise.mean.square().mean().sqrt())
        facts["noise/mean_share"] = float(noise.mean.abs().mean()) / how.mean_limit
    for module in model.modules():
        if isinstance(module, NoiseGenerator) and module.last_attention is not None:
            facts |= _attention(module.last_attention)
    return facts | _adapters(model)


def warnings_of(facts: Mapping[str, float]) -> list[str]:
    """Return a sentence for each warning of method.md 2 that the facts give; it begins by kind."""
    found = []
    size = facts.get("noise/strength", 1.0)
    if not STRENGTH[0] <= size <= STRENGTH[1]:
        happened = "collapsed" if size < STRENGTH[0] else "run away"
        found.append(
            f"variance: it has {happened}: tr Sigma is {size:.2g} times d sigma_0^2, expected "
            f"{STRENGTH[0]} to {STRENGTH[1]}; raise noise.beta."
        )
    if facts.get("noise/mean_share", 0.0) > SATURATED:
        found.append(
            "mean: it is held by its limit alone: |mu| is "
            f"{facts['noise/mean_share']:.2f} of noise.mean_limit; raise noise.beta."
        )
    share = facts.get("attention/entropy", 0.5)
    if not PEAKED <= share <= FLAT and facts.get("attention/rank", 0.0) < POOR:
        seen = "one entry of the bank" if share < PEAKED else "all entries of the bank alike"
        found.append(
            f"attention: every image attends to {seen} (entropy {share:.3f} of its largest): the "
            "bank says nothing; give one of other features, or a larger noise.bank_size."
        )
    return found


def _attention(attention: Tensor) -> dict[str, float]:
    """(B, H, M) -> entropy in shares of log M, effective rank of what differs between images."""
    rows = attention.float().flatten(1)
    return {
        "attention/entropy": float(entropy(attention.float())) / math.log(attention.shape[-1]),
        "attention/rank": _rank(rows - rows.mean(dim=0)),
    }


def _rank(matrix: Tensor) -> float:
    return effective_rank(matrix) if bool(matrix.abs().max() > 1e-9) else 0.0


def _adapters(model: nn.Module) -> dict[str, float]:
    moved = whole = 0.0
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention) and parametrize.is_parametrized(module, NAME):
            weight = module.parametrizations[NAME].original  # type: ignore[union-attr, index]
            moved += float((attached(module)(weight) - weight).square().sum())
            whole += float(weight.square().sum())
    return {"adapter/share": math.sqrt(moved / whole)} if whole else {}
