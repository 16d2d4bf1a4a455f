"""`pinclip data`: make a set of labelled images, look at it, ask whether it can be used.

    pack     folders  -> one set: one law of encoding, nothing twice, groups and folds
    sheet    a set    -> contact sheet, a row for each source
    check    a set    -> its table; unreadable images, duplicates across folds, the bias sentinel

Parses, calls one function, prints: results to stdout, notes and faults to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Row
    from .sets import ImageSet

# pack, sets and sheet are imported where they are used: with their libraries they take a second,
# and --help should not.

FAILED = 2
STATUS = "exit status: 0 done; 2 misuse, or a set that cannot be used; 3 an extra is missing."


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pinclip data` with these arguments and return its exit status."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    from .errors import DataError
    from .pack import PackError

    try:
        return run(arguments)
    except (DataError, PackError) as error:
        _say(str(error))
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip data",
        description="Make a set of labelled images, and look at it.",
        epilog=STATUS,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_pack(commands.add_parser("pack", help="make one set of your own folders", epilog=STATUS))
    _add_sheet(commands.add_parser("sheet", help="write a contact sheet", epilog=STATUS))
    _add_check(commands.add_parser("check", help="say whether a set can be used", epilog=STATUS))
    return parser


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make one set of folders: every image brought to one law of size and encoding, duplicates "
        "and unreadable images left out (dropped.csv lists them), groups and folds assigned."
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help="holds both classes, in any layout"
    )
    for label in ("ai", "real"):
        parser.add_argument(
            f"--{label}",
            action="append",
            default=[],
            type=Path,
            metavar="FOLDER",
            help=f"holds {label} images alone, in any tree; may be repeated",
        )
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="SET", help="new folder")
    parser.add_argument(
        "--square", action="store_true", help="cut every image to a square: shape says nothing then"
    )
    parser.add_argument("--seed", type=_natural, default=0, help="of all draws (default 0)")
    parser.add_argument("--folds", type=_natural, default=5, help="folds to assign (default 5)")
    _add_layout(parser)
    parser.set_defaults(run=_pack)


def _add_sheet(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write a contact sheet: a row for each source, some of its pictures drawn."
    parser.add_argument("folder", type=Path, metavar="SET")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("sheet.png"), metavar="FILE",
        help=".png or .jpg (default sheet.png); further pages are FILE-2, FILE-3, ...",
    )  # fmt: skip
    parser.add_argument("--seed", type=_natural, default=0, help="of the draw (default 0)")
    _add_layout(parser)
    parser.set_defaults(run=_sheet)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Decode every image of a set, look for near-duplicates across its folds and splits, and "
        "measure whether its files alone tell AI from real."
    )
    parser.add_argument("folder", type=Path, metavar="SET")
    parser.add_argument(
        "--unreadable", type=_share, default=0.01, metavar="SHARE",
        help="share of the images that may be unreadable (default 0.01)",
    )  # fmt: skip
    _add_layout(parser)
    parser.set_defaults(run=_check)


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout", default="auto", help="name of the layout (default: recognised by the tree)"
    )


def _pack(arguments: argparse.Namespace) -> int:
    from msgspec.structs import replace

    from pinclip.recipe import Equalise

    from .pack import of_one_class, pack
    from .sets import open_set

    sets = [open_set(folder, layout=arguments.layout, folds=0) for folder in arguments.folders]
    sets += [of_one_class(folder, "ai") for folder in arguments.ai]
    sets += [of_one_class(folder, "real") for folder in arguments.real]
    if not sets:
        _say("there is nothing to pack: name a FOLDER, or --ai FOLDER and --real FOLDER.")
        return FAILED
    law = Equalise(is_on=True)
    packed = pack(
        sets,
        to=arguments.out,
        law=replace(law, long_ratio=1.0) if arguments.square else law,
        seed=arguments.seed,
        folds=arguments.folds,
        groups_are_stated=any((path / "manifest.csv").is_file() for path in arguments.folders),
    )
    _print(_table(packed.rows))
    _print(_drops(Counter(one.reason for one in packed.dropped), arguments.out))
    for note in (*(note for images in sets for note in images.notes), *packed.notes):
        _say(note)
    square = "" if arguments.square else "pack with --square, and "
    remedy = (
        "Format and quality are alike now, so what is left is shape and size of the originals: "
        f"{square}take originals of more sizes in both classes."
    )
    _print(_sentinel(open_set(arguments.out), remedy=remedy))
    return 0


def _sheet(arguments: argparse.Namespace) -> int:
    from .sets import open_set
    from .sheet import write_sheet

    images = open_set(arguments.folder, layout=arguments.layout)
    try:
        written = write_sheet(images, arguments.out, seed=arguments.seed)
    except (ValueError, OSError) as error:
        _say(f"the sheet cannot be written: {error}")
        return FAILED
    _print(str(path) for path in written)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from .duplicates import check_splits, readable_prints
    from .errors import DataError
    from .sets import open_set

    images = open_set(arguments.folder, layout=arguments.layout)
    for note in images.notes:
        _say(note)
    images, unreadable, prints = readable_prints(images, limit=arguments.unreadable)
    _print(_table(images.rows))
    _print([f"unreadable  {len(unreadable)}", *(f"  {fault}" for fault in unreadable)])
    _print(_sentinel(images))
    try:
        check_splits(images, prints=prints)
    except DataError as error:
        _say(str(error))
        return FAILED
    _print(["near-duplicates across folds or splits  0"])
    return 0


def _table(rows: Sequence[Row]) -> Iterable[str]:
    """Yield a line for each class and for all of it: images, sources, groups, images of a fold."""
    folds = sorted({row.fold for row in rows})
    names = ["images", "sources", "groups", *(f"fold {fold}" for fold in folds)]
    yield "      " + "".join(f"{name:>9}" for name in names)
    for label in ("ai", "real"):
        own = [row for row in rows if row.label == label]
        held = Counter(row.fold for row in own)
        sources, groups = ({getattr(row, name) for row in own} for name in ("source", "group"))
        counts = [len(own), len(sources), len(groups), *(held[fold] for fold in folds)]
        yield f"{label:<6}" + "".join(f"{count:>9,}" for count in counts)


def _drops(reasons: Counter[str], where: Path) -> Iterable[str]:
    """Yield what was left out, and where that is listed."""
    if reasons:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        yield f"left out: {counts}; see {where / 'dropped.csv'}"


def _sentinel(images: ImageSet, *, remedy: str = "") -> Iterable[str]:
    """Yield how far files alone tell the classes apart; say so on stderr if it is too far."""
    from .errors import DataError
    from .sentinel import LIMIT, audit

    try:
        found = audit(images)
    except DataError as error:
        _say(str(error))
        return
    yield f"AUC of size and encoding alone  {found.auc:.2f}   ({LIMIT} is harmless)"
    yield from (f"  {name:<16}{auc:.2f}" for name, auc in found.by_feature.items())
    if found.warning:
        _say(f"files alone tell AI from real here. {remedy}" if remedy else found.warning)


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0: give a whole number from 0 on")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give a number from 0 to 1")
    return number


def _print(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _say(sentence: str) -> None:
    sys.stderr.write(f"pinclip: {sentence}\n")
