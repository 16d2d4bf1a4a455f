"""`pinclip appeal`: says that a verdict is wrong, and why; a person decides about it.

SCAN --reason TEXT --appeals.create--> Appeal --> its id and its state
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .exits import MEANINGS, Exit
from .shell import asking, attempt, opened
from .words import encoded, printable

STATUSES = {
    Exit.DONE: "the appeal is lodged",
    Exit.USAGE: "the arguments cannot be used",
    Exit.AUTH: MEANINGS[Exit.AUTH],
    Exit.SCAN_FAILED: "there is no such scan, it has no verdict, or an appeal is open already",
    Exit.SERVER: MEANINGS[Exit.SERVER],
}


def main(argv: Sequence[str]) -> int:
    """Lodge the appeal that `argv` describes, print its id, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def _run(options: argparse.Namespace) -> Exit:
    with opened(options) as client:
        appeal = client.appeals.create(
            options.scan, reason=options.reason, evidence_url=options.evidence
        )
    told = encoded(appeal) if options.json else printable(f"{appeal.id}: {appeal.state}")
    sys.stdout.write(f"{told}\n")
    return Exit.DONE


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "appeal",
        "Say that the verdict of a scan is wrong, and why. A person decides; bytes whose verdict\n"
        "is overturned are never called AI again.",
        STATUSES,
    )
    parser.add_argument("scan", metavar="SCAN", help="the id of the scan")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why the verdict is wrong")
    parser.add_argument("--evidence", metavar="URL", help="where what proves it can be seen")
    parser.add_argument("--json", action="store_true", help="print the appeal as a JSON object")
    return parser
