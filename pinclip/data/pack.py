"""A set made of one's own folders: one law for every image, nothing twice, groups whole.

    folders --open_set | of_one_class--> rows, in an order drawn from the seed
      row --read, decode--> picture --seen before, or near?--> dropped.csv, with the reason
                               '-------- equalised ---------> images/<label>/<source>/<name>.jpg
      what was kept ------------------- groups, folds ------> manifest.csv
      law, seed, folders ----------------------------------> pack.json

A set is written beside its place and takes its name when all of it is there, so half a set never
passes for a whole one. The same folders and seed give the same bytes. Knows no layout and no model.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import asdict, replace
from PIL import Image
from tqdm import tqdm

from pinclip.equalise import encoded
from pinclip.recipe import Equalise

from .duplicates import DISTANCE, FLAT, distances, phash
from .errors import DataError, UnreadableError
from .folds import UNFOLDED, Folded, assign_folds
from .layouts import look, read_below
from .manifest import Row
from .sentinel import quality
from .sets import ImageSet, decode

Label = Literal["ai", "real"]

AT_ONCE = 64
"""Images that are decoded before the first of them is written."""
MAKE, MODEL = 0x010F, 0x0110
"""EXIF tags that name a camera."""


class PackError(Exception):
    """A set that cannot be written; the text says why, and what to do."""


class Dropped(NamedTuple):
    """An image that is not in the set: why, and which image it is like or what is wrong with it."""

    file: str
    reason: Literal["unreadable", "identical", "near-duplicate"]
    detail: str


class Packed(NamedTuple):
    """What is in the set, what is not, and what its user should know."""

    rows: tuple[Row, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


class Facts(NamedTuple):
    """Columns of the manifest that a Row has not: the file that was written, and its original."""

    width: int
    height: int
    encoding: str
    bytes: int
    original_width: int
    original_height: int
    original_format: str
    camera: str
    repo: str
    """Name of the folder that was packed."""
    path_in_repo: str
    """The image's path in it."""


COLUMNS = (*Row.__struct_fields__, *Facts._fields)
"""Of manifest.csv."""


class _Item(NamedTuple):
    """An image to pack: its row, and whose it is."""

    owner: ImageSet
    row: Row

    @property
    def name(self) -> str:
        return f"{self.owner.name}/{self.row.file}"


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """An image that has been read: who it is, what it looks like, what the law makes of it."""

    item: _Item
    original: str
    """sha256 of its first known bytes."""
    look: np.uint64 | None
    """pHash of what the law makes of it, None where that is flat."""
    jpeg: bytes
    facts: Facts


def pack(
    sets: Sequence[ImageSet],
    *,
    to: Path,
    law: Equalise,
    seed: int = 0,
    folds: int = 5,
    groups_are_stated: bool = False,
) -> Packed:
    """Write one set of the images of `sets` into the new folder `to`; return what it holds.

    A source or group of one name in two sets is one. Of near-duplicates, across sources and
    classes, one is kept, drawn by `seed`. `groups_are_stated` as in assign_folds. Raises PackError
    where `to` exists or cannot be written; DataError contradictory_labels where the same bytes are
    called ai and real, empty_set or one_class where too little is left.
    """
    items = _in_drawn_order(sets, seed)
    with _taking_its_name_last(to) as folder:
        found = tqdm(
            _examined(items, law, seed), total=len(items), unit="image", leave=False, disable=None
        )
        kept, dropped = _written(_judged(found, room=len(items)), folder / "images")
        folded = _folded(kept, folds=folds, groups_are_stated=groups_are_stated)
        _write_table(folder / "dropped.csv", Dropped._fields, (one._asdict() for one in dropped))
        (folder / "pack.json").write_bytes(_facts(sets, law, seed))
        lines = (asdict(row) | kept[row.file].facts._asdict() for row in folded.rows)
        _write_table(folder / "manifest.csv", COLUMNS, lines)
    return Packed(folded.rows, tuple(dropped), folded.notes)


