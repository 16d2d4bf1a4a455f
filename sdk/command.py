"""`pinclip check`: asks a server about images and says what it found, a line an image.

    X... --checked--> Outcome, Outcome, ... --line | json--> stdout   (errors: stderr)
                          |
                          +--exit_code--> one number, the table in `pinclip check --help`

stdout is data and holds one line for each image that has a verdict, or with --json one object
for each input, in order. 1 is left to crashes: a traceback is never a verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from ._client import Client
from .environment import SettingsError
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    AuthenticationError,
    InputError,
    InternalServerError,
    PermissionDeniedError,
    PinclipError,
    RateLimitError,
    ScanFailed,
    ScanTimeout,
)
from .wire import PointName, Priority, Scan, Slice, Verdict

WAIT_LIMIT_SECONDS = 86_400


class Exit(IntEnum):
    """What the exit status says."""

    NO_SIGN_OF_AI = 0
    USAGE = 2
    AUTH = 3
    SCAN_FAILED = 4
    SERVER = 5
    TIMEOUT = 6
    PARTIAL = 7
    LIKELY_AI = 10
    DECLARED_AI = 11
    INCONCLUSIVE = 12


MEANINGS = {
    Exit.NO_SIGN_OF_AI: "no sign of AI in any image",
    Exit.USAGE: "the arguments, or the only files named, cannot be used",
    Exit.AUTH: "the settings are wrong, or the server refuses the key",
    Exit.SCAN_FAILED: "the image could not be fetched or read, or was refused",
    Exit.SERVER: "the server cannot be reached, is busy or broken",
    Exit.TIMEOUT: "no verdict within --wait",
    Exit.PARTIAL: "some of several inputs have no verdict",
    Exit.LIKELY_AI: "likely AI",
    Exit.DECLARED_AI: "the file itself declares AI",
    Exit.INCONCLUSIVE: "can't tell",
}

WORDS = {
    Verdict.LIKELY_AI: "Likely AI",
    Verdict.DECLARED_AI: "Declared AI",
    Verdict.INCONCLUSIVE: "Can't tell",
    Verdict.NO_SIGN_OF_AI: "No sign of AI",
}
"""The verdicts as people read them, gravest first."""

_VERDICT_EXITS = {
    Verdict.LIKELY_AI: Exit.LIKELY_AI,
    Verdict.DECLARED_AI: Exit.DECLARED_AI,
    Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
    Verdict.NO_SIGN_OF_AI: Exit.NO_SIGN_OF_AI,
}

_HOPELESS = (APIConnectionError, AuthenticationError, PermissionDeniedError)
"""What the next input would meet as well."""

_MADE_BY_PEOPLE: dict[str, str] = {
    Slice.PHOTO: "real photos",
    Slice.ILLUSTRATION: "illustrations by people",
    Slice.CGI: "computer graphics made without AI",
    Slice.SCREENSHOT: "screenshots without AI",
}


class Outcome(NamedTuple):
    """What came of one input: a scan with a verdict, or an error."""

    name: str
    result: Scan | Exception

    @property
    def exit(self) -> Exit:
        """The exit status if this were the only input."""
        if isinstance(self.result, Scan):
            return _VERDICT_EXITS[self.result.verdict or Verdict.INCONCLUSIVE]
        return _exit_of(self.result)


def check(argv: Sequence[str]) -> int:
    """Check the images that `argv` names, print what was found, return the exit status."""
    options = _parser().parse_args(argv)
    try:
        client = Client(base_url=options.base_url, operating_point=options.operating_point)
    except SettingsError as error:
        sys.stderr.writelines(f"pinclip check: {fault}\n" for fault in error.faults)
        return Exit.AUTH
    outcomes = []
    with client:
        for outcome in checked(
            client, options.images, wait=options.wait, priority=options.priority
        ):
            outcomes.append(outcome)
            _print(outcome, as_json=options.json)
    return exit_code(outcomes)


def checked(
    client: Client, names: Sequence[str], *, wait: float, priority: str = Priority.INTERACTIVE
) -> Iterator[Outcome]:
    """Yield what came of each input, in order.

    Once the server is unreachable or refuses the key, the rest has that error without being sent.
    """
    ended: Exception | None = None
    for name in names:
        result = _asked(client, name, wait=wait, priority=priority) if ended is None else ended
        if isinstance(result, _HOPELESS):
            ended = result
        yield Outcome(name, result)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return the status of all: the gravest verdict, the one error all share, or PARTIAL."""
    exits = {outcome.exit for outcome in outcomes}
    if len(exits) == 1:
        return exits.pop()
    if all(isinstance(outcome.result, Scan) for outcome in outcomes):
        return next(
            _VERDICT_EXITS[verdict] for verdict in WORDS if _VERDICT_EXITS[verdict] in exits
        )
    return Exit.PARTIAL


