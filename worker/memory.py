"""How a worker process asks the C library for memory, so that what an image needed goes back.

Left alone, glibc gives each of forty threads a heap of its own, and takes blocks of up to 32 MB
from these heaps once it has seen one freed: then what pictures and batches of the past needed stays
with the process. With a fixed limit a large block is a mapping, gone when it is freed. An engine
that asks for every tensor anew (torch) is slowed down by that to half, so it is held for that one;
OpenVINO keeps its own.
Knows nothing of what the memory is for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

MAPPED_BYTES = 1 << 20
"""From this size on a block is a mapping of its own; each of a decoded megapixel's is larger."""
ARENAS = 2
"""Heaps that all threads share. The interpreter's lock lets few of them ask at a time."""
KEPT_BYTES = 8 << 20
"""Free memory at the end of a heap that is kept for what comes next."""

HELD_BYTES = 32 << 20
"""Size up to which blocks come from the heap again; glibc takes no larger one."""
HEAP_BYTES = 1 << 30
"""Free memory at the end of a heap that is kept then."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def give_back() -> None:
    """From now on freed memory returns to the system; call it before threads are started.

    Another C library than glibc is left as it is.
    """
    _set({_M_MMAP_THRESHOLD: MAPPED_BYTES, _M_TRIM_THRESHOLD: KEPT_BYTES, _M_ARENA_MAX: ARENAS})


def hold() -> None:
    """From now on large blocks stay with the process, as they would have without give_back."""
    _set({_M_MMAP_THRESHOLD: HELD_BYTES, _M_TRIM_THRESHOLD: HEAP_BYTES})


def _set(limits: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in limits.items():
            mallopt(name, value)
