"""Each verb of the API as data, and the decisions around it, for both clients. Pure but `load`.

    str, Path or bytes --source--> URL | Path --load--> bytes
                                    |                    |
                                    |                  upload() -> Upload
                                    v                    v
                                  submit(url=)         submit(upload_id=)  -> Scan
                                                                               |
                                  scan(id, wait_seconds) ... until it is final |
                                                                               v
                                                       finished() -> Scan or ScanFailed
Knows nothing of connections, retries or keys: see _transport.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from .errors import InputError, ScanFailed
from .wire import PointName, Priority, Scan, ScanRequest, Status, Upload

UPLOAD_LIMIT_BYTES = 20 * 1024 * 1024
"""Largest image that the server takes."""
HOLD_LIMIT_SECONDS = 30
"""Longest time that the server holds one request for a verdict."""
POLL_SECONDS = 1.0
"""Shortest time between two looks at a scan, should the server not hold the request."""

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """One request: what to send, and the struct that a success holds."""

    method: str
    path: str
    reads: type[T]
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    wait_seconds: int = 0
    """How much longer than usual the answer may take."""
    scan_id: str | None = None
    """The scan that the call is about, for its errors."""


def upload(data: bytes) -> Call[Upload]:
    """POST /v1/uploads: hand over the bytes of an image."""
    headers = {"Content-Type": "application/octet-stream"}
    return Call("POST", "/v1/uploads", Upload, body=data, headers=headers)


def submit(
    point: PointName,
    *,
    priority: Priority,
    url: str | None = None,
    upload_id: str | None = None,
) -> Call[Scan]:
    """POST /v1/scans: ask for one scan, of a URL or of an upload."""
    request = ScanRequest(
        url=msgspec.UNSET if url is None else url,
        upload_id=msgspec.UNSET if upload_id is None else upload_id,
        operating_point=point,
        priority=priority,
    )
    headers = {"Content-Type": "application/json"}
    return Call("POST", "/v1/scans", Scan, body=msgspec.json.encode(request), headers=headers)


def scan(scan_id: str, *, wait_seconds: int = 0) -> Call[Scan]:
    """GET /v1/scans/{id}: read a scan, at once or when it is final within `wait_seconds`."""
    if not re.fullmatch(r"[\w-]+", scan_id, re.ASCII):
        raise InputError(
            f"{scan_id[:60]!r} is not a scan's id.", hint="Pass the id of a Scan, such as scan.id."
        )
    headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
    return Call(
        "GET",
        f"/v1/scans/{quote(scan_id)}",
        Scan,
        headers=headers,
        wait_seconds=wait_seconds,
        scan_id=scan_id,
    )


def source(x: object) -> str | Path | bytes:
    """Return what is to be checked if it can be sent; raises InputError, never guesses."""
    if isinstance(x, str):
        return _url(x)
    if isinstance(x, bytes):
        return _image(x, name="The image")
    if isinstance(x, Path):
        return x
    raise InputError(
        f"A {type(x).__name__} cannot be checked.",
        hint="Pass a URL as str, a file as pathlib.Path, or the bytes of an image file.",
    )


def load(path: Path) -> bytes:
    """Return the bytes of a file. Raises InputError if it is empty or too large, or OSError."""
    with path.open("rb") as file:
        data = file.read(UPLOAD_LIMIT_BYTES + 1)
    return _image(data, name=str(path))


def point(name: PointName | str) -> PointName:
    """Return the operating point of that name; raises InputError."""
    try:
        return PointName(name)
    except ValueError:
        raise InputError(
            f"operating_point is {name!r}.", hint=f"Use one of {', '.join(PointName)}."
        ) from None


def priority(name: Priority | str) -> Priority:
    """Return the priority of that name; raises InputError."""
    try:
        return Priority(name)
    except ValueError:
        raise InputError(f"priority is {name!r}.", hint=f"Use {' or '.join(Priority)}.") from None


def hold(remaining: float) -> int:
    """Return for how many whole seconds to ask the server to hold the next request."""
    return int(min(max(remaining, 0.0), HOLD_LIMIT_SECONDS))


def pause(*, started: float, now: float, until: float) -> float | None:
    """Return the seconds to wait before the next look at a scan, or None if time is up."""
    if now >= until:
        return None
    return min(max(POLL_SECONDS - (now - started), 0.0), until - now)


def finished(result: Scan) -> Scan:
    """Return a final scan if it has a verdict; raises ScanFailed for any other."""
    if result.status is Status.COMPLETED and result.verdict is not None:
        return result
    raise ScanFailed(result)


def _url(text: str) -> str:
    if text.lower().startswith(("http://", "https://")):
        return text
    shown = text.split("?")[0][:60]
    raise InputError(
        f"{shown!r} is not an http or https URL.",
        hint="Pass a file as pathlib.Path(...), or its bytes.",
    )


def _image(data: bytes, *, name: str) -> bytes:
    if not data:
        raise InputError(f"{name} is empty.", hint="Pass the bytes of an image file.")
    if len(data) > UPLOAD_LIMIT_BYTES:
        raise InputError(f"{name} is larger than 20 MiB.", hint="Scale the image down.")
    return data
