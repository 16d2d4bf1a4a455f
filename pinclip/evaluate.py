"""`pinclip evaluate`: how well detectors work on a set of labelled images.

    SET --open_set--> rows, bytes
    --run, --weights, --scores --> a Tool each    evidence/scores.py
      the images that all of them scored          evidence/bench.py
      tables, comparison with the first           evidence/tables.py
    --robustness --> the images made worse        evidence/robustness.py
    --> report.html, report.json, charts          evidence/report.py

Parses and puts together; measures nothing itself. What is heavy is imported after the arguments
are read, so that --help is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from .data.manifest import Row
    from .data.sets import ImageSet
    from .evidence.bench import Bench
    from .evidence.report import Report
    from .evidence.robustness import Robustness
    from .evidence.scores import Scorer, Tool

DRAWS = 2000
MISUSE = 2
THUMBNAIL = 320
"""Pixels of a mistake's longer side in the report."""

EPILOG = """\
The first of --run, --weights and --scores is compared with each of the others, on the images that
all of them scored. FOLDER gets report.html, report.json and a .gitignore: the report holds
pictures of the set.

exit status: 0 the report is written; 2 the arguments, the set or the scores cannot be used
"""


class Asked(NamedTuple):
    """The tools that were asked for, and how to score more pictures with those that can."""

    tools: list[Tool]
    scorers: dict[str, Callable[[], Scorer]]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report that `argv` asks for, print its first table; return the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not (options.run or options.weights or options.scores):
        parser.error("name what to evaluate: --run, --weights or --scores.")
    if options.robustness is not None and not (options.run or options.weights):
        parser.error("--robustness scores pictures: it needs --run or --weights.")
    from .data.errors import DataError
    from .detector import EngineError
    from .evidence.scores import EvidenceError
    from .recipe import RecipeError
    from .weights import WeightsError

    try:
        print(_evaluate(options))  # noqa: T201 - the table is what was asked for
    except (DataError, EvidenceError, WeightsError, EngineError, RecipeError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or options.out}: {error.strerror or error}.")
    return 0


def _evaluate(options: argparse.Namespace) -> str:
    from .evidence import report as reports
    from .evidence.sections import summary

    images = _open(options)
    report = measure(images, options)
    reports.write(report, options.out, _thumbnails(images))
    if options.figures:
        reports.write_figures(report, options.figures)
    return f"{summary(report)}\n{options.out / 'report.html'}"


def _open(options: argparse.Namespace) -> ImageSet:
    """Return the set, read and folded as the run did it, if there is one."""
    from .data.sets import open_set
    from .recipe import Data, read_recipe

    path = options.run / "recipe.toml" if options.run else None
    how = read_recipe(path).data if path and path.is_file() else Data()
    return open_set(options.set, layout=options.layout or how.layout, folds=how.folds)


def measure(images: ImageSet, options: argparse.Namespace) -> Report:
    """Return the report; raises EvidenceError, DataError, WeightsError, EngineError."""
    from . import __version__
    from .data.manifest import digest
    from .evidence import report as reports
    from .evidence import scores, tables
    from .evidence.bench import Bench

    asked = _asked(images, options)
    shared = scores.common(asked.tools)
    bench = Bench(tuple(row for row, kept in zip(images.rows, shared, strict=True) if kept))
    _check_classes(bench)
    tools = [tool.where(shared) for tool in asked.tools]
    unscored = {tool.name: _unscored(tool, images) for tool in asked.tools}
    made, comparisons = tables.measure(
        tools, bench, unscored=unscored, count=options.draws, seed=options.seed
    )
    return reports.Report(
        format=reports.FORMAT,
        version=__version__,
        set=images.name,
        data_sha256=digest(images.rows),
        images=len(bench.rows),
        real=int((~bench.is_ai).sum()),
        ai=int(bench.is_ai.sum()),
        sources=len({(row.label, row.source) for row in bench.rows}),
        groups=len(set(bench.group)),
        folds=len(set(bench.fold)),
        draws=options.draws,
        seed=options.seed,
        notes=[*images.notes, *_notes(asked.tools, bench, images)],
        tools=made,
        comparisons=comparisons,
        robustness=_robustness(images, asked, options),
    )


def _asked(images: ImageSet, options: argparse.Namespace) -> Asked:
    """Return the tools, each under a name of its own."""
    from .evidence import scores

    asked = Asked([], {})
    if options.run:
        run = scores.from_run(options.run, images.rows)
        asked.tools.append(run)
        asked.scorers[run.name] = lambda: _fold_scorer(options.run)
    if options.weights:
        _add_weights(asked, images, options)
    asked.tools.extend(scores.from_csv(name, path, images.rows) for name, path in options.scores)
    names = [tool.name for tool in asked.tools]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise scores.EvidenceError(
            f"Two tools are called {min(twice)!r}: give the scores another NAME."
        )
    if options.threshold is not None:
        asked.tools[:] = [tool.decided_at(options.threshold) for tool in asked.tools]
    return asked


def _add_weights(asked: Asked, images: ImageSet, options: argparse.Namespace) -> None:
    from . import detector as detectors
    from .evidence import scores
    from .weights import named, open_weights

    opened = open_weights(named(options.weights))
    detector = detectors.load(weights=opened)
    at = scores.pick(images.rows, options.limit, seed=options.seed)
    tool = scores.from_weights(
        detector, images, trained_on=opened.meta.data.sha256, at=_progress(at, "scoring")
    )
    asked.tools.append(tool)
    asked.scorers[tool.name] = lambda: scores.weights_scorer(detector)


