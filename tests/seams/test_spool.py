"""What Spool promises, on the fake and on files."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server import ids
from server.ports import Spool
from server.spool import FileSpool
from tests.fakes import ManualClock, MemorySpool, chunks_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["fake", "files"])
def spool(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Spool:
    return MemorySpool(clock) if request.param == "fake" else FileSpool(tmp_path, clock)


async def test_spool_tells_size_digest_and_end_of_what_it_keeps(
    spool: Spool, clock: ManualClock
) -> None:
    upload = await spool.store(chunks_of(b"abc", b"", b"def"), owner="ada")

    assert ids.is_upload_id(upload.id)
    assert upload.bytes == 6
    assert upload.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert upload.expires_at == ids.rfc3339(clock.now() + 900)


async def test_spool_finds_what_it_keeps(spool: Spool) -> None:
    upload = await spool.store(chunks_of(b"abc"), owner="ada")

    assert await spool.find(upload.id, owner="ada") == upload
    assert await spool.kept() == [upload.id]


async def test_spool_finds_nothing_under_an_id_it_did_not_give(spool: Spool) -> None:
    await spool.store(chunks_of(b"abc"), owner="ada")

    assert await spool.find(ids.upload_id(0), owner="ada") is None
    assert await spool.find("../records.sqlite3", owner="ada") is None


async def test_spool_finds_for_an_owner_what_is_its_own(spool: Spool) -> None:
    upload = await spool.store(chunks_of(b"abc"), owner="ada")

    assert await spool.find(upload.id, owner="bob") is None
    assert await spool.find(upload.id, owner="ada") == upload


async def test_spool_finds_nothing_after_fifteen_minutes(spool: Spool, clock: ManualClock) -> None:
    upload = await spool.store(chunks_of(b"abc"), owner="ada")

    clock.advance(899)
    before = await spool.find(upload.id, owner="ada")
    clock.advance(2)
    after = await spool.find(upload.id, owner="ada")

    assert (before, after) == (upload, None)


async def test_spool_forgets_what_it_is_told_to(spool: Spool) -> None:
    gone, stays = [await spool.store(chunks_of(b"abc"), owner="ada") for _ in range(2)]

    await spool.forget([gone.id, ids.upload_id(0)])

    assert await spool.kept() == [stays.id]
    assert await spool.find(gone.id, owner="ada") is None


async def test_spool_keeps_nothing_of_a_body_that_broke_off(spool: Spool) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await spool.store(broken(), owner="ada")

    assert await spool.kept() == []
