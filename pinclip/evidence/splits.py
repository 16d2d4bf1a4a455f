"""What an ablation leaves out, and what it validates on (method 3).

    rows --by_fold--->  one split a fold of groups
         --by_family->  one split a generator family, real images of one fold in turn
    Split (test, pool) --validation_of(seed)-->  one fold of the pool, another with the next seed

Knows rows, not models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pinclip.data.families import family

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pinclip.data.manifest import Row

    Flags = NDArray[np.bool_]

FEWEST_FAKES = 20
"""Images below which a generator family is not left out by itself: its rates would say nothing."""


class SplitError(Exception):
    """Rows that cannot be split as asked; the text says why, and what to do."""


class Split(NamedTuple):
    """What is left out, (N,), and what may be trained or validated on.

    `number` is its place among its kind: it turns which fold validates first.
    """

    name: str
    number: int
    test: Flags
    pool: Flags


def by_fold(rows: Sequence[Row]) -> list[Split]:
    """Return one split a fold: groups are whole in folds, so left-out sources are new."""
    fold = np.array([row.fold for row in rows])
    return [
        Split(str(k), number, fold == k, fold != k)
        for number, k in enumerate(np.unique(fold).tolist())
    ]


def by_family(rows: Sequence[Row]) -> list[Split]:
    """Return one split a generator family: its images and, in turn, the real ones of one fold.

    Groups that any left-out image belongs to are left out of the pool as well. Families that
    nobody names, and those with fewer than FEWEST_FAKES images, are never left out.
    """
    fold, group = (np.array([getattr(row, name) for row in rows]) for name in ("fold", "group"))
    kind = np.array([family(row.generator) if row.label == "ai" else "real" for row in rows])
    names, counts = np.unique(kind, return_counts=True)
    is_enough = (counts >= FEWEST_FAKES) & ~np.isin(names, ["real", "unknown"])
    folds = np.unique(fold)
    splits = []
    for number, name in enumerate(names[is_enough].tolist()):
        test = (kind == name) | ((kind == "real") & (fold == folds[number % len(folds)]))
        splits.append(Split(name, number, test, ~test & ~np.isin(group, group[test])))
    return splits


def validation_of(split: Split, rows: Sequence[Row], *, seed: int) -> Flags:
    """Return the rows of one fold of the pool: another for the next seed, the same for any arm.

    Raises SplitError where fewer than two folds of the pool have both classes.
    """
    fold = np.array([row.fold for row in rows])
    label = np.array([row.label for row in rows])
    folds = np.unique(fold).tolist()
    able = [k for k in folds if len(np.unique(label[split.pool & (fold == k)])) == 2]
    if len(able) < 2:
        raise SplitError(
            f"Leaving out {split.name} leaves {len(able)} fold(s) with both classes: one is needed "
            "to train on and one to validate on, so give the set more folds."
        )
    where: Flags = split.pool & (fold == able[(split.number + seed) % len(able)])
    return where


def named(splits: Sequence[Split], names: str | None) -> list[Split]:
    """Return the splits named "0,1", all where None; raises SplitError."""
    if not splits:
        raise SplitError(
            f"No generator family has {FEWEST_FAKES} images: name generators in the manifest, or "
            "leave out folds."
        )
    known = {split.name: split for split in splits}
    asked = list(known) if names is None else [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in known:
            raise SplitError(f"{name!r} is no split of this set; there are {', '.join(known)}.")
    return [known[name] for name in asked]
