"""The worker's one clock. Everything else is handed a ports.Clock, so that tests can move time."""

from __future__ import annotations

import time


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return Unix time in seconds; it may jump when the machine's clock is set."""
        return time.time()  # noqa: TID251 - the one place that may

    def monotonic(self) -> float:
        """Return a steady count of seconds; only differences mean something."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds; at once where they are not above 0."""
        time.sleep(max(seconds, 0.0))  # noqa: TID251 - the one place that may
