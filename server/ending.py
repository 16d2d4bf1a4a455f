"""A scan that ended, as callers see it: as it was accepted, and over it what came of it. Pure."""

from __future__ import annotations

from msgspec.structs import asdict, replace

from sdk.wire import Input, Scan
from worker.contract import Outcome

_SHARED = sorted(set(Outcome.__struct_fields__) & set(Scan.__struct_fields__) - {"input"})


def ended(scan: Scan, outcome: Outcome, *, sequence: int, completed_at: str) -> Scan:
    """Return the scan as final; `completed_at` is written as RFC 3339."""
    return replace(
        scan,
        **{name: getattr(outcome, name) for name in _SHARED},
        input=_joined(scan.input, outcome.input),
        sequence=sequence,
        completed_at=completed_at,
    )


def _joined(asked: Input, seen: Input) -> Input:
    """Return what a worker saw, and where it saw nothing what was asked."""
    learnt = {name: value for name, value in asdict(seen).items() if value is not None}
    return replace(asked, **learnt)
