"""The noise: what it is, how it is drawn, and the generator that gives it to an image.

    query (B, q)  visual feature, detached            bank (M, c)  category features, frozen
      |  LayerNorm --------> cross-attention, H heads <---|
      |                            | fused
      +---> [LN(query); fused] --> GELU --> mean           m tanh(.)
                                        --> log variance   log sigma_0^2 + 3 tanh(. / 3)
    Noise (mean, log_variance) --> sample --> eps (n, B, d)

Equations 8 to 11 of docs/method.md. No label enters the generator; `mark_label` is what the
ablation A4-VPN does to the query before. Knows nothing of the tower or of where noise is added.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from . import recipe

LOG_RATIO = 3.0
"""|log(sigma^2 / sigma_0^2)| is at most this: sigma in sigma_0 [e^-1.5, e^1.5] (method 1.4)."""
LABEL_MARK = 0.5
"""How strongly `mark_label` marks, in units of the query's RMS. VPN adds 0.01 to pixels."""


class Noise(NamedTuple):
    """N(mean, exp(log_variance)), a diagonal Gaussian for each image; both (B, d)."""

    mean: Tensor
    log_variance: Tensor


class NoiseGenerator(nn.Module):
    """D_psi: gives each image its noise, from what is seen and a bank of categories (method 1.4).

    `width` is the d of the noise; bank (M, c) as `bank.prepare` makes it, frozen; queries are
    (B, query_width). Kind "mean" has no variance head: sigma = 0. At the start the heads are zero:
    mean 0, sigma sigma_0. `last_attention` (B, H, M) is that of the last forward, for logs.
    """

    bank: Tensor

    def __init__(self, width: int, bank: Tensor, how: recipe.Noise, *, query_width: int) -> None:
        super().__init__()
        self.how = how
        inner = how.heads * how.head_width
        self.register_buffer("bank", bank.detach().clone())
        self.norm = nn.LayerNorm(query_width)
        self.to_query = nn.Linear(query_width, inner, bias=False)
        self.to_key = nn.Linear(bank.shape[1], inner, bias=False)
        self.to_value = nn.Linear(bank.shape[1], inner, bias=False)
        self.to_fused = nn.Linear(inner, inner, bias=False)
        self.to_hidden = nn.Linear(query_width + inner, inner)
        self.to_mean = _zero(inner, width)
        self.to_log_variance = _zero(inner, width) if how.kind == "learned" else None
        self.last_attention: Tensor | None = None

    def forward(self, query: Tensor) -> Noise:
        """(B, query_width) -> mean and log variance, each (B, width), bounded. Sees no label.

        mu = m tanh(W_mu r); log sigma^2 = log sigma_0^2 + 3 tanh(W_s r / 3). Where the variance is
        adversarial, tr Sigma <= d sigma_0^2 is kept by shrinking Sigma.
        """
        fused, self.last_attention = self.fuse(query)
        hidden = functional.gelu(self.to_hidden(torch.cat([self.norm(query), fused], dim=-1)))
        mean = self.how.mean_limit * torch.tanh(self.to_mean(hidden))
        if self.to_log_variance is None:
            return Noise(mean, torch.full_like(mean, -math.inf))
        ratio = LOG_RATIO * torch.tanh(self.to_log_variance(hidden) / LOG_RATIO)
        if self.how.adversarial:
            ratio = ratio - ratio.exp().mean(dim=-1, keepdim=True).log().clamp(min=0)
        return Noise(mean, ratio + 2 * math.log(self.how.sigma_0))

    def fuse(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return c (B, H d_h), the categories as the query sees them, and a (B, H, M), detached.

        a_h = softmax(W_q LN(z) (W_k C)^T / sqrt(d_h)); c = W_o concat_h(a_h W_v C).
        """
        heads = (self.how.heads, self.how.head_width)
        q = self.to_query(self.norm(query)).unflatten(-1, heads)  # (B, H, d_h)
        k = self.to_key(self.bank).unflatten(-1, heads)  # (M, H, d_h)
        v = self.to_value(self.bank).unflatten(-1, heads)
        scores = torch.einsum("bhe,mhe->bhm", q, k) / math.sqrt(self.how.head_width)
        attention = scores.softmax(dim=-1)
        fused = self.to_fused(torch.einsum("bhm,mhe->bhe", attention, v).flatten(-2))
        return fused, attention.detach()


def gaussian(batch: int, width: int, *, sigma_0: float, device: torch.device) -> Noise:
    """Return N(0, sigma_0^2 I) for each image: A2, noise that nothing has learned."""
    log_variance = torch.full((batch, width), 2 * math.log(sigma_0), device=device)
    return Noise(torch.zeros_like(log_variance), log_variance)


def sample(noise: Noise, draws: int, rng: torch.Generator | Sequence[int] | None) -> Tensor:
    """Draw eps = mu + sigma xi, xi ~ N(0, I): (draws, B, d). The same use of `rng` for any kind.

    With a seed for each image its draws do not depend on batch, order or process. None: torch's
    own generator. Numbers are drawn on the CPU or the generator's device, in float32.
    """
    if rng is None or isinstance(rng, torch.Generator):
        device = noise.mean.device if rng is None else rng.device
        xi = torch.randn((draws, *noise.mean.shape), generator=rng, device=device)
        return shift(noise, xi)
    width = noise.mean.shape[-1]
    each = [torch.randn((draws, width), generator=_seeded(seed)) for seed in rng]
    return shift(noise, torch.stack(each, dim=1))


def shift(noise: Noise, xi: Tensor) -> Tensor:
    """Return mu + sigma xi, shape of xi (n, B, d)."""
    return noise.mean + (noise.log_variance / 2).exp() * xi.to(noise.mean)


def against(noise: Noise) -> Noise:
    """Return the same noise, gradients into its log variance reversed (A4-adv, method 1.3)."""
    # 2a - a is a to the last bit, and its gradient is -1.
    return Noise(noise.mean, 2 * noise.log_variance.detach() - noise.log_variance)


def mark_label(query: Tensor, label: Tensor) -> Tensor:
    """Return queries that give the label away: A4-VPN, an ablation. Nothing else may call this.

    query (B, q), label (B,) in {0, 1}. VPN (its code) adds 0.01 y to every pixel; a constant would
    not survive the generator's LayerNorm, so a pattern of alternating signs is added.
    """
    signs = 1 - 2 * (torch.arange(query.shape[-1], device=query.device) % 2)
    return query + LABEL_MARK * label.to(query)[:, None] * signs


def pixel_seed(rgb: NDArray[np.uint8]) -> int:
    """Return the seed of an image's Monte-Carlo draws, from its decoded pixels (H, W, 3) alone.

    Neither container nor file name nor place in a batch matters (method 1.7).
    """
    told = hashlib.blake2b(repr(rgb.shape).encode() + rgb.tobytes(), digest_size=8)
    return int.from_bytes(told.digest(), "big") >> 1


def strength(noise: Noise, sigma_0: float) -> Tensor:
    """Return tr Sigma / (d sigma_0^2), mean over images; warn outside [0.2, 3] (method 2)."""
    return noise.log_variance.exp().mean() / sigma_0**2


def entropy(attention: Tensor) -> Tensor:
    """Return the mean entropy in nats of attention rows (..., M): log M where all count alike."""
    mean: Tensor = torch.special.entr(attention).sum(dim=-1).mean()
    return mean


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _zero(inner: int, width: int) -> nn.Linear:
    layer = nn.Linear(inner, width, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
