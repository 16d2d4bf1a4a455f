"""`pinclip completion SHELL`: prints the script by which a shell completes commands and options.

    entry points --load--> commands --stopped at its parser--> ArgumentParser --shtab--> script

The options of a command are those of its own parser, taken from it when it begins to read its
arguments; so no list of them is kept twice. A command whose extra is missing is completed by name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

from .exits import Exit
from .shell import parser

GROUP = "pinclip.commands"
OWN = "pinclip"
SHELLS = ("bash", "zsh", "fish")
HOW = """\
  bash  pinclip completion bash > ~/.local/share/bash-completion/completions/pinclip
  zsh   pinclip completion zsh > ~/.zfunc/_pinclip        (with ~/.zfunc in fpath)
  fish  pinclip completion fish > ~/.config/fish/completions/pinclip.fish
"""
Command = Callable[[list[str]], int]

_FILES = frozenset(
    {"X", "PATH", "IN", "FILE", "BODY", "OUT", "IMAGE", "MAP", "NEW", "OLD", "RECIPE.toml"}
)
_FOLDERS = frozenset({"DIR", "FOLDER", "RUN", "SET"})
"""Metavars of arguments that may be files, or folders."""


class _Reached(Exception):
    """A command has begun to read its arguments with this parser."""

    def __init__(self, found: argparse.ArgumentParser) -> None:
        super().__init__("a parser was reached")
        self.found = found


def main(argv: Sequence[str]) -> int:
    """Print the completion script of a shell; returns the exit status."""
    options = _parser().parse_args(argv)
    sys.stdout.write(script(options.shell))
    return Exit.DONE


def script(shell: str, commands: Mapping[str, Command | None] | None = None) -> str:
    """Return the script by which `shell` completes the commands: those that are installed here."""
    import shtab

    return str(shtab.complete(whole(installed() if commands is None else commands), shell))


def installed() -> dict[str, Command | None]:
    """Return every command by name; None for one that can be named but not looked into."""
    return {entry.name: loaded(entry) for entry in entry_points(group=GROUP)}


def whole(commands: Mapping[str, Command | None]) -> argparse.ArgumentParser:
    """Return one parser of all the commands, each with its own options."""
    root = argparse.ArgumentParser(prog="pinclip")
    root.add_argument("-V", "--version", action="store_true", help="print the version")
    below = root.add_subparsers(metavar="COMMAND")
    for name, command in sorted(commands.items()):
        own = None if command is None else parser_of(command)
        summary = (own.description or "").partition(".")[0].replace("\n", " ") if own else ""
        # `parents` takes over the arguments as they are, verbs below them included.
        parents = [_marked(own)] if own else []
        below.add_parser(name, help=summary, parents=parents, add_help=False)
    return root


def parser_of(command: Command) -> argparse.ArgumentParser | None:
    """Return the parser that a command reads its arguments with; it does nothing else."""
    try:
        with _stopped_at_parsing():
            command([])
    except _Reached as reached:
        return reached.found
    return None


def loaded(entry: EntryPoint) -> Command | None:
    """Return the command of an entry point, or None if it is not ours or its extra is missing."""
    if entry.dist is None or entry.dist.name != OWN:
        return None  # what another package's command does when it is called is not ours to try
    try:
        command: Command = entry.load()
    except ImportError:
        return None
    return command


@contextmanager
def _stopped_at_parsing() -> Iterator[None]:
    """Let whatever parses arguments raise _Reached instead, inside of this block."""

    def stop(self: argparse.ArgumentParser, *_args: Any, **_named: Any) -> NoReturn:
        raise _Reached(self)

    real: Callable[..., Any] = argparse.ArgumentParser.parse_known_args
    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[method-assign]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_known_args = real  # type: ignore[method-assign]


def _marked(own: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser with its file arguments told apart, verbs below it included."""
    import shtab

    for action in own._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _marked(below)
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab's own way
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return own


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "completion",
        "Print the script by which a shell completes pinclip's commands and options.",
        {Exit.DONE: "the script is printed", Exit.USAGE: "no such shell"},
        HOW,
    )
    made.add_argument("shell", choices=SHELLS, help="the shell to print it for")
    return made
