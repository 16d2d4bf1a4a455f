"""pinclip.calibrate: operating points, intervals and probabilities on data that is made up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pinclip import calibrate
from pinclip.calibrate import FALSE_ALARMS, FLOOR, Held


def held(
    real: int, ai: int, *, seed: int = 0, gap: float = 3.0, per_group: int = 5, alike: float = 0.0
) -> Held:
    """Return logits of two normal classes `gap` apart; `alike` is what a group's images share."""
    random = np.random.default_rng(seed)
    is_ai = np.arange(real + ai) >= real
    index = np.arange(real + ai) // per_group
    logit = random.normal(size=real + ai) * np.sqrt(1 - alike)
    logit += random.normal(size=index.max() + 1)[index] * np.sqrt(alike) + gap * is_ai
    return Held(
        logit=logit,
        is_ai=is_ai,
        fold=index % 5,
        group=np.array([f"group-{i}" for i in index]),
        weight=np.ones(real + ai),
    )


@pytest.mark.parametrize("name", FALSE_ALARMS)
def test_operating_point_flags_no_more_real_images_than_it_may(name: str) -> None:
    sample = held(2000, 2000)

    point = calibrate.operating_point(sample, FALSE_ALARMS[name])

    assert point.threshold is not None
    scores = 1 / (1 + np.exp(-sample.logit[~sample.is_ai]))
    assert (scores >= point.threshold).mean() <= FALSE_ALARMS[name]


def test_operating_point_counts_false_alarms_with_thresholds_of_other_folds() -> None:
    sample = held(500, 500)
    shift = np.where((sample.fold == 0) & ~sample.is_ai, 20.0, 0.0)
    shifted = Held(
        logit=sample.logit + shift,
        is_ai=sample.is_ai,
        fold=sample.fold,
        group=sample.group,
        weight=sample.weight,
    )

    point = calibrate.operating_point(shifted, 0.01)

    # Every real image of fold 0 is above whatever the other folds allow: a fifth, not 1 %.
    assert point.false_alarm_rate == pytest.approx(0.2, abs=0.02)


def test_operating_point_is_empty_when_real_images_are_few() -> None:
    point = calibrate.operating_point(held(FLOOR - 1, 1000), 0.03)

    assert (point.threshold, point.clear_below, point.false_alarm_rate) == (None, None, None)
    assert (point.ci95, point.recall, point.miss_rate) == (None, None, None)
    assert (point.n, point.n_ai) == (FLOOR - 1, 1000)


def test_operating_point_clears_nothing_when_ai_images_are_few() -> None:
    point = calibrate.operating_point(held(1000, FLOOR - 1), 0.03)

    assert point.threshold is not None
    assert point.false_alarm_rate is not None
    assert (point.clear_below, point.recall, point.miss_rate) == (None, None, None)


@pytest.mark.parametrize("ai", [0, 1000], ids=["no ai", "ai"])
def test_operating_point_never_states_a_rate_below_three_in_n(ai: int) -> None:
    # All real images of a fold equal: thresholds of the others are never reached.
    sample = held(FLOOR, ai)
    flat = Held(
        logit=np.where(sample.is_ai, 9.0, 0.0),
        is_ai=sample.is_ai,
        fold=sample.fold,
        group=sample.group,
        weight=sample.weight,
    )

    point = calibrate.operating_point(flat, 0.01)

    assert point.false_alarm_rate == 3 / FLOOR
    assert point.ci95 is not None
    assert point.ci95[0] == 0
    assert point.ci95[1] >= 3 / FLOOR


@pytest.mark.parametrize("gap", [0.0, 1.0, 6.0])
def test_clear_below_is_never_above_the_threshold(gap: float) -> None:
    for rate in FALSE_ALARMS.values():
        point = calibrate.operating_point(held(800, 800, gap=gap), rate)

        assert point.threshold is not None
        assert point.clear_below is not None
        assert point.clear_below <= point.threshold


def test_clear_below_misses_no_more_ai_images_than_it_may() -> None:
    sample = held(1000, 1000, gap=1.0)

    point = calibrate.operating_point(sample, 0.01)

    assert point.clear_below is not None
    scores = 1 / (1 + np.exp(-sample.logit[sample.is_ai]))
    assert 0.05 < (scores < point.clear_below).mean() <= calibrate.MISSES


def test_interval_is_clopper_pearson_when_each_image_is_a_group() -> None:
    random = np.random.default_rng(3)
    hits = random.random(400) < 0.07

    low, high = calibrate.interval(hits, np.arange(400).astype(str))

    exact = stats.binomtest(int(hits.sum()), 400).proportion_ci(0.95, "exact")
    assert low == pytest.approx(exact.low, rel=0.02)
    assert high == pytest.approx(exact.high, rel=0.02)


def test_interval_widens_when_the_images_of_a_group_are_alike() -> None:
    apart = held(1000, 0, per_group=20)
    alike = held(1000, 0, per_group=20, alike=0.8)

    widths = []
    for sample in (apart, alike):
        hits = sample.logit >= np.quantile(sample.logit, 0.95)
        low, high = calibrate.interval(hits, sample.group)
        widths.append(high - low)

    assert widths[1] > 1.5 * widths[0]


def test_interval_holds_the_true_rate_as_often_as_it_says_when_images_come_in_groups() -> None:
    covered = 0
    for seed in range(300):
        sample = held(1000, 0, seed=seed, per_group=20, alike=0.5)
        low, high = calibrate.interval(sample.logit >= stats.norm.isf(0.1), sample.group)
        covered += low <= 0.1 <= high

    assert covered >= 0.92 * 300


def test_interval_counts_groups_when_nothing_was_hit() -> None:
    group = np.repeat(np.arange(40), 10).astype(str)

    low, high = calibrate.interval(np.zeros(400, bool), group)

    assert low == 0
    assert high == pytest.approx(stats.binomtest(0, 40).proportion_ci(0.95, "exact").high)


def test_calibration_recovers_temperature_and_bias() -> None:
    random = np.random.default_rng(11)
    logit = random.normal(0, 3, 60_000)
    is_ai = random.random(60_000) < 1 / (1 + np.exp(-(logit / 2.0 + 0.7)))
    sample = Held(
        logit=logit,
        is_ai=is_ai,
        fold=np.arange(60_000) % 5,
        group=np.arange(60_000).astype(str),
        weight=np.ones(60_000),
    )

    found = calibrate.calibration(sample)

    # Classes weigh equal, which moves the bias by the log odds of the sample.
    prior = np.log(is_ai.mean() / (1 - is_ai.mean()))
    assert found.temperature == pytest.approx(2.0, rel=0.03)
    assert found.bias == pytest.approx(0.7 - prior, abs=0.05)
    assert found.ece < 0.01


def test_slice_facts_has_probabilities_only_where_both_classes_are_many() -> None:
    assert calibrate.slice_facts(held(400, 400)).calibration is not None
    assert calibrate.slice_facts(held(400, 299)).calibration is None
    assert calibrate.slice_facts(held(299, 400)).calibration is None
