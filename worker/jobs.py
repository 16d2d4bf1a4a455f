"""What a ticket means: `drain`. Holds the one global of the worker, its Shift.

A ticket says "there is work" and nothing else: no arguments, no result, no retry. Which work is
in the ledger, so a lost, doubled or late ticket costs a look and never a scan.
"""

from __future__ import annotations

from .shift import Shift

_shift: Shift | None = None


def install(shift: Shift | None) -> None:
    """From now on `drain` works this shift; None takes it away."""
    global _shift
    _shift = shift


def drain() -> int:
    """Do every scan that waits; return how many ended. The function that RQ tickets name."""
    if _shift is None:
        raise RuntimeError(
            "worker.jobs.drain ran in a process without a model: start workers with "
            "`pinclip work`, not with `rq worker`."
        )
    return _shift.work()
