"""Do 20 good images get their answers while a poisoned one is decoded? It should say 20 of 20.

    20 good JPEGs of 12 kinds of size + 1 poison --21 threads--> DecodePool(2) --> answers

    scan_bomb   36 megapixels with 300 scans, refused by their number
    slow        36 megapixels with the 64 scans that are allowed: seconds of honest work
    hang        a decoder that never answers
    memory      a decoder that takes all that it may
    segfault    a decoder that crashes

Prints one JSON line a poison, with what became of it; exit status 1 if a good one went without.
The last three are this file's own decoder, run in the pool's children in place of Pillow.
"""

from __future__ import annotations

import ctypes
import io
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from worker import images
from worker.decoding import DecodePool
from worker.ports import Decoded, Refusal

GOOD = 20
PROCESSES = 2
WALL_SECONDS = 5.0
SIDE = 6_000


def main() -> int:
    """Measure each poison, print, and return 1 if a good image was not answered."""
    bomb = _progressive()
    poisons = {
        "scan_bomb": _with_scans(bomb, 300),
        "slow": _with_scans(bomb, 64 - bomb.count(b"\xff\xda")),
        "hang": b"hang",
        "memory": b"memory",
        "segfault": b"segfault",
    }
    good = [_jpeg(320 + 160 * (number % 12)) for number in range(GOOD)]
    results = [_measured(name, poison, good) for name, poison in poisons.items()]
    for result in results:
        print(json.dumps(result))
    return int(any(result["answered"] != GOOD for result in results))


def decode(data: bytes) -> Decoded:
    """Decode, or do what the poison says. Runs in the pool's children."""
    if data == b"hang":
        threading.Event().wait()
    if data == b"segfault":
        ctypes.string_at(0)
    hoard = []
    while data == b"memory":
        hoard.append(bytearray(16 << 20))
    return images.decode(data)


def _measured(name: str, poison: bytes, good: list[bytes]) -> dict[str, str | int | float]:
    batch = [*good[: GOOD // 2], poison, *good[GOOD // 2 :]]
    target = "benchmarks.poisoned_image:decode"
    with (
        DecodePool(processes=PROCESSES, wall_seconds=WALL_SECONDS, target=target) as pool,
        ThreadPoolExecutor(len(batch)) as threads,
    ):
        started = time.perf_counter()
        answers = list(threads.map(lambda data: _answer(pool, data), batch))
        seconds = time.perf_counter() - started
    fate = answers.pop(GOOD // 2)
    return {
        "name": "poisoned_image",
        "poison": name,
        "good": GOOD,
        "answered": answers.count("decoded"),
        "seconds": round(seconds, 2),
        "poison_answer": fate,
    }


def _answer(pool: DecodePool, data: bytes) -> str:
    try:
        pool.decode(data)
    except Refusal as refused:
        return str(refused)
    return "decoded"


def _jpeg(side: int, **options: bool) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def _progressive() -> bytes:
    return _jpeg(SIDE, progressive=True)


def _with_scans(data: bytes, extra: int) -> bytes:
    """The progressive JPEG with its last scan repeated."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * extra + b"\xff\xd9"


if __name__ == "__main__":
    sys.exit(main())
