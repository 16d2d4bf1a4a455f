"""Does learned noise win? The rule that was fixed before anything was measured (method 3).

    Rates of two arms: recall of each left-out fake source, specificity of each real one, by seed
      paired cluster bootstrap    sources drawn again, fake and real apart; seeds averaged
      difference of M             mean, one-sided 97.5 % bounds, one mean a seed
      judge                       WINS | REFUTED | UNDECIDED

M is the mean of two macro means: recall over left-out fake sources, specificity over left-out real
sources. Points are hundredths of M. Knows nothing of how an arm was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]

Answer = Literal["WINS", "REFUTED", "UNDECIDED"]

DRAWS = 10_000
TAIL = 0.025
"""Share of the draws beyond a one-sided bound."""
WORTH = 0.01
"""One point of M: what a method must bring to be worth having."""
SEED_SHARE = 0.8
"""The sign must hold in 4 of 5 seeds, and in 8 of 10."""


class RatesError(Exception):
    """Rates that cannot be compared; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one arm does on sources that it never saw.

    `fake` (S, F): recall of each fake source under each of S seeds; `real` (S, R): specificity of
    each real source. Shares in [0, 1]. `fake_names` and `real_names` say which column is which.
    """

    fake: Floats
    real: Floats
    fake_names: tuple[str, ...]
    real_names: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = ((len(self.fake_names),), (len(self.real_names),))
        if (self.fake.shape[1:], self.real.shape[1:]) != expected or len(self.fake) != len(
            self.real
        ):
            raise RatesError(
                f"Rates are (seeds, sources): fake {self.fake.shape} and real {self.real.shape} "
                f"do not fit {len(self.fake_names)} fake and {len(self.real_names)} real sources."
            )
        if not (np.isfinite(self.fake).all() and np.isfinite(self.real).all()):
            raise RatesError("A source has no rate under some seed: run what is missing first.")

    def by_seed(self) -> Floats:
        """Return M of each seed, (S,)."""
        found: Floats = (self.fake.mean(axis=1) + self.real.mean(axis=1)) / 2
        return found


class Difference(Struct, frozen=True, kw_only=True):
    """M of one arm less M of another, in shares: mean, bounds, and the mean of each seed.

    `low` and `high` are one-sided 97.5 % bounds, so together a 95 % interval.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


class Judgement(Struct, frozen=True, kw_only=True):
    """What the rule says, with the two differences that it rests on and why."""

    answer: Answer
    from_gaussian: Difference
    from_mean: Difference
    reason: str


def difference(
    arm: Rates, other: Rates, rng: np.random.Generator, *, draws: int = DRAWS
) -> Difference:
    """Return M(arm) - M(other) by the paired cluster bootstrap.

    A draw takes as many fake sources as there are, with replacement, and apart from them as many
    real ones; both arms meet the same draw, so what is hard for both cancels. Raises RatesError
    unless both arms have the same sources and seeds.
    """
    _check_pair(arm, other)
    fake, real = arm.fake - other.fake, arm.real - other.real  # (S, F), (S, R)
    drawn = (
        _resampled(fake.mean(axis=0), rng, draws) + _resampled(real.mean(axis=0), rng, draws)
    ) / 2
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    by_seed = (fake.mean(axis=1) + real.mean(axis=1)) / 2
    return Difference(
        mean=float(by_seed.mean()),
        low=float(low),
        high=float(high),
        by_seed=tuple(float(value) for value in by_seed),
    )


def interval(rates: Rates, rng: np.random.Generator, *, draws: int = DRAWS) -> Difference:
    """Return M of one arm with its 95 % interval over sources: the difference from zero."""
    nothing = Rates(
        fake=np.zeros_like(rates.fake),
        real=np.zeros_like(rates.real),
        fake_names=rates.fake_names,
        real_names=rates.real_names,
    )
    return difference(rates, nothing, rng, draws=draws)


def judge(from_gaussian: Difference, from_mean: Difference) -> Judgement:
    """Apply the rule of method 3 to D1 = M(A5) - M(A2) and D2 = M(A5) - M(A3).

    WINS iff both lower bounds are above 0, both means at least one point and the sign holds in 4
    of 5 seeds. REFUTED iff an upper bound is below one point. Else UNDECIDED.
    """
    both = {"D1": from_gaussian, "D2": from_mean}
    short = [name for name, found in both.items() if found.high < WORTH]
    lacking = [f"{name}: {fault}" for name, found in both.items() for fault in _faults(found)]
    if not lacking:
        answer: Answer = "WINS"
        reason = "Both differences are at least one point, above zero, and hold in 4 of 5 seeds."
    elif short:
        answer = "REFUTED"
        reason = f"The upper bound of {' and of '.join(short)} is below one point."
    else:
        answer = "UNDECIDED"
        reason = f"{'; '.join(lacking)}. Neither shown nor ruled out: run five more seeds, once."
    return Judgement(answer=answer, from_gaussian=from_gaussian, from_mean=from_mean, reason=reason)


def better(candidates: Sequence[tuple[str, float]]) -> str:
    """Return the name with the highest M on VALIDATION sources; the first among equals."""
    return max(candidates, key=lambda candidate: candidate[1])[0]


def _faults(found: Difference) -> list[str]:
    """Return what this difference lacks for a win."""
    faults = []
    if found.low <= 0:
        faults.append(f"the lower bound {100 * found.low:+.2f} is not above 0")
    if found.mean < WORTH:
        faults.append(f"the mean {100 * found.mean:+.2f} is below one point")
    held = sum(value > 0 for value in found.by_seed)
    if held < SEED_SHARE * len(found.by_seed):
        faults.append(f"it is positive in {held} of {len(found.by_seed)} seeds only")
    return faults


def _resampled(values: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Return the mean of `draws` samples of these values, drawn with replacement."""
    number = len(values)
    counts: Counts = rng.multinomial(number, np.full(number, 1 / number), size=draws)
    means: Floats = counts @ values / number
    return means


def _check_pair(arm: Rates, other: Rates) -> None:
    if (arm.fake_names, arm.real_names) != (other.fake_names, other.real_names):
        raise RatesError("The two arms were scored on different sources: run both on one set.")
    if len(arm.fake) != len(other.fake):
        raise RatesError(
            f"One arm has {len(arm.fake)} seeds, the other {len(other.fake)}: run both with the "
            "same seeds."
        )
