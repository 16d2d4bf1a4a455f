"""Whether a verdict on record may be given again, so that nobody need look. Pure.

    precedents --> same bytes as the newest of them?   another look at the place saw others
                   completed, at this operating point?
                   by a judge that is at work now?     same release, weights, calibration, engine
                   at most a day ago?
                   a URL: do its hosts still vouch?    RFC 9111; docs/decisions/0021
                   a digest: neither of the two, since bytes and judge say all
               --> the scan, final when it is accepted, as its own caller asked for it

Only what a worker judged is a precedent, never what was given again: no chain makes a verdict
older than it may be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from sdk.wire import InputKind, Scan, Status
from server.ending import ended
from server.ports import Opened, Precedent
from worker.contract import Entry

OLDEST_SECONDS = 24 * 3600.0
"""Age at which a verdict is not given again, as with what workers remember (0016)."""


def recalled(
    opened: Opened, precedents: Sequence[Precedent], *, judges: Collection[str], now: float
) -> Scan | None:
    """Return the scan as final, by the newest precedent that fits it; None: somebody must look.

    `precedents` are of the scan's upload or place, newest first; `now` is Unix time.
    """
    for precedent in precedents:
        if precedent.outcome.input.sha256 != precedents[0].outcome.input.sha256:
            return None
        if precedent.outcome.judge in judges and _fits(precedent, opened.entry, now):
            return _given_again(opened.scan, precedent)
    return None


def _fits(precedent: Precedent, entry: Entry, now: float) -> bool:
    outcome = precedent.outcome
    is_same = (
        outcome.status is Status.COMPLETED and precedent.operating_point is entry.operating_point
    )
    if entry.kind is InputKind.SHA256:
        return is_same
    is_like = outcome.input.kind is entry.kind and now - precedent.at <= OLDEST_SECONDS
    is_fresh = entry.kind is InputKind.UPLOAD or now < (outcome.fresh_until or 0.0)
    return is_same and is_like and is_fresh


def _given_again(scan: Scan, precedent: Precedent) -> Scan:
    """Return the scan with that outcome, and nothing of how another wrote or knew the URL."""
    seen = replace(precedent.outcome.input, url=scan.input.url)
    if scan.input.kind is InputKind.SHA256:
        seen = replace(seen, kind=InputKind.SHA256, final_url=None, fetched_by=None)
    outcome = replace(precedent.outcome, input=seen)
    return ended(scan, outcome, sequence=scan.sequence, completed_at=scan.created_at)
