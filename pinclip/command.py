"""`pinclip train`, `ablate` and `package`: read the arguments, then import what does the work.

    argv --parser--> arguments --runs.fill | ablate.run | package.run--> files and an exit status

Nothing of torch is imported before the arguments are read, so that --help is there at once. Knows
no recipe, set or model.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import arguments

if TYPE_CHECKING:
    from .runs import Tower


def train(argv: Sequence[str] | None = None, *, tower: Callable[[], Tower] | None = None) -> int:
    """Run `pinclip train` and return its exit status; `tower` is another one in tests."""
    given = sys.argv[1:] if argv is None else argv
    options = _parser().parse_args(given)
    from . import runs

    told = shlex.join(["pinclip", "train", *given])
    return runs.fill(options, told=told, tower=tower or runs.shipped_tower)


def ablate(argv: Sequence[str] | None = None) -> int:
    """Make the runs that are missing, write ablation.md and ablation.json, print the page."""
    options = arguments.ablate().parse_args(argv)
    from . import ablate as room
    from . import runs

    return room.run(options, runs.shipped_tower)


def package(argv: Sequence[str] | None = None) -> int:
    """Write weights of a run; exit status 0, or 2 with the reason on stderr."""
    options = arguments.package().parse_args(argv)
    from . import package as room

    return room.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip train",
        description="Train a detector from labelled images, by a recipe. The same command goes on "
        "with a run that was broken off.",
        epilog="Exit status: 0 trained; 2 refused, the reason on stderr; 143 ended by SIGTERM, "
        "saved. Several devices: torchrun --nproc-per-node N -m pinclip train ...",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled images")
    parser.add_argument("--layout", help="how that folder is laid out (default: the recipe's)")
    parser.add_argument("--out", type=Path, required=True, help="run folder, made or gone on with")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, metavar="K", help="leave fold K out and score it")
    which.add_argument(
        "--all-folds", action="store_true", help="leave out each fold in turn, then none (final/)"
    )
    parser.add_argument("--work", type=Path, help="folder of activations (default: OUT/work)")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto"
    )
    return parser
