"""Time as a bot needs it: the date, for its journal, and a way to wait. Tests pass another."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return Unix time in seconds."""
        return time.time()  # noqa: TID251 - this is the clock that others take

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; other tasks run meanwhile."""
        await asyncio.sleep(seconds)
