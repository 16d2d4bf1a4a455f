"""What an arm does on sources that it never saw: every source counts as one, whatever its size.

    Held (logit, is_ai, source of each image)
      best_threshold    on VALIDATION sources: where M is highest
      rates             recall of each fake source, specificity of each real one   method 3
      areas, recalls    AUC and recall at a share of false alarms, by fake source
      worst_decile      mean of the worst tenth of the sources

M = (mean over fake sources of recall + mean over real sources of specificity) / 2. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pinclip import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

ByClass = tuple[dict[str, float], dict[str, float]]
"""A number for each fake source, and one for each real source."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """Scored images of both classes: logit (higher: more AI), label and source of each (N,)."""

    logit: Floats
    is_ai: Flags
    source: NDArray[np.str_]

    def __post_init__(self) -> None:
        if not self.is_ai.any() or self.is_ai.all():
            raise ValueError(
                f"M needs both classes: of {len(self.is_ai)} images {int(self.is_ai.sum())} are AI."
            )

    def weight(self) -> Floats:
        """Return (N,): in either class all sources weigh the same, and together one half."""
        weight = np.empty(len(self.logit))
        for of in (self.is_ai, ~self.is_ai):
            _, index, counts = np.unique(self.source[of], return_inverse=True, return_counts=True)
            weight[of] = 0.5 / counts[index] / len(counts)
        return weight


def best_threshold(held: Held) -> float:
    """Return the logit at which M is highest, half-way to the score below; the lowest of several.

    Chosen on validation sources and used on others: never on those that it was chosen on.
    """
    order = np.argsort(held.logit, kind="stable")
    logit, weight, is_ai = held.logit[order], held.weight()[order], held.is_ai[order]
    edges = np.concatenate([[True], np.diff(logit) > 0])
    below_real = np.concatenate([[0.0], np.cumsum(weight * ~is_ai)])[:-1]
    below_ai = np.concatenate([[0.0], np.cumsum(weight * is_ai)])[:-1]
    right = np.where(edges, below_real + 0.5 - below_ai, -1.0)
    best = int(right.argmax())
    return float(logit[0] - 1.0 if best == 0 else (logit[best - 1] + logit[best]) / 2)


def macro(held: Held, threshold: float) -> float:
    """Return M at this threshold."""
    is_right = (held.logit >= threshold) == held.is_ai
    return float((held.weight() * is_right).sum())


def rates(held: Held, threshold: float) -> ByClass:
    """Return recall of each fake source and specificity of each real one."""
    is_right = (held.logit >= threshold) == held.is_ai
    return by_source(is_right, held, held.is_ai), by_source(is_right, held, ~held.is_ai)


def areas(held: Held) -> dict[str, float]:
    """Return for each fake source its AUC against all real images, each real source as one."""
    real = np.argsort(held.logit[~held.is_ai], kind="stable")
    logit = held.logit[~held.is_ai][real]
    mass = np.concatenate([[0.0], np.cumsum(2 * held.weight()[~held.is_ai][real])])
    left, right = (np.searchsorted(logit, held.logit, side) for side in ("left", "right"))
    return by_source((mass[left] + mass[right]) / 2, held, held.is_ai)


def recalls(held: Held, rate: float) -> dict[str, float]:
    """Return the recall of each fake source where `rate` of the real images, by source, is flagged.

    A ranking measure: its threshold is that of these very real sources, so it is no operating
    point.
    """
    real = np.argsort(-held.logit[~held.is_ai], kind="stable")
    logit = held.logit[~held.is_ai][real]
    flagged = np.cumsum(2 * held.weight()[~held.is_ai][real])
    limit = logit[min(int(np.searchsorted(flagged, rate + 1e-12, "right")), len(logit) - 1)]
    return by_source(held.logit > limit, held, held.is_ai)


def calibration_error(validation: Held, test: Held) -> float:
    """Return the ECE on `test` after one slope and one bias were fitted on `validation` (Platt)."""
    model = LogisticRegression(C=1e6)
    model.fit(validation.logit[:, None], validation.is_ai, sample_weight=_per_image(validation))
    said = expit(model.decision_function(test.logit[:, None]))
    return metrics.calibration_error(said, test.is_ai, test.weight())


def worst_decile(values: Mapping[str, float]) -> float:
    """Return the mean of the lowest tenth, at least one."""
    ordered = np.sort(np.fromiter(values.values(), np.float64))
    return float(ordered[: max(1, len(ordered) // 10)].mean())


def by_source(values: NDArray[np.generic], held: Held, of: Flags) -> dict[str, float]:
    """Return the mean of `values` (N,) over the images of each source, among those `of` says."""
    names, index = np.unique(held.source[of], return_inverse=True)
    sums = np.bincount(index, values[of].astype(np.float64))
    means = sums / np.bincount(index)
    return dict(zip(names.tolist(), means.tolist(), strict=True))


def _per_image(held: Held) -> Floats:
    """Return the weights scaled to 1 on average, so that the solver's tolerance means the same."""
    weight: Floats = held.weight() * len(held.logit)
    return weight
