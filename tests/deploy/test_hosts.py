"""Workers on several hosts against one Redis: each does its part, and one that dies costs no scan.

The hosts are network namespaces (hosts.py): what they share is Redis and the state folder, as
docs/operations.md asks of real ones.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import sdk
from sdk import Verdict
from tests.deploy import hosts as hosts_of
from tests.deploy.hosts import HUB, ORIGIN_PORT, Hosts
from tests.journeys.pictures import picture
from worker.contract import LEASE_SECONDS, SCANS, WORKERS, worker_key

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]

IN_FLIGHT = 4
SCANS_SENT = 20


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip (iproute2), to make network namespaces")
    with hosts_of.running() as hosts:
        yield hosts


class Origin:
    """The origin in the hub, seen from here through its folder."""

    def __init__(self, hosts: Hosts) -> None:
        self._folder = hosts.folder / "origin"
        self._folder.mkdir()
        (self._folder / "picture.png").write_bytes(picture(0))
        (self._folder / "asked").touch()
        self.allow(0)
        script = str(Path(__file__).with_name("gated_origin.py"))
        words = (script, HUB, str(ORIGIN_PORT), str(self._folder))
        hosts.start("origin", "hub", sys.executable, *words)
        self.url = f"http://{HUB}:{ORIGIN_PORT}/picture.png"

    def allow(self, count: int) -> None:
        """So many requests may be answered from now on, those before included."""
        new = self._folder / "allowed.new"
        new.write_text(str(count))
        new.rename(self._folder / "allowed")

    def asked_by(self) -> Counter[str]:
        """How many requests came from each address."""
        return Counter((self._folder / "asked").read_text().split())


def held(client: redis.Redis) -> dict[str, list[bytes]]:
    """Return the entries that each worker holds."""
    rows = client.xpending_range(SCANS, WORKERS, "-", "+", 100)
    names = {row["consumer"].decode() for row in rows}
    return {
        name: [row["message_id"] for row in rows if row["consumer"].decode() == name]
        for name in names
    }


def let_leases_run_out(client: redis.Redis, name: str) -> None:
    """Make what a worker holds as old as it would be after LEASE_SECONDS without a beat."""
    idle = int(LEASE_SECONDS * 1000)
    client.xclaim(SCANS, WORKERS, name, 0, held(client)[name], idle=idle, justid=True)


def test_workers_on_two_hosts_share_the_work_and_one_that_is_killed_costs_no_scan(
    hosts: Hosts,
) -> None:
    hosts.add_hub()
    addresses = [hosts.add_host(1), hosts.add_host(2)]
    client = hosts.start_redis()
    origin = Origin(hosts)
    hosts.start_api()
    hosts.start_worker(1)
    hosts.start_worker(2)
    hosts.until("both live", lambda: client.exists(*map(worker_key, ("host1", "host2"))) == 2)
    hosts.until("the API is ready", hosts.is_ready)

    with (
        sdk.Client(base_url=hosts.base_url, timeout=60) as api,
        concurrent.futures.ThreadPoolExecutor(SCANS_SENT) as threads,
    ):
        sent = [api.submit(f"{origin.url}?{number}") for number in range(SCANS_SENT)]
        # Nobody is answered, so each takes as much as it may hold ...
        hosts.until("each holds its part", lambda: sizes(client) == [IN_FLIGHT, IN_FLIGHT])
        # ... those are answered, and each takes as much again ...
        origin.allow(2 * IN_FLIGHT)
        hosts.until("each holds more", lambda: sum(origin.asked_by().values()) == 4 * IN_FLIGHT)
        hosts.until("it holds them", lambda: sizes(client) == [IN_FLIGHT, IN_FLIGHT])
        # ... and then one host is gone.
        hosts.processes["host1"].kill()
        hosts.processes["host1"].wait()
        let_leases_run_out(client, "host1")
        origin.allow(1000)
        ended = list(threads.map(lambda scan: api.wait(scan, timeout=60), sent))
        uploaded = api.check(picture(255))

    assert [scan.verdict for scan in ended] == [Verdict.NO_SIGN_OF_AI] * SCANS_SENT
    assert {scan.sequence for scan in ended} == {2}  # accepted, then recorded once
    assert origin.asked_by() == {
        addresses[0]: 2 * IN_FLIGHT,
        addresses[1]: SCANS_SENT - 2 * IN_FLIGHT + IN_FLIGHT,  # the rest, and what host 1 held
    }
    assert uploaded.verdict is Verdict.LIKELY_AI


def sizes(client: redis.Redis) -> list[int]:
    return [len(entries) for entries in held(client).values()]
