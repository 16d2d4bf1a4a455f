"""Desk: what the rules work with, handed to each of them by the routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from server.ports import Board, Clock, Precedents, Queue, Records, Spool
from worker.guard import Policy

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
    stopping: Stopping = field(default_factory=Stopping)
