"""Uploads as files: who may read them, and what is left when something breaks off."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server import ids
from server.ports import Unavailable
from server.spool import WRITE_BYTES, FileSpool
from tests.fakes import ManualClock, chunks_of
from worker.contract import upload_path

pytestmark = pytest.mark.anyio


@pytest.fixture
def spool(tmp_path: Path) -> FileSpool:
    return FileSpool(tmp_path, ManualClock())


async def test_file_is_where_the_worker_looks_and_whole(spool: FileSpool, tmp_path: Path) -> None:
    data = bytes(range(256)) * (3 * WRITE_BYTES // 256)

    upload = await spool.store(chunks_of(data[:1000], data[1000:]), owner="ada")

    assert upload_path(tmp_path, upload.id).read_bytes() == data


async def test_files_and_folder_are_ours_alone(spool: FileSpool, tmp_path: Path) -> None:
    await spool.store(chunks_of(b"abc"), owner="ada")

    folder = tmp_path / "uploads"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


async def test_file_has_no_name_before_it_is_whole(spool: FileSpool, tmp_path: Path) -> None:
    async def looks_meanwhile() -> AsyncIterator[bytes]:
        yield bytes(WRITE_BYTES)
        (part,) = (tmp_path / "uploads").iterdir()
        assert part.name.startswith(".")
        yield b"more"

    upload = await spool.store(looks_meanwhile(), owner="ada")

    assert upload_path(tmp_path, upload.id).stat().st_size == WRITE_BYTES + 4


async def test_body_that_breaks_off_leaves_no_file(spool: FileSpool, tmp_path: Path) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield bytes(WRITE_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await spool.store(breaks_off(), owner="ada")

    assert list((tmp_path / "uploads").iterdir()) == []


async def test_full_disk_is_unavailable_and_leaves_no_file(
    spool: FileSpool, tmp_path: Path
) -> None:
    # A limit on the size of files stands for the disk; the system call fails alike.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITE_BYTES, before[1]))
    try:
        with pytest.raises(Unavailable, match="store: uploads"):
            await spool.store(chunks_of(bytes(WRITE_BYTES), bytes(WRITE_BYTES)), owner="ada")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list((tmp_path / "uploads").iterdir()) == []


async def test_leftovers_of_a_crash_are_kept_track_of_and_can_be_forgotten(
    spool: FileSpool, tmp_path: Path
) -> None:
    half, bare, facts = (ids.upload_id(ManualClock().now()) for _ in range(3))
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / f".{half}.part").touch()
    (folder / bare).touch()
    (folder / f"{facts}.json").write_text("{")
    (folder / "README").touch()

    assert await spool.kept() == sorted([half, bare, facts])
    assert [await spool.find(one, owner="ada") for one in (half, bare, facts)] == [None, None, None]
    await spool.forget(await spool.kept())

    assert [path.name for path in folder.iterdir()] == ["README"]


async def test_forget_touches_nothing_outside_its_folder(spool: FileSpool, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    await spool.store(chunks_of(b"abc"), owner="ada")

    await spool.forget(["../precious", "/etc/passwd", ""])

    assert precious.exists()
