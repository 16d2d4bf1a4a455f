"""The API over its real parts while they die, fall silent or forget: told at once, lost nothing.

A worker is played by what worker/contract.py says that it writes to Redis.
"""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
import redis

from sdk.wire import Priority
from server import collector
from server.app import create_app
from server.clock import SystemClock
from server.edge import Edge
from server.ports import Opened
from server.settings import ServerSettings
from tests.server.conftest import alive, calling, until
from tests.server.scenes import BEAT, URL, completed, opened
from tests.server.sql_records import SqlRecords
from tests.valkey_server import Valkey, running
from worker.contract import (
    BULK_SCANS,
    FIELD,
    RESULTS,
    SCANS,
    STREAMS,
    RedisSettings,
    decode_entry,
    encode,
    worker_key,
)
from worker.ledger import StreamLedger

pytestmark = [pytest.mark.anyio, pytest.mark.redis]


class HastyClock(SystemClock):
    """The machine's clock, set ahead by `ahead` seconds, with short naps in place of long ones."""

    def __init__(self, ahead: float = 0.0) -> None:
        self._ahead = ahead

    def now(self) -> float:
        return super().now() + self._ahead

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


@pytest.fixture
def mortal() -> Iterator[Valkey]:
    """A server of this test's own, to be killed, with the beat of a worker."""
    with running() as valkey:
        _beat(valkey)
        yield valkey


@pytest.fixture
def mortal_settings(mortal: Valkey, settings: ServerSettings) -> ServerSettings:
    state_dir = settings.redis.state_dir
    return ServerSettings(redis=RedisSettings(redis_url=mortal.url, state_dir=state_dir))


