"""What a tool says of each image, and the figures that follow under every draw.

    Tool --answer--> Answer: called AI, flagged at 3 %, probability          (N,)
    Answer, Bench, weight (B, N) --Sampled--> figures(where) -> {figure: (B,)}
                                   macro   --> averages over subsets and over sources

A subset of one class is set against all images of the other. Thresholds and probabilities of an
image come from the other folds. Names in shapes: N images, B draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from pinclip import calibrate

from . import bootstrap
from .bench import Bench, subsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .scores import Tool

    Floats = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Figures = dict[str, Floats]

FALSE_ALARMS = calibrate.FALSE_ALARMS["balanced"]
RATES = {"tpr_at_1": 0.01, "tpr_at_5": 0.05}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tool says of each image (N,): its score, whether that means AI, and more.

    `is_flagged`: at the threshold that flags 3 % of the other folds' real images. `said`: the
    probability (Platt) fitted on the other folds. Both None where there are no folds.
    """

    score: Floats
    is_called_ai: Flags
    is_flagged: Flags | None
    said: Floats | None


def answer(tool: Tool, bench: Bench) -> Answer:
    """Return what the tool says, thresholds and probabilities cross-fitted."""
    held = calibrate.Held(
        logit=tool.score.astype(np.float64),
        is_ai=bench.is_ai,
        fold=bench.fold,
        group=bench.group,
        weight=bench.weight,
    )
    is_flagged = calibrate.cross_fitted(held, FALSE_ALARMS)[0] if bench.is_folded else None
    return Answer(
        score=tool.score,
        is_called_ai=tool.score >= tool.cut,
        is_flagged=is_flagged,
        said=probabilities(tool.logit, bench) if bench.is_folded else None,
    )


def probabilities(logit: Floats, bench: Bench) -> Floats:
    """Return P(AI), were half of all images AI, by Platt scaling on the other folds."""
    said = np.empty(len(logit))
    column = logit[:, None]
    total = np.array([bench.weight[~bench.is_ai].sum(), bench.weight[bench.is_ai].sum()])
    balanced = bench.weight / total[bench.is_ai.astype(int)] * len(logit) / 2
    for fold in np.unique(bench.fold):
        is_out = bench.fold == fold
        platt = LogisticRegression(C=1e6)  # as good as no penalty, finite where classes part
        platt.fit(column[~is_out], bench.is_ai[~is_out], sample_weight=balanced[~is_out])
        said[is_out] = platt.predict_proba(column[is_out])[:, 1]
    return said


class Part(NamedTuple):
    """Images of one class: their indices (n,) and weights (B, n)."""

    at: NDArray[np.intp]
    weight: NDArray[np.float32]


class Sampled:
    """One tool under one set of draws: figures of any subset, one value a draw."""

    def __init__(self, answer: Answer, bench: Bench, weight: NDArray[np.float32]) -> None:
        self._answer, self._bench, self._weight = answer, bench, weight
        score, is_ai = answer.score, bench.is_ai
        self._ai = bootstrap.standing(score[is_ai], score[~is_ai], weight[:, ~is_ai])
        self._real = bootstrap.standing(score[~is_ai], score[is_ai], weight[:, is_ai])
        self._column = np.where(is_ai, np.cumsum(is_ai), np.cumsum(~is_ai)) - 1

    def figures(self, where: Flags) -> Figures:
        """Return {figure: (B,)} of the images `where` says; what cannot be told is left out."""
        real, ai = self._parts(where)
        found = self._shares(real, ai)
        if not len(ai.at):
            at = self._real.of(self._column[real.at])
            found["auroc"] = bootstrap.share_of((at.above + at.at_or_above) / 2, real.weight)
            return found
        if not len(real.at):
            n_real = int((~self._bench.is_ai).sum())
            return found | self._ranks(ai, self._ai.of(self._column[ai.at]), n_real)
        score = self._answer.score
        own = bootstrap.standing(score[ai.at], score[real.at], real.weight)
        found |= self._ranks(ai, own, len(real.at))
        if self._answer.said is not None:
            found["ece"] = self._calibration_error(real, ai, self._answer.said)
        return found

    def shares(self, where: Flags) -> Figures:
        """Return the figures that are shares of the images `where` says."""
        return self._shares(*self._parts(where))

    def presence(self, where: Flags) -> Floats:
        """Return how often the images are drawn, on average: (B,)."""
        presence: Floats = self._weight[:, np.flatnonzero(where)].mean(axis=1)
        return presence

    def _parts(self, where: Flags) -> tuple[Part, Part]:
        """Return the real and the AI images; picking columns is dear, so it is done once."""
        at = [np.flatnonzero(where & kind) for kind in (~self._bench.is_ai, self._bench.is_ai)]
        real, ai = (Part(one, self._weight[:, one]) for one in at)
        return real, ai

    def _shares(self, real: Part, ai: Part) -> Figures:
        both = _joined(real, ai)
        is_right = self._answer.is_called_ai == self._bench.is_ai
        found = {"accuracy": bootstrap.share(is_right[both.at], both.weight)}
        for name, part in (("real", real), ("ai", ai)):
            if not len(part.at):
                continue
            found[f"{name}_recall"] = bootstrap.share(is_right[part.at], part.weight)
            if self._answer.is_flagged is not None:
                flagged = self._answer.is_flagged[part.at]
                found[f"{name}_flagged"] = bootstrap.share(flagged, part.weight)
        return found

    def _ranks(self, ai: Part, at: bootstrap.Standing, n_real: int) -> Figures:
        found = {
            "ap": bootstrap.average_precision(self._answer.score[ai.at], at, ai.weight),
            "auroc": bootstrap.auroc(at, ai.weight),
        }
        for name, rate in RATES.items():
            if n_real * rate >= 1:  # fewer images cannot show so low a rate
                found[name] = bootstrap.recall_at(at, ai.weight, rate)
        return found

    def _calibration_error(self, real: Part, ai: Part, said: Floats) -> Floats:
        both = _joined(real, ai)
        value = self._bench.weight[both.at]
        is_ai = self._bench.is_ai[both.at]
        return bootstrap.calibration_error(said[both.at], is_ai, value, both.weight)


