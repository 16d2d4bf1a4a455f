"""/v1/scans/{id}/receipt over HTTP: calls rules/receipts.py, encodes."""

from __future__ import annotations

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sdk.wire import Receipt
from server.rules import receipts as rules
from server.rules.receipts import ReceiptDesk

from .given import GivenCaller

GivenReceiptDesk = NamedDependency[SkipValidation[ReceiptDesk]]


@get("/{scan_id:str}/receipt", operation_id="getReceipt")
async def get_receipt(
    scan_id: FromPath[str], caller: GivenCaller, receipt_desk: GivenReceiptDesk
) -> Receipt:
    """Return what was said of which bytes, signed, so that it can be checked without us."""
    return await rules.read(scan_id, caller=caller, desk=receipt_desk)


router = Router("/v1/scans", route_handlers=[get_receipt], tags=["scans"])
