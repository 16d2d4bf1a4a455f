"""Folds for a set that comes without: whole groups, both classes and every family spread.

    groups >= folds in each class      that many folds
    2 <= groups < folds                as many folds as groups
    one group                          its images one by one, if the group was only inferred

Deterministic: the same rows give the same folds. Reads no image.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from .errors import DataError, first
from .families import family

if TYPE_CHECKING:
    from .manifest import Row

UNFOLDED = -1
"""The fold of a row that has none yet."""


class Folded(NamedTuple):
    """Rows that have folds, and what a reader should know about them."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def assign_folds(rows: Sequence[Row], *, folds: int = 5, groups_are_stated: bool = True) -> Folded:
    """Return the rows with folds 0..folds-1; rows that have theirs keep them.

    `groups_are_stated`: somebody says which images belong together, so no group is opened. Else
    groups are guesses from sources, and give way where they cannot be kept; a note says so.
    Raises DataError: bad_manifest where only some rows have a fold, group_in_two_folds, one_class
    where a class has too few groups to be held out.
    """
    unfolded = [row.file for row in rows if row.fold == UNFOLDED]
    if not unfolded:
        return _whole(rows) if groups_are_stated else _loosened(rows)
    if len(unfolded) < len(rows):
        raise DataError(
            "bad_manifest",
            f"{len(unfolded)} of {len(rows)} images have no fold ({first(unfolded)}): "
            "give every image a fold, or none.",
        )
    if folds <= 1:
        return Folded(tuple(replace(row, fold=0) for row in rows))
    opened = Folded(tuple(rows)) if groups_are_stated else _opened(rows)
    return _split(opened, folds)


def _whole(rows: Sequence[Row]) -> Folded:
    """Return the rows as they are, if no group lies in two folds."""
    for group, folds in _folds_of(rows).items():
        if len(folds) > 1:
            raise DataError(
                "group_in_two_folds",
                f"There is a group in two folds: {group!r} is in {sorted(folds)}. Keep every group "
                "whole.",
            )
    return Folded(tuple(rows))


def _loosened(rows: Sequence[Row]) -> Folded:
    """Return the rows without those inferred groups that their folds do not keep whole."""
    cut = sorted(group for group, folds in _folds_of(rows).items() if len(folds) > 1)
    if not cut:
        return Folded(tuple(rows))
    loosened = (replace(row, group=row.file) if row.group in cut else row for row in rows)
    note = (
        f"The given folds cut sources: {first(cut)}. Images of one source resemble each other, so "
        "held-out scores will flatter."
    )
    return Folded(tuple(loosened), (note,))


def _folds_of(rows: Sequence[Row]) -> dict[str, set[int]]:
    """Group -> its folds."""
    folds: dict[str, set[int]] = {}
    for row in rows:
        folds.setdefault(row.group, set()).add(row.fold)
    return folds


def _opened(rows: Sequence[Row]) -> Folded:
    """Return rows whose classes of one single inferred group are grouped image by image."""
    notes = []
    for label, groups in _groups(rows).items():
        if len(groups) == 1:
            rows = [replace(row, group=row.file) if row.label == label else row for row in rows]
        if all(row.group == row.file for row in rows if row.label == label):
            notes.append(
                f"Nothing says which {label} images belong together, so their folds are drawn "
                "image by image: held-out scores will flatter. Give groups in a manifest.csv."
            )
    return Folded(tuple(rows), tuple(notes))


def _split(opened: Folded, folds: int) -> Folded:
    rows, notes = opened.rows, list(opened.notes)
    counts = {label: len(groups) for label, groups in _groups(rows).items()}
    rarest = min(counts, key=lambda label: counts[label])
    if counts[rarest] < 2:
        raise DataError(
            "one_class",
            f"The {rarest} images are one group, so no fold can hold some of them out: add "
            "groups of that class, or ask for 0 folds and hold nothing out.",
        )
    if counts[rarest] < folds:
        notes.append(
            f"{counts[rarest]} folds instead of {folds}: the {rarest} images are of no more groups."
        )
        folds = counts[rarest]
    folded = list(rows)
    for fold, held in enumerate(_cuts(rows, folds)):
        for index in held:
            folded[index] = replace(rows[index], fold=fold)
        missing = {"ai", "real"} - {rows[index].label for index in held}
        notes.extend(f"Fold {fold} holds no {label} image." for label in sorted(missing))
    return Folded(tuple(folded), tuple(notes))


def _cuts(rows: Sequence[Row], folds: int) -> list[list[int]]:
    """Return the places of the rows that each fold holds."""
    # scikit-learn takes a second to load, and a set that has folds does without.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    strata = [f"ai {family(row.generator)}" if row.label == "ai" else "real" for row in rows]
    groups = [row.group for row in rows]
    single = len(set(groups)) == len(rows)
    cutter = (
        StratifiedKFold(folds, shuffle=True, random_state=0)
        if single
        else StratifiedGroupKFold(folds)
    )
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        # Warns of a family with fewer images than folds; it is then in as many folds as it can.
        cuts = cutter.split(np.zeros(len(rows)), strata, groups)
        return [held.tolist() for _, held in cuts]


def _groups(rows: Sequence[Row]) -> dict[str, set[str]]:
    """Label -> its groups."""
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row.label, set()).add(row.group)
    return groups
