"""Says in words, or as JSON for programs, what came of an input. Pure: prints nothing.

    Outcome(name, Scan | error) --line--> "a.jpg: Likely AI, probability 0.91; about 3 in 100 ..."
                                --json_line--> the scan, or {"input", "error": {...}}

Every verdict is told with what its reader should know: how often that label is wrong, that no
sign of AI is no proof, why a detector cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sdk.environment import SettingsError
from sdk.errors import APIError, PinclipError, ScanFailed, ScanTimeout
from sdk.wire import Lookup, OperatingPoint, Scan, Slice, Verdict

from .exits import EXIT_OF_VERDICT, Exit, exit_of

WORDS = {
    Verdict.LIKELY_AI: "Likely AI",
    Verdict.DECLARED_AI: "Declared AI",
    Verdict.INCONCLUSIVE: "Can't tell",
    Verdict.NO_SIGN_OF_AI: "No sign of AI",
}
"""The verdicts as people read them, gravest first."""

NO_PROOF = "which does not prove that it is real"

_MADE_BY_PEOPLE: dict[str, str] = {
    Slice.PHOTO: "real photos",
    Slice.ILLUSTRATION: "illustrations by people",
    Slice.CGI: "computer graphics made without AI",
    Slice.SCREENSHOT: "screenshots without AI",
}


class Outcome(NamedTuple):
    """What came of one input: a scan, or an error."""

    name: str
    result: Scan | Exception

    @property
    def exit(self) -> Exit:
        """The exit status if this were the only input."""
        if isinstance(self.result, Scan):
            return EXIT_OF_VERDICT[self.result.verdict or Verdict.INCONCLUSIVE]
        return exit_of(self.result)


def line(outcome: Outcome, *, prog: str = "pinclip") -> str:
    """Return the one line that tells a person what came of an input."""
    if isinstance(outcome.result, Scan):
        return printable(f"{outcome.name}: {finding(outcome.result)}")
    return printable(f"{prog}: {outcome.name}: {sentence(outcome.result)}")


def json_line(outcome: Outcome) -> str:
    """Return the scan as the server gave it, or {"input", "error": {code, message, hint}}."""
    result = outcome.result
    if isinstance(result, ScanFailed):
        result = result.scan
    if isinstance(result, Scan):
        return msgspec.json.encode(result).decode()
    return encoded({"input": printable(outcome.name), "error": error_facts(result)})


def encoded(value: object) -> str:
    """Return a value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def error_facts(error: Exception) -> dict[str, Any]:
    """Return what a program should know of an error: code, message, hint, and the scan if any."""
    told: dict[str, Any] = {"code": "file_unreadable", "message": sentence(error), "hint": ""}
    if isinstance(error, PinclipError):
        # Names of files may hold bytes that are no letters, which JSON cannot.
        message = printable(error.message)
        told = {"code": error.code, "message": message, "hint": printable(error.hint)}
    if isinstance(error, ScanFailed):
        told["scan_id"] = error.scan.id
    if isinstance(error, ScanTimeout | APIError) and error.scan_id:
        told["scan_id"] = error.scan_id
    return told


def finding(scan: Scan) -> str:
    """Return what was found, and what a reader of it should know, in one line."""
    return "; ".join([verdict_words(scan), *remarks(scan)])


def known(lookup: Lookup) -> str:
    """Return what is known of an image's bytes, in one line; `lookup.verdict` is not None."""
    verdict = lookup.verdict or Verdict.INCONCLUSIVE
    parts = [WORDS[verdict]]
    if lookup.probability is not None:
        parts[0] += f", probability {lookup.probability:.2f}"
    if verdict is Verdict.LIKELY_AI:
        parts += false_alarms(lookup.operating_point)
    elif verdict is Verdict.NO_SIGN_OF_AI:
        parts.append(NO_PROOF)
    if lookup.judged_at:
        parts.append(f"judged {lookup.judged_at[:10]}")
    return "; ".join(parts)


def verdict_words(scan: Scan) -> str:
    """Return the verdict with its number: "Likely AI, probability 0.91"."""
    words = WORDS[scan.verdict or Verdict.INCONCLUSIVE]
    if scan.probability is not None:
        return f"{words}, probability {scan.probability:.2f}"
    return words if scan.score is None else f"{words}, score {scan.score:.2f} (not calibrated)"


def remarks(scan: Scan) -> Iterator[str]:
    """Yield what a reader of the verdict should know, each a phrase."""
    if scan.verdict is Verdict.LIKELY_AI:
        yield from false_alarms(scan.operating_point)
    elif scan.verdict is Verdict.NO_SIGN_OF_AI:
        yield NO_PROOF
    elif scan.verdict is Verdict.INCONCLUSIVE:
        yield from (reason.text.rstrip(".") for reason in scan.reasons)
    elif scan.verdict is Verdict.DECLARED_AI and scan.declaration:
        yield f"its {scan.declaration.kind} says so ({scan.declaration.trust})"
    if scan.warnings:
        yield f"warnings: {', '.join(word.replace('_', ' ') for word in scan.warnings)}"


def false_alarms(point: OperatingPoint | None) -> Iterator[str]:
    """Yield how often images made by people get this label, if that was measured."""
    if point is None or point.expected_false_alarm_rate is None or point.n < 1:
        return
    rate = rate_in_words(point.expected_false_alarm_rate, point.n)
    people = _MADE_BY_PEOPLE.get(point.slice, "real images")
    yield f"{rate} {people} like this get this label (n={point.n})"


def rate_in_words(rate: float, n: int) -> str:
    """Say a rate measured on `n` images as people count: "about 3 in 100".

    Below 3/n nothing was measured: no rate below that can be told from none.
    """
    floor = 3.0 / n
    shown = max(rate, floor)
    whole = next((size for size in (100, 1000, 10_000) if shown * size >= 1), 100_000)
    about = "about" if rate >= floor else "at most"
    return f"{about} {shown * whole:.0f} in {whole}"


def printable(text: str) -> str:
    """Return `text` without anything that could steer a terminal or break a line."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def sentence(error: Exception) -> str:
    """Return what happened and what to do, for a person."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}. Name a file that can be read, or an http(s) URL."
    if isinstance(error, SettingsError):
        return " ".join(error.faults)
    return str(error)
