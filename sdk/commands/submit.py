"""`pinclip submit`: hands images over and prints the ids of their scans, without waiting.

X... --submitted--> Outcome, ... --> an id a line     take them up again: `pinclip wait ID...`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdk._client import Client
from sdk.errors import PinclipError
from sdk.wire import Priority, Scan

from .check import HOPELESS
from .exits import MEANINGS, Exit, exit_of, together
from .printing import print_json, print_line
from .shell import add_point, add_priority, asking, attempt, is_url, opened
from .words import Outcome

STATUSES = {
    Exit.DONE: "the server has taken every image",
    **{exit: MEANINGS[exit] for exit in (Exit.USAGE, Exit.AUTH)},
    Exit.SCAN_FAILED: "the server refuses the image",
    Exit.SERVER: MEANINGS[Exit.SERVER],
    Exit.PARTIAL: "some of several inputs were not taken",
}


def main(argv: Sequence[str]) -> int:
    """Submit the images that `argv` names, print the ids, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def submitted(
    client: Client, names: Sequence[str], *, priority: str = Priority.BULK
) -> Iterator[Outcome]:
    """Yield the scan of each input as the server took it, in order, or why it did not.

    Once the server is unreachable or refuses the key, the rest has that error without being sent.
    """
    ended: Exception | None = None
    for name in names:
        result = _sent(client, name, priority=priority) if ended is None else ended
        if isinstance(result, HOPELESS):
            ended = result
        yield Outcome(name, result)


def _run(options: argparse.Namespace) -> Exit:
    exits = []
    with opened(options) as client:
        for outcome in submitted(client, options.images, priority=options.priority):
            exits.append(_shown(outcome, as_json=options.json))
    return together(exits)


def _shown(outcome: Outcome, *, as_json: bool) -> Exit:
    if as_json:
        print_json(outcome, prog="pinclip")
    elif isinstance(outcome.result, Scan):
        sys.stdout.write(f"{outcome.result.id}\n")
        sys.stdout.flush()
    else:
        print_line(outcome, prog="pinclip")
    return Exit.DONE if isinstance(outcome.result, Scan) else exit_of(outcome.result)


def _sent(client: Client, name: str, *, priority: str) -> Scan | Exception:
    try:
        return client.submit(name if is_url(name) else Path(name), priority=priority)
    except (PinclipError, OSError) as error:
        return error


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "submit",
        "Hand images to a pinclip server and print the id of each scan, without waiting for\n"
        "verdicts: `pinclip wait ID...` has them.",
        STATUSES,
    )
    parser.add_argument("images", nargs="+", metavar="X", help="an http(s) URL, or a file")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an input: the scan, or an error"
    )
    add_point(parser)
    add_priority(parser, Priority.BULK)
    return parser
