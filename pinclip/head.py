"""What says AI or real: the head on the features that model.py reads.

    features (B, D)  -- less mean, over scale -->  [Linear, GELU]  -->  a logit for each member

Knows nothing of where features come from or what noise was added to them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Head(nn.Module):
    """Linear (hidden 0) or one hidden GELU layer; `members` of them as one batched module.

    `mean` and `scale` (D,) standardise what is read; they are fixed, never batch statistics.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, *, hidden: int, members: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.inner = _uniform(members, hidden, width, fan_in=width) if hidden else None
        self.inner_bias = _uniform(members, hidden, fan_in=width) if hidden else None
        self.weight = _uniform(members, hidden or width, fan_in=hidden or width)
        self.bias = nn.Parameter(torch.zeros(members))

    def standardise(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., D): less the mean, over the scale."""
        return (features - self.mean) / self.scale

    def forward(self, features: Tensor) -> Tensor:
        """(..., B, D), standardised -> logits (..., members, B)."""
        if self.inner is None or self.inner_bias is None:
            kept = functional.dropout(features, self.dropout, self.training)
            logits = functional.linear(kept, self.weight)
        else:
            hidden = functional.linear(features, self.inner.flatten(0, 1), self.inner_bias.ravel())
            hidden = functional.dropout(functional.gelu(hidden), self.dropout, self.training)
            logits = (hidden.view(*hidden.shape[:-1], *self.inner.shape[:2]) * self.weight).sum(
                dim=-1
            )
        return (logits + self.bias).transpose(-1, -2)


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """As nn.Linear starts: uniform within 1 / sqrt(fan-in)."""
    return nn.Parameter((torch.rand(shape) * 2 - 1) / fan_in**0.5)
