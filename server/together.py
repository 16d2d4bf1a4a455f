"""Together: one action for all who ask while the last one runs. Knows nothing of what is done.

    A ----------- action([A]) ------------>
        B -- waits --> action([B, C, D]) ->      one commit, one round trip, one ticket
          C -- waits ->
            D - waits ->

Nobody waits for company: who comes alone is served alone. The more come at once, the less each
costs. A round begins a turn of the event loop after the first wish, and all who shared it go on in
one turn: those who are answered together ask for the next thing together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Calls `action` with what was asked for since its last call began."""

    def __init__(self, action: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._action = action
        self._waiting: list[_Wish[T]] = []
        self._rounds: asyncio.Task[None] | None = None

    async def do(self, item: T) -> None:
        """Return once an action that began after this call has done `item`; raises what it raised.

        The action is not cancelled with its caller, since it is not the caller's alone; it must
        end by itself.
        """
        loop = asyncio.get_running_loop()
        wish = _Wish(item, loop.create_future())
        self._waiting.append(wish)
        if self._rounds is None:
            self._rounds = loop.create_task(self._serve())
        try:
            error = await wish.over
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is being done
                self._waiting.remove(wish)
            raise
        if error is not None:
            raise error

    async def ended(self) -> None:
        """Return once nothing is being done any more: what it needs may be closed then."""
        while self._rounds is not None:
            await asyncio.wait([self._rounds])

    async def _serve(self) -> None:
        try:
            while self._waiting:
                wishes, self._waiting = self._waiting, []
                error = await self._act([wish.item for wish in wishes])
                for wish in wishes:
                    if not wish.over.done():
                        wish.over.set_result(error)
        finally:
            self._rounds = None

    async def _act(self, items: Sequence[T]) -> Exception | None:
        try:
            await self._action(items)
        except Exception as error:
            return error
        return None


class _Wish(Generic[T]):
    """One item, and what tells of its end: None, or an error."""

    def __init__(self, item: T, over: asyncio.Future[Exception | None]) -> None:
        self.item = item
        self.over = over
