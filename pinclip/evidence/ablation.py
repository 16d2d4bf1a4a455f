"""An ablation's runs -> the table, the rule's answer, and the page that says both.

    runs.jsonl --lines--> Line (rates by seed and source)  --result-->  Result --page--> Markdown
                                                             --json-->  ablation.json

An arm stands in the table once every split and every seed that was run for any arm is there for
it; what is missing is named. Intervals are of sources (falsification.py), and differences are
paired. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from . import falsification, macro
from .arms import ARMS, COMPARED, METHOD
from .falsification import Difference, Judgement, Rates
from .records import Outcome, Plan, Run

SEED = 20251116
"""Of the bootstrap: the same draws for every arm."""
FLOOR_ARM = "A0"
"""What every arm is compared with in the table."""


class Use(NamedTuple):
    """An arm in one way of using it at test."""

    arm: str
    mode: str

    @property
    def name(self) -> str:
        """As the table names it: the arm alone where it is used without noise."""
        return self.arm if self.mode in ("off", "") else f"{self.arm} {self.mode}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that was measured of one use: rates by seed and source, and means over runs."""

    rates: Rates
    validation: float
    area: float
    recall_5: float
    recall_1: float
    worst_decile: float
    ece: float
    scale: float | None
    seconds: float


class Line(Struct, frozen=True, kw_only=True):
    """One line of the table; shares, but `scale` (RMS of a coordinate of the noise) and seconds."""

    arm: str
    mode: str
    name: str
    question: str
    m: Difference
    against_floor: Difference | None
    recall: float
    specificity: float
    area: float
    recall_5: float
    recall_1: float
    worst_decile: float
    ece: float
    validation: float
    scale: float | None
    seconds: float


class Verdict(Struct, frozen=True, kw_only=True):
    """What the rule says of one learned noise; `is_primary`: the one that was fixed beforehand."""

    learned: str
    gaussian: str
    mean: str
    is_primary: bool
    judgement: Judgement


class Result(Struct, frozen=True, kw_only=True):
    """What ablation.json holds."""

    plan: Plan
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    fake_sources: int
    real_sources: int
    lines: tuple[Line, ...]
    verdicts: tuple[Verdict, ...]
    incomplete: tuple[str, ...]


def result(plan: Plan, runs: Sequence[Run]) -> Result:
    """Return the table and the verdicts of these runs, trials left out."""
    runs = [run for run in runs if run.trial is None]
    seeds = tuple(sorted({run.seed for run in runs}))
    splits = tuple(sorted({run.split for run in runs}))
    names = {run.arm for run in runs}
    whole = [arm for arm in ARMS if _is_whole(arm.name, runs, len(seeds) * len(splits))]
    found = {
        Use(arm.name, mode): measured([run for run in runs if run.arm == arm.name], mode)
        for arm in whole
        for mode in _modes(arm.name, runs)
    }
    floor = found.get(Use(FLOOR_ARM, "off"))
    first = next(iter(found.values()), None)
    return Result(
        plan=plan,
        seeds=seeds,
        splits=splits,
        fake_sources=len(first.rates.fake_names) if first else 0,
        real_sources=len(first.rates.real_names) if first else 0,
        lines=tuple(_line(use, of, floor) for use, of in found.items()),
        verdicts=tuple(_verdicts(found)),
        incomplete=tuple(sorted(names - {arm.name for arm in whole})),
    )


def measured(runs: Sequence[Run], mode: str) -> Measured:
    """Return what one arm's runs say in one mode, over all their seeds and splits."""
    outcomes = [_outcome(run, mode) for run in runs]
    seeds = sorted({run.seed for run in runs})
    by_seed = [
        [outcome for run, outcome in zip(runs, outcomes, strict=True) if run.seed == seed]
        for seed in seeds
    ]
    rates = _rates(by_seed)
    scales = [run.energy**0.5 for run in runs if run.energy is not None]
    everything = {
        **dict(zip(rates.fake_names, rates.fake.mean(axis=0).tolist(), strict=True)),
        **dict(zip(rates.real_names, rates.real.mean(axis=0).tolist(), strict=True)),
    }
    return Measured(
        rates=rates,
        validation=fmean(outcome.validation for outcome in outcomes),
        area=_macro(outcomes, lambda outcome: outcome.areas),
        recall_5=_macro(outcomes, lambda outcome: outcome.recall_5),
        recall_1=_macro(outcomes, lambda outcome: outcome.recall_1),
        worst_decile=macro.worst_decile(everything),
        ece=fmean(outcome.ece for outcome in outcomes),
        scale=fmean(scales) if scales else None,
        seconds=fmean(run.seconds for run in runs),
    )


