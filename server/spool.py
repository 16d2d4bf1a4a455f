"""Uploads on disk, below the state folder, where the worker reads them. Knows nothing of HTTP.

    uploads/upl_..        the bytes        written whole and synced before they have this name
    uploads/upl_...json   whose, sha256 and size; there before the bytes are
    uploads/.upl_...part  on its way in; a leftover of a crash is swept like the rest

An id is matched against its pattern before it becomes a path. What the disk refuses, most often
because it is full, is Unavailable("store").
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from sdk.wire import Upload
from worker.contract import UPLOAD_SECONDS, upload_path

from . import ids
from .ports import Clock, Unavailable

WRITE_BYTES = 1024 * 1024
"""Bytes gathered before a write, which costs a trip to a thread."""

_T = TypeVar("_T")


class _Facts(Struct, frozen=True, kw_only=True):
    """What is known of an upload besides its bytes."""

    owner: str
    upload: Upload


_facts_decoder = msgspec.json.Decoder(_Facts)


class FileSpool:
    """Spool over files, as ports.py describes it."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / "uploads"
        self._clock = clock

    async def store(self, chunks: AsyncIterable[bytes], *, owner: str) -> Upload:
        """Keep the owner's bytes for 15 minutes; raises Unavailable on a full disk."""
        now = self._clock.now()
        upload_id = ids.upload_id(now)
        part = await _on_disk(partial(_Part, self._folder, upload_id))
        try:
            await _write(part, chunks)
            upload = Upload(
                id=upload_id,
                sha256=part.sha256.hexdigest(),
                bytes=part.size,
                expires_at=ids.rfc3339(now + UPLOAD_SECONDS),
            )
            await _on_disk(partial(part.keep, _Facts(owner=owner, upload=upload)))
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(Unavailable):
                await _on_disk(part.discard)
            raise
        return upload

    async def find(self, upload_id: str, *, owner: str) -> Upload | None:
        """Return the owner's upload if it is still kept."""
        if not ids.is_upload_id(upload_id) or self._is_over(upload_id):
            return None
        facts = await _on_disk(partial(self._read, upload_id))
        return facts.upload if facts is not None and facts.owner == owner else None

    async def kept(self) -> list[str]:
        """Return the ids of all that is kept, leftovers of a crash included."""
        return await _on_disk(self._list)

    async def forget(self, upload_ids: Sequence[str]) -> None:
        """Remove uploads that no scan needs any more."""
        mine = [upload_id for upload_id in upload_ids if ids.is_upload_id(upload_id)]
        await _on_disk(partial(self._remove, mine))

    def _is_over(self, upload_id: str) -> bool:
        return ids.made_at(upload_id) + UPLOAD_SECONDS < self._clock.now()

    def _read(self, upload_id: str) -> _Facts | None:
        if not upload_path(self._state_dir, upload_id).exists():
            return None
        try:
            return _facts_decoder.decode(_facts_path(self._folder, upload_id).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _list(self) -> list[str]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        found = {name.strip(".").partition(".")[0] for name in names}
        return sorted(filter(ids.is_upload_id, found))

    def _remove(self, upload_ids: Sequence[str]) -> None:
        for upload_id in upload_ids:
            upload_path(self._state_dir, upload_id).unlink(missing_ok=True)
            _facts_path(self._folder, upload_id).unlink(missing_ok=True)
            _part_path(self._folder, upload_id).unlink(missing_ok=True)


class _Part:
    """A file that has no name yet under which it would be found. All methods block."""

    def __init__(self, folder: Path, upload_id: str) -> None:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._path = _part_path(folder, upload_id)
        self._file: BinaryIO = open(  # noqa: SIM115 - closed by keep or discard
            self._path, "xb", buffering=0, opener=_opener
        )
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.sha256.update(data)
        self.size += len(data)

    def keep(self, facts: _Facts) -> None:
        """Give the file its name. It and its facts are on disk when this returns."""
        os.fsync(self._file.fileno())
        self._file.close()
        upload_id = facts.upload.id
        with open(_facts_path(self._folder, upload_id), "xb", opener=_opener) as file:
            file.write(msgspec.json.encode(facts))
            file.flush()
            os.fsync(file.fileno())
        self._path.rename(self._folder / upload_id)
        _sync_folder(self._folder)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


async def _write(part: _Part, chunks: AsyncIterable[bytes]) -> None:
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) >= WRITE_BYTES:
            await _on_disk(partial(part.write, bytes(gathered)))
            gathered.clear()
    await _on_disk(partial(part.write, bytes(gathered)))


async def _on_disk(action: Callable[[], _T]) -> _T:
    """Run a blocking action in a thread; what the disk refuses is Unavailable."""
    try:
        return await anyio.to_thread.run_sync(action)
    except OSError as error:
        raise Unavailable("store", f"uploads: {error.strerror or error}") from error


def _facts_path(folder: Path, upload_id: str) -> Path:
    return folder / f"{upload_id}.json"


def _part_path(folder: Path, upload_id: str) -> Path:
    return folder / f".{upload_id}.part"


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
