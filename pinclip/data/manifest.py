"""Labelled images: the manifest, what a style means, how much an image weighs.

    folder/manifest.csv   file, label (ai|real), source;
                          optional: group, fold, style, sha256_of_original, generator, split
    folder/images/        the files that it names; without that folder they lie in folder/

A group is never split between folds, and a source speaks with the weight of the square root of
its images. Reads no image.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from .errors import DataError
from .folds import UNFOLDED, assign_folds

if TYPE_CHECKING:
    from numpy.typing import NDArray

STYLES = {
    "photo": (
        "photo portrait event food bw wedding product lowlight animal landscape phone sports "
        "politics dashcam edited astro street drone oldphoto wallpaper concert macro interior other"
    ),
    "illustration": "illustration painting drawing anime comic",
    "cgi": "3d game",
    "screenshot": "screenshot chart poster",
}
"""Slice -> the manifest's styles that are examples of it. Posters are set type, as screens are."""
MIXED = "meme"
"""A style that is no example of any slice: a meme is whatever its caption is written on."""
SLICES = tuple(STYLES)

_SLICE_OF = {style: name for name, styles in STYLES.items() for style in styles.split()}


class Row(Struct, frozen=True, kw_only=True):
    """One image: a line of the manifest, as far as it is used here.

    `file` is below images/. `generator` names what made an AI image, "" where nobody says. `split`
    is the part of a published benchmark (train, val, test), "" where there is none.
    """

    file: str
    label: str
    source: str
    group: str
    fold: int
    style: str
    sha256_of_original: str
    generator: str = ""
    split: str = ""

    @property
    def slice(self) -> str | None:
        """The slice that the style is an example of, or None."""
        return _SLICE_OF.get(self.style)


class Listing(NamedTuple):
    """Which images a set has, before folds: `fold` is UNFOLDED where nobody gave one."""

    rows: list[Row]
    groups_are_stated: bool
    """Somebody wrote down which images belong together; else groups are inferred from sources."""
    notes: tuple[str, ...] = ()


def read_manifest(folder: Path, *, folds: int = 5) -> list[Row]:
    """Return the rows of folder/manifest.csv, with `folds` folds if it names none.

    Raises DataError (a ValueError): bad_manifest, contradictory_labels, group_in_two_folds, and
    one_class where folds cannot be drawn.
    """
    rows, groups_are_stated, _ = list_manifest(folder)
    return list(assign_folds(rows, folds=folds, groups_are_stated=groups_are_stated).rows)


def list_manifest(folder: Path) -> Listing:
    """Return what folder/manifest.csv lists; raises DataError as read_manifest does."""
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = set(reader.fieldnames or ())
            _check_columns(path, columns)
            rows = [_row(line, f"{path}:{number}") for number, line in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "bad_manifest", f"{path} cannot be read as CSV in UTF-8: {error}."
        ) from None
    check_rows(rows)
    return Listing(rows, "group" in columns)


def check_rows(rows: Sequence[Row]) -> None:
    """Raise DataError if a file is listed twice, or one original under both labels."""
    by_file: dict[str, Row] = {}
    by_original: dict[str, Row] = {}
    for row in rows:
        twin = by_file.setdefault(row.file, row)
        if row.sha256_of_original and twin is row:
            twin = by_original.setdefault(row.sha256_of_original, row)
        if twin.label != row.label:
            raise DataError(
                "contradictory_labels",
                f"{twin.file} is {twin.label} and {row.file} is {row.label}, but they are one "
                "image: keep the right one.",
            )
        if twin.file == row.file and twin is not row:
            raise DataError("bad_manifest", f"{row.file} is listed twice: keep one line.")


def _check_columns(path: Path, columns: set[str]) -> None:
    missing = sorted({"file", "label", "source"} - columns)
    if missing:
        raise DataError(
            "bad_manifest",
            f"{path} has no column {', '.join(missing)}, only {', '.join(sorted(columns))}: "
            "the first line names the columns; file, label and source are needed.",
        )


def _row(line: Mapping[str, str | None], where: str) -> Row:
    """Return the row of one line of a manifest; `where` names the line in an error."""
    given = {name: line[name] for name in Row.__struct_fields__ if line.get(name) is not None}
    defaults = {"fold": UNFOLDED, "style": "other", "sha256_of_original": ""}
    try:
        row = msgspec.convert(defaults | {"group": ""} | given, Row, strict=False)
    except msgspec.ValidationError as error:
        raise DataError("bad_manifest", f"{where}: {error}.") from None
    if row.label not in ("ai", "real") or row.style not in {*_SLICE_OF, MIXED}:
        raise DataError(
            "bad_manifest",
            f"{where}: label {row.label!r}, style {row.style!r}: a label is ai or "
            f"real, a style one of {', '.join(sorted([*_SLICE_OF, MIXED]))}.",
        )
    path = PurePosixPath(row.file)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise DataError(
            "bad_manifest",
            f"{where}: file {row.file!r} leads out of the set: a file is named from images/ on.",
        )
    if "fold" in given and row.fold < 0:
        raise DataError("bad_manifest", f"{where}: fold {row.fold}: a fold is 0 or more.")
    return row if row.group else msgspec.structs.replace(row, group=row.source or row.file)


def digest(rows: Sequence[Row]) -> str:
    """Return the sha256 that names this data: files, labels, groups, folds and originals."""
    total = hashlib.sha256()
    for row in rows:
        parts = (row.file, row.label, row.group, str(row.fold), row.sha256_of_original)
        total.update(("\t".join(parts) + "\n").encode())
    return total.hexdigest()


def weights(rows: Sequence[Row], classes: Sequence[str]) -> NDArray[np.float64]:
    """Return a weight for each row: 1/sqrt(images of its source), classes equal, 1 on average.

    `classes` is the class of each row.
    """
    keys = [(row.label, row.source) for row in rows]
    counts = Counter(keys)
    weight = np.array([counts[key] ** -0.5 for key in keys])
    names, index = np.unique(np.array(classes), return_inverse=True)
    weight /= np.bincount(index, weight)[index]
    return weight * (len(rows) / len(names))
