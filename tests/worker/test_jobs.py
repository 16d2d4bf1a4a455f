"""What a ticket calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

import pytest

from worker import jobs
from worker.clock import SystemClock
from worker.contract import DRAIN, Entry
from worker.engine import Engine
from worker.guard import Policy
from worker.intake import Preparer, Source
from worker.shift import Shift
from worker.testing import (
    FixedDetector,
    InProcessDecoder,
    MemoryCache,
    MemoryLedger,
    ScriptedFetcher,
)


@pytest.fixture
def ledger() -> Iterator[MemoryLedger]:
    """The ledger of a shift that is installed."""
    clock, detector, cache = SystemClock(), FixedDetector(), MemoryCache()
    ledger = MemoryLedger(clock)
    shift = Shift(
        ledger=ledger,
        source=Source(
            fetcher=ScriptedFetcher({}),
            read_upload=bytes,
            cache=cache,
            policy=Policy(),
            clock=clock,
            fetch_seconds=1.0,
        ),
        preparer=Preparer(
            decoder=InProcessDecoder(), detector=detector, read_declaration=lambda data: None
        ),
        engine=Engine(detector, batch_limit=8),
        cache=cache,
        clock=clock,
        worker="w",
    )
    jobs.install(shift)
    yield ledger
    jobs.install(None)
    shift.close()


def test_drain_does_what_waits(ledger: MemoryLedger, entry: Callable[..., Entry]) -> None:
    ledger.post(entry("a"), entry("b"))

    assert jobs.drain() == 2

    assert sorted(outcome.scan_id for outcome in ledger.results) == ["a", "b"]


def test_drain_is_the_function_that_tickets_name() -> None:
    module, _, name = DRAIN.rpartition(".")

    assert getattr(import_module(module), name) is jobs.drain


def test_drain_says_what_to_do_when_there_is_no_model() -> None:
    with pytest.raises(RuntimeError, match="pinclip work"):
        jobs.drain()
