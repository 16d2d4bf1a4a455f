"""Ten thousand URLs at once: `python benchmarks/queued_urls.py [--urls 10000]`.

    batches of 1,000 URLs of one host --> the whole running system, with the FixedDetector
        memory of the API (PSS) before, and the most while it takes them and for a while after
        the host: most fetches at a time, and most that began within a second

Prints one JSON line with the bars: 100 MB, and the worker's limits for a host, 4 at a time and 20
starts a second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.kill_sweep import FIXED, pictures
from benchmarks.killed_before_post import ask
from benchmarks.measuring import at_most, megabytes, tell
from benchmarks.running_system import RunningSystem

WATCH_SECONDS = 20.0
BUSIEST_SECONDS = 10.0
"""Starts are counted over so long: what begins evenly arrives less so."""
ANSWER_SECONDS = 0.05
"""How long the host takes for each picture, so that several could overlap."""
BATCH = 1000
GROWTH_BAR_MB, AT_ONCE_BAR, STARTS_BAR = 100.0, 4, 20


class Host:
    """A host on loopback that notes when fetches begin, and how many are under way at most."""

    def __init__(self, picture: bytes) -> None:
        self.began: list[float] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with host.counted():
                    time.sleep(ANSWER_SECONDS)
                self.send_response(200)
                self.send_header("Content-Length", str(len(picture)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(picture)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def counted(self) -> Any:
        """Count a fetch while it is under way."""
        with self._lock:
            self.began.append(time.monotonic())
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def most_within(self, seconds: float) -> int:
        """Return the most fetches that began within so many seconds."""
        began = sorted(self.began)
        return max((sum(at <= b < at + seconds for b in began) for at in began), default=0)


def measured(system: RunningSystem, host: Host, urls: int) -> dict[str, Any]:
    """Send the batches, watch, and return the figures."""
    api = [system.child_pid("api") or 0]
    before = most = megabytes(api)
    taken, spent = 0, []
    for first in range(0, urls, BATCH):
        scans = [
            {"url": f"http://127.0.0.1:{host.port}/{first + index}.jpg"} for index in range(BATCH)
        ]
        began = time.monotonic()
        status, _, batch = ask(system.port, "POST", "/v1/batches", {"scans": scans})
        spent.append(time.monotonic() - began)
        taken += batch["counts"]["waiting"] if status == 202 else 0
        most = max(most, megabytes(api))
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        most = max(most, megabytes(api))
        time.sleep(0.5)
    return {
        "urls": taken,
        "seconds a batch": round(sum(spent) / len(spent), 2),
        "API, MB before": round(before, 1),
        "API, MB at most": round(most, 1),
        "fetches at a time": host.most,
        "starts a second": round(host.most_within(BUSIEST_SECONDS) / BUSIEST_SECONDS, 1),
        "fetched": len(host.began),
    }


def main() -> int:
    """Print the figures; returns 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--urls", type=int, default=10_000)
    args = parser.parse_args()
    host = Host(pictures(1)["0.jpg"])
    settings = {"PINCLIP_DETECTOR": FIXED, "PINCLIP_QUEUE_LIMIT": str(4 * args.urls)}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        RunningSystem(Path(name), host.port, **settings) as system,
    ):
        found = measured(system, host, args.urls)
    growth = round(found["API, MB at most"] - found["API, MB before"], 1)
    bars = [
        at_most("URLs not taken", args.urls - found["urls"], 0),
        at_most("growth of the API, MB", growth, GROWTH_BAR_MB),
        at_most("fetches of one host at a time", found["fetches at a time"], AT_ONCE_BAR),
        at_most("starts a second at one host", round(found["starts a second"]), STARTS_BAR),
    ]
    return tell({"name": "queued_urls", **found, "bars": bars})


if __name__ == "__main__":
    sys.exit(main())
