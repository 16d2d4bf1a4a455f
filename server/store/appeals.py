"""SQL DOOR: appeals, and the bytes that a person judged. Each act is one transaction.

    create   scan held --check--> appeal with its key of replay, scan: appeal open, event
             appeal.created
    decide   appeal, scan held --check--> appeal, scan; override of its bytes; scans of the same
             bytes; events appeal.decided and scan.verdict_changed; audit
    settle   what is left: more scans of the same bytes than fit one transaction, or one that was
             recorded while its bytes were overturned

Of the scans it knows what `Scans` says, which is theirs to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects import postgresql, sqlite

from sdk.wire import (
    Appeal,
    AppealDecision,
    AppealState,
    EventData,
    EventType,
    Scan,
    ScanAppeal,
)
from server.ids import rfc3339
from server.ports import Clock, KeyTaken
from server.rules.appeals import ACCUSING, Decision, NewAppeal, disputed, overturned

from . import audit, replays, webhooks
from .engine import PATIENT_SECONDS, Database
from .tables import AppealRow, OverrideRow
from .webhooks import NewEvent

SCANS_AT_ONCE = 25
"""Most scans of the same bytes that one transaction changes."""
CREATED_SEQUENCE = 1
DECIDED_SEQUENCE = 2
"""Sequences of an appeal's two events."""
CAUSE = "appeal"
"""What scan.verdict_changed has as its cause."""

_APPEALS = AppealRow.__table__
_OVERRIDES = OverrideRow.__table__
# Two lists and not one of pairs, for which SQLite would not use the primary key.
_OVERRIDDEN = sa.select(_OVERRIDES).where(
    _OVERRIDES.c.owner.in_(sa.bindparam("owners", expanding=True)),
    _OVERRIDES.c.sha256.in_(sa.bindparam("digests", expanding=True)),
)
_SCANS = sa.table("scans", sa.column("owner"), sa.column("sha256"))
_IS_ACCUSED = sa.text(
    "scans.verdict IN ({})".format(", ".join(repr(one.value) for one in sorted(ACCUSING)))
)
"""As text: SQLite takes an index of some rows only for the condition that made it."""


class Held(Struct, frozen=True, kw_only=True):
    """A scan that nobody else changes until the transaction ends."""

    owner: str
    scan: Scan
    callback_url: str | None = None
    """Who else is told of it, besides the owner's endpoints."""


class Scans(Protocol):
    """What appeals need of the scans, in the transaction that is handed to them."""

    def hold(self, connection: sa.Connection, *, owner: str, scan_id: str) -> Held | None:
        """Return the owner's scan and lock its row (FOR UPDATE), or None."""
        ...

    def hold_accused(
        self, connection: sa.Connection, *, owner: str, sha256: str, limit: int
    ) -> Sequence[Held]:
        """Return, by id, and lock the owner's scans of these bytes whose verdict is in ACCUSING."""
        ...

    def revise(self, connection: sa.Connection, held: Sequence[Held]) -> None:
        """Record verdict, reasons, appeal and sequence of these scans as they are given."""
        ...


