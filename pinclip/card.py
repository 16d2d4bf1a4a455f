"""What people are told of a model: the table of a terminal, and the model card (CARD.md).

Everything stands in meta.json and the recipe; nothing is measured here and no number is written by
hand. The template is card.md.jinja.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import jinja2

from . import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .recipe import Recipe
    from .weights import Meta, SourceRow

ALARMING = 0.10
"""Share of a real source's images above which the card warns of it, at the balanced point."""
COUNTED = 30
"""Fewest images of a source that the card speaks of."""
SHOWN = 15


class Limit(NamedTuple):
    """A slice that must not be trusted in some way, and in which."""

    slice: str
    text: str


def table(meta: Meta) -> str:
    """Return the table that a terminal shows."""
    lines = [
        f"{meta.id}  {meta.calibration_id}",
        "out of fold  " + "  ".join(f"{key} {value:.3f}" for key, value in meta.evaluation.items()),
        f"{'slice':<14}{'point':<11}{'n':>5}{'false alarms':>27}{'recall':>8}{'missed':>8}",
    ]
    for name, facts in meta.slices.items():
        for point, at in facts.points.items():
            low, high = at.ci95 or (None, None)
            alarms = f"{percent(at.false_alarm_rate)} ({percent(low)} to {percent(high)})"
            lines.append(
                f"{name:<14}{point:<11}{at.n:>5}{alarms:>27}"
                f"{percent(at.recall):>8}{percent(at.miss_rate):>8}"
            )
    lines.append("real sources accused most at the balanced point")
    lines += [
        f"  {row.source:<44}{row.slice:<14}{row.flagged:>3} of {row.n}"
        for row in accused(meta)[:SHOWN]
    ]
    return "\n".join(lines)


def render(meta: Meta, how: Recipe) -> str:
    """Return the model card, Markdown."""
    template = jinja2.Environment(  # noqa: S701 - Markdown, not a page
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template.filters["percent"] = percent
    text = files(__package__).joinpath("card.md.jinja").read_text(encoding="utf-8")
    known = accused(meta)
    counted = [row for row in known if row.n >= COUNTED]
    return template.from_string(text).render(
        meta=meta,
        how=how,
        recipe=recipe.digest(how),
        limits=list(limits(meta)),
        least=COUNTED,
        counted=counted,
        alarming=[row for row in counted if row.flagged / row.n > ALARMING],
        worst=known[:SHOWN],
        missed=missed(meta)[:SHOWN],
    )


def accused(meta: Meta) -> list[SourceRow]:
    """Return the real sources, those that are called AI most first."""
    return sorted(
        (row for row in meta.sources if row.label == "real"), key=lambda row: -row.flagged / row.n
    )


def missed(meta: Meta) -> list[SourceRow]:
    """Return the AI sources of at least ten images, those that are found least first."""
    return sorted(
        (row for row in meta.sources if row.label == "ai" and row.n >= 10),
        key=lambda row: row.flagged / row.n,
    )


def limits(meta: Meta) -> Iterator[Limit]:
    """Yield what a slice must not be trusted for."""
    for name, facts in meta.slices.items():
        if facts.points["balanced"].threshold is None:
            yield Limit(
                name,
                f"{facts.n} real images are too few to say how often it is wrong: every answer "
                "is inconclusive.",
            )
        elif facts.calibration is None:
            yield Limit(
                name,
                f"{facts.n_ai} AI images are too few for a probability or a recall, and nothing "
                "is cleared: a low score reads inconclusive.",
            )


def percent(share: float | None) -> str:
    """Return a share in percent, one decimal, "-" for what was not measured."""
    return "-" if share is None else f"{100 * share:.1f} %"
