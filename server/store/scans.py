"""SQL DOOR: the truth about scans. Knows nothing of Redis or HTTP.

    open     SELECT the same image, INSERT, queued or final
                                          ---> committed: the scan exists; one trip and one commit
                                               for all who open at once (docs/decisions/0028)
    close    UPDATE where not final       ---> committed: the first outcome stands, watchers wake
               `- with it: what a person overturned, events, the batch, what a rescore replaces
    erase    DELETE, a tombstone          ---> committed: nothing tells what it said any more
    page     SELECT by owner, newest first
    precedents  SELECT the same image     ---> what workers found of it before
    stale    SELECT not final and old     ---> what the sweep must look at

What happens in another's transaction is a function here: insert, end, hold, revise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import anyio
import msgspec
import sqlalchemy as sa
import structlog
from msgspec.structs import replace

from sdk.wire import EventData, EventType, Scan, Status, Verdict
from server.ports import (
    Clock,
    Erased,
    Kept,
    KeyTaken,
    Opened,
    Precedent,
    Recall,
    ScanFilter,
    Unavailable,
)
from server.rules.appeals import ACCUSING, overturned
from server.together import Together
from worker.contract import Entry, Outcome, decode_entry

from . import appeals, audit, batch_ends, feedback, replays, webhooks
from .appeals import Held
from .engine import PATIENT_SECONDS, Database
from .scan_queries import OF_BYTES, OF_PLACE, OF_UPLOAD, ONE, ONE_HELD, is_theirs, listed
from .scan_rows import (
    ended_scan,
    ending,
    is_about_digest,
    opened_of,
    precedent_of,
    revision,
    row_of,
    scan_of,
)
from .tables import ACCUSED, ScanRow, TombstoneRow
from .webhooks import NewEvent

POLL_SECONDS = 1.0
"""How often watchers look for scans that another process recorded."""
IDS_AT_ONCE = 500
"""Most ids in one query."""
CAUSE = "rescore"
"""What scan.verdict_changed has as its cause."""

_Hits = dict[tuple[str, str], str]
_SCANS = ScanRow.__table__
_log = structlog.get_logger(__name__)


class Bell(Protocol):
    """Tells the courier that there is something to deliver."""

    def ring(self) -> None:
        """Let it look at once."""
        ...


class Inserted(NamedTuple):
    """What came of new scans: each as recorded, None where its key was taken; deliveries to be."""

    scans: list[Scan | None]
    deliveries: int


class Ended(NamedTuple):
    """Whose scans ended, by id, and how many deliveries tell of it."""

    owners: dict[str, str]
    deliveries: int


class SqlScans:
    """Records, Precedents and Uses over SQL; see ports.py. `run` must run beside it."""

    def __init__(self, database: Database, clock: Clock, bell: Bell | None = None) -> None:
        self._database = database
        self._clock = clock
        self._bell = bell
        self._openings: Together[_Opening] = Together(self._open)
        self._waiting: dict[str, list[anyio.Event]] = {}

    async def run(self) -> None:
        """Wake watchers of scans that another process recorded, until cancelled."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            try:
                await self._wake_final()
            except Unavailable:
                continue  # whoever asks for a scan hears of it
            except Exception as error:
                _log.error("watch_failed", exc_info=error)

    async def open(self, opened: Opened, *, recall: Recall | None = None) -> Scan:
        """Record a new scan and return it as recorded; raises KeyTaken."""
        opening = _Opening(opened, recall)
        await self._openings.do(opening)
        if opening.scan is None:
            raise KeyTaken
        return opening.scan

    async def precedents(self, opened: Opened) -> list[Precedent]:
        """Return the newest few outcomes for the scan's place, or its bytes, newest first."""
        found: list[Precedent] = await self._database.read(partial(precedents, opened=opened))
        return found

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        """Return the owner's scan as last recorded, or None."""
        rows = await self._database.rows(ONE, {"owner": owner, "scan_id": scan_id})
        return scan_of(rows[0]) if rows else None

    async def opened(self, scan_id: str, *, owner: str) -> Opened | None:
        """Return the owner's scan as last recorded, with what it was asked for, or None."""
        rows = await self._database.rows(ONE, {"owner": owner, "scan_id": scan_id})
        return opened_of(rows[0]) if rows else None

    async def page(
        self, wanted: ScanFilter, *, owner: str, before_id: str | None, limit: int
    ) -> list[Scan]:
        """Return the owner's scans that are wanted, newest first, older than the id."""
        query = listed(wanted, owner=owner, before_id=before_id, limit=limit)
        return [scan_of(row) for row in await self._database.rows(query)]

    async def watch(self, scan_id: str, seconds: float, *, owner: str) -> Scan | None:
        """Return the owner's scan once it is final, or as it is after `seconds`."""
        with self._waits_for(scan_id) as is_final:
            scan = await self.get(scan_id, owner=owner)
            if scan is None or scan.status.is_final:
                return scan
            with anyio.move_on_after(seconds):
                await is_final.wait()
        return await self.get(scan_id, owner=owner)

    async def close(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        """Record outcomes in one commit; the first for a scan wins. Returns who owns what ended."""
        first = {outcome.scan_id: outcome for outcome in reversed(outcomes)}
        owners: dict[str, str] = {}
        for some in _by(IDS_AT_ONCE, list(first)):
            work = partial(end, outcomes={one: first[one] for one in some}, now=self._clock.now())
            done = await self._database.write(work, seconds=PATIENT_SECONDS)
            self._wake(list(done.owners))
            self._ring(done.deliveries)
            owners |= done.owners
        return owners

    async def erase(self, scan_id: str, *, owner: str, actor: str) -> Erased | None:
        """Forget the owner's scan and all that tells of it, but that it was; None: no such scan."""
        now = self._clock.now()
        work = partial(forget, owner=owner, scan_id=scan_id, actor=actor, now=now)
        erased = await self._database.write(work)
        self._wake([scan_id])
        return erased

    async def is_erased(self, scan_id: str, *, owner: str) -> bool:
        """Return whether the owner had such a scan, and it was erased."""
        is_it = (TombstoneRow.scan_id == scan_id) & (TombstoneRow.owner == owner)
        return bool(await self._database.rows(sa.select(TombstoneRow.scan_id).where(is_it)))

    async def replay(self, key: str, *, owner: str) -> Kept | None:
        """Return what the owner used this Idempotency-Key for in the last 24 h, or None."""
        work = partial(replays.find, owner=owner, key=key, now=self._clock.now())
        kept: Kept | None = await self._database.read(work)
        return kept

    async def stale(self, before: float) -> list[Entry]:
        """Return the entries of scans that are not final and were opened before this Unix time."""
        query = (
            sa.select(ScanRow.entry)
            .where(ScanRow.completed_at.is_(None), ScanRow.created_at < before)
            .order_by(ScanRow.created_at)
        )
        rows = await self._database.rows(query, seconds=PATIENT_SECONDS)
        return [decode_entry(entry.encode()) for (entry,) in rows]

    async def ping(self) -> None:
        """Return if the store can be read; raises Unavailable."""
        await self._database.rows(sa.select(ScanRow.id).limit(1))

    async def uses(self, upload_ids: Sequence[str], since: float) -> dict[str, bool]:
        """Return which of these uploads a scan has named, and whether one still needs it."""
        is_needed = ScanRow.completed_at.is_(None) | (ScanRow.completed_at > since)
        found: dict[str, bool] = {}
        for ids in _by(IDS_AT_ONCE, upload_ids):
            query = (
                sa.select(ScanRow.upload_id, sa.func.max(sa.case((is_needed, 1), else_=0)))
                .where(ScanRow.upload_id.in_(ids))
                .group_by(ScanRow.upload_id)
            )
            rows = await self._database.rows(query, seconds=PATIENT_SECONDS)
            found.update({upload_id: bool(needed) for upload_id, needed in rows})
        return found

    def hold(self, connection: sa.Connection, *, owner: str, scan_id: str) -> Held | None:
        """Return the owner's scan and lock its row (FOR UPDATE), or None."""
        row = connection.execute(ONE_HELD, {"owner": owner, "scan_id": scan_id}).one_or_none()
        return None if row is None else _held(row)

    def hold_accused(
        self, connection: sa.Connection, *, owner: str, sha256: str, limit: int
    ) -> list[Held]:
        """Return, by id, and lock the owner's scans of these bytes whose verdict accuses."""
        query = (
            sa.select(_SCANS)
            .where(ScanRow.owner == owner, ScanRow.sha256 == sha256, sa.text(ACCUSED))
            .order_by(ScanRow.id)
            .limit(limit)
        )
        return [_held(row) for row in connection.execute(query.with_for_update())]

    def revise(self, connection: sa.Connection, held: Sequence[Held]) -> None:
        """Record verdict, reasons, appeal and sequence of these scans as they are given."""
        for one in held:
            is_it = (ScanRow.owner == one.owner) & (ScanRow.id == one.scan.id)
            connection.execute(sa.update(ScanRow).where(is_it).values(revision(one.scan)))

    async def _wake_final(self) -> None:
        for ids in _by(IDS_AT_ONCE, list(self._waiting)):
            query = sa.select(ScanRow.id).where(ScanRow.id.in_(ids), ScanRow.completed_at.is_(None))
            waiting = {scan_id for (scan_id,) in await self._database.rows(query)}
            self._wake([scan_id for scan_id in ids if scan_id not in waiting])

    def _wake(self, scan_ids: Sequence[str]) -> None:
        for scan_id in scan_ids:
            for is_final in self._waiting.get(scan_id, ()):
                is_final.set()

    def _ring(self, deliveries: int) -> None:
        if deliveries and self._bell is not None:
            self._bell.ring()

    @contextmanager
    def _waits_for(self, scan_id: str) -> Iterator[anyio.Event]:
        is_final = anyio.Event()
        waiting = self._waiting.setdefault(scan_id, [])
        waiting.append(is_final)
        try:
            yield is_final
        finally:
            waiting.remove(is_final)
            if not waiting:
                self._waiting.pop(scan_id, None)

    async def _open(self, openings: Sequence[_Opening]) -> None:
        now = self._clock.now()

        def work(connection: sa.Connection) -> Inserted:
            openeds = [opening.known(connection) for opening in openings]
            return insert(connection, openeds, now=now)

        done = await self._database.write(work)
        for opening, scan in zip(openings, done.scans, strict=True):
            opening.scan = scan
        self._ring(done.deliveries)


class _Opening:
    """A scan to be recorded, and as it was; None: its key was taken."""

    def __init__(self, opened: Opened, recall: Recall | None) -> None:
        self.scan: Scan | None = None
        self._opened = opened
        self._recall = recall

    def known(self, connection: sa.Connection) -> Opened:
        """Return the scan, final if `recall` says so; one that cannot be asked about is not.

        What cannot be read of it is no reason to fail the others of the same commit.
        """
        if self._recall is None:
            return self._opened
        try:
            final = self._recall(precedents(connection, self._opened))
        except msgspec.DecodeError as error:
            _log.error("precedents_not_read", scan_id=self._opened.scan.id, exc_info=error)
            return self._opened
        return self._opened if final is None else replace(self._opened, scan=final)


def precedents(connection: sa.Connection, opened: Opened) -> list[Precedent]:
    """Return the newest few outcomes for the scan's place, or its bytes, newest first."""
    sha256 = opened.scan.input.sha256
    if is_about_digest(opened):
        query, about = OF_BYTES, {"about": sha256, "point": opened.entry.operating_point.value}
    elif opened.place is None:
        query, about = OF_UPLOAD, {"about": sha256}
    else:
        query, about = OF_PLACE, {"about": opened.place}
    return [precedent_of(row) for row in connection.execute(query, about)]


def insert(connection: sa.Connection, openeds: Sequence[Opened], *, now: float) -> Inserted:
    """Record new scans in this transaction, with all that follows from those that are final.

    A scan whose Idempotency-Key was used before is left out, and stops no other.
    """
    taken = _taken(connection, openeds, now=now)
    fresh = _spared(connection, [one for one in openeds if one.scan.id not in taken])
    if fresh:
        connection.execute(_INSERT, [row_of(one, now) for one in fresh])
    final = [
        _Change(one.owner, one.scan, one.callback_url) for one in fresh if one.scan.status.is_final
    ]
    deliveries = _follow(connection, final, now=now)
    scans = {one.scan.id: one.scan for one in fresh}
    return Inserted([scans.get(one.scan.id) for one in openeds], deliveries)


def end(connection: sa.Connection, outcomes: Mapping[str, Outcome], *, now: float) -> Ended:
    """Record in this transaction the outcomes of scans that have none, and what follows."""
    is_open = ScanRow.id.in_(outcomes) & ScanRow.completed_at.is_(None)
    # By id, so that two who close the same scans never wait for each other.
    query = sa.select(_SCANS).where(is_open).order_by(ScanRow.id).with_for_update()
    rows = connection.execute(query).all()
    if not rows:
        return Ended({}, 0)
    changes = _ended(connection, rows, outcomes, now)
    connection.execute(
        _END,
        [
            ending(change.scan, outcomes[row.id], row, now, is_revised=change.is_revised)
            for row, change in zip(rows, changes, strict=True)
        ],
    )
    return Ended({row.id: row.owner for row in rows}, _follow(connection, changes, now=now))


def forget(
    connection: sa.Connection, *, owner: str, scan_id: str, actor: str, now: float
) -> Erased | None:
    """Erase a scan in this transaction, and leave word that it was."""
    row = connection.execute(ONE_HELD, {"owner": owner, "scan_id": scan_id}).one_or_none()
    if row is None:
        return None
    connection.execute(sa.delete(ScanRow).where(is_theirs(owner, scan_id)))
    webhooks.erase(connection, [scan_id])
    appeals.forget(connection, owner=owner, scan_ids=[scan_id])
    feedback.forget(connection, owner=owner, scan_ids=[scan_id])
    replays.forget(connection, owner=owner, subjects=[scan_id])
    tombstone = {"scan_id": scan_id, "owner": owner, "erased_at": now, "erased_by": actor}
    connection.execute(sa.insert(TombstoneRow).values(tombstone))
    if row.batch_id is not None and row.completed_at is None:
        batch_ends.ended(connection, [row.batch_id], now=now)
    detail = {"owner": owner}
    audit.add(connection, actor=actor, action="scan.erase", subject=scan_id, detail=detail, now=now)
    return Erased(was_final=row.completed_at is not None, upload_id=row.upload_id)


class _Change(NamedTuple):
    """A scan that became final, and whose it is."""

    owner: str
    scan: Scan
    callback_url: str | None
    is_revised: bool = False


_INSERT = sa.insert(ScanRow)
_END = (
    sa.update(ScanRow)
    .where(ScanRow.id == sa.bindparam("scan_id"))
    .values(
        status=sa.bindparam("new_status"),
        opened=sa.bindparam("new_opened"),
        outcome=sa.bindparam("new_outcome"),
        completed_at=sa.bindparam("now"),
        sequence=sa.bindparam("new_sequence"),
        sha256=sa.bindparam("new_sha256"),
        judge=sa.bindparam("new_judge"),
        verdict=sa.bindparam("new_verdict"),
        appeal_state=sa.bindparam("new_appeal_state"),
    )
)
_EVENTS = {Status.COMPLETED: EventType.SCAN_COMPLETED, Status.FAILED: EventType.SCAN_FAILED}


def _taken(connection: sa.Connection, openeds: Sequence[Opened], *, now: float) -> set[str]:
    """Record the keys of these scans; return the ids of those whose key was used before."""
    uses = {
        one.scan.id: replays.Use(owner=one.owner, replay=one.replay, subject=one.scan.id)
        for one in openeds
        if one.replay is not None
    }
    fresh = replays.add(connection, list(uses.values()), now=now)
    return set(uses) - {use.subject for use in fresh}


def _spared(connection: sa.Connection, openeds: Sequence[Opened]) -> list[Opened]:
    """Return the scans; those that accuse bytes which were overturned as they must be."""
    hits = _hits(connection, [(one.owner, one.scan) for one in openeds])
    if not hits:
        return list(openeds)
    return [replace(one, scan=_spare(one.owner, one.scan, hits)) for one in openeds]


def _ended(
    connection: sa.Connection,
    rows: Sequence[Any],
    outcomes: Mapping[str, Outcome],
    now: float,
) -> list[_Change]:
    """Return the scans of these rows as they end."""
    scans = [(row.owner, ended_scan(row, outcomes[row.id], now)) for row in rows]
    hits = _hits(connection, scans)
    changes = []
    for row, (owner, scan) in zip(rows, scans, strict=True):
        after = _spare(owner, scan, hits)
        changes.append(_Change(owner, after, row.callback_url, is_revised=after is not scan))
    return changes


def _hits(connection: sa.Connection, owned: Sequence[tuple[str, Scan]]) -> _Hits:
    """Return which bytes that these scans accuse were overturned, with the id of the appeal."""
    pairs = [
        (owner, scan.input.sha256)
        for owner, scan in owned
        if scan.verdict in ACCUSING and scan.input.sha256
    ]
    return appeals.overridden(connection, pairs) if pairs else {}


def _spare(owner: str, scan: Scan, hits: _Hits) -> Scan:
    appeal_id = hits.get((owner, scan.input.sha256 or ""))
    if appeal_id is None or scan.verdict not in ACCUSING:
        return scan
    return replace(overturned(scan, appeal_id), sequence=scan.sequence)


def _follow(connection: sa.Connection, changes: Sequence[_Change], *, now: float) -> int:
    """Do what follows from scans that became final; return how many deliveries tell of it."""
    if not changes:
        return 0
    previous = _supersede(connection, changes)
    events = [event for change in changes for event in _events(change, previous)]
    deliveries = webhooks.add(connection, events, now=now) if events else 0
    of_batches = sorted({one.scan.batch_id for one in changes if one.scan.batch_id is not None})
    if of_batches:
        deliveries += batch_ends.ended(connection, of_batches, now=now)
    return deliveries


def _supersede(connection: sa.Connection, changes: Sequence[_Change]) -> dict[str, Verdict | None]:
    """Let scans that were judged anew name the new one; return their verdicts, by the new id."""
    previous = {}
    for owner, scan, *_ in changes:
        if scan.rescore_of is None or scan.status is not Status.COMPLETED:
            continue
        query = sa.select(ScanRow.verdict).where(is_theirs(owner, scan.rescore_of))
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:  # it was erased meanwhile
            continue
        values = {"superseded_by": scan.id, "sequence": ScanRow.sequence + 1}
        is_old = is_theirs(owner, scan.rescore_of)
        connection.execute(sa.update(ScanRow).where(is_old).values(values))
        previous[scan.id] = None if row.verdict is None else Verdict(row.verdict)
    return previous


def _events(change: _Change, previous: Mapping[str, Verdict | None]) -> Iterator[NewEvent]:
    """Yield what is told of a scan that became final; nobody is told of what was canceled."""
    scan = change.scan
    kind = _EVENTS.get(scan.status)
    if kind is not None:
        yield _event(change, kind, EventData(scan=scan))
    before = previous.get(scan.id)
    if before is not None and before is not scan.verdict:
        data = EventData(scan=scan, previous=before, cause=CAUSE)
        yield _event(change, EventType.SCAN_VERDICT_CHANGED, data)


def _event(change: _Change, kind: EventType, data: EventData) -> NewEvent:
    return NewEvent(
        owner=change.owner,
        type=kind,
        subject=change.scan.id,
        sequence=change.scan.sequence,
        data=data,
        callback_url=change.callback_url,
    )


def _held(row: Any) -> Held:
    return Held(owner=row.owner, scan=scan_of(row), callback_url=row.callback_url)


def _by(size: int, ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
