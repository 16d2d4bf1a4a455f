"""A row of `scans` and the structs it is made of and read as. Pure; knows no query.

    Opened --row_of--> row --ending--> row --scan_of--> Scan, as callers see it

`opened` is the scan as it was accepted, and `outcome` what a worker learnt. A scan that was final
at once, or was judged anew by a person, is whole in `opened`; the outcome beside it is then what
the model said, and stays a precedent. Columns say what changes later: sequence, superseded_by.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from sdk.wire import InputKind, PointName, Scan
from server.ending import ended
from server.ids import rfc3339
from server.ports import Opened, Precedent
from worker.contract import Outcome, decode_entry, decode_outcome, encode

Row = dict[str, object]
_scan_decoder = msgspec.json.Decoder(Scan)
_words_decoder = msgspec.json.Decoder(dict[str, str])
_EMPTY = "{}"


def row_of(opened: Opened, now: float) -> Row:
    """Return the row of a new scan; `now` is Unix time."""
    scan, entry = opened.scan, opened.entry
    is_final = scan.status.is_final
    # What was judged for another is no precedent, nor is a look-up by digest a look at a place.
    return {
        "id": scan.id,
        "owner": opened.owner,
        "status": scan.status.value,
        "sequence": scan.sequence,
        "created_at": now,
        "deadline": entry.deadline,
        "url": entry.url,
        "upload_id": entry.upload_id,
        "operating_point": entry.operating_point.value,
        "context": _json(scan.context),
        "metadata": _json(scan.metadata),
        "opened": _bare(scan),
        "entry": encode(entry).decode(),
        "completed_at": now if is_final else None,
        "place": None if is_final else opened.place,
        "sha256": scan.input.sha256,
        "verdict": scan.verdict and scan.verdict.value,
        "batch_id": scan.batch_id,
        "batch_index": opened.batch_index,
        "callback_url": opened.callback_url,
        "appeal_state": scan.appeal.state.value,
        "rescore_of": scan.rescore_of,
    }


def ended_scan(row: Any, outcome: Outcome, now: float) -> Scan:
    """Return the scan of a row as it is once it has this outcome."""
    scan = scan_of(row)
    return ended(scan, outcome, sequence=scan.sequence + 1, completed_at=rfc3339(now))


def ending(scan: Scan, outcome: Outcome, row: Any, now: float, *, is_revised: bool) -> Row:
    """Return what changes in the row when a scan ends; `is_revised`: not as the outcome has it."""
    return {
        "scan_id": scan.id,
        "new_status": scan.status.value,
        "new_opened": _bare(scan) if is_revised else row.opened,
        "new_outcome": encode(outcome).decode(),
        "now": now,
        "new_sequence": scan.sequence,
        "new_sha256": scan.input.sha256,
        "new_judge": outcome.judge or None,
        "new_verdict": scan.verdict and scan.verdict.value,
        "new_appeal_state": scan.appeal.state.value,
    }


def revision(scan: Scan) -> Row:
    """Return the columns of a scan that a person judged anew."""
    return {
        "opened": _bare(scan),
        "sequence": scan.sequence,
        "verdict": scan.verdict and scan.verdict.value,
        "appeal_state": scan.appeal.state.value,
    }


def scan_of(row: Any) -> Scan:
    """Build the scan as callers see it."""
    scan = _scan_decoder.decode(row.opened)
    if row.outcome is not None and not scan.status.is_final:
        outcome = decode_outcome(row.outcome.encode())
        completed_at = rfc3339(row.completed_at)
        scan = ended(scan, outcome, sequence=row.sequence, completed_at=completed_at)
    return replace(
        scan,
        sequence=row.sequence,
        superseded_by=row.superseded_by,
        context=_words(row.context),
        metadata=_words(row.metadata),
    )


def opened_of(row: Any) -> Opened:
    """Return what was asked for, with the scan as it is now."""
    return Opened(
        owner=row.owner,
        scan=scan_of(row),
        entry=decode_entry(row.entry.encode()),
        place=row.place,
        batch_index=row.batch_index,
        callback_url=row.callback_url,
    )


def precedent_of(row: Any) -> Precedent:
    """Return what a worker found, from a row's outcome, operating_point and completed_at."""
    return Precedent(
        outcome=decode_outcome(row.outcome.encode()),
        operating_point=PointName(row.operating_point),
        at=row.completed_at,
    )


def is_about_digest(opened: Opened) -> bool:
    """True if only the digest of the bytes was named."""
    return opened.entry.kind is InputKind.SHA256


def _bare(scan: Scan) -> str:
    """Write a scan without what has a column of its own."""
    return _json(replace(scan, context={}, metadata={}))


def _words(text: str) -> dict[str, str]:
    return {} if text == _EMPTY else _words_decoder.decode(text)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
