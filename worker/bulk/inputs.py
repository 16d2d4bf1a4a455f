"""IN -> a listing of what is to be scored, and a row of it -> bytes.

    folder                  every image below it      input: its path below the folder
    .csv, .parquet          a row a row, url or path  input: the URL, or the path as written
    .tar, one or more       every image in a shard    input: shard.tar/member

A listing is an Arrow table (SCHEMA) in an order that does not change while IN does not, so `row`
names the same input in every run; its digest is the identity of IN. Shards are read by offset and
never unpacked: any row can be had without those before it. Knows nothing of Ray or of results.
"""

from __future__ import annotations

import glob
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from braceexpand import braceexpand
from msgspec import Struct

from worker.predict import SUFFIXES, find

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("input", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
"""`source` is the file that holds the bytes, null for a URL; `offset` and `size` say where in it,
null for all of it."""
COLUMNS = ("url", "path")
"""What names the image in a table; the first that is there counts."""
CSV_BLOCK_BYTES = 16 << 20
"""Longest row of a CSV file."""


class InputsUnusable(Exception):
    """IN cannot be listed; the text says why and what to give, in a sentence."""


class Place(Struct, frozen=True):
    """A row of a listing, without its number."""

    input: str | None
    source: str | None = None
    offset: int | None = None
    size: int | None = None


def listed(names: Sequence[str]) -> pa.Table:
    """Return the listing of IN; raises InputsUnusable, also where there is nothing in it."""
    shards = [path for name in names for path in _expanded(name) if path.endswith(".tar")]
    if shards:
        return _numbered(_members(shards), empty=f"There is no image in {', '.join(names)}.")
    if len(names) > 1:
        raise InputsUnusable(f"{names[1]} is one too many: only shards (.tar) can be several.")
    (name,) = names
    if os.path.isdir(name):
        empty = f"There is no image below {name}; shards are named themselves: {name}/*.tar."
        return _numbered(_files(name), empty=empty)
    return _numbered(_table(name), empty=f"{name} has no rows.")


def digest(listing: pa.Table) -> str:
    """Return the sha256 (hex) of which inputs there are, in which order."""
    found = hashlib.sha256()
    for batch in listing.select(["input", "offset", "size"]).to_batches(max_chunksize=65536):
        for row in batch.to_pylist():
            found.update(repr(tuple(row.values())).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def read(row: dict[str, Any]) -> bytes:
    """Return the bytes of a row that has a source; raises OSError."""
    with open(row["source"], "rb") as file:
        if row["offset"] is None:
            return file.read()
        file.seek(row["offset"])
        return file.read(row["size"])


def _expanded(name: str) -> list[str]:
    """The files that a pattern names: braces first, then stars, as webdataset reads them."""
    found = []
    for each in braceexpand(name) if "{" in name else [name]:
        matches = sorted(glob.glob(each)) if glob.has_magic(each) and not _exists(each) else [each]
        if not matches:
            raise InputsUnusable(f"No file matches {each}.")
        found += matches
    return found


def _exists(path: str) -> bool:
    if os.path.exists(path):
        return True
    if glob.has_magic(path):
        return False
    raise InputsUnusable(f"There is nothing at {path}: check the path.")


def _files(folder: str) -> Iterator[Place]:
    base = os.path.abspath(folder)
    for item in find([base]):
        if item.error is None:
            yield Place(os.path.relpath(item.path, base), item.path)


def _members(shards: Iterable[str]) -> Iterator[Place]:
    for shard in shards:
        _exists(shard)
        path, name = os.path.abspath(shard), os.path.basename(shard)
        try:
            with tarfile.open(path, "r:") as tar:
                yield from (_member(path, name, each) for each in tar if _is_image(each))
        except (tarfile.TarError, OSError) as error:
            raise InputsUnusable(
                f"{shard} is no tar file that can be read ({error}): shards are tar files, "
                "not compressed."
            ) from error


def _is_image(member: tarfile.TarInfo) -> bool:
    return member.isfile() and Path(member.name).suffix.lower() in SUFFIXES


def _member(path: str, shard: str, member: tarfile.TarInfo) -> Place:
    return Place(f"{shard}/{member.name}", path, member.offset_data, member.size)


def _table(name: str) -> Iterator[Place]:
    """Read the one column that counts. A path is below the table's folder unless it is absolute."""
    _exists(name)
    readers = {".csv": _csv, ".parquet": _parquet}
    reader = readers.get(Path(name).suffix.lower())
    if reader is None:
        raise InputsUnusable(
            f"{name} is neither a folder, nor .csv, .parquet or .tar: name one of these, or "
            "score a single image with `pinclip predict`."
        )
    base = os.path.dirname(os.path.abspath(name))
    try:
        column, texts = reader(name)
        for text in texts:
            yield Place(text, _below(base, text) if column == "path" else None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputsUnusable(f"{name} cannot be read as {reader.__name__[1:]}: {reason}") from error


def _below(base: str, text: str | None) -> str:
    return os.path.join(base, text) if text else ""  # where there is nothing


def _csv(name: str) -> tuple[str, Iterator[str | None]]:
    read = pc.ReadOptions(block_size=CSV_BLOCK_BYTES)
    parse = pc.ParseOptions(newlines_in_values=True)
    with pc.open_csv(name, read, parse) as head:
        column = _column(name, head.schema.names)
    convert = pc.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
    return column, _texts(pc.open_csv(name, read, parse, convert), column)


def _parquet(name: str) -> tuple[str, Iterator[str | None]]:
    file = pq.ParquetFile(name)
    column = _column(name, file.schema_arrow.names)
    return column, _texts(file.iter_batches(columns=[column]), column)


def _texts(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[str | None]:
    for batch in batches:
        yield from batch.column(column).cast(pa.string()).to_pylist()


def _column(name: str, names: Sequence[str]) -> str:
    for column in COLUMNS:
        if column in names:
            return column
    have = ", ".join(map(repr, names[:10]))
    raise InputsUnusable(f"{name} has no column 'url' or 'path', only {have}: rename one of them.")


def _numbered(places: Iterable[Place], *, empty: str) -> pa.Table:
    """Put the places into a table, a batch at a time: millions of them are no list of objects."""
    batches: list[pa.RecordBatch] = []
    count, rest = 0, iter(places)
    while part := list(islice(rest, 65536)):
        columns = {name: [getattr(each, name) for each in part] for name in SCHEMA.names[1:]}
        rows = range(count, count + len(part))
        batches.append(pa.RecordBatch.from_pydict({"row": rows, **columns}, schema=SCHEMA))
        count += len(part)
    if not batches:
        raise InputsUnusable(empty)
    return pa.Table.from_batches(batches, SCHEMA)
