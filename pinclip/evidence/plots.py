"""Charts of a report as SVG text: figures only, never a picture of the set.

    Report --> roc, reliability, generators, robustness --> one SVG each

Each tool keeps one colour and one line style in all of them (Okabe and Ito's colours, which
colour-blind people can part). Charts stand on white whatever the page's colours are.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .robustness import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from .robustness import Robustness
    from .tables import Line, ToolTables

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKS = "osD^vP"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "pinclip",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
}
BARS = 30
"""Generators that a chart has room for."""
ENOUGH = 15
"""Fewest images of a generator that a chart shows."""


def roc(tools: Sequence[ToolTables]) -> str:
    """Return the ROC curves, false alarms on a logarithmic axis from 0.1 %."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for k, tool in enumerate(tools):
            curve = tool.roc
            auroc = tool.overall.figures["auroc"].value
            label = f"{tool.name}, AUROC {auroc:.3f}"
            axes.plot(curve.false_alarms, curve.found, label=label, **_line(k))
        for rate in (0.01, 0.05):
            axes.axvline(rate, color="#999999", linewidth=0.8)
        axes.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1))
        axes.set_xticks([0.001, 0.01, 0.05, 0.1, 1], ["0.1 %", "1 %", "5 %", "10 %", "100 %"])
        axes.set_xlabel("real images called AI (false alarms)")
        axes.set_ylabel("AI images found")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="lower right", frameon=False)
        return _svg(figure)


def reliability(tools: Sequence[ToolTables]) -> str:
    """Return what was said against what was so; "" without calibrated tools."""
    if not tools:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        for k, tool in enumerate(tools):
            said = [one.said for one in tool.reliability]
            was = [one.was for one in tool.reliability]
            axes.plot(said, was, label=tool.name, marker=MARKS[k % len(MARKS)], **_line(k))
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("probability said (calibrated on other folds)")
        axes.set_ylabel("share that was AI, classes equal")
        axes.legend(loc="upper left", frameon=False)
        return _svg(figure)


def generators(tools: Sequence[ToolTables], table: str = "generator") -> str:
    """Return AI images found at 5 % false alarms, by generator or family, the worst first.

    As many as fit are shown, those with most images; "" where too few real images are there.
    Bars are the first tool, whiskers its interval over groups, marks the other tools.
    """
    shown = _shown(tools[0].tables[table])
    if not shown:
        return ""
    names = [f"{line.name}  ({line.ai})" for line in shown]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.0 + 0.2 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        _bars(axes, shown, tools[0].name)
        for k, tool in enumerate(tools[1:], start=1):
            found = {line.name: line for line in tool.tables[table]}
            values = [found[line.name].figures["tpr_at_5"].value for line in shown]
            mark, colour = MARKS[k % len(MARKS)], COLOURS[k % len(COLOURS)]
            at = range(len(shown))
            axes.scatter(values, at, s=18, marker=mark, c=colour, zorder=4, label=tool.name)
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("AI images found at 5 % false alarms (images in brackets)")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return _svg(figure)


def robustness(tables: Sequence[Robustness]) -> str:
    """Return AUROC under every corruption, JPEG as a curve over quality; "" without tables."""
    if not tables:
        return ""
    names = [one.name for one in tables[0].corruptions]
    jpeg = [name for name in names if name == CLEAN or name.startswith("jpeg_")]
    others = [name for name in names if name not in jpeg]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for k, table in enumerate(tables):
            area = {one.name: one.auroc.value for one in table.corruptions}
            mark = MARKS[k % len(MARKS)]
            left.plot(jpeg, [area[n] for n in jpeg], marker=mark, label=table.tool, **_line(k))
            colour = COLOURS[k % len(COLOURS)]
            right.axhline(area[CLEAN], color=colour, linewidth=0.8, linestyle=_line(k)["ls"])
            right.scatter(others, [area[n] for n in others], marker=mark, color=colour, zorder=3)
        left.set_ylabel("AUROC")
        left.set_xlabel("JPEG quality")
        left.set_xticks(range(len(jpeg)), [name.removeprefix("jpeg_") for name in jpeg])
        right.set_xlabel("other corruptions (line: clean)")
        right.tick_params(axis="x", rotation=30)
        left.legend(frameon=False)
        return _svg(figure)


def _bars(axes: Axes, shown: Sequence[Line], name: str) -> None:
    figures = [line.figures["tpr_at_5"] for line in shown]
    values = [one.value for one in figures]
    axes.barh(range(len(shown)), values, height=0.7, color=COLOURS[0], alpha=0.55, label=name)
    for at, one in enumerate(figures):
        if one.groups:
            axes.plot(one.groups, [at, at], color="#333333", linewidth=1, zorder=3)


def _shown(lines: Sequence[Line]) -> list[Line]:
    """Return those with most images, as many as fit, the worst first."""
    known = [line for line in lines if "tpr_at_5" in line.figures]
    kept = [line for line in known if line.ai >= ENOUGH] or known
    largest = sorted(kept, key=lambda line: -line.ai)[:BARS]
    return sorted(largest, key=lambda line: line.figures["tpr_at_5"].value)


def _line(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "ls": STYLES[k % len(STYLES)]}


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="white")
    return text.getvalue()
