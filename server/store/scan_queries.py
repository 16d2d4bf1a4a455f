"""Queries of scans, each made for one index of tables.py. Pure; runs nothing.

ONE     by id, of its owner       (the primary key)
listed  a page of an owner's      ix_scans_owner, _owner_status, _owner_verdict, _owner_sha256,
                                  or ix_scans_batch
OF_...  the newest outcomes for an image: its place, an upload's bytes, any bytes

What is asked for at each request is put together once, with parameters for its values: to put a
SELECT together takes SQLAlchemy several times as long as SQLite takes to answer it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from sdk.wire import Status
from server import ids
from server.ports import ScanFilter

from .tables import ENDED_AT_PLACE, JUDGED, JUDGED_UPLOAD, ScanRow

PRECEDENTS = 6
"""Most outcomes that are looked at for one image; there are three operating points."""
CHANCE = 16
"""Digits of an id that do not tell when it was made."""

_SCANS = ScanRow.__table__


ONE = sa.select(_SCANS).where(
    ScanRow.id == sa.bindparam("scan_id"), ScanRow.owner == sa.bindparam("owner")
)
"""The owner's scan."""
ONE_HELD = ONE.with_for_update()
"""The same, and its row is locked."""


def is_theirs(owner: str, scan_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that it is this scan, and the owner's."""
    return (ScanRow.id == scan_id) & (ScanRow.owner == owner)


def listed(wanted: ScanFilter, *, owner: str, before_id: str | None, limit: int) -> sa.Select[Any]:
    """Return the query of a page, which has one index to walk, in the order of the ids.

    Ids begin with when they were made, so times are ids too.
    """
    conditions = [ScanRow.owner == owner, *_states(wanted)]
    if wanted.sha256 is not None:
        conditions.append(ScanRow.sha256 == wanted.sha256)
    if wanted.batch_id is not None:
        # By itself, or SQLite would rather walk all of the owner's scans.
        of_batch = sa.select(ScanRow.id).where(ScanRow.batch_id == wanted.batch_id)
        conditions.append(ScanRow.id.in_(of_batch))
    if wanted.since is not None:
        conditions.append(ScanRow.id >= _first_id(wanted.since))
    if wanted.before is not None:
        conditions.append(ScanRow.id < _first_id(wanted.before))
    if before_id is not None:
        conditions.append(ScanRow.id < before_id)
    return sa.select(_SCANS).where(*conditions).order_by(ScanRow.id.desc()).limit(limit)


def _states(wanted: ScanFilter) -> Iterator[sa.ColumnElement[bool]]:
    """Yield what status and verdict ask for; with a digest or a batch, not for an index to take."""
    is_few = wanted.sha256 is not None or wanted.batch_id is not None
    if wanted.verdict is not None:
        yield _is(ScanRow.verdict, wanted.verdict.value, is_few)
        if wanted.status not in (None, Status.COMPLETED):  # no other has a verdict
            yield sa.false()
    elif wanted.status is not None:
        yield _is(ScanRow.status, wanted.status.value, is_few)


def _is(column: Any, value: str, is_few: bool) -> sa.ColumnElement[bool]:
    equal: sa.ColumnElement[bool] = (sa.func.coalesce(column, "") if is_few else column) == value
    return equal


def _newest(condition: str, *about: sa.ColumnElement[bool]) -> sa.Executable:
    """Select the newest few outcomes for an image; `condition` is that of the index to be used."""
    return (
        sa.select(ScanRow.outcome, ScanRow.operating_point, ScanRow.completed_at)
        .where(sa.text(condition), *about, ScanRow.outcome.is_not(None))
        .order_by(ScanRow.completed_at.desc())
        .limit(PRECEDENTS)
    )


OF_PLACE = _newest(ENDED_AT_PLACE, ScanRow.place == sa.bindparam("about"))
OF_UPLOAD = _newest(JUDGED_UPLOAD, ScanRow.sha256 == sa.bindparam("about"))
OF_BYTES = _newest(
    JUDGED,
    ScanRow.sha256 == sa.bindparam("about"),
    ScanRow.operating_point == sa.bindparam("point"),
)


def _first_id(at: float) -> str:
    """Return what no id that was made since this Unix time is less than."""
    return ids.scan_id(at)[:-CHANCE] + "0" * CHANCE
