"""Counts how many forbidden addresses the fetcher reaches. It should say 0.

    $ python benchmarks/forbidden_addresses.py
    {"name": "forbidden_addresses", "tried": 484, "reached": 0, ...}

In a network namespace of its own, the machine is given every address of tests/vectors/urls.json,
and a server listens on all of them: a canary that counts connections. The fetcher is then asked
for each refused URL of the corpus, for a public page that redirects to it, and for names that
resolve to each forbidden address, alone, beside a public one, or from the second look-up on.
The same again with a policy that allows everything shows that the canary does count.

Needs Linux and `unshare`; without root, a kernel that lets users make namespaces.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from fcntl import ioctl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from worker.fetcher import HttpFetcher, Limits
from worker.guard import Policy, UrlRefused, check_url
from worker.ports import Refusal

VECTORS = Path(__file__).parent.parent / "tests" / "vectors" / "urls.json"
PUBLIC = ("8.8.8.8", "2606:4700::1111")
"""Addresses that may be fetched. The server on the first redirects: /N leads to URL number N."""
PORTS = (22, 80, 443, 6379, 8000, 8417)
EVERYTHING = Policy(("0.0.0.0/0", "::/0"), PORTS)


def main() -> int:
    """Print the count as one line of JSON; the status is 0 if nothing was reached."""
    if "--inside" not in sys.argv:
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", "--net", *user, sys.executable, __file__, "--inside"]
        return subprocess.run(command, check=False).returncode
    result = measure()
    print(json.dumps(result))
    return int(result["reached"] != 0)


def measure() -> dict[str, Any]:
    """Return how much was tried and reached. Only in a fresh network namespace, as its root."""
    urls = [case["url"] for case in json.loads(VECTORS.read_text())["cases"] if case["code"]]
    hosts = sorted({host for host in map(forbidden_literal, urls) if host})
    set_up_loopback([*hosts, *PUBLIC])
    names = {
        f"{kind}{index}.example.com": (kind, host)
        for index, host in enumerate(hosts)
        for kind in ("alone", "mixed", "flip")
    }
    tries = [
        *urls,
        *(f"http://{PUBLIC[0]}/{index}" for index in range(len(urls))),
        *(f"http://{name}/" for name in names),
        *(f"http://{name}/again" for name, (kind, _) in names.items() if kind == "flip"),
    ]
    with canary(urls) as reached:
        refused = drive(tries, Policy(), names)
        guarded, public = forbidden(reached), reached.total() - forbidden(reached)
        reached.clear()
        drive(tries, EVERYTHING, names)
        unguarded = forbidden(reached)
    return {
        "name": "forbidden_addresses",
        "tried": len(tries),
        "reached": guarded,
        "reached_public": public,
        "reached_if_all_allowed": unguarded,
        "refused": dict(refused),
    }


def forbidden_literal(url: str) -> str | None:
    """Return the address that a refused URL holds, unless its port is what is wrong; else None."""
    with suppress(UrlRefused, ValueError):
        address = str(ip_address(check_url(url, EVERYTHING).host))
        return address if address not in PUBLIC else None
    return None


def forbidden(reached: Counter[tuple[str, int]]) -> int:
    """Return how many connections came to where none may. Does not ask the guard."""
    return sum(
        count
        for (address, port), count in reached.items()
        if address not in PUBLIC or port not in (80, 443)
    )


def drive(tries: Sequence[str], policy: Policy, names: dict[str, tuple[str, str]]) -> Counter[str]:
    """Fetch each, in order, 16 at a time; return how often each refusal came."""
    seen: Counter[str] = Counter()

    def resolve(name: str) -> list[str]:
        kind, host = names.get(name, ("alone", "127.0.0.1"))
        seen[name] += 1
        if kind == "flip" and seen[name] == 1:
            return [PUBLIC[0]]
        return [PUBLIC[0], host] if kind == "mixed" else [host]

    limits = Limits(
        in_flight=1000, starts_per_second=10**6, breaker_failures=10**6, connect_seconds=1
    )
    with closing(HttpFetcher(policy, limits=limits, resolver=resolve)) as fetcher:

        def outcome(url: str) -> str:
            try:
                return f"fetched {len(fetcher.fetch(url, timeout_seconds=5).data)} bytes"
            except Refusal as refusal:
                return refusal.code

        with ThreadPoolExecutor(16) as pool:
            return Counter(pool.map(outcome, tries))


@contextmanager
def canary(urls: Sequence[str]) -> Iterator[Counter[tuple[str, int]]]:
    """Listen on every address; count connections by the address and port they came to."""
    reached: Counter[tuple[str, int]] = Counter()
    lock = Lock()

    class Page(BaseHTTPRequestHandler):
        def setup(self) -> None:
            with lock:
                reached[self.request.getsockname()[:2]] += 1
            super().setup()

        def do_GET(self) -> None:
            place = self.path.strip("/")
            if place.isdigit():
                self.send_response(302)
                # As a hostile server would: whatever bytes make up the URL, less line ends.
                url = urls[int(place)].encode("utf-8", "surrogatepass").decode("latin-1")
                self.send_header("Location", url.replace("\r", "").replace("\n", ""))
            else:
                self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"canary")

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in PORTS:
                stack.enter_context(listening(family, port, Page))
        yield reached


@contextmanager
def listening(
    family: socket.AddressFamily, port: int, page: type[BaseHTTPRequestHandler]
) -> Iterator[None]:
    """Serve one port of one family on all addresses of the machine."""

    class Server(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True
        request_queue_size = 128

        def server_bind(self) -> None:
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            super().server_bind()

        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up, or speaks TLS, still counts

    with Server(("", port), page) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def set_up_loopback(addresses: Sequence[str]) -> None:
    """Bring lo up with these addresses; those that no machine can have are left out."""
    with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
        ioctl(four, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
        index = socket.if_nametoindex("lo")
        for number, text in enumerate(dict.fromkeys(addresses)):
            packed = ip_address(text).packed
            with suppress(OSError):
                if len(packed) == 4:
                    name = f"lo:{number}".encode()
                    ioctl(four, 0x8916, struct.pack("16sHH4s8x", name, 2, 0, packed))
                else:
                    ioctl(six, 0x8916, struct.pack("16sIi", packed, 128, index))  # SIOCSIFADDR


if __name__ == "__main__":
    sys.exit(main())
