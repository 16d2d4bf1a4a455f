"""What the commands that ask a server share: options, the client they open, how they fail.

    argv --options--> Namespace --opened--> Client --the command--> Exit
                                                        \\-- an error --attempt--> one sentence

stdout is data, stderr is talk. An error of the SDK is a sentence and a status, never a traceback.
"""

from __future__ import annotations

import argparse
import codecs
import io
import sys
from collections.abc import Callable, Mapping

from sdk._client import Client
from sdk.environment import SettingsError
from sdk.errors import PinclipError
from sdk.wire import PointName, Priority

from .exits import ENVIRONMENT, Exit, exit_of, table
from .words import printable, sentence

WAIT_LIMIT_SECONDS = 86_400


def attempt(act: Callable[[], Exit], *, prog: str = "pinclip") -> int:
    """Do the command's work and return its status; an error of the SDK is told in a sentence."""
    _let_all_letters_out()
    try:
        return act()
    except SettingsError as error:
        return refuse(*error.faults, exit=Exit.AUTH, prog=prog)
    except BrokenPipeError:
        raise  # the reader of our output has gone, which `pinclip` itself answers
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return refuse(f"{what}. Name a file that can be used.", exit=Exit.USAGE, prog=prog)
    except PinclipError as error:
        return refuse(sentence(error), exit=exit_of(error), prog=prog)


def _let_all_letters_out() -> None:
    """Have stdout write \\uXXXX where its encoding is not UTF-8: no letter may end a command.

    That is JSON as well, and JSON in another encoding would be none.
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and codecs.lookup(out.encoding).name != "utf-8":
        codecs.register_error("pinclip.json", _as_json)
        out.reconfigure(encoding="ascii", errors="pinclip.json")


def _as_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    import json  # takes 10 ms, which hardly any terminal makes us spend

    letters = error.object[error.start : error.end]
    return json.dumps(letters)[1:-1], error.end


def refuse(*sentences: str, exit: Exit, prog: str = "pinclip") -> int:
    """Say on stderr why the command cannot go on, and return `exit`."""
    sys.stderr.writelines(f"{prog}: {printable(told)}\n" for told in sentences)
    return exit


def opened(options: argparse.Namespace, *, max_retries: int = 2) -> Client:
    """Return a client of the server that the options and the environment name.

    Raises SettingsError.
    """
    point = getattr(options, "operating_point", PointName.BALANCED)
    return Client(base_url=options.base_url, operating_point=point, max_retries=max_retries)


def parser(
    name: str, description: str, meanings: Mapping[Exit, str], *notes: str
) -> argparse.ArgumentParser:
    """Return the parser of `pinclip NAME`, whose help ends with its exit statuses."""
    return argparse.ArgumentParser(
        prog=f"pinclip {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=table(meanings, *notes),
    )


def asking(
    name: str, description: str, meanings: Mapping[Exit, str], *notes: str
) -> argparse.ArgumentParser:
    """Return the parser of a command that asks a server: --base-url, --json."""
    made = parser(name, description, meanings, *notes, ENVIRONMENT)
    made.add_argument(
        "--base-url", metavar="URL", help="the server, if not the one of PINCLIP_BASE_URL"
    )
    return made


def add_point(to: argparse.ArgumentParser) -> None:
    """Add --operating-point."""
    to.add_argument(
        "--operating-point",
        choices=[str(name) for name in PointName],
        default=str(PointName.BALANCED),
        help="how many real images may be flagged (default: %(default)s)",
    )


def add_priority(to: argparse.ArgumentParser, default: Priority = Priority.INTERACTIVE) -> None:
    """Add --priority."""
    to.add_argument(
        "--priority",
        choices=[str(name) for name in Priority],
        default=str(default),
        help="bulk: let the scans of people go first (default: %(default)s)",
    )


def add_wait(to: argparse.ArgumentParser, default: float) -> None:
    """Add --wait."""
    to.add_argument(
        "--wait",
        type=seconds,
        default=default,
        metavar="N",
        help="seconds to wait for each verdict (default: %(default)g)",
    )


def seconds(text: str) -> float:
    """Return the seconds that an argument names; raises argparse.ArgumentTypeError."""
    try:
        count = float(text)
    except ValueError:
        count = -1.0
    if not 0 <= count <= WAIT_LIMIT_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {WAIT_LIMIT_SECONDS}"
        )
    return count


def is_url(name: str) -> bool:
    """Return whether an input is an address to fetch, and not a file."""
    return name.lower().startswith(("http://", "https://"))
