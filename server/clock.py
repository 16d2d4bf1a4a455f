"""SystemClock: the one place of the server that asks the machine for time."""

from __future__ import annotations

import time

import anyio


class SystemClock:
    """The machine's clock, as ports.Clock describes it."""

    def now(self) -> float:
        """Return Unix time in seconds."""
        return time.time()  # noqa: TID251 - this is the Clock that all others take

    def monotonic(self) -> float:
        """Return a steady count of seconds, unmoved when the clock is set."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds; other tasks run meanwhile."""
        await anyio.sleep(seconds)
