"""worker/clock.py: the one real clock."""

from __future__ import annotations

from worker.clock import SystemClock


def test_sleep_moves_the_steady_count_by_no_less_than_asked() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    clock.sleep(0.02)

    assert clock.monotonic() - before >= 0.02


def test_sleep_returns_at_once_when_there_is_nothing_to_wait_for() -> None:
    SystemClock().sleep(-1.0)


def test_now_is_unix_time() -> None:
    assert SystemClock().now() > 1_700_000_000  # November 2023
