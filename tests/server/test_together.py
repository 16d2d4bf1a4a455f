"""Together: who comes alone is served alone, who come at once are served at once."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from server.together import Together

pytestmark = pytest.mark.anyio


class Action:
    """An action that can be held up, and notes what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.ended = 0
        self.may_end = anyio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def __call__(self, items: Sequence[str]) -> None:
        self.calls.append(list(items))
        await self.may_end.wait()
        self.ended += 1
        if self.error:
            raise self.error


async def test_alone_is_served_alone() -> None:
    action = Action()
    together = Together[str](action)

    await together.do("a")
    await together.do("b")

    assert action.calls == [["a"], ["b"]]


async def test_all_who_come_during_an_action_share_the_next() -> None:
    action = Action()
    action.may_end = anyio.Event()
    together = Together[str](action)

    async with anyio.create_task_group() as group:
        group.start_soon(together.do, "a")
        await anyio.wait_all_tasks_blocked()
        for item in "bcd":
            group.start_soon(together.do, item)
        await anyio.wait_all_tasks_blocked()
        action.may_end.set()

    assert action.calls == [["a"], ["b", "c", "d"]]


async def test_all_who_come_in_one_turn_of_the_loop_share_a_round_and_go_on_in_one_turn() -> None:
    action = Action()
    together = Together[str](action)

    async def twice(item: str) -> None:
        await together.do(item)
        await together.do(f"{item} again")

    async with anyio.create_task_group() as group:
        for item in "abc":
            group.start_soon(twice, item)

    assert action.calls == [["a", "b", "c"], ["a again", "b again", "c again"]]


async def test_an_error_reaches_all_who_shared_the_action_and_no_other() -> None:
    action = Action()
    together = Together[str](action)
    action.error = ValueError("full")

    with pytest.raises(ValueError, match="full"):
        await together.do("a")
    action.error = None
    await together.do("b")

    assert action.calls == [["a"], ["b"]]


async def test_one_who_gives_up_takes_nobody_along() -> None:
    action = Action()
    action.may_end = anyio.Event()
    together = Together[str](action)
    gives_up = anyio.CancelScope()

    async def do_and_give_up() -> None:
        with gives_up:
            await together.do("a")

    async with anyio.create_task_group() as group:
        group.start_soon(do_and_give_up)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(together.do, "b")
        await anyio.wait_all_tasks_blocked()
        gives_up.cancel()
        await anyio.wait_all_tasks_blocked()
        action.may_end.set()

    assert action.calls == [["a"], ["b"]]
    assert action.ended == 2


async def test_what_was_given_up_while_waiting_is_not_done() -> None:
    action = Action()
    action.may_end = anyio.Event()
    together = Together[str](action)
    gives_up = anyio.CancelScope()

    async def do_and_give_up() -> None:
        with gives_up:
            await together.do("b")

    async with anyio.create_task_group() as group:
        group.start_soon(together.do, "a")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(do_and_give_up)
        await anyio.wait_all_tasks_blocked()
        gives_up.cancel()
        await anyio.wait_all_tasks_blocked()
        action.may_end.set()
    await together.do("c")

    assert action.calls == [["a"], ["c"]]


async def test_what_is_being_done_for_one_who_gave_up_is_waited_for_before_the_end() -> None:
    action = Action()
    action.may_end = anyio.Event()
    together = Together[str](action)

    async with anyio.create_task_group() as group:
        group.start_soon(together.do, "a")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    async with anyio.create_task_group() as group:
        group.start_soon(together.ended)
        await anyio.wait_all_tasks_blocked()
        assert action.ended == 0
        action.may_end.set()

    assert action.ended == 1
