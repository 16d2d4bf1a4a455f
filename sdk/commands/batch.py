"""`pinclip batch IN -o OUT`: checks every image of a list, and goes on where it was stopped.

    IN --rows.read--> Row --those that OUT lacks--> check_many --> OUT, a line a row
                      Broken -----------------------------------> OUT, an error line

stdout stays empty: the results are OUT. Run it again and it asks for what has no verdict yet.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sdk._client import Client
from sdk.errors import APIConnectionError, AuthenticationError, PermissionDeniedError
from sdk.wire import Priority, Scan, Verdict

from .exits import MEANINGS, Exit, exit_of, together
from .results import Results
from .rows import Broken, Row, read
from .shell import add_point, add_wait, asking, attempt, opened
from .words import WORDS, error_facts

RETRIES = 6
"""Tries after trouble, about a minute of them: a server that is started again ends no batch."""
LOST = 3
"""So many images in a row without any answer mean that the server has gone."""
WAIT_SECONDS = 120
CONCURRENCY_LIMIT = 64

STATUSES = {
    Exit.DONE: "every row of IN has a verdict in OUT",
    Exit.USAGE: "the arguments, IN or OUT cannot be used",
    Exit.AUTH: MEANINGS[Exit.AUTH],
    Exit.SCAN_FAILED: "no row has a verdict: none could be fetched or read, or all are broken",
    Exit.SERVER: MEANINGS[Exit.SERVER],
    Exit.TIMEOUT: "no row has a verdict within --wait",
    Exit.PARTIAL: "some rows have no verdict: run the same command again",
}

_LOST = (APIConnectionError,)
_REFUSED = (AuthenticationError, PermissionDeniedError)


class Tally:
    """How many rows have come to what."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.before = 0
        """Rows that OUT answered already."""
        self.verdicts: Counter[Verdict] = Counter()
        self.errors: Counter[str] = Counter()
        self.exits: set[Exit] = set()
        """The statuses of the errors."""
        self.ended: Exception | None = None
        """Why the rest was not sent, if it was not."""
        self._lost = 0

    def add(self, result: Scan | Exception) -> None:
        """Count what came of a row, and find whether to go on."""
        if isinstance(result, Scan):
            self.verdicts[result.verdict or Verdict.INCONCLUSIVE] += 1
            self._lost = 0
            return
        self._lost = self._lost + 1 if isinstance(result, _LOST) else 0
        self.fail(str(error_facts(result)["code"]), exit_of(result))
        if isinstance(result, _REFUSED) or self._lost >= LOST:
            self.ended = result

    def fail(self, code: str, exit: Exit) -> None:
        """Count a row that has no verdict."""
        self.errors[code] += 1
        self.exits.add(exit)

    @property
    def answered(self) -> int:
        """Rows with a verdict."""
        return self.before + self.verdicts.total()

    @property
    def exit(self) -> Exit:
        """The exit status of the run."""
        if self.ended is None and not self.exits:
            return Exit.DONE
        if self.answered:
            return Exit.PARTIAL
        return together(self.exits) if self.ended is None else exit_of(self.ended)

    def __str__(self) -> str:
        found = [f"{count} {WORDS[verdict]}" for verdict, count in self.verdicts.most_common()]
        failed = [f"{count} {code}" for code, count in self.errors.most_common()]
        text = f"{self.answered} of {self.total} rows have a verdict"
        new = f" (new: {', '.join(found)})" if found else ""
        return f"{text}{new}" + (f"; without: {', '.join(failed)}" if failed else "")


def main(argv: Sequence[str]) -> int:
    """Check the rows of IN that OUT lacks; returns the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def run(
    rows: Iterable[Row | Broken],
    results: Results,
    client: Client,
    *,
    tally: Tally,
    concurrency: int = 8,
    wait: float = WAIT_SECONDS,
    seen: Callable[[], None] = lambda: None,
) -> None:
    """Have every row answered that is not yet, and count it; `seen` is called for each row.

    Stops, and says in `tally.ended` why, once the key is refused or the server has gone.
    """
    asked: dict[int, Row] = {}
    """What is under way, by its place among all that were asked."""
    images = _images(rows, results, tally, asked, seen)
    many = client.check_many(images, concurrency=concurrency, wait=wait, priority=Priority.BULK)
    with closing(many):
        for done in many:
            row, result = asked.pop(done.index), done.result
            tally.add(result)
            results.add(row.id, row.source, _told(row, result))
            seen()
            if tally.ended:
                return


def _images(
    rows: Iterable[Row | Broken],
    results: Results,
    tally: Tally,
    asked: dict[int, Row],
    seen: Callable[[], None],
) -> Iterator[str | Path]:
    """Yield the image of each row that is to be asked, and answer the others."""
    met: dict[str, str] = {}
    count = itertools.count()
    for row in rows:
        if isinstance(row, Broken) or met.get(row.id, row.source) != row.source:
            _refuse(row, results, tally)
        elif row.id in met:
            tally.total -= 1  # a row that stands twice: one line serves both
        elif results.answered.get(row.id) == row.source:
            met[row.id] = row.source
            tally.before += 1
        else:
            met[row.id] = row.source
            asked[next(count)] = row
            yield row.image
            continue
        seen()


def _refuse(row: Row | Broken, results: Results, tally: Tally) -> None:
    tally.fail("row_unusable", Exit.SCAN_FAILED)
    if isinstance(row, Row):
        why = f"Another row has the id {row.id} too, and another image."
        row = Broken(row.line, f"line {row.line}", why)
    hint = "Correct the row and run the same command again."
    error = {"code": "row_unusable", "message": row.why, "hint": hint}
    results.add(row.id, "", {"line": row.line, "error": error})


def _told(row: Row, result: Scan | Exception) -> dict[str, object]:
    if isinstance(result, Scan):
        return {"scan": result}
    return {"line": row.line, "error": error_facts(result)}


def _run(options: argparse.Namespace) -> Exit:
    source = Path(options.source)
    tally = Tally(sum(1 for _ in read(source)))
    with (
        opened(options, max_retries=RETRIES) as client,
        Results(Path(options.out)) as results,
        _progress(tally) as seen,
    ):
        run(
            read(source),
            results,
            client,
            tally=tally,
            concurrency=options.concurrency,
            wait=options.wait,
            seen=seen,
        )
    sys.stderr.write(f"pinclip: {tally}\n")
    if tally.ended:
        sys.stderr.write(f"pinclip: the rest was not sent. {tally.ended}\n")
    return tally.exit


@contextmanager
def _progress(tally: Tally) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr if that is a terminal and rich is here; yields what moves it on."""
    try:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress
    except ModuleNotFoundError:
        yield lambda: None
        return
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("rows", total=tally.total)
        yield lambda: bar.advance(task)


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "batch",
        "Check every image of a list, and write a JSON object for each into OUT. Run the same\n"
        "command again, and it asks only for the rows that have no verdict in OUT.",
        STATUSES,
        "A path in IN begins at IN's own folder. Lines of OUT are in the order of answers.\n\n",
    )
    parser.add_argument(
        "source",
        metavar="IN",
        help="a .csv with a column url or path, and perhaps id; or a .txt with one of them a line",
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="the .jsonl to write")
    parser.add_argument(
        "--concurrency",
        type=int,
        choices=range(1, CONCURRENCY_LIMIT + 1),
        default=8,
        metavar="N",
        help=f"images at a time, 1 to {CONCURRENCY_LIMIT} (default: %(default)s)",
    )
    add_point(parser)
    add_wait(parser, WAIT_SECONDS)
    return parser