def line(outcome: Outcome) -> str:
    """Return the one line that tells a person what came of an input."""
    result = outcome.result
    if isinstance(result, Scan):
        parts = [WORDS[result.verdict or Verdict.INCONCLUSIVE] + _number(result), *_remarks(result)]
        return printable(f"{outcome.name}: {'; '.join(parts)}")
    return printable(f"pinclip check: {outcome.name}: {_sentence(result)}")


def json_line(outcome: Outcome) -> str:
    """Return the scan as the server gave it, or {"input", "error": {code, message, hint}}."""
    result = outcome.result
    if isinstance(result, ScanFailed):
        result = result.scan
    if isinstance(result, Scan):
        return msgspec.json.encode(result).decode()
    told = {"code": "file_unreadable", "message": _sentence(result), "hint": ""}
    if isinstance(result, PinclipError):
        told = {"code": result.code, "message": result.message, "hint": result.hint}
    if isinstance(result, ScanTimeout | APIError) and result.scan_id:
        told["scan_id"] = result.scan_id
    return msgspec.json.encode({"input": printable(outcome.name), "error": told}).decode()


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


def _parser() -> argparse.ArgumentParser:
    statuses = "\n".join(f"  {code:<4d}{meaning}" for code, meaning in MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="pinclip check",
        description="Ask a pinclip server about images: one line, one verdict each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=(
            f"exit status:\n{statuses}\n"
            "Of several images with different verdicts the status is that of the gravest:\n"
            "likely AI, declared AI, can't tell, no sign of AI.\n\n"
            "PINCLIP_BASE_URL and PINCLIP_API_KEY name the server and the key."
        ),
    )
    parser.add_argument("images", nargs="+", metavar="X", help="an http(s) URL, or a file")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an input: the scan, or an error"
    )
    parser.add_argument(
        "--operating-point",
        choices=[str(name) for name in PointName],
        default=str(PointName.BALANCED),
        help="how many real images may be flagged (default: %(default)s)",
    )
    parser.add_argument(
        "--priority",
        choices=[str(name) for name in Priority],
        default=str(Priority.INTERACTIVE),
        help="bulk: let the scans of people go first (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=20.0,
        metavar="N",
        help="seconds to wait for each verdict (default: %(default)g)",
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="the server, if not the one of PINCLIP_BASE_URL"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= WAIT_LIMIT_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {WAIT_LIMIT_SECONDS}"
        )
    return seconds


def _asked(client: Client, name: str, *, wait: float, priority: str) -> Scan | Exception:
    is_url = name.lower().startswith(("http://", "https://"))
    try:
        return client.check(name if is_url else Path(name), wait=wait, priority=priority)
    except (PinclipError, OSError) as error:
        return error


def _exit_of(error: Exception) -> Exit:
    match error:
        case InputError() | OSError():
            return Exit.USAGE
        case AuthenticationError() | PermissionDeniedError():
            return Exit.AUTH
        case ScanTimeout():
            return Exit.TIMEOUT
        case RateLimitError() | InternalServerError():
            return Exit.SERVER
        case APIConnectionError() | APIResponseValidationError():
            return Exit.SERVER
        case APIStatusError(problem=None):
            return Exit.SERVER
        case _:
            return Exit.SCAN_FAILED


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json_line(outcome) + "\n")
    if isinstance(outcome.result, Exception):
        sys.stderr.write(line(outcome) + "\n")
    elif not as_json:
        sys.stdout.write(line(outcome) + "\n")
    sys.stdout.flush()


def _number(scan: Scan) -> str:
    if scan.probability is not None:
        return f", probability {scan.probability:.2f}"
    return "" if scan.score is None else f", score {scan.score:.2f} (not calibrated)"


def _remarks(scan: Scan) -> Iterator[str]:
    """Yield what a reader of the verdict should know, each a phrase."""
    if scan.verdict is Verdict.LIKELY_AI:
        yield from _false_alarms(scan)
    elif scan.verdict is Verdict.NO_SIGN_OF_AI:
        yield "which does not prove that it is real"
    elif scan.verdict is Verdict.INCONCLUSIVE:
        yield from (reason.text.rstrip(".") for reason in scan.reasons)
    elif scan.verdict is Verdict.DECLARED_AI and scan.declaration:
        yield f"its {scan.declaration.kind} says so ({scan.declaration.trust})"
    if scan.warnings:
        yield f"warnings: {', '.join(word.replace('_', ' ') for word in scan.warnings)}"


def _false_alarms(scan: Scan) -> Iterator[str]:
    point = scan.operating_point
    if point is None or point.expected_false_alarm_rate is None or point.n < 1:
        return
    rate = rate_in_words(point.expected_false_alarm_rate, point.n)
    people = _MADE_BY_PEOPLE.get(point.slice, "real images")
    yield f"{rate} {people} like this get this label (n={point.n})"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}. Name a file that can be read, or an http(s) URL."
    return str(error)
