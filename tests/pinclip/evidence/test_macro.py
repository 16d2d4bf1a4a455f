"""pinclip.evidence.macro: sources count alike, and thresholds come from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pinclip.evidence.macro import (
    Held,
    areas,
    best_threshold,
    calibration_error,
    macro,
    rates,
    recalls,
    worst_decile,
)


def held(*rows: tuple[float, str]) -> Held:
    """Images as (logit, source); a source that begins with "ai" is of AI."""
    return Held(
        logit=np.array([logit for logit, _ in rows], float),
        is_ai=np.array([source.startswith("ai") for _, source in rows]),
        source=np.array([source for _, source in rows]),
    )


def drawn(seed: int, *, number: int = 400) -> Held:
    random = np.random.default_rng(seed)
    is_ai = random.random(number) < 0.5
    return Held(
        logit=random.normal(np.where(is_ai, 1.0, -1.0), 1.5),
        is_ai=is_ai,
        source=np.where(is_ai, "ai ", "real ")
        + random.integers(0, 9, number).astype(str).astype("U9"),
    )


def test_a_large_source_weighs_no_more_than_a_small_one() -> None:
    many = held(*[(1, "ai big")] * 9, (-1, "ai small"), (-1, "real"))

    fake, real = rates(many, 0.0)

    assert fake == {"ai big": 1.0, "ai small": 0.0}
    assert real == {"real": 1.0}
    assert macro(many, 0.0) == pytest.approx((0.5 + 1.0) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_best_threshold_is_the_best_of_all(seed: int) -> None:
    images = drawn(seed)
    everywhere = np.linspace(images.logit.min() - 1, images.logit.max() + 1, 301)

    best = macro(images, best_threshold(images))

    assert best >= max(macro(images, threshold) for threshold in everywhere) - 1e-12


def test_best_threshold_never_parts_equal_scores() -> None:
    images = held((0, "ai"), (0, "real"), (1, "ai"), (-1, "real"))

    assert best_threshold(images) in (-0.5, 0.5)


def test_area_of_a_source_is_its_auc_where_real_sources_are_of_one_size() -> None:
    images = drawn(0)
    one_real = Held(
        logit=np.round(images.logit, 1),
        is_ai=images.is_ai,
        source=np.where(images.is_ai, images.source, "real"),
    )

    found = areas(one_real)

    for source, area in found.items():
        chosen = (one_real.source == source) | ~one_real.is_ai
        expected = roc_auc_score(one_real.is_ai[chosen], one_real.logit[chosen])
        assert area == pytest.approx(expected)


def test_recalls_allow_the_share_of_false_alarms_and_no_more() -> None:
    real = [(float(i), "real") for i in range(100)]
    images = held(*real, (93.5, "ai low"), (95.5, "ai high"), (99.5, "ai top"))

    assert recalls(images, 0.05) == {"ai high": 1.0, "ai low": 0.0, "ai top": 1.0}
    assert recalls(images, 0.0) == {"ai high": 0.0, "ai low": 0.0, "ai top": 1.0}


def test_calibration_is_learned_on_the_one_and_measured_on_the_other() -> None:
    overconfident = drawn(1, number=4000)
    other = drawn(2, number=4000)

    assert calibration_error(overconfident, other) < 0.05
    shifted = Held(logit=other.logit + 4, is_ai=other.is_ai, source=other.source)
    assert calibration_error(overconfident, shifted) > 0.2


def test_worst_decile_is_the_mean_of_the_lowest_tenth() -> None:
    assert worst_decile({str(i): i / 20 for i in range(20)}) == pytest.approx(0.025)
    assert worst_decile({"only": 0.3}) == 0.3


def test_held_refuses_one_class_alone() -> None:
    with pytest.raises(ValueError, match="both classes"):
        held((1, "ai"), (2, "ai"))
