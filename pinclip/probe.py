"""Fits the head and measures it: `python -m pinclip.probe DATA --out FOLDER`.

    manifest -> features      frozen tower, the preprocessing that serves        features.py
      choose                  scaling and strength, by folds inside the folds
      held out                five heads, each scores the fold that it never saw
      measure                 thresholds, rates, probabilities of each slice     calibrate.py
      fit on everything -> head.safetensors, meta.json

The head is linear: one logistic regression says AI or real, one says which slice. Both are
weighted so that a source counts as the square root of its images and classes count alike. The
second is fitted on real images, whose styles are known best. An image belongs to the slice that
its held-out head PREDICTS, as it will when it serves. What was chosen on data is never reported
on it. Needs pinclip[train].
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from safetensors.numpy import save_file
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from . import calibrate, data, metrics, weights
from .calibrate import Held
from .features import extract
from .preprocess import Canonical, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Matrix = NDArray[np.float32]
    Names = NDArray[np.str_]

BASE, HEAD = "base.safetensors", "head.safetensors"
DESCRIPTION = (
    "Images from public repositories, AI-made (GANs of 2018 to models of 2026) or real (camera "
    "photographs; drawings, paintings, renderings, games, screenshots, charts, posters, memes), "
    "all brought to one law of size and JPEG quality, at most 40 of a source. Labels rest on "
    "repository evidence. Licences are mixed and often absent; no image is part of the weights."
)
BLOCKS = (6, 7, 8, 9, 10, 11, 12)
PREPROCESSING = Preprocessing(
    canonical=Canonical(short_side=352, long_ratio=2.0, quality=85, reducing_gap=2.0),
    size=weights.SIZE,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


class Setting(NamedTuple):
    """How a head is fitted: features scaled to unit variance or not, and scikit-learn's C."""

    is_scaled: bool
    strength: float


SETTINGS = tuple(Setting(True, c) for c in (0.0003, 0.001, 0.003, 0.01)) + tuple(
    Setting(False, c) for c in (0.003, 0.01, 0.03)
)
"""What is tried for AI or real."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, measure, write head.safetensors and meta.json, print the table."""
    options = _parser().parse_args(argv)
    rows = data.read_manifest(options.data)
    features = _features(rows, options).astype(np.float32)
    fold = np.array([row.fold for row in rows])
    made = answer(features, fold, ai_question(rows), SETTINGS)
    kind = answer(features, fold, slice_question(rows), SLICE_SETTINGS)
    held = Held(
        logit=made.held_out[:, 1].astype(np.float64),
        is_ai=np.array([row.label == "ai" for row in rows]),
        fold=fold,
        group=np.array([row.group for row in rows]),
        weight=ai_question(rows).weight,
    )
    predicted = np.array(data.SLICES)[kind.held_out.argmax(axis=1)]
    write_head(options.out / HEAD, made.head, kind.head)
    meta = _meta(rows, held, predicted, options)
    (options.out / "meta.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(meta), indent=1) + b"\n"
    )
    print(report(meta))  # noqa: T201 - the table is what was asked for
    return 0


def ai_question(rows: Sequence[data.Row]) -> Question:
    """Ask of every image: real (0) or AI (1)."""
    labels = [row.label for row in rows]
    classes = np.array([int(label == "ai") for label in labels])
    return Question(classes=classes, weight=data.weights(rows, labels))


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


def report(meta: weights.Meta) -> str:
    """Return the table that people read."""
    lines = [
        f"{meta.id}  {meta.calibration_id}",
        "out of fold  " + "  ".join(f"{key} {value:.3f}" for key, value in meta.evaluation.items()),
        f"{'slice':<14}{'point':<11}{'n':>5}{'false alarms':>27}{'recall':>8}{'missed':>8}",
    ]
    for name, facts in meta.slices.items():
        for point, at in facts.points.items():
            low, high = at.ci95 or (None, None)
            alarms = f"{_percent(at.false_alarm_rate)} ({_percent(low)} to {_percent(high)})"
            lines.append(
                f"{name:<14}{point:<11}{at.n:>5}{alarms:>27}"
                f"{_percent(at.recall):>8}{_percent(at.miss_rate):>8}"
            )
    worst = sorted(meta.sources, key=lambda row: -row.flagged / row.n)
    lines.append("real sources accused most at the balanced point")
    lines += [
        f"  {row.source:<44}{row.slice:<14}{row.flagged:>3} of {row.n}"
        for row in [row for row in worst if row.label == "real"][:15]
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pinclip.probe", description="Fit the head on labelled images, measure it."
    )
    parser.add_argument("data", type=Path, help="folder with manifest.csv and images/")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of base.safetensors; gets the results"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the features")
    parser.add_argument("--release", required=True, help="name of this training, such as 2026.11")
    parser.add_argument("--date", required=True, help="day of this training, YYYY-MM-DD")
    return parser


