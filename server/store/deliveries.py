"""SQL DOOR: deliveries that are due, taken by one courier at a time, and what came of each.

    claim    due, endpoint enabled and not busy  -->  leased for so long: attempts + 1
    record   lease still ours?                   -->  delivered | again at `next_at` | failed;
                                                      endpoint well, failing, or disabled
    release  not sent after all                  -->  due at once
    mend     what a race left without a time or an endpoint
    retain   events of over 30 days ago go, with their deliveries

A lease sets `next_at` to its own end, so that a delivery whose courier died is due again by
itself, under the same event id. At most so many of an endpoint are leased at a time, over all
processes: PostgreSQL locks the endpoint while it is counted, SQLite has one writer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from sdk.wire import DeliveryState, EndpointState, EventData, EventType
from server.rules.deliveries import Answer, Health, Next
from server.rules.webhooks import Signing, shown

from . import audit, webhooks
from .engine import PATIENT_SECONDS, Database
from .tables import DeliveryRow, EndpointRow, EventRow

CANDIDATES = 200
"""Most endpoints that are looked at in one claim."""
ROWS_AT_ONCE = 500
"""Most rows that are deleted in one transaction."""
ACTOR = "courier"
"""Who disables endpoints, in the audit log."""
_PENDING = DeliveryRow.state == DeliveryState.PENDING


class Claimed(Struct, frozen=True, kw_only=True):
    """A delivery that is ours to make until the lease ends. `attempts` counts this one."""

    id: str
    lease: str
    event_id: str
    endpoint_id: str
    url: str
    secrets: tuple[Signing, ...]
    body: str
    attempts: int
    is_well: bool
    """Whether the endpoint was not failing when this was claimed."""


class SqlDeliveries:
    """What the courier works on. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        *,
        now: float,
        lease_seconds: float,
        limit: int,
        per_endpoint: int,
        but_not: Collection[str] = (),
    ) -> list[Claimed]:
        """Lease up to `limit` deliveries that are due, oldest endpoint first.

        `but_not` are endpoints that have no room, as the caller knows.
        """
        query = _endpoints_due(now, but_not)
        due = [row.endpoint_id for row in await self._database.rows(query, seconds=PATIENT_SECONDS)]
        if not due:
            return []

        def work(connection: sa.Connection) -> list[Claimed]:
            taken = _take(connection, due, now=now, limit=limit, per_endpoint=per_endpoint)
            return _lease(connection, taken, until=now + lease_seconds)

        return await self._database.write(work, seconds=PATIENT_SECONDS)

    async def record(
        self,
        claimed: Claimed,
        answer: Answer,
        *,
        decide: Callable[[Health], Next],
        now: float,
    ) -> Next | None:
        """Record what came of an attempt, by what `decide` makes of the endpoint's health.

        Returns that; None where the lease has passed to another, and nothing is recorded.
        """

        def work(connection: sa.Connection) -> Next | None:
            # The endpoint first, as `change` of webhooks.py has it: the other order deadlocks.
            endpoint = _locked_endpoint(connection, claimed, answer)
            following = decide(_health(endpoint))
            if not _end(connection, claimed, answer, following, now=now):
                return None
            if endpoint is not None:
                _tend(connection, endpoint, following, now=now)
            return following

        return await self._database.write(work, seconds=PATIENT_SECONDS)

    async def release(self, claimed: Sequence[Claimed], *, now: float) -> None:
        """Give back what was not sent, as if it had never been taken."""

        def work(connection: sa.Connection) -> None:
            for one in claimed:
                values = {"next_at": now, "attempts": one.attempts - 1, **_NO_LEASE}
                query = sa.update(DeliveryRow).where(_is_ours(one)).values(values)
                connection.execute(query)

        await self._database.write(work, seconds=PATIENT_SECONDS)

    async def mend(self, *, now: float) -> float:
        """Give a time to what waits for an enabled endpoint; forget what waits for none.

        Returns for how many seconds the oldest delivery is overdue, 0 where none is.
        """
        has_no_time = sa.and_(_PENDING, DeliveryRow.next_at.is_(None))
        enabled = sa.select(EndpointRow.id).where(EndpointRow.state == EndpointState.ENABLED)
        exists = sa.exists().where(EndpointRow.id == DeliveryRow.endpoint_id)
        oldest = sa.select(sa.func.min(DeliveryRow.next_at)).where(_PENDING)

        def work(connection: sa.Connection) -> float:
            stuck = sa.and_(has_no_time, DeliveryRow.endpoint_id.in_(enabled))
            connection.execute(sa.update(DeliveryRow).where(stuck).values(next_at=now))
            connection.execute(sa.delete(DeliveryRow).where(_PENDING, ~exists))
            since: float | None = connection.scalar(oldest)
            return 0.0 if since is None else max(now - since, 0.0)

        return await self._database.write(work, seconds=PATIENT_SECONDS)

    async def retain(self, before: float) -> int:
        """Forget events recorded before this Unix time, with deliveries; return how many.

        Callback endpoints made before it that nothing is about any more go, too.
        """
        forget = partial(_forget, before=before)
        forget_callbacks = partial(_forget_callbacks, before=before)
        total = 0
        while count := await self._database.write(forget, seconds=PATIENT_SECONDS):
            total += count
        await self._database.write(forget_callbacks, seconds=PATIENT_SECONDS)
        return total


