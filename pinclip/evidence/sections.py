"""What a report shows, in words and cells: tables, charts and the lines for a terminal.

    Report --tables--> Table(title, columns, rows of cells)      --> report.html.jinja
           --charts--> Chart(title, data URI, alt text)          -->
           --summary-> lines of text

A figure stands with its interval over groups; where a table is short, over images too. Computes
no figure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from . import plots

if TYPE_CHECKING:
    from .report import Report
    from .robustness import Corruption, Robustness
    from .tables import Comparison, Estimate, Line, ToolTables

TITLES = {
    "accuracy": "accuracy",
    "real_recall": "real recall",
    "ai_recall": "AI recall",
    "real_flagged": "real flagged at 3 %",
    "ai_flagged": "AI flagged at 3 %",
    "ap": "AP",
    "auroc": "AUROC",
    "tpr_at_1": "TPR at 1 %",
    "tpr_at_5": "TPR at 5 %",
    "ece": "ECE",
    "macc_subsets": "mAcc (a), mean of subsets",
    "macc_columns": "mAcc (b), Real column and N recalls",
    "macro_sources": "macro over sources at 3 %",
}
"""Figures in the order in which tables show them."""
DECIMALS = frozenset({"ap", "auroc", "ece"})
"""Figures that are shown as 0.954; the others as 95.4 %."""
NOTES = {
    "overall": "Accuracy and recalls at each tool's own line (a probability of one half, unless "
    "it was set). Flagged at 3 %: by a threshold that flags 3 % of the other folds' real images.",
    "macro": "(a) and (b) are the two averages that benchmarks publish under one name. The last: "
    "mean of the AI sources' recall and the real sources' specificity, every source counting one.",
    "slice": "By the style that the set names. Portrait: photographs of people, part of photo.",
    "family": "AI images of the family against all real images.",
    "generator": "AI images of the generator against all real images, most images first.",
    "real": "Real images of the source against all AI images, lowest AUROC first.",
    "ai": "AI images of the source against all real images, lowest AUROC first.",
    "mixed": "Each source by itself, lowest AUROC first.",
}


class Cell(NamedTuple):
    """A figure as people read it; its intervals over groups and over images may be empty."""

    value: str
    groups: str = ""
    images: str = ""


class Row(NamedTuple):
    """A row; `name` is empty where it goes on with the line above."""

    name: str
    counts: tuple[int, ...]
    tool: str
    cells: list[Cell]


class Table(NamedTuple):
    """A table as the page shows it; a long one is folded away."""

    title: str
    note: str
    first: str
    counts: tuple[str, ...]
    columns: list[str]
    rows: list[Row]
    is_long: bool = False
    names_tools: bool = True


class Chart(NamedTuple):
    """A chart as a data URI, and what it shows in words."""

    title: str
    uri: str
    alt: str


def tables(report: Report) -> list[Table]:
    """Return every table of the page."""
    tools = report.tools
    names = [tool.name for tool in tools]
    made = [_lines("All images", "overall", [[tool.overall] for tool in tools], tools=names)]
    made += [_macro(tools), *(_comparison(one) for one in report.comparisons)]
    for table in ("slice", "family"):
        made.append(
            _lines(f"By {table}", table, [tool.tables[table] for tool in tools], tools=names)
        )
    made += [_robust(one) for one in report.robustness]
    parts = [tool.tables["generator"] for tool in tools]
    made.append(_lines("By generator", "generator", parts, tools=names, is_long=True))
    return [table for table in [*made, *_by_source(tools)] if table.rows]


def charts(report: Report) -> list[Chart]:
    """Return the charts in the order of the page."""
    tools = report.tools
    names = ", ".join(tool.name for tool in tools)
    drawn = [
        ("ROC", plots.roc(tools), f"ROC curves of {names}. Figures: table All images."),
        *(
            (
                f"AI images found, by {table}",
                plots.generators(tools, table),
                f"A bar of {tools[0].name} for each {table}. Figures: table by {table}.",
            )
            for table in ("family", "generator")
        ),
        (
            "Reliability",
            plots.reliability([tool for tool in tools if tool.reliability]),
            f"Calibrated probabilities of {names} against what was so. ECE: table All images.",
        ),
        (
            "Robustness",
            plots.robustness(report.robustness),
            "AUROC under each corruption. Figures: table of robustness.",
        ),
    ]
    return [
        Chart(title, uri("image/svg+xml", svg.encode()), alt) for title, svg, alt in drawn if svg
    ]


def summary(report: Report) -> str:
    """Return the lines that the terminal shows."""
    names = ("auroc", "tpr_at_1", "tpr_at_5", "accuracy", "ece")
    lines = [
        f"{report.set}: {report.real} real and {report.ai} AI images of {report.groups} groups",
        f"{'':<24}" + "".join(f"{TITLES[name]:<23}" for name in names),
    ]
    for tool in report.tools:
        cells = [_cell(name, tool.overall.figures) for name in names]
        text = "".join(f"{cell.value + ' ' + cell.groups:<23}" for cell in cells)
        lines.append(f"{tool.name[:23]:<24}{text}".rstrip())
    return "\n".join([*lines, *(f"note: {note}" for note in report.notes)])


def uri(kind: str, data: bytes) -> str:
    """Return data as a URI that needs no request."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _lines(
    title: str,
    note: str,
    parts: Sequence[Sequence[Line]],
    *,
    tools: Sequence[str],
    is_long: bool = False,
) -> Table:
    """Return the lines of all tools, the tools below each other for each line."""
    present = set(chain.from_iterable(line.figures for part in parts for line in part))
    if not any(line.real and line.ai for line in parts[0]):
        present.discard("accuracy")  # it would be a recall again
    columns = [name for name in TITLES if name in present]
    rows = [
        _row(line, tool, columns, is_first=tool == tools[0])
        for same in zip(*parts, strict=True)
        for line, tool in zip(same, tools, strict=True)
    ]
    counts = ("real", "AI", "groups")
    titles = [TITLES[name] for name in columns]
    first = title.removeprefix("By ")
    return Table(title, NOTES[note], first, counts, titles, rows, is_long)


