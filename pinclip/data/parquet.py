"""Community Forensics: Parquet shards with one image a line.

    data/**/*.parquet   image_data (or image), label (1: fake), architecture, subset, split,
                        model_name, real_source

The paper's card names these columns; others are found by what they hold, and what is missing is
said. Only small columns are read to list the set; an image is read with its row group, of which
the last few are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DataError, UnreadableError, first
from .folds import UNFOLDED
from .manifest import Listing, Row

if TYPE_CHECKING:
    import pyarrow as pa

DRAWING = """data/**/*.parquet with columns
  image_data or image   (encoded bytes, or a struct with bytes)
  label   (1: fake, 0: real)
  architecture, subset, split, model_name, real_source   (as far as there)"""
_MODELS = ("model_name", "model", "generator", "generator_name")
_SMALL = ("label", "architecture", "subset", "split", "real_source", *_MODELS)
_KEPT = 2
"""Row groups that stay in memory."""


class _Columns(NamedTuple):
    image: str
    model: str | None
    small: list[str]


def open_parquet(where: Path) -> tuple[Listing, Callable[[Row], bytes]]:
    """Return the images of all Parquet files below a folder and the function that reads one.

    A row's file is "<path>.parquet/<line from 0>". Raises DataError: unknown_layout where columns
    are missing, contradictory_labels where label and architecture disagree, bad_manifest.
    """
    rows: list[Row] = []
    columns: dict[str, _Columns] = {}
    for path in sorted(where.rglob("*.parquet")):
        name = path.relative_to(where).as_posix()
        columns[name] = _columns(path)
        rows.extend(_rows(name, path, columns[name]))
    nameless = [name for name, found in columns.items() if found.model is None]
    notes = (
        (f"No column of {first(nameless)} names the generator: sources are architectures.",)
        if nameless
        else ()
    )
    images = {name: found.image for name, found in columns.items()}
    return Listing(rows, groups_are_stated=False, notes=notes), partial(_read, where, images)


def _columns(path: Path) -> _Columns:
    """Return which column holds what."""
    schema = _schema(path)
    image = next((field.name for field in schema if _holds_images(field)), None)
    if image is None or "label" not in schema.names:
        raise DataError(
            "unknown_layout",
            f"{path} has the columns {first(schema.names)}; needed are label and encoded images. "
            f"Expected:\n{DRAWING}",
        )
    model = next((name for name in _MODELS if name in schema.names), None)
    return _Columns(image, model, [name for name in _SMALL if name in schema.names])


def _schema(path: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise DataError("bad_manifest", f"{path} is no Parquet file: {error}.") from None


def _holds_images(field: pa.Field) -> bool:
    """Whether a column is bytes, or a struct that has them."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_struct(kind):
        kind = next((part.type for part in kind if part.name == "bytes"), kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(name: str, path: Path, columns: _Columns) -> Iterator[Row]:
    import pyarrow.parquet as pq

    lines: Iterable[dict[str, Any]] = pq.read_table(path, columns=columns.small).to_pylist()
    for number, line in enumerate(lines):
        label = _label(f"{name}/{number}", line)
        generator = str(line.get(columns.model or "") or "") if label == "ai" else ""
        source = generator or _origin(line, label)
        yield Row(
            file=f"{name}/{number}",
            label=label,
            source=source,
            group=source,
            fold=UNFOLDED,
            style="other",
            sha256_of_original="",
            generator=generator or (_origin(line, label) if label == "ai" else ""),
            split=str(line.get("split") or ""),
        )


def _origin(line: dict[str, Any], label: str) -> str:
    """Return where an image without a model's name comes from."""
    names = ("real_source", "subset") if label == "real" else ("architecture", "subset")
    return next((str(line[name]) for name in names if line.get(name)), label)


def _label(where: str, line: dict[str, Any]) -> str:
    label = {"1": "ai", "0": "real"}.get(str(line["label"]))
    if label is None:
        raise DataError("bad_manifest", f"{where}: label {line['label']!r}: it is 1 or 0.")
    architecture = str(line.get("architecture") or "").lower()
    if architecture and (architecture == "real") != (label == "real"):
        raise DataError(
            "contradictory_labels",
            f"{where}: label {line['label']} with architecture {architecture!r}: "
            "a label is 1 (fake) or 0 (real).",
        )
    return label


def _read(where: Path, images: dict[str, str], row: Row) -> bytes:
    name, _, number = row.file.rpartition("/")
    if name not in images or not number.isdecimal():
        raise UnreadableError(f"{row.file} is in no Parquet file of the set")
    group, index = _locate(where / name, int(number))
    cell = _group(where / name, group, images[name])[index].as_py()
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not data:
        raise UnreadableError(f"{row.file} has no image in column {images[name]}")
    return bytes(data)


def _locate(path: Path, number: int) -> tuple[int, int]:
    """Return the row group of a line and the line's place in it."""
    for group, length in enumerate(_lengths(path)):
        if number < length:
            return group, number
        number -= length
    raise UnreadableError(f"{path.name} has no such line")


@cache
def _lengths(path: Path) -> tuple[int, ...]:
    """Return the lines in each row group of a file."""
    import pyarrow.parquet as pq

    meta = pq.read_metadata(path)
    return tuple(meta.row_group(group).num_rows for group in range(meta.num_row_groups))


@lru_cache(maxsize=_KEPT)
def _group(path: Path, group: int, column: str) -> pa.ChunkedArray:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)
