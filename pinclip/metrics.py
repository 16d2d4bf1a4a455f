"""How well scores part two classes. numpy only; labels are True for AI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Flags = NDArray[np.bool_]


def auc(scores: Floats, labels: Flags) -> float:
    """Return the share of (AI, real) pairs in which the AI image scores higher; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ai, real = int(labels.sum()), int((~labels).sum())
    if not ai or not real:
        raise ValueError(f"AUC needs both classes, not {ai} AI and {real} real images.")
    return float((ranks[labels].sum() - ai * (ai + 1) / 2) / (ai * real))


def threshold_at(real: Floats, rate: float) -> float:
    """Return a threshold that at most `rate` of these scores reach, half-way between two."""
    ordered = np.sort(real)[::-1]
    allowed = int(rate * len(ordered) + 1e-9)
    spared = float(ordered[allowed])
    flagged = float(ordered[allowed - 1]) if allowed else spared + 1.0
    middle = (flagged + spared) / 2
    return middle if middle > spared else float(np.nextafter(spared, np.inf))


def clear_below_at(ai: Floats, rate: float) -> float:
    """Return the highest threshold that at most `rate` of these scores are below."""
    return float(np.sort(ai)[int(rate * len(ai) + 1e-9)])


def recall_at(scores: Floats, labels: Flags, rate: float) -> float:
    """Return the share of AI images above all but `rate` of the real ones."""
    real = np.sort(scores[~labels])[::-1]
    return float((scores[labels] > real[int(rate * len(real) + 1e-9)]).mean())


def calibration_error(
    probabilities: Floats, labels: Flags, weights: Floats, *, bins: int = 15
) -> float:
    """Return the mean distance between what was said and what was so, over equal-width bins."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    said = np.bincount(index, weights * probabilities, bins)
    was = np.bincount(index, weights * labels, bins)
    return float(np.abs(said - was).sum() / weights.sum())
