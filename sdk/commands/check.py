"""`pinclip check`: asks a server about images and says what it found, a line an image.

    X... --checked--> Outcome, Outcome, ... --line | row | json--> stdout   (errors: stderr)
                          |
                          +--exit_code--> one number, the table in `pinclip check --help`

stdout is data and holds one line for each image that has a verdict, or with --json one object
for each input, in order. On a terminal several images are rows of a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdk._client import Client
from sdk.errors import APIConnectionError, AuthenticationError, PermissionDeniedError, PinclipError
from sdk.wire import Priority, Scan

from .exits import GRAVEST, MEANINGS, Exit, together
from .printing import printer
from .shell import add_point, add_priority, add_wait, asking, attempt, is_url, opened
from .words import Outcome

PROG = "pinclip check"
HOPELESS = (APIConnectionError, AuthenticationError, PermissionDeniedError)
"""What the next input would meet as well."""


def main(argv: Sequence[str]) -> int:
    """Check the images that `argv` names, print what was found, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options), prog=PROG)


def checked(
    client: Client, names: Sequence[str], *, wait: float, priority: str = Priority.INTERACTIVE
) -> Iterator[Outcome]:
    """Yield what came of each input, in order.

    Once the server is unreachable or refuses the key, the rest has that error without being sent.
    """
    ended: Exception | None = None
    for name in names:
        result = _asked(client, name, wait=wait, priority=priority) if ended is None else ended
        if isinstance(result, HOPELESS):
            ended = result
        yield Outcome(name, result)


def exit_code(outcomes: Sequence[Outcome]) -> Exit:
    """Return the status of all: the gravest verdict, the one error all share, or PARTIAL."""
    return together(outcome.exit for outcome in outcomes)


def _run(options: argparse.Namespace) -> Exit:
    show = printer(options.images, as_json=options.json, prog=PROG)
    outcomes = []
    with opened(options) as client:
        asked = checked(client, options.images, wait=options.wait, priority=options.priority)
        for outcome in asked:
            outcomes.append(outcome)
            show(outcome)
    return exit_code(outcomes)


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "check",
        "Ask a pinclip server about images: one line, one verdict each.",
        MEANINGS,
        GRAVEST,
    )
    parser.add_argument("images", nargs="+", metavar="X", help="an http(s) URL, or a file")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an input: the scan, or an error"
    )
    add_point(parser)
    add_priority(parser)
    add_wait(parser, 20)
    return parser


def _asked(client: Client, name: str, *, wait: float, priority: str) -> Scan | Exception:
    try:
        return client.check(name if is_url(name) else Path(name), wait=wait, priority=priority)
    except (PinclipError, OSError) as error:
        return error
