"""`pinclip up`: the whole system in the foreground. Knows how to start it, nothing of what it does.

    settings -> state folder, locked -> obstacles? -> valkey -> worker -> api -> /readyz -> banner
                                                      `-------- supervised, drained backwards --'

Every fault of the settings is told at once and nothing is started. stderr has the progress and
what the children log, stdout has the banner alone: the address and three lines to paste.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import http.client
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path

import anyio
import msgspec
from msgspec import Struct

from sdk.environment import SettingsError, inherited, load
from sdk.settings import ClientSettings
from sdk.wire import Health
from worker.settings import WorkerSettings
from worker.supervisor import (
    PATIENCE,
    SETTINGS_STATUS,
    Child,
    ChildFailed,
    Console,
    Limits,
    supervise,
)

from . import valkey
from .settings import ServerSettings

LOCK = "up.lock"
"""File in the state folder that a running `pinclip up` holds locked; it has the process id."""
NAMES = ("up", "valkey", "worker", "api")
ASK_SECONDS = 2.0
"""Longest wait for one answer of our own API."""
POLL_SECONDS = 0.1
"""Time between two looks at /readyz while the model loads."""
WORKER_GRACE_SECONDS = 30.0
"""A worker that drains finishes its batch; this is the longest that may take."""
API_GRACE_SECONDS = 15.0
"""The API ends within 10 s of its signal, long polls included."""

SERVER_FAILED = 5
INTERRUPTED = 130

EXAMPLE = Path(__file__).with_name("example.jpg")
"""A photograph of a cat, CC0 by Stefan van der Walt, for the line that checks a file."""
EXAMPLE_URL = (
    "https://raw.githubusercontent.com/scikit-image/scikit-image/v0.24.0/skimage/data/chelsea.png"
)
"""The same photograph as its project publishes it, for the lines that check a URL."""

BANNER = """\

pinclip is ready at {address}
{model}

Paste a line into another terminal{key}:
  {curl}
  {python}
  {command}

Ctrl-C stops it.
"""
_BEARER = '-H "Authorization: Bearer $PINCLIP_API_KEY" '


class UpSettings(Struct, frozen=True, kw_only=True):
    """Settings of all that runs, so that every fault is found before anything starts."""

    server: ServerSettings
    worker: WorkerSettings


class Plan(Struct, frozen=True, kw_only=True):
    """What to run. -P: a folder `server` or `worker` where the user happens to be is not ours."""

    worker: tuple[str, ...] = (sys.executable, "-P", "-m", "worker")
    api: tuple[str, ...] = (sys.executable, "-P", "-m", "server")
    limits: Limits = PATIENCE


PLAN = Plan()


class CannotStart(Exception):
    """Nothing was started; `faults` has a sentence for each reason, with what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def main(argv: Sequence[str], *, plan: Plan = PLAN) -> int:
    """The system has run until it was told to stop; returns the exit status."""
    _parser().parse_args(argv)
    try:
        return up(load(UpSettings), plan=plan)
    except (SettingsError, CannotStart) as error:
        for fault in dict.fromkeys(error.faults):
            sys.stderr.write(f"pinclip up: {fault}\n")
        return SETTINGS_STATUS


def up(settings: UpSettings, *, plan: Plan) -> int:
    """The system has run until it was told to stop; returns the exit status.

    Raises CannotStart before anything was started.
    """
    state_dir = settings.server.redis.state_dir.absolute()
    with ExitStack() as held:
        prepare(state_dir)
        held.enter_context(locked(state_dir))
        children = _children(settings, state_dir, plan)
        try:
            anyio.run(_run, settings, children, plan.limits)
        except ChildFailed as error:
            sys.stderr.write(f"pinclip up: {error}\n")
            return SETTINGS_STATUS if error.status == SETTINGS_STATUS else SERVER_FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
    return 0


