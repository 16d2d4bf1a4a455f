"""Which layout a folder has, and which images it lists.

    open_layout(where, "auto")
        manifest.csv                    -> manifest
        images in folders like a tree   -> genimage ... wildrf      (trees.py)
        images in other class folders   -> folders                  (trees.py)
        *.tar                           -> webdataset               (shards.py)
        *.parquet                       -> community_forensics      (parquet.py)

An image that lies in no class folder is an error, and so is a class folder without an image: both
mean that the set is not what it is taken for. Reads no image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import DataError, UnreadableError, first
from .folds import UNFOLDED
from .manifest import Listing, Row, list_manifest
from .parquet import DRAWING as PARQUET
from .parquet import open_parquet
from .shards import DRAWING as SHARDS
from .shards import open_shards
from .trees import CLASS_FOLDERS, TREES, Place, shared_pool, split_class

Opened = tuple[Listing, Callable[[Row], bytes]]

SUFFIXES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif"),
    *("heic", "heif", "ppm", "pgm", "jp2"),
)
"""What is taken for an image, after the last dot; its content decides what it is."""
_DRAWINGS = {
    "manifest": "manifest.csv   (file, label ai|real, source, ...)\nimages/*",
    "webdataset": SHARDS,
    "community_forensics": PARQUET,
} | {name: tree.drawing for name, tree in TREES.items()}
LAYOUTS = tuple(_DRAWINGS)


class Seen(NamedTuple):
    """What one walk through a folder found: posix paths from it on, in order."""

    images: list[str]
    folders: list[str]
    links: list[str]
    """Links to folders, which are not followed."""

    @property
    def image_folders(self) -> set[PurePosixPath]:
        """The folders that images lie in."""
        return {PurePosixPath(image).parent for image in self.images}


def open_layout(where: Path, layout: str = "auto") -> Opened:
    """Return the images that a folder lists and the function that reads one.

    `layout` is "auto" or one of LAYOUTS. Raises DataError.
    """
    if layout not in ("auto", *LAYOUTS):
        raise DataError(
            "unknown_layout", f"There is no layout {layout!r}: it is auto, {', '.join(LAYOUTS)}."
        )
    if not where.is_dir():
        raise DataError("unknown_layout", f"{where} is no folder: name the folder of the set.")
    if layout in TREES:
        return _open_tree(where, look(where), layout)
    if layout == "manifest" or (layout == "auto" and (where / "manifest.csv").is_file()):
        return _open_manifest(where)
    if layout == "auto":
        return _open_seen(where, look(where))
    return open_shards(where) if layout == "webdataset" else open_parquet(where)


def expected(layout: str) -> str:
    """Return the drawing of a layout, indented."""
    return f"  {layout}:\n" + "".join(f"    {line}\n" for line in _DRAWINGS[layout].splitlines())


def look(where: Path) -> Seen:
    """Return what lies below a folder, hidden things aside; follows no link to a folder."""
    seen = Seen([], [], [])
    for folder, names, files in os.walk(where):
        names[:] = sorted(name for name in names if not _is_hidden(name))
        below = PurePosixPath(Path(folder).relative_to(where).as_posix())
        for name in names:
            into = seen.links if Path(folder, name).is_symlink() else seen.folders
            into.append(str(below / name))
        seen.images.extend(str(below / file) for file in sorted(files) if _is_image(file))
    return seen


def read_below(where: Path, row: Row) -> bytes:
    """Return the bytes of where/row.file; raises UnreadableError, also if that lies elsewhere."""
    path = (where / row.file).resolve()
    if not path.is_relative_to(where.resolve()):
        raise UnreadableError(f"{row.file} leads out of the set")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{row.file}: {error.strerror}") from None


def _open_manifest(where: Path) -> Opened:
    images = where / "images"
    return list_manifest(where), partial(read_below, images if images.is_dir() else where)


def _open_seen(where: Path, seen: Seen) -> Opened:
    """Open a folder without a manifest by what lies in it."""
    layout = _fitting(where.resolve().name.lower(), seen)
    if layout:
        return _open_tree(where, seen, layout)
    if any(where.rglob("*.tar")):
        return open_shards(where)
    if any(where.rglob("*.parquet")):
        return open_parquet(where)
    if not seen.images:
        raise DataError("empty_set", f"{where} holds no image. It must hold one of\n{_all()}")
    raise DataError(
        "unknown_layout",
        f"{where} holds images in {first(sorted(map(str, seen.image_folders)))}, which is no "
        f"layout known here:\n{_all()}Rename the class folders, or write a manifest.csv.",
    )


def _fitting(name: str, seen: Seen) -> str | None:
    """Return the first tree that the folders of images look like."""
    paths = frozenset(tuple(part.lower() for part in folder.parts) for folder in seen.image_folders)
    return next((layout for layout, tree in TREES.items() if tree.fits(name, paths)), None)


def _open_tree(where: Path, seen: Seen, layout: str) -> Opened:
    placed = list(_placed(where, seen, layout))
    _check_class_folders(where, seen)
    if layout == "universal_fake_detect":
        placed = list(_reals_once(where, placed))
    name = where.resolve().name
    notes = (f"Links to folders are not followed: {first(seen.links)}.",) if seen.links else ()
    listing = Listing([_row(one, name) for one in placed], False, notes)
    return listing, partial(read_below, where)


class _Placed(NamedTuple):
    file: str
    label: str
    place: Place


def _placed(where: Path, seen: Seen, layout: str) -> Iterator[_Placed]:
    """Yield label and place of each image of a tree; raises DataError unknown_folder."""
    strays: dict[str, None] = {}
    for file in seen.images:
        folders = PurePosixPath(file).parent.parts
        found = split_class(folders)
        place = TREES[layout].place(found[1]) if found else None
        if found and place:
            yield _Placed(file, found[0], place)
        else:
            strays["/".join(folders) or "."] = None
    if strays:
        raise DataError(
            "unknown_folder",
            f"{where} is read as {layout}, but images in {first(strays)} have no place there. "
            f"Class folders are {', '.join(CLASS_FOLDERS)}. Expected:\n{expected(layout)}",
        )


def _row(placed: _Placed, name: str) -> Row:
    return Row(
        file=placed.file,
        label=placed.label,
        source=placed.place.source or name,
        group=placed.place.group or placed.file,
        fold=UNFOLDED,
        style="other",
        sha256_of_original="",
        generator=placed.place.generator if placed.label == "ai" else "",
        split=placed.place.split,
    )


def _reals_once(where: Path, placed: list[_Placed]) -> Iterator[_Placed]:
    """Yield every shared real image of UniversalFakeDetect once, under the name of its pool.

    Mirrors repeat the LAION reals in seven sets: the same name and length is the same image.
    """
    seen: set[tuple[str, str, int]] = set()
    for one in placed:
        pool = shared_pool(one.place) if one.label == "real" else ""
        path = where / one.file
        key = (pool, path.name, path.lstat().st_size)
        if not pool:
            yield one
        elif key not in seen:
            seen.add(key)
            yield one._replace(place=one.place._replace(source=pool, group=pool))


def _check_class_folders(where: Path, seen: Seen) -> None:
    """Raise DataError if a class folder holds no image: then a part of the set is missing."""
    full = {parent for folder in seen.image_folders for parent in (folder, *folder.parents)}
    empty = [
        folder
        for folder in map(PurePosixPath, seen.folders)
        if folder.name.lower() in CLASS_FOLDERS and folder not in full
    ]
    if empty:
        raise DataError(
            "empty_set",
            f"{where} has class folders without an image: {first(empty)}. Unpack them again, or "
            "remove them.",
        )


def _is_image(file: str) -> bool:
    return not _is_hidden(file) and file.rpartition(".")[2].lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _all() -> str:
    return "".join(expected(layout) for layout in LAYOUTS)
