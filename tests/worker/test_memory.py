"""What a worker freed goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MEGABYTE = 1 << 20
PICTURES = """
import os
from worker import memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
memory.give_back()
large = b"x" * (24 << 20)  # from now on glibc would take less than this from a heap
del large
before = resident()
pictures, kept = [], []
for _ in range(8):
    pictures.append(b"x" * (4 << 20))
    kept.append(b"x" * 100_000)  # so that no picture lies at the end of a heap
held = resident()
pictures.clear()
print(held - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left alone")
def test_a_worker_keeps_no_memory_of_the_pictures_it_is_done_with() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PICTURES], cwd=ROOT, capture_output=True, text=True, check=True
    )

    held, left = map(int, done.stdout.split())
    assert held >= 32 * MEGABYTE
    assert left < 4 * MEGABYTE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left alone")
def test_an_engine_that_asks_for_every_tensor_anew_keeps_its_memory() -> None:
    held_after = PICTURES.replace("before = ", "memory.hold()\nbefore = ")
    done = subprocess.run(
        [sys.executable, "-c", held_after], cwd=ROOT, capture_output=True, text=True, check=True
    )

    _, left = map(int, done.stdout.split())
    assert left >= 24 * MEGABYTE
