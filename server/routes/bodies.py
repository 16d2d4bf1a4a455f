"""Reads request bodies within limits, whatever Content-Length says. Knows no rule.

read_json       application/json, whole, at most 64 KiB or what its caller allows
file_chunks     the bytes of an upload as they arrive: the body itself, or the one file of a form
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from multipart import (  # type: ignore[import-untyped]  # it has no types
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from sdk.codes import ProblemCode
from sdk.wire import Fault
from server.refused import Refused

from .given import AnyRequest

JSON_LIMIT_BYTES = 64 * 1024
"""Largest JSON body, but of a batch."""
FORM_LIMIT_BYTES = 64 * 1024
"""Most bytes of a form besides its file."""
FORM = "multipart/form-data"


async def read_json(request: AnyRequest, *, limit: int = JSON_LIMIT_BYTES) -> bytes:
    """Return the body of a JSON request; raises Refused for another type or a longer one."""
    kind, _ = _content_type(request)
    if kind != "application/json":
        raise _unsupported(kind, "application/json")
    body = bytearray()
    async for chunk in _pieces(request):
        body += chunk
        if len(body) > limit:
            raise _too_large(f"The body is larger than {limit} bytes.")
    return bytes(body)


def file_chunks(request: AnyRequest) -> AsyncIterator[bytes]:
    """Yield the bytes of an upload; raises Refused for a type or a form that is not taken."""
    kind, options = _content_type(request)
    if kind == FORM:
        return _file_of_form(request, options.get("boundary", ""))
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _pieces(request)
    raise _unsupported(kind, f"image/*, application/octet-stream or {FORM}")


async def _pieces(request: AnyRequest) -> AsyncIterator[bytes]:
    while True:
        event: Any = await request.receive()
        if event["type"] == "http.disconnect":
            raise _bad_body("The connection ended before the body did.")
        if event.get("body"):
            yield event["body"]
        if not event.get("more_body"):
            return


def _content_type(request: AnyRequest) -> tuple[str, dict[str, str]]:
    """Return the media type and its parameters; raises Refused if the body is compressed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Refused(
            ProblemCode.MEDIA_TYPE_UNSUPPORTED,
            f"The body is encoded as {encoding[:40]!r}; send it as it is.",
        )
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    return kind, options


async def _file_of_form(request: AnyRequest, boundary: str) -> AsyncIterator[bytes]:
    try:
        form = _Form(boundary)
        async for chunk in _pieces(request):
            for data in form.file_bytes(chunk):
                yield data
        form.end()
    except MultipartError as error:
        raise _bad_body(f"The form cannot be read: {error}.") from error


class _Form:
    """A form with one file, read piece by piece."""

    def __init__(self, boundary: str) -> None:
        self._parser = PushMultipartParser(boundary, max_segment_count=8)
        self._is_in_file = False
        self._files = 0
        self._bytes = 0
        self._file_bytes = 0

    def file_bytes(self, chunk: bytes) -> list[bytes]:
        """Return what of the file is in this piece of the body."""
        found: list[bytes] = []
        for event in self._parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                self._enter(event)
            elif event is None:
                self._is_in_file = False
            elif self._is_in_file:
                found.append(bytes(event))
        self._count(len(chunk), sum(map(len, found)))
        return found

    def end(self) -> None:
        """Say that the body is at its end; raises Refused if it had no file."""
        self._parser.close()
        if not self._files:
            raise _bad_body("The form has no file: send one part with a file name.")

    def _enter(self, segment: MultipartSegment) -> None:
        self._is_in_file = segment.filename is not None
        if self._is_in_file:
            self._files += 1
            if self._files > 1:
                raise _bad_body("The form has more than one file: send each on its own.")

    def _count(self, arrived: int, of_file: int) -> None:
        self._bytes += arrived
        self._file_bytes += of_file
        if self._bytes - self._file_bytes > FORM_LIMIT_BYTES:
            raise _too_large(f"The form has more than {FORM_LIMIT_BYTES} bytes besides its file.")


def _unsupported(kind: str, expected: str) -> Refused:
    given = f"{kind[:80]!r}" if kind else "missing"
    return Refused(
        ProblemCode.MEDIA_TYPE_UNSUPPORTED, f"The Content-Type is {given}; expected {expected}."
    )


def _too_large(detail: str) -> Refused:
    return Refused(ProblemCode.BODY_TOO_LARGE, detail)


def _bad_body(detail: str) -> Refused:
    fault = Fault("", ProblemCode.INVALID_PARAMETER, detail)
    return Refused(ProblemCode.INVALID_PARAMETER, detail, errors=[fault])
