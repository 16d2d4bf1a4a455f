"""How much a key may ask for: what is refused, for how long, and what the answer says. No Redis.

    "scans"     rate_per_minute   each scan costs one; a batch costs its scans
    "parallel"  parallel          scans of the owner that are not final
    "daily"     quota_per_day     24 h from the first that is counted

    spend -> possible at all? -> not shut out? -> Meter: all policies at once, in every process
          -> answered with RateLimit-Policy and RateLimit, or 429 with Retry-After as well

The fields are those of draft-ietf-httpapi-ratelimit-headers-11 (May 2026). `t` is when more than
`r` can be had, so that whoever obeys it can still use the whole quota. A key that goes on through
ten times its rate of refusals in a minute is shut out for the next, and each process remembers
that by itself: refusing it again costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

import structlog
from msgspec import Struct

from sdk.codes import ProblemCode
from server.ports import Clock, Unavailable
from server.refused import Refused

from .caller import Caller, Limits

SCANS, PARALLEL, DAILY = "scans", "parallel", "daily"
WINDOW_SECONDS = 60
DAY_SECONDS = 86_400
ABNORMAL_FACTOR = 10
"""Refusals in a minute, as a multiple of the rate, beyond which a key is shut out."""
USUAL_RATE = 60
"""What that multiple is of, for a key that has other limits but no rate."""
SHUT_OUT_SECONDS = 60
POLL_SECONDS = 2
"""Retry-After where only `parallel` is in the way: nobody knows when a scan will be done."""

_log = structlog.get_logger(__name__)
_told: ContextVar[dict[str, str] | None] = ContextVar("told", default=None)


class Levels(Struct, frozen=True, kw_only=True):
    """What the meter found. Where `violated` names a policy, nothing was taken.

    `level` is how much of the rate is in use, `wait_seconds` when as much as was asked for can be
    had, `shut_out_seconds` how long the key is refused whatever it asks.
    """

    level: float = 0.0
    held: int = 0
    used: int = 0
    day_seconds: float = DAY_SECONDS
    wait_seconds: float = 0.0
    shut_out_seconds: float = 0.0
    violated: tuple[str, ...] = ()


class Meter(Protocol):
    """Counts what keys ask for, exactly, whichever process they ask. Raises Unavailable."""

    async def take(
        self, caller: Caller, *, cost: int, scan_ids: Sequence[str], abnormal: int
    ) -> Levels:
        """Take from all policies of the caller, or from none of them."""
        ...

    async def give_back(self, owner: str, scan_ids: Sequence[str]) -> None:
        """Count these scans as final."""
        ...


class OverLimit(Refused):
    """Refused because of a limit; `violated_policies` names which."""

    def __init__(
        self, code: ProblemCode, detail: str, *, retry_after: int, violated: tuple[str, ...]
    ) -> None:
        super().__init__(code, detail, retry_after=retry_after)
        self.violated_policies = violated


class Limiter:
    """Holds callers to the limits of their keys. Callers without any cost nothing here."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._shut_out: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def spend(self, caller: Caller, *, cost: int = 1, scan_ids: Sequence[str] = ()) -> None:
        """Take what a request costs, or raise Refused (then nothing was taken) or Unavailable.

        `scan_ids` are the scans that it makes; they count as held until `done` names them, or
        their deadline has passed.
        """
        if caller.key_id is None or caller.limits == Limits():
            return
        _check_possible(caller.limits, cost=cost, scans=len(scan_ids))
        self._check_not_shut_out(caller.key_id, caller.limits)
        abnormal = ABNORMAL_FACTOR * (caller.limits.rate_per_minute or USUAL_RATE)
        levels = await self._meter.take(caller, cost=cost, scan_ids=scan_ids, abnormal=abnormal)
        if levels.shut_out_seconds:
            until = self._clock.monotonic() + levels.shut_out_seconds
            self._shut_out[caller.key_id] = (until, levels.violated)
            self._check_not_shut_out(caller.key_id, caller.limits)
        _tell(fields_of(caller.limits, levels))
        if levels.violated:
            raise _over(caller.limits, levels, cost)

    async def spend_reading(self, caller: Caller, *, cost: int = 1) -> None:
        """As `spend`, for what must go on while Redis is down: then nothing is counted."""
        with suppress(Unavailable):
            await self.spend(caller, cost=cost)

    async def done(self, owner: str, scan_ids: Sequence[str]) -> None:
        """Count scans as final: they were recorded so, or never came to be.

        Does not raise: what cannot be told now is forgotten at the deadline of the scan.
        """
        if not scan_ids:
            return
        try:
            await self._meter.give_back(owner, scan_ids)
        except Unavailable as error:
            _log.warning("limit_not_given_back", scans=len(scan_ids), reason=str(error))

    def _check_not_shut_out(self, key_id: str, limits: Limits) -> None:
        until, violated = self._shut_out.get(key_id, (0.0, ()))
        left = math.ceil(until - self._clock.monotonic())
        if left <= 0:
            self._shut_out.pop(key_id, None)
            return
        _tell(
            {
                "ratelimit-policy": _policy_field(limits),
                "ratelimit": ", ".join(f'"{name}";r=0;t={left}' for name in violated),
            }
        )
        raise OverLimit(
            ProblemCode.ABNORMAL_USAGE,
            f"The key {key_id} went on asking while it was refused; it is shut out for {left} s.",
            retry_after=left,
            violated=violated,
        )


