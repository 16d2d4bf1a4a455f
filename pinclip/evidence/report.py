"""One page and one JSON that say how well detectors work on a set.

    Report --write--> report.json    figures and file names
                      report.html    the same, charts, pictures of the worst mistakes; needs nothing
                                     from anywhere else
                      .gitignore     pictures of the set are never committed
           --write_figures--> roc.svg, generators.svg    charts alone, which may be

Formats; computes no figure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2
import msgspec
from msgspec import Struct

from . import plots, sections
from .robustness import Robustness
from .scores import EvidenceError
from .tables import Comparison, Mistake, ToolTables

FORMAT = 1
Thumbnail = Callable[[str], bytes | None]
"""File of the set -> a small JPEG of it, or None."""


class Report(Struct, frozen=True, kw_only=True):
    """All that was measured, in one go, on one set. `images` are those that every tool scored."""

    format: int
    version: str
    set: str
    data_sha256: str
    images: int
    real: int
    ai: int
    sources: int
    groups: int
    folds: int
    draws: int
    seed: int
    notes: list[str]
    tools: list[ToolTables]
    comparisons: list[Comparison]
    robustness: list[Robustness]


def read_report(path: Path) -> Report:
    """Return the report of a report.json; raises EvidenceError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise EvidenceError(
            f"{path} is no report of this version ({error}): `pinclip evaluate` writes one."
        ) from None


def write(report: Report, folder: Path, thumbnail: Thumbnail) -> None:
    """Write report.json and report.html into a folder, whole or not at all; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    data = msgspec.json.format(msgspec.json.encode(report), indent=1)
    _replace(folder / "report.json", data + b"\n")
    _replace(folder / "report.html", page(report, thumbnail).encode())


def write_figures(report: Report, folder: Path) -> None:
    """Write the two charts that a README may show; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in (
        ("roc.svg", plots.roc(report.tools)),
        ("generators.svg", plots.generators(report.tools)),
    ):
        if svg:
            _replace(folder / name, svg.encode())


def page(report: Report, thumbnail: Thumbnail) -> str:
    """Return the page: HTML that asks for nothing from outside."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        report=report,
        charts=sections.charts(report),
        tables=sections.tables(report),
        mistakes=[(tool, _pictured(tool, thumbnail)) for tool in report.tools],
    )


def _pictured(tool: ToolTables, thumbnail: Thumbnail) -> list[tuple[Mistake, str]]:
    """Return the mistakes that have a picture, each with its data URI."""
    found = ((mistake, thumbnail(mistake.file)) for mistake in tool.mistakes)
    return [(mistake, sections.uri("image/jpeg", data)) for mistake, data in found if data]


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_bytes(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
