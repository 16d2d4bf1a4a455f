"""Limits over a real Valkey: exact whatever the number of processes, and told as the draft says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import redis

from sdk.wire import Scope
from server.limits import RedisMeter
from server.ports import Unavailable
from server.refused import Refused
from server.rules.caller import LOCAL, Caller, Limits
from server.rules.limits import Limiter, OverLimit, telling
from tests.fakes import ManualClock
from tests.valkey_server import Valkey, running
from worker.contract import DEADLINE_SECONDS, RedisSettings

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.anyio, pytest.mark.redis]


def caller(key_id: str = "key_a", *, owner: str = "acme", **limits: int) -> Caller:
    return Caller(
        owner=owner, key_id=key_id, scopes=frozenset({Scope.SCAN}), limits=Limits(**limits)
    )


@pytest.fixture
async def limiter(valkey: Valkey, clock: ManualClock) -> AsyncIterator[Limiter]:
    meter = RedisMeter(RedisSettings(redis_url=valkey.url, redis_timeout_seconds=5))
    yield Limiter(meter, clock)
    await meter.aclose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def passed(limiter: Limiter, who: Caller, times: int, **cost: int) -> int:
    """Return how many of so many requests at once were not refused."""
    count = 0

    async def ask() -> None:
        nonlocal count
        try:
            await limiter.spend(who, **cost)
        except OverLimit:
            return
        count += 1

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(ask)
    return count


async def refused(limiter: Limiter, who: Caller, **asked: object) -> OverLimit:
    with pytest.raises(OverLimit) as caught:
        await limiter.spend(who, **asked)  # type: ignore[arg-type]
    return caught.value


ASK = """
import anyio, json, sys, redis
from server.limits import RedisMeter
from server.rules.caller import Caller, Limits
from server.rules.limits import Limiter, OverLimit
from server.clock import SystemClock
from worker.contract import RedisSettings

url, times = sys.argv[1], int(sys.argv[2])
who = Caller(owner="acme", key_id="key_a", scopes=frozenset(), limits=Limits(rate_per_minute=100))
told = {"passed": 0, "refused": 0}
with redis.Redis.from_url(url) as valkey:
    def now():
        seconds, micros = valkey.time()
        return seconds + micros / 1e6

    async def main():
        meter = RedisMeter(RedisSettings(redis_url=url, redis_timeout_seconds=30))
        limiter = Limiter(meter, SystemClock())
        async def ask():
            try:
                await limiter.spend(who)
            except OverLimit:
                told["refused"] += 1
            else:
                told["passed"] += 1
        async with anyio.create_task_group() as group:
            for _ in range(times):
                group.start_soon(ask)
        await meter.aclose()

    print("ready", flush=True)
    sys.stdin.readline()
    began = now()
    anyio.run(main)
    print(json.dumps({**told, "began": began, "ended": now()}))
