"""A request's body, read once for two readers: a search for images, and the application.

    http.request... --> Body.read --> Spool --> Body.replay --> the application
                          |
                          +--> search (asgi_search.py)

Knows neither forms nor images.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol, TypeVar

SPOOL_BYTES = 1024 * 1024
"""How much of a body, and of each image in it, is kept in memory."""
BLOCK_BYTES = 512 * 1024
"""How much is written at once: a thread for each message would take longer than the disk."""
CHUNK_BYTES = 256 * 1024
"""How much the application is given at once."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
T = TypeVar("T")


class Reader(Protocol):
    """Who else reads a body while it is kept."""

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""


class Spool:
    """Bytes to be read again: in memory up to SPOOL_BYTES, in a temporary file beyond.

    Write all of them, rewind, then read. The file is written and read in threads.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile[bytes](max_size=SPOOL_BYTES)
        self._block = bytearray()
        self._size = 0

    async def write(self, chunk: bytes) -> None:
        """Keep the next bytes."""
        self._block += chunk
        if len(self._block) >= BLOCK_BYTES:
            await self._flush()

    async def rewind(self) -> None:
        """Go back to the first byte."""
        await self._flush()
        await self._do(self._file.seek, 0)

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes, or all that are left."""
        return await self._do(self._file.read, size)

    def close(self) -> None:
        """Forget what was kept."""
        self._file.close()

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        self._size += len(block)
        await self._do(self._file.write, bytes(block))

    async def _do(self, work: Callable[[Any], T], what: Any) -> T:
        if self._size <= SPOOL_BYTES:
            return work(what)
        return await asyncio.to_thread(work, what)


class Body:
    """The body of one request: read whole or to a limit, then replayed to the application."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._spool = Spool()
        self._left = 0
        self._is_owed = False
        """True where the application has still to be given what was read, even if it is nothing."""
        self.is_whole = False
        """False where the limit came before the end."""
        self.is_gone = False
        """True where the connection ended before the body did."""

    async def read(self, search: Reader, *, limit: int) -> None:
        """Keep the body and have it searched, until its end or the limit."""
        self._is_owed = True
        while not self.is_whole and self._left <= limit:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                break
            chunk = message.get("body", b"")
            await self._spool.write(chunk)
            await search.feed(chunk)
            self._left += len(chunk)
            self.is_whole = not message.get("more_body", False)
        await self._spool.rewind()

    async def replay(self) -> Message:
        """Return the next message for the application: what was kept, then what comes."""
        if self._is_owed:
            chunk = await self._spool.read(CHUNK_BYTES)
            self._left -= len(chunk)
            self._is_owed = self._left > 0
            more = self._is_owed or not self.is_whole
            return {"type": "http.request", "body": chunk, "more_body": more}
        return {"type": "http.disconnect"} if self.is_gone else await self._receive()

    def close(self) -> None:
        """Forget what was kept."""
        self._spool.close()