def _robustness(images: ImageSet, asked: Asked, options: argparse.Namespace) -> list[Robustness]:
    """Return what corruption does to each tool that can score pictures here."""
    if options.robustness is None:
        return []
    from .evidence import robustness, scores

    names = robustness.names_of(options.robustness)
    at = scores.pick(images.rows, options.limit, seed=options.seed)
    return [
        _robust(
            tool,
            images,
            robustness.score_corrupted(
                images, asked.scorers[tool.name](), names, _progress(at, "corrupting")
            ),
            options,
        )
        for tool in asked.tools
        if tool.name in asked.scorers
    ]


def _robust(
    tool: Tool, images: ImageSet, found: dict[str, NDArray[np.float64]], options: argparse.Namespace
) -> Robustness:
    """Return the table; thresholds come from all clean scores that the tool has."""
    import numpy as np

    from .evidence import robustness
    from .evidence.bench import Bench

    known, scored = np.isfinite(tool.score), np.isfinite(found[robustness.CLEAN])
    every = Bench(images.rows)
    bench = Bench(tuple(row for row, kept in zip(images.rows, scored, strict=True) if kept))
    _check_classes(bench)
    bounds = robustness.thresholds(tool.score[known], every.is_ai[known])
    return robustness.Robustness(
        tool=tool.name,
        seen=tool.seen,
        real=int((~bench.is_ai).sum()),
        ai=int(bench.is_ai.sum()),
        threshold=round(bounds[0], 5),
        clear_below=round(bounds[1], 5),
        thresholds_from=f"set on {int(known.sum())} clean images, 3 % of the real ones flagged",
        corruptions=robustness.compare(
            {name: score[scored] for name, score in found.items()},
            bench,
            bounds,
            count=options.draws,
            seed=options.seed,
        ),
    )


def _fold_scorer(run: Path) -> Scorer:
    """Return a scorer that asks, for each image, the model of the fold that never saw it."""
    from .checkpoint import CheckpointError
    from .evidence.scores import EvidenceError
    from .runs import fold_scorer

    ask = fold_scorer(run)

    def score(pictures: Sequence[Image.Image], rows: Sequence[Row]) -> NDArray[np.float64]:
        try:
            return ask(pictures, rows)
        except CheckpointError as error:
            raise EvidenceError(str(error)) from None

    return score


def _check_classes(bench: Bench) -> None:
    from .evidence.scores import EvidenceError

    ai = int(bench.is_ai.sum())
    if not 0 < ai < len(bench.rows):
        raise EvidenceError(
            f"{ai} AI and {len(bench.rows) - ai} real images are scored: both are needed."
        )


def _unscored(tool: Tool, images: ImageSet) -> int:
    import numpy as np

    return len(images.rows) - int(np.isfinite(tool.score).sum())


def _notes(tools: Sequence[Tool], bench: Bench, images: ImageSet) -> list[str]:
    """Return what must be known before a figure is believed."""
    notes = []
    for tool in tools:
        if tool.seen == "trained on":
            notes.append(
                f"{tool.name} was fitted on these very images: its figures say what it learnt of "
                "them, not how it does on others. Give its training run (--run) for that."
            )
        elif tool.seen == "not known":
            notes.append(
                f"Nobody says whether {tool.name} was trained on some of these images; where it "
                "was, its figures are too good."
            )
    left = len(images.rows) - len(bench.rows)
    if left:
        notes.append(f"{left} of {len(images.rows)} images are left out: not every tool has them.")
    if not bench.is_folded:
        notes.append("The set has no folds that hold both classes: nothing is calibrated here.")
    return notes


def _thumbnails(images: ImageSet) -> Callable[[str], bytes | None]:
    """Return a function that makes a small JPEG of a file of the set, or None."""
    from io import BytesIO

    from .data.errors import UnreadableError
    from .data.sets import decode

    rows = {row.file: row for row in images.rows}

    def thumbnail(file: str) -> bytes | None:
        try:
            picture = decode(images.read(rows[file]))
        except UnreadableError:
            return None
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        data = BytesIO()
        picture.save(data, "JPEG", quality=80)
        return data.getvalue()

    return thumbnail


def _progress(at: Sequence[int], what: str) -> Iterable[int]:
    """Return the same numbers, counted on stderr as they are taken where that is a terminal."""
    from tqdm import tqdm

    return tqdm(at, desc=what, unit="image", disable=None)


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"pinclip: {sentence}\n")
    return MISUSE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip evaluate",
        description="Measure detectors on labelled images: tables, curves, worst mistakes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("set", type=Path, metavar="SET", help="folder of labelled images, any known layout")
    add("--run", type=Path, help="training run whose out-of-fold scores are measured")
    add("--weights", metavar="NAME", help="weights, by name or folder, that score the images here")
    add(
        "--scores",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help="scores of any tool, as often as wanted: columns file and score, higher: more AI",
    )
    add("-o", "--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    add(
        "--robustness",
        nargs="*",
        metavar="NAME",
        help="score corrupted images too: the corruptions named, or all",
    )
    add(
        "--limit",
        type=_count,
        metavar="N",
        help="most images scored here, half of them AI",
    )
    add(
        "--threshold",
        type=_probability,
        metavar="P",
        help="a tool says AI from this probability of its own (default: 0.5)",
    )
    add("--layout", help="layout of SET (default: that of the run, or recognised)")
    add("--figures", type=Path, metavar="FOLDER", help="write the charts without pictures here")
    add("--draws", type=_count, default=DRAWS, metavar="N", help="bootstrap draws (default: 2000)")
    add("--seed", type=int, default=0, help="of the draws and of --limit (default: 0)")
    return parser


def _named(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE.csv")
    return name, Path(path)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability between 0 and 1")
    return value