def of_one_class(where: Path, label: Label) -> ImageSet:
    """Return the images anywhere below a folder, all of one label; source and group: their folder.

    Raises DataError empty_set.
    """
    where = where.resolve()
    files = look(where).images
    if not files:
        raise DataError("empty_set", f"{where} holds no image: name the folder they lie in.")
    rows = [_plain_row(where.name, file, label) for file in files]
    return ImageSet(name=where.name, rows=tuple(rows), read=partial(read_below, where))


def _plain_row(name: str, file: str, label: Label) -> Row:
    source = "/".join([name, *file.split("/")[:-1]])
    return Row(
        file=file,
        label=label,
        source=source,
        group=source,
        fold=UNFOLDED,
        style="other",
        sha256_of_original="",
    )


def _in_drawn_order(sets: Sequence[ImageSet], seed: int) -> list[_Item]:
    """Return the images of all sets; the earlier of two near-duplicates will be the one kept."""
    items = [_Item(images, row) for images in sets for row in images.rows]
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[index] for index in order]


# --- reading ------------------------------------------------------------------------------------


def _examined(items: Sequence[_Item], law: Equalise, seed: int) -> Iterator[_Candidate | Dropped]:
    """Yield what each image is, in order, a few of them decoded at once."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), AT_ONCE):
            part = items[start : start + AT_ONCE]
            yield from pool.map(partial(_examine, law=law, seed=seed), part)


def _examine(item: _Item, *, law: Equalise, seed: int) -> _Candidate | Dropped:
    """Return one image, read; what is drawn for it depends on the seed and its own bytes alone."""
    try:
        data = item.owner.read(item.row)
        image = decode(data)
    except UnreadableError as error:
        return Dropped(item.name, "unreadable", error.detail)
    own = hashlib.sha256(data).hexdigest()
    jpeg = encoded(image, law, np.random.default_rng([seed, int(own[:16], 16)]))
    return _Candidate(
        item=item,
        original=item.row.sha256_of_original or own,
        look=_look(decode(jpeg)),
        jpeg=jpeg,
        facts=_facts_of(item, data, jpeg),
    )


def _look(image: Image.Image) -> np.uint64 | None:
    """Return what a picture is compared by: of a flat one, a pHash says nothing."""
    grey = np.asarray(image.convert("L").resize((32, 32)), np.float32)
    return phash(image) if grey.std() >= FLAT else None


def _facts_of(item: _Item, data: bytes, jpeg: bytes) -> Facts:
    with Image.open(BytesIO(data)) as original, Image.open(BytesIO(jpeg)) as made:
        exif = original.getexif()
        return Facts(
            width=made.width,
            height=made.height,
            encoding=f"jpeg {quality(made):.0f}",
            bytes=len(jpeg),
            original_width=original.width,
            original_height=original.height,
            original_format=original.format or "",
            camera=" ".join(str(exif.get(tag, "")).strip(" \0") for tag in (MAKE, MODEL)).strip(),
            repo=item.owner.name,
            path_in_repo=item.row.file,
        )


class _Kept(NamedTuple):
    """A line of the manifest."""

    row: Row
    facts: Facts


# --- choosing -----------------------------------------------------------------------------------


class _Seen:
    """The images kept so far, to tell whether another is one of them."""

    def __init__(self, room: int) -> None:
        self._looks = np.zeros(room, np.uint64)
        self._names: list[str] = []
        self._by_original: dict[str, _Item] = {}

    def judge(self, candidate: _Candidate) -> _Candidate | Dropped:
        """Return an image that is new, or which of those before it is the same or nearly so.

        Raises DataError contradictory_labels.
        """
        item = candidate.item
        twin = self._by_original.setdefault(candidate.original, item)
        if twin is not item:
            _check_labels(twin, item)
            return Dropped(item.name, "identical", twin.name)
        if candidate.look is None:
            return candidate
        count = len(self._names)
        apart = distances(np.array([candidate.look]), self._looks[:count])[0]
        if count and apart.min() <= DISTANCE:
            return Dropped(item.name, "near-duplicate", self._names[int(apart.argmin())])
        self._looks[count] = candidate.look
        self._names.append(item.name)
        return candidate


def _check_labels(one: _Item, other: _Item) -> None:
    if one.row.label != other.row.label:
        raise DataError(
            "contradictory_labels",
            f"{one.name} is {one.row.label} and {other.name} is {other.row.label}, but they are "
            "one image: remove the one that is wrong.",
        )


def _judged(found: Iterable[_Candidate | Dropped], *, room: int) -> Iterator[_Candidate | Dropped]:
    """Yield what was found, duplicates dropped."""
    seen = _Seen(room)
    for one in found:
        yield one if isinstance(one, Dropped) else seen.judge(one)


# --- writing ------------------------------------------------------------------------------------


@contextmanager
def _taking_its_name_last(to: Path) -> Iterator[Path]:
    """Yield a new folder that takes the name `to` when the block is done, or is removed.

    Raises PackError.
    """
    if to.exists() or to.is_symlink():
        raise PackError(f"{to} exists: a set is never written over another; name a new folder.")
    half = to.with_name(f"{to.name}.new")
    try:
        half.mkdir(parents=True)
        try:
            yield half
            half.rename(to)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    except FileExistsError:
        raise PackError(
            f"{half} exists: another run is writing it, or was killed; then remove it."
        ) from None
    except OSError as error:
        raise PackError(_unwritten(to, error)) from None


def _unwritten(to: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No space left for {to}; nothing of it was kept. Make room, or pack elsewhere."
    return f"{to} cannot be written: {error.strerror} ({error.filename}). Pack elsewhere."


def _written(
    judged: Iterable[_Candidate | Dropped], images: Path
) -> tuple[dict[str, _Kept], list[Dropped]]:
    """Write the images that are kept below `images`; return them by file, and the others."""
    kept: dict[str, _Kept] = {}
    dropped: list[Dropped] = []
    for one in judged:
        if isinstance(one, Dropped):
            dropped.append(one)
            continue
        row = _packed_row(one)
        path = images / row.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.jpeg)
        kept[row.file] = _Kept(row, one.facts)
    return dict(sorted(kept.items())), sorted(dropped)


def _packed_row(candidate: _Candidate) -> Row:
    """Return the row of an image of the set; its fold is still to be drawn."""
    row = candidate.item.row
    file = f"{row.label}/{_slug(row.source)}/{candidate.original[:16]}.jpg"
    group = file if row.group == row.file else row.group
    return replace(
        row, file=file, group=group, fold=UNFOLDED, sha256_of_original=candidate.original
    )


def _slug(source: str) -> str:
    """Return a folder name of plain characters."""
    return re.sub(r"[^a-z0-9._]+", "-", source.lower())[:80].strip("-.") or "source"


def _folded(kept: Mapping[str, _Kept], *, folds: int, groups_are_stated: bool) -> Folded:
    """Return the rows with folds; raises DataError empty_set, one_class."""
    rows = [one.row for one in kept.values()]
    labels = {row.label for row in rows}
    if len(labels) < 2:
        code: Literal["one_class", "empty_set"] = "one_class" if labels else "empty_set"
        raise DataError(
            code,
            f"The set would hold {len(rows)} images, all {labels.pop()}: a set needs both classes."
            if labels
            else "None of the images can be read, so there is no set.",
        )
    return assign_folds(rows, folds=folds, groups_are_stated=groups_are_stated)


def _facts(sets: Sequence[ImageSet], law: Equalise, seed: int) -> bytes:
    """Return pack.json: what the set was made of, and how."""
    facts = {
        "folders": [{"name": images.name, "images": len(images.rows)} for images in sets],
        "seed": seed,
        "law": law,
        "near_duplicates": {"hash": "pHash 64", "distance": DISTANCE},
    }
    return msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n"


def _write_table(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
