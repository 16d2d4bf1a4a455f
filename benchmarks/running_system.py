"""A whole system for benchmarks and journeys: `pinclip up` on a folder of its own, and an origin.

    with Origin(pictures) as origin, RunningSystem(folder, origin.port) as system:
        system.base_url, system.child_pid("worker"), origin.url(name)

Owns processes and their end; knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

CHILDREN = {"worker": " -m worker", "api": " -m server", "valkey": "valkey-server"}
"""What each supervised child's command line holds, and no other's."""


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Origin:
    """An HTTP server on loopback that serves `pictures` (name -> bytes) and counts requests."""

    def __init__(self, pictures: Mapping[str, bytes]) -> None:
        self.requests: dict[str, int] = {}
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                # A killed client resets its connection; that is what is tested, not a fault.
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def do_GET(self) -> None:
                name = self.path.lstrip("/").partition("?")[0]
                origin.requests[name] = origin.requests.get(name, 0) + 1
                body = pictures.get(name)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("Content-Type", "application/octet-stream")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body or b"")

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, name: str) -> str:
        """Return the address of one picture."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RunningSystem:
    """`pinclip up` in the foreground of a process of its own, with its state in `folder`."""

    def __init__(self, folder: Path, origin_port: int, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "up.log"
        self.environ = {
            **os.environ,
            "PINCLIP_PORT": str(self.port),
            "PINCLIP_STATE_DIR": str(folder / "state"),
            "PINCLIP_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
            "PINCLIP_FETCH_ALLOW_PORTS": str(origin_port),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready_within_seconds: float = 120.0) -> None:
        """Start it and return once /readyz says so; raises RuntimeError with the log's end."""
        folder = Path(__file__).parent.parent
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pinclip", "up"],
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=folder,
            )
        self.wait_ready(ready_within_seconds)

    def wait_ready(self, seconds: float) -> None:
        """Return once the system takes scans; raises RuntimeError after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                break
            if self.readiness()[0] == 200:
                return
            time.sleep(0.1)
        raise RuntimeError(f"not ready: {self.readiness()}\n{self.log.read_text()[-4000:]}")

    def readiness(self) -> tuple[int, dict[str, object]]:
        """Return the status and body of /readyz, or (0, {}) when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def child_pid(self, name: str) -> int | None:
        """Return the process id of a supervised child, or None while it is down."""
        for pid in _children_of(self.pid):
            if CHILDREN[name] in _command_line(pid):
                return pid
        return None

    def kill_when_up(self, name: str, *, within_seconds: float = 30.0) -> bool:
        """SIGKILL a child, once it is there; False if it does not come up in time."""
        end = time.monotonic() + within_seconds
        while time.monotonic() < end:
            pid = self.child_pid(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
            time.sleep(0.1)
        return False

    def stop(self) -> int:
        """End it as Ctrl-C would, and return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def __enter__(self) -> RunningSystem:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            if self._process is not None:
                self._process.kill()
            raise


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(text) for text in task.read_text().split()]
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""
