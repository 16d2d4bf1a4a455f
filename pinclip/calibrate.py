"""From out-of-fold logits to thresholds, error rates and probabilities, slice by slice.

    Held (logit, label, fold, group of each image; none was seen by the head that scored it)
      threshold       set on all folds: this is what ships
      its rates       set on four folds, counted on the fifth, pooled: this is what is claimed
      interval        95 %, widened for images of one group being alike (Korn-Graubard)

What is too few to measure is None: fewer than FLOOR real (or AI) images of the slice. Knows
nothing of images or features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from . import metrics
from .weights import Calibration, Point, SliceFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FLOOR = 300
"""Fewest images of a class on which a rate is stated; 0 of 300 still allows 1 % (3/n)."""
FALSE_ALARMS = {"strict": 0.01, "balanced": 0.03, "sensitive": 0.10}
"""Share of the real images that each operating point may flag."""
MISSES = 0.10
"""Share of the AI images that may fall below `clear_below`."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """Out-of-fold results of N images: a column each."""

    logit: Floats
    is_ai: Flags
    fold: NDArray[np.int64]
    group: NDArray[np.str_]
    weight: Floats

    def where(self, chosen: Flags) -> Held:
        """Return the rows that are chosen."""
        return Held(
            logit=self.logit[chosen],
            is_ai=self.is_ai[chosen],
            fold=self.fold[chosen],
            group=self.group[chosen],
            weight=self.weight[chosen],
        )


def slice_facts(held: Held) -> SliceFacts:
    """Return all that meta.json says of the images of one slice."""
    n, n_ai = int((~held.is_ai).sum()), int(held.is_ai.sum())
    is_enough = min(n, n_ai) >= FLOOR
    return SliceFacts(
        n=n,
        n_ai=n_ai,
        groups=len(np.unique(held.group[~held.is_ai])),
        groups_ai=len(np.unique(held.group[held.is_ai])),
        auc=metrics.auc(held.logit, held.is_ai) if is_enough else None,
        calibration=calibration(held) if is_enough else None,
        points={name: operating_point(held, rate) for name, rate in FALSE_ALARMS.items()},
    )


def operating_point(held: Held, rate: float) -> Point:
    """Return the thresholds for this share of false alarms, and the rates they really have."""
    n, n_ai = int((~held.is_ai).sum()), int(held.is_ai.sum())
    has_ai = min(n, n_ai) >= FLOOR
    threshold, clear = _thresholds(held, rate) if n >= FLOOR else (None, None)
    flagged, cleared = cross_fitted(held, rate) if n >= FLOOR else (held.is_ai, held.is_ai)
    alarms, alarms_ci = _rate(flagged, held.group, ~held.is_ai, is_stated=n >= FLOOR)
    recall, recall_ci = _rate(flagged, held.group, held.is_ai, is_stated=has_ai)
    missed, missed_ci = _rate(cleared, held.group, held.is_ai, is_stated=has_ai)
    return Point(
        threshold=None if threshold is None else float(special.expit(threshold)),
        clear_below=None if clear is None else float(special.expit(clear)),
        false_alarm_rate=None if alarms is None else max(alarms, 3 / n),
        ci95=alarms_ci,
        n=n,
        recall=recall,
        recall_ci95=recall_ci,
        miss_rate=missed,
        miss_ci95=missed_ci,
        n_ai=n_ai,
    )


def cross_fitted(held: Held, rate: float) -> tuple[Flags, Flags]:
    """Return which images are flagged and which cleared by thresholds of the other folds."""
    flagged, cleared = np.zeros((2, len(held.logit)), bool)
    for fold in np.unique(held.fold):
        is_out = held.fold == fold
        rest = held.where(~is_out)
        threshold = metrics.threshold_at(rest.logit[~rest.is_ai], rate)
        flagged[is_out] = held.logit[is_out] >= threshold
        if rest.is_ai.any():
            clear = min(threshold, metrics.clear_below_at(rest.logit[rest.is_ai], MISSES))
            cleared[is_out] = held.logit[is_out] < clear
    return flagged, cleared


def interval(hits: Flags, group: NDArray[np.str_]) -> tuple[float, float]:
    """Return the 95 % interval of a share whose images come in groups (Korn and Graubard, 1998).

    Clopper-Pearson on the effective sample size: n over the design effect that the groups show,
    lowered for their number. Where no variance shows (nothing or everything was hit), a group
    counts as one image (Kish).
    """
    n = len(hits)
    share = float(hits.mean())
    _, index = np.unique(group, return_inverse=True)
    sizes, found = np.bincount(index), np.bincount(index, hits)
    clusters = len(sizes)
    spread = ((found - sizes * share) ** 2).sum() / n**2
    effective = float(n**2 / (sizes**2).sum())
    if spread > 0 and clusters > 1:
        variance = spread * clusters / (clusters - 1)
        narrow = (special.stdtrit(n - 1, 0.975) / special.stdtrit(clusters - 1, 0.975)) ** 2
        effective = float(min(n, narrow * share * (1 - share) / variance))
    hit, missed = share * effective, (1 - share) * effective
    low = float(special.betaincinv(hit, missed + 1, 0.025)) if hit else 0.0
    high = float(special.betaincinv(hit + 1, missed, 0.975)) if missed else 1.0
    return low, high


def calibration(held: Held) -> Calibration:
    """Return temperature and bias (Platt), classes weighing equal; its error is cross-fitted."""
    scale, bias = _platt(held)
    said = np.empty(len(held.logit))
    for fold in np.unique(held.fold):
        is_out = held.fold == fold
        slope, offset = _platt(held.where(~is_out))
        said[is_out] = special.expit(slope * held.logit[is_out] + offset)
    error = metrics.calibration_error(said, held.is_ai, _balanced(held))
    return Calibration(temperature=1 / scale, bias=bias, ece=error)


def _thresholds(held: Held, rate: float) -> tuple[float, float | None]:
    """Return threshold and clear_below as logits; the second is never above the first."""
    threshold = metrics.threshold_at(held.logit[~held.is_ai], rate)
    ai = held.logit[held.is_ai]
    if len(ai) < FLOOR:
        return threshold, None
    return threshold, min(threshold, metrics.clear_below_at(ai, MISSES))


def _rate(
    hits: Flags, group: NDArray[np.str_], of: Flags, *, is_stated: bool
) -> tuple[float | None, tuple[float, float] | None]:
    if not is_stated:
        return None, None
    return float(hits[of].mean()), interval(hits[of], group[of])


def _platt(held: Held) -> tuple[float, float]:
    """Return scale and bias of the logistic regression of the label on the logit (Newton)."""
    weight = _balanced(held)
    design = np.stack([held.logit, np.ones(len(held.logit))], axis=1)  # (N, 2)
    scale_bias = np.array([1.0, 0.0])
    for _ in range(50):
        said = special.expit(design @ scale_bias)
        slope = design.T @ (weight * (said - held.is_ai))
        curve = (design * (weight * said * (1 - said))[:, None]).T @ design
        step = np.linalg.solve(curve, slope)
        scale_bias = scale_bias - step
        if np.abs(step).max() < 1e-10:
            break
    return float(scale_bias[0]), float(scale_bias[1])


def _balanced(held: Held) -> Floats:
    """Return the weights with both classes summing to one half."""
    totals = np.where(held.is_ai, held.weight[held.is_ai].sum(), held.weight[~held.is_ai].sum())
    balanced: Floats = held.weight / totals / 2
    return balanced
