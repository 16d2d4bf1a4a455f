"""Figures under resampling: every function takes weights (B, n) and returns one value a draw.

    draws(strata, units)    (B, N) how often each image is drawn; row 0 is the data as it is
      standing              for each score of one class: the weight of the other class above it
        auroc, average_precision, recall_at       read off the standing, ties counted exactly
      share, calibration_error                    weighted means
    interval                row 0 is the figure, the quantiles of the rest its interval

Drawing whole groups keeps images of one person or repository together (method 3: a cluster
bootstrap); strata are drawn apart. One `draws` serves every figure and every tool, so that
differences are paired. Knows nothing of tools, tables or images. Names in shapes: B draws, n
images of a subset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Names = NDArray[np.str_]

LEVEL = 0.95
BINS = 15
"""Bins of the calibration error, as in metrics.calibration_error."""


class Standing(NamedTuple):
    """Share of the other class's weight above, and at or above, each score: (B, n) each."""

    above: Floats
    at_or_above: Floats

    def of(self, chosen: NDArray[np.intp]) -> Standing:
        """Return the columns that are chosen."""
        return Standing(self.above[:, chosen], self.at_or_above[:, chosen])


def draws(strata: Names, units: Names, *, count: int, seed: int) -> NDArray[np.float32]:
    """Return how often each image is in each draw: (count + 1, N), row 0 all ones.

    Units are drawn with replacement, as many as there are in a stratum. A unit lies in one
    stratum: see `strata_of`.
    """
    rng = np.random.default_rng(seed)
    weight = np.ones((count + 1, len(units)), np.float32)
    for stratum in np.unique(strata):
        where = np.flatnonzero(strata == stratum)
        names, index = np.unique(units[where], return_inverse=True)
        even = np.full(len(names), 1 / len(names))
        weight[1:, where] = rng.multinomial(len(names), even, size=count)[:, index]
    return weight


def strata_of(is_ai: Flags, units: Names) -> Names:
    """Return the stratum of each image: its unit holds only AI, only real images, or both."""
    _, index = np.unique(units, return_inverse=True)
    share = np.bincount(index, is_ai) / np.bincount(index)
    kinds = np.where(share == 0, "real", np.where(share == 1, "ai", "both"))
    strata: Names = kinds[index]
    return strata


def standing(scores: Floats, others: Floats, weight: NDArray[np.float32]) -> Standing:
    """Return how n scores stand among the m scores of the other class, whose weight is (B, m)."""
    order = np.argsort(others)
    summed = np.zeros((len(weight), len(others) + 1), np.float32)
    np.cumsum(weight[:, order[::-1]], axis=1, out=summed[:, 1:])
    with np.errstate(invalid="ignore"):  # 0 / 0: a draw without the other class has no figure
        summed /= summed[:, -1:]
    ordered = others[order]
    above = len(others) - np.searchsorted(ordered, scores, "right")
    at_or_above = len(others) - np.searchsorted(ordered, scores, "left")
    return Standing(summed[:, above], summed[:, at_or_above])


def share(values: Floats | Flags, weight: NDArray[np.float32]) -> Floats:
    """Return the weighted mean of n values: (B,), NaN where a draw has none of them."""
    with np.errstate(invalid="ignore"):
        mean: Floats = weight @ values.astype(np.float32) / weight.sum(axis=1)
    return mean


def share_of(values: Floats | Flags, weight: NDArray[np.float32]) -> Floats:
    """Return the weighted mean of values that differ from draw to draw: (B, n) both -> (B,)."""
    with np.errstate(invalid="ignore"):
        mean: Floats = np.einsum("bn,bn->b", values, weight) / weight.sum(axis=1)
    return mean


def auroc(at: Standing, weight: NDArray[np.float32]) -> Floats:
    """Return the share of (AI, real) pairs that are in order, ties counting half.

    `at` and `weight` (B, n) are of the AI images.
    """
    return 1 - share_of((at.above + at.at_or_above) / 2, weight)


def recall_at(at: Standing, weight: NDArray[np.float32], rate: float) -> Floats:
    """Return the share of AI images that score above all but `rate` of the real ones."""
    return share_of(at.at_or_above <= rate * (1 + 1e-5), weight)


def average_precision(scores: Floats, at: Standing, weight: NDArray[np.float32]) -> Floats:
    """Return the average precision were both classes of equal weight.

    Sum over thresholds of (R_i - R_{i-1}) P_i, scikit-learn's definition with such weights.
    `scores` (n,), `at` and `weight` (B, n) are of the AI images.
    """
    order = np.argsort(-scores, kind="stable")
    weight, false = weight[:, order], at.at_or_above[:, order]
    last_of_tie = np.searchsorted(-scores[order], -scores[order], "right") - 1
    recalled = np.cumsum(weight, axis=1)
    with np.errstate(invalid="ignore"):
        recall = recalled[:, last_of_tie] / recalled[:, -1:]
        precision = recall / (recall + false)
    return share_of(np.where(weight > 0, precision, 0), weight)


def calibration_error(
    said: Floats, is_ai: Flags, value: Floats, weight: NDArray[np.float32]
) -> Floats:
    """Return metrics.calibration_error of each draw, classes weighing equal.

    said (n,) probabilities; value (n,) what an image weighs; weight (B, n). A mean of absolute
    values grows with any noise, that of drawing too, so the draws are shifted back to row 0.
    """
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gap = np.zeros((len(weight), BINS))
    for kind in (is_ai, ~is_ai):
        table = np.zeros((int(kind.sum()), BINS), np.float32)
        table[np.arange(len(table)), bins[kind]] = value[kind] * (said - is_ai)[kind]
        total = weight[:, kind] @ value[kind].astype(np.float32)
        with np.errstate(invalid="ignore"):
            gap += weight[:, kind] @ table / total[:, None] / 2
    error: Floats = np.abs(gap).sum(axis=1)
    return _centred(error)


def interval(drawn: Floats) -> tuple[float, float] | None:
    """Return the 95 % interval (percentiles) of a figure under the draws, row 0 apart.

    None where no draw has the figure, or none moves it: that shows no certainty, but that drawing
    cannot tell.
    """
    finite = drawn[1:][np.isfinite(drawn[1:])]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return None if low == high else (float(low), float(high))


def _centred(drawn: Floats) -> Floats:
    """Return the draws shifted so that their mean is row 0, none below zero."""
    drawn[1:] = np.maximum(drawn[1:] - np.nanmean(drawn[1:]) + drawn[0], 0)
    return drawn