def page(found: Result) -> str:
    """Return the page: the answer of the rule, the table, how it was measured."""
    parts = [_head(found), _answers(found), _table(found), _method(found)]
    return "\n\n".join(parts) + "\n"


def _rates(by_seed: Sequence[Sequence[Outcome]]) -> Rates:
    """Return the rates of each seed; a source that several splits leave out gets its mean."""
    fake = [_mean_by_name([outcome.fake for outcome in outcomes]) for outcomes in by_seed]
    real = [_mean_by_name([outcome.real for outcome in outcomes]) for outcomes in by_seed]
    fake_names, real_names = tuple(sorted(fake[0])), tuple(sorted(real[0]))
    return Rates(
        fake=np.array([[of[name] for name in fake_names] for of in fake]),
        real=np.array([[of[name] for name in real_names] for of in real]),
        fake_names=tuple(f"ai {name}" for name in fake_names),
        real_names=tuple(f"real {name}" for name in real_names),
    )


def _mean_by_name(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for part in parts:
        for name, value in part.items():
            values.setdefault(name, []).append(value)
    return {name: fmean(found) for name, found in values.items()}


def _macro(outcomes: Sequence[Outcome], of: Callable[[Outcome], dict[str, float]]) -> float:
    """Return the mean over sources of what is the mean over runs."""
    return fmean(_mean_by_name([of(outcome) for outcome in outcomes]).values())


def _outcome(run: Run, mode: str) -> Outcome:
    return next(outcome for outcome in run.outcomes if outcome.mode == mode)


def _modes(arm: str, runs: Sequence[Run]) -> list[str]:
    first = next(run for run in runs if run.arm == arm)
    return [outcome.mode for outcome in first.outcomes]


def _is_whole(arm: str, runs: Sequence[Run], number: int) -> bool:
    return 0 < number == sum(run.arm == arm for run in runs)


def _line(use: Use, of: Measured, floor: Measured | None) -> Line:
    question = next(arm.question for arm in ARMS if arm.name == use.arm)
    against = None
    if floor is not None and of is not floor:
        against = falsification.difference(of.rates, floor.rates, _rng())
    return Line(
        arm=use.arm,
        mode=use.mode,
        name=use.name,
        question=question,
        m=falsification.interval(of.rates, _rng()),
        against_floor=against,
        recall=float(of.rates.fake.mean()),
        specificity=float(of.rates.real.mean()),
        area=of.area,
        recall_5=of.recall_5,
        recall_1=of.recall_1,
        worst_decile=of.worst_decile,
        ece=of.ece,
        validation=of.validation,
        scale=of.scale,
        seconds=of.seconds,
    )


def _verdicts(found: dict[Use, Measured]) -> list[Verdict]:
    """Apply the rule to each learned noise whose opponents are all there."""
    verdicts = []
    for learned, gaussians, mean in COMPARED:
        uses = [Use(name, "off") for name in (learned, *gaussians, mean)]
        if not all(use in found for use in uses):
            continue
        candidates = [(name, found[Use(name, "off")].validation) for name in gaussians]
        gaussian = falsification.better(candidates)
        d1, d2 = (
            falsification.difference(found[uses[0]].rates, found[Use(name, "off")].rates, _rng())
            for name in (gaussian, mean)
        )
        verdicts.append(
            Verdict(
                learned=learned,
                gaussian=gaussian,
                mean=mean,
                is_primary=learned == METHOD,
                judgement=falsification.judge(d1, d2),
            )
        )
    return verdicts


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _head(found: Result) -> str:
    plan = found.plan
    return (
        f"# Ablation: {plan.stage} features, left out by {plan.protocol}\n\n"
        "<!-- Written by `pinclip ablate`; do not edit. -->\n\n"
        f"{found.fake_sources} fake and {found.real_sources} real sources, each scored by models "
        f"that never saw it: {len(found.splits)} splits, {len(found.seeds)} seeds, "
        f"{plan.trials} trials an arm. Data `{plan.data[:12]}`, base recipe `{plan.base[:12]}`."
        + (f" Tuned: blocks {', '.join(map(str, plan.blocks))}." if plan.blocks else "")
        + (f" {plan.detail}" if plan.detail else "")
    )


def _answers(found: Result) -> str:
    if not found.verdicts:
        return (
            "## Does learned noise win?\n\nNot answered: A5, A2, A2-grid and A3 must all be run "
            "with the same seeds and splits."
        )
    parts = ["## Does learned noise win?"]
    for verdict in found.verdicts:
        judged = verdict.judgement
        note = "" if verdict.is_primary else " (looked for afterwards; not the rule's own question)"
        parts.append(
            f"**{verdict.learned}: {judged.answer}**{note}. {judged.reason}\n\n"
            "| difference of M, points | mean | 95 % interval | by seed |\n|---|---|---|---|\n"
            + _difference_row(f"{verdict.learned} - {verdict.gaussian}", judged.from_gaussian)
            + _difference_row(f"{verdict.learned} - {verdict.mean}", judged.from_mean).rstrip()
        )
    return "\n\n".join(parts)


def _difference_row(name: str, found: Difference) -> str:
    seeds = " ".join(f"{100 * value:+.1f}" for value in found.by_seed)
    return (
        f"| {name} | {100 * found.mean:+.2f} | {100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f} | {seeds} |\n"
    )


COLUMNS = (
    "arm", "question", "M, %", "95 % interval", "less A0, points", "recall", "specificity",
    "macro AUC", "recall at 5 %", "at 1 %", "worst decile", "ECE", "s", "seconds a fit",
)  # fmt: skip


def _table(found: Result) -> str:
    lines = ["## Arms", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(line)) for line in found.lines]
    if found.incomplete:
        lines += ["", f"Begun and not complete: {', '.join(found.incomplete)}."]
    return "\n".join(lines)


