"""pinclip.sampling: half and half, sources by the square root, the same again from a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pinclip.sampling import Sampler, SamplingError, mix, parts, sampler

SIZES = {0: (100, 4, 16), 1: (64, 1)}
"""Images of each source, by class."""


@pytest.fixture
def made() -> tuple[Sampler, torch.Tensor, torch.Tensor]:
    """The sampler of two classes of uneven sources, the classes and the sources."""
    is_ai, source, weight = [], [], []
    for label, sizes in SIZES.items():
        for size in sizes:
            is_ai += [label] * size
            source += [f"{label}-{size}"] * size
            weight += [size**-0.5] * size
    numbers = torch.tensor([int(name.split("-")[1]) + 1000 * int(name[0]) for name in source])
    truth = torch.tensor(is_ai, dtype=torch.bool)
    keep = torch.arange(len(truth))
    found = sampler(truth, torch.tensor(weight), keep=keep, batch=16, seed=3)
    return found, truth, numbers


def test_every_batch_is_half_ai_and_half_real(
    made: tuple[Sampler, torch.Tensor, torch.Tensor],
) -> None:
    sampling, is_ai, _ = made

    epoch = sampling.epoch(0)

    assert epoch.shape == (185 // 16, 16)
    assert (is_ai[epoch].sum(dim=1) == 8).all()


def test_a_source_is_drawn_in_proportion_to_the_square_root_of_its_images(
    made: tuple[Sampler, torch.Tensor, torch.Tensor],
) -> None:
    sampling, is_ai, sources = made

    drawn = torch.cat([sampling.epoch(number).flatten() for number in range(40)])

    for label, sizes in SIZES.items():
        of_class = sources[drawn[is_ai[drawn] == bool(label)]] - 1000 * label
        roots = np.sqrt(sizes)
        for size, expected in zip(sizes, roots / roots.sum(), strict=True):
            assert float((of_class == size).float().mean()) == pytest.approx(expected, abs=0.01)


def test_an_epoch_is_a_function_of_seed_and_number(
    made: tuple[Sampler, torch.Tensor, torch.Tensor],
) -> None:
    sampling, _, _ = made
    other = Sampler(pools=sampling.pools, chances=sampling.chances, batch=16, seed=4)

    assert torch.equal(sampling.epoch(2), sampling.epoch(2))
    assert not torch.equal(sampling.epoch(2), sampling.epoch(3))
    assert not torch.equal(sampling.epoch(2), other.epoch(2))


def test_only_the_images_to_keep_are_drawn() -> None:
    is_ai = torch.tensor([True, False] * 10)
    keep = torch.tensor([2, 3, 6, 7, 11])

    found = sampler(is_ai, torch.ones(20), keep=keep, batch=4, seed=0)

    assert set(torch.cat([found.epoch(n).flatten() for n in range(30)]).tolist()) == {
        2,
        3,
        6,
        7,
        11,
    }


def test_parts_are_disjoint_and_whole() -> None:
    batch = torch.arange(12)

    found = parts(batch, 3)

    assert [len(part) for part in found] == [4, 4, 4]
    assert torch.equal(torch.cat(list(found)).sort().values, batch)


@pytest.mark.parametrize(
    ("is_ai", "batch", "told"),
    [
        pytest.param([True, True], 2, "no real images", id="no-real"),
        pytest.param([False, False], 2, "no AI-made images", id="no-ai"),
        pytest.param([True, False], 1, "at least 2", id="batch-of-one"),
    ],
)
def test_what_no_batch_can_be_made_of_is_refused(is_ai: list[bool], batch: int, told: str) -> None:
    with pytest.raises(SamplingError, match=told):
        sampler(torch.tensor(is_ai), torch.ones(2), keep=torch.arange(2), batch=batch, seed=0)


def test_unequal_parts_are_refused() -> None:
    with pytest.raises(SamplingError, match="multiple"):
        parts(torch.arange(10), 4)


def test_mix_separates_neighbours() -> None:
    seeds = {mix(seed, step, part) for seed in range(8) for step in range(8) for part in range(8)}

    assert len(seeds) == 512
    assert mix(1, 2, 3) == mix(1, 2, 3)
