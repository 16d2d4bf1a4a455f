"""sdk._clock: the clock of this machine moves forward and its sleeps end."""

from __future__ import annotations

import asyncio

from sdk._clock import Clock


def test_clock_has_moved_on_after_a_sleep() -> None:
    clock = Clock()
    began = clock.monotonic()

    clock.sleep(0.01)
    middle = clock.monotonic()
    asyncio.run(clock.sleep_async(0.01))

    assert began < middle < clock.monotonic()
