"""Loopback origins for the wire tests: raw TCP, so that they can misbehave byte by byte.

    origin = Origin({"/a.jpg": [response(b"...")], "/drip": [HEAD, b"x", 0.05, b"y", RESET]})
    origin.url("/a.jpg")      http://127.0.0.1:PORT/a.jpg
    origin.heads              the request heads that came, as text
    origin.accepted           how many connections were taken
    origin.hung_up            set once a client has ended a connection

A script is what is sent for one request: bytes are sent, a number is a pause in seconds, CLOSE
ends the connection in order and RESET with a RST. SILENCE waits until the origin is closed.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread

CLOSE = "close"
RESET = "reset"
SILENCE = "silence"

Script = Iterable[bytes | float | str]


def response(
    body: bytes = b"", *, status: int = 200, headers: Iterable[str] = (), length: int | None = None
) -> bytes:
    """Write a whole response; `length` makes Content-Length lie."""
    count = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {count}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def redirect(*locations: str, status: int = 302) -> bytes:
    """Write a redirect with these Location headers, as UTF-8 like the servers that do so."""
    lines = [f"HTTP/1.1 {status} X", "Content-Length: 0", *(f"Location: {to}" for to in locations)]
    return "\r\n".join([*lines, "", ""]).encode()


class Origin:
    """A TCP server on loopback that plays one script a path; others are answered 404."""

    def __init__(
        self,
        scripts: Mapping[str, Script] | Callable[[str], Script],
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._scripts = scripts
        self._tls = tls
        self._closing = Event()
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self.heads: list[str] = []
        self.hung_up = Event()
        self.accepted = 0
        self.busy = 0
        self.most_busy = 0
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.host = host
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return the URL of a path, under the address it listens on or another host."""
        host = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def close(self) -> None:
        """Stop, and wait until every thread has."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            # A client that hangs up, or refuses our certificate, is what some tests want.
            with suppress(OSError), connection:
                self._talk(connection)
        finally:
            with self._lock:
                self._open.discard(connection)

    def _talk(self, connection: socket.socket) -> None:
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection:
            is_open = True
            while is_open and (head := self._head(connection)):
                is_open = self._play(connection, self._script(head.split(" ")[1]))

    def _head(self, connection: socket.socket) -> str:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                self.hung_up.set()
                return ""
            head += more
        self.heads.append(head.decode())
        return self.heads[-1]

    def _script(self, path: str) -> Script:
        if callable(self._scripts):
            return self._scripts(path)
        return self._scripts.get(path.partition("?")[0], [response(status=404)])

    def _play(self, connection: socket.socket, script: Script) -> bool:
        """Return whether the connection stays open for another request."""
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            return all(self._step(connection, step) for step in script)
        finally:
            with self._lock:
                self.busy -= 1

    def _step(self, connection: socket.socket, step: bytes | float | str) -> bool:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, (int, float)):
            return not self._closing.wait(step)
        elif step == SILENCE:
            self._closing.wait()
        elif step == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not isinstance(step, str)
