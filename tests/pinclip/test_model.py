"""One forward pass of the model: kept prefixes, sites of noise, members, states, other towers.

What the method demands of it is in test_invariants.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from pinclip import bank
from pinclip.model import PinClip, Prefix
from pinclip.recipe import Recipe, RecipeError

ADAPTED = {"kind": "lora", "blocks": [9, 10, 11, 12]}
MODELS: dict[str, dict[str, Any]] = {
    "frozen embedding": {"model": {"features": "embedding"}},
    "frozen class tokens": {"model": {"blocks": [12, 6, 9]}},
    "early class tokens": {"model": {"blocks": [2, 5]}},
    "tuned class tokens": {"model": {"adapter": ADAPTED, "blocks": [6, 9, 12]}},
    "noise at S0": {
        "model": {"features": "embedding", "adapter": ADAPTED},
        "noise": {"kind": "learned"},
    },
    "noise at u": {"model": {"features": "embedding"}, "noise": {"kind": "learned", "site": "S1"}},
    "noise on joined tokens": {"noise": {"kind": "learned", "site": "S1"}, "model": {"hidden": 8}},
    "noise after block 8": {
        "model": {"adapter": ADAPTED},
        "noise": {"kind": "learned", "site": "S2", "block": 8},
    },
    "noise after block 11": {
        "model": {"adapter": ADAPTED},
        "noise": {"kind": "learned", "site": "S2", "block": 11},
    },
    "noise after the last block": {
        "model": {"features": "embedding"},
        "noise": {"kind": "gaussian", "site": "S2", "block": 12},
    },
}
NOISY = [name for name, tables in MODELS.items() if "noise" in tables]


@pytest.fixture(scope="module")
def tower() -> VisionTransformer:
    return small(0)


def small(seed: int, *, width: int = 64, layers: int = 12) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(
        image_size=32,
        patch_size=16,
        width=width,
        layers=layers,
        heads=4,
        mlp_ratio=2,
        output_dim=32,
        act_layer=QuickGELU,
    )


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def built(tower: VisionTransformer, seed: int = 0, **tables: Any) -> PinClip:
    how = msgspec.convert({"name": "test", "seed": seed, **tables}, Recipe)
    rng = torch.Generator().manual_seed(2)
    model = PinClip(tower, how, bank.prepare(torch.randn(8, 32, generator=rng)))
    with torch.no_grad():
        for parameter in [*model.trainable()["adapter"], *model.trainable()["noise"]]:
            parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_kept_prefix_gives_the_same_as_its_images(
    tower: VisionTransformer, images: Tensor, name: str
) -> None:
    model = built(tower, **MODELS[name])
    gate = 1.0 if name in NOISY else 0.0

    kept = model.prefix(images)
    whole = model(images, gate=gate, draws=2, rng=range(4))
    rest = model(kept, gate=gate, draws=2, rng=range(4))

    assert kept.classes.shape == (4, len(model.plan.prefix_blocks), 64)
    assert torch.equal(whole.clean, rest.clean)
    assert whole.noisy is None or torch.equal(whole.noisy, rest.noisy)


@pytest.mark.parametrize("name", MODELS)
def test_a_prefix_may_be_kept_in_half_precision(
    tower: VisionTransformer, images: Tensor, name: str
) -> None:
    model = built(tower, **MODELS[name])
    kept = model.prefix(images)
    halved = Prefix(None if kept.tokens is None else kept.tokens.half(), kept.classes.half())

    torch.testing.assert_close(model.score(halved), model.score(kept), rtol=0, atol=1e-2)


def test_a_frozen_tower_needs_no_tokens_to_be_kept(
    tower: VisionTransformer, images: Tensor
) -> None:
    assert built(tower, **MODELS["frozen class tokens"]).prefix(images).tokens is None
    assert built(tower, **MODELS["noise on joined tokens"]).prefix(images).tokens is None
    assert built(tower, **MODELS["tuned class tokens"]).prefix(images).tokens is not None


def test_features_are_the_class_tokens_that_open_clip_gives_normed_and_in_the_recipes_order(
    tower: VisionTransformer, images: Tensor
) -> None:
    model = built(tower, **MODELS["frozen class tokens"])
    found = tower.eval().forward_intermediates(
        images,
        indices=[5, 8, 11],
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    six, nine, twelve = (token[:, 0] for token in found["image_intermediates_prefix"])
    expected = [nn.functional.layer_norm(token, (64,)) for token in (twelve, six, nine)]

    torch.testing.assert_close(
        model.features(images), torch.cat(expected, dim=1), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", NOISY)
def test_noise_moves_the_noisy_logits_alone_and_its_gradient_reaches_all_that_is_trained(
    tower: VisionTransformer, images: Tensor, name: str
) -> None:
    model = built(tower, **MODELS[name])

    done = model(images, gate=1.0, draws=3, rng=range(4))
    assert done.noisy is not None
    done.noisy.square().sum().backward()

    assert done.noisy.shape == (3, 4)
    assert torch.equal(done.clean, model(images).clean)
    assert not torch.isclose(done.noisy[0], done.clean, atol=1e-5).any()
    assert not torch.isclose(done.noisy[0], done.noisy[1], atol=1e-5).any()
    assert all(bool(p.grad.any()) for part in model.trainable().values() for p in part)


@pytest.mark.parametrize("name", ["noise at S0", "noise after block 11"])
def test_the_encoder_is_not_tuned_to_please_the_generator(
    tower: VisionTransformer, images: Tensor, name: str
) -> None:
    model = built(tower, **MODELS[name])

    noise = model(images, gate=1.0, rng=range(4)).noise
    assert noise is not None
    (noise.mean + noise.log_variance).sum().backward()

    trained = model.trainable()
    assert all(p.grad is None for p in trained["adapter"])
    assert all(p.grad is not None for p in trained["noise"])


@pytest.mark.parametrize("name", NOISY)
def test_the_gate_scales_the_noise(tower: VisionTransformer, images: Tensor, name: str) -> None:
    model = built(tower, **MODELS[name])

    moved = [
        (model(images, gate=gate, rng=range(4)).noisy - model(images).clean).abs().max()
        for gate in (1e-3, 1.0)
    ]

    assert 0 < moved[0] < moved[1] / 20


def test_noise_inside_the_tower_reaches_the_blocks_after_it_only(
    tower: VisionTransformer, images: Tensor
) -> None:
    noise = {"kind": "gaussian", "site": "S2", "block": 8}
    model = built(tower, model={"blocks": [7, 8, 9]}, noise=noise)
    seen = model._see(images)
    assert seen.site is not None

    moved = model._rest(seen.before, seen.site + 1)

    is_same = [torch.equal(moved[:, i], seen.classes[:, i]) for i in range(3)]
    assert is_same == [True, False, False]


def test_noise_inside_the_tower_is_in_units_of_a_token_and_not_of_the_few_huge_ones(
    tower: VisionTransformer, images: Tensor
) -> None:
    noise = {"kind": "gaussian", "site": "S2", "block": 12}
    model = built(tower, model={"features": "embedding"}, noise=noise)
    plain = model.prefix(images)
    assert plain.tokens is not None
    huge = plain.tokens.clone()
    huge[:, 3] *= 1000  # a patch token after the last block, which nothing reads

    first, second = (
        model(Prefix(tokens, plain.classes), gate=1.0, rng=range(4)).noisy
        for tokens in (plain.tokens, huge)
    )

    torch.testing.assert_close(first, second, rtol=0, atol=0.1)


def test_a_seed_for_each_image_makes_draws_independent_of_the_batch(
    tower: VisionTransformer, images: Tensor
) -> None:
    model = built(tower, **MODELS["noise on joined tokens"])

    whole = model(images, gate=1.0, draws=2, rng=[5, 6, 7, 8]).noisy
    half = model(images[2:], gate=1.0, draws=2, rng=[7, 8]).noisy

    torch.testing.assert_close(half, whole[:, 2:], rtol=0, atol=1e-5)


def test_sigma_zero_leaves_only_the_mean(tower: VisionTransformer, images: Tensor) -> None:
    tables = {"model": {"features": "embedding"}, "noise": {"kind": "mean"}}
    model = built(tower, **tables)

    done = model(images, gate=1.0, draws=2, rng=range(4))

    assert torch.equal(done.noisy[0], done.noisy[1])
    torch.testing.assert_close(model.score(images, mode="mean"), done.noisy[0])
    assert not torch.allclose(done.noisy[0], done.clean)


def test_members_differ_and_their_logits_are_averaged(
    tower: VisionTransformer, images: Tensor
) -> None:
    model = built(tower, model={"hidden": 8, "members": 3, "features": "embedding"})

    done = model(images)

    assert done.clean_each.shape == (3, 4)
    assert len(set(done.clean_each[:, 0].tolist())) == 3
    torch.testing.assert_close(done.clean, done.clean_each.mean(dim=0))
    torch.testing.assert_close(model.score(images), done.clean)


def test_a_linear_head_reads_standardised_features(
    tower: VisionTransformer, images: Tensor
) -> None:
    model = built(tower, model={"features": "embedding"})
    features = model.features(images)
    mean, scale = features.mean(dim=0), features.std(dim=0)

    model.set_standardisation(mean, scale)

    weight, bias = model.head.weight[0], model.head.bias[0]
    expected = ((features - mean) / scale) @ weight + bias
    torch.testing.assert_close(model.score(images), expected.detach())


def test_one_seed_gives_one_start_whatever_noise_there_is(tower: VisionTransformer) -> None:
    tables = {"model": {"features": "embedding", "adapter": ADAPTED}}
    states = [
        PinClip(
            tower,
            msgspec.convert({"name": "t", "seed": seed, **tables, "noise": noise}, Recipe),
            torch.ones(4, 32),
        ).trained_state()
        for seed, noise in ((3, {}), (3, {"kind": "learned"}), (4, {}))
    ]

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_making_a_model_leaves_torchs_generator_alone(tower: VisionTransformer) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)

    built(tower, **MODELS["noise at S0"])

    assert torch.equal(torch.rand(1), expected)


def test_one_tower_serves_many_models_and_stays_as_it_was(images: Tensor) -> None:
    tower = small(0)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    first = built(tower, **MODELS["tuned class tokens"])
    second = built(tower, **MODELS["frozen class tokens"])
    score = second.score(images)

    first.merge()

    assert torch.equal(second.score(images), score)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tower.state_dict().items())
    own, lent = (each.transformer.resblocks for each in (first.visual, tower))
    assert own[0].mlp.c_fc.weight is lent[0].mlp.c_fc.weight  # 340 MB in the real tower


def test_dropout_is_for_training_alone(tower: VisionTransformer, images: Tensor) -> None:
    adapter = {**ADAPTED, "dropout": 0.5}
    model = built(tower, model={"adapter": adapter, "dropout": 0.5, "hidden": 8}).train()

    torch.manual_seed(0)
    first, second = model(images).clean, model(images).clean

    assert not torch.allclose(first, second)
    assert torch.equal(model.score(images), model.score(images))
    assert model.training


def test_a_state_of_another_recipe_is_refused(tower: VisionTransformer) -> None:
    state = built(tower, **MODELS["tuned class tokens"]).trained_state()
    other = built(tower, **MODELS["frozen class tokens"])

    with pytest.raises(RecipeError, match=r"adapter\.10\.down.*recipe\.toml"):
        other.load_trained_state(state)


def test_the_ablation_that_sees_labels_tries_both_at_test(
    tower: VisionTransformer, images: Tensor
) -> None:
    tables = {"model": {"features": "embedding"}, "noise": {"kind": "learned", "sees_label": True}}
    model = built(tower, **tables)
    zeros, ones = torch.zeros(4), torch.ones(4)

    told = [model(images, gate=1.0, rng=range(4), told=label).noisy[0] for label in (zeros, ones)]

    assert not torch.isclose(told[0], told[1], atol=1e-6).any()
    both = model.score(images, mode="mc", draws=1, seeds=range(4))
    torch.testing.assert_close(both, (told[0] + told[1]) / 2)
    with pytest.raises(ValueError, match="labels are wanted"):
        model(images, gate=1.0)


@pytest.mark.parametrize(
    ("tables", "mode", "seeds", "told"),
    [
        ({}, "mean", None, 'use "off"'),
        (MODELS["noise at u"], "mc", None, "a seed for each of 4 images, not None"),
        (MODELS["noise at u"], "mc", [1, 2], "a seed for each of 4 images, not 2"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(
    tower: VisionTransformer, images: Tensor, tables: Any, mode: Any, seeds: Any, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        built(tower, **tables).score(images, mode=mode, seeds=seeds)


def test_an_embedding_needs_the_last_block(tower: VisionTransformer, images: Tensor) -> None:
    with pytest.raises(ValueError, match="5 of 12 blocks"):
        built(tower, **MODELS["early class tokens"]).embedding(images)


def test_towers_of_other_sizes_work_and_of_other_kinds_are_refused(images: Tensor) -> None:
    model = built(small(1, width=32, layers=3), model={"blocks": [2, 3]})
    assert model.score(images).shape == (4,)

    averaging = VisionTransformer(32, 16, 64, 2, 4, 2.0, output_dim=32, pool_type="avg")
    with pytest.raises(RecipeError, match="pools by 'avg'"):
        built(averaging)
