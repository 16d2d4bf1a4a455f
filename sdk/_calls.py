"""A request as data, and the decisions around it, for both clients. Pure but `load`, `digest`.

    str, Path or bytes --source--> URL | Path --load--> bytes
                                    |                    |
                                    |                  upload() -> Upload
                                    v                    v
                                  submit(url=)         submit(upload_id=)  -> Scan
                                                                               |
                                  scan(id, wait_seconds) ... until it is final |
                                                                               v
                                                       finished() -> Scan or ScanFailed

What is sent in several verbs stands here; a verb that is one request has it in its own file.
Knows nothing of connections, retries or keys: see _transport.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from .errors import InputError, ScanFailed
from .wire import PointName, Priority, Scan, ScanRequest, Status, Upload

UPLOAD_LIMIT_BYTES = 20 * 1024 * 1024
"""Largest image that the server takes."""
HOLD_LIMIT_SECONDS = 30
"""Longest time that the server holds one request for a verdict."""
POLL_SECONDS = 1.0
"""Shortest time between two looks at a scan, should the server not hold the request."""
LAST_LOOK_SECONDS = 0.25
"""What is left of a wait for the way of the last answer, so that it comes within the wait."""
SHORTEST_SECONDS = 1.0
"""What a request has at least, so that `wait=0` asks once."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is not what it should be."""
ID_LIMIT = 255
"""Most letters of an id: a server cuts off a longer path before it reads it."""

T = TypeVar("T")
_JSON = {"Content-Type": "application/json"}
_encoder = msgspec.json.Encoder()


class Call(NamedTuple, Generic[T]):
    """One request: what to send, and the struct that a success holds."""

    method: str
    path: str
    reads: type[T]
    """What the body is read as; NoneType where there is none."""
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    wait_seconds: int = 0
    """How much longer than usual the answer may take."""
    scan_id: str | None = None
    """The scan that the call is about, for its errors."""
    until: float | None = None
    """When the caller's time is up, by the client's clock: no try goes on after it."""
    is_repeatable: bool = True
    """Whether doing it twice is as good as once; else only a plain refusal is tried again."""

    def by(self, until: float | None) -> Call[T]:
        """Return the same call, to be given up at this time."""
        return self._replace(until=until)


NOTHING = type(None)


def get(path: str, reads: type[T], **query: str | int | None) -> Call[T]:
    """Return a GET of the path; what of the query is None is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return Call("GET", f"{path}?{urlencode(given)}" if given else path, reads)


def post(
    path: str,
    reads: type[T],
    body: msgspec.Struct | None = None,
    *,
    idempotency_key: str | None = None,
) -> Call[T]:
    """Return a POST of the body, under the caller's Idempotency-Key if there is one."""
    encoded = None if body is None else _encoded(body)
    headers = {**({} if body is None else _JSON), **_keyed(idempotency_key)}
    return Call("POST", path, reads, body=encoded, headers=headers)


def upload(data: bytes) -> Call[Upload]:
    """POST /v1/uploads: hand over the bytes of an image."""
    headers = {"Content-Type": "application/octet-stream"}
    return Call("POST", "/v1/uploads", Upload, body=data, headers=headers)


def submit(
    request: ScanRequest,
    *,
    fresh: bool = False,
    idempotency_key: str | None = None,
    wait_seconds: int = 0,
) -> Call[Scan]:
    """POST /v1/scans: ask for one scan, and have the answer held for its verdict if asked."""
    headers = {**_JSON, **_keyed(idempotency_key), **_holding(wait_seconds)}
    if fresh:
        headers["Cache-Control"] = "no-cache"
    body = _encoded(request)
    return Call("POST", "/v1/scans", Scan, body=body, headers=headers, wait_seconds=wait_seconds)


def scan(scan_id: str, *, wait_seconds: int = 0) -> Call[Scan]:
    """GET /v1/scans/{id}: read a scan, at once or when it is final within `wait_seconds`."""
    return Call(
        "GET",
        scan_path(scan_id),
        Scan,
        headers=_holding(wait_seconds),
        wait_seconds=wait_seconds,
        scan_id=scan_id,
    )


def scan_path(scan_id: str) -> str:
    """Return the path of a scan; raises InputError for what is no id."""
    return f"/v1/scans/{segment(scan_id, 'scan')}"


def segment(name: object, kind: str) -> str:
    """Return an id as part of a path; raises InputError for what cannot be one."""
    text = name if isinstance(name, str) and len(name) <= ID_LIMIT else ""
    if re.fullmatch(r"[\w.:@+-]*\w[\w.:@+-]*", text, re.ASCII):
        return quote(text, safe=":")
    raise InputError(
        f"{str(name)[:60]!r} is not a {kind}'s id.",
        hint=f"Pass the id of the {kind} as text, such as {kind}.id.",
    )


def scan_id(scan: Scan | str) -> str:
    """Return the id of a scan that is given whole or by its id."""
    return scan.id if isinstance(scan, Scan) else scan


def source(x: object) -> str | Path | bytes:
    """Return what is to be checked if it can be sent; raises InputError, never guesses."""
    if isinstance(x, str):
        return url(x)
    if isinstance(x, bytes):
        return image(x, name="The image")
    if isinstance(x, Path):
        return x
    raise InputError(
        f"A {type(x).__name__} cannot be checked.",
        hint="Pass a URL as str, a file as pathlib.Path, or the bytes of an image file.",
    )


