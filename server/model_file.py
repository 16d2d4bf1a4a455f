"""What an exported model's file says of itself, and its bytes: the file of PINCLIP_ONNX.

    ONNX is a protobuf message: field 14 of it, many times: {1: key, 2: value}
    read(path)   -> weights_sha256 (pinclip.weights_sha256), size, ETag
    parts(facts) -> its bytes from one to another, in pieces

`pinclip export` writes that metadata, so a file that was exported from other weights than those
that score now is known without a name or a second file. All else is passed over by seeking: no
library is needed to find one text, and none may load the model here. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import anyio
from msgspec import Struct

METADATA, KEY, VALUE = 14, 1, 2
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
"""Kinds of protobuf fields."""
ENTRY_LIMIT = 1 << 20
"""Bytes of one entry of the metadata that are read."""
PIECE_BYTES = 1 << 18


class OnnxFacts(Struct, frozen=True, kw_only=True):
    """A model's file as it was when it was looked at."""

    path: Path
    weights_sha256: str
    size: int
    etag: str


def read(path: Path) -> OnnxFacts:
    """Return what the file says; raises OSError, or ValueError if `pinclip export` wrote no such.

    Blocks for a few reads.
    """
    with path.open("rb") as file:
        return _facts(path, file)


async def parts(facts: OnnxFacts, *, start: int, end: int) -> AsyncIterator[bytes]:
    """Yield the file's bytes from `start` up to `end`; raises OSError if it was replaced since."""
    async with await anyio.open_file(facts.path, "rb") as file:
        if await anyio.to_thread.run_sync(_etag, file.wrapped, facts.weights_sha256) != facts.etag:
            raise OSError(f"{facts.path.name} was replaced while it was being sent.")
        await file.seek(start)
        while start < end:
            piece = await file.read(min(PIECE_BYTES, end - start))
            if not piece:
                raise OSError(f"{facts.path.name} became shorter while it was being sent.")
            start += len(piece)
            yield piece


def _facts(path: Path, file: IO[bytes]) -> OnnxFacts:
    said = dict(_metadata(file))
    weights = said.get("pinclip.weights_sha256")
    if not weights:
        raise ValueError(f"{path.name} is no ONNX file that `pinclip export` wrote.")
    size = file.seek(0, 2)
    return OnnxFacts(path=path, weights_sha256=weights, size=size, etag=_etag(file, weights))


def _etag(file: IO[bytes], weights: str) -> str:
    """Return what changes whenever the file does."""
    state = os.fstat(file.fileno())
    return f'"{weights[:16]}-{state.st_size:x}-{state.st_mtime_ns:x}"'


def _metadata(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    for field, length in _fields(file):
        if field == METADATA and length <= ENTRY_LIMIT:
            entry = BytesIO(file.read(length))
            found = {part: entry.read(size).decode() for part, size in _fields(entry)}
            yield found.get(KEY, ""), found.get(VALUE, "")


def _fields(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield number and length of each field with a length; the file stands at its content."""
    while (tag := _varint(file)) is not None:
        kind = tag % 8
        if kind == VARINT:
            _varint(file)
        elif kind == DELIMITED:
            length = _varint(file) or 0
            after = file.tell() + length
            yield tag // 8, length
            file.seek(after)
        elif kind in (FIXED64, FIXED32):
            file.seek(8 if kind == FIXED64 else 4, 1)
        else:
            raise ValueError("The file is no protobuf message.")


def _varint(file: IO[bytes]) -> int | None:
    """Return a number, or None at the end of the file."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("The file is no protobuf message.")
