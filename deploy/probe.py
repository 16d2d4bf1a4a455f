"""Container probe: exit status 0 if the process beside it does its work, else 1 and a sentence.

    probe.py api               the API answers /healthz
    probe.py key               there is an API key, without which an API for others does not start;
                               makes the database, or brings it up to date, before it looks
    probe.py worker            the worker's loop moves: it says so in Redis every few seconds.
                               A Redis that does not answer is no fault of the worker's: 0
    probe.py worker --ready    the same, but where Redis does not answer: 1

Runs where pinclip is installed and reads the same settings as the process it asks about. Knows
nothing of what is scanned.
"""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Sequence

from sdk.environment import SettingsError, load

USAGE = "usage: probe.py api | key | worker [--ready]"
ANSWER_SECONDS = 3.0
"""Longest wait for one answer."""
FIRST_PROCESS = 1
"""Process id of what a container runs: part of a worker's name where none is set."""


def main(argv: Sequence[str]) -> int:
    """Ask, say on stderr what is wrong, and return the exit status."""
    try:
        match argv:
            case ["api"]:
                fault = api_fault()
            case ["key"]:
                fault = key_fault()
            case ["worker"]:
                fault = worker_fault(is_ready_asked=False)
            case ["worker", "--ready"]:
                fault = worker_fault(is_ready_asked=True)
            case _:
                sys.stderr.write(f"{USAGE}\n")
                return 2
    except SettingsError as error:
        fault = str(error)
    if fault:
        sys.stderr.write(f"probe: {fault}\n")
    return 1 if fault else 0


def api_fault() -> str | None:
    """Say what is wrong with the API, or None."""
    from server.settings import ServerSettings

    settings = load(ServerSettings)
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {settings.host}:{settings.port} ({error})"
    finally:
        connection.close()
    return None if status == 200 else f"/healthz answers {status}"


def key_fault() -> str | None:
    """Say why an API for others would not start, or None."""
    import anyio

    from server.ports import Unavailable
    from server.refused import StartRefused

    try:
        is_kept = anyio.run(_is_key_kept)
    except StartRefused as refused:
        return str(refused)
    except Unavailable as error:
        return f"the database cannot be used now ({error.detail})"
    if is_kept:
        return None
    return (
        "there is no API key that works, so that nobody could ask: make one here with "
        "`pinclip keys create --owner NAME --name first --scope admin`"
    )


async def _is_key_kept() -> bool:
    import logging

    from server.clock import SystemClock
    from server.settings import ServerSettings
    from server.store.engine import Database
    from server.store.keys import SqlKeys

    logging.getLogger("alembic").setLevel(logging.WARNING)
    database = Database(load(ServerSettings))
    try:
        await database.prepare()
        return await SqlKeys(database).is_one_live(SystemClock().now())
    finally:
        await database.aclose()


def worker_fault(*, is_ready_asked: bool) -> str | None:
    """Say what is wrong with the worker, or None."""
    from redis import Redis
    from redis.exceptions import RedisError

    from worker.contract import WORKER_EXPIRES_SECONDS, worker_key
    from worker.settings import WorkerSettings

    settings = load(WorkerSettings)
    name = settings.worker_name or f"{socket.gethostname()}-{FIRST_PROCESS}"
    try:
        with Redis.from_url(
            settings.redis.address,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
        ) as redis:
            is_alive = redis.exists(worker_key(name))
    except RedisError as error:
        return f"Redis does not answer ({error})" if is_ready_asked else None
    if is_alive:
        return None
    return f"worker {name} has not said for {WORKER_EXPIRES_SECONDS} s that it can score"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
