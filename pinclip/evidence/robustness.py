"""What happens to a detector when the same images are made worse.

    images --scored as they are--> clean        --corrupted--> scores of each name of GRID
    clean scores --thresholds--> likely_ai, no_sign_of_ai, between them
    both --compare--> Corruption: AUROC, its drop, verdicts that flip

Every image is scored by a model that never saw it, where the scorer can promise that. Trains
nothing, picks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from pinclip import calibrate, metrics
from pinclip.corruptions import GRID
from pinclip.data.errors import UnreadableError
from pinclip.data.sets import decode

from . import bootstrap
from .answers import FALSE_ALARMS
from .bench import WAYS, Bench
from .scores import EvidenceError, Scorer
from .tables import Estimate, estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from pinclip.data.manifest import Row
    from pinclip.data.sets import ImageSet

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

CLEAN = "clean"
BATCH = 8
"""Pictures held at once, each in every form: they may be large."""


class Corruption(Struct, frozen=True, kw_only=True):
    """One corruption. Counts are of images whose verdict on the clean picture was another.

    `accused` real images went from no_sign_of_ai to likely_ai, `missed` AI images the other way;
    `flips` are all changes. Rates are at the thresholds of the clean scores.
    """

    name: str
    auroc: Estimate
    drop: Estimate
    false_alarms: float
    found: float
    accused: int
    missed: int
    flips: int


class Robustness(Struct, frozen=True, kw_only=True):
    """A tool on n corrupted images; thresholds are scores of that tool."""

    tool: str
    seen: str
    real: int
    ai: int
    threshold: float
    clear_below: float
    thresholds_from: str
    corruptions: list[Corruption]


def names_of(asked: Sequence[str]) -> list[str]:
    """Return the corruptions asked for, all of GRID by default; raises EvidenceError."""
    unknown = [name for name in asked if name not in GRID]
    if unknown:
        raise EvidenceError(f"{unknown[0]!r} is no corruption: choose from {', '.join(GRID)}.")
    return list(asked) or list(GRID)


def score_corrupted(
    images: ImageSet, scorer: Scorer, names: Sequence[str], at: Iterable[int]
) -> dict[str, Floats]:
    """Return the scores of the rows `at`, clean and under each corruption: {name: (N,)}.

    NaN for all other rows, and for what cannot be read. A picture is decoded once.
    """
    found = {name: np.full(len(images.rows), np.nan) for name in (CLEAN, *names)}
    batch: dict[int, Image.Image] = {}
    for index in at:
        try:
            batch[index] = decode(images.read(images.rows[index]))
        except UnreadableError:
            continue
        if len(batch) == BATCH:
            _score_forms(batch, images.rows, scorer, found)
            batch = {}
    if batch:
        _score_forms(batch, images.rows, scorer, found)
    return found


def thresholds(score: Floats, is_ai: Flags) -> tuple[float, float]:
    """Return threshold and clear_below of the balanced point (calibrate.py) on clean scores."""
    threshold = metrics.threshold_at(score[~is_ai], FALSE_ALARMS)
    clear = metrics.clear_below_at(score[is_ai], calibrate.MISSES)
    return threshold, min(threshold, clear)


def compare(
    scores: Mapping[str, Floats],
    bench: Bench,
    bounds: tuple[float, float],
    *,
    count: int,
    seed: int,
) -> list[Corruption]:
    """Return each corruption against the clean pictures, on the same draws; `clean` comes first.

    scores {name: (N,)}, all finite, N the rows of `bench`.
    """
    weight = {way: bench.draws(way, count=count, seed=seed) for way in WAYS}
    area = {
        name: [_areas(score, bench.is_ai, weight[way]) for way in WAYS]
        for name, score in scores.items()
    }
    before = _verdicts(scores[CLEAN], bounds)
    return [
        _corruption(name, (before, _verdicts(score, bounds)), bench.is_ai, area[CLEAN], area[name])
        for name, score in scores.items()
    ]


def _score_forms(
    batch: Mapping[int, Image.Image],
    rows: Sequence[Row],
    scorer: Scorer,
    found: Mapping[str, Floats],
) -> None:
    at = list(batch)
    chosen = [rows[index] for index in at]
    for name, column in found.items():
        forms = [picture if name == CLEAN else GRID[name](picture) for picture in batch.values()]
        column[at] = scorer(forms, chosen)


def _areas(score: Floats, is_ai: Flags, weight: NDArray[np.float32]) -> NDArray[np.floating]:
    at = bootstrap.standing(score[is_ai], score[~is_ai], weight[:, ~is_ai])
    return bootstrap.auroc(at, weight[:, is_ai])


def _verdicts(score: Floats, bounds: tuple[float, float]) -> NDArray[np.int64]:
    """Return 2 for likely_ai, 0 for no_sign_of_ai, 1 between them."""
    threshold, clear_below = bounds
    verdicts: NDArray[np.int64] = (score >= clear_below).astype(np.int64)
    verdicts[score >= threshold] = 2
    return verdicts


def _corruption(
    name: str,
    verdicts: tuple[NDArray[np.int64], NDArray[np.int64]],
    is_ai: Flags,
    clean: Sequence[NDArray[np.floating]],
    worse: Sequence[NDArray[np.floating]],
) -> Corruption:
    before, after = verdicts
    return Corruption(
        name=name,
        auroc=estimate(*worse),
        drop=estimate(*(a - b for a, b in zip(clean, worse, strict=True))),
        false_alarms=round(float((after[~is_ai] == 2).mean()), 5),
        found=round(float((after[is_ai] == 2).mean()), 5),
        accused=int(((before == 0) & (after == 2) & ~is_ai).sum()),
        missed=int(((before == 2) & (after == 0) & is_ai).sum()),
        flips=int((before != after).sum()),
    )
