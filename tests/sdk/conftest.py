"""A scripted pinclip server on loopback, a clock that only tests move, and both clients.

Either client is asked in the manners of a blocking one, so that one test serves both.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec
import pytest

import sdk
from sdk._clock import Clock
from sdk._flows import Face
from sdk.codes import PROBLEMS
from sdk.wire import Upload

SCAN_ID = "scan_01J00000000000000000000000"
UPLOAD_ID = "upl_01J00000000000000000000000"


class Reply(NamedTuple):
    """What the server says, after `held_seconds`; `is_dropped` closes the connection half way.

    With `byte_seconds` the body comes byte by byte, that far apart.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    is_dropped: bool = False
    held_seconds: float = 0.0
    byte_seconds: float = 0.0


class Seen(NamedTuple):
    """One request as the server got it; header names are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Origin:
    """Answers each request with the next reply; `seen` has the requests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.replies: list[Reply] = []
        self.release = threading.Event()
        """Until it is set, a request without a reply is left waiting."""
        self.gate: threading.Barrier | None = None
        """Where each request waits for the others, if they are to be under way together."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.origin = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def will(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # connections that come at one moment
    origin: Origin


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer, or each waits 40 ms for an acknowledgement
    server: _Server

    def _answer(self) -> None:
        origin = self.server.origin
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        origin.seen.append(Seen(self.command, self.path, headers, body))
        if origin.gate is not None:
            origin.gate.wait(20)
        if not origin.replies:
            origin.release.wait()
            self.close_connection = True
            return
        self._send(origin.replies.pop(0))

    def _send(self, reply: Reply) -> None:
        self.server.origin.release.wait(reply.held_seconds)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) + reply.is_dropped))
        self.end_headers()
        if reply.byte_seconds:
            self._dribble(reply)
        else:
            self.wfile.write(reply.body)
        self.close_connection = self.close_connection or reply.is_dropped

    def _dribble(self, reply: Reply) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.origin.release.wait(reply.byte_seconds):
                    return

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, *args: object) -> None:
        pass


class ManualClock(Clock):
    """A clock that moves by its sleeps alone; `slept` has them."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.slept.append(seconds)


class Blocking:
    """An AsyncClient, or a part of one, with the manners of a Client."""

    def __init__(
        self, *, _part: Any = None, _runner: asyncio.Runner | None = None, **arguments: Any
    ) -> None:
        self._runner = _runner or asyncio.Runner()
        self._part = sdk.AsyncClient(**arguments) if _part is None else _part

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if isinstance(value, Face):
            return Blocking(_part=value, _runner=self._runner)
        if not callable(value):
            return value
        return lambda *args, **named: self._plain(value(*args, **named))

    def _plain(self, found: Any) -> Any:
        if inspect.iscoroutine(found):
            return self._runner.run(found)
        if hasattr(found, "__aiter__"):
            return Iterated(found, self._runner)
        return Blocking(_part=found, _runner=self._runner) if isinstance(found, Face) else found

    def end(self) -> None:
        self.close()
        self._runner.close()


class Iterated:
    """An async iterable in a plain loop."""

    def __init__(self, items: Any, runner: asyncio.Runner) -> None:
        self._items, self._runner = items, runner
        self._iterator = aiter(items)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        async def following() -> Any:
            return await anext(self._iterator, None)

        if (item := self._runner.run(following())) is None:
            raise StopIteration
        return item

    def pages(self) -> Iterated:
        return Iterated(self._items.pages(), self._runner)

    def close(self) -> None:
        self._runner.run(self._items.aclose())


def scan(status: str = "completed", verdict: str | None = "likely_ai", **changes: Any) -> sdk.Scan:
    """Return a scan as a server gives it; without a verdict unless it is completed."""
    point = sdk.OperatingPoint(
        name=sdk.PointName.BALANCED,
        slice="photo",
        threshold=0.87,
        clear_below=0.2,
        expected_false_alarm_rate=0.03,
        ci95=(0.024, 0.038),
        n=2488,
        calibration_id="cal_1",
    )
    is_completed = status == "completed"
    facts: dict[str, Any] = {
        "id": SCAN_ID,
        "status": sdk.Status(status),
        "verdict": sdk.Verdict(verdict) if is_completed and verdict else None,
        "score": 0.94 if is_completed else None,
        "probability": 0.91 if is_completed else None,
        "operating_point": point if is_completed else None,
        "input": sdk.Input(kind=sdk.InputKind.URL, url="https://example.org/picture.jpg"),
        "created_at": "2026-11-01T00:00:00Z",
    }
    return sdk.Scan(**{**facts, **changes})


def failed(code: str = "fetch_forbidden") -> sdk.Scan:
    error = sdk.ScanError(
        code=sdk.ScanErrorCode(code), detail="403 from host.", hint="Send bytes.", retryable=False
    )
    return scan("failed", error=error)


def ok(value: object, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(value), {"Content-Type": "application/json"})


def accepted() -> Reply:
    return ok(scan("queued"), 202)


def uploaded() -> Reply:
    upload = Upload(id=UPLOAD_ID, sha256="0" * 64, bytes=3, expires_at="2026-11-01T00:15:00Z")
    return ok(upload, 201)


def problem(code: str, status: int = 0, *, headers: dict[str, str] | None = None) -> Reply:
    """Return the refusal that a server gives for a code."""
    facts = PROBLEMS[sdk.ProblemCode(code)]
    value = sdk.Problem(
        type=f"/v1/errors/{code}",
        title=facts.title,
        status=status or facts.status,
        detail="It did not work.",
        code=sdk.ProblemCode(code),
        hint=facts.hint,
        request_id="req_1",
        retryable=facts.retryable,
    )
    kind = {"Content-Type": "application/problem+json"}
    return Reply(value.status, msgspec.json.encode(value), {**kind, **(headers or {})})


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["blocking", "async"])
def connect(
    request: pytest.FixtureRequest,
    origin: Origin,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Any]]:
    """Makes clients of the origin: a Client in one round, an AsyncClient in the other."""
    for name in ("PINCLIP_API_KEY", "PINCLIP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    kind = sdk.Client if request.param == "blocking" else Blocking
    made: list[Any] = []

    def connect(**arguments: Any) -> Any:
        made.append(kind(**{"base_url": origin.url, "_clock": clock, **arguments}))
        return made[-1]

    yield connect
    for client in made:
        client.end() if isinstance(client, Blocking) else client.close()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect()
