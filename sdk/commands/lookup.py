"""`pinclip lookup`: says what is known of images already, without sending them.

    FILE --sha256--+
    SHA256 --------+--lookup_many--> Lookup, ... --> a line each; the image itself goes nowhere

With --private the server learns five digits of the sha256 and not which image is meant.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import asdict

from sdk._calls import digest
from sdk._client import Client
from sdk.errors import PinclipError
from sdk.wire import Lookup

from .exits import EXIT_OF_VERDICT, GRAVEST, MEANINGS, Exit, exit_of, together
from .shell import add_point, asking, attempt, opened
from .words import encoded, error_facts, known, printable, sentence

STATUSES = {
    **MEANINGS,
    Exit.SCAN_FAILED: "nothing is known of the image",
    Exit.PARTIAL: "nothing is known of some of several images, or they cannot be read",
}
del STATUSES[Exit.TIMEOUT]
NOT_KNOWN = "nothing is known of it; `pinclip check` asks for a verdict"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Found(NamedTuple):
    """One input, and what is known of it; `verdict` is None where that is nothing."""

    name: str
    result: Lookup | OSError | PinclipError

    @property
    def exit(self) -> Exit:
        """The exit status if this were the only input."""
        if isinstance(self.result, Exception):
            return exit_of(self.result)
        verdict = self.result.verdict
        return Exit.SCAN_FAILED if verdict is None else EXIT_OF_VERDICT[verdict]


def main(argv: Sequence[str]) -> int:
    """Look up the images that `argv` names, print what is known, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def looked_up(client: Client, names: Sequence[str], *, private: bool = False) -> list[Found]:
    """Return what is known of each file or sha256, in order, or why that cannot be asked."""
    digests = [_digest(name) for name in names]
    asked = [one for one in digests if isinstance(one, str)]
    answers: Iterator[Lookup | PinclipError]
    try:
        answers = iter(client.lookup_many(asked, private=private))
    except PinclipError as error:
        answers = repeat(error)
    return [
        Found(name, next(answers) if isinstance(one, str) else one)
        for name, one in zip(names, digests, strict=True)
    ]


def _run(options: argparse.Namespace) -> Exit:
    with opened(options) as client:
        found = looked_up(client, options.images, private=options.private)
    for one in found:
        _show(one, as_json=options.json)
    return together(one.exit for one in found)


def _show(found: Found, *, as_json: bool) -> None:
    name, result = found
    if isinstance(result, Exception):
        facts = error_facts(result)
        if isinstance(result, OSError):
            why = f"{result.strerror or result}. Name a file that can be read, or a sha256."
            facts["message"] = why
        else:
            why = sentence(result)
        sys.stderr.write(printable(f"pinclip: {name}: {why}") + "\n")
        told = {"input": printable(name), "error": facts}
    else:
        told = {"input": printable(name), **asdict(result)}
    if as_json:
        sys.stdout.write(encoded(told) + "\n")
    elif not isinstance(result, Exception):
        said = NOT_KNOWN if result.verdict is None else known(result)
        sys.stdout.write(printable(f"{name}: {said}") + "\n")


def _digest(name: str) -> str | OSError:
    if _SHA256.fullmatch(name):
        return name.lower()
    try:
        return digest(Path(name))
    except OSError as error:
        return error


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "lookup",
        "Say what is known of images already. No image is sent, only the sha256 of its bytes.",
        STATUSES,
        GRAVEST,
    )
    parser.add_argument(
        "images", nargs="+", metavar="X", help="a file, or a sha256 as 64 hex digits"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="tell the server five digits of each sha256, so that it does not learn which is meant",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an input; verdict may be null"
    )
    add_point(parser)
    return parser
