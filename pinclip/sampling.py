"""Which images a step sees: a pure function of the seed and the epoch.

    weight 1/sqrt(n of its source)  --systematic draw a class-->  one epoch (steps, batch)
                                                                       |
       part k of a batch: every K-th image, from the k-th   <----------+   shared out to processes

Half of every batch is AI-made, half real; within a class a source is drawn in proportion to the
square root of its images (method.md 5). Nothing here is kept between steps, so a run that is taken
up again sees what it would have seen. Knows nothing of pictures, models or devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor


class SamplingError(ValueError):
    """Images or counts from which no batch can be made; the text says what to change."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Batches of indices out of `pools`, the images of either class.

    `chances` are positive and go with `pools`; their scale is of no account.
    """

    pools: tuple[NDArray[np.int64], NDArray[np.int64]]
    chances: tuple[NDArray[np.float64], NDArray[np.float64]]
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps of one epoch: as many images as there are, whole batches only, at least one."""
        return max(1, sum(map(len, self.pools)) // self.batch)

    def epoch(self, number: int) -> Tensor:
        """Return (steps, batch) int64: the images of epoch `number`, from 0."""
        random = np.random.default_rng([self.seed, number])
        total = self.steps * self.batch
        counts = (total // 2, total - total // 2)
        sides = [
            draw(pool, chance, count, random)
            for pool, chance, count in zip(self.pools, self.chances, counts, strict=True)
        ]
        order = np.empty(total, np.int64)
        order[0::2], order[1::2] = sides[1], sides[0]  # by turns: every batch is half and half
        return torch.from_numpy(random.permuted(order.reshape(self.steps, self.batch), axis=1))


def sampler(is_ai: Tensor, weight: Tensor, *, keep: Tensor, batch: int, seed: int) -> Sampler:
    """Return the sampler of the images `keep` (indices into `is_ai` and `weight`, both (N,)).

    Raises SamplingError where a class is missing or a batch cannot hold both.
    """
    kept = keep.cpu().numpy()
    ai = is_ai.cpu().numpy().astype(bool)[kept]
    chance = weight.cpu().numpy().astype(np.float64)[kept]
    if ai.all() or not ai.any():
        missing = "real images" if len(ai) and ai.all() else "AI-made images"
        raise SamplingError(
            f"The {len(ai)} images to train on hold no {missing}: both classes are needed; look at "
            "the labels and at the fold that is left out."
        )
    if batch < 2:
        raise SamplingError(f"optimise.batch is {batch}: at least 2, one image of either class.")
    return Sampler(
        pools=(kept[~ai], kept[ai]), chances=(chance[~ai], chance[ai]), batch=batch, seed=seed
    )


def draw(
    pool: NDArray[np.int64],
    chance: NDArray[np.float64],
    count: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return `count` members of `pool`, each floor or ceil of its expected number of times.

    Systematic sampling with probabilities proportional to size (Madow 1949): equal steps along the
    sum of the chances from a random start. It has the mean of independent draws with far less
    scatter, so no image is forgotten for epochs by bad luck.
    """
    order = random.permutation(len(pool))
    edges = np.cumsum(chance[order])
    points = (np.arange(count) + random.random()) * (edges[-1] / count)
    found = np.minimum(np.searchsorted(edges, points, side="right"), len(pool) - 1)
    drawn: NDArray[np.int64] = pool[order[found]]
    return random.permutation(drawn)


def parts(batch: Tensor, count: int) -> Sequence[Tensor]:
    """Return the batch (B,) in `count` equal parts; part k is every count-th image from the k-th.

    Parts, not processes, own random numbers, so who computes a part changes nothing. Raises
    SamplingError unless the parts are whole.
    """
    if len(batch) % count:
        raise SamplingError(
            f"optimise.batch is {len(batch)}, optimise.accumulate {count}: the parts of a batch "
            "are equal, so let the batch be a multiple."
        )
    return [batch[k::count] for k in range(count)]


def mix(*numbers: int) -> int:
    """Return a seed (63 bits) for a tuple of numbers, such as (seed, step, part)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