def overridden(
    connection: sa.Connection, owned: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return those of these (owner, sha256) that were overturned, with the id of the appeal.

    For whoever records outcomes: rules/appeals.py `overturned` says what becomes of such a scan.
    """
    wanted = frozenset(owned)
    about = {
        "owners": sorted({owner for owner, _ in wanted}),
        "digests": sorted({sha256 for _, sha256 in wanted}),
    }
    rows = connection.execute(_OVERRIDDEN, about)
    found = {(row.owner, row.sha256): row.appeal_id for row in rows}
    return {pair: appeal_id for pair, appeal_id in found.items() if pair in wanted}


def forget(connection: sa.Connection, *, owner: str, scan_ids: Sequence[str]) -> None:
    """The appeals of these scans, which are erased, are gone; what was decided of bytes stays.

    With them goes all that tells of them: events, which have the reasons in full, and keys.
    """
    of_them = (_APPEALS.c.owner == owner) & _APPEALS.c.scan_id.in_(scan_ids)
    appeal_ids = connection.scalars(sa.select(_APPEALS.c.id).where(of_them)).all()
    if not appeal_ids:
        return
    webhooks.erase(connection, appeal_ids)
    replays.forget(connection, owner=owner, subjects=appeal_ids)
    connection.execute(sa.delete(AppealRow).where(of_them))


class SqlAppeals:
    """The appeals of one database. Raises Unavailable."""

    def __init__(self, database: Database, *, scans: Scans, clock: Clock) -> None:
        self._database = database
        self._scans = scans
        self._clock = clock

    async def create(self, new: NewAppeal, *, check: Callable[[Scan], None]) -> Appeal | None:
        """Return the appeal of the scan, this one or the one there was; None: no such scan.

        Raises KeyTaken, and records nothing, if the key of its `replay` was used before.
        """
        return await self._database.write(lambda c: self._create(c, new, check))

    async def get(self, appeal_id: str, *, owner: str) -> Appeal | None:
        """Return the owner's appeal, or None."""
        rows = await self._database.rows(_one(appeal_id, owner))
        return _appeal(rows[0]) if rows else None

    async def page(self, *, owner: str, before: str | None, limit: int) -> Sequence[Appeal]:
        """Return the owner's appeals, newest first, older than the id `before`."""
        query = sa.select(_APPEALS).where(_APPEALS.c.owner == owner)
        if before is not None:
            query = query.where(_APPEALS.c.id < before)
        rows = await self._database.rows(query.order_by(_APPEALS.c.id.desc()).limit(limit))
        return [_appeal(row) for row in rows]

    async def decide(self, decision: Decision, *, check: Callable[[Appeal], None]) -> Appeal | None:
        """Record the decision and what follows from it; None: no such appeal."""
        return await self._database.write(lambda c: self._decide(c, decision, check))

    async def settle(self) -> int:
        """Change all scans that accuse bytes which were overturned; returns how many.

        To be called now and then, in the background: a transaction each SCANS_AT_ONCE.
        """
        total = 0
        while rows := await self._database.rows(_unsettled(), seconds=PATIENT_SECONDS):
            settle = partial(self._settle, row=rows[0])
            changed = await self._database.write(settle, seconds=PATIENT_SECONDS)
            if not changed:  # another process was faster
                break
            total += changed
        return total

    def _create(
        self, connection: sa.Connection, new: NewAppeal, check: Callable[[Scan], None]
    ) -> Appeal | None:
        held = self._scans.hold(connection, owner=new.owner, scan_id=new.scan_id)
        if held is None:
            return None
        of_scan = (_APPEALS.c.owner == new.owner) & (_APPEALS.c.scan_id == new.scan_id)
        there = connection.execute(sa.select(_APPEALS).where(of_scan)).one_or_none()
        if there is not None:
            _refuse_taken(connection, new)
            return _appeal(there)
        check(held.scan)
        appeal = self._insert(connection, new)
        after = disputed(held.scan, ScanAppeal(AppealState.OPEN, appeal.id))
        self._scans.revise(connection, [_with(held, after)])
        event = _of_appeal(held, appeal, EventType.APPEAL_CREATED)
        webhooks.add(connection, [event], now=new.at)
        return appeal

    def _insert(self, connection: sa.Connection, new: NewAppeal) -> Appeal:
        values = {
            "id": new.id,
            "owner": new.owner,
            "scan_id": new.scan_id,
            "state": AppealState.OPEN.value,
            "reason": new.reason,
            "evidence_url": new.evidence_url,
            "created_at": new.at,
        }
        connection.execute(sa.insert(AppealRow).values(values))
        if new.replay is not None:
            use = replays.Use(owner=new.owner, replay=new.replay, subject=new.id)
            replays.take(connection, use, now=new.at)
        return _appeal(connection.execute(_one(new.id, new.owner)).one())

    def _decide(
        self, connection: sa.Connection, decision: Decision, check: Callable[[Appeal], None]
    ) -> Appeal | None:
        one = _one(decision.appeal_id, decision.owner)
        row = connection.execute(one.with_for_update()).one_or_none()
        if row is None:
            return None
        held = self._scans.hold(connection, owner=row.owner, scan_id=row.scan_id)
        if held is None:
            return None
        check(_appeal(row))
        connection.execute(_decided(decision))
        appeal = _appeal(connection.execute(one).one())
        changes = self._follow(connection, held, appeal, decision)
        events = [_of_appeal(held, appeal, EventType.APPEAL_DECIDED), *_of_changes(changes)]
        webhooks.add(connection, events, now=decision.at)
        _audit(connection, held.scan, decision, changed=len(changes))
        return appeal

    def _follow(
        self, connection: sa.Connection, held: Held, appeal: Appeal, decision: Decision
    ) -> list[tuple[Held, Held]]:
        """Do what the decision means for the scan and for its bytes; return before and after."""
        if decision.decision is AppealDecision.UPHOLD:
            after = disputed(held.scan, ScanAppeal(AppealState.UPHELD, appeal.id))
            self._scans.revise(connection, [_with(held, after)])
            return []
        changes = [(held, _with(held, overturned(held.scan, appeal.id, is_the_one=True)))]
        sha256 = held.scan.input.sha256
        if sha256 is not None:
            connection.execute(_override(connection, held.owner, sha256, decision))
            others = self._scans.hold_accused(
                connection, owner=held.owner, sha256=sha256, limit=SCANS_AT_ONCE
            )
            changes += [
                (other, _with(other, overturned(other.scan, appeal.id)))
                for other in others
                if other.scan.id != held.scan.id
            ]
        self._scans.revise(connection, [after for _, after in changes])
        return changes

    def _settle(self, connection: sa.Connection, row: Any) -> int:
        others = self._scans.hold_accused(
            connection, owner=row.owner, sha256=row.sha256, limit=SCANS_AT_ONCE
        )
        changes = [(other, _with(other, overturned(other.scan, row.appeal_id))) for other in others]
        if changes:
            self._scans.revise(connection, [after for _, after in changes])
            webhooks.add(connection, _of_changes(changes), now=self._clock.now())
        return len(changes)


def _refuse_taken(connection: sa.Connection, new: NewAppeal) -> None:
    """Raise KeyTaken if the appeal there is may have been made with this very key."""
    if new.replay is None:
        return
    if replays.find(connection, owner=new.owner, key=new.replay.key, now=new.at) is not None:
        raise KeyTaken


def _one(appeal_id: str, owner: str) -> sa.Select[Any]:
    return sa.select(_APPEALS).where(_APPEALS.c.id == appeal_id, _APPEALS.c.owner == owner)


def _unsettled() -> sa.Select[Any]:
    """Some bytes that were overturned and are accused still."""
    accused = sa.exists().where(
        _SCANS.c.owner == _OVERRIDES.c.owner,
        _SCANS.c.sha256 == _OVERRIDES.c.sha256,
        _IS_ACCUSED,
    )
    return sa.select(_OVERRIDES).where(accused).limit(1)


def _decided(decision: Decision) -> sa.Update:
    is_overturned = decision.decision is AppealDecision.OVERTURN
    state = AppealState.OVERTURNED if is_overturned else AppealState.UPHELD
    return (
        sa.update(AppealRow)
        .where(_APPEALS.c.id == decision.appeal_id, _APPEALS.c.owner == decision.owner)
        .values(
            state=state.value,
            note=decision.note or None,
            decided_at=decision.at,
            decided_by=decision.by,
        )
    )


def _override(
    connection: sa.Connection, owner: str, sha256: str, decision: Decision
) -> sa.Executable:
    """The first appeal that overturned these bytes is the one that is named."""
    values = {
        "owner": owner,
        "sha256": sha256,
        "appeal_id": decision.appeal_id,
        "created_at": decision.at,
    }
    if connection.dialect.name == "sqlite":
        return sqlite.insert(OverrideRow).values(values).on_conflict_do_nothing()
    return postgresql.insert(OverrideRow).values(values).on_conflict_do_nothing()


def _audit(connection: sa.Connection, scan: Scan, decision: Decision, *, changed: int) -> None:
    audit.add(
        connection,
        actor=decision.by,
        action=f"appeal.{decision.decision.value}",
        subject=decision.appeal_id,
        detail={
            "owner": decision.owner,
            "scan_id": scan.id,
            "sha256": scan.input.sha256,
            "verdict": scan.verdict,
            "scans_changed": changed,
        },
        now=decision.at,
    )


def _with(held: Held, scan: Scan) -> Held:
    return msgspec.structs.replace(held, scan=scan)


def _of_appeal(held: Held, appeal: Appeal, kind: EventType) -> NewEvent:
    is_new = kind is EventType.APPEAL_CREATED
    return NewEvent(
        owner=held.owner,
        type=kind,
        subject=appeal.id,
        sequence=CREATED_SEQUENCE if is_new else DECIDED_SEQUENCE,
        data=EventData(appeal=appeal),
        callback_url=held.callback_url,
    )


def _of_changes(changes: Sequence[tuple[Held, Held]]) -> list[NewEvent]:
    return [
        NewEvent(
            owner=after.owner,
            type=EventType.SCAN_VERDICT_CHANGED,
            subject=after.scan.id,
            sequence=after.scan.sequence,
            data=EventData(scan=after.scan, previous=before.scan.verdict, cause=CAUSE),
            callback_url=after.callback_url,
        )
        for before, after in changes
        if after.scan.verdict is not before.scan.verdict
    ]


def _appeal(row: Any) -> Appeal:
    columns: Mapping[str, Any] = row._mapping
    return Appeal(
        id=columns["id"],
        scan_id=columns["scan_id"],
        state=AppealState(columns["state"]),
        reason=columns["reason"],
        evidence_url=columns["evidence_url"],
        note=columns["note"],
        created_at=rfc3339(columns["created_at"]),
        decided_at=None if columns["decided_at"] is None else rfc3339(columns["decided_at"]),
    )