def _features(rows: Sequence[data.Row], options: argparse.Namespace) -> NDArray[np.float16]:
    paths = [options.data / "images" / row.file for row in rows]
    base = options.out / BASE
    return extract(paths, base, BLOCKS, PREPROCESSING, work=options.work)


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


def write_head(path: Path, made: Head, kind: Head) -> None:
    """Write the rows that serve: the score, then the slices in order."""
    weight = np.concatenate([made.weight[1:], kind.weight])
    bias = np.concatenate([made.bias[1:], kind.bias])
    # safetensors writes the memory of an array, whatever its order: only rows by rows will do.
    save_file({"weight": np.ascontiguousarray(weight), "bias": bias}, path)


def _meta(
    rows: Sequence[data.Row], held: Held, predicted: Names, options: argparse.Namespace
) -> weights.Meta:
    slices = {name: calibrate.slice_facts(held.where(predicted == name)) for name in data.SLICES}
    return weights.Meta(
        format=weights.FORMAT,
        id=f"pinclip-b16-{options.release}",
        date=options.date,
        command=(
            f"python -m pinclip.probe DATA --out weights/pinclip_weights_b16 --work WORK "
            f"--release {options.release} --date {options.date}"
        ),
        license="MIT",
        model=weights.MODEL,
        base=_file(options.out / BASE, "openai/clip-vit-base-patch16, weight-only int8"),
        head=_file(options.out / HEAD, "fitted by pinclip.probe"),
        blocks=BLOCKS,
        outputs=("score", *data.SLICES),
        preprocessing=PREPROCESSING,
        calibration_id=weights.calibration_id(slices),
        prior=0.5,
        evaluation=_evaluation(rows, held),
        slices=slices,
        data=_data(rows),
        sources=_sources(rows, held, predicted, slices),
    )


def _file(path: Path, origin: str) -> weights.File:
    return weights.File(file=path.name, sha256=weights.digest(path), license="MIT", origin=origin)


def _data(rows: Sequence[data.Row]) -> weights.Data:
    labels = Counter(row.label for row in rows)
    return weights.Data(
        description=DESCRIPTION,
        sha256=data.digest(rows),
        images=len(rows),
        real=labels["real"],
        ai=labels["ai"],
        sources=len({(row.label, row.source) for row in rows}),
        groups=len({row.group for row in rows}),
    )


def _evaluation(rows: Sequence[data.Row], held: Held) -> dict[str, float]:
    """Return the figures over all images; photos and others by the manifest's style."""
    is_photo = np.array([row.slice == "photo" for row in rows])
    found = {"auc": metrics.auc(held.logit, held.is_ai)}
    for name, where in (("auc_photos", is_photo), ("auc_others", ~is_photo)):
        found[name] = metrics.auc(held.logit[where], held.is_ai[where])
    for rate in (0.01, 0.03, 0.05):
        found[f"recall_at_{rate:.2f}"] = metrics.recall_at(held.logit, held.is_ai, rate)
    return {name: round(value, 4) for name, value in found.items()}


def _sources(
    rows: Sequence[data.Row],
    held: Held,
    predicted: Names,
    slices: Mapping[str, weights.SliceFacts],
) -> tuple[weights.SourceRow, ...]:
    """Return what became of each source at the balanced point, thresholds of other folds."""
    flagged, abstained = np.zeros((2, len(rows)), bool)
    for name, facts in slices.items():
        where = predicted == name
        if facts.points["balanced"].threshold is None:
            abstained |= where
        else:
            rate = calibrate.FALSE_ALARMS["balanced"]
            flagged[where] = calibrate.cross_fitted(held.where(where), rate)[0]
    members: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault((row.label, row.source), []).append(index)
    return tuple(
        weights.SourceRow(
            source=source,
            label=label,
            slice=Counter(predicted[found].tolist()).most_common(1)[0][0],
            n=len(found),
            flagged=int(flagged[found].sum()),
            abstained=int(abstained[found].sum()),
        )
        for (label, source), found in sorted(members.items())
    )


if __name__ == "__main__":
    sys.exit(main())
