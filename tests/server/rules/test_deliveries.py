"""What follows from an attempt: the schedule, Retry-After, and what becomes of the endpoint."""

from __future__ import annotations

import pytest

from server.rules.deliveries import DAY, HOUR, MINUTE, Answer, Health, Next, follow

NOW = 1_790_000_000.0
SLOW = Answer(status=500, reason="h.com answered with status 500.")


def after(
    answer: Answer, *, attempts: int = 1, health: Health | None = None, draw: float = 0.0
) -> Next:
    return follow(answer, attempts=attempts, health=health or Health(), now=NOW, draw=draw)


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [
        (1, 5),
        (2, 5 * MINUTE),
        (3, 30 * MINUTE),
        (4, 2 * HOUR),
        (5, 5 * HOUR),
        (6, 10 * HOUR),
        (7, 14 * HOUR),
        (8, 20 * HOUR),
        (9, 24 * HOUR),
    ],
)
def test_failed_attempt_is_made_again_on_schedule(attempts: int, pause: float) -> None:
    assert after(SLOW, attempts=attempts).at == NOW + pause
    latest = after(SLOW, attempts=attempts, draw=0.999).at
    assert latest is not None
    assert NOW + pause < latest < NOW + 1.2 * pause


@pytest.mark.parametrize("attempts", [10, 11])
def test_tenth_failure_is_the_last(attempts: int) -> None:
    assert after(SLOW, attempts=attempts).at is None


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_success_ends_it_and_makes_the_endpoint_well(status: int) -> None:
    health = Health(failing_since=NOW - DAY, warned_days=1)

    assert after(Answer(status=status), health=health) == Next(at=None, health=Health())


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (1.0, 5.0),
        (60.0, 60.0),
        (DAY, DAY),
        (2 * DAY, DAY),
        (float("inf"), DAY),
    ],
)
def test_retry_after_is_obeyed_up_to_a_day(asked: float, pause: float) -> None:
    answer = Answer(status=429, reason="Slower.", retry_after=asked)

    assert after(answer).at == NOW + pause


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503, None])
def test_anything_but_success_is_a_failure(status: int | None) -> None:
    following = after(Answer(status=status, reason="No."))

    assert following.at is not None
    assert following.health == Health(failing_since=NOW)
    assert following.disabled is None


def test_gone_disables_at_once() -> None:
    following = after(Answer(status=410, reason="Gone."))

    assert following.at is None
    assert "410" in (following.disabled or "")


@pytest.mark.parametrize(
    ("days", "warned", "told"),
    [(0.9, 0, None), (1.0, 0, 1), (2.0, 1, None), (3.1, 1, 3), (3.5, 0, 3), (4.9, 3, None)],
)
def test_log_tells_of_the_first_and_the_third_day_once(
    days: float, warned: int, told: int | None
) -> None:
    health = Health(failing_since=NOW - days * DAY, warned_days=warned)

    following = after(SLOW, health=health)

    assert following.warn_days == told
    assert following.disabled is None
    again = after(SLOW, health=following.health)
    assert again.warn_days is None


def test_five_failing_days_disable() -> None:
    following = after(SLOW, health=Health(failing_since=NOW - 5 * DAY, warned_days=3))

    assert "5 days" in (following.disabled or "")
    assert "status 500" in (following.disabled or "")