def _row(line: Line, tool: str, columns: Sequence[str], *, is_first: bool) -> Row:
    counts = (line.real, line.ai, line.groups)
    cells = [_cell(name, line.figures) for name in columns]
    return Row(line.name if is_first else "", counts, tool, cells)


def _by_source(tools: Sequence[ToolTables]) -> list[Table]:
    """Return a table of real sources, one of AI sources, one of those that hold both."""
    place = {line.name: line.figures["auroc"].value for line in tools[0].tables["source"]}
    ordered = [
        sorted(tool.tables["source"], key=lambda line: (place[line.name], line.name))
        for tool in tools
    ]
    names = [tool.name for tool in tools]
    return [
        _lines(
            title,
            kind,
            [[line for line in part if _kind(line) == kind] for part in ordered],
            tools=names,
            is_long=True,
        )
        for kind, title in (("real", "Real sources"), ("ai", "AI sources"), ("mixed", "Sources"))
        if any(_kind(line) == kind for line in ordered[0])
    ]


def _kind(line: Line) -> str:
    if line.real and line.ai:
        return "mixed"
    return "real" if line.real else "ai"


def _macro(tools: Sequence[ToolTables]) -> Table:
    columns = [name for name in TITLES if name in tools[0].macro]
    rows = [
        Row("" if k else "all images", (), tool.name, [_cell(name, tool.macro) for name in columns])
        for k, tool in enumerate(tools)
    ]
    titles = [TITLES[name] for name in columns]
    return Table("Averages", NOTES["macro"], "images", (), titles, rows)


def _comparison(one: Comparison) -> Table:
    """Return a row for each figure: how much the first tool has more of it."""
    rows = [
        Row(TITLES[name], (), one.first, [_cell(name, one.differences, sign="+")])
        for name in TITLES
        if name in one.differences
    ]
    note = (
        f"{one.first} less {one.second}, on the same images and the same draws. Its AUROC is the "
        f"higher one in {100 * one.wins:.1f} % of the draws of groups."
    )
    title = f"{one.first} against {one.second}"
    return Table(title, note, "figure", (), ["difference"], rows, names_tools=False)


def _robust(one: Robustness) -> Table:
    doubt = "" if one.seen == "held out" else " It may have been trained on these images."
    note = (
        f"{one.tool} on {one.real} real and {one.ai} AI images. Likely AI from a score of "
        f"{one.threshold:.3f}, no sign of AI below {one.clear_below:.3f}: {one.thresholds_from}. "
        "Accused: real images from no sign of AI to likely AI. Missed: AI images the other way."
        f"{doubt}"
    )
    columns = ["AUROC", "drop", "real called AI", "AI found", "accused", "missed", "flips"]
    rows = [Row(worse.name, (), one.tool, _robust_cells(worse, one)) for worse in one.corruptions]
    title = f"Robustness of {one.tool}"
    return Table(title, note, "corruption", (), columns, rows, names_tools=False)


def _robust_cells(worse: Corruption, one: Robustness) -> list[Cell]:
    return [
        _cell("auroc", {"auroc": worse.auroc}),
        _cell("auroc", {"auroc": worse.drop}, sign="+"),
        Cell(f"{100 * worse.false_alarms:.1f} %"),
        Cell(f"{100 * worse.found:.1f} %"),
        Cell(f"{worse.accused} of {one.real}"),
        Cell(f"{worse.missed} of {one.ai}"),
        Cell(f"{worse.flips} of {one.real + one.ai}"),
    ]


def _cell(name: str, figures: Mapping[str, Estimate], *, sign: str = "") -> Cell:
    made = figures.get(name)
    if made is None:
        return Cell("-")
    scale, form = (1, f"{sign}.3f") if name in DECIMALS else (100, f"{sign}.1f")
    unit = "" if scale == 1 else " %" if not sign else " points"

    def between(bounds: tuple[float, float] | None) -> str:
        return "" if bounds is None else f"[{scale * bounds[0]:{form}}, {scale * bounds[1]:{form}}]"

    value = f"{scale * made.value:{form}}{unit}"
    return Cell(value, between(made.groups), between(made.images))