def _beat(valkey: Valkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set(worker_key(BEAT.name), encode(BEAT))


@asynccontextmanager
async def serving(
    settings: ServerSettings, *, ahead: float = 0.0
) -> AsyncIterator[httpx.AsyncClient]:
    """Run the whole server in this loop, its background work included; yield a client of it."""
    edge: Edge = create_app(settings, clock=HastyClock(ahead))
    async with alive(edge), calling(edge) as client:
        yield client


async def submit(
    client: httpx.AsyncClient, priority: Priority = Priority.INTERACTIVE
) -> httpx.Response:
    with anyio.fail_after(30):
        return await client.post("/v1/scans", json={"url": URL, "priority": priority})


async def until_final(client: httpx.AsyncClient, scan_id: str) -> str:
    """Return the status of a scan once it is final."""
    with anyio.fail_after(30):
        while True:
            headers = {"Prefer": "wait=10"}
            answer = await client.get(f"/v1/scans/{scan_id}", headers=headers, timeout=30)
            if answer.status_code == 200:
                return str(answer.json()["status"])


def work_off(client: redis.Redis) -> int:
    """Do what a worker does with all that waits; return how much that was."""
    done = 0
    for stream in STREAMS.values():
        for token, fields in client.xrange(stream):
            scan_id = decode_entry(fields[FIELD.encode()]).scan_id
            pipe = client.pipeline(transaction=True)
            pipe.xadd(RESULTS, {FIELD: encode(completed(scan_id))})
            pipe.xdel(stream, token)
            pipe.execute()
            done += 1
    return done


async def test_scan_goes_all_the_way(settings: ServerSettings, redis_client: redis.Redis) -> None:
    async with serving(settings) as client:
        answer = await submit(client)
        assert work_off(redis_client) == 1

        assert await until_final(client, answer.json()["id"]) == "completed"

    assert redis_client.xlen(RESULTS) == 0


async def test_scan_accepted_before_a_crash_is_posted_after_it(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    # The crash: the row is committed, and the process dies before it has told Redis.
    clock = HastyClock()
    records = SqlRecords(settings, clock)
    await records.prepare()
    accepted: Opened = opened(clock.now())
    await records.open(accepted)
    await records.aclose()

    async with serving(settings, ahead=collector.OVERDUE_SECONDS + 1) as client:
        await until(lambda: redis_client.xlen(SCANS) >= 1)
        work_off(redis_client)

        assert await until_final(client, accepted.scan.id) == "completed"


async def test_wiped_redis_loses_no_scan(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with serving(settings) as client:
        ids = [(await submit(client)).json()["id"] for _ in range(20)]
    redis_client.flushall()

    async with serving(settings, ahead=collector.OVERDUE_SECONDS + 1) as client:
        await until(lambda: redis_client.xlen(SCANS) >= 20)
        assert work_off(redis_client) == 20

        assert {await until_final(client, one) for one in ids} == {"completed"}


async def test_wiped_redis_gets_each_scan_back_in_the_stream_of_its_priority(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with serving(settings) as client:
        ids = [(await submit(client, priority)).json()["id"] for priority in Priority]
    redis_client.flushall()

    async with serving(settings, ahead=collector.OVERDUE_SECONDS + 1):
        await until(lambda: redis_client.xlen(SCANS) and redis_client.xlen(BULK_SCANS))

    posted = [
        decode_entry(fields[FIELD.encode()]).scan_id
        for stream in (SCANS, BULK_SCANS)
        for _, fields in redis_client.xrange(stream)[:1]
    ]
    assert posted == ids


async def test_full_redis_is_told_and_costs_no_accepted_scan(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with serving(settings) as client:
        await submit(client)
        redis_client.config_set("maxmemory", "1")
        try:
            unposted = await submit(client)
            refused = await _until_refused(client)
            ready = await client.get("/readyz")
        finally:
            redis_client.config_set("maxmemory", "0")

    # The last look at Redis was good for a second: that scan stands in the records.
    assert unposted.status_code == 202
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert "memory is full" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (503, False)
    async with serving(settings, ahead=collector.OVERDUE_SECONDS + 1) as client:
        await until(lambda: redis_client.xlen(SCANS) >= 2)
        work_off(redis_client)
        assert await until_final(client, unposted.json()["id"]) == "completed"


async def test_full_redis_is_emptied_by_the_work_itself(
    settings: ServerSettings, redis_client: redis.Redis, valkey: Valkey
) -> None:
    ledger = StreamLedger(valkey.url, worker="worker-1")
    assert ledger.claim(8) == []
    async with serving(settings) as client:
        await until(lambda: redis_client.exists(RESULTS))
        scan_ids = [(await submit(client, priority)).json()["id"] for priority in Priority]
        redis_client.config_set("maxmemory", "1")
        try:
            claims = ledger.claim(8)
            ends = [(claim, completed(claim.entry.scan_id)) for claim in claims]
            assert ledger.complete(ends) == [True, True]

            assert {await until_final(client, one) for one in scan_ids} == {"completed"}
        finally:
            redis_client.config_set("maxmemory", "0")
            ledger.close()
    assert [redis_client.xlen(stream) for stream in (SCANS, BULK_SCANS, RESULTS)] == [0, 0, 0]


async def test_wipe_under_a_running_server_is_mended(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with serving(settings) as client:
        answer = await submit(client)
        redis_client.flushall()

        work_off(redis_client)
        redis_client.xadd(RESULTS, {FIELD: encode(completed(answer.json()["id"]))})

        assert await until_final(client, answer.json()["id"]) == "completed"


async def test_outcomes_published_while_no_server_ran_are_collected(
    settings: ServerSettings, redis_client: redis.Redis
) -> None:
    async with serving(settings) as client:
        answer = await submit(client)
    work_off(redis_client)

    async with serving(settings) as client:
        assert await until_final(client, answer.json()["id"]) == "completed"


async def test_silent_redis_is_told_and_scans_are_taken_again_after(
    mortal: Valkey, mortal_settings: ServerSettings
) -> None:
    assert mortal.process is not None
    async with serving(mortal_settings) as client:
        mortal.process.send_signal(signal.SIGSTOP)
        try:
            answer = await submit(client)
            ready = await client.get("/readyz")
        finally:
            mortal.process.send_signal(signal.SIGCONT)

        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (503, False)
        assert (await _until_accepted(client)).status_code == 202


async def test_dead_redis_is_told_and_scans_are_taken_again_after(
    mortal: Valkey, mortal_settings: ServerSettings
) -> None:
    async with serving(mortal_settings) as client:
        mortal.kill()

        answer = await submit(client)

        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        mortal.start()
        _beat(mortal)
        assert (await _until_accepted(client)).status_code == 202


async def test_redis_that_dies_between_two_looks_costs_no_accepted_scan(
    mortal: Valkey, mortal_settings: ServerSettings
) -> None:
    async with serving(mortal_settings) as client:
        await submit(client)
        mortal.kill()

        answer = await submit(client)

        assert answer.status_code in (202, 503)
        if answer.status_code == 202:
            got = await client.get(answer.headers["location"])
            assert got.json()["status"] == "queued"


async def test_locked_store_is_told(settings: ServerSettings, redis_client: redis.Redis) -> None:
    async with serving(settings) as client:
        other = sqlite3.connect(settings.redis.state_dir / "records.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        answer = await submit(client)

        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert redis_client.xlen(SCANS) == 0
        other.execute("ROLLBACK")
        other.close()
        assert (await submit(client)).status_code == 202


async def _until_refused(client: httpx.AsyncClient) -> httpx.Response:
    """Submit until it is not accepted; the state of Redis is remembered for a second."""
    with anyio.fail_after(30):
        while True:
            answer = await submit(client)
            if answer.status_code != 202:
                return answer
            await anyio.sleep(0.1)


async def _until_accepted(client: httpx.AsyncClient) -> httpx.Response:
    """Submit until it is accepted; the state of Redis is remembered for a second."""
    with anyio.fail_after(30):
        while True:
            answer = await submit(client)
            if answer.status_code == 202:
                return answer
            await anyio.sleep(0.1)
