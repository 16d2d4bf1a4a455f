"""What holds for every test: a signal that one sends to its own process ends no other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence

import pytest

LATE = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def no_late_signal_ends_the_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take what is still on its way when a test is over, instead of dying in the next one.

    A handler that does nothing, and not "ignored", which children would inherit.
    """
    # Ctrl-C reaches the workers of xdist too, and is the controller's to obey.
    is_worker = hasattr(request.config, "workerinput")
    numbers = (*LATE, signal.SIGINT) if is_worker else LATE
    _take_late_ones(numbers)
    yield
    _take_late_ones(numbers)


def _take_late_ones(numbers: Sequence[signal.Signals]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in numbers:
        signal.signal(number, lambda *_: None)
