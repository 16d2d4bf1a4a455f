"""REDIS DOOR: counts what keys ask for. One Lua call a request, on Redis' clock.

    take        EVALSHA for each who asks, one round trip for all who ask at once: a Redis that
                syncs each command to disk would make each of them wait for it alone
    give_back   ZREM

    pinclip:limit:{key}       hash    level, at     the rate
                                      day, used     the quota
                                      since, refused, until, why     who does not listen
    pinclip:parallel:{owner}  sorted  scan -> deadline               what is not final

The rate is the GCRA in its form as a leaky bucket (ITU-T I.371, annex A): `level` drains by the
rate and may not pass it. In t seconds at most rate + rate * t / 60 pass, whatever the number of
processes, because Redis runs one script at a time and no clock but its own is asked. A wiped
Redis has counted nothing; what expires here is at rest anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from worker.contract import DEADLINE_SECONDS, RedisSettings

from .connections import Connections
from .rules.caller import Caller
from .rules.limits import DAILY, DAY_SECONDS, PARALLEL, SCANS, SHUT_OUT_SECONDS, Levels
from .together import Together

CONNECTIONS = 4
"""Most connections to Redis from one process, for limits alone."""

CHUNK = 128
"""Most callers that one round trip serves, so that it ends within its time."""

_SCRIPT = f"""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local cost, rate, parallel = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local quota, abnormal, scans = tonumber(ARGV[4]), tonumber(ARGV[5]), #ARGV - 5
local has = redis.call('HMGET', KEYS[1],
  'level', 'at', 'day', 'used', 'since', 'refused', 'until', 'why')
local function number(i) return tonumber(has[i] or 0) end
local function exact(x) return string.format('%.17g', x) end  -- tostring has 14 digits

if number(7) > now then
  return {{has[8], '0', '0', '0', '0', '0', exact(number(7) - now)}}
end

local violated, wait, level, held = {{}}, 0, 0, 0
if rate > 0 then
  level = math.max(0, number(1) - math.max(0, now - number(2)) * rate / 60)
  if level + cost > rate + 1e-9 then
    table.insert(violated, '{SCANS}')
    wait = (level + cost - rate) * 60 / rate
  end
end
if parallel > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', exact(now))
  held = redis.call('ZCARD', KEYS[2])
  if held + scans > parallel then table.insert(violated, '{PARALLEL}') end
end
local day, used = number(3), number(4)
if now >= day + {DAY_SECONDS} then day, used = now, 0 end
if quota > 0 and used + cost > quota then table.insert(violated, '{DAILY}') end

local shut_out = 0
local why = table.concat(violated, ' ')
if #violated == 0 then
  level, used = level + cost, used + cost
  redis.call('HSET', KEYS[1], 'level', exact(level), 'at', exact(now), 'day', exact(day),
    'used', used)
  if parallel > 0 and scans > 0 then
    for i = 6, #ARGV do redis.call('ZADD', KEYS[2], exact(now + {DEADLINE_SECONDS}), ARGV[i]) end
    redis.call('EXPIRE', KEYS[2], {int(DEADLINE_SECONDS) + 1})
    held = held + scans
  end
else
  local since, refused = number(5), number(6)
  if now >= since + 60 then since, refused = now, 0 end
  refused = refused + 1
  if refused > abnormal then shut_out, refused = {SHUT_OUT_SECONDS}, 0 end
  redis.call('HSET', KEYS[1], 'since', exact(since), 'refused', refused,
    'until', exact(shut_out > 0 and now + shut_out or 0), 'why', why)
end
redis.call('EXPIRE', KEYS[1], {DAY_SECONDS + 1})
return {{why, exact(level), tostring(held), tostring(used), exact(day + {DAY_SECONDS} - now),
  exact(wait), tostring(shut_out)}}
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisMeter:
    """Meter over Redis, as rules/limits.py describes it."""

    def __init__(self, settings: RedisSettings) -> None:
        self._connections = Connections(settings, most=CONNECTIONS, is_text=True)
        self._redis = self._connections.redis
        self._takes: Together[_Ask] = Together(self._take)

    async def aclose(self) -> None:
        """Close all connections, once nothing is on its way that would open one anew."""
        await self._takes.ended()
        await self._connections.aclose()

    async def take(
        self, caller: Caller, *, cost: int, scan_ids: Sequence[str], abnormal: int
    ) -> Levels:
        """Take from all policies of the caller, or from none of them; raises Unavailable."""
        limits = caller.limits
        counts = (cost, limits.rate_per_minute, limits.parallel, limits.quota_per_day, abnormal)
        keys = [f"pinclip:limit:{caller.key_id}", _parallel_key(caller.owner)]
        ask = _Ask(keys, [*(count or 0 for count in counts), *scan_ids])
        await self._takes.do(ask)
        return _levels(ask.answer)

    async def give_back(self, owner: str, scan_ids: Sequence[str]) -> None:
        """Count these scans as final; raises Unavailable."""
        with self._connections.told():
            await self._redis.zrem(_parallel_key(owner), *scan_ids)

    async def _take(self, asks: Sequence[_Ask]) -> None:
        for begin in range(0, len(asks), CHUNK):
            await self._take_chunk(asks[begin : begin + CHUNK])

    async def _take_chunk(self, asks: Sequence[_Ask]) -> None:
        with self._connections.told():
            await self._evaluate(asks)
            unknown = [ask for ask in asks if isinstance(ask.answer, NoScriptError)]
            if unknown:  # a Redis that was wiped, or is new to us
                await self._redis.script_load(_SCRIPT)
                await self._evaluate(unknown)
            for ask in asks:
                if isinstance(ask.answer, RedisError):
                    raise ask.answer

    async def _evaluate(self, asks: Sequence[_Ask]) -> None:
        pipe: Any = self._redis.pipeline(transaction=False)
        async with pipe:
            for ask in asks:
                pipe.evalsha(_SHA, len(ask.keys), *ask.keys, *ask.arguments)
            answers = await pipe.execute(raise_on_error=False)
        for ask, answer in zip(asks, answers, strict=True):
            ask.answer = answer


class _Ask:
    """What one caller asks the script, and its answer or its error."""

    def __init__(self, keys: list[str], arguments: list[str | int]) -> None:
        self.keys = keys
        self.arguments = arguments
        self.answer: Any = None


def _levels(answer: Sequence[str]) -> Levels:
    why, level, held, used, day, wait, shut_out = answer
    return Levels(
        level=float(level),
        held=int(held),
        used=int(float(used)),
        day_seconds=float(day),
        wait_seconds=float(wait),
        shut_out_seconds=float(shut_out),
        violated=tuple(why.split()),
    )


def _parallel_key(owner: str) -> str:
    return f"pinclip:parallel:{owner}"