def macro(drawn: Mapping[tuple[str, str], Figures], bench: Bench, sampled: Sampled) -> Figures:
    """Return the averages over subsets, (a) and (b) of method 2.5, and over sources (method 3).

    A subset is a source that holds both classes, or else what one generator made, which is set
    against the real images of no such source. (a) averages the accuracy of the subsets, classes
    counting equal where they were paired here; (b) one column of real images and a recall of AI
    images for each subset; the last, recall of AI sources and specificity of real ones.
    """
    mixed, alone = subsets(bench)
    apart = [sampled.shares(where) for where in mixed]
    columns = [found["ai_recall"] for found in apart]
    accuracies = [found["accuracy"] for found in apart]
    if alone:
        lone_real = ~bench.is_ai & ~np.any([*mixed, np.zeros(len(bench.rows), bool)], axis=0)
        real = lone_real if lone_real.any() else ~bench.is_ai
        specificity = sampled.shares(real)["real_recall"]
        recalls = [sampled.shares(where)["ai_recall"] for where in alone]
        accuracies += [(specificity + recall) / 2 for recall in recalls]
        columns += recalls
    real_column = drawn["overall", "all images"]["real_recall"]
    found = {
        "macc_subsets": _average(accuracies),
        "macc_columns": _average([real_column, *columns]),
    }
    if bench.is_folded:
        found["macro_sources"] = _over_sources(drawn, bench, sampled)
    return found


def _over_sources(
    drawn: Mapping[tuple[str, str], Figures], bench: Bench, sampled: Sampled
) -> Floats:
    """Return the mean of the AI sources' recall and the real sources' specificity (method 3, M)."""
    found: dict[str, list[Floats]] = {"ai": [], "real": []}
    often: dict[str, list[Floats]] = {"ai": [], "real": []}
    for name, where in bench.tables["source"]:
        for label, is_it in (("ai", bench.is_ai), ("real", ~bench.is_ai)):
            if f"{label}_flagged" in drawn["source", name]:
                found[label].append(drawn["source", name][f"{label}_flagged"])
                often[label].append(sampled.presence(where & is_it))
    recall = _average(found["ai"], often["ai"])
    false_alarms = _average(found["real"], often["real"])
    mean: Floats = (recall + 1 - false_alarms) / 2
    return mean


def _average(values: Sequence[Floats], often: Sequence[Floats] | None = None) -> Floats:
    """Return the mean over rows (R, B) of what is known in each draw; `often` weighs the rows."""
    table = np.stack(values)
    weight = np.isfinite(table) * (1 if often is None else np.stack(often))
    with np.errstate(invalid="ignore"):
        mean: Floats = (np.nan_to_num(table) * weight).sum(axis=0) / weight.sum(axis=0)
    return mean


def _joined(real: Part, ai: Part) -> Part:
    if not len(ai.at):
        return real
    if not len(real.at):
        return ai
    return Part(np.concatenate([real.at, ai.at]), np.hstack([real.weight, ai.weight]))