def _forget(connection: sa.Connection, before: float) -> int:
    query = sa.select(EventRow.id).where(EventRow.created_at < before).limit(ROWS_AT_ONCE)
    old = list(connection.execute(query).scalars())
    connection.execute(sa.delete(DeliveryRow).where(DeliveryRow.event_id.in_(old)))
    connection.execute(sa.delete(EventRow).where(EventRow.id.in_(old)))
    return len(old)


def _forget_callbacks(connection: sa.Connection, before: float) -> None:
    is_used = sa.exists().where(DeliveryRow.endpoint_id == EndpointRow.id)
    is_old = sa.and_(
        EndpointRow.is_callback == sa.true(),
        EndpointRow.url != "",
        EndpointRow.created_at < before,
    )
    connection.execute(sa.delete(EndpointRow).where(is_old, ~is_used))


def _endpoints_due(now: float, but_not: Collection[str]) -> sa.Select[Any]:
    """Select the endpoints that something is due to, the longest waiting first.

    Goes from each endpoint of the index to the next, and so past 100,000 deliveries to one of them
    in a step; GROUP BY would read them all, at each claim.
    """
    first = sa.select(sa.func.min(DeliveryRow.endpoint_id).label("id")).where(_PENDING)
    walk = first.cte("walk", recursive=True)
    following = sa.select(sa.func.min(DeliveryRow.endpoint_id)).where(
        _PENDING, DeliveryRow.endpoint_id > walk.c.id
    )
    walk = walk.union_all(sa.select(following.scalar_subquery()).where(walk.c.id.is_not(None)))
    oldest = sa.select(sa.func.min(DeliveryRow.next_at)).where(
        _PENDING, DeliveryRow.endpoint_id == walk.c.id
    )
    found = sa.select(walk.c.id, oldest.scalar_subquery().label("since")).subquery()
    return (
        sa.select(found.c.id.label("endpoint_id"))
        .where(found.c.since <= now, found.c.id.not_in(but_not))
        .order_by(found.c.since)
        .limit(CANDIDATES)
    )


_NO_LEASE: dict[str, Any] = {"lease": None, "lease_until": None}


def _take(
    connection: sa.Connection, due: Sequence[str], *, now: float, limit: int, per_endpoint: int
) -> list[str]:
    """Return ids of deliveries to lease, at most what each endpoint has room for."""
    query = (
        sa.select(EndpointRow.id, EndpointRow.state)
        .where(EndpointRow.id.in_(due))
        .with_for_update(skip_locked=True)
    )
    states = {row.id: row.state for row in connection.execute(query)}
    busy = _in_flight(connection, due, now=now)
    taken: list[str] = []
    for endpoint_id in due:
        state = states.get(endpoint_id)
        if state == EndpointState.DISABLED:
            webhooks.set_waiting(connection, endpoint_id, EndpointState.DISABLED, now=now)
        room = min(per_endpoint - busy.get(endpoint_id, 0), limit - len(taken))
        if state == EndpointState.ENABLED and room > 0:
            taken += _oldest(connection, endpoint_id, now=now, limit=room)
    return taken


def _in_flight(
    connection: sa.Connection, endpoint_ids: Sequence[str], *, now: float
) -> dict[str, int]:
    query = (
        sa.select(DeliveryRow.endpoint_id, sa.func.count().label("leased"))
        .where(DeliveryRow.lease.is_not(None), DeliveryRow.lease_until > now)
        .where(DeliveryRow.endpoint_id.in_(endpoint_ids))
        .group_by(DeliveryRow.endpoint_id)
    )
    return {row.endpoint_id: row.leased for row in connection.execute(query)}


