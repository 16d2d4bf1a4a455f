"""A courier in a process of its own: python -m tests.server.courier_process STATE_DIR PORT AHEAD

It delivers to loopback and PORT until it is killed, with a clock that is AHEAD by so many seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from server.clock import SystemClock
from server.courier import Bell, Courier, Sender
from server.metrics import Metrics
from server.settings import ServerSettings
from server.store.deliveries import SqlDeliveries
from server.store.engine import Database
from worker.contract import RedisSettings
from worker.guard import Policy


class Ahead(SystemClock):
    """The machine's clock, so many seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


async def main(state_dir: str, port: str, ahead: str) -> None:
    database = Database(ServerSettings(redis=RedisSettings(state_dir=Path(state_dir))))
    courier = Courier(
        deliveries=SqlDeliveries(database),
        sender=Sender(Policy(("127.0.0.0/8",), (int(port),))),
        clock=Ahead(float(ahead)),
        bell=Bell(),
        metrics=Metrics(),
    )
    print("ready", flush=True)
    await courier.run()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
