"""Finds the images in a request's body while it goes by.

    headers --search_of--> a form:      each file in it --\
                           one file:    the body itself ---+--> Image, Image...
                           unreadable:  why --------------/
                           else None

Forms are read by the package `multipart`, as they come; images are kept in a Spool each. Knows no
server and no policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

try:
    from multipart import (  # type: ignore[import-untyped]  # it has no types
        MultipartError,
        MultipartSegment,
        PushMultipartParser,
        parse_options_header,
    )
except ImportError as error:  # or python-multipart alone, which has the same name
    raise ImportError(
        f"The upload middleware needs more than is installed ({error}): pip install 'pinclip[asgi]'"
    ) from error

from sdk.errors import PinclipError
from sdk.moderation.uploads import (
    HEAD_BYTES,
    IMAGE_LIMIT_BYTES,
    is_image,
    too_large,
    unreadable,
)

from .asgi_body import Spool

NAME_LIMIT = 100
_ANYTHING = ("", "application/octet-stream")
"""Types of a body that do not say what it is."""


class Search(Protocol):
    """Looks for images in a body that goes by."""

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""

    def found(self, *, limit: int | None) -> list[Image]:
        """Return the images; `limit` is where reading stopped, None at the body's end."""


def search_of(headers: Iterable[tuple[bytes, bytes]], files: ExitStack) -> Search | None:
    """Return how to find images in a body of these headers, or None where none are looked for.

    That is: in forms, in bodies of a type image/*, and in those of no type or one that says
    nothing. What is opened is closed by `files`.
    """
    types = _values(headers, b"content-type")
    kind, options = parse_options_header(types[0] if types else "")
    if len(types) > 1:  # an application might go by the other one
        return _Fruitless("it has more than one content-type")
    is_form = kind == "multipart/form-data"
    if not is_form and not kind.startswith("image/") and kind not in _ANYTHING:
        return None
    codings = [coding.strip().lower() for coding in _values(headers, b"content-encoding")]
    if any(coding != "identity" for coding in codings):
        return _Fruitless("it has a content-encoding")
    if not is_form:
        return _FileSearch(_Part("body", kind, _spool(files)))
    try:
        return _FormSearch(PushMultipartParser(options.get("boundary", "")), files)
    except MultipartError as error:
        return _Fruitless(str(error))


class Image(NamedTuple):
    """An image that was found, and how to read it or why it cannot be sent."""

    name: str
    source: Callable[[], Awaitable[bytes]] | PinclipError


class _Part:
    """One file within a body: kept if its type or its first bytes are those of an image."""

    def __init__(self, name: str, kind: str, spool: Spool) -> None:
        self._name = name
        self._kind = kind
        self._spool = spool
        self._head = b""
        self._size = 0

    async def write(self, chunk: bytes) -> None:
        """Keep a chunk, as long as it may be of an image that can be sent."""
        self._size += len(chunk)
        self._head += chunk[: max(HEAD_BYTES - len(self._head), 0)]
        is_known = len(self._head) == HEAD_BYTES
        if self._size <= IMAGE_LIMIT_BYTES and (not is_known or is_image(self._kind, self._head)):
            await self._spool.write(chunk)

    def image(self) -> Image | None:
        """Return it as an image, unless it is another file, or none was chosen."""
        if not self._size or not is_image(self._kind, self._head):
            return None
        if self._size > IMAGE_LIMIT_BYTES:
            return Image(self._name, too_large("The image", limit=IMAGE_LIMIT_BYTES))
        return Image(self._name, self._read)

    async def _read(self) -> bytes:
        await self._spool.rewind()
        return await self._spool.read()


class _Fruitless:
    """Finds nothing, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def feed(self, chunk: bytes) -> None:
        """Take nothing."""

    def found(self, *, limit: int | None) -> list[Image]:  # noqa: ARG002
        """Return no image, but why none is known."""
        return [Image("body", unreadable(self._why))]


class _FileSearch:
    """A body that is one file."""

    def __init__(self, part: _Part) -> None:
        self._part = part

    async def feed(self, chunk: bytes) -> None:
        """Keep the next bytes."""
        await self._part.write(chunk)

    def found(self, *, limit: int | None) -> list[Image]:
        """Return the file if it is an image."""
        image = self._part.image()
        if image is None:
            return []
        return [image if limit is None else Image(image.name, too_large("The body", limit=limit))]


class _FormSearch:
    """A form: every file in it that is an image."""

    def __init__(self, parser: PushMultipartParser, files: ExitStack) -> None:
        self._parser = parser
        self._files = files
        self._part: _Part | None = None
        self._images: list[Image] = []
        self._fault = ""

    async def feed(self, chunk: bytes) -> None:
        """Parse the next bytes; what cannot be parsed ends the search."""
        if self._fault or not chunk:
            return
        try:
            for event in self._parser.parse(chunk):
                await self._take(event)
        except MultipartError as error:
            self._fault = str(error)

    def found(self, *, limit: int | None) -> list[Image]:
        """Return the images of all parts that ended, and why there may be more."""
        if limit is not None:
            return [*self._images, Image("body", too_large("The body", limit=limit))]
        if not self._fault:
            try:
                self._parser.close()
            except MultipartError as error:  # the body ends before the form does
                self._fault = str(error)
        faults = [Image("body", unreadable(self._fault))] if self._fault else []
        return [*self._images, *faults]

    async def _take(self, event: Any) -> None:
        if isinstance(event, MultipartSegment):
            self._part = self._begin(event)
        elif self._part is None:
            return
        elif event is not None:
            await self._part.write(event)
        elif (image := self._part.image()) is not None:
            self._images.append(image)

    def _begin(self, segment: Any) -> _Part | None:
        kind = segment.content_type or ""
        if segment.filename is None and not kind.startswith("image/"):
            return None
        name = str(segment.name)[:NAME_LIMIT]
        count = sum(image.name.partition("[")[0] == name for image in self._images)
        return _Part(f"{name}[{count}]" if count else name, kind, _spool(self._files))


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name.lower() == wanted]


def _spool(files: ExitStack) -> Spool:
    spool = Spool()
    files.callback(spool.close)
    return spool
