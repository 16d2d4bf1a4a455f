"""A set of labelled images, whatever it lies in: rows, and a way to the bytes of each.

    open_set(where)
        layouts    which layout is this, and which images does it list
        folds      folds where the layout has none, groups kept whole
        ImageSet   rows, read
    decode(set.read(row))    -> an upright RGB picture
    readable(set)            -> the same set without what does not decode

Knows no layout and no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pinclip.preprocess import to_rgb

from .errors import DataError, UnreadableError, first
from .folds import assign_folds
from .layouts import open_layout
from .manifest import Row, check_rows

__all__ = [
    "DataError",
    "ImageSet",
    "UnreadableError",
    "assign_folds",
    "decode",
    "open_set",
    "readable",
]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images; `repr` is short.

    `read` returns the encoded bytes of one row's image, never from outside the set's folder, and
    raises UnreadableError. It may be called from several threads, and pickled to processes.
    `notes` are sentences about the set that its user should see.
    """

    name: str
    rows: tuple[Row, ...]
    read: Callable[[Row], bytes]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        labels = Counter(row.label for row in self.rows)
        return f"ImageSet({self.name}: {labels['ai']} ai, {labels['real']} real)"


def open_set(where: Path, *, layout: str = "auto", folds: int = 5) -> ImageSet:
    """Return the set that lies in a folder.

    `layout` is "auto" or a name of layouts.LAYOUTS. `folds` are drawn where the set names none,
    groups whole, classes and families spread; 0 puts every image in fold 0.
    Raises DataError: unknown_layout (its text shows the expected tree), unknown_folder, empty_set,
    one_class, contradictory_labels, bad_manifest, group_in_two_folds.
    """
    listing, read = open_layout(where, layout)
    if not listing.rows:
        raise DataError("empty_set", f"{where} lists no image: look whether it was unpacked.")
    check_rows(listing.rows)
    _check_classes(str(where), listing.rows)
    folded = assign_folds(listing.rows, folds=folds, groups_are_stated=listing.groups_are_stated)
    name = where.resolve().name
    return ImageSet(name=name, rows=folded.rows, read=read, notes=listing.notes + folded.notes)


def decode(data: bytes) -> Image.Image:
    """Return an encoded image as upright RGB, its alpha over white; raises UnreadableError.

    The content decides what format it is, never a file name.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            return Image.fromarray(to_rgb(image))
    except UnidentifiedImageError as error:  # its text names an object in memory
        raise UnreadableError(f"{len(data)} bytes are no image that is known") from error
    except Exception as error:
        # Decoders raise whatever their author thought of; all of it means the same here.
        raise UnreadableError(f"{len(data)} bytes do not decode: {error}") from error


def readable(
    images: ImageSet, *, limit: float, faults: Sequence[str] | None = None
) -> tuple[ImageSet, list[str]]:
    """Return the set without the images that do not decode, and "file: why" of each of those.

    Decodes every image once, unless `faults` says of each why it cannot be had, or "". Raises
    DataError: too_many_unreadable above the share `limit`, empty_set or one_class if the rest is
    that.
    """
    faults = _faults(images) if faults is None else faults
    unreadable = [
        f"{row.file}: {fault}" for row, fault in zip(images.rows, faults, strict=True) if fault
    ]
    if len(unreadable) > limit * len(images.rows):
        raise DataError(
            "too_many_unreadable",
            f"{len(unreadable)} of {len(images.rows)} images of {images.name} cannot be read, "
            f"more than the {limit:.1%} that are allowed: {first(unreadable, separator='; ')}. "
            "Unpack the set again, or allow more.",
        )
    rows = tuple(row for row, fault in zip(images.rows, faults, strict=True) if not fault)
    _check_classes(images.name, rows)
    return replace(images, rows=rows), unreadable


def _faults(images: ImageSet) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda row: _fault(images, row), images.rows))


def _fault(images: ImageSet, row: Row) -> str:
    """Return why an image cannot be had, or ""."""
    try:
        decode(images.read(row))
    except UnreadableError as error:
        return error.detail
    return ""


def _check_classes(where: str, rows: Iterable[Row]) -> None:
    counts = Counter(row.label for row in rows)
    if not counts:
        raise DataError("empty_set", f"{where} holds no image that can be read.")
    for label in ("ai", "real"):
        if not counts[label]:
            raise DataError(
                "one_class",
                f"{where} holds no {label} image, only {counts.total()} of the other class: a set "
                "needs both. Look whether a class folder is missing, empty or misspelt.",
            )
