"""The optimiser of a run and all it remembers: AdamW, a cosine, clipped gradients, an average.

    gradients --clip--> AdamW, one rate a group (adapter, noise, head) --> parameters
                            rate x (1 + cos(pi t/T)) / 2                        |
                                               average  <--(1 - decay)----------+

Method 1.6. What it remembers goes into a checkpoint as named tensors and comes back bit for bit.
LoRA's B does not decay. Knows of no loss, image or file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from . import recipe
    from .model import PinClip

    _Tensors = tuple[Tensor, ...] | list[Tensor]

BETAS = (0.9, 0.999)


class Optimiser:
    """Moves the trained parameters of one model over `total` steps."""

    def __init__(self, model: PinClip, how: recipe.Optimise, *, total: int) -> None:
        self._how, self._total = how, total
        groups = _groups(model, how)
        self.parameters = [each for group in groups for each in group["params"]]
        self._rates = [group["lr"] for group in groups]
        self._adam = AdamW(groups, betas=BETAS)
        self._kept = nn.ParameterList(self.parameters)
        # Only what is trained is averaged: the tower is not copied.
        self._average = AveragedModel(self._kept, multi_avg_fn=_averaging(how.average))

    def clip(self) -> float:
        """Bound the gradients' joint norm; return what it was."""
        return float(nn.utils.clip_grad_norm_(self.parameters, self._how.clip))

    def step(self, done: int) -> None:
        """Move by the gradients, then forget them; `done` steps were taken before."""
        share = cosine(done, self._total)
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._average.update_parameters(self._kept)

    def use_average(self) -> None:
        """Put the averaged weights in the place of the last ones (method 1.6)."""
        if int(self._average.n_averaged):
            with torch.no_grad():
                for last, mean in zip(self.parameters, self._average.parameters(), strict=True):
                    last.copy_(mean)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is remembered, by name; the parameters themselves are the model's."""
        found: dict[str, Tensor] = {
            f"average.{i}": each for i, each in enumerate(self._average.parameters())
        }
        found["averaged"] = self._average.n_averaged
        for i, facts in self._adam.state_dict()["state"].items():
            found |= {f"adam.{i}.{name}": value for name, value in facts.items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, of an optimiser of the same model and recipe."""
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})
        with torch.no_grad():
            for i, each in enumerate(self._average.parameters()):
                each.copy_(tensors[f"average.{i}"])
            self._average.n_averaged.copy_(tensors["averaged"])


def cosine(done: int, total: int) -> float:
    """Return the share of the full rate: 1 at first, 0 after the last step."""
    return (1 + math.cos(math.pi * done / total)) / 2


def decay_at(updates: int, decay: float) -> float:
    """Return the decay of an average of `updates` weights: at first it forgets faster.

    min(decay, (1 + n) / (10 + n)), so that a short run is not an average of its beginning.
    """
    return min(decay, (1 + updates) / (10 + updates))


def _averaging(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(means: _Tensors, latest: _Tensors, updates: Tensor | int) -> None:
        share = 1 - decay_at(int(updates), decay)
        torch._foreach_lerp_(list(means), list(latest), share)

    return update


def _groups(model: PinClip, how: recipe.Optimise) -> list[dict[str, Any]]:
    """Return AdamW's groups: each part of the model with its rate, LoRA's B apart."""
    rates = {"adapter": how.rate_adapter, "noise": how.rate_noise, "head": how.rate_head}
    spared = {id(each) for each in model.undecayed()}
    groups = []
    for part, parameters in model.trainable().items():
        for decay in (how.weight_decay, 0.0):
            chosen = [each for each in parameters if (id(each) in spared) == (decay == 0.0)]
            groups.append({"params": chosen, "lr": rates[part], "weight_decay": decay})
    return [group for group in groups if group["params"]]
