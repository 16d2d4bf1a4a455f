"""Reads the images that `pinclip batch` is to check: a .csv with a header, or a .txt.

    IN.csv   columns url or path, and id if you like    --read--> Row(line, id, source)
    IN.txt   a URL or a path a line                     --read--> Broken(line, id, why)

A row that names no image is Broken and stops nothing. Relative paths begin at IN's own folder.
A row without an id is called by its URL or path, as written.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from sdk.errors import InputError

from .shell import is_url
from .words import printable

COLUMNS = ("url", "path")
"""What names the image."""


class Row(NamedTuple):
    """One image to check: `source` is a URL, or a path as written; `line` counts from 1."""

    line: int
    id: str
    source: str
    image: str | Path


class Broken(NamedTuple):
    """A row that names no image, and why not."""

    line: int
    id: str
    why: str


def read(path: Path) -> Iterator[Row | Broken]:
    """Yield the rows of a file, in order.

    Raises InputError if it is no .csv or .txt, or has none of the columns; OSError.
    """
    readers = {".csv": _of_csv, ".txt": _of_text}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} is neither .csv nor .txt.",
            hint="Name a .csv with a column url or path, or a .txt with a URL or path a line.",
        )
    # Names of files may have any bytes; utf-8-sig drops the mark that spreadsheets put first.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from reader(file, path.absolute().parent)


def _of_text(file: TextIO, folder: Path) -> Iterator[Row]:
    for number, text in enumerate(file, 1):
        if source := text.strip():
            yield _row(number, source, source, folder)


def _of_csv(file: TextIO, folder: Path) -> Iterator[Row | Broken]:
    lines = csv.reader(file)
    header = [name.strip().lower() for name in _header(lines)]
    if not set(COLUMNS) & set(header):
        raise InputError(
            f"{file.name} has the columns {', '.join(map(printable, header)) or '(none)'}.",
            hint="Name one of them url or path, in the first line.",
        )
    while True:
        try:
            fields = next(lines, None)
        except csv.Error as error:
            yield Broken(lines.line_num, f"line {lines.line_num}", f"It is not CSV: {error}.")
            continue
        if fields is None:
            return
        if fields:
            yield _of_fields(lines.line_num, header, fields, folder)


def _header(lines: Iterator[list[str]]) -> list[str]:
    try:
        return next(lines, [])
    except csv.Error as error:
        raise InputError(
            f"The first line is not CSV: {error}.", hint="Name the columns there, such as id,url."
        ) from None


def _of_fields(number: int, header: list[str], fields: list[str], folder: Path) -> Row | Broken:
    named = dict(zip(header, (field.strip() for field in fields), strict=False))
    sources = [(column, named[column]) for column in COLUMNS if named.get(column)]
    row_id = printable(named.get("id") or "")
    called = row_id or f"line {number}"
    if len(fields) > len(header):
        why = f"It has {len(fields)} fields, and the first line names {len(header)}."
        return Broken(number, called, why)
    if len(sources) != 1:
        how_many = "both a url and a path" if sources else "neither a url nor a path"
        return Broken(number, called, f"It has {how_many}; give one of them.")
    column, source = sources[0]
    if column == "url" and not is_url(source):
        return Broken(number, called, f"{printable(source[:60])!r} is not an http or https URL.")
    return _row(number, row_id or source, source, folder, may_be_url=column == "url")


def _row(line: int, row_id: str, source: str, folder: Path, *, may_be_url: bool = True) -> Row:
    image = source if may_be_url and is_url(source) else folder / source
    return Row(line, printable(row_id), printable(source), image)