def _cells(line: Line) -> list[str]:
    less = line.against_floor
    return [
        line.name,
        line.question,
        _percent(line.m.mean),
        f"{_percent(line.m.low)} to {_percent(line.m.high)}",
        _points(less) if less else "-",
        *(_percent(value) for value in (line.recall, line.specificity)),
        f"{line.area:.4f}",
        *(_percent(value) for value in (line.recall_5, line.recall_1, line.worst_decile)),
        f"{line.ece:.3f}",
        "-" if line.scale is None else f"{line.scale:.2f}",
        f"{line.seconds:.1f}",
    ]


def _points(found: Difference) -> str:
    return f"{100 * found.mean:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _method(found: Result) -> str:
    validation = "one fold of those that are not left out, another with each seed"
    return f"""## How it was measured

- **M** is the mean of two macro means: recall over left-out fake sources and specificity over
  left-out real sources. A source counts as one, whatever its size. The threshold is where M is
  highest on validation sources: {validation}, the same for every arm.
- **Tuning**: every arm is tried with the same {found.plan.trials} settings (a Sobol sequence over
  rates, weight decay, sigma_0 and beta), one seed, judged by M on validation sources, anew in every
  split. A matched arm gets the noise energy s^2 d = mean of (tr Sigma + |mu|^2) that the arm it is
  matched to had in that split; for a learned mean that bounds |mu_j| by s.
- **Intervals**: paired cluster bootstrap, {falsification.DRAWS:,} draws; fake and real sources are
  drawn again apart from each other, seeds are averaged inside a draw.
- **The rule**, fixed beforehand: D1 = M(A5) - M(A2), matched or grid, whichever is better on
  validation sources; D2 = M(A5) - M(A3). Learned noise WINS if both lower bounds are above 0, both
  means at least one point and the sign holds in 4 of 5 seeds. It is REFUTED if the upper bound of
  either is below one point. Else UNDECIDED: five more seeds, once.
- **Recall at 5 % and 1 %** false alarms, by real source, uses the left-out real sources' own
  scores: it ranks, it is no operating point. ECE after one slope and bias fitted on validation
  sources. Worst decile: mean rate of the worst tenth of all sources. s: RMS of a coordinate of the
  noise."""
