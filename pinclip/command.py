"""`pinclip train`, `ablate` and `package`: read the arguments, then import what does the work.

    argv --parser--> arguments --runs.fill | ablate.run | package.run--> files and an exit status

Nothing of torch is imported before the arguments are read, so that --help is there at once. Knows
no recipe, set or model.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import arguments

if TYPE_CHECKING:
    from .runs import Tower


def train(argv: Sequence[str] | None = None, *, tower: Callable[[], Tower] | None = None) -> int:
    """Run `pinclip train` and return its exit status; `tower` is another one in tests."""
    given = sys.argv[1:] if argv is None else argv
    options = arguments.train().parse_args(given)
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
