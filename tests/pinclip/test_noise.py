"""The noise and its generator: laws, draws, seeds, and the two ablations that change a sign."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinclip import bank, noise, recipe
from pinclip.noise import Noise, NoiseGenerator


def made(bank_width: int = 16, width: int = 24, **keys: Any) -> NoiseGenerator:
    torch.manual_seed(0)
    keys = {"kind": "learned", "head_width": 8, **keys}
    rows = bank.prepare(torch.randn(10, bank_width))
    return NoiseGenerator(width, rows, recipe.Noise(**keys), query_width=12)


def shaken(generator: NoiseGenerator) -> NoiseGenerator:
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += torch.randn_like(parameter)
    return generator


@pytest.fixture
def queries() -> Tensor:
    return torch.randn(7, 12, generator=torch.Generator().manual_seed(1))


def rng(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_bank_may_have_a_width_of_its_own(queries: Tensor) -> None:
    given = made(bank_width=5, width=31)(queries)

    assert given.mean.shape == given.log_variance.shape == (7, 31)


def test_attention_is_softmax_of_scaled_products_over_the_bank(queries: Tensor) -> None:
    generator = shaken(made())
    generator(queries)
    query = generator.to_query(generator.norm(queries)).view(7, 4, 8)
    key = generator.to_key(generator.bank).view(10, 4, 8)
    value = generator.to_value(generator.bank).view(10, 4, 8)

    expected = [(query[:, h] @ key[:, h].T / math.sqrt(8)).softmax(dim=1) for h in range(4)]

    assert generator.last_attention is not None
    torch.testing.assert_close(generator.last_attention, torch.stack(expected, dim=1))
    fused = generator.to_fused(torch.cat([a @ value[:, h] for h, a in enumerate(expected)], dim=1))
    torch.testing.assert_close(generator.fuse(queries)[0], fused)


def test_samples_have_the_mean_and_the_deviation_they_were_given() -> None:
    given = Noise(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.04, 4.0]]).log())

    drawn = noise.sample(given, 40_000, rng())

    assert drawn.mean(dim=(0, 1)).tolist() == pytest.approx([0.5, -1.0], abs=0.04)
    assert drawn.std(dim=(0, 1)).tolist() == pytest.approx([0.2, 2.0], rel=0.02)


def test_every_kind_uses_the_generator_alike() -> None:
    left = []
    for given in (
        noise.gaussian(3, 4, sigma_0=0.3, device=torch.device("cpu")),
        Noise(torch.ones(3, 4), torch.full((3, 4), -math.inf)),
    ):
        source = rng()
        noise.sample(given, 2, source)
        left.append(torch.rand(1, generator=source))

    assert torch.equal(*left)


def test_kind_mean_has_no_variance_head_and_no_spread(queries: Tensor) -> None:
    generator = shaken(made(kind="mean"))
    given = generator(queries)

    drawn = noise.sample(given, 3, rng())

    assert torch.equal(drawn, given.mean.expand_as(drawn))
    assert "to_log_variance.weight" not in generator.state_dict()


def test_adversarial_variance_turns_its_gradient_and_keeps_its_budget(queries: Tensor) -> None:
    generator = shaken(made(adversarial=True))

    given = generator(queries)

    trace = given.log_variance.exp().sum(dim=1)
    assert bool((trace <= 24 * 0.3**2 * 1.0001).all())
    turned = noise.against(given)
    assert torch.equal(turned.log_variance, given.log_variance)
    plain, reversed_ = (
        torch.autograd.grad(each.log_variance.sum(), generator.to_hidden.weight, retain_graph=True)
        for each in (given, turned)
    )
    assert torch.equal(plain[0], -reversed_[0])
    means = [
        torch.autograd.grad(each.mean.sum(), generator.to_mean.weight, retain_graph=True)[0]
        for each in (given, turned)
    ]
    assert torch.equal(*means)


def test_a_smaller_variance_than_the_budget_is_left_alone(queries: Tensor) -> None:
    given = made(adversarial=True)(queries)

    assert torch.equal(given.log_variance, made()(queries).log_variance)


def test_a_marked_label_survives_the_generators_norm(queries: Tensor) -> None:
    ones, zeros = torch.ones(7), torch.zeros(7)

    marked = made().norm(noise.mark_label(queries, ones))

    assert torch.equal(noise.mark_label(queries, zeros), queries)
    assert (marked - made().norm(queries)).abs().mean() > 0.1


def test_a_pixel_seed_is_of_the_pixels_and_their_shape() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    other = rgb.copy()
    other[3, 5, 2] ^= 1

    assert noise.pixel_seed(rgb) == noise.pixel_seed(np.asfortranarray(rgb))
    assert noise.pixel_seed(rgb) != noise.pixel_seed(other)
    assert noise.pixel_seed(rgb) != noise.pixel_seed(rgb.reshape(6, 4, 3))
    assert 0 <= noise.pixel_seed(rgb) < 2**63
    torch.Generator().manual_seed(noise.pixel_seed(rgb))


def test_strength_is_one_at_the_prior_and_entropy_log_m_where_all_count_alike() -> None:
    given = noise.gaussian(3, 4, sigma_0=0.3, device=torch.device("cpu"))

    assert noise.strength(given, 0.3).item() == pytest.approx(1)
    assert noise.strength(given, 0.15).item() == pytest.approx(4)
    assert noise.entropy(torch.full((2, 4, 8), 1 / 8)).item() == pytest.approx(math.log(8))
    assert noise.entropy(torch.eye(8)).item() == 0
