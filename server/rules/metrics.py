"""Who may read the metrics, and what is asked for them. Knows no library and no format.

caller may read? -> report of /readyz -+
                    free disk space   -+-> exposition
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio

from sdk.wire import Health, Scope

from .caller import Caller

if TYPE_CHECKING:
    from server.metrics import Disk

DISK_SECONDS = 0.9
"""Longest wait for the file system, which may be a network's."""


class Parts(Protocol):
    """What knows of each part whether it is well."""

    async def report(self) -> Health:
        """Return what /readyz says."""
        ...


class Counters(Protocol):
    """What was counted."""

    def exposition(self, health: Health, disk: Disk | None) -> bytes:
        """Write it all, with what is so now."""
        ...


@dataclass(frozen=True, kw_only=True)
class MetricsDesk:
    """What the rule works with; `disk` may block."""

    counters: Counters
    parts: Parts
    disk: Callable[[], Disk | None]


async def read(*, caller: Caller, desk: MetricsDesk) -> bytes:
    """Return the metrics; raises Refused if the caller may not read. No part has to be well."""
    caller.need(Scope.READ)
    disk = None
    with anyio.move_on_after(DISK_SECONDS):
        disk = await anyio.to_thread.run_sync(desk.disk, abandon_on_cancel=True)
    return desk.counters.exposition(await desk.parts.report(), disk)
