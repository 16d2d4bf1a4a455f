"""Kill every part of a running system while scans are accepted, and count what was lost.

    python benchmarks/kill_sweep.py [--scans 1000] [--kills 10] [--detector MODULE:FUNCTION]

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
FINAL_WITHIN_SECONDS = 60.0
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


async def kill_all(system: RunningSystem, kills: int) -> tuple[dict[str, int], int]:
    """Kill each part `kills` times in turn, wiping Redis after each round; return the counts."""
    killed: collections.Counter[str] = collections.Counter()
    flushed = 0
    for _ in range(kills):
        for part in ("worker", "api", "valkey"):
            await asyncio.sleep(ROUND_SECONDS / 3)
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
    """Poll until every scan is final or the time is up; return those final, and seconds taken."""
    start = time.monotonic()
    final: dict[str, sdk.Scan] = {}
    last = 0.0
    async with sdk.AsyncClient(base_url=system.base_url) as client:
        while len(final) < len(ids) and time.monotonic() - start < 4 * FINAL_WITHIN_SECONDS:
            for scan_id in ids:
                if scan_id not in final:
                    scan = await client.get(scan_id)
                    if scan.status.is_final:
                        final[scan_id] = scan
                        last = time.monotonic() - start
            await asyncio.sleep(0.2)
    return final, last


async def sweep(scans: int, kills: int, **settings: str) -> dict[str, object]:
    """Run the whole and return the figures."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Origin(pictures(PICTURES)) as origin,
        RunningSystem(Path(name), origin.port, **settings) as system,
    ):
        seconds = kills * (ROUND_SECONDS + 1.0)
        accepted, (killed, flushed) = await asyncio.gather(
            submit_all(system, origin, scans, seconds), kill_all(system, kills)
        )
        await asyncio.to_thread(system.wait_ready, 60.0)
        final, last = await settle(system, accepted)
        ends = collections.Counter(
            str(scan.error.code) if scan.error else str(scan.status) for scan in final.values()
        )
        return {
            "name": "kill_sweep",
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
    parser.add_argument("--detector", default="pinclip.detector:load")
    args = parser.parse_args()
    print(json.dumps(asyncio.run(sweep(args.scans, args.kills, PINCLIP_DETECTOR=args.detector))))


if __name__ == "__main__":
    main()
