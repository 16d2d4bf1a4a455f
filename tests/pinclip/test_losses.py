"""The terms of the loss, against closed forms and torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pinclip import losses
from pinclip.noise import Noise

Y = torch.tensor([0, 1, 1])
LOGITS = torch.tensor([[-1.0, 2.0, 0.5], [0.3, -0.2, 4.0]])


def test_cross_entropy_is_the_mean_over_draws_and_images() -> None:
    p = LOGITS.sigmoid()
    expected = -torch.where(Y == 1, p, 1 - p).log().mean()

    assert losses.pi(LOGITS, Y).item() == pytest.approx(expected.item())
    assert losses.pi(LOGITS[:, None], Y).item() == pytest.approx(expected.item())
    each = [losses.clean(row, Y).item() for row in LOGITS]
    assert losses.pi(LOGITS, Y).item() == pytest.approx(sum(each) / 2)


def test_smoothing_moves_both_labels_towards_one_half() -> None:
    p = torch.tensor([0.95, 0.95, 0.05, 0.05])
    targets = torch.tensor([1, 1, 0, 0])

    logits = p.logit().requires_grad_()
    losses.clean(logits, targets, 0.1).backward()

    assert logits.grad.abs().max() < 1e-6  # smoothing 0.1: the best a logit can say is 0.95


def test_weights_are_of_images_and_one_on_average_changes_nothing() -> None:
    weight = torch.tensor([3.0, 0.0, 0.0])

    assert losses.pi(LOGITS, Y, weight=torch.ones(3)) == losses.pi(LOGITS, Y)
    expected = losses.pi(LOGITS[:, :1], Y[:1])
    assert losses.pi(LOGITS, Y, weight=weight).item() == pytest.approx(expected.item())


def test_kl_is_that_of_two_normal_laws_per_coordinate() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 8, generator=rng)
    law = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(law, Normal(torch.zeros(5, 8), torch.full((5, 8), 0.3))).mean()

    found = losses.kl(Noise(mean, log_variance), 0.3)

    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_variance_kl_is_the_price_of_the_mean_and_its_gradient_is_finite() -> None:
    mean = torch.full((2, 4), 0.6, requires_grad=True)

    found = losses.kl(Noise(mean, torch.full((2, 4), -math.inf)), 0.3)
    found.backward()

    assert found.item() == pytest.approx(2.0)
    assert mean.grad is not None
    assert bool(torch.isfinite(mean.grad).all())


def test_cross_entropy_alone_takes_the_variance_from_where_a_linear_head_looks() -> None:
    """Method 1.3, collapse: the optimum is sigma_0^2 / (1 + sigma_0^2 w^2 kappa / beta')."""
    sigma_0, beta, width = 0.3, 0.05, 4
    w = torch.tensor([0.0, 1.0, 3.0, 10.0])
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(64, width, generator=rng)
    y = (torch.rand(64, generator=rng) < 0.5).float()
    xi = torch.randn(256, 1, width, generator=rng)
    xi = torch.cat([xi, -xi])
    log_variance = torch.full((1, width), 2 * math.log(sigma_0), requires_grad=True)
    adam = torch.optim.Adam([log_variance], lr=0.05)

    for _ in range(400):
        adam.zero_grad()
        logits = (z + (log_variance / 2).exp() * xi) @ w
        loss = losses.pi(logits, y)
        (loss + beta * losses.kl(Noise(torch.zeros(1, width), log_variance), sigma_0)).backward()
        adam.step()

    found = log_variance.detach()[0].exp()
    p = ((z + found.sqrt() * xi) @ w).sigmoid()
    kappa = (p * (1 - p)).mean()
    expected = sigma_0**2 / (1 + sigma_0**2 * w.square() * kappa / (beta / width))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=0.25)
    assert found[0].item() == pytest.approx(sigma_0**2, rel=0.01)
    assert found[3] < found[0] / 5
