"""pinclip.optimise: the rates and decays of the method, and a memory that comes back whole."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from pinclip import recipe, start
from pinclip.model import PinClip
from pinclip.optimise import Optimiser, cosine, decay_at

ADAPTER = recipe.Adapter(kind="lora", blocks=(1,), rank=2)
MODEL = recipe.Model(features="embedding", adapter=ADAPTER)


def made() -> PinClip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = VisionTransformer(
            image_size=32,
            patch_size=16,
            width=64,
            layers=1,
            heads=4,
            mlp_ratio=1,
            output_dim=32,
            act_layer=QuickGELU,
        )
    return start.make(tower, recipe.Recipe(name="small", model=MODEL))


def give_gradients(optimiser: Optimiser, step: int) -> None:
    random = torch.Generator().manual_seed(step)
    for parameter in optimiser.parameters:
        parameter.grad = torch.randn(parameter.shape, generator=random)


def test_each_group_moves_at_its_own_rate_and_b_of_lora_does_not_decay() -> None:
    """Without gradients AdamW only decays: by rate x decay at the first step."""
    model = made()
    with torch.no_grad():
        for parameter in model.undecayed():
            parameter.fill_(1.0)
    how = recipe.Optimise(rate_adapter=0.1, rate_head=0.01, weight_decay=0.5)
    optimiser = Optimiser(model, how, total=10)
    before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    for parameter in optimiser.parameters:
        parameter.grad = torch.zeros_like(parameter)

    optimiser.step(0)

    after = model.trained_state()
    torch.testing.assert_close(after["adapter.1.down"], before["adapter.1.down"] * 0.95)
    torch.testing.assert_close(after["head.weight"], before["head.weight"] * 0.995)
    assert torch.equal(after["adapter.1.up"], before["adapter.1.up"])


def test_gradients_are_bounded_together() -> None:
    optimiser = Optimiser(made(), recipe.Optimise(clip=0.5), total=1)
    give_gradients(optimiser, 0)

    norm = optimiser.clip()

    left = torch.cat([parameter.grad.flatten() for parameter in optimiser.parameters])
    assert norm > 1
    assert float(left.norm()) == pytest.approx(0.5, rel=1e-4)


def test_the_rate_falls_as_a_cosine_to_nothing() -> None:
    assert [cosine(done, 4) for done in range(5)] == pytest.approx(
        [1, 0.854, 0.5, 0.146, 0], abs=1e-3
    )


def test_an_average_forgets_its_beginning() -> None:
    assert decay_at(0, 0.998) == pytest.approx(0.1)
    assert decay_at(90, 0.998) == pytest.approx(0.91)
    assert decay_at(10**6, 0.998) == 0.998
    assert decay_at(90, 0.0) == 0.0


def test_the_average_takes_the_place_of_the_last_weights() -> None:
    model = made()
    optimiser = Optimiser(model, recipe.Optimise(average=0.998, rate_head=0.1), total=20)
    seen = []
    for step in range(12):
        give_gradients(optimiser, step)
        optimiser.step(step)
        seen.append(model.head.weight.detach().clone())

    optimiser.use_average()

    expected = seen[0]
    for updates, weight in enumerate(seen[1:], start=1):
        expected = torch.lerp(expected, weight, 1 - decay_at(updates, 0.998))
    torch.testing.assert_close(model.head.weight.detach(), expected)
    assert not torch.equal(model.head.weight, seen[-1])


def test_no_average_keeps_the_last_weights() -> None:
    model = made()
    optimiser = Optimiser(model, recipe.Optimise(average=0.0), total=4)
    for step in range(3):
        give_gradients(optimiser, step)
        optimiser.step(step)
    last = model.head.weight.detach().clone()

    optimiser.use_average()

    assert torch.equal(model.head.weight, last)


def test_what_is_remembered_comes_back_bit_for_bit() -> None:
    first = made()
    one = Optimiser(first, recipe.Optimise(), total=6)
    for step in range(3):
        give_gradients(one, step)
        one.step(step)
    second = made()
    second.load_trained_state(first.trained_state())
    two = Optimiser(second, recipe.Optimise(), total=6)

    two.restore({name: tensor.clone() for name, tensor in one.tensors().items()})

    for optimiser in (one, two):
        for step in range(3, 6):
            give_gradients(optimiser, step)
            optimiser.step(step)
        optimiser.use_average()
    for name, tensor in first.trained_state().items():
        assert torch.equal(tensor, second.trained_state()[name]), name
