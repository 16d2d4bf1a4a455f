"""A process of its own that serves pictures on several loopback addresses, and counts requests.

    with Origins(hosts=16) as origins:
        origins.url("photo/7.jpg")      a megapixel, each number other bytes
        origins.url("small/7.jpg")      400 x 300
        origins.url("tagged/7.jpg")     a megapixel with an ETag, and 304 for whoever names it
        origins.url("fresh/7.jpg")      a megapixel that stays as it is for an hour, as it says
        origins.url("broken/7.jpg")     bytes that are no image
        origins.url("gone/7.jpg")       404
        origins.requests("photo/7.jpg") how often it was asked for

Several addresses, because a worker takes at most 4 images at a time and 20 a second from one. A
process of its own, so that what serving costs is in nobody's figures.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from benchmarks.pictures import numbered, photo

if TYPE_CHECKING:
    from types import TracebackType

SIZES = {"photo": (1280, 960), "small": (400, 300), "tagged": (1280, 960), "fresh": (1280, 960)}
TAG = b'"same"'
COUNTS = "counts"


class Origins:
    """The process, for as long as the block lasts. `url` takes the addresses in turn."""

    def __init__(self, *, hosts: int = 16) -> None:
        self._hosts = [f"127.0.0.{number + 2}" for number in range(hosts)]
        self._turn = itertools.cycle(self._hosts)
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def url(self, name: str) -> str:
        """Return an address of one picture."""
        return f"http://{next(self._turn)}:{self.port}/{name}"

    def requests(self, name: str) -> int:
        """Return how often a picture was asked for, on whatever address."""
        with urllib.request.urlopen(f"http://{self._hosts[0]}:{self.port}/{COUNTS}") as answer:
            return int(json.load(answer).get(f"/{name}", 0))

    def __enter__(self) -> Origins:
        command = [sys.executable, __file__, *self._hosts]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate()


def serve(hosts: list[str]) -> None:
    """Serve on one port of each address until told to stop; print the port."""
    listeners = [socket.create_server((hosts[0], 0), backlog=512)]
    port = listeners[0].getsockname()[1]
    listeners += [socket.create_server((host, port), backlog=512) for host in hosts[1:]]
    print(port, flush=True)
    config = uvicorn.Config(_app(), access_log=False, log_level="error", lifespan="off")
    uvicorn.Server(config).run(sockets=listeners)


def _app() -> Any:
    bases = {kind: photo(*size) for kind, size in SIZES.items()}
    counts: dict[str, int] = {}

    async def app(scope: dict[str, Any], _receive: object, send: Any) -> None:
        path = scope["path"]
        counts[path] = counts.get(path, 0) + 1
        is_tagged = path.startswith("/tagged/")
        if is_tagged and (b"if-none-match", TAG) in scope["headers"]:
            status, body = 304, b""
        else:
            status, body = _answer(path, bases, counts)
        headers = [(b"content-length", str(len(body)).encode())] if status != 304 else []
        headers += [(b"etag", TAG)] if is_tagged else []
        headers += [(b"cache-control", b"max-age=3600")] if path.startswith("/fresh/") else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _answer(path: str, bases: dict[str, bytes], counts: dict[str, int]) -> tuple[int, bytes]:
    kind, _, name = path.lstrip("/").partition("/")
    if kind == COUNTS:
        return 200, json.dumps(counts).encode()
    if kind == "broken":
        return 200, b"no image: " + name.encode()
    if kind not in bases:
        return 404, b""
    return 200, numbered(bases[kind], int(Path(name).stem))


if __name__ == "__main__":
    serve(sys.argv[1:])
