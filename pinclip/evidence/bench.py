"""The images that tools are measured on: a column each, and which of them a line is about.

    rows --Bench--> is_ai, fold, group, source, generator, weight     (N,)
                    tables: slice, family, generator, source -> lines -> which images
                    draws: how often each image is drawn, over images or over groups

Knows labels, no scores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from pinclip.data.families import family
from pinclip.data.manifest import SLICES, Row, weights

from . import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Names = NDArray[np.str_]

PORTRAITS = frozenset({"portrait", "politics", "wedding"})
"""Styles of the slice photo that show people; told apart because they are accused most."""
UNKNOWN = "not named"
Way = Literal["images", "groups"]
"""What is drawn: images within their sources, or whole groups."""
WAYS: tuple[Way, Way] = ("images", "groups")


@dataclass(frozen=True)
class Bench:
    """The images that tools are measured on: a column each, N long."""

    rows: tuple[Row, ...]

    @cached_property
    def is_ai(self) -> Flags:
        """Whether the image is AI-made."""
        return np.array([row.label == "ai" for row in self.rows])

    @cached_property
    def fold(self) -> NDArray[np.int64]:
        """The fold that holds the image out."""
        return np.array([row.fold for row in self.rows])

    @cached_property
    def group(self) -> Names:
        """The group, never split between folds."""
        return np.array([row.group for row in self.rows])

    @cached_property
    def source(self) -> Names:
        """Where the image came from."""
        return np.array([row.source for row in self.rows])

    @cached_property
    def generator(self) -> Names:
        """What made an AI image; nothing for a real one."""
        return np.array([_generator(row) for row in self.rows])

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """Return what an image weighs: a source speaks with the square root of its images."""
        return weights(self.rows, [row.label for row in self.rows])

    @cached_property
    def is_folded(self) -> bool:
        """Whether thresholds can be set on some folds and counted on another."""
        kinds = [set(self.is_ai[self.fold != fold]) for fold in np.unique(self.fold)]
        return all(len(kind) == 2 for kind in kinds)

    @cached_property
    def tables(self) -> dict[str, list[tuple[str, Flags]]]:
        """Return which images each line of each table is about."""
        slices = np.array([row.slice or "" for row in self.rows])
        is_portrait = np.array([row.style in PORTRAITS for row in self.rows])
        family_of = {name: family(name) for name in np.unique(self.generator[self.is_ai])}
        families = np.array([family_of.get(name, "") for name in self.generator])
        by_slice = [(name, slices == name) for name in SLICES] + [("portrait", is_portrait)]
        return {
            "slice": [(name, where) for name, where in by_slice if where.any()],
            "family": split(families, self.is_ai),
            "generator": split(self.generator, self.is_ai),
            "source": split(self.source, np.ones(len(self.rows), bool)),
        }

    def draws(self, way: Way, *, count: int, seed: int) -> NDArray[np.float32]:
        """Return the draws of images within their sources, or of whole groups."""
        if way == "groups":
            strata = bootstrap.strata_of(self.is_ai, self.group)
            return bootstrap.draws(strata, self.group, count=count, seed=seed)
        strata = np.array([f"{row.label}/{row.source}" for row in self.rows])
        each = np.arange(len(self.rows)).astype(str)
        return bootstrap.draws(strata, each, count=count, seed=seed)


def subsets(bench: Bench) -> tuple[list[Flags], list[Flags]]:
    """Return the sources with both classes, and the generators of all other AI images."""
    sources = [where for _, where in bench.tables["source"]]
    mixed = [where for where in sources if 0 < bench.is_ai[where].sum() < where.sum()]
    rest = bench.is_ai & ~np.any([*mixed, np.zeros(len(bench.rows), bool)], axis=0)
    return mixed, [where for _, where in split(bench.generator, rest)]


def split(names: Names, where: Flags) -> list[tuple[str, Flags]]:
    """Return the images of each name among those `where` says, most first."""
    counts = Counter(names[where].tolist())
    return [(name, where & (names == name)) for name, _ in sorted(counts.items(), key=_by_count)]


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _generator(row: Row) -> str:
    return (row.generator or UNKNOWN) if row.label == "ai" else ""
