"""The `pinclip` command: finds the command that was named and hands it the rest.

    pinclip NAME ARGS...  --find-->  entry point NAME of pinclip.commands
                          --load-->  function of a room  --(ARGS)-->  exit status

Imports no room itself: each command is reached by name, so that one needs only what it uses. A
command whose extra is missing says which to install. Standard library only.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    entry_points,
)
from typing import NamedTuple

GROUP = "pinclip.commands"
ROOMS = ("pinclip", "sdk", "server", "worker")

USAGE = 2
CONFIG = 3
INTERRUPTED = 130
PIPE_CLOSED = 141


class Known(NamedTuple):
    """A command of pinclip itself: what it does, and the extra it needs, if any."""

    summary: str
    extra: str = ""


KNOWN = {
    "check": Known("ask a pinclip server about images, by URL or file"),
    "submit": Known("hand images in without waiting, and print the scans' ids"),
    "wait": Known("wait for scans that were handed in"),
    "lookup": Known("ask what is known of an image, without sending it"),
    "batch": Known("check a CSV or list of images, and go on where it was stopped"),
    "appeal": Known("say that a verdict is wrong"),
    "webhook": Known("verify a delivery by hand"),
    "bot": Known("run a moderation bot; see, steer and undo what it does"),
    "doctor": Known("say in plain words what works and what does not"),
    "mcp": Known("let a language model check images (MCP server on stdio)", "mcp"),
    "completion": Known("print the script by which a shell completes commands", "cli"),
    "predict": Known("score files and folders on this machine, without a server", "worker"),
    "bulk": Known("score many images through Ray Data, and go on where it was stopped", "bulk"),
    "up": Known("run the whole system: Redis, API and worker", "server,worker"),
    "serve": Known("run the HTTP API alone", "server"),
    "work": Known("run one scan worker alone", "worker"),
    "keys": Known("make, list, rotate and revoke API keys", "server"),
    "audit": Known("read the audit log, and check that it is whole", "server"),
    "backup": Known("copy the database to a file while it is in use", "server"),
    "restore": Known("put a backup in the place of the database", "server"),
    "train": Known("train a detector from labelled images, by a recipe", "train"),
    "evaluate": Known("measure a detector: tables, curves, worst mistakes", "train"),
    "ablate": Known("ask what of the method is worth having", "train"),
    "package": Known("make weights that serve of a training run", "train"),
    "gate": Known("refuse weights that are worse than those in use", "train"),
    "explain": Known("show which parts of a picture the score rests on", "worker"),
    "export": Known("write the model as ONNX", "onnx"),
    "data": Known("make a set of labelled images, and look at it", "train"),
}

EXTRAS = {"torch": "torch", "torchvision": "torch", "open_clip": "torch", "asyncpg": "postgres"}
"""Modules that need another extra than the one of the command that wants them."""

HELP = """\
usage: pinclip COMMAND [ARGUMENT ...]
       pinclip --help | --version

Says when an image is likely made by AI, how sure it is, and how often it is wrong.

commands:
{commands}

`pinclip COMMAND --help` tells the arguments and exit statuses of one. For all: 2 stands for
misuse, 3 for a setting or an extra that is missing, 130 for Ctrl-C, 1 for a crash alone.
"""

Command = Callable[[list[str]], int]


class Refused(Exception):
    """The command cannot be run: a sentence for people, and the exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names and return its exit status; sys.argv by default."""
    try:
        _open_what_is_closed()
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where a closed pipe is no crash
        return status
    except Refused as refused:
        sys.stderr.write(f"pinclip: {refused}\n")
        return refused.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _forget_stdout()
        sys.stderr.write("pinclip: no space is left where the output goes. Make room there.\n")
        return USAGE


def find(name: str) -> EntryPoint:
    """Return the entry point of a command: pinclip's own first, then those of other packages.

    Raises Refused.
    """
    if name not in KNOWN:
        foreign = _foreign()
        if name not in foreign:
            raise Refused(_unknown(name, [*KNOWN, *foreign]), USAGE)
        return foreign[name]
    own = _installed().entry_points.select(group=GROUP, name=name)
    if not own:
        raise Refused(f"this installation lacks `pinclip {name}`: install pinclip again.", CONFIG)
    return next(iter(own))


def _run(argv: list[str]) -> int:
    if not argv:
        sys.stderr.write(_help())
        return USAGE
    name, *rest = argv
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if name in ("-V", "--version"):
        sys.stdout.write(f"pinclip {_installed().version}\n")
        return 0
    return _dispatch(name, rest)


def _open_what_is_closed() -> None:
    """Give a program that was started without stdout or stderr a place to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for good


def _dispatch(name: str, rest: list[str]) -> int:
    entry = find(name)
    try:
        command: Command = entry.load()
        return command(rest)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if name not in KNOWN or missing in ("", *ROOMS):
            raise  # not a missing extra but a fault of the program
        raise Refused(_install(name, missing), CONFIG) from None


def _installed() -> Distribution:
    try:
        return distribution("pinclip")
    except PackageNotFoundError:
        raise Refused("pinclip is not installed here: run `pip install .` first.", CONFIG) from None


def _unknown(name: str, names: list[str]) -> str:
    from difflib import get_close_matches  # 5 ms, for misspellings only

    nearest = get_close_matches(name, names, n=1)
    meant = f" Did you mean `pinclip {nearest[0]}`?" if nearest else ""
    return f"{name!r} is not a command.{meant} `pinclip --help` lists them."


def _install(name: str, missing: str) -> str:
    extra = EXTRAS.get(missing, KNOWN[name].extra)
    package = f"'pinclip[{extra}]'" if extra else "--force-reinstall pinclip"
    return f"`pinclip {name}` needs {missing}, which is not installed: pip install {package}"


def _help() -> str:
    rows = {name: known.summary for name, known in KNOWN.items()}
    for name, entry in _foreign().items():
        rows[name] = f"from {entry.dist.name}" if entry.dist else f"from {entry.module}"
    width = max(len(name) for name in rows) + 2
    commands = "\n".join(f"  {name:<{width}}{summary}" for name, summary in rows.items())
    return HELP.format(commands=commands)


def _foreign() -> dict[str, EntryPoint]:
    """Return the commands that other packages add; none may take a name of pinclip's."""
    found = entry_points(group=GROUP)
    return {entry.name: entry for entry in found if entry.name not in KNOWN}


def _forget_stdout() -> None:
    """Let nothing more be written, so that Python's own flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
