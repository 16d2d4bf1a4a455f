"""pinclip.metrics against scikit-learn, and its rules on ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from pinclip import metrics


def sample(seed: int, *, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores that part two classes badly, rounded to `step` so that there are ties."""
    random = np.random.default_rng(seed)
    labels = random.random(700) < 0.4
    scores = np.round((random.normal(size=700) + labels) / step) * step
    return scores, labels


@pytest.mark.parametrize("step", [1e-9, 0.5], ids=["apart", "tied"])
@pytest.mark.parametrize("seed", range(3))
def test_auc_equals_that_of_scikit_learn(seed: int, step: float) -> None:
    scores, labels = sample(seed, step=step)

    assert metrics.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_refuses_one_class() -> None:
    with pytest.raises(ValueError, match="0 AI and 3 real"):
        metrics.auc(np.arange(3.0), np.zeros(3, bool))


@pytest.mark.parametrize("step", [1e-9, 0.5], ids=["apart", "tied"])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_recall_at_equals_the_roc_curve_of_scikit_learn(rate: float, step: float) -> None:
    scores, labels = sample(5, step=step)

    alarms, recalls, _ = roc_curve(labels, scores, drop_intermediate=False)

    assert metrics.recall_at(scores, labels, rate) == pytest.approx(
        recalls[alarms <= rate + 1e-9].max()
    )


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.029, 0.1, 0.5])
@pytest.mark.parametrize("step", [1e-9, 0.5], ids=["apart", "tied"])
def test_threshold_at_is_reached_by_no_more_than_the_rate(rate: float, step: float) -> None:
    scores, _ = sample(7, step=step)

    assert (scores >= metrics.threshold_at(scores, rate)).mean() <= rate


def test_threshold_at_lies_between_two_scores() -> None:
    assert metrics.threshold_at(np.array([1.0, 2.0, 3.0, 4.0]), 0.25) == 3.5


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("step", [1e-9, 0.5], ids=["apart", "tied"])
def test_clear_below_at_is_above_no_more_than_the_rate(rate: float, step: float) -> None:
    scores, _ = sample(9, step=step)

    assert (scores < metrics.clear_below_at(scores, rate)).mean() <= rate


def test_calibration_error_is_zero_when_what_was_said_was_so() -> None:
    said = np.repeat([0.25, 0.75], 100)
    was = np.tile([True, False, False, False], 25).tolist() + [True, True, True, False] * 25

    assert metrics.calibration_error(said, np.array(was), np.ones(200)) == pytest.approx(0)


def test_calibration_error_is_the_distance_weighted() -> None:
    said = np.array([0.9, 0.1])
    was = np.array([False, False])

    assert metrics.calibration_error(said, was, np.array([3.0, 1.0])) == pytest.approx(0.7)
