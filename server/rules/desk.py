"""Desk: what the rules work with, handed to each of them by the routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from sdk.wire import Scan
from server.ports import Board, Clock, Precedents, Queue, Records, Spool
from worker.contract import Outcome
from worker.guard import Policy

from .limits import Limiter
from .readiness import Readiness


class Stopping:
    """Whether the server is on its way out. Long waits end when it is."""

    def __init__(self) -> None:
        self.is_set = False
        self._scopes: set[anyio.CancelScope] = set()

    def set(self) -> None:
        """From now on nothing waits."""
        self.is_set = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def cuts_short(self) -> Iterator[None]:
        """Leave the block at its next await once the server is stopping."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self.is_set:
                    scope.cancel()
                yield
            finally:
                self._scopes.discard(scope)


class Counters(Protocol):
    """What is counted of scans that end without a worker's word."""

    def scan_recalled(self, scan: Scan) -> None:
        """Count a scan that was final when it was accepted."""
        ...

    def scan_ended(self, outcome: Outcome, *, seconds: float) -> None:
        """Count a scan whose end is recorded now, `seconds` after it was accepted."""
        ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The ports of one server, the state of its health, and whether it is stopping."""

    records: Records
    precedents: Precedents
    board: Board
    queue: Queue
    spool: Spool
    clock: Clock
    policy: Policy
    readiness: Readiness
    limiter: Limiter
    counters: Counters
    stopping: Stopping = field(default_factory=Stopping)
