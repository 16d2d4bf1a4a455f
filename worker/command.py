"""`pinclip work`: reads the settings and runs one worker. Imports what the worker needs late."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sdk.environment import SettingsError, load, variables

from .settings import WorkerSettings
from .supervisor import SETTINGS_STATUS


def work(argv: Sequence[str]) -> int:
    """One worker has run until it was told to stop; returns the exit status."""
    _parser().parse_args(argv)
    try:
        settings = load(WorkerSettings)
    except SettingsError as error:
        for fault in error.faults:
            sys.stderr.write(f"pinclip work: {fault}\n")
        return SETTINGS_STATUS
    from .main import run

    return run(settings)


def _parser() -> argparse.ArgumentParser:
    shown = "\n".join(f"  {name:30} {default!s}" for name, _, default in variables(WorkerSettings))
    return argparse.ArgumentParser(
        prog="pinclip work",
        description="Take scans from Redis and score them, until Ctrl-C or SIGTERM.",
        epilog=f"settings, from the environment, with their defaults:\n{shown}\n\n"
        "exit status: 0 stopped when told, 2 misuse, 3 the settings or the detector cannot work",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
