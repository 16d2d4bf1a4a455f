"""What does the API add to an empty handler? `python benchmarks/api.py [--seconds 1.5]`.

    read, write    an empty Litestar handler on the same server: GET, and POST of a JSON body
    status         GET /v1/scans/{id} of a scan that waits
    submit         POST /v1/scans: recorded and on the disk, posted to Redis, a ticket rung
    healthz        GET /healthz by one more, from a process of its own, while all submit
    wait           POST with Prefer: wait=30, answered with the verdict of a model that takes no
                   time; a picture that nobody has seen
    again          the same with a picture that was seen, which is fetched again
    cache hit      the same where its origin says that it stays as it is: nobody looks

Requests a second of CALLERS connections, milliseconds of a lone one (median), and the server's
CPU milliseconds a request; they take turns. Reads and submits run without a worker, so that the
API has the machine; the rest with one. The empty handler is measured beside each. One JSON line;
1 if a bar is missed: of submits, of a cache hit, of healthz.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.callers import WAIT, Caller
from benchmarks.doubles import ASLEEP
from benchmarks.measuring import at_least, at_most, cpu_seconds, percentile, tell
from benchmarks.origins import Origins
from benchmarks.parts import Parts
from benchmarks.running_system import free_port
from sdk.wire import Model
from worker.contract import WORKER_BEAT_SECONDS, WorkerBeat
from worker.ledger import StreamLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLERS = 8
ROUNDS = 3
LONE = 50
BODY = {"url": "https://images.example/7.jpg", "operating_point": "balanced"}
EMPTY = {"status": "read", "submit": "write", "cache hit": "write beside it"}
"""Which empty handler each is compared with."""
MANY = "1000000"
"""Scans that may wait: on a fast machine the usual number comes together within the minute."""
HIT_BAR_MS = 5.0
HIT_BAR = 2.0
"""Most that a lone cache hit may take, as a multiple of what the empty handler takes."""
SUBMIT_BAR = 0.3
"""Least submits a second, as a share of what the empty handler answers."""
HEALTH_BAR_MS = 100.0
HEALTH_PAUSE_SECONDS = 0.01


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each, a round (1.5)")
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with Origins() as origins, tempfile.TemporaryDirectory(dir="/tmp") as name, empty() as bare:
        folder = Path(name)
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        waiting = Parts(folder / "a", allow_port=origins.port, PINCLIP_QUEUE_LIMIT=MANY)
        with waiting as parts, as_if_working(parts):
            asked = {**without_model(bare), **accepting(parts)}
            # Submits first and at once: an API whose scans all wait for 30 s takes no more.
            found |= measured({name: asked[name] for name in ("write", "submit")}, args.seconds)
            health = health_p99_ms(*asked["submit"], span=ROUNDS * args.seconds)
            found |= measured({name: asked[name] for name in ("read", "status")}, args.seconds)
        with Parts(folder / "b", allow_port=origins.port) as parts:
            parts.start_worker("w", PINCLIP_DETECTOR=ASLEEP)
            parts.wait_for(1)
            found |= measured(answering(parts, origins), args.seconds)
            beside = {"write beside it": without_model(bare)["write"]}
            found |= measured(beside | hitting(parts, origins), args.seconds)
    ratios = {
        name: {
            "requests": round(found[name]["a second"] / found[base]["a second"], 2),
            "cpu": round(found[name]["cpu ms"] / found[base]["cpu ms"], 2),
            "lone p50": round(found[name]["lone p50 ms"] / found[base]["lone p50 ms"], 2),
        }
        for name, base in EMPTY.items()
    }
    line = {"name": "api", "callers": CALLERS, **found, "against the empty handler": ratios}
    line["healthz p99 ms"] = health
    return tell({**line, "bars": bars(found, ratios, health)})


def bars(
    found: dict[str, dict[str, float]], ratios: dict[str, dict[str, float]], health: float
) -> list[dict[str, Any]]:
    """Return what the figures are held against."""
    hit, of_hit = found["cache hit"]["lone p50 ms"], ratios["cache hit"]["lone p50"]
    return [
        at_least("submit, of an empty handler", ratios["submit"]["requests"], SUBMIT_BAR),
        at_most("cache hit, p50 ms", hit, HIT_BAR_MS),
        at_most("cache hit, p50 of an empty handler", of_hit, HIT_BAR),
        at_most("healthz under submits, p99 ms", health, HEALTH_BAR_MS),
    ]


class Server:
    """A server under measurement: its port, and the process whose CPU time counts."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.pid = process.pid


@contextlib.contextmanager
def empty() -> Iterator[Server]:
    """Serve the empty handler for as long as the block lasts."""
    port = free_port()
    program = Path(__file__).with_name("empty_handler.py")
    process = subprocess.Popen([sys.executable, str(program), str(port)])
    try:
        _until_answering(port)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait()


def without_model(bare: Server) -> dict[str, tuple[Server, Any]]:
    """Return what is asked of the empty handler."""
    return {
        "read": (bare, lambda caller: _expect(caller.ask("GET", "/"), 200)),
        "write": (bare, lambda caller: _expect(caller.ask("POST", "/", BODY), 202)),
    }


