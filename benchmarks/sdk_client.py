"""What does the client add to plain HTTP? `python benchmarks/sdk_client.py [--calls 400]`.

    cached check   Client.check of an image that is known, against httpx that posts the same and
                   reads the JSON; they take turns, call by call
    check_many     1,000 images that nobody has seen, CALLERS at a time: in threads (Client) and in
                   tasks (AsyncClient), against as many threads of plain httpx; they take turns,
                   round by round

The system is real but for the model, which takes no time; so the client's own work weighs as
much as it can. One JSON line; 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

import sdk
from benchmarks.doubles import ASLEEP
from benchmarks.measuring import at_least, at_most, seconds, tell
from benchmarks.origins import Origins
from benchmarks.parts import Parts

CALLERS = 32
IMAGES = 1000
ROUNDS = 4
OVERHEAD_BAR = 1.3
SHARE_BAR = 0.9
TIMEOUT_SECONDS = 60
LATER = (409, 429, 503)
"""What is worth another try, as the client knows, too."""
LATER_SECONDS = 1.0
WAIT_SECONDS = 29
"""As long as the server holds an answer for the plain callers."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="cached checks of each (400)")
    args = parser.parse_args()
    with (
        Origins() as origins,
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Parts(Path(name), allow_port=origins.port) as parts,
    ):
        parts.start_worker("w", PINCLIP_DETECTOR=ASLEEP)
        parts.wait_for(1)
        address = f"http://127.0.0.1:{parts.port}"
        cached = known(address, origins.url("fresh/0.jpg"), args.calls)
        many = unseen(address, map(origins.url, numbered()))
    overhead = round(cached["client ms"] / cached["httpx ms"], 3)
    shares = {name: round(many[name] / many["httpx"], 3) for name in ("threads", "tasks")}
    bars = [at_most("cached check, times httpx", overhead, OVERHEAD_BAR)]
    bars += [
        at_least(f"check_many in {name}, of httpx", share, SHARE_BAR)
        for name, share in shares.items()
    ]
    line = {"name": "sdk_client", "callers": CALLERS, "images": IMAGES, "cached check": cached}
    return tell({**line, "check_many, a second": many, "bars": bars})


def numbered() -> Iterator[str]:
    """Yield names of images, each new."""
    return (f"small/{number}.jpg" for number in itertools.count())


def known(address: str, url: str, calls: int) -> dict[str, float]:
    """Return the median milliseconds of a check of a known image, by the client and by httpx."""
    spent: dict[str, list[float]] = {"client": [], "httpx": []}
    with (
        sdk.Client(base_url=address) as client,
        httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as http,
    ):
        client.check(url)
        for turn in range(calls + 20):
            taken = {
                "client": seconds(lambda: client.check(url)),
                "httpx": seconds(lambda: posted(http, address, url)),
            }
            for name, one in taken.items():
                spent[name] += [one] if turn >= 20 else []
    return {f"{name} ms": round(1000 * statistics.median(each), 3) for name, each in spent.items()}


def unseen(address: str, urls: Iterator[str]) -> dict[str, float]:
    """Return verdicts a second of each way to ask for new images, IMAGES of each in all."""
    ways: dict[str, Callable[[str, list[str]], None]] = {
        "httpx": by_httpx,
        "threads": by_threads,
        "tasks": by_tasks,
    }
    spent = dict.fromkeys(ways, 0.0)
    by_httpx(address, list(itertools.islice(urls, CALLERS)))  # a warm-up
    for turn in range(ROUNDS):
        for name in sorted(ways, key=lambda name: (list(ways).index(name) + turn) % len(ways)):
            share = list(itertools.islice(urls, IMAGES // ROUNDS))
            began = time.perf_counter()
            ways[name](address, share)
            spent[name] += time.perf_counter() - began
    return {name: round(IMAGES / taken, 1) for name, taken in spent.items()}


def by_httpx(address: str, urls: list[str]) -> None:
    """Have them judged by threads, which share one httpx.Client."""
    left, lock = iter(urls), threading.Lock()
    done: list[dict[str, object]] = []

    def run() -> None:
        while True:
            with lock:
                url = next(left, None)
            if url is None:
                return
            done.append(posted(http, address, url, wait=WAIT_SECONDS))

    with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
        threads = [threading.Thread(target=run) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    unjudged = [scan for scan in done if scan["verdict"] is None]
    if len(done) < len(urls) or unjudged:
        raise RuntimeError(f"{len(done)} of {len(urls)} answers; without a verdict: {unjudged[:1]}")


def by_threads(address: str, urls: list[str]) -> None:
    """Have them judged by Client.check_many."""
    with sdk.Client(base_url=address) as client:
        for one in client.check_many(urls, concurrency=CALLERS, priority="interactive"):
            expect(one)


def by_tasks(address: str, urls: list[str]) -> None:
    """Have them judged by AsyncClient.check_many."""

    async def run() -> None:
        async with sdk.AsyncClient(base_url=address) as client:
            async for one in client.check_many(urls, concurrency=CALLERS, priority="interactive"):
                expect(one)

    asyncio.run(run())


def expect(one: sdk.Checked[str]) -> None:
    """Raise what went wrong with an item, if anything did."""
    if not isinstance(one.result, sdk.Scan):
        raise one.result


def posted(http: httpx.Client, address: str, url: str, *, wait: int = 19) -> dict[str, object]:
    """Return the JSON that answers a scan request, sent as a careful caller would."""
    headers = {"Prefer": f"wait={wait}", "Idempotency-Key": f'"{uuid.uuid4()}"'}
    while True:
        answer = http.post(f"{address}/v1/scans", json={"url": url}, headers=headers)
        if answer.status_code not in LATER:
            break
        time.sleep(LATER_SECONDS)
    answer.raise_for_status()
    found: dict[str, object] = answer.json()
    return found


if __name__ == "__main__":
    sys.exit(main())
