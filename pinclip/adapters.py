"""What of the tower is tuned: low-rank updates of q, k, v, or an orthogonal subspace of them.

    in_proj_weight W (3 x width, width)           frozen, inside nn.MultiheadAttention
      |  LowRank     W + gamma [B_q A_q; B_k A_k; B_v A_v]          B = 0 at the start
      |  Orthogonal  W + [U_q M_q V_q; U_k M_k V_k; U_v M_v V_v]    M = 0 at the start
      v
    what the attention reads                      `merge` writes it into W for good

Both are parametrizations (torch.nn.utils.parametrize), so the tower's own forward is untouched.
Knows one block's attention; which blocks are tuned is the model's business.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from torch import Tensor

    from . import recipe

NAME = "in_proj_weight"
"""The attention's joint weight of q, k and v."""


class LowRank(nn.Module):
    """LoRA on q, k and v (Hu et al., 2106.09685; method 1.5): W' = W + gamma B A, gamma = alpha/r.

    `down` is A (3, r, width), Kaiming-uniform; `up` is B (3, width, r), zero, so that the tower is
    CLIP at the start. Dropout switches whole rank directions off: a weight has no input whose
    elements could be dropped, which is what LoRA's own dropout does.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        width = weight.shape[1]
        self.gamma = alpha / rank
        self.dropout = dropout
        self.down = nn.Parameter(torch.empty(3, rank, width))
        self.up = nn.Parameter(torch.zeros(3, width, rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(3 x width, width) -> the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            down = _without_some(self.down, p=self.dropout, is_training=self.training)
            return weight + self.gamma * (self.up @ down).flatten(0, 1)


class Orthogonal(nn.Module):
    """Tuning inside the subspace that W uses least (after Effort, 2411.15633; method 3, A9).

    W = U S V of q, k and v each. The `rank` smallest singular directions may change, W' = W +
    U_r M V_r with M (rank, rank) trained from zero; the other directions, and what they do, stay
    those of CLIP, because U_r and V_r are orthogonal to them. Effort trains U_r, S_r, V_r and
    holds them apart by a loss term; here orthogonality is exact and needs none.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, *, rank: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        left, _, right = torch.linalg.svd(weight.detach().float().view(3, -1, weight.shape[1]))
        self.register_buffer("left", left[:, :, -rank:].contiguous())  # (3, width, r)
        self.register_buffer("right", right[:, -rank:].contiguous())  # (3, r, width)
        self.core = nn.Parameter(torch.zeros(3, rank, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """(3 x width, width) -> the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            core = _without_some(self.core, p=self.dropout, is_training=self.training)
            return weight + (self.left @ core @ self.right).flatten(0, 1)


def attach(attention: nn.MultiheadAttention, *, how: recipe.Adapter) -> None:
    """Put the recipe's adapter (`lora` or `orthogonal`) on the attention's q, k and v.

    Drawn from torch's global generator.
    """
    weight: Tensor = attention.get_parameter(NAME)
    adapter: nn.Module
    if how.kind == "lora":
        adapter = LowRank(weight, rank=how.rank, alpha=how.alpha, dropout=how.dropout)
    else:
        adapter = Orthogonal(weight, rank=how.rank, dropout=how.dropout)
    parametrize.register_parametrization(attention, NAME, adapter.to(weight.device))


def attached(attention: nn.Module) -> nn.Module:
    """Return the adapter that `attach` has put on."""
    lists: Any = attention.parametrizations
    adapter: nn.Module = lists[NAME][0]
    return adapter


def factors(adapter: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a (3, r, width) and b (3, width, r) of q, k and v: W' = W + b a, gamma inside b."""
    if isinstance(adapter, LowRank):
        return adapter.down.detach(), adapter.gamma * adapter.up.detach()
    if isinstance(adapter, Orthogonal):
        return adapter.right, adapter.left @ adapter.core.detach()
    raise TypeError(f"{type(adapter).__name__} is no adapter of this module.")


def merge(attention: nn.Module) -> None:
    """Write W' into W and take the adapter off (invariant 10); dropout must be off."""
    parametrize.remove_parametrizations(attention, NAME, leave_parametrized=True)
    attention.get_parameter(NAME).requires_grad_(False)


def _without_some(matrix: Tensor, *, p: float, is_training: bool) -> Tensor:
    """Switch whole rows of (3, r, n) off, the others 1/(1-p) as strong: right on average."""
    kept = functional.dropout(matrix.new_ones(*matrix.shape[:2], 1), p, is_training)
    return matrix * kept
