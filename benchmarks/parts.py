"""A system whose parts a benchmark starts and ends one by one: Valkey and API, and any workers.

    with Parts(folder, allow_port=origins.port) as parts:
        parts.start_worker("w1", PINCLIP_DETECTOR=ASLEEP)
        parts.wait_for(1)

`running_system` has the whole under its supervisor; here nobody restarts what ends. Owns the
processes and their end; knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.callers import Caller
from benchmarks.running_system import free_port
from server import valkey
from worker.contract import RedisSettings

if TYPE_CHECKING:
    from types import TracebackType

READY_SECONDS = 120.0
END_SECONDS = 20.0


class Parts:
    """Valkey and one API over `folder`; `environ` is what every part is started with."""

    def __init__(self, folder: Path, *, allow_port: int, **settings: str) -> None:
        self.state = folder / "state"
        self.port = free_port()
        self.redis = RedisSettings(state_dir=self.state)
        self.environ = {
            **os.environ,
            "PINCLIP_PORT": str(self.port),
            "PINCLIP_STATE_DIR": str(self.state),
            "PINCLIP_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
            "PINCLIP_FETCH_ALLOW_PORTS": str(allow_port),
            "PINCLIP_LOG_LEVEL": "warning",
            **settings,
        }
        self._log = folder / "parts.log"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.api: subprocess.Popen[bytes]
        self.valkey: subprocess.Popen[bytes]

    def __enter__(self) -> Parts:
        self.state.mkdir(mode=0o700)
        self.valkey = self._start(valkey.child(valkey.find(), state_dir=self.state).argv)
        self.api = self._start((sys.executable, "-P", "-m", "server"))
        self._until(lambda: self._health() is not None, "the API")
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        started = [*self.workers.values(), self.api, self.valkey]
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_worker(self, name: str, **settings: str) -> None:
        """Start one; the one that had the name before must have ended."""
        own = {"PINCLIP_WORKER_NAME": name, **settings}
        self.workers[name] = self._start((sys.executable, "-P", "-m", "worker"), **own)

    def kill_worker(self, name: str) -> None:
        """End one as the kernel would, at once."""
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers.pop(name).wait()

    def end_worker(self, name: str) -> None:
        """End one in order, and return once it is gone."""
        self.workers[name].terminate()
        self.workers.pop(name).wait(END_SECONDS)

    def wait_for(self, workers: int) -> None:
        """Return once so many workers say that they can score."""
        self._until(lambda: len(self._alive()) >= workers, f"{workers} workers")

    def _alive(self) -> list[object]:
        health = self._health() or {}
        found: list[object] = health.get("worker", {}).get("workers", [])
        return found

    def _health(self) -> dict[str, dict[str, list[object]]] | None:
        with contextlib.suppress(OSError), Caller(self.port) as caller:
            checks: dict[str, dict[str, list[object]]] = caller.ask("GET", "/readyz")[1]["checks"]
            return checks
        return None

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + READY_SECONDS
        while not is_so():
            if time.monotonic() > end or self.api.poll() is not None:
                raise RuntimeError(f"no {what}:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.1)

    def _start(self, argv: tuple[str, ...], **settings: str) -> subprocess.Popen[bytes]:
        environ = {**self.environ, **settings}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                argv, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
