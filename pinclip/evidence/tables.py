"""Tables of each tool by slice, family, generator and source, and two tools compared.

    tools, Bench --measure--> ToolTables each, Comparison of the first with each other
      for either way of drawing (images, groups):  answers.Sampled --> {figure: (B,)} a line
      both ways --> Line(name, counts, {figure: Estimate(value, interval, interval)})

Interval over images: what other images of the same sources would change. Over groups: what other
sources would change. The structs here are the report's JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct
from sklearn.metrics import roc_curve

from pinclip import calibrate

from . import bootstrap
from .answers import Answer, Sampled, answer, macro
from .bench import WAYS, Bench, Way

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .answers import Figures
    from .scores import Tool

    Floats = NDArray[np.floating]
    Flags = NDArray[np.bool_]

SHARES = frozenset({"accuracy", "real_recall", "ai_recall", "real_flagged", "ai_flagged"})
FEW = 5
"""Fewer groups than this tell too little of other groups to draw from them."""
WORST = 12
"""Mistakes shown of each class, at most two of a source."""


class Estimate(Struct, frozen=True):
    """A figure and its 95 % intervals over images and over groups; None where none can be told."""

    value: float
    images: tuple[float, float] | None = None
    groups: tuple[float, float] | None = None


class Line(Struct, frozen=True, kw_only=True):
    """A row of a table: a subset of the images. `against`: whose images the other class is."""

    name: str
    real: int
    ai: int
    groups: int
    against: Literal["its own", "all real images", "all AI images"]
    figures: dict[str, Estimate]


class Curve(Struct, frozen=True, kw_only=True):
    """ROC: share of AI images found at each share of false alarms."""

    false_alarms: list[float]
    found: list[float]


class Bin(Struct, frozen=True, kw_only=True):
    """Images whose probability falls into one bin: what was said, what was so (classes equal)."""

    said: float
    was: float
    n: int


class Mistake(Struct, frozen=True, kw_only=True):
    """An image on the wrong side, far from the line."""

    file: str
    label: str
    source: str
    generator: str
    style: str
    score: float
    probability: float | None


class ToolTables(Struct, frozen=True, kw_only=True):
    """All that is said of one tool. `macro`: the averages of method 2.5 and 3."""

    name: str
    origin: str
    seen: str
    kind: str
    cut: float
    unscored: int
    overall: Line
    macro: dict[str, Estimate]
    tables: dict[str, list[Line]]
    roc: Curve
    reliability: list[Bin]
    mistakes: list[Mistake]


class Comparison(Struct, frozen=True, kw_only=True):
    """Figures of `first` less those of `second`, on the same images and the same draws.

    `wins` is the share of the group draws in which the first has the higher AUROC.
    """

    first: str
    second: str
    differences: dict[str, Estimate]
    wins: float


class Sheet:
    """Both ways of drawing, one tool: collects figures, then writes lines."""

    def __init__(self, answer: Answer, bench: Bench) -> None:
        self._answer, self._bench = answer, bench
        self._drawn: dict[Way, dict[tuple[str, str], Figures]] = {}

    def add(self, way: Way, sampled: Sampled) -> None:
        """Take the figures of every line under one way of drawing."""
        bench = self._bench
        drawn = {("overall", "all images"): sampled.figures(np.ones(len(bench.rows), bool))}
        for table, lines in bench.tables.items():
            for name, where in lines:
                drawn[table, name] = sampled.figures(where)
        drawn["macro", ""] = macro(drawn, bench, sampled)
        self._drawn[way] = drawn

    def overall(self) -> Line:
        """Return the line of all images."""
        return self._line("overall", "all images", np.ones(len(self._bench.rows), bool))

    def lines(self, table: str) -> list[Line]:
        """Return the lines of one table."""
        return [self._line(table, name, where) for name, where in self._bench.tables[table]]

    def macro(self) -> dict[str, Estimate]:
        """Return the averages over subsets and sources."""
        images, groups = (self._drawn[way]["macro", ""] for way in WAYS)
        return {name: estimate(images[name], groups[name]) for name in images}

    def less(self, other: Sheet) -> tuple[dict[str, Estimate], float]:
        """Return the differences from another tool, and the share of group draws won."""
        mine, theirs = self._differing(), other._differing()
        differences = {
            name: estimate(*(a - b for a, b in zip(mine[name], theirs[name], strict=True)))
            for name in mine
            if name in theirs
        }
        gap = mine["auroc"][1] - theirs["auroc"][1]
        return differences, float((gap[1:] > 0).mean())

    def _differing(self) -> dict[str, tuple[Floats, Floats]]:
        found: dict[str, tuple[Floats, Floats]] = {}
        for key in (("overall", "all images"), ("macro", "")):
            images, groups = self._drawn["images"][key], self._drawn["groups"][key]
            found |= {name: (images[name], groups[name]) for name in images}
        return found

    def _line(self, table: str, name: str, where: Flags) -> Line:
        bench = self._bench
        images, groups = (self._drawn[way][table, name] for way in WAYS)
        ai = int((where & bench.is_ai).sum())
        real = int(where.sum()) - ai
        return Line(
            name=name,
            real=real,
            ai=ai,
            groups=len(np.unique(bench.group[where])),
            against="its own" if real and ai else "all real images" if ai else "all AI images",
            figures={
                figure: self._honest(figure, estimate(images[figure], groups[figure]), where)
                for figure in images
            },
        )

    def _honest(self, figure: str, made: Estimate, where: Flags) -> Estimate:
        """Replace intervals that drawing makes too narrow: few groups, or a share of 0 or 1.

        A share has the interval of its count then, another figure none.
        """
        bench = self._bench
        hits, of = self._hits(figure)
        chosen = where & of
        few = any(
            len(np.unique(bench.group[chosen & kind])) < FEW
            for kind in (bench.is_ai, ~bench.is_ai)
            if (chosen & kind).any()
        )
        images, groups = made.images, made.groups
        if figure not in SHARES:
            return Estimate(made.value, images, None if few else groups)
        if images is None:
            images = calibrate.interval(hits[chosen], np.arange(int(chosen.sum())).astype(str))
        if few or groups is None:
            groups = calibrate.interval(hits[chosen], bench.group[chosen])
        return Estimate(made.value, _rounded(images), _rounded(groups))

    def _hits(self, figure: str) -> tuple[Flags, Flags]:
        """Return what a share counts, and among which images."""
        is_ai, flagged = self._bench.is_ai, self._answer.is_flagged
        is_right = self._answer.is_called_ai == is_ai
        of = {"real": ~is_ai, "ai": is_ai}.get(figure.partition("_")[0], np.ones_like(is_ai))
        if figure.endswith("_flagged") and flagged is not None:
            return flagged, of
        return is_right, of


def measure(
    tools: Sequence[Tool], bench: Bench, *, unscored: Mapping[str, int], count: int, seed: int
) -> tuple[list[ToolTables], list[Comparison]]:
    """Return the tables of each tool, and the first tool against each of the others.

    Every tool has a score of every row. `count` draws of each kind.
    """
    answers = [answer(tool, bench) for tool in tools]
    sheets = [Sheet(said, bench) for said in answers]
    for way in WAYS:
        weight = bench.draws(way, count=count, seed=seed)
        for said, sheet in zip(answers, sheets, strict=True):
            sheet.add(way, Sampled(said, bench, weight))
    made = [
        _tool_tables(tool, said, sheet, bench, unscored[tool.name])
        for tool, said, sheet in zip(tools, answers, sheets, strict=True)
    ]
    comparisons = []
    for tool, sheet in zip(tools[1:], sheets[1:], strict=True):
        differences, wins = sheets[0].less(sheet)
        comparisons.append(
            Comparison(
                first=tools[0].name, second=tool.name, differences=differences, wins=_round(wins)
            )
        )
    return made, comparisons


def estimate(images: Floats, groups: Floats) -> Estimate:
    """Return the figure (row 0 of either) and its intervals; none where no draw moves it."""
    return Estimate(
        _round(float(images[0])),
        _rounded(bootstrap.interval(images)),
        _rounded(bootstrap.interval(groups)),
    )


def _tool_tables(tool: Tool, said: Answer, sheet: Sheet, bench: Bench, unscored: int) -> ToolTables:
    return ToolTables(
        name=tool.name,
        origin=tool.origin,
        seen=tool.seen,
        kind=tool.kind,
        cut=_round(tool.cut),
        unscored=unscored,
        overall=sheet.overall(),
        macro=sheet.macro(),
        tables={table: sheet.lines(table) for table in bench.tables},
        roc=_curve(tool.score, bench.is_ai),
        reliability=_reliability(said, bench),
        mistakes=_mistakes(said, bench),
    )


def _curve(score: Floats, is_ai: Flags) -> Curve:
    """Return the ROC at shares of false alarms that serve a linear and a logarithmic axis."""
    false_alarms, found, _ = roc_curve(is_ai, score, drop_intermediate=True)
    grid = np.unique(np.concatenate([[0.0], np.geomspace(1e-3, 1, 90), np.linspace(0, 1, 51)]))
    at = np.searchsorted(false_alarms, grid, "right") - 1
    return Curve(
        false_alarms=[_round(float(x)) for x in grid], found=[_round(float(y)) for y in found[at]]
    )


def _reliability(said: Answer, bench: Bench, *, bins: int = 10) -> list[Bin]:
    if said.said is None:
        return []
    total = np.array([bench.weight[~bench.is_ai].sum(), bench.weight[bench.is_ai].sum()])
    weight = bench.weight / total[bench.is_ai.astype(int)]
    index = np.minimum((said.said * bins).astype(int), bins - 1)
    found = []
    for k in range(bins):
        at = index == k
        if at.any():
            mean = np.average(np.stack([said.said[at], bench.is_ai[at]]), 1, weight[at])
            found.append(Bin(said=_round(mean[0]), was=_round(mean[1]), n=int(at.sum())))
    return found


def _mistakes(said: Answer, bench: Bench) -> list[Mistake]:
    """Return the real images that score highest and the AI images that score lowest."""
    order = np.argsort(said.score)
    real = (int(i) for i in order[::-1] if not bench.is_ai[i] and said.is_called_ai[i])
    ai = (int(i) for i in order if bench.is_ai[i] and not said.is_called_ai[i])
    return [
        _mistake(i, said, bench) for i in [*_two_of_each(real, bench), *_two_of_each(ai, bench)]
    ]


def _two_of_each(at: Iterable[int], bench: Bench) -> list[int]:
    seen: Counter[str] = Counter()
    kept: list[int] = []
    for index in at:
        source = bench.rows[index].source
        if seen[source] < 2:
            seen[source] += 1
            kept.append(index)
        if len(kept) == WORST:
            break
    return kept


def _mistake(index: int, said: Answer, bench: Bench) -> Mistake:
    row = bench.rows[index]
    return Mistake(
        file=row.file,
        label=row.label,
        source=row.source,
        generator=row.generator,
        style=row.style,
        score=_round(float(said.score[index])),
        probability=None if said.said is None else _round(float(said.said[index])),
    )


def _rounded(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (_round(bounds[0]), _round(bounds[1]))


def _round(value: float) -> float:
    return round(float(value), 5)