"""


def test_limit_is_exact_over_four_processes_and_a_thousand_requests_at_once(
    valkey: Valkey, record_property: pytest.RecordProperty
) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, valkey.url, "250"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"

    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [json.loads(child.communicate(timeout=60)[0]) for child in children]

    seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
    count = sum(one["passed"] for one in told)
    bound = 100 + seconds * 100 / 60
    print(f"1000 requests of 4 processes in {seconds:.2f} s: {count} passed, bound {bound:.2f}")
    assert sum(one["refused"] for one in told) == 1000 - count
    assert 100 <= count <= bound


async def test_rate_is_spent_and_comes_back(limiter: Limiter) -> None:
    who = caller(rate_per_minute=600)

    assert await passed(limiter, who, 600, cost=1) >= 600
    told = await refused(limiter, who, cost=100)

    assert told.violated_policies == ("scans",)
    assert told.retry_after is not None
    assert 1 <= told.retry_after <= 10  # 100 of 600 a minute come back in 10 s


async def test_time_gives_back_what_the_rate_says(
    limiter: Limiter, redis_client: redis.Redis
) -> None:
    who = caller(rate_per_minute=60)
    await limiter.spend(who, cost=60)
    at = float(redis_client.hget("pinclip:limit:key_a", "at"))  # type: ignore[arg-type]
    redis_client.hset("pinclip:limit:key_a", "at", repr(at - 30))  # as if it were 30 s ago

    await limiter.spend(who, cost=30)
    told = await refused(limiter, who, cost=2)

    assert told.retry_after in (1, 2)


async def test_batch_costs_its_items_and_is_taken_whole_or_not_at_all(limiter: Limiter) -> None:
    who = caller(rate_per_minute=100)
    await limiter.spend(who, cost=80)

    await refused(limiter, who, cost=50)

    await limiter.spend(who, cost=20)


async def test_batch_that_could_never_pass_is_refused_for_good(limiter: Limiter) -> None:
    with pytest.raises(Refused, match=r"batch_too_large: .*1000 scans.*100 a minute"):
        await limiter.spend(caller(rate_per_minute=100), cost=1000)


async def test_parallel_counts_what_is_not_final_whichever_key_asked(limiter: Limiter) -> None:
    first, second = caller("key_a", parallel=2), caller("key_b", parallel=2)
    await limiter.spend(first, scan_ids=["scan_1"])
    await limiter.spend(second, scan_ids=["scan_2"])

    told = await refused(limiter, first, scan_ids=["scan_3"])
    await limiter.done("acme", ["scan_1"])
    await limiter.spend(first, scan_ids=["scan_3"])

    assert told.violated_policies == ("parallel",)


async def test_scan_that_nobody_ends_is_forgotten_at_its_deadline(
    limiter: Limiter, redis_client: redis.Redis
) -> None:
    who = caller(parallel=1)
    await limiter.spend(who, scan_ids=["scan_1"])
    ((name, deadline),) = redis_client.zrange("pinclip:parallel:acme", 0, -1, withscores=True)  # type: ignore[misc]
    seconds, _ = redis_client.time()  # type: ignore[misc]

    redis_client.zadd("pinclip:parallel:acme", {name: seconds - 1})
    await limiter.spend(who, scan_ids=["scan_2"])

    assert DEADLINE_SECONDS - 5 < deadline - seconds <= DEADLINE_SECONDS + 1


async def test_owners_do_not_count_for_each_other(limiter: Limiter) -> None:
    await limiter.spend(caller("key_a", parallel=1), scan_ids=["scan_1"])

    await limiter.spend(caller("key_b", owner="other", parallel=1), scan_ids=["scan_2"])


async def test_daily_quota_ends_and_begins_again(
    limiter: Limiter, redis_client: redis.Redis
) -> None:
    who = caller(quota_per_day=3)
    assert await passed(limiter, who, 5) == 3
    told = await refused(limiter, who)
    day = float(redis_client.hget("pinclip:limit:key_a", "day"))  # type: ignore[arg-type]

    redis_client.hset("pinclip:limit:key_a", "day", repr(day - 86_400))

    assert told.violated_policies == ("daily",)
    assert told.retry_after is not None
    assert 86_000 < told.retry_after <= 86_400
    assert await passed(limiter, who, 5) == 3


async def test_answer_tells_every_policy_and_what_is_left(limiter: Limiter) -> None:
    who = caller(rate_per_minute=60, parallel=8, quota_per_day=1000)

    with telling() as fields:
        await limiter.spend(who, cost=19, scan_ids=["scan_1"])

    assert fields == {
        "ratelimit-policy": '"scans";q=60;w=60, "parallel";q=8;qu="concurrent-requests", '
        '"daily";q=1000;w=86400',
        "ratelimit": '"scans";r=41;t=1, "parallel";r=7, "daily";r=981;t=86400',
    }


async def test_refusal_tells_what_is_in_the_way_and_never_asks_back_too_early(
    limiter: Limiter,
) -> None:
    who = caller(rate_per_minute=60, quota_per_day=1000)
    await limiter.spend(who, cost=60)

    with telling() as fields:
        told = await refused(limiter, who, cost=30)

    assert re.fullmatch(rf'"scans";r=\d;t={told.retry_after}', fields["ratelimit"])
    assert 20 <= (told.retry_after or 0) <= 30


async def test_key_that_does_not_listen_is_shut_out_and_let_in_again(
    limiter: Limiter, clock: ManualClock, redis_client: redis.Redis
) -> None:
    who = caller(rate_per_minute=2)
    codes = []
    for _ in range(2 + 21):
        try:
            await limiter.spend(who)
        except OverLimit as over:
            codes.append(over.code)
    redis_client.flushall()

    shut_out = await refused(limiter, who)
    clock.advance(61)
    await limiter.spend(who)

    assert codes == ["rate_limited"] * 20 + ["abnormal_usage"]
    assert shut_out.code == "abnormal_usage"  # and Redis, which had forgotten, was not asked
    assert shut_out.retry_after == 60
    assert shut_out.violated_policies == ("scans",)


async def test_key_that_is_shut_out_is_so_in_every_process(
    limiter: Limiter, valkey: Valkey, clock: ManualClock
) -> None:
    who = caller(rate_per_minute=1)
    assert await passed(limiter, who, 20) == 1
    other = RedisMeter(RedisSettings(redis_url=valkey.url))

    told = await refused(Limiter(other, clock), who)
    await other.aclose()

    assert told.code == "abnormal_usage"
    assert 58 <= (told.retry_after or 0) <= 60


async def test_caller_without_limits_asks_nothing_of_redis(clock: ManualClock) -> None:
    meter = RedisMeter(RedisSettings(redis_url="unix:///nonexistent/valkey.sock"))

    await Limiter(meter, clock).spend(LOCAL, cost=1000)
    await Limiter(meter, clock).spend(caller(), cost=1000)


async def test_without_redis_submitting_ends_and_reading_goes_on(clock: ManualClock) -> None:
    with running() as mortal:
        meter = RedisMeter(RedisSettings(redis_url=mortal.url))
        limiter, who = Limiter(meter, clock), caller(rate_per_minute=60, parallel=5)
        await limiter.spend(who, scan_ids=["scan_1"])
        mortal.kill()

        with pytest.raises(Unavailable, match="redis"):
            await limiter.spend(who)
        await limiter.spend_reading(who)
        await limiter.done("acme", ["scan_1"])
        await meter.aclose()


async def test_wiped_redis_counts_anew(limiter: Limiter, redis_client: redis.Redis) -> None:
    who = caller(rate_per_minute=1)
    await limiter.spend(who)
    redis_client.flushall()
    redis_client.script_flush()

    await limiter.spend(who)


async def test_what_is_kept_expires(limiter: Limiter, redis_client: redis.Redis) -> None:
    who = caller(rate_per_minute=10, parallel=5, quota_per_day=10)
    await limiter.spend(who, scan_ids=["scan_1"])

    assert 0 < redis_client.ttl("pinclip:limit:key_a") <= 86_401  # type: ignore[operator]
    assert 0 < redis_client.ttl("pinclip:parallel:acme") <= DEADLINE_SECONDS + 1  # type: ignore[operator]
