"""Kill the API between its commit and the ticket: `python benchmarks/killed_before_post.py`.

    a running system with the FixedDetector, and beside it one more API over the same store, which
    SIGKILLs itself when it is about to tell the workers of a scan that it has just committed
        --> its caller hears nothing, asks the other API again with the same Idempotency-Key
        --> the same scan, recorded once, and final by the sweep

Prints one JSON line: how often it was killed, how many scans there are, how many were replayed
under their own id, lost, and seconds from the last kill to the last final scan.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.kill_sweep import FIXED, pictures
from benchmarks.measuring import at_most, tell
from benchmarks.running_system import Origin, RunningSystem, free_port

FINAL_WITHIN_SECONDS = 60.0
SUICIDAL = """
import os, signal, sys, time
from functools import partial
from sdk.environment import load
from server import process
from server.board import RedisBoard
from server.settings import ServerSettings
from worker.contract import DEADLINE_SECONDS

class Dies(RedisBoard):
    async def post(self, entries):
        if any(time.time() - (entry.deadline - DEADLINE_SECONDS) < 2 for entry in entries):
            os.kill(os.getpid(), signal.SIGKILL)
        await super().post(entries)  # what its sweep found, left behind by one that died before

settings = load(ServerSettings)
process.create_app = partial(process.create_app, board=Dies(settings.redis))
sys.exit(process.run(settings))
"""


def ask(
    port: int, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON of one answer; raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        sent = None if body is None else json.dumps(body)
        kind = {"Content-Type": "application/json"} if body is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, sent, {**kind, **named})
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, fields, json.loads(answer.read())
    finally:
        connection.close()


def killed(system: RunningSystem, url: str, key: str) -> bool:
    """Submit to an API that dies at the ticket; True if it did, and told its caller nothing."""
    port = free_port()
    environ = {**system.environ, "PINCLIP_PORT": str(port)}
    api = subprocess.Popen([sys.executable, "-c", SUICIDAL], env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(port, "POST", "/v1/scans", {"url": url}, Idempotency_Key=key)
            return False
        return api.wait(10) == -9
    finally:
        api.kill()
        api.wait()


def wait_for(port: int) -> None:
    """Return once an API answers there."""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(port, "GET", "/readyz")
            return
        time.sleep(0.05)


def everything(port: int) -> list[dict[str, Any]]:
    """Return every scan there is, by the list."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, _, page = ask(port, "GET", f"/v1/scans?limit=100{cursor}")
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def measured(system: RunningSystem, origin: Origin, kills: int) -> dict[str, Any]:
    """Kill so often, ask again for each scan, and wait until all are final."""
    urls = [f"{origin.url('0.jpg')}?n={index}" for index in range(kills)]
    died = sum(killed(system, url, f"key-{index}") for index, url in enumerate(urls))
    since = time.monotonic()
    committed = {scan["input"]["url"]: scan["id"] for scan in everything(system.port)}
    replayed = 0
    for index, url in enumerate(urls):
        _, headers, scan = ask(
            system.port, "POST", "/v1/scans", {"url": url}, Idempotency_Key=f"key-{index}"
        )
        is_same = committed.get(url) == scan["id"]
        replayed += is_same and headers.get("idempotent-replayed") == "true"
    for scan in everything(system.port):
        ask(system.port, "GET", f"/v1/scans/{scan['id']}", Prefer="wait=30")
    last = time.monotonic() - since
    scans = everything(system.port)
    final = [scan for scan in scans if scan["status"] == "completed"]
    return {
        "kills": died,
        "committed": len(committed),
        "replayed under their own id": replayed,
        "scans in the end": len(scans),
        "completed": len(final),
        "recorded twice": sum(scan["sequence"] > 2 for scan in scans),
        "seconds to the last": round(last, 1),
    }


def main() -> int:
    """Print the figures; returns 1 if a scan was lost, made twice, or late."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Origin(pictures(1)) as origin,
        RunningSystem(Path(name), origin.port, PINCLIP_DETECTOR=FIXED) as system,
    ):
        found = measured(system, origin, args.kills)
    lost = args.kills - found["completed"]
    twice = found["scans in the end"] - args.kills + found["recorded twice"]
    bars = [
        at_most("lost", abs(lost), 0),
        at_most("made or recorded twice", abs(twice), 0),
        at_most("seconds to the last", found["seconds to the last"], FINAL_WITHIN_SECONDS),
    ]
    return tell({"name": "killed_before_post", **found, "lost": lost, "bars": bars})


if __name__ == "__main__":
    sys.exit(main())
