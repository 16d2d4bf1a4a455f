"""pinclip.evidence.falsification: the rule of method 3, on results whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pinclip.evidence.falsification import (
    Difference,
    Rates,
    RatesError,
    better,
    difference,
    interval,
    judge,
)

FAKE, REAL = 157, 220


def rates(*, gain: float = 0.0, spread: float = 0.0, seeds: int = 5) -> Rates:
    """Rates of the same hard and easy sources, `gain` better, each source by its own luck."""
    hard = np.random.default_rng(0)
    luck = np.random.default_rng(1)
    fake = hard.uniform(0.2, 0.9, FAKE) + gain + luck.normal(0, spread, (seeds, FAKE))
    real = hard.uniform(0.2, 0.9, REAL) + gain + luck.normal(0, spread, (seeds, REAL))
    return named(fake, real)


def named(fake: np.ndarray, real: np.ndarray) -> Rates:
    return Rates(
        fake=fake,
        real=real,
        fake_names=tuple(f"fake {i}" for i in range(fake.shape[1])),
        real_names=tuple(f"real {i}" for i in range(real.shape[1])),
    )


def between(arm: Rates, other: Rates) -> Difference:
    return difference(arm, other, np.random.default_rng(7))


def of(mean: float, low: float, high: float, seeds: tuple[float, ...] | None = None) -> Difference:
    return Difference(mean=mean, low=low, high=high, by_seed=seeds or (mean,) * 5)


def test_difference_is_exact_where_every_source_gains_the_same() -> None:
    found = between(rates(gain=0.03), rates())

    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == pytest.approx((0.03, 0.03))


def test_difference_is_paired_so_hard_sources_do_not_widen_it() -> None:
    paired = between(rates(gain=0.02, spread=0.02), rates())
    alone = interval(rates(gain=0.02, spread=0.02), np.random.default_rng(7))

    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_difference_has_the_interval_of_the_standard_error() -> None:
    luck = np.random.default_rng(3)
    fake, real = luck.normal(0.5, 0.06, (1, 100)), luck.normal(0.5, 0.12, (1, 400))
    error = np.sqrt(fake.var() / 100 + real.var() / 400) / 2

    found = interval(named(fake, real), np.random.default_rng(0))

    assert found.mean - found.low == pytest.approx(1.96 * error, rel=0.1)
    assert found.high - found.mean == pytest.approx(1.96 * error, rel=0.1)


def test_difference_averages_seeds_inside_a_draw_so_their_luck_cancels() -> None:
    fake = np.zeros((2, 50))
    fake[0], fake[1] = np.linspace(0.1, 0.9, 50), np.linspace(0.9, 0.1, 50)

    found = interval(named(fake, np.full((2, 50), 0.5)), np.random.default_rng(0))

    assert found.low == pytest.approx(found.high)


def test_macro_means_give_either_class_half_the_say_whatever_its_number_of_sources() -> None:
    found = interval(named(np.ones((1, 2)), np.zeros((1, 200))), np.random.default_rng(0))

    assert found.mean == pytest.approx(0.5)


def test_difference_is_the_same_for_the_same_seed() -> None:
    assert between(rates(spread=0.1), rates()) == between(rates(spread=0.1), rates())


@pytest.mark.parametrize(
    ("gaussian", "mean", "answer"),
    [
        (of(0.03, 0.01, 0.05), of(0.02, 0.005, 0.04), "WINS"),
        (of(0.01, 0.001, 0.02), of(0.01, 0.001, 0.02), "WINS"),
        (of(0.03, 0.01, 0.05), of(0.0, -0.005, 0.009), "REFUTED"),
        (of(-0.02, -0.03, -0.01), of(0.03, 0.01, 0.05), "REFUTED"),
        (of(0.03, -0.001, 0.06), of(0.03, 0.01, 0.05), "UNDECIDED"),
        (of(0.009, 0.001, 0.02), of(0.03, 0.01, 0.05), "UNDECIDED"),
        (
            of(0.03, 0.01, 0.05, (0.1, 0.1, 0.1, -0.01, -0.02)),
            of(0.03, 0.01, 0.05),
            "UNDECIDED",
        ),
        (of(0.03, 0.01, 0.05, (0.1, 0.1, 0.1, 0.1, -0.02)), of(0.03, 0.01, 0.05), "WINS"),
    ],
    ids=[
        "both clear",
        "exactly one point",
        "a mean shift does as well",
        "worse than gaussian",
        "gaussian not excluded",
        "above zero, too little",
        "three of five seeds",
        "four of five seeds",
    ],
)
def test_judge_follows_the_rule(gaussian: Difference, mean: Difference, answer: str) -> None:
    assert judge(gaussian, mean).answer == answer


def test_judge_says_what_is_lacking() -> None:
    found = judge(of(0.009, -0.002, 0.02), of(0.03, 0.01, 0.05))

    assert "D1: the lower bound -0.20 is not above 0" in found.reason
    assert "D1: the mean +0.90 is below one point" in found.reason
    assert "D2" not in found.reason


@pytest.mark.parametrize(
    ("gain", "answer"), [(0.04, "WINS"), (0.0, "REFUTED"), (-0.03, "REFUTED")], ids=str
)
def test_rule_finds_a_planted_gain_and_no_other(gain: float, answer: str) -> None:
    learned, plain = rates(gain=gain, spread=0.03), rates()

    assert judge(between(learned, plain), between(learned, plain)).answer == answer


def test_rule_is_undecided_where_sources_differ_too_much() -> None:
    learned, plain = rates(gain=0.012, spread=0.5, seeds=5), rates()

    assert judge(between(learned, plain), between(learned, plain)).answer == "UNDECIDED"


def test_difference_refuses_arms_that_were_not_run_alike() -> None:
    with pytest.raises(RatesError, match="5 seeds, the other 4"):
        between(rates(), rates(seeds=4))
    with pytest.raises(RatesError, match="different sources"):
        between(rates(), named(np.zeros((5, 3)), np.zeros((5, 4))))


def test_rates_refuse_a_source_without_a_rate() -> None:
    fake = np.full((2, 3), 0.5)
    fake[1, 2] = np.nan

    with pytest.raises(RatesError, match="no rate under some seed"):
        named(fake, np.ones((2, 2)))


def test_better_chooses_by_validation_and_keeps_the_first_among_equals() -> None:
    assert better([("A2", 0.80), ("A2-grid", 0.81)]) == "A2-grid"
    assert better([("A2", 0.80), ("A2-grid", 0.80)]) == "A2"