def accepting(parts: Parts) -> dict[str, tuple[Server, Any]]:
    """Return what is asked of an API whose scans all wait."""
    api = Server(parts.port, parts.api)
    with Caller(parts.port) as caller:
        scan_id = caller.submit(BODY["url"])["id"]
    path = f"/v1/scans/{scan_id}"
    return {
        "status": (api, lambda caller: _expect(caller.ask("GET", path), 200)),
        "submit": (api, lambda caller: _expect(caller.ask("POST", "/v1/scans", BODY), 202)),
    }


def answering(parts: Parts, origins: Origins) -> dict[str, tuple[Server, Any]]:
    """Return what is asked of an API with a worker."""
    api, numbers = Server(parts.port, parts.api), itertools.count()
    seen = origins.url("small/0.jpg")

    def wait(caller: Caller) -> None:
        url = origins.url(f"small/{next(numbers)}.jpg")
        _expect(caller.ask("POST", "/v1/scans", {"url": url}, WAIT), 200)

    def again(caller: Caller) -> None:
        _expect(caller.ask("POST", "/v1/scans", {"url": seen}, WAIT), 200)

    return {"wait": (api, wait), "again": (api, again)}


def hitting(parts: Parts, origins: Origins) -> dict[str, tuple[Server, Any]]:
    """Return what is asked of an API that has the verdict on record."""
    known = {"url": origins.url("fresh/0.jpg")}
    with Caller(parts.port) as caller:
        caller.scan(known["url"])
    api = Server(parts.port, parts.api)
    return {"cache hit": (api, lambda caller: _expect(caller.ask("POST", "/v1/scans", known), 200))}


def measured(asked: dict[str, tuple[Server, Any]], span: float) -> dict[str, dict[str, float]]:
    """Return figures of each, over rounds in which they take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    lone: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(ROUNDS + 1):
        for name, (server, ask) in asked.items():
            spent = alone(server, ask, LONE // ROUNDS)
            count, wall, cpu = busy(server, ask, span)
            if turn:
                lone[name] += spent
                taken[name].append((count / wall, cpu / count))
    return {
        name: {
            "a second": round(statistics.median(rate for rate, _ in taken[name]), 1),
            "cpu ms": round(1000 * statistics.median(cpu for _, cpu in taken[name]), 2),
            "lone p50 ms": round(1000 * statistics.median(lone[name]), 2),
        }
        for name in asked
    }


def alone(server: Server, ask: Any, count: int) -> list[float]:
    """Return the seconds of requests that one caller sends one after the other."""
    with Caller(server.port) as caller:
        ask(caller)
        spent = []
        for _ in range(count):
            began = time.perf_counter()
            ask(caller)
            spent.append(time.perf_counter() - began)
    return spent


def busy(server: Server, ask: Any, span: float) -> tuple[int, float, float]:
    """Return requests, seconds and the server's CPU seconds of CALLERS for about this long."""
    counts: list[int] = []
    began, cpu = time.monotonic(), cpu_seconds([server.pid])

    def run() -> None:
        with Caller(server.port) as caller:
            count = 0
            while time.monotonic() < began + span:
                ask(caller)
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) < CALLERS:
        raise RuntimeError("a caller failed; what it was told stands above")
    return sum(counts), time.monotonic() - began, cpu_seconds([server.pid]) - cpu


def health_p99_ms(server: Server, ask: Any, *, span: float) -> float:
    """Return how long /healthz takes while CALLERS ask for so many seconds; 99 of 100 less.

    It is asked from a process of its own, so that it does not wait for the other callers' turns.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as apart:
        apart.submit(time.monotonic).result()  # it takes a while to start
        asking = apart.submit(health_seconds, server.port, span)
        busy(server, ask, span)
        return round(1000 * percentile(asking.result(), 0.99), 2)


def health_seconds(port: int, span: float) -> list[float]:
    """Return the seconds of each GET /healthz, asked now and then for about `span`."""
    spent, ends = [], time.monotonic() + span
    with Caller(port) as caller:
        while time.monotonic() < ends:
            began = time.perf_counter()
            _expect(caller.ask("GET", "/healthz"), 200)
            spent.append(time.perf_counter() - began)
            time.sleep(HEALTH_PAUSE_SECONDS)
    return spent


@contextlib.contextmanager
def as_if_working(parts: Parts) -> Iterator[None]:
    """Tell the API that a worker is alive, though none is: scans are accepted and wait."""
    model = Model(id="none", weights_sha256="0" * 64)
    ledger = StreamLedger(parts.redis.address, worker="none")
    over = threading.Event()

    def beat() -> None:
        while True:
            about = {"engine": "none", "precision": "none", "device": "none"}
            ledger.beat(WorkerBeat(name="none", model=model, at=time.time(), **about))
            if over.wait(WORKER_BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        parts.wait_for(1)
        yield
    finally:
        over.set()
        thread.join()
        ledger.close()


def _expect(answer: tuple[int, Any], status: int) -> None:
    if answer[0] != status:
        raise RuntimeError(f"the server answered {answer[0]}: {answer[1]}")


def _until_answering(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), Caller(port) as caller:
            caller.ask("GET", "/")
            return
        time.sleep(0.1)
    raise RuntimeError("the empty handler did not start")


if __name__ == "__main__":
    sys.exit(main())
