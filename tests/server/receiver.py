"""A receiver of webhooks on loopback, as a platform would write it with the SDK.

    with receiving(lambda delivery: 200) as receiver:
        receiver.url       http://127.0.0.1:PORT/hook
        receiver.got       what came: path, headers, body, and the event once it is unwrapped
        receiver.most_busy how many deliveries were ever under way at a time

The answer is a status, or a status and headers; it may take its time, or kill somebody first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from sdk.webhooks import unwrap
from sdk.wire import Event

Answer = int | tuple[int, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def at(self) -> int:
        return int(self.headers["webhook-timestamp"])

    def event(self, secret: str) -> Event:
        """Verify the delivery, at the time at which it was signed."""
        return unwrap(self.body, self.headers, secret, now=self.at)


class Receiver(ThreadingHTTPServer):
    """Listens on a free port of loopback."""

    daemon_threads = True
    request_queue_size = 128  # at 5, connections of a burst are reset

    def __init__(self, answer: Callable[[Delivery], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.got: list[Delivery] = []
        self.connections = 0
        self.most_busy = 0
        self._busy = 0
        self._lock = Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, delivery: Delivery) -> Answer:
        with self._lock:
            self.got.append(delivery)
            self._busy += 1
            self.most_busy = max(self.most_busy, self._busy)
        try:
            return self.answer(delivery)
        finally:
            with self._lock:
                self._busy -= 1

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of senders that hang up: some tests want them to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(Delivery(path=self.path, headers=headers, body=body))
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in {"Content-Length": "0", **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(answer: Callable[[Delivery], Answer] = lambda _: 204) -> Iterator[Receiver]:
    """Yield a receiver that answers so; stop it at the end."""
    receiver = Receiver(answer)
    thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()
