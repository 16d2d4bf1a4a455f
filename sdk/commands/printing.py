"""Prints outcomes as they come: JSON for programs, lines, or a table where a person looks at many.

    --json                                   an object an input, errors included, on stdout
    stdout is a terminal, several inputs     a row an input (needs rich, the extra [cli])
    else                                     a line an image on stdout, errors on stderr

What a pipe gets never depends on whether rich is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sdk.wire import Scan, Verdict

from .words import WORDS, Outcome, json_line, line, printable, remarks, sentence

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Print = Callable[[Outcome], None]

NAME_SHARE = 0.4
"""Largest share of the terminal's width that the names of inputs may take."""
_COLOURS = {
    Verdict.LIKELY_AI: "bold red",
    Verdict.DECLARED_AI: "bold magenta",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NO_SIGN_OF_AI: "green",
}


def printer(names: Sequence[str], *, as_json: bool, prog: str = "pinclip") -> Print:
    """Return what prints each outcome of these inputs, as suits who reads stdout."""
    if as_json:
        return lambda outcome: print_json(outcome, prog=prog)
    if len(names) > 1 and sys.stdout.isatty():
        return _rows(names) or (lambda outcome: print_line(outcome, prog=prog))
    return lambda outcome: print_line(outcome, prog=prog)


def print_json(outcome: Outcome, *, prog: str) -> None:
    """Write the object to stdout, and an error as a sentence to stderr too."""
    sys.stdout.write(json_line(outcome) + "\n")
    if isinstance(outcome.result, Exception):
        sys.stderr.write(line(outcome, prog=prog) + "\n")
    sys.stdout.flush()


def print_line(outcome: Outcome, *, prog: str) -> None:
    """Write what was found to stdout, or the error to stderr."""
    stream = sys.stderr if isinstance(outcome.result, Exception) else sys.stdout
    stream.write(line(outcome, prog=prog) + "\n")
    stream.flush()


def _rows(names: Sequence[str]) -> Print | None:
    """Return what prints a row of a table at a time, or None without rich."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    console = Console(highlight=False)
    widest = max(len(printable(name)) for name in names)
    width = min(widest, int(console.width * NAME_SHARE))
    return lambda outcome: _print_row(console, outcome, width)


def _print_row(console: Console, outcome: Outcome, name_width: int) -> None:
    from rich.table import Table

    # Each row is a table of its own with the same widths, so that it can be shown when it is known.
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=name_width, overflow="fold")
    row.add_column(width=max(map(len, WORDS.values())))
    row.add_column(width=4)
    row.add_column(ratio=1)
    row.expand = True
    row.add_row(*_cells(outcome))
    console.print(row)


def _cells(outcome: Outcome) -> list[RenderableType]:
    from rich.text import Text

    name, result = Text(printable(outcome.name)), outcome.result
    if not isinstance(result, Scan):
        return [name, Text("No verdict", "dim"), Text(), Text(printable(sentence(result)))]
    verdict = result.verdict or Verdict.INCONCLUSIVE
    number = "" if result.probability is None else f"{result.probability:.2f}"
    told = printable("; ".join(remarks(result)))
    return [name, Text(WORDS[verdict], _COLOURS[verdict]), Text(number), Text(told)]
