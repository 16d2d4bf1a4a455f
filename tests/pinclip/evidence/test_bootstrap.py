"""Figures under resampling: equal to scikit-learn's and metrics.py's, whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pinclip import metrics
from pinclip.evidence import bootstrap


@pytest.fixture(scope="module")
def scored():
    """(scores with many ties, labels, draws of whole groups) of 600 images in 60 groups."""
    rng = np.random.default_rng(3)
    group = np.sort(rng.integers(0, 60, 600)).astype(str)
    is_ai = group.astype(int) % 2 == 0
    scores = np.round(rng.normal(size=600) + is_ai, 1)
    weight = bootstrap.draws(bootstrap.strata_of(is_ai, group), group, count=20, seed=1)
    return scores, is_ai, weight


def test_every_draw_has_the_figures_that_scikit_learn_finds_with_its_weights(scored):
    scores, is_ai, weight = scored
    at = bootstrap.standing(scores[is_ai], scores[~is_ai], weight[:, ~is_ai])

    auroc = bootstrap.auroc(at, weight[:, is_ai])
    precision = bootstrap.average_precision(scores[is_ai], at, weight[:, is_ai])

    for k, drawn in enumerate(weight):
        even = drawn / np.where(is_ai, drawn[is_ai].sum(), drawn[~is_ai].sum())
        assert auroc[k] == pytest.approx(
            roc_auc_score(is_ai, scores, sample_weight=drawn), abs=1e-5
        )
        assert precision[k] == pytest.approx(
            average_precision_score(is_ai, scores, sample_weight=even), abs=1e-5
        )


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_recall_at_a_rate_is_that_of_the_images_drawn_several_times(scored, rate):
    scores, is_ai, weight = scored
    at = bootstrap.standing(scores[is_ai], scores[~is_ai], weight[:, ~is_ai])

    found = bootstrap.recall_at(at, weight[:, is_ai], rate)

    for k, drawn in enumerate(weight):
        often = drawn.astype(int)
        expected = metrics.recall_at(np.repeat(scores, often), np.repeat(is_ai, often), rate)
        assert found[k] == pytest.approx(expected, abs=1e-5)


def test_calibration_error_of_the_data_itself_is_that_of_metrics(scored):
    scores, is_ai, weight = scored
    said = 1 / (1 + np.exp(-scores))
    value = np.linspace(1, 2, len(scores))
    balanced = value / np.where(is_ai, value[is_ai].sum(), value[~is_ai].sum())

    found = bootstrap.calibration_error(said, is_ai, value, weight)

    assert found[0] == pytest.approx(metrics.calibration_error(said, is_ai, balanced), abs=1e-6)
    assert found[1:].mean() == pytest.approx(found[0], abs=0.01)


def test_a_group_is_drawn_whole_and_strata_keep_their_size():
    group = np.repeat(np.arange(12).astype(str), 5)
    is_ai = np.arange(60) < 20

    weight = bootstrap.draws(bootstrap.strata_of(is_ai, group), group, count=50, seed=0)

    assert (weight[0] == 1).all()
    assert (weight.reshape(51, 12, 5) == weight.reshape(51, 12, 5)[:, :, :1]).all()
    assert (weight[:, is_ai].sum(axis=1) == 20).all()
    assert (weight[1:] != 1).any()


def test_a_group_of_both_classes_is_a_stratum_of_its_own():
    group = np.array(["a", "a", "b", "c"])
    is_ai = np.array([True, False, True, False])

    assert bootstrap.strata_of(is_ai, group).tolist() == ["both", "both", "ai", "real"]


def test_draws_repeat_from_their_seed():
    units = np.arange(30).astype(str)
    strata = np.full(30, "real")

    first, again, other = (bootstrap.draws(strata, units, count=9, seed=s) for s in (5, 5, 6))

    assert (first == again).all()
    assert (first != other).any()


def test_interval_of_a_mean_is_its_standard_error_wide():
    values = np.random.default_rng(0).random(400)
    units = np.arange(400).astype(str)
    weight = bootstrap.draws(np.full(400, "real"), units, count=4000, seed=0)

    low, high = bootstrap.interval(bootstrap.share(values, weight))

    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


def test_what_no_draw_moves_has_no_interval():
    weight = bootstrap.draws(np.full(9, "ai"), np.arange(9).astype(str), count=99, seed=0)

    assert bootstrap.interval(bootstrap.share(np.ones(9), weight)) is None


def test_draws_without_an_image_of_the_subset_are_passed_over():
    weight = np.array([[1, 1], [2, 0], [0, 2], [1, 1]], np.float32)

    found = bootstrap.share(np.array([0.25]), weight[:, :1])

    assert np.isnan(found[2])
    assert bootstrap.interval(np.array([0.0, 0.1, np.nan, 0.3])) == pytest.approx((0.105, 0.295))
