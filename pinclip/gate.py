"""`pinclip gate OLD NEW`: may these weights take the place of those in use?

    meta.json of both --compare-->  findings      false alarms, AUC, recall, sources
    confirmed cases   --replay-->   findings      what OLD got right NEW must get right
                      any refusal   exit status 4, one sentence each
                      none          exit status 0

NEW is refused where, on any slice at any operating point, its false alarms are above the interval
that OLD states; where a slice's AUC falls by more than the tolerance; where it is wrong on a
confirmed case that OLD has right. All else that got worse is told as a warning: a person decides.
Compares what the weights say of themselves; measures nothing but the cases.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct
from PIL import Image, UnidentifiedImageError

from .weights import Meta, Point, SliceFacts, SourceRow, WeightsError, open_weights

if TYPE_CHECKING:
    from .detector import Detector, Reading
    from .weights import Weights

REFUSED = 4
"""Exit status where NEW is refused."""
MISUSE = 2
AUC_TOLERANCE = 0.01
"""How far a slice's AUC may fall: about the width of its interval at a few thousand images."""
SOURCE_FLOOR = 30
"""Fewest images of a real source of which a share is told."""
SOURCE_ALARMS = 0.10
"""Share of a real source that may be flagged before it is named."""
VERDICTS = ("likely_ai", "inconclusive", "no_sign_of_ai")
POINT = "balanced"
"""The operating point at which the cases are judged."""


class CasesError(Exception):
    """Confirmed cases that cannot be replayed; the text says which, and what is expected."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that differs: where, what it was, what it is, and a sentence for people."""

    kind: Literal["false_alarms", "auc", "case", "recall", "threshold", "slice", "source", "data"]
    refuses: bool
    where: str
    old: float | str | None
    new: float | str | None
    sentence: str


class Case(Struct, frozen=True, kw_only=True):
    """A confirmed case: a file below --images and what the truth about it is.

    `verdict` is the one that is expected. Without it a real picture must not be likely_ai, and an
    AI picture must be.
    """

    file: str
    label: Literal["ai", "real"]
    verdict: Literal["", "likely_ai", "inconclusive", "no_sign_of_ai"] = ""

    def is_right(self, verdict: str) -> bool:
        """Return whether this verdict is as confirmed."""
        if self.verdict:
            return verdict == self.verdict
        return (verdict == "likely_ai") == (self.label == "ai")


