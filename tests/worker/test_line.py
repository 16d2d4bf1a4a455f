"""The law of turns: people before bulk, bulk at each eighth turn in which it had to wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from worker.contract import BULK_TURN
from worker.line import Line


def _line(*waiting: str) -> Line[str]:
    """What starts with b is bulk."""
    line: Line[str] = Line(lambda item: item.startswith("b"))
    for item in waiting:
        line.put(item)
    return line


def _next(line: Line[str], count: int = 1) -> list[str]:
    return line.take(lambda waiting: list(waiting[:count]))


def test_line_takes_people_before_bulk_and_the_oldest_first() -> None:
    line = _line("b1", "p1", "b2", "p2")

    assert _next(line, 3) == ["p1", "p2", "b1"]
    assert (_next(line, 3), len(line)) == (["b2"], 0)


def test_line_takes_first_what_was_put_first_among_its_own_priority() -> None:
    line = _line("b1", "p1")
    line.put("b0", first=True)
    line.put("p0", first=True)

    assert _next(line, 4) == ["p0", "p1", "b0", "b1"]


def test_line_asks_at_each_turn_what_is_bulk() -> None:
    waited_for_by_a_person: set[str] = set()
    line: Line[str] = Line(lambda item: item not in waited_for_by_a_person)
    for item in ("one", "two", "three"):
        line.put(item)

    assert _next(line) == ["one"]
    waited_for_by_a_person.add("three")
    assert _next(line, 2) == ["three", "two"]


def test_line_lets_bulk_go_first_at_one_turn_in_eight_while_people_keep_coming() -> None:
    line = _line(*(f"b{i}" for i in range(8)))
    turns = []
    for turn in range(1, 3 * BULK_TURN + 1):
        line.put(f"p{turn}a")
        line.put(f"p{turn}b")
        turns.append(_next(line, 2))

    assert [turn for turn, went in enumerate(turns, 1) if went[0].startswith("b")] == [8, 16, 24]
    assert [turns[at] for at in (7, 15, 23)] == [["b0", "b1"], ["b2", "b3"], ["b4", "b5"]]
    assert (len(turns), BULK_TURN) == (24, 8)


@pytest.mark.parametrize("before", ["only bulk", "only people", "nothing taken"])
def test_line_counts_no_turn_in_which_bulk_did_not_give_way(before: str) -> None:
    line = _line()
    for turn in range(3 * BULK_TURN):
        line.put(f"p{turn}" if before == "only people" else f"b{turn}")
        _next(line, 0 if before == "nothing taken" else 1)
    line.put("p")
    line.put("b")

    assert _next(line) == ["p"]


def test_line_keeps_what_is_not_chosen() -> None:
    line = _line("p1", "p2", "p3")
    seen: list[str] = []

    def choose(waiting: Sequence[str]) -> list[str]:
        seen.extend(waiting)
        return ["p2"]

    assert line.take(choose) == ["p2"]
    assert seen == ["p1", "p2", "p3"]
    assert _next(line, 3) == ["p1", "p3"]
