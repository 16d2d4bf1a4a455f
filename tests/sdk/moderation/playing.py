"""What the tests of several adapters do with a Platform: open it, read its items, have it act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from sdk.moderation.platform import Action, ActionKind, Item, Platform
from sdk.moderation.stage import Stage

T = TypeVar("T")


def within(stage: Stage, scene: Callable[[Platform], Awaitable[T]]) -> T:
    """Play a scene with a fresh Platform."""

    async def play() -> T:
        async with stage.open() as platform:
            return await scene(platform)

    return asyncio.run(play())


async def items(platform: Platform, after: str | None, *, count: int) -> list[Item]:
    """Return the first items that are yielded after the cursor."""
    return await first(platform.items(after), count=count)


async def first(stream: AsyncIterator[T], *, count: int) -> list[T]:
    """Return the first that a stream yields, and close it."""
    found: list[T] = []
    async with asyncio.timeout(10), aclosing(stream):  # type: ignore[type-var]
        async for one in stream:
            found.append(one)
            if len(found) == count:
                break
    return found


def doing(kind: ActionKind, key: str = "k" * 32, *, text: str = "Likely AI.") -> Action:
    """Return an action of that kind."""
    return Action(kind=kind, key=key, sha256="0" * 64, scan_id="scan_1", text=text)
