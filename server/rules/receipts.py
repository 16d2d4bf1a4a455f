"""GET /v1/scans/{id}/receipt: what was said of which bytes, signed. Knows no key and no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sdk.codes import ProblemCode
from sdk.wire import Receipt, Scan, Scope, Status
from server import ids
from server.refused import Refused

from .caller import Caller


class Scans(Protocol):
    """What receipts need of the scans."""

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        """Return the owner's scan as last recorded, or None; raises Unavailable."""
        ...


class Signs(Protocol):
    """Who signs."""

    def sign(self, scan: Scan) -> Receipt:
        """Return the receipt of a completed scan."""
        ...


@dataclass(frozen=True, kw_only=True)
class ReceiptDesk:
    """What these rules work with."""

    scans: Scans
    signer: Signs


async def read(scan_id: str, *, caller: Caller, desk: ReceiptDesk) -> Receipt:
    """Return the receipt of a completed scan; raises Refused or Unavailable."""
    if Scope.SCAN not in caller.scopes:  # a key reads the scans that it may submit
        caller.need(Scope.READ)
    scan = None
    if ids.is_id("scan", scan_id):
        scan = await desk.scans.get(scan_id, owner=caller.owner)
    if scan is None:
        raise Refused(ProblemCode.NOT_FOUND, f"There is no scan {scan_id[:64]!r}.")
    if scan.status is not Status.COMPLETED:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The scan is {scan.status.value}: there is a receipt once it is completed.",
        )
    return desk.signer.sign(scan)
