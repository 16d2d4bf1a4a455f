"""Checks many inputs at a time: what check_many of both clients is made of.

    items --at most `concurrency` under way--> check ... --as they finish--> Checked, Checked, ...

The input is read only as far as there is room, so it may be endless. What is wrong with one item
is in its Checked and ends nothing; once the key is refused, what is left is answered with that
and not sent. A server that asks for patience is given it. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ._flows import Flow, Mode, Pause
from ._verbs import BytesOf, Terms, checked
from .codes import ProblemCode
from .errors import (
    APIStatusError,
    AuthenticationError,
    InputError,
    PermissionDeniedError,
    PinclipError,
)
from .wire import Scan

if TYPE_CHECKING:
    import asyncio

X = TypeVar("X", bound=str | Path | bytes)
HOPELESS = (AuthenticationError, PermissionDeniedError)
"""What every other item would meet as well."""
PATIENCE = 20
"""How often the server may ask to come back later about one item."""
PATIENCE_LIMIT_SECONDS = 120.0
"""Longest time that it may ask for."""
_LATER = frozenset({ProblemCode.RATE_LIMITED, ProblemCode.QUEUE_FULL})


@dataclass(frozen=True, slots=True)
class Checked(Generic[X]):
    """One item of check_many, and what came of it: a scan with a verdict, or an error.

    `index` counts items as they were given, from 0.
    """

    item: X
    result: Scan | PinclipError | OSError
    index: int


def patient(
    mode: Mode, x: str | Path | bytes, *, asked: Terms, wait: float, bytes_of: BytesOf | None
) -> Flow[Scan]:
    """Check one item; come back for as long as the server asks to, which is no fault of the item.

    Each time has `wait` seconds of its own.
    """
    for _ in range(PATIENCE):
        try:
            return (yield from checked(mode, x, asked=asked, wait=wait, bytes_of=bytes_of))
        except APIStatusError as error:
            later = error.retry_after
            if error.code not in _LATER or later is None or later > PATIENCE_LIMIT_SECONDS:
                raise
        yield Pause(later * (1 + random.SystemRandom().random() / 2))  # not all at one moment
    return (yield from checked(mode, x, asked=asked, wait=wait, bytes_of=bytes_of))


def need_room(concurrency: int) -> None:
    """Raise InputError if nothing could be under way."""
    if concurrency < 1:
        raise InputError(f"concurrency is {concurrency}.", hint="Use 1 or more.")


def need_many(items: object) -> None:
    """Raise InputError for one image, whose letters or bytes would be taken for many."""
    if isinstance(items, str | bytes):
        raise InputError(
            f"check_many was given one {type(items).__name__}.",
            hint="Pass a list, or use `check` for one image.",
        )


def in_threads(
    items: Iterable[X], check: Callable[[X], Scan], *, concurrency: int
) -> Generator[Checked[X], None, None]:
    """Yield what came of each item. `items` is read in the caller's thread.

    Threads of our own, as daemons: those of concurrent.futures are waited for when the program
    ends, be it that a verdict is held for half a minute that nobody wants any more.
    """
    todo: queue.SimpleQueue[tuple[int, X] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[Checked[X] | BaseException] = queue.SimpleQueue()
    source = enumerate(items)
    threads = under_way = 0
    is_over, refused = False, None
    try:
        while under_way or not is_over:
            if is_over or under_way == concurrency or not done.empty():
                under_way -= 1
                one = _sound(done.get())
                refused = refused or _hopeless(one)
                yield one
            elif (read := next(source, None)) is None:
                is_over = True
            elif refused is not None:
                yield Checked(read[1], refused, read[0])
            else:
                todo.put(read)
                under_way += 1
                if threads < under_way:
                    threading.Thread(target=_work, args=(todo, done, check), daemon=True).start()
                    threads += 1
    finally:
        with contextlib.suppress(queue.Empty):
            while True:  # what nobody has begun
                todo.get_nowait()
        for _ in range(threads):
            todo.put(None)


def _work(
    todo: queue.SimpleQueue[tuple[int, X] | None],
    done: queue.SimpleQueue[Checked[X] | BaseException],
    check: Callable[[X], Scan],
) -> None:
    while (one := todo.get()) is not None:
        index, item = one
        try:
            done.put(Checked(item, check(item), index))
        except (PinclipError, OSError) as error:
            done.put(Checked(item, error, index))
        except BaseException as error:  # a fault, or an exit, which the caller's thread is to have
            done.put(error)


async def in_tasks(
    items: Iterable[X] | AsyncIterable[X],
    check: Callable[[X], Awaitable[Scan]],
    *,
    concurrency: int,
) -> AsyncGenerator[Checked[X], None]:
    """Yield what came of each item."""
    import asyncio

    run = _Run(check, slots=asyncio.Semaphore(concurrency), done=asyncio.Queue())
    reader = asyncio.create_task(run.read(items))
    try:
        left: int | None = None
        given = 0
        while left is None or given < left:
            one = await run.done.get()
            if isinstance(one, int):
                left = one
                continue
            found = _sound(one)
            given += 1
            run.refused = run.refused or _hopeless(found)
            run.slots.release()
            yield found
    finally:
        under_way = [reader, *run.tasks]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


class _Run(Generic[X]):
    """One run of in_tasks: what is under way, and what is done."""

    def __init__(
        self,
        check: Callable[[X], Awaitable[Scan]],
        *,
        slots: asyncio.Semaphore,
        done: asyncio.Queue[Checked[X] | BaseException | int],
    ) -> None:
        self._check = check
        self.slots = slots
        self.done = done
        """At the end, the number of items comes as well."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.refused: PinclipError | None = None

    async def read(self, items: Iterable[X] | AsyncIterable[X]) -> None:
        """Begin a task for each item as soon as there is room."""
        import asyncio

        source, count = _each(items), 0
        try:
            while await self.slots.acquire():
                item = await anext(source)
                if self.refused is not None:
                    self.done.put_nowait(Checked(item, self.refused, count))
                else:
                    task = asyncio.create_task(self._one(item, count))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                count += 1
        except StopAsyncIteration:
            self.done.put_nowait(count)
        except BaseException as error:  # of the caller's own iterator
            self.done.put_nowait(error)

    async def _one(self, item: X, index: int) -> None:
        try:
            self.done.put_nowait(Checked(item, await self._check(item), index))
        except (PinclipError, OSError) as error:
            self.done.put_nowait(Checked(item, error, index))
        except BaseException as error:  # a fault, which the caller's task is to have
            self.done.put_nowait(error)


async def _each(items: Iterable[X] | AsyncIterable[X]) -> AsyncIterator[X]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _sound(one: Checked[X] | BaseException) -> Checked[X]:
    if isinstance(one, BaseException):
        raise one
    return one


def _hopeless(one: Checked[X]) -> PinclipError | None:
    return one.result if isinstance(one.result, HOPELESS) else None
