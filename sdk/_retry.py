"""Whether a request is worth another try, and after how long. Pure: draws and dates are given.

no answer, 408, 429, 500 and above  ->  again, up to max_retries
409, the same request is under way  ->  again: it is answered with what that one made
what must not be done twice         ->  only if it was refused: 429, 503
Retry-After up to 120 s             ->  never sooner than that
Retry-After above 120 s             ->  not again: the caller knows better how to spend it
otherwise                           ->  0.5 to 1 s, 1 to 2 s, 2 to 4 s, then 4 to 8 s
"""

from __future__ import annotations

import math
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from .codes import ProblemCode

FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 4.0
"""Lower end of the longest back-off; jitter adds up to as much again."""
RETRY_AFTER_LIMIT_SECONDS = 120.0
DIGITS_LIMIT = 9
"""Longest Retry-After that is read as a number; longer ones are centuries."""


def may_retry(
    status: int | None, *, code: ProblemCode | None = None, is_repeatable: bool = True
) -> bool:
    """Tell if the same request may do better later; None stands for no answer at all.

    `is_repeatable` is False where doing it twice is not as good as once.
    """
    if not is_repeatable:
        return status in (429, 503)
    if code is ProblemCode.IDEMPOTENCY_IN_FLIGHT:
        return True
    return status is None or status in (408, 429) or status >= 500


def delay(attempt: int, *, retry_after: float | None, draw: float) -> float | None:
    """Return the seconds to wait before the next try, or None to give up.

    `attempt` counts tries that failed before this one; `draw` is random in [0, 1).
    """
    if retry_after is not None and retry_after > RETRY_AFTER_LIMIT_SECONDS:
        return None
    shortest = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt, 10), LAST_BACKOFF_SECONDS)
    return max(shortest * (1.0 + draw), retry_after or 0.0)


def read_retry_after(text: str | None, *, date: str | None) -> float | None:
    """Return the seconds a Retry-After header asks for, or None if it cannot be read.

    A date there is measured from `date`, the same answer's Date header, so that neither side's
    clock need be right. Only what RFC 9110 lets a server write is read: whole seconds, or a date
    with its true weekday.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= DIGITS_LIMIT else math.inf
    until, since = _read_date(text), _read_date((date or "").strip())
    if until is None or since is None:
        return None
    return max((until - since).total_seconds(), 0.0)


def _read_date(text: str) -> datetime | None:
    """Return the time that `text` says, if it is spelt as HTTP spells dates."""
    try:
        when = parsedate_to_datetime(text)
        return when if format_datetime(when, usegmt=True) == text else None
    except (ValueError, TypeError, OverflowError):
        return None
