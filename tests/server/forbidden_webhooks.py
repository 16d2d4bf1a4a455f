"""Counts how many forbidden addresses the courier reaches, like benchmarks/forbidden_addresses.py.

    python -m tests.server.forbidden_webhooks     {"tried": 363, "reached": 0, ...}

In a network namespace of its own, which has every address of tests/vectors/urls.json with a canary
on it, the sender is given each refused URL of the corpus, and names that resolve to each forbidden
address: alone, beside a public one, and from the second look-up on.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import anyio

from benchmarks.forbidden_addresses import (
    EVERYTHING,
    PUBLIC,
    VECTORS,
    canary,
    forbidden,
    forbidden_literal,
    set_up_loopback,
)
from server.courier import Sender
from server.rules.webhooks import Signing, new_secret
from server.store.deliveries import Claimed
from worker.guard import Policy

KINDS = ("alone", "mixed", "flip")
TLS = ssl.create_default_context()


async def measure() -> dict[str, object]:
    """Return how much was tried and reached. Only in a fresh network namespace, as its root."""
    urls = [case["url"] for case in json.loads(VECTORS.read_text())["cases"] if case["code"]]
    hosts = sorted({host for host in map(forbidden_literal, urls) if host})
    set_up_loopback([*hosts, *PUBLIC])
    names = {f"{kind}{n}.example.com": (kind, h) for n, h in enumerate(hosts) for kind in KINDS}
    tries = [*urls, *(f"http://{name}/" for name in [*names, *names])]
    with canary(urls) as reached:
        await drive(tries, Policy(), names)
        guarded, public = forbidden(reached), reached.total() - forbidden(reached)
        reached.clear()
        await drive(tries, EVERYTHING, names)
        unguarded = forbidden(reached)
    return {
        "tried": len(tries),
        "reached": guarded,
        "reached_public": public,
        "reached_if_all_allowed": unguarded,
    }


async def drive(tries: Sequence[str], policy: Policy, names: dict[str, tuple[str, str]]) -> None:
    """Deliver to each, over a new connection each time, 16 at a time."""
    seen: Counter[str] = Counter()

    def resolve(name: str) -> list[str]:
        kind, host = names.get(name, ("alone", "127.0.0.1"))
        seen[name] += 1
        if kind == "flip" and seen[name] == 1:
            return [PUBLIC[0]]
        return [PUBLIC[0], host] if kind == "mixed" else [host]

    async def deliver(url: str) -> None:
        async with room:
            sender = Sender(policy, resolver=resolve, ssl_context=TLS, timeout_seconds=2)
            await sender.send(claimed(url), now=1.0)
            await sender.aclose()

    room = anyio.Semaphore(16)
    async with anyio.create_task_group() as group:
        for url in tries:
            group.start_soon(deliver, url)


def claimed(url: str) -> Claimed:
    """Return a delivery to this URL."""
    return Claimed(
        id="dlv_1",
        lease="lease",
        event_id="evt_1",
        endpoint_id="whk_1",
        url=url,
        secrets=(Signing(new_secret()),),
        body="{}",
        attempts=1,
        is_well=True,
    )


if __name__ == "__main__":
    if "--inside" in sys.argv:
        print(json.dumps(anyio.run(measure)))
    else:
        command = ["unshare", "--net", sys.executable, "-m", "tests.server.forbidden_webhooks"]
        sys.exit(subprocess.run([*command, "--inside"], check=False).returncode)