class Report(Struct, frozen=True, kw_only=True):
    """What --json prints."""

    old: str
    new: str
    is_refused: bool
    cases: int
    findings: tuple[Finding, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print the findings, return 0, or 4 where NEW is refused."""
    options = _parser().parse_args(argv)
    if (options.cases is None) != (options.images is None):
        return _misuse("--cases and --images belong together: give both or neither.")
    try:
        old, new = (open_weights(_where(name)) for name in (options.old, options.new))
        findings = list(compare(old.meta, new.meta, auc_tolerance=options.auc_tolerance))
        cases = read_cases(options.cases) if options.cases else []
        if cases:
            findings += replay(old, new, cases, options.images)
    except (WeightsError, CasesError) as error:
        return _misuse(str(error))
    report = Report(
        old=old.meta.id,
        new=new.meta.id,
        is_refused=any(finding.refuses for finding in findings),
        cases=len(cases),
        findings=tuple(findings),
    )
    sys.stdout.write(_json(report) if options.json else _text(report))
    return REFUSED if report.is_refused else 0


def compare(old: Meta, new: Meta, *, auc_tolerance: float = AUC_TOLERANCE) -> Iterator[Finding]:
    """Yield what the two say of themselves that differs for the worse."""
    if old.data.sha256 != new.data.sha256:
        yield _warning(
            "data",
            "all slices",
            old.data.sha256[:12],
            new.data.sha256[:12],
            "The two were measured on different images, so a part of any difference may be "
            "theirs: measure both on one set before you trust a narrow one.",
        )
    for name, facts in old.slices.items():
        if name not in new.slices:
            yield _warning(
                "slice", name, "there", None, f"NEW does not know the slice {name} any more."
            )
            continue
        yield from _compare_auc(name, facts, new.slices[name], auc_tolerance)
        for point in facts.points:
            where = f"{name}, {point}"
            yield from _compare_point(where, facts.points[point], new.slices[name].points[point])
    yield from _compare_sources(old.sources, new.sources)


def replay(
    old: Weights, new: Weights, cases: Sequence[Case], images: Path, *, batch: int = 8
) -> Iterator[Finding]:
    """Yield a refusal for each case that OLD has right and NEW wrong, a warning for both wrong.

    Both score the same pictures, one set of weights after the other, so that one model at a time
    is in memory.
    """
    before, after = (_verdicts(weights, cases, images, batch=batch) for weights in (old, new))
    for case, was, now in zip(cases, before, after, strict=True):
        if case.is_right(now):
            continue
        expected = case.verdict or ("likely_ai" if case.label == "ai" else "not likely_ai")
        sentence = f"{case.file} is {case.label} and {expected} is expected; OLD says {was}, NEW "
        yield Finding(
            kind="case",
            refuses=case.is_right(was),
            where=case.file,
            old=was,
            new=now,
            sentence=f"{sentence}{now}.",
        )


def read_cases(path: Path) -> list[Case]:
    """Return the cases of a CSV with the columns file, label and (optional) verdict.

    Raises CasesError.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            cases = msgspec.convert(list(csv.DictReader(lines)), list[Case])
    except OSError as error:
        raise CasesError(f"{path} cannot be read ({error.strerror}): name a CSV file.") from None
    except (msgspec.ValidationError, UnicodeDecodeError, csv.Error) as error:
        raise CasesError(
            f"{path} is no list of cases ({error}): it has the columns file, label (ai or real) "
            f"and, if you like, verdict ({', '.join(VERDICTS)})."
        ) from None
    if not cases:
        raise CasesError(f"{path} names no case: write one a line, or leave --cases out.")
    return cases


def _compare_auc(
    name: str, old: SliceFacts, new: SliceFacts, tolerance: float
) -> Iterator[Finding]:
    if old.auc is None or new.auc is None or new.auc >= old.auc - tolerance:
        return
    yield _refusal(
        "auc",
        name,
        old.auc,
        new.auc,
        f"On {name} the AUC falls from {old.auc:.4f} to {new.auc:.4f}, by more than {tolerance:g}.",
    )


def _compare_point(where: str, old: Point, new: Point) -> Iterator[Finding]:
    """Yield what got worse at one operating point of one slice."""
    if old.threshold is not None and new.threshold is None:
        yield _warning(
            "threshold",
            where,
            old.threshold,
            None,
            f"On {where}, NEW has no threshold any more: {new.n} real images were measured "
            f"(OLD: {old.n}), so it abstains there.",
        )
        return
    rate = new.false_alarm_rate
    if old.ci95 is not None and rate is not None and rate > old.ci95[1]:
        yield _refusal(
            "false_alarms",
            where,
            old.false_alarm_rate,
            rate,
            f"On {where}, NEW flags {rate:.2%} of the real images; OLD flags "
            f"{old.false_alarm_rate or 0:.2%}, at most {old.ci95[1]:.2%} by its 95 % interval.",
        )
    if old.recall_ci95 is not None and new.recall is not None and new.recall < old.recall_ci95[0]:
        yield _warning(
            "recall",
            where,
            old.recall,
            new.recall,
            f"On {where}, NEW finds {new.recall:.1%} of the AI images; OLD finds "
            f"{old.recall or 0:.1%}, at least {old.recall_ci95[0]:.1%} by its 95 % interval.",
        )


def _compare_sources(old: Sequence[SourceRow], new: Sequence[SourceRow]) -> Iterator[Finding]:
    """Yield the real sources that NEW accuses and OLD did not, worst first."""
    before = {row.source: _share(row) for row in old if row.label == "real"}
    accused = [
        row
        for row in new
        if row.label == "real"
        and row.n >= SOURCE_FLOOR
        and _share(row) > SOURCE_ALARMS >= before.get(row.source, 0.0)
    ]
    for row in sorted(accused, key=lambda row: -_share(row)):
        was = before.get(row.source)
        said = "did not see it" if was is None else f"flags {was:.0%}"
        yield _warning(
            "source",
            row.source,
            was,
            _share(row),
            f"The real source {row.source} ({row.n} images): NEW flags {_share(row):.0%}, "
            f"OLD {said}.",
        )


def _share(row: SourceRow) -> float:
    return row.flagged / row.n


def _verdicts(weights: Weights, cases: Sequence[Case], images: Path, *, batch: int) -> list[str]:
    from .detector import load  # an engine is loaded only where there are cases

    detector = load(weights=weights, batch_limit=batch)
    return [
        _verdict(reading)
        for start in range(0, len(cases), batch)
        for reading in _score(detector, cases[start : start + batch], images)
    ]


def _score(detector: Detector, cases: Sequence[Case], images: Path) -> list[Reading]:
    return detector.predict([_open(images / case.file) for case in cases])


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise CasesError(
            f"{path} does not exist: --images is the folder that the cases' files are in."
        ) from None
    except (UnidentifiedImageError, OSError) as error:
        raise CasesError(f"{path} is no image that can be decoded ({error}).") from None


def _verdict(reading: Reading) -> str:
    """Return what the balanced point says of a reading; without a threshold, nothing."""
    point = reading.points[POINT]
    if point.threshold is not None and reading.score >= point.threshold:
        return "likely_ai"
    if point.clear_below is not None and reading.score < point.clear_below:
        return "no_sign_of_ai"
    return "inconclusive"


def _refusal(
    kind: Literal["false_alarms", "auc"],
    where: str,
    old: float | None,
    new: float | None,
    sentence: str,
) -> Finding:
    return Finding(kind=kind, refuses=True, where=where, old=old, new=new, sentence=sentence)


def _warning(
    kind: Literal["recall", "threshold", "slice", "source", "data"],
    where: str,
    old: float | str | None,
    new: float | str | None,
    sentence: str,
) -> Finding:
    return Finding(kind=kind, refuses=False, where=where, old=old, new=new, sentence=sentence)


def _text(report: Report) -> str:
    lines = [
        f"{'refused' if finding.refuses else 'warning'}: {finding.sentence}"
        for finding in sorted(report.findings, key=lambda finding: not finding.refuses)
    ]
    number = sum(finding.refuses for finding in report.findings)
    verdict = f"is refused for {number} reason(s)" if number else "may take its place"
    replayed = f", {report.cases} confirmed case(s) replayed" if report.cases else ""
    lines.append(f"{report.new} against {report.old}: {verdict}{replayed}.")
    return "\n".join(lines) + "\n"


def _json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n"


def _where(name: str) -> str | Path:
    """A folder that exists is meant as one; all else is the name of installed weights."""
    return Path(name) if Path(name).is_dir() else name


def _misuse(sentence: str) -> int:
    sys.stderr.write(f"pinclip: {sentence}\n")
    return MISUSE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip gate",
        description="Refuse weights that are worse than those in use.",
        epilog="Exit status: 0 NEW may take OLD's place, 4 it is refused, 2 misuse.",
    )
    parser.add_argument("old", metavar="OLD", help="weights in use: a folder, or their name")
    parser.add_argument("new", metavar="NEW", help="weights that would replace them")
    parser.add_argument("--cases", type=Path, help="CSV: file, label (ai|real), verdict (optional)")
    parser.add_argument("--images", type=Path, help="folder that the cases' files are in")
    parser.add_argument(
        "--auc-tolerance",
        type=float,
        default=AUC_TOLERANCE,
        help="how far a slice's AUC may fall (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