def load(path: Path) -> bytes:
    """Return the bytes of a file. Raises InputError if it is empty or too large, or OSError."""
    with _opened(path) as file:
        data = file.read(UPLOAD_LIMIT_BYTES + 1)
    return image(data, name=str(path))


def digest(x: object) -> str:
    """Return the sha256 of bytes or of a file, or the one that is given, in small hex digits.

    Raises InputError or OSError.
    """
    if isinstance(x, bytes):
        return hashlib.sha256(x).hexdigest()
    if isinstance(x, Path):
        with _opened(x) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if isinstance(x, str) and re.fullmatch(r"[0-9a-fA-F]{64}", x):
        return x.lower()
    shown = x.split("?")[0][:60] if isinstance(x, str) else type(x).__name__
    raise InputError(
        f"{shown!r} cannot be looked up.",
        hint="Pass bytes, a file as pathlib.Path, or a sha256 (64 hex digits); `check` takes URLs.",
    )


def point(name: PointName | str) -> PointName:
    """Return the operating point of that name; raises InputError."""
    return _word(name, PointName, "operating_point", f"Use one of {', '.join(PointName)}.")


def priority(name: Priority | str) -> Priority:
    """Return the priority of that name; raises InputError."""
    return _word(name, Priority, "priority", f"Use {' or '.join(Priority)}.")


W = TypeVar("W", PointName, Priority)


def _word(name: W | str, kind: type[W], what: str, hint: str) -> W:
    if name not in tuple(kind):
        raise InputError(f"{what} is {name!r}.", hint=hint)
    return kind(name)


def words(given: Mapping[str, str] | None, *, name: str) -> dict[str, str]:
    """Return `context` or `metadata` as it is sent; raises InputError if it is not all text."""
    found: Mapping[Any, Any] = given or {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(
                f"{name}[{key!r}] is {type(value).__name__}.",
                hint=f"Names and values of {name} are text: pass str(...).",
            )
    return dict(found)


def urls(items: Iterable[str | ScanRequest], *, point: PointName) -> tuple[ScanRequest, ...]:
    """Return what a batch asks for: a request for each URL, and those that are one already."""
    return tuple(
        item
        if isinstance(item, ScanRequest)
        else ScanRequest(url=url(item), operating_point=point, priority=Priority.BULK)
        for item in items
    )


def deadline(now: float, seconds: float) -> float:
    """Return when the caller's time is up, never for `inf`; raises InputError for what is none."""
    if math.isnan(seconds):
        raise InputError(f"The time to wait is {seconds}.", hint="Use a number of seconds.")
    return now + seconds


def hold(remaining: float) -> int:
    """Return for how many whole seconds to ask the server to hold the next request."""
    return int(min(max(remaining - LAST_LOOK_SECONDS, 0.0), HOLD_LIMIT_SECONDS))


def pause(*, started: float, now: float, until: float) -> float | None:
    """Return the seconds to wait before the next look at a scan, or None if time is up.

    The last look begins LAST_LOOK_SECONDS before the end.
    """
    left = until - LAST_LOOK_SECONDS - now
    if left <= 0:
        return None
    return min(max(POLL_SECONDS - (now - started), 0.0), left)


def finished(result: Scan) -> Scan:
    """Return a final scan if it has a verdict; raises ScanFailed for any other."""
    if result.status is Status.COMPLETED and result.verdict is not None:
        return result
    raise ScanFailed(result)


def url(text: object) -> str:
    """Return what is an http or https URL; raises InputError, which shows no query."""
    if isinstance(text, str) and text.lower().startswith(("http://", "https://")):
        return text
    shown = str(text).split("?")[0][:60]
    raise InputError(
        f"{shown!r} is not an http or https URL.",
        hint="Pass a file as pathlib.Path(...), or its bytes.",
    )


def image(data: object, *, name: str) -> bytes:
    """Return the bytes of an image that can be sent; raises InputError."""
    if not isinstance(data, bytes):
        raise InputError(
            f"{name} is a {type(data).__name__}.", hint="Pass the bytes of an image file."
        )
    if not data:
        raise InputError(f"{name} is empty.", hint="Pass the bytes of an image file.")
    if len(data) > UPLOAD_LIMIT_BYTES:
        raise InputError(f"{name} is larger than 20 MiB.", hint="Scale the image down.")
    return data


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except ValueError as error:  # such as a NUL in the name, which no system takes
        raise InputError(
            f"{str(path)[:60]!r} is not the name of a file: {error}.",
            hint="Name a file that exists.",
        ) from None


def _encoded(body: msgspec.Struct) -> bytes:
    try:
        return _encoder.encode(body)
    except UnicodeEncodeError:  # its own message would show the text, such as a URL's query
        raise InputError(
            "A text of the request has half a surrogate pair, which UTF-8 cannot hold.",
            hint="Decode it anew; in a URL, write bytes that are no letters as %XX.",
        ) from None


def _holding(wait_seconds: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}


def _keyed(idempotency_key: str | None) -> dict[str, str]:
    if idempotency_key is None:
        return {}
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", idempotency_key):
        raise InputError(
            f"idempotency_key is {idempotency_key[:60]!r}.",
            hint="Use 1 to 255 printable ASCII characters.",
        )
    escaped = idempotency_key.replace("\\", "\\\\").replace('"', '\\"')
    return {"Idempotency-Key": f'"{escaped}"'}
