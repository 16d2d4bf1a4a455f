"""Kill every part of a running system while scans are accepted, and count what was lost.

    python benchmarks/kill_sweep.py [--scans 1000] [--kills 10] [--model] [--round-seconds 15]

Without --model the worker runs the FixedDetector, so that what is measured is recovery and not
the model's speed: a machine that scores fewer images a second than are submitted has a backlog
at the last restart, whatever was killed.

Submits scans of distinct pictures at a steady pace through the SDK; meanwhile SIGKILLs the
worker, the API and the Valkey server in turn, `kills` times each, and wipes Redis (FLUSHALL)
between rounds. A scan counts as accepted once the API has answered 202 or 200. Prints one JSON
line: accepted, lost, recorded more than once (a scan's sequence is 1 when accepted and 2 when
its outcome is recorded), seconds from the last restart to the last final scan, and how they ended.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import redis
from PIL import Image

import sdk
from benchmarks.running_system import Origin, RunningSystem

ROUND_SECONDS = 15.0
"""One kill of each part in this time: four deaths a minute, below the supervisor's give-up."""
FIXED = "worker.testing:load_fixed"
FINAL_WITHIN_SECONDS = 60.0
GIVE_UP_SECONDS = 300.0
"""A scan that is not final so long after the last restart counts as lost."""
PICTURES = 50


def pictures(count: int) -> dict[str, bytes]:
    """Draw `count` distinct JPEGs of 400 x 300 pixels."""
    rng = np.random.default_rng(11)
    drawn = {}
    for index in range(count):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        drawn[f"{index}.jpg"] = buffer.getvalue()
    return drawn


async def submit_all(
    system: RunningSystem, origin: Origin, scans: int, seconds: float
) -> list[str]:
    """Submit `scans` URLs spread over `seconds`; return the accepted ids."""
    accepted: list[str] = []
    async with sdk.AsyncClient(base_url=system.base_url, max_retries=0, timeout=10) as client:

        async def one(index: int) -> None:
            await asyncio.sleep(index * seconds / scans)
            url = f"{origin.url(f'{index % PICTURES}.jpg')}?n={index}"
            while True:
                try:
                    accepted.append((await client.submit(url)).id)
                except sdk.APIError:
                    await asyncio.sleep(0.5)
                else:
                    return

        async with asyncio.TaskGroup() as group:
            for index in range(scans):
                group.create_task(one(index))
    return accepted


async def kill_all(
    system: RunningSystem, kills: int, round_seconds: float
) -> tuple[dict[str, int], int]:
    """Kill each part `kills` times in turn, wiping Redis after each round; return the counts."""
    killed: collections.Counter[str] = collections.Counter()
    flushed = 0
    for _ in range(kills):
        for part in ("worker", "api", "valkey"):
            await asyncio.sleep(round_seconds / 3)
            killed[part] += await asyncio.to_thread(system.kill_when_up, part)
        await asyncio.sleep(1.0)
        flushed += await asyncio.to_thread(flush, system)
    return dict(killed), flushed


def flush(system: RunningSystem) -> int:
    """FLUSHALL the embedded server; 1 when it took it."""
    address = f"unix://{system.environ['PINCLIP_STATE_DIR']}/valkey.sock"
    try:
        redis.Redis.from_url(address).flushall()
    except redis.RedisError:
        return 0
    return 1


async def settle(system: RunningSystem, ids: list[str]) -> tuple[dict[str, sdk.Scan], float]:
    """Wait until every scan is final or the time is up; return those final, and seconds taken."""
    start = time.monotonic()
    final: dict[str, sdk.Scan] = {}
    last = 0.0
    async with sdk.AsyncClient(base_url=system.base_url) as client:
        for scan_id in ids:
            # One at a time, held by the server: asking for all at once would measure the asking.
            left = start + GIVE_UP_SECONDS - time.monotonic()
            with contextlib.suppress(sdk.ScanTimeout):
                final[scan_id] = await ended(client, scan_id, max(left, 0.1))
                last = time.monotonic() - start
    return final, last


async def ended(client: sdk.AsyncClient, scan_id: str, seconds: float) -> sdk.Scan:
    """Return the final scan, failed ones too; raises sdk.ScanTimeout."""
    try:
        return await client.wait(scan_id, timeout=seconds)
    except sdk.ScanFailed as failed:
        return failed.scan


async def sweep(scans: int, kills: int, round_seconds: float, **settings: str) -> dict[str, object]:
    """Run the whole and return the figures."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Origin(pictures(PICTURES)) as origin,
        RunningSystem(Path(name), origin.port, **settings) as system,
    ):
        seconds = kills * (round_seconds + 1.0)
        accepted, (killed, flushed) = await asyncio.gather(
            submit_all(system, origin, scans, seconds), kill_all(system, kills, round_seconds)
        )
        await asyncio.to_thread(system.wait_ready, 60.0)
        final, last = await settle(system, accepted)
        ends = collections.Counter(
            str(scan.error.code) if scan.error else str(scan.status) for scan in final.values()
        )
        return {
            "name": "kill_sweep",
            "detector": settings.get("PINCLIP_DETECTOR", "the default model"),
            "submitted_over_seconds": seconds,
            "accepted": len(accepted),
            "killed": killed,
            "flushed": flushed,
            "lost": len(set(accepted) - set(final)),
            "recorded_more_than_once": sum(scan.sequence > 2 for scan in final.values()),
            "seconds_to_last_final_after_last_restart": round(last, 1),
            "within_60_seconds": last <= FINAL_WITHIN_SECONDS,
            "ends": dict(ends),
        }


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--round-seconds", type=float, default=ROUND_SECONDS)
    parser.add_argument("--model", action="store_true", help="score with the default model")
    args = parser.parse_args()
    settings = {} if args.model else {"PINCLIP_DETECTOR": FIXED}
    print(json.dumps(asyncio.run(sweep(args.scans, args.kills, args.round_seconds, **settings))))


if __name__ == "__main__":
    main()
