"""`pinclip wait`: says what was found in scans that were submitted before, once they have verdicts.

    ID... --waited--> Outcome, Outcome, ... --line | row | json--> stdout   (errors: stderr)

All are waited for together: --wait seconds is the longest that the command takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from sdk._client import Client
from sdk._clock import Clock
from sdk.errors import PinclipError
from sdk.wire import Scan

from .check import HOPELESS, exit_code
from .exits import GRAVEST, MEANINGS, Exit
from .printing import printer
from .shell import asking, attempt, opened, seconds
from .words import Outcome

STATUSES = {
    **MEANINGS,
    Exit.USAGE: "the arguments cannot be used",
    Exit.SCAN_FAILED: "the scan has failed and will have no verdict, or there is none of this id",
    Exit.PARTIAL: "some of several scans have no verdict",
}


def main(argv: Sequence[str]) -> int:
    """Wait for the scans that `argv` names, print what was found, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def waited(
    client: Client, ids: Sequence[str], *, wait: float, clock: Clock | None = None
) -> Iterator[Outcome]:
    """Yield what came of each scan, in order, after `wait` seconds for all at the most.

    Once the server is unreachable or refuses the key, the rest has that error without being asked.
    """
    clock = clock or Clock()
    until = clock.monotonic() + wait
    ended: Exception | None = None
    for scan_id in ids:
        left = max(0.0, until - clock.monotonic())
        result = _asked(client, scan_id, wait=left) if ended is None else ended
        if isinstance(result, HOPELESS):
            ended = result
        yield Outcome(scan_id, result)


def _run(options: argparse.Namespace) -> Exit:
    show = printer(options.ids, as_json=options.json)
    outcomes = []
    with opened(options) as client:
        for outcome in waited(client, options.ids, wait=options.wait):
            outcomes.append(outcome)
            show(outcome)
    return exit_code(outcomes)


def _asked(client: Client, scan_id: str, *, wait: float) -> Scan | Exception:
    try:
        return client.wait(scan_id, timeout=wait)
    except PinclipError as error:
        return error


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "wait",
        "Wait for scans that `pinclip submit` has begun: one line, one verdict each.",
        STATUSES,
        GRAVEST,
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a scan")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a scan: the scan, or an error"
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=60.0,
        metavar="N",
        help="seconds to wait for all of them (default: %(default)g)",
    )
    return parser
