"""What follows from an attempt to deliver: done, again and when, or never; and the endpoint.

    answer 2xx             delivered; the endpoint is well again
    410                    the endpoint is disabled: its receiver says that it is gone
    anything else, nothing after 5 s, 5 m, 30 m, 2, 5, 10, 14, 20 and 24 h, and then failed for good
                           Retry-After counts where it is longer, up to 24 h
    5 days without a 2xx   the endpoint is disabled; told in the log after 1 and 3 days

Pure: draws and times are given. Knows neither HTTP nor SQL.
"""

from __future__ import annotations

from msgspec import Struct

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
DELAYS_SECONDS = (
    0.0,
    5.0,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""Pause before each attempt, counted from the one before. As many attempts are made."""
JITTER = 0.2
"""Part of a pause that chance adds, so that what failed together is not sent again together."""
RETRY_AFTER_LIMIT_SECONDS = DAY
"""Longest Retry-After that is obeyed; a longer one counts as this."""
FAILING_DAYS = 5
"""Days without a delivery that arrived after which an endpoint is disabled."""
WARNED_DAYS = (1, 3)
"""Days after which the log says that it will be."""
GONE = 410


class Answer(Struct, frozen=True, kw_only=True):
    """What an attempt met: a status, or None and a reason; Retry-After in seconds."""

    status: int | None
    reason: str | None = None
    retry_after: float | None = None

    @property
    def is_success(self) -> bool:
        """True if the receiver has taken the delivery."""
        return self.status is not None and 200 <= self.status < 300


class Health(Struct, frozen=True, kw_only=True):
    """How an endpoint does: since when nothing arrived, and of which day the log has told."""

    failing_since: float | None = None
    warned_days: int = 0


class Next(Struct, frozen=True, kw_only=True):
    """What follows. `at` is when the next attempt is due, None where there is none.

    `disabled` is why the endpoint is to be disabled, `warn_days` of how many days the log is to
    tell; None where neither is.
    """

    at: float | None
    health: Health
    disabled: str | None = None
    warn_days: int | None = None


def follow(answer: Answer, *, attempts: int, health: Health, now: float, draw: float) -> Next:
    """Return what follows from the answer to attempt number `attempts` (from 1).

    `now` is Unix time, `draw` random in [0, 1).
    """
    if answer.is_success:
        return Next(at=None, health=Health())
    since = now if health.failing_since is None else health.failing_since
    days = (now - since) / DAY
    due_warnings = [day for day in WARNED_DAYS if health.warned_days < day <= days]
    warned = max(due_warnings, default=health.warned_days)
    after = Health(failing_since=since, warned_days=warned)
    if answer.status == GONE:
        return Next(at=None, health=after, disabled="The receiver answered 410: it is gone.")
    at = None if attempts >= len(DELAYS_SECONDS) else now + _pause(answer, attempts, draw)
    if days >= FAILING_DAYS:
        told = f"Nothing has arrived for {FAILING_DAYS} days; last: {answer.reason}"
        return Next(at=at, health=after, disabled=told)
    return Next(at=at, health=after, warn_days=max(due_warnings, default=None))


def _pause(answer: Answer, attempts: int, draw: float) -> float:
    asked = min(answer.retry_after or 0.0, RETRY_AFTER_LIMIT_SECONDS)
    return max(DELAYS_SECONDS[attempts] * (1.0 + JITTER * draw), asked)
