"""What waits for its turn: what a person waits for before bulk, and bulk not for ever.

    put --> [ oldest ... newest ] --take--> people, oldest first, then bulk, oldest first
                                            bulk before people, one turn in BULK_TURN

The law is that of a claim (ledger.py), for what was claimed: each place in a worker where things
wait for a pool, the model or admission is such a line. Only turns in which bulk had to wait for
people count, so that who comes alone to a worker full of bulk is next, seven times in eight.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from .contract import BULK_TURN

T = TypeVar("T")


class Line(Generic[T]):
    """Things in the order in which they go. Thread-safe.

    `is_bulk` is asked at each turn, since a person may come to wait for what only bulk waited for.
    """

    def __init__(self, is_bulk: Callable[[T], bool]) -> None:
        self._is_bulk = is_bulk
        self._waiting: list[T] = []
        self._passed = 0
        """Turns that people had while bulk waited, since bulk last went first."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T, *, first: bool = False) -> None:
        """Let this wait; `first` goes before all of its own priority."""
        with self._lock:
            self._waiting.insert(0 if first else len(self._waiting), item)

    def take(self, choose: Callable[[Sequence[T]], list[T]]) -> list[T]:
        """Remove and return what `choose` takes of all that waits, in order, as one turn."""
        with self._lock:
            is_bulks_turn = self._passed == BULK_TURN - 1
            taken = choose(self._ordered(is_bulks_turn))
            if taken:
                self._waiting = [item for item in self._waiting if item not in taken]
                self._passed = 0 if is_bulks_turn else self._passed + self._gave_way(taken)
        return taken

    def _ordered(self, is_bulks_turn: bool) -> list[T]:
        return sorted(self._waiting, key=lambda item: self._is_bulk(item) is not is_bulks_turn)

    def _gave_way(self, taken: Sequence[T]) -> bool:
        return any(map(self._is_bulk, self._waiting)) and not all(map(self._is_bulk, taken))
