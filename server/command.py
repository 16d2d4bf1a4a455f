"""`pinclip serve`: reads the settings and runs one API. Imports what the server needs late."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sdk.environment import SettingsError, load, variables
from worker.supervisor import SETTINGS_STATUS

from .settings import ServerSettings


def serve(argv: Sequence[str]) -> int:
    """The API has been served until it was told to stop; returns the exit status."""
    _parser().parse_args(argv)
    try:
        settings = load(ServerSettings)
    except SettingsError as error:
        for fault in error.faults:
            sys.stderr.write(f"pinclip serve: {fault}\n")
        return SETTINGS_STATUS
    from .process import run

    return run(settings)


def _parser() -> argparse.ArgumentParser:
    shown = "\n".join(f"  {name:30} {default!s}" for name, _, default in variables(ServerSettings))
    return argparse.ArgumentParser(
        prog="pinclip serve",
        description="Serve the HTTP API, until Ctrl-C or SIGTERM.",
        epilog=f"settings, from the environment, with their defaults:\n{shown}\n\n"
        "exit status: 0 stopped when told, 2 misuse, 3 the settings, the port or the database "
        "cannot be\nused as they are, 5 the database server is not there",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
