"""How a worker process asks the C library for memory, so that what an image needed goes back.

Left alone, glibc gives each of forty threads a heap of its own, and takes blocks of up to 32 MB
from these heaps once it has seen one freed: then what pictures and batches of the past needed stays
with the process. With a fixed limit a large block is a mapping, gone when it is freed.
Knows nothing of what the memory is for.
"""

from __future__ import annotations

import ctypes

MAPPED_BYTES = 1 << 20
"""From this size on a block is a mapping of its own; each of a decoded megapixel's is larger."""
ARENAS = 2
"""Heaps that all threads share. The interpreter's lock lets few of them ask at a time."""
KEPT_BYTES = 8 << 20
"""Free memory at the end of a heap that is kept for what comes next."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def give_back() -> None:
    """From now on freed memory returns to the system; call it before threads are started.

    Another C library than glibc is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)
