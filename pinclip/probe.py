"""Linear classifiers of features, their settings chosen by folds inside the folds.

    features (N, D), a question (classes, weights), settings
      choose       scaling and strength, on the folds that are left
      held out     a head for each fold, scoring what it never saw
      fit on everything

The question asked here is which slice, of real images, whose styles are known best; a source weighs
as the square root of its images, and classes alike. What was chosen on data is never reported on
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from . import data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Matrix = NDArray[np.float32]
    Names = NDArray[np.str_]


class Setting(NamedTuple):
    """How a head is fitted: features scaled to unit variance or not, and scikit-learn's C."""

    is_scaled: bool
    strength: float


SLICE_SETTINGS = (Setting(True, 0.0003), Setting(True, 0.001))
"""What is tried for the slice."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear classifier of raw features; row k of `weight` and `bias` belongs to class k."""

    weight: Matrix
    bias: Matrix

    def logits(self, features: Matrix) -> Matrix:
        """(N, D) -> (N, K)."""
        logits: Matrix = features @ self.weight.T + self.bias
        return logits


@dataclass(frozen=True, kw_only=True)
class Question:
    """A class index for each image, and what the image weighs in the answer (0: left out)."""

    classes: NDArray[np.int64]
    weight: Floats


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Held-out logits (N, K), the head fitted on everything, and how it was fitted."""

    held_out: Matrix
    head: Head
    setting: Setting


def slice_question(rows: Sequence[data.Row]) -> Question:
    """Ask of every real image whose style is an example: which slice."""
    chosen = [i for i, row in enumerate(rows) if row.label == "real" and row.slice is not None]
    names = [row.slice or "" for row in (rows[i] for i in chosen)]
    classes = np.zeros(len(rows), np.int64)
    weight = np.zeros(len(rows))
    classes[chosen] = [data.SLICES.index(name) for name in names]
    weight[chosen] = data.weights([rows[i] for i in chosen], names)
    return Question(classes=classes, weight=weight)


def answer(
    features: Matrix, fold: NDArray[np.int64], question: Question, settings: Sequence[Setting]
) -> Answer:
    """Return held-out logits whose settings were chosen without the fold they are for.

    For fold f every setting is fitted on three of the other folds and judged on the fourth, by
    weighted log loss. A pair of folds left out serves both its folds.
    """
    folds = [int(f) for f in np.unique(fold)]
    losses = {pair: _losses(features, fold, question, settings, pair) for pair in _pairs(folds)}
    held_out = np.zeros((len(features), int(question.classes.max()) + 1), np.float32)
    for f in folds:
        inner = [losses[pair][1 - pair.index(f)] for pair in losses if f in pair]
        best = settings[int(np.mean(inner, axis=0).argmin())]
        held_out[fold == f] = fit(features, question, best, fold != f).logits(features[fold == f])
    overall = np.mean([both for pair in losses.values() for both in pair], axis=0)
    chosen = settings[int(overall.argmin())]
    head = fit(features, question, chosen, np.ones(len(features), bool))
    return Answer(held_out=held_out, head=head, setting=chosen)


def fit(features: Matrix, question: Question, setting: Setting, where: NDArray[np.bool_]) -> Head:
    """Return the weighted logistic regression on the images `where` says, in raw features."""
    chosen = where & (question.weight > 0)
    x, classes, weight = features[chosen], question.classes[chosen], question.weight[chosen]
    mean, scale = np.float32(0), np.float32(1)
    if setting.is_scaled:
        mean, scale = x.mean(axis=0), x.std(axis=0) + np.float32(1e-6)
    model = LogisticRegression(C=setting.strength, max_iter=2000, tol=1e-3)
    model.fit((x - mean) / scale, classes, sample_weight=weight)
    slopes, bias = model.coef_ / scale, model.intercept_
    bias = bias - (slopes * mean).sum(axis=1)
    if len(slopes) == 1:  # two classes: scikit-learn gives the second one's row, the first is 0
        slopes, bias = np.concatenate([0 * slopes, slopes]), np.array([0.0, bias[0]])
    return Head(weight=slopes.astype(np.float32), bias=bias.astype(np.float32))


def _pairs(folds: Sequence[int]) -> list[tuple[int, int]]:
    return list(combinations(folds, 2))


def _losses(
    features: Matrix,
    fold: NDArray[np.int64],
    question: Question,
    settings: Sequence[Setting],
    pair: tuple[int, int],
) -> tuple[list[float], list[float]]:
    """Return, for either fold of the pair, the loss of each setting fitted without both."""
    losses: tuple[list[float], list[float]] = ([], [])
    for setting in settings:
        head = fit(features, question, setting, ~np.isin(fold, pair))
        for f, found in zip(pair, losses, strict=True):
            found.append(_loss(head.logits(features[fold == f]), question, fold == f))
    return losses


def _loss(logits: Matrix, question: Question, where: NDArray[np.bool_]) -> float:
    """Return the weighted mean of -log p(class)."""
    classes, weight = question.classes[where], question.weight[where]
    said = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(classes)), classes]
    return float(-(weight * said).sum() / weight.sum())
