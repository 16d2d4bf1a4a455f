"""SQL DOOR: what is known of bytes by their sha256, whoever asked for them. Changes nothing.

    sha256s  -->  each with its newest verdict by a live judge at one point  -->  Known
    prefix   -->  all that begin with it, by sha256, the same way

A verdict is of bytes and not of an owner's scan, so all owners' scans count; nothing is read of a
row but what was found. What an owner had overturned is told to that owner alone (`is_overridden`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from sdk.wire import PointName, Status
from server.rules.lookups import Known
from worker.contract import decode_outcome

from . import appeals
from .engine import Database
from .scan_queries import PRECEDENTS
from .tables import JUDGED, ScanRow


class SqlLookups:
    """Lookups, as rules/lookups.py describes them, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(
        self, sha256s: Collection[str], *, point: PointName, judges: Collection[str], owner: str
    ) -> list[Known]:
        """Return what is known of these bytes, by sha256."""
        about = {"sha256s": list(sha256s)}
        return await self._known(OF, about, point=point, judges=judges, owner=owner)

    async def between(
        self,
        first: str,
        last: str,
        *,
        point: PointName,
        judges: Collection[str],
        owner: str,
        limit: int,
    ) -> list[Known]:
        """Return what is known from one sha256 to another, in their order, `limit` at most."""
        about = {"first": first, "last": last, "limit": limit}
        return await self._known(BETWEEN, about, point=point, judges=judges, owner=owner)

    async def _known(
        self,
        query: sa.Executable,
        about: Mapping[str, object],
        *,
        point: PointName,
        judges: Collection[str],
        owner: str,
    ) -> list[Known]:
        values = {**about, "point": point.value, "judges": list(judges)}

        def look(connection: sa.Connection) -> list[Known]:
            rows = connection.execute(query, values).all()
            pairs = [(owner, row.sha256) for row in rows]
            overridden = appeals.overridden(connection, pairs) if pairs else {}
            return [_known(row, is_overridden=(owner, row.sha256) in overridden) for row in rows]

        known: list[Known] = await self._database.read(look)
        return known


def _judged(is_wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select each wanted sha256 that was judged, once.

    Who judged is not asked here, and those of judges that are gone count for a limit: it would
    take ten times as long for what was judged 100,000 times.
    """
    at_point = ScanRow.operating_point == sa.bindparam("point")
    return sa.select(ScanRow.sha256).distinct().where(sa.text(JUDGED), is_wanted, at_point)


def _newest(judged: sa.Select[Any]) -> sa.Select[Any, Any, Any]:
    """Select of each the newest verdict by one of the judges, among its newest few outcomes.

    The index has them in this order; what was judged a thousand times by judges that are gone
    takes no longer than what was judged once.
    """
    wanted = judged.cte("wanted")
    few = (
        sa.select(ScanRow.id, ScanRow.judge, ScanRow.status, ScanRow.completed_at)
        .where(
            sa.text(JUDGED),
            ScanRow.sha256 == wanted.c.sha256,
            ScanRow.operating_point == sa.bindparam("point"),
        )
        .order_by(ScanRow.completed_at.desc())
        .limit(PRECEDENTS)
        .correlate(wanted)
        .subquery("few")
    )
    is_live = few.c.judge.in_(sa.bindparam("judges", expanding=True))
    one = (
        sa.select(few.c.id)
        .where(is_live, few.c.status == Status.COMPLETED.value)
        .order_by(few.c.completed_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = aliased(ScanRow, name="found")
    return (
        sa.select(found.sha256, found.outcome, found.completed_at)
        .join_from(wanted, found, found.id == one)
        .order_by(found.sha256)
    )


OF = _newest(_judged(ScanRow.sha256.in_(sa.bindparam("sha256s", expanding=True))))
BETWEEN = _newest(
    _judged(ScanRow.sha256.between(sa.bindparam("first"), sa.bindparam("last")))
    .order_by(ScanRow.sha256)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
"""Both use ix_scans_judged: the wanted sha256 first, then each with its newest few."""


def _known(row: Any, *, is_overridden: bool) -> Known:
    outcome = decode_outcome(row.outcome.encode())
    return Known(
        sha256=row.sha256,
        verdict=outcome.verdict,
        probability=outcome.probability,
        operating_point=outcome.operating_point,
        model=outcome.model,
        at=row.completed_at,
        is_overridden=is_overridden,
    )
