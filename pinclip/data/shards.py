"""webdataset shards: tar files of images with what is known of each, read without unpacking.

    shard-000000.tar
        key.jpg     the image                             -> row.file "shard-000000.tar/key.jpg"
        key.json    {"label": "ai", "source": ..., ...}   or
        key.cls     1 (ai) or 0 (real)

Every shard is passed once to learn where its images lie; an image is then one seek and one read.
Compressed shards cannot be read that way, and are refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from .errors import DataError, UnreadableError, first
from .folds import UNFOLDED
from .manifest import Listing, Row

DRAWING = """*.tar, in each
  key.jpg|png|webp
  key.json   ({"label": "ai"|"real", "source": ..., "group": ..., "generator": ...})
  or key.cls   (1: ai, 0: real)"""
_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")
_LABELS = {"1": "ai", "ai": "ai", "fake": "ai", "0": "real", "real": "real", "nature": "real"}


class _Said(Struct):
    """What key.json may say; anything else in it is ignored."""

    label: str | int
    source: str = ""
    group: str = ""
    fold: int = UNFOLDED
    style: str = "other"
    sha256_of_original: str = ""
    generator: str = ""
    split: str = ""


class _Member(NamedTuple):
    """One file in a shard: what of the shard is its content."""

    shard: Path
    start: int
    length: int


def open_shards(where: Path) -> tuple[Listing, Callable[[Row], bytes]]:
    """Return the images of all shards below a folder and the function that reads one.

    Raises DataError: bad_manifest for a shard that is no tar file or an image of which nothing
    is said, empty_set.
    """
    rows: list[Row] = []
    places: dict[str, _Member] = {}
    for shard in sorted(where.rglob("*.tar")):
        name = shard.relative_to(where).as_posix()
        for key, files in _samples(shard):
            image = next((suffix for suffix in files if _is_image(suffix)), None)
            if image is None:
                continue
            row = _row(f"{name}/{key}.{image}", key, _said(f"{name}/{key}", files))
            rows.append(row)
            places[row.file] = files[image]
    if not rows:
        raise DataError("empty_set", f"{where} has no shard with an image. Expected:\n{DRAWING}")
    is_stated = all(row.group not in ("", row.source) for row in rows)
    rows = [msgspec.structs.replace(row, group=row.group or row.file) for row in rows]
    return Listing(rows, is_stated), partial(_read, places)


def _samples(shard: Path) -> Iterator[tuple[str, dict[str, _Member]]]:
    """Yield each key of a shard with its files by suffix: what follows the first dot."""
    samples: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile():
                    folder, slash, file = member.name.rpartition("/")
                    stem, _, suffix = file.partition(".")
                    place = _Member(shard, member.offset_data, member.size)
                    samples.setdefault(folder + slash + stem, {})[suffix.lower()] = place
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            "bad_manifest",
            f"{shard} cannot be read as an uncompressed tar file: {error}. Fetch it again, or "
            "uncompress it.",
        ) from None
    yield from samples.items()


def _said(name: str, files: Mapping[str, _Member]) -> _Said:
    """Return what a sample's json or cls file says of its image."""
    try:
        if "json" in files:
            return msgspec.json.decode(_content(files["json"]), type=_Said)
        if "cls" in files:
            return _Said(label=_content(files["cls"]).decode().strip())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError("bad_manifest", f"{name}: {error}. Expected:\n{DRAWING}") from None
    raise DataError(
        "bad_manifest", f"{name} has {first(files)}, but no json or cls. Expected:\n{DRAWING}"
    )


def _row(file: str, key: str, said: _Said) -> Row:
    label = _LABELS.get(str(said.label).lower())
    if label is None:
        raise DataError(
            "bad_manifest", f"{file}: label {said.label!r}: it is one of {', '.join(_LABELS)}."
        )
    source = said.source or key.rpartition("/")[0]
    return Row(
        file=file,
        label=label,
        source=source or file.rpartition(".tar/")[0],
        group=said.group or source,
        fold=said.fold,
        style=said.style,
        sha256_of_original=said.sha256_of_original,
        generator=said.generator,
        split=said.split,
    )


def _read(places: Mapping[str, _Member], row: Row) -> bytes:
    place = places.get(row.file)
    if place is None:
        raise UnreadableError(f"{row.file} is in no shard")
    return _content(place)


def _content(place: _Member) -> bytes:
    try:
        with place.shard.open("rb") as file:
            file.seek(place.start)
            return file.read(place.length)
    except OSError as error:
        raise UnreadableError(f"{place.shard.name}: {error.strerror}") from None


def _is_image(suffix: str) -> bool:
    return suffix.rpartition(".")[2] in _IMAGES
