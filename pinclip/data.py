"""Labelled images: the manifest, what a style means, how much an image weighs.

    folder/manifest.csv   file, label (ai|real), source, group, fold, style, sha256_of_original
    folder/images/        the files that it names

A group is never split between folds, and a source speaks with the weight of the square root of
its images. Reads no image.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

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
    """One line of the manifest, as far as it is used here."""

    file: str
    label: str
    source: str
    group: str
    fold: int
    style: str
    sha256_of_original: str

    @property
    def slice(self) -> str | None:
        """The slice that the style is an example of, or None."""
        return _SLICE_OF.get(self.style)


def read_manifest(folder: Path) -> list[Row]:
    """Return the rows of folder/manifest.csv; raises ValueError for one that cannot be used."""
    path = folder / "manifest.csv"
    with path.open(newline="", encoding="utf-8") as lines:
        rows = msgspec.convert(list(csv.DictReader(lines)), list[Row], strict=False)
    for number, row in enumerate(rows, start=2):
        if row.label not in ("ai", "real") or row.style not in {*_SLICE_OF, MIXED}:
            raise ValueError(
                f"{path}:{number}: label {row.label!r}, style {row.style!r}: a label is ai or "
                f"real, a style one of {', '.join(sorted([*_SLICE_OF, MIXED]))}."
            )
    folds_of = {(row.group, row.fold) for row in rows}
    if len(folds_of) > len({row.group for row in rows}):
        raise ValueError(f"{path} has a group in two folds: keep every group whole.")
    return rows


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