@contextmanager
def telling() -> Iterator[dict[str, str]]:
    """Give the fields that limits add to the answer of the request inside of this block."""
    fields: dict[str, str] = {}
    token = _told.set(fields)
    try:
        yield fields
    finally:
        _told.reset(token)


def fields_of(limits: Limits, levels: Levels) -> dict[str, str]:
    """Return the RateLimit fields of an answer. Pure.

    Of a refusal RateLimit has only the policies that are in the way, since Retry-After should not
    be before any `t` that stands beside it.
    """
    states = {}
    if limits.rate_per_minute is not None:
        left = max(0, math.floor(limits.rate_per_minute - levels.level + 1e-6))
        seconds = _rate_seconds(limits.rate_per_minute, left, levels)
        states[SCANS] = f'"{SCANS}";r={left};t={seconds}'
    if limits.parallel is not None:
        states[PARALLEL] = f'"{PARALLEL}";r={max(0, limits.parallel - levels.held)}'
    if limits.quota_per_day is not None:
        left = max(0, limits.quota_per_day - levels.used)
        states[DAILY] = f'"{DAILY}";r={left};t={_whole(levels.day_seconds)}'
    shown = levels.violated or tuple(states)
    return {
        "ratelimit-policy": _policy_field(limits),
        "ratelimit": ", ".join(states[name] for name in shown),
    }


def retry_after(levels: Levels) -> int:
    """Return in how many whole seconds what was refused may be had. Pure."""
    waits = {
        SCANS: _whole(levels.wait_seconds),
        PARALLEL: POLL_SECONDS,
        DAILY: _whole(levels.day_seconds),
    }
    return max(waits[name] for name in levels.violated)


def _policy_field(limits: Limits) -> str:
    policies = []
    if limits.rate_per_minute is not None:
        policies.append(f'"{SCANS}";q={limits.rate_per_minute};w={WINDOW_SECONDS}')
    if limits.parallel is not None:
        policies.append(f'"{PARALLEL}";q={limits.parallel};qu="concurrent-requests"')
    if limits.quota_per_day is not None:
        policies.append(f'"{DAILY}";q={limits.quota_per_day};w={DAY_SECONDS}')
    return ", ".join(policies)


def _rate_seconds(rate: int, left: int, levels: Levels) -> int:
    if SCANS in levels.violated:
        return _whole(levels.wait_seconds)
    return _whole((levels.level - (rate - left - 1)) * WINDOW_SECONDS / rate)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _check_possible(limits: Limits, *, cost: int, scans: int) -> None:
    """Return if a request could pass when nothing else is asked; raises Refused. Pure."""
    bounds = (
        (cost, limits.rate_per_minute, "a minute"),
        (scans, limits.parallel, "at a time"),
        (cost, limits.quota_per_day, "a day"),
    )
    for count, bound, what in bounds:
        if bound is not None and count > bound:
            raise Refused(
                ProblemCode.BATCH_TOO_LARGE,
                f"The request is for {count} scans; the key may ask for {bound} {what} at most.",
            )


def _over(limits: Limits, levels: Levels, cost: int) -> OverLimit:
    bounds = {
        SCANS: f"{limits.rate_per_minute} a minute",
        PARALLEL: f"{limits.parallel} that are not final, of which there are {levels.held}",
        DAILY: f"{limits.quota_per_day} a day",
    }
    seconds = retry_after(levels)
    passed = " and ".join(bounds[name] for name in levels.violated)
    return OverLimit(
        ProblemCode.RATE_LIMITED,
        f"This costs {cost}; the key may have {passed}. Ask again in {seconds} s.",
        retry_after=seconds,
        violated=levels.violated,
    )


def _tell(fields: dict[str, str]) -> None:
    told = _told.get()
    if told is not None:
        told.update(fields)