def prepare(state_dir: Path) -> None:
    """The state folder exists and only its owner can enter it. Raises CannotStart."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_open = bool(state_dir.stat().st_mode & 0o077)
        if is_open and any(state_dir.iterdir()):
            raise CannotStart(
                f"PINCLIP_STATE_DIR is {state_dir}, which others may enter and which holds other "
                "files: set it to a folder of its own, or close that one with chmod 700."
            )
        if is_open:
            state_dir.chmod(0o700)
    except OSError as error:
        raise CannotStart(
            f"PINCLIP_STATE_DIR is {state_dir}, which cannot be used ({error.strerror}): set it "
            "to a folder that can be written."
        ) from None


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """The state folder is ours alone until the end of the block. Raises CannotStart.

    The kernel lets go of the lock when the process ends, however it ends; children do not
    inherit it.
    """
    with open(os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"pinclip up already runs on {state_dir} (process {file.read().strip() or '?'}): "
                "use that one, stop it, or set PINCLIP_STATE_DIR and PINCLIP_PORT to others."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def banner(
    settings: ServerSettings,
    model: str,
    *,
    needs_key: bool = False,
    python: str = sys.executable,
) -> str:
    """Return what is printed once the system is ready: three lines that work as they stand.

    `needs_key`: callers without a key are refused, so the lines take PINCLIP_API_KEY.
    """
    address = _address(settings)
    is_default = address == ClientSettings().base_url
    client = "sdk.Client()" if is_default else f"sdk.Client(base_url='{address}')"
    option = [] if is_default else ["--base-url", address]
    code = f"import sdk; print({client}.check('{EXAMPLE_URL}').verdict)"
    command = str(Path(python).with_name("pinclip"))
    return BANNER.format(
        address=address,
        model=model,
        key=", once PINCLIP_API_KEY is set there (pinclip keys)" if needs_key else "",
        curl=(
            f"curl -s {address}/v1/scans -H 'Content-Type: application/json' -H 'Prefer: wait=20' "
            f"""{_BEARER if needs_key else ""}-d '{{"url": "{EXAMPLE_URL}"}}'"""
        ),
        python=f'{shlex.quote(python)} -c "{code}"',
        command=shlex.join([command, "check", *option, str(EXAMPLE)]),
    )


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="pinclip up",
        description="Run the whole system here until Ctrl-C: Redis, the API and a scan worker.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "settings, by environment variable (all: docs/settings.md):\n"
            "  PINCLIP_HOST, PINCLIP_PORT    where the API listens (127.0.0.1, 8417)\n"
            "  PINCLIP_STATE_DIR             folder of all that is kept (~/.local/state/pinclip)\n"
            "  REDIS_URL                     a Redis to use instead of the embedded one\n"
            "  DATABASE_URL                  a PostgreSQL to use instead of SQLite\n\n"
            "exit status:\n"
            "  0    stopped by Ctrl-C or TERM\n"
            "  3    a setting is wrong; every fault was told and nothing is running\n"
            "  5    a part could not be kept running; everything was stopped\n"
        ),
    )


def _children(settings: UpSettings, state_dir: Path, plan: Plan) -> list[Child]:
    """Return what to run, first to last. Raises CannotStart if something is in the way."""
    env = inherited(PYTHONUNBUFFERED="1")
    faults = [*_port_faults(settings.server)]
    redis: list[Child] = []
    if not settings.server.redis.redis_url:
        try:
            valkey.end_left_behind(state_dir)
            redis = [valkey.child(valkey.find(), state_dir=state_dir)]
        except (valkey.NoServer, valkey.Foreign) as error:
            faults.append(str(error))
    if faults:
        raise CannotStart(*faults)
    return [*redis, _worker(plan, env), _api(plan, env, settings.server)]


def _worker(plan: Plan, env: Mapping[str, str]) -> Child:
    """The worker counts as ready at once: its model loads while the API starts."""
    return Child(name="worker", argv=plan.worker, env=env, grace_seconds=WORKER_GRACE_SECONDS)


def _api(plan: Plan, env: Mapping[str, str], settings: ServerSettings) -> Child:
    async def is_up() -> bool:
        return await anyio.to_thread.run_sync(_get, settings, "/healthz") is not None

    return Child(name="api", argv=plan.api, env=env, ready=is_up, grace_seconds=API_GRACE_SECONDS)


def _port_faults(settings: ServerSettings) -> Iterator[str]:
    """Yield a sentence if the API could not listen where it should."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            yield (
                f"Nothing can listen on {_address(settings)} ({error.strerror}): "
                f"{'stop what does, or ' if taken else ''}set PINCLIP_PORT to another port."
            )


async def _run(settings: UpSettings, children: Sequence[Child], limits: Limits) -> None:
    console = Console(sys.stderr, names=NAMES)
    began = anyio.current_time()

    async def announce() -> None:
        model = await _until_scoring(settings.server, console, began)
        console.end_progress()
        console.line("up", f"model ready {anyio.current_time() - began:.1f} s")
        needs_key = await anyio.to_thread.run_sync(_needs_key, settings.server)
        sys.stdout.write(banner(settings.server, model, needs_key=needs_key))
        sys.stdout.flush()

    await supervise(children, console=console, limits=limits, when_started=announce)


async def _until_scoring(settings: ServerSettings, console: Console, began: float) -> str:
    """Return what scores, in a line for people, once /readyz says that something does."""
    while True:
        health = await anyio.to_thread.run_sync(_get, settings, "/readyz")
        if health is not None and health.status == "ok":
            return _describe(health)
        console.progress("up", _missing(health), seconds=anyio.current_time() - began)
        await anyio.sleep(POLL_SECONDS)


def _get(settings: ServerSettings, path: str) -> Health | None:
    """Return what our API says of itself, or None while it does not answer."""
    try:
        return msgspec.json.decode(_ask(settings, path)[1], type=Health)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None


def _needs_key(settings: ServerSettings) -> bool:
    """True unless our API answers a caller without a key."""
    try:
        return _ask(settings, "/v1/key")[0] != HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return True


def _ask(settings: ServerSettings, path: str) -> tuple[int, bytes]:
    """Return status and body. Not by urllib, which would ask a proxy that the environment names."""
    host = _reached(settings)
    connection = http.client.HTTPConnection(host, settings.port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _reached(settings: ServerSettings) -> str:
    """Return the address at which this machine reaches the API."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104


def _address(settings: ServerSettings) -> str:
    reached = _reached(settings)
    host = f"[{reached}]" if ":" in reached else reached
    return f"http://{host}:{settings.port}"


def _describe(health: Health) -> str:
    """Return a line for people on what scores, one for each kind of worker."""
    workers = health.checks["worker"]["workers"]
    shown = (
        "engine {engine}, precision {precision}, device {device}, weights {model}".format(**worker)
        for worker in workers
    )
    return "\n".join(dict.fromkeys(shown))


def _missing(health: Health | None) -> str:
    """Say what is waited for: as a rule the model, else the parts that are down."""
    if health is None:
        return "waiting for the api"
    down = {name: check["detail"] for name, check in health.checks.items() if not check["ok"]}
    if set(down) <= {"worker"}:
        return "model loading"
    return "waiting for " + ", ".join(f"{name} ({down[name]})" for name in down if name != "worker")