def _oldest(connection: sa.Connection, endpoint_id: str, *, now: float, limit: int) -> list[str]:
    query = (
        sa.select(DeliveryRow.id)
        .where(_PENDING, DeliveryRow.endpoint_id == endpoint_id, DeliveryRow.next_at <= now)
        .order_by(DeliveryRow.next_at, DeliveryRow.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def _lease(
    connection: sa.Connection, delivery_ids: Sequence[str], *, until: float
) -> list[Claimed]:
    lease = secrets.token_hex(16)
    are_they = DeliveryRow.id.in_(delivery_ids)
    values = {
        "lease": lease,
        "lease_until": until,
        "next_at": until,
        "attempts": DeliveryRow.attempts + 1,
    }
    connection.execute(sa.update(DeliveryRow).where(are_they).values(values))
    columns = (
        DeliveryRow.id,
        DeliveryRow.event_id,
        DeliveryRow.attempts,
        EndpointRow.id.label("endpoint_id"),
        EndpointRow.owner,
        EndpointRow.url,
        EndpointRow.secrets_json,
        EndpointRow.is_callback,
        EndpointRow.failing_since,
        EventRow.body,
    )
    query = (
        sa.select(*columns)
        .join(EndpointRow, EndpointRow.id == DeliveryRow.endpoint_id)
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(are_they)
    )
    rows = connection.execute(query).all()
    shared = _callback_secrets(connection, {row.owner for row in rows if row.is_callback})
    return [_claimed(row, lease, shared) for row in rows]


def _callback_secrets(connection: sa.Connection, owners: Collection[str]) -> dict[str, str]:
    """Return the `secrets_json` that sign deliveries to callback_urls, by owner."""
    if not owners:
        return {}
    roots = [webhooks.callback_id(owner) for owner in owners]
    query = sa.select(EndpointRow.owner, EndpointRow.secrets_json).where(EndpointRow.id.in_(roots))
    return {row.owner: row.secrets_json for row in connection.execute(query)}


def _claimed(row: Any, lease: str, shared: dict[str, str]) -> Claimed:
    return Claimed(
        id=row.id,
        lease=lease,
        event_id=row.event_id,
        endpoint_id=row.endpoint_id,
        url=row.url,
        secrets=webhooks.signings_of(shared[row.owner] if row.is_callback else row.secrets_json),
        body=row.body,
        attempts=row.attempts,
        is_well=row.failing_since is None,
    )


def _locked_endpoint(connection: sa.Connection, claimed: Claimed, answer: Answer) -> Any | None:
    """Return the endpoint's row, locked; None where it needs no look: it is well and stays so."""
    if answer.is_success and claimed.is_well:
        return None
    is_it = EndpointRow.id == claimed.endpoint_id
    query = sa.select(EndpointRow.__table__).where(is_it).with_for_update()
    return connection.execute(query).one_or_none()


def _health(endpoint: Any | None) -> Health:
    if endpoint is None:
        return Health()
    return Health(failing_since=endpoint.failing_since, warned_days=endpoint.warned_days)


def _end(
    connection: sa.Connection, claimed: Claimed, answer: Answer, following: Next, *, now: float
) -> bool:
    """Write what came of the attempt; False if the lease is not ours any more."""
    state = DeliveryState.PENDING if following.at is not None else DeliveryState.FAILED
    values = {
        "state": (DeliveryState.DELIVERED if answer.is_success else state).value,
        "next_at": following.at,
        "last_status": answer.status,
        "last_error": None if answer.is_success else answer.reason,
        "delivered_at": now if answer.is_success else None,
        **_NO_LEASE,
    }
    done = connection.execute(sa.update(DeliveryRow).where(_is_ours(claimed)).values(values))
    return done.rowcount == 1


def _is_ours(claimed: Claimed) -> sa.ColumnElement[bool]:
    return sa.and_(DeliveryRow.id == claimed.id, DeliveryRow.lease == claimed.lease)


def _tend(connection: sa.Connection, endpoint: Any, following: Next, *, now: float) -> None:
    """Write how the endpoint does, and disable it where it is to be."""
    is_it = EndpointRow.id == endpoint.id
    values: dict[str, Any] = msgspec.structs.asdict(following.health)
    is_disabled_now = following.disabled is not None and endpoint.state == EndpointState.ENABLED
    if is_disabled_now:
        values |= {
            "state": EndpointState.DISABLED.value,
            "disabled_reason": following.disabled,
        }
    connection.execute(sa.update(EndpointRow).where(is_it).values(values))
    if endpoint.state == EndpointState.DISABLED or is_disabled_now:
        _stop(connection, endpoint, now=now)
    if is_disabled_now:
        _tell(connection, endpoint.id, now=now)


def _stop(connection: sa.Connection, endpoint: Any, *, now: float) -> None:
    """Let what is pending wait until the endpoint is enabled, which a callback_url never is."""
    webhooks.set_waiting(connection, endpoint.id, EndpointState.DISABLED, now=now)
    if endpoint.is_callback:
        waits = sa.and_(_PENDING, DeliveryRow.endpoint_id == endpoint.id)
        values = {"state": DeliveryState.FAILED.value}
        connection.execute(sa.update(DeliveryRow).where(waits).values(values))


def _tell(connection: sa.Connection, endpoint_id: str, *, now: float) -> None:
    """Tell the owner's other endpoints, and the audit log, that this one is disabled."""
    query = sa.select(EndpointRow.__table__).where(EndpointRow.id == endpoint_id)
    hook = webhooks.hook_of(connection.execute(query).one())
    event = webhooks.NewEvent(
        owner=hook.owner,
        type=EventType.WEBHOOK_DISABLED,
        subject=hook.id,
        sequence=int(now),
        data=EventData(endpoint=shown(hook)),
    )
    webhooks.add(connection, [event], now=now, but_not_to=hook.id)
    audit.add(connection, actor=ACTOR, action="webhook.disable", subject=hook.id, now=now)
