"""JSON lines: a bot of any language, or of a shell. Items come on stdin, what to do on stdout.

    your program --{"id", "images"}--> stdin --> Item, Media        (a bad line: stderr, skipped)
    your program <--{"type", "key"}-- stdout <-- apply, undo, notify

One way: nothing is read back, so an undo counts as done when it is written. A line is told from
the same line said again by its `type` and `key` together; after a kill the last line may be half
a line, and is said again whole. The forms of the lines are in orders.py; knows nothing of what
happens at either end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from sdk._calls import load
from sdk.errors import InputError
from sdk.moderation.platform import (
    Action,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    PlatformError,
    Plugin,
    UndoResult,
    UndoToken,
)

from .orders import Order, action_order, notice_order, read_item, token_of, undo_order

LINE_LIMIT_BYTES = 1024 * 1024
"""Longest line that is read; a longer one is skipped, so that no line fills the memory."""
_CHUNK_BYTES = 64 * 1024
_SHOWN = 80
"""How much of a bad line is told, in characters."""

_log = logging.getLogger("pinclip.bot.jsonl")


class JsonlSettings(Struct, frozen=True, kw_only=True):
    """There is nothing to set: the two ends are stdin and stdout."""


class Jsonl:
    """A platform at the two ends of a pipe: file descriptors `source` and `sink`, left open."""

    capabilities = frozenset(Capability)

    def __init__(self, *, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._turn = asyncio.Lock()

    async def items(self, after: str | None) -> AsyncIterator[Item]:  # noqa: ARG002
        """Yield what each good line holds, until the end of stdin.

        `after` is not heeded: a pipe begins where its writer likes, and the journal knows what
        was handled before.
        """
        number = 0
        async for line in _lines(self._source):
            number += 1
            item = _item(line, number)
            if item is not None:
                yield item

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images of the line, in its order."""
        images = msgspec.json.decode(item.extra["images"], type=tuple[str, ...])
        return [_media(image, str(index)) for index, image in enumerate(images)]

    async def exempt(self, item: Item) -> bool:
        """Tell if the line said so."""
        return "exempt" in item.extra

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Say it on stdout; the reader knows by the key if it was said before."""
        await self._say(action_order(item, action))
        return token_of(item, action)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Say it on stdout; whether a person has acted since is the reader's to know."""
        await self._say(undo_order(token))
        return UndoResult.UNDONE

    async def notify(self, item: Item, notice: Notice) -> None:
        """Say it on stdout."""
        await self._say(notice_order(item, notice))

    async def _say(self, order: Order) -> None:
        line = msgspec.json.encode(order) + b"\n"
        async with self._turn:  # two lines must not be woven into one another
            try:
                # In a thread: a reader that is slow must not stop the rest of the bot.
                await asyncio.to_thread(_write, self._sink, line)
            except BrokenPipeError as error:
                raise PermissionLost(
                    f"Nobody reads stdout any more: {order.item} was told to no one.",
                    hint="Start the program that reads it, and then the bot again.",
                ) from error
            except OSError as error:
                raise PlatformError(
                    f"A line about {order.item} could not be written to stdout: {error}.",
                    hint="Make room on the disk, or write to a pipe.",
                ) from error


@asynccontextmanager
async def _open(_settings: JsonlSettings) -> AsyncIterator[Jsonl]:
    sys.stdout.flush()
    yield Jsonl(source=sys.stdin.fileno(), sink=sys.stdout.fileno())


PLUGIN = Plugin(settings=JsonlSettings, open=_open)


async def _lines(source: int) -> AsyncIterator[bytes]:
    """Yield each line without its end, cut to one byte more than LINE_LIMIT_BYTES."""
    rest = b""
    async for chunk in _chunks(source):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        rest = rest[: LINE_LIMIT_BYTES + 1]
    if rest:
        yield rest


async def _chunks(source: int) -> AsyncIterator[bytes]:
    # Not a thread that blocks in read(): it could not be stopped before the next line.
    while chunk := await _next(source):
        yield chunk


async def _next(source: int) -> bytes:
    """Return the next bytes once there are some; none at the end."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    try:
        loop.add_reader(source, there.set)
    except PermissionError:  # a file on disk can always be read, and cannot be waited for
        return await asyncio.to_thread(os.read, source, _CHUNK_BYTES)
    try:
        await there.wait()
    finally:
        loop.remove_reader(source)
    return os.read(source, _CHUNK_BYTES)


def _item(line: bytes, number: int) -> Item | None:
    """Return the item of a line; None, and a word on stderr, if it has none."""
    if not line.strip():
        return None
    if len(line) > LINE_LIMIT_BYTES:
        _log.warning("Line %d is longer than %d bytes: skipped.", number, LINE_LIMIT_BYTES)
        return None
    try:
        read = read_item(line)
    except InputError as error:
        shown = line[:_SHOWN].decode(errors="replace")
        _log.warning("Line %d is skipped: %s It begins %r.", number, error, shown)
        return None
    return read.item(cursor=str(number), images=msgspec.json.encode(read.images).decode())


def _media(image: str, name: str) -> Media:
    if image.lower().startswith(("http://", "https://")):
        return Media(id=name, url=image)

    async def read() -> bytes:
        try:
            return await asyncio.to_thread(load, Path(image))
        except FileNotFoundError as error:
            raise ItemGone(f"There is no file {image!r}.", hint="Give the whole path.") from error
        except OSError as error:
            raise PlatformError(f"{image!r} cannot be read: {error}.") from error

    return Media(id=name, load=read)


def _write(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]
