"""Together: one action for all who ask while the last one runs. Knows nothing of what is done.

    A ----------- action([A]) ------------>
        B -- waits --> action([B, C, D]) ->      one commit, one round trip, one ticket
          C -- waits ->
            D - waits ->

Nobody waits for company: who comes alone is served alone. The more come at once, the less each
costs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Together(Generic[T]):
    """Calls `action` with what was asked for since its last call began."""

    def __init__(self, action: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._action = action
        self._one_by_one = anyio.Lock()
        self._waiting: list[_Wish[T]] = []

    async def do(self, item: T) -> None:
        """Return once an action that began after this call has done `item`; raises what it raised.

        The action is not cancelled with its caller, since it is not the caller's alone; it must
        end by itself.
        """
        wish = _Wish(item)
        self._waiting.append(wish)
        try:
            async with self._one_by_one:
                if not wish.is_done:
                    await self._act()
        finally:
            if wish in self._waiting:
                self._waiting.remove(wish)
        if wish.error is not None:
            raise wish.error

    async def _act(self) -> None:
        wishes, self._waiting = self._waiting, []
        error: Exception | None = None
        with anyio.CancelScope(shield=True):
            try:
                await self._action([wish.item for wish in wishes])
            except Exception as raised:
                error = raised
        for wish in wishes:
            wish.is_done = True
            wish.error = error


class _Wish(Generic[T]):
    """One item, and what became of it."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.is_done = False
        self.error: Exception | None = None
