"""sdk._retry: when to ask again. Tables; nothing here waits."""

from __future__ import annotations

import math

import pytest

from sdk._retry import delay, may_retry, read_retry_after
from sdk.codes import ProblemCode

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, True),
        (200, False),
        (301, False),
        (400, False),
        (404, False),
        (408, True),
        (409, False),
        (422, False),
        (429, True),
        (500, True),
        (503, True),
        (599, True),
    ],
)
def test_may_retry_knows_which_trouble_passes(status: int | None, expected: bool) -> None:
    assert may_retry(status) is expected


def test_may_retry_waits_for_the_same_request_that_is_under_way() -> None:
    assert may_retry(409, code=ProblemCode.IDEMPOTENCY_IN_FLIGHT)
    assert not may_retry(409, code=ProblemCode.STATE_CONFLICT)


@pytest.mark.parametrize(
    ("status", "expected"), [(None, False), (408, False), (429, True), (500, False), (503, True)]
)
def test_may_retry_does_nothing_twice_that_may_have_been_done(
    status: int | None, expected: bool
) -> None:
    assert may_retry(status, is_repeatable=False) is expected


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        pytest.param("20", None, 20.0, id="seconds"),
        pytest.param(" 20 ", None, 20.0, id="blanks around"),
        pytest.param("0", None, 0.0, id="zero"),
        pytest.param("-10", None, None, id="negative"),
        pytest.param("1.5", None, None, id="fraction"),
        pytest.param("1e3", None, None, id="exponent"),
        pytest.param("٢٠", None, None, id="digits that are not ASCII"),
        pytest.param("999999999", None, 999999999.0, id="30 years"),
        pytest.param("9" * 35, None, math.inf, id="overflow"),
        pytest.param("9" * 5000, None, math.inf, id="more digits than int() reads"),
        pytest.param("", None, None, id="empty"),
        pytest.param(None, None, None, id="no header"),
        pytest.param("soon", DATE, None, id="a word"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 GMT", DATE, 20.0, id="date 20 s ahead"),
        pytest.param("Mon, 07 Nov 1994 08:49:37 GMT", DATE, 86400.0, id="date a day ahead"),
        pytest.param("Sun, 06 Nov 1994 08:49:07 GMT", DATE, 0.0, id="date that has passed"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 GMT", None, None, id="date without Date"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 GMT", "today", None, id="date with a broken Date"),
        pytest.param("Zun, 06 Nov 1994 08:49:57 GMT", DATE, None, id="misspelt weekday"),
        pytest.param("Mon, 06 Nov 1994 08:49:57 GMT", DATE, None, id="another day's name"),
        pytest.param("Sun, 06 Nov 1994 08:49:57 CET", DATE, None, id="another zone"),
        pytest.param("Sunday, 06-Nov-94 08:49:57 GMT", DATE, None, id="obsolete form"),
        pytest.param("Sun, 36 Nov 1994 08:49:57 GMT", DATE, None, id="36th of November"),
        pytest.param("Fri, 31 Dec 99999 23:59:59 GMT", DATE, None, id="year 99999"),
    ],
)
def test_read_retry_after_takes_only_what_a_server_may_write(
    text: str | None, date: str | None, expected: float | None
) -> None:
    assert read_retry_after(text, date=date) == expected


@pytest.mark.parametrize(
    ("attempt", "retry_after", "draw", "expected"),
    [
        pytest.param(0, None, 0.0, 0.5, id="first, shortest"),
        pytest.param(0, None, 1.0, 1.0, id="first, longest"),
        pytest.param(1, None, 0.0, 1.0, id="second"),
        pytest.param(2, None, 0.5, 3.0, id="third, in the middle"),
        pytest.param(3, None, 1.0, 8.0, id="fourth, longest"),
        pytest.param(9, None, 1.0, 8.0, id="never longer"),
        pytest.param(10_000, None, 0.0, 4.0, id="no overflow"),
        pytest.param(0, 0.0, 0.0, 0.5, id="never at once, even if asked to"),
        pytest.param(0, 20.0, 1.0, 20.0, id="as asked"),
        pytest.param(3, 5.0, 1.0, 8.0, id="back-off longer than asked"),
        pytest.param(0, 120.0, 0.0, 120.0, id="longest that is honoured"),
        pytest.param(0, 120.5, 0.0, None, id="asked for too long"),
        pytest.param(0, math.inf, 0.0, None, id="asked for ever"),
    ],
)
def test_delay_grows_and_is_never_shorter_than_asked(
    attempt: int, retry_after: float | None, draw: float, expected: float | None
) -> None:
    assert delay(attempt, retry_after=retry_after, draw=draw) == expected
