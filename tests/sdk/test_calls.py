"""sdk._calls: what does not need a server to be told."""

from __future__ import annotations

import pytest

from sdk import _calls as calls
from worker.contract import UPLOAD_LIMIT_BYTES


def test_upload_limit_is_that_of_the_server() -> None:
    assert calls.UPLOAD_LIMIT_BYTES == UPLOAD_LIMIT_BYTES


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [(-1.0, 0), (0.0, 0), (1.2, 0), (1.25, 1), (20.0, 19), (30.1, 29), (900.0, 30)],
)
def test_hold_is_in_whole_seconds_and_leaves_time_for_the_way_back(
    remaining: float, expected: int
) -> None:
    assert calls.hold(remaining) == expected


@pytest.mark.parametrize(
    ("now", "until", "expected"),
    [
        pytest.param(10.0, 20.0, 1.0, id="answered at once: a second apart"),
        pytest.param(10.75, 20.0, 0.25, id="answered soon: the rest of the second"),
        pytest.param(15.0, 20.0, 0.0, id="held: look again at once"),
        pytest.param(10.0, 10.75, 0.5, id="a last look shortly before the end"),
        pytest.param(10.0, 10.25, None, id="no time for a look"),
        pytest.param(20.0, 20.0, None, id="time is up"),
    ],
)
def test_pause_keeps_looks_a_second_apart(now: float, until: float, expected: float | None) -> None:
    assert calls.pause(started=10.0, now=now, until=until) == expected
