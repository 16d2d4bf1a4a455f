"""The terms of the loss, one function each (docs/method.md, equations 5 to 7).

    L = pi(noisy logits) + lambda_0 clean(clean logits) + beta kl(noise)

Weighing the terms is the training loop's business.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from .noise import Noise


def pi(noisy: Tensor, y: Tensor, smoothing: float = 0.0, *, weight: Tensor | None = None) -> Tensor:
    """L_pi = (1/Bn) sum_ij BCE(s(z_i + eps_ij), y_i): the cross-entropy under noise (method 1.3).

    Minimising it maximises a lower bound of I(T; E). noisy (..., B) logits, any axes of draws and
    heads before the images; y (B,) in {0 real, 1 AI}; weight (B,), 1 on average over the set.
    """
    return _cross_entropy(noisy, y, smoothing, weight)


def clean(
    logits: Tensor, y: Tensor, smoothing: float = 0.0, *, weight: Tensor | None = None
) -> Tensor:
    """BCE(s(z), y): keeps the path without noise usable (method 1.3, 4). logits (..., B)."""
    return _cross_entropy(logits, y, smoothing, weight)


def kl(noise: Noise, sigma_0: float) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, sigma_0^2)) / d, mean over the batch (method 1.3).

    (1/d) sum_j [(sigma_j^2 + mu_j^2)/sigma_0^2 - 1 - log(sigma_j^2/sigma_0^2)] / 2; zero iff
    mu = 0 and sigma = sigma_0. Where sigma = 0 by design (kind "mean") no sigma is learned, and
    only the term of mu is left.
    """
    ratio = noise.log_variance - 2 * math.log(sigma_0)  # log(sigma^2 / sigma_0^2), (B, d)
    spread = (ratio.exp() - 1 - ratio).masked_fill(ratio.isneginf(), 0.0)
    return ((noise.mean / sigma_0).square() + spread).mean() / 2


def _cross_entropy(logits: Tensor, y: Tensor, smoothing: float, weight: Tensor | None) -> Tensor:
    target = (y.to(logits.dtype) * (1 - smoothing) + smoothing / 2).expand_as(logits)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return each.mean() if weight is None else (each * weight.to(each.dtype)).mean()
