"""Adapters of q, k and v: what they may change of a weight, and how they are merged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pinclip.adapters import LowRank, Orthogonal, attach, attached, merge
from pinclip.recipe import Adapter

WIDTH = 24


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(3 * WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def attention() -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(WIDTH, 4, batch_first=True)


def shaken(module: Any) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module.eval()


def test_low_rank_moves_q_k_and_v_each_by_gamma_b_a(weight: Tensor) -> None:
    part = shaken(LowRank(weight, rank=4, alpha=8.0, dropout=0.0))

    moved = (part(weight) - weight).view(3, WIDTH, WIDTH)

    for i in range(3):
        torch.testing.assert_close(moved[i], 2.0 * part.up[i] @ part.down[i], rtol=0, atol=1e-5)
        assert int(torch.linalg.matrix_rank(moved[i], atol=1e-4)) == 4


def test_a_recipe_of_rank_8_on_four_blocks_trains_147456_weights() -> None:
    part = LowRank(torch.empty(3 * 768, 768), rank=8, alpha=8.0, dropout=0.1)

    assert 4 * sum(p.numel() for p in part.parameters()) == 147_456


def test_orthogonal_leaves_the_large_singular_directions_untouched(weight: Tensor) -> None:
    part = shaken(Orthogonal(weight, rank=5, dropout=0.0))

    before, after = weight.view(3, WIDTH, WIDTH), part(weight).view(3, WIDTH, WIDTH)

    left, sizes, right = torch.linalg.svd(before)
    for i in range(3):
        moved = after[i] - before[i]
        assert moved.abs().max() > 0.01
        torch.testing.assert_close(
            after[i] @ right[i, :-5].T, left[i, :, :-5] * sizes[i, :-5], rtol=0, atol=1e-4
        )
        assert (left[i, :, :-5].T @ moved).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["lora", "orthogonal"])
def test_dropout_switches_directions_off_and_is_right_on_average(weight: Tensor, kind: Any) -> None:
    how = Adapter(kind=kind, rank=4, dropout=0.5)
    attention = nn.MultiheadAttention(WIDTH, 4)
    attach(attention, how=how)
    part = shaken(attached(attention))
    expected = part(weight).detach() - weight

    torch.manual_seed(1)
    part.train()
    drawn = torch.stack([part(weight).detach() - weight for _ in range(2000)])

    ranks = torch.linalg.matrix_rank(drawn[:50].view(150, WIDTH, WIDTH), atol=1e-4)
    assert set(ranks.tolist()) == {0, 1, 2, 3, 4}
    torch.testing.assert_close(drawn.mean(dim=0), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["lora", "orthogonal"])
def test_merging_keeps_what_the_attention_says_and_leaves_a_plain_module(
    attention: nn.MultiheadAttention, kind: Any
) -> None:
    tokens = torch.randn(2, 5, WIDTH)
    attach(attention, how=Adapter(kind=kind, rank=4))
    shaken(attached(attention))
    attention.eval()
    before = attention(tokens, tokens, tokens)[0]

    merge(attention)

    torch.testing.assert_close(attention(tokens, tokens, tokens)[0], before)
    assert set(attention.state_dict()) == set(nn.MultiheadAttention(WIDTH, 4).state_dict())
    assert not attention.in_proj_weight.requires_grad


def test_the_update_is_exact_under_autocast(weight: Tensor) -> None:
    part = shaken(LowRank(weight, rank=4, alpha=4.0, dropout=0.0))

    with torch.autocast("cpu", torch.bfloat16):
        mixed = part(weight)

    assert torch.equal(mixed, part(weight))
