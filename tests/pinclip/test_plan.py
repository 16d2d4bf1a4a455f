"""Which blocks a recipe freezes, tunes, noises and reads; what of it cannot be, all at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pinclip.plan import Plan, plan
from pinclip.recipe import Recipe, RecipeError


def planned(*, has_bank: bool = True, **tables: Any) -> Plan:
    how = msgspec.convert({"name": "test", **tables}, Recipe)
    return plan(how, layers=12, width=768, embed=512, has_bank=has_bank)


LORA = {"adapter": {"kind": "lora", "blocks": [9, 10, 11, 12]}}


@pytest.mark.parametrize(
    ("model", "noise", "cut", "prefix_blocks"),
    [
        pytest.param({}, {}, 12, (6, 7, 8, 9, 10, 11, 12), id="frozen: only class tokens"),
        pytest.param({"blocks": [3, 5]}, {}, 5, (3, 5), id="nothing is run that is not read"),
        pytest.param(LORA, {}, 8, (6, 7, 8), id="tuned from block 9"),
        pytest.param(
            {}, {"kind": "gaussian", "site": "S2", "block": 8}, 8, (6, 7), id="noise after block 8"
        ),
        pytest.param(
            LORA, {"kind": "gaussian", "site": "S2", "block": 11}, 8, (6, 7, 8), id="both"
        ),
        pytest.param({"features": "embedding"}, {}, 12, (12,), id="the embedding"),
        pytest.param(
            {"blocks": [6]}, {"kind": "learned", "site": "S1"}, 12, (6, 12), id="z is the query"
        ),
    ],
)
def test_the_prefix_ends_before_the_first_block_that_is_tuned_or_noised(
    model: dict[str, Any], noise: dict[str, Any], cut: int, prefix_blocks: tuple[int, ...]
) -> None:
    found = planned(model=model, noise=noise)

    assert (found.cut, found.prefix_blocks) == (cut, prefix_blocks)


@pytest.mark.parametrize(
    ("features", "site", "noise_width", "query_width"),
    [
        ("embedding", "S0", 512, 512),
        ("embedding", "S1", 768, 512),
        ("class_tokens", "S1", 7 * 768, 512),
        ("class_tokens", "S2", 768, 768),
    ],
)
def test_noise_is_as_wide_as_what_it_is_added_to(
    features: str, site: str, noise_width: int, query_width: int
) -> None:
    found = planned(model={"features": features}, noise={"kind": "learned", "site": site})

    assert (found.noise_width, found.query_width) == (noise_width, query_width)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"model": {"blocks": []}}, "model.blocks is empty"),
        ({"model": {"blocks": [12, 13]}}, r"Blocks \[13\] do not exist: the tower has 12"),
        (
            {"model": {"blocks": [6], "adapter": {"kind": "lora", "blocks": [6, 7]}}},
            r"adapter.blocks \[7\] come after block 6",
        ),
        (
            {"model": {"blocks": [6]}, "noise": {"kind": "gaussian", "site": "S2"}},
            "noise.block must be at most 6",
        ),
        ({"model": {"adapter": {"kind": "lora", "rank": 769}}}, "rank must be at most 768"),
        ({"noise": {"kind": "gaussian", "site": "S0"}}, "site S0 is the embedding"),
        ({"noise": {"kind": "gaussian", "site": "S1", "adversarial": True}}, "adversarial needs"),
        ({"noise": {"kind": "mean", "site": "S1", "sees_label": True}}, "sees_label needs"),
        ({"noise": {"kind": "learned", "site": "S1"}, "has_bank": False}, "needs a bank"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        planned(**tables)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(RecipeError, match=r"rank must be.*site S0"):
        planned(model={"adapter": {"kind": "lora", "rank": 999}}, noise={"kind": "gaussian"})


def test_an_adapter_that_is_off_asks_for_nothing() -> None:
    assert planned(model={"adapter": {"kind": "none", "blocks": [99], "rank": 9999}}).tuned == ()
