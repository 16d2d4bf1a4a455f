"""Time as the clients need it: a steady count and two ways to sleep. Tests pass another."""

from __future__ import annotations

import time


class Clock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return a steady count of seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`; blocks the thread."""
        time.sleep(seconds)  # noqa: TID251 - this is the clock that others take

    async def sleep_async(self, seconds: float) -> None:
        """Return after `seconds`; lets other tasks run."""
        import asyncio  # takes 40 ms, which the blocking client need not spend

        await asyncio.sleep(seconds)
