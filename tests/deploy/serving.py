"""An API of a test, told what compose.yaml tells it, but for where Redis and the records are.

    environ_of(folder) -> keys create -> serving -> its port

Owns the process and its end; knows nothing of what is asserted.
"""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from benchmarks.running_system import free_port
from sdk.environment import inherited
from tests.deploy.files import environment
from tests.deploy.helm_process import ROOT

SERVE = [sys.executable, "-P", "-m", "server"]
SECRETS = {
    "REDIS_PASSWORD": "of-this-test",
    "POSTGRES_PASSWORD": "of-this-test",
    "RECEIPT_KEY": base64.b64encode(bytes(32)).decode(),
}


def environ_of(folder: Path, *, redis_url: str, domain: str = "") -> dict[str, str]:
    """Return the environment of compose's API, with SQLite and its state in a folder."""
    told = environment("server", DOMAIN=domain, **SECRETS)
    here = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": "",
        "PINCLIP_STATE_DIR": str(folder),
        "PINCLIP_PORT": str(free_port()),
    }
    return inherited() | told | here


def make_key(environ: Mapping[str, str], *scopes: str) -> str:
    """Return a new key, made by the command."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    command = [sys.executable, "-P", "-m", "server.keys_command", "create"]
    done = subprocess.run(
        [*command, "--owner", "acme", "--name", "first", *words],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@contextlib.contextmanager
def process(command: list[str], environ: Mapping[str, str], *, log: Path) -> Iterator[None]:
    """Run a command until the end of the block; what it says on stderr is in `log`."""
    with log.open("ab") as said, subprocess.Popen(command, env=environ, cwd=ROOT, stderr=said) as p:
        try:
            yield
        finally:
            p.terminate()


def until_it_answers(url: str) -> None:
    """Return once it answers, with whatever; raises AssertionError after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url)
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"no answer from {url}")
