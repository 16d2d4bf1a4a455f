"""SQL DOOR: the outbox of events, endpoints, and what was delivered. Sends nothing.

    add          in the transaction of what happened -->  one event a fact, however often told;
                                                          a delivery for each who wants to hear it
    SqlWebhooks  endpoints, secrets and deliveries, as callers see and change them
                 (deliveries.py takes what is due, and records what came of it)

An endpoint's `secrets_json` and an event's `body` are what is signed and sent, as they are. A
callback_url is an endpoint too, with an id made of its owner and URL; all of an owner's are signed
with the secrets of one row, the one without a URL. Deliveries to a disabled endpoint wait without
a time (`next_at` is null), and get one when it is enabled.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct
from sqlalchemy.dialects import postgresql, sqlite

from sdk.wire import Delivery, DeliveryState, EndpointState, Event, EventData, EventType
from server import ids
from server.ports import Replay
from server.rules.webhooks import Change, Hook, Sent, Signing, new_secret, rotated

from . import audit, replays
from .engine import Database
from .tables import DeliveryRow, EndpointRow, EventRow

ROWS_AT_ONCE = 500
"""Most rows in one statement."""

_CROCKFORD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_WELL = {"disabled_reason": None, "failing_since": None, "warned_days": 0}
_event_decoder = msgspec.json.Decoder(Event)
_types_decoder = msgspec.json.Decoder(tuple[EventType, ...])
_signings_decoder = msgspec.json.Decoder(tuple[Signing, ...])
_LISTENING = sa.select(
    EndpointRow.id, EndpointRow.owner, EndpointRow.events_json, EndpointRow.state
).where(
    EndpointRow.owner.in_(sa.bindparam("owners", expanding=True)),
    EndpointRow.is_callback == sa.false(),
)
_Row = dict[str, Any]


class NewEvent(Struct, frozen=True, kw_only=True):
    """A fact to be told. The same owner, type, subject and sequence are the same fact.

    `subject` is the id of the scan, batch, appeal or endpoint; `callback_url` (as checked_url of
    the rules returned it) hears of it as well as the owner's endpoints.
    """

    owner: str
    type: EventType
    subject: str
    sequence: int
    data: EventData
    callback_url: str | None = None

    @property
    def id(self) -> str:
        """The same for the same fact; sorts by the time at which its subject was made."""
        fact = (self.owner, self.type.value, self.subject, str(self.sequence))
        return f"evt_{self.subject[-26:-16]}{_digits(*fact)[:16]}"


def add(
    connection: sa.Connection,
    events: Sequence[NewEvent],
    *,
    now: float,
    but_not_to: str | None = None,
) -> int:
    """Record events and their deliveries in this transaction; return how many deliveries.

    Nothing is written of an event that nobody wants to hear, or that was told before. Ring the
    courier's bell after the commit; unless it is rung, the courier looks within a second.
    `but_not_to` is the id of an endpoint to leave out.
    """
    listening = _listening(connection, events)
    callbacks = _callbacks(connection, events, now=now)
    targets = {
        event.id: [
            target
            for target in (*listening.get(event.owner, ()), *callbacks.get(event.id, ()))
            if target.wants(event.type) and target.id != but_not_to
        ]
        for event in events
    }
    told = {event.id: _event_row(event, now) for event in events if targets[event.id]}
    fresh = _insert_new(connection, EventRow, list(told.values()))
    rows = [_delivery_row(fact, target, now) for fact in fresh for target in targets[fact]]
    for some in _by(ROWS_AT_ONCE, rows):
        connection.execute(sa.insert(DeliveryRow), some)
    return len(rows)


def erase(connection: sa.Connection, subjects: Sequence[str]) -> None:
    """Forget all events about these (scans that are erased), with their deliveries."""
    for some in _by(ROWS_AT_ONCE, subjects):
        of_them = sa.select(EventRow.id).where(EventRow.subject.in_(some))
        connection.execute(sa.delete(DeliveryRow).where(DeliveryRow.event_id.in_(of_them)))
        connection.execute(sa.delete(EventRow).where(EventRow.subject.in_(some)))


def callback_id(owner: str, url: str = "") -> str:
    """Return the endpoint id of an owner's callback_url; without a URL, that of their secrets."""
    return f"whk_{_digits(owner, url)}"


def signings_of(text: str) -> tuple[Signing, ...]:
    """Read `secrets_json`."""
    return _signings_decoder.decode(text)


class SqlWebhooks:
    """Endpoints and Deliveries, as rules/webhooks.py describes them, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_endpoint(
        self, hook: Hook, *, limit: int, actor: str, replay: Replay | None = None
    ) -> bool:
        """Keep a new endpoint; False, and not kept, where the owner has `limit` already.

        Raises KeyTaken, and keeps nothing, if the key of `replay` was used before.
        """

        def work(connection: sa.Connection) -> bool:
            query = sa.select(sa.func.count()).select_from(EndpointRow)
            count = connection.scalar(query.where(_is_listed(hook.owner)))
            if (count or 0) >= limit:
                return False
            connection.execute(sa.insert(EndpointRow).values(_endpoint_row(hook)))
            if replay is not None:
                use = replays.Use(owner=hook.owner, replay=replay, subject=hook.id)
                replays.take(connection, use, now=hook.created_at)
            _tell(connection, actor, "webhook.create", hook.id, now=hook.created_at)
            return True

        return await self._database.write(work)

    async def endpoints(self, owner: str) -> Sequence[Hook]:
        """Return the listed endpoints, newest first."""
        query = sa.select(EndpointRow.__table__).where(_is_listed(owner))
        rows = await self._database.rows(query.order_by(EndpointRow.id.desc()))
        return [hook_of(row) for row in rows]

    async def endpoint(self, owner: str, endpoint_id: str) -> Hook | None:
        """Return one endpoint, also one that is not listed."""
        is_it = sa.and_(_is(owner, endpoint_id), EndpointRow.url != "")
        rows = await self._database.rows(sa.select(EndpointRow.__table__).where(is_it))
        return hook_of(rows[0]) if rows else None

    async def change(
        self, owner: str, endpoint_id: str, change: Change, *, now: float, actor: str
    ) -> Hook | None:
        """Change a listed endpoint and return it; what waited goes out once it is enabled."""

        def work(connection: sa.Connection) -> Hook | None:
            is_it = sa.and_(_is_listed(owner), EndpointRow.id == endpoint_id)
            values = _changed_columns(change)
            if values:
                connection.execute(sa.update(EndpointRow).where(is_it).values(values))
            hook = _one(connection, is_it)
            if hook is None:
                return None
            if change.state is not UNSET:
                set_waiting(connection, endpoint_id, change.state, now=now)
            _tell(connection, actor, "webhook.change", endpoint_id, now=now)
            return hook

        return await self._database.write(work)

    async def remove(self, owner: str, endpoint_id: str, *, now: float, actor: str) -> bool:
        """Forget a listed endpoint and its deliveries; False where there is none."""

        def work(connection: sa.Connection) -> bool:
            is_it = sa.and_(_is_listed(owner), EndpointRow.id == endpoint_id)
            done = connection.execute(sa.delete(EndpointRow).where(is_it))
            if not done.rowcount:
                return False
            of_it = DeliveryRow.endpoint_id == endpoint_id
            connection.execute(sa.delete(DeliveryRow).where(of_it))
            replays.forget(connection, owner=owner, subjects=[endpoint_id])
            _tell(connection, actor, "webhook.delete", endpoint_id, now=now)
            return True

        return await self._database.write(work)

    async def rotate(
        self, owner: str, endpoint_id: str, secret: str, *, now: float, actor: str
    ) -> Hook | None:
        """Put a secret before the ones there are, by `rotated`, and return the endpoint."""

        def work(connection: sa.Connection) -> Hook | None:
            is_it = _is(owner, endpoint_id)
            hook = _one(connection, is_it, is_locked=True)
            if hook is None:
                return None
            signings = rotated(hook.secrets, secret, now=now)
            values = {"secrets_json": _json(signings)}
            connection.execute(sa.update(EndpointRow).where(is_it).values(values))
            _tell(connection, actor, "webhook.rotate", endpoint_id, now=now)
            return msgspec.structs.replace(hook, secrets=signings)

        return await self._database.write(work)

    async def callback(self, owner: str, secret: str, *, now: float) -> Hook:
        """Return what holds the owner's callback secrets, made with this one if there is none."""
        is_it = _is(owner, callback_id(owner))

        def work(connection: sa.Connection) -> Hook:
            row = _endpoint_row(_callback(owner, "", now=now, secret=secret))
            _insert_new(connection, EndpointRow, [row])
            return hook_of(connection.execute(_all_of(is_it)).one())

        rows = await self._database.rows(_all_of(is_it))
        return hook_of(rows[0]) if rows else await self._database.write(work)

    async def deliveries(
        self, owner: str, endpoint_id: str, *, before: str | None, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries whose id is below `before`, newest first."""
        query = _deliveries(owner, endpoint_id).order_by(DeliveryRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(DeliveryRow.id < before)
        return [_delivery(row) for row in await self._database.rows(query)]

    async def delivery(self, owner: str, endpoint_id: str, delivery_id: str) -> Delivery | None:
        """Return one delivery."""
        query = _deliveries(owner, endpoint_id).where(DeliveryRow.id == delivery_id)
        rows = await self._database.rows(query)
        return _delivery(rows[0]) if rows else None

    async def event(self, owner: str, event_id: str) -> Sent | None:
        """Return an event that is still kept."""
        is_it = sa.and_(EventRow.id == event_id, EventRow.owner == owner)
        rows = await self._database.rows(sa.select(EventRow.body, EventRow.subject).where(is_it))
        if not rows:
            return None
        return Sent(event=_event_decoder.decode(rows[0].body), subject=rows[0].subject)

    async def send(self, hook: Hook, sent: Sent, *, now: float) -> Delivery:
        """Record an event and its one delivery, due now, or once the endpoint is enabled."""
        event = sent.event
        target = _Target(hook.id, (), hook.state is EndpointState.ENABLED)
        row = _delivery_row(event.id, target, now)

        def work(connection: sa.Connection) -> None:
            values = _row_of(event, owner=hook.owner, subject=sent.subject, now=now)
            connection.execute(sa.insert(EventRow).values(values))
            connection.execute(sa.insert(DeliveryRow).values(row))

        await self._database.write(work)
        return Delivery(
            id=row["id"],
            event_id=event.id,
            event_type=event.type,
            endpoint_id=hook.id,
            state=DeliveryState.PENDING,
            attempts=0,
            next_attempt_at=ids.rfc3339(now) if target.is_enabled else None,
            created_at=ids.rfc3339(now),
        )


def set_waiting(
    connection: sa.Connection, endpoint_id: str, state: EndpointState, *, now: float
) -> None:
    """Give what waits for an endpoint a time if it is enabled now, and take it if it is not."""
    waiting = [
        DeliveryRow.endpoint_id == endpoint_id,
        DeliveryRow.state == DeliveryState.PENDING,
    ]
    at = None
    if state is EndpointState.ENABLED:
        waiting.append(DeliveryRow.next_at.is_(None))  # what has a time keeps it
        at = now
    connection.execute(sa.update(DeliveryRow).where(*waiting).values(next_at=at))


class _Target(Struct, frozen=True):
    """An endpoint as the outbox sees it."""

    id: str
    types: tuple[EventType, ...]
    is_enabled: bool

    def wants(self, kind: EventType) -> bool:
        return not self.types or kind in self.types


def _listening(connection: sa.Connection, events: Sequence[NewEvent]) -> dict[str, list[_Target]]:
    """Return the listed endpoints of the events' owners, by owner."""
    found: dict[str, list[_Target]] = {}
    for owners in _by(ROWS_AT_ONCE, sorted({event.owner for event in events})):
        for row in connection.execute(_LISTENING, {"owners": owners}):
            types = _types_decoder.decode(row.events_json)
            target = _Target(row.id, types, row.state == EndpointState.ENABLED)
            found.setdefault(row.owner, []).append(target)
    return found


def _callbacks(
    connection: sa.Connection, events: Sequence[NewEvent], *, now: float
) -> dict[str, list[_Target]]:
    """Make sure of an endpoint for each callback_url; return it by event.

    A callback_url that was given up is tried again, since somebody has named it anew.
    """
    named = [event for event in events if event.callback_url]
    hooks = {
        hook.id: hook
        for event in named
        for hook in (
            _callback(event.owner, "", now=now, secret=new_secret()),
            _callback(event.owner, event.callback_url or "", now=now),
        )
    }
    rows = [_endpoint_row(hook) for _, hook in sorted(hooks.items())]
    _insert_new(connection, EndpointRow, rows)
    for some in _by(ROWS_AT_ONCE, sorted(hooks)):
        is_given_up = EndpointRow.state == EndpointState.DISABLED
        values = {"state": EndpointState.ENABLED.value, **_WELL}
        query = sa.update(EndpointRow).where(EndpointRow.id.in_(some), is_given_up)
        connection.execute(query.values(values))
    return {
        event.id: [_Target(callback_id(event.owner, event.callback_url or ""), (), True)]
        for event in named
    }


def _insert_new(connection: sa.Connection, table: type[Any], rows: Sequence[_Row]) -> list[str]:
    """Insert the rows whose id is not there yet; return the ids of those."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh: list[str] = []
    for some in _by(ROWS_AT_ONCE, rows):
        query = dialect.insert(table).values(list(some)).on_conflict_do_nothing()
        fresh.extend(connection.execute(query.returning(table.id)).scalars())
    return fresh


def _tell(
    connection: sa.Connection, actor: str, action: str, endpoint_id: str, *, now: float
) -> None:
    # Neither URL nor secret: what is in the audit log can never be taken out.
    audit.add(connection, actor=actor, action=action, subject=endpoint_id, now=now)


def _one(
    connection: sa.Connection, is_it: sa.ColumnElement[bool], *, is_locked: bool = False
) -> Hook | None:
    query = _all_of(is_it)
    row = connection.execute(query.with_for_update() if is_locked else query).one_or_none()
    return hook_of(row) if row else None


def _all_of(is_it: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(EndpointRow.__table__).where(is_it)


def _is(owner: str, endpoint_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(EndpointRow.id == endpoint_id, EndpointRow.owner == owner)


def _is_listed(owner: str) -> sa.ColumnElement[bool]:
    return sa.and_(EndpointRow.owner == owner, EndpointRow.is_callback == sa.false())


def _deliveries(owner: str, endpoint_id: str) -> sa.Select[Any]:
    return (
        sa.select(DeliveryRow.__table__, EventRow.type.label("event_type"))
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(DeliveryRow.endpoint_id == endpoint_id, EventRow.owner == owner)
    )


def _changed_columns(change: Change) -> _Row:
    values: _Row = {}
    if change.url is not UNSET:
        values["url"] = change.url
    if change.events is not UNSET:
        values["events_json"] = _json(change.events)
    if change.description is not UNSET:
        values["description"] = change.description
    if change.state is EndpointState.ENABLED:
        values |= {"state": change.state.value, **_WELL}
    elif change.state is EndpointState.DISABLED:
        values |= {"state": change.state.value, "disabled_reason": change.disabled_reason}
    return values


def _callback(owner: str, url: str, *, now: float, secret: str | None = None) -> Hook:
    return Hook(
        id=callback_id(owner, url),
        owner=owner,
        url=url,
        secrets=(Signing(secret),) if secret else (),
        is_callback=True,
        created_at=now,
    )


def _endpoint_row(hook: Hook) -> _Row:
    return {
        "id": hook.id,
        "owner": hook.owner,
        "url": hook.url,
        "events_json": _json(hook.events),
        "description": hook.description,
        "secrets_json": _json(hook.secrets),
        "state": hook.state.value,
        "is_callback": hook.is_callback,
        "created_at": hook.created_at,
        **_WELL,
    }


def _event_row(event: NewEvent, now: float) -> _Row:
    told = Event(
        id=event.id,
        type=event.type,
        timestamp=ids.rfc3339(now),
        sequence=event.sequence,
        data=event.data,
    )
    return _row_of(told, owner=event.owner, subject=event.subject, now=now)


def _row_of(event: Event, *, owner: str, subject: str, now: float) -> _Row:
    return {
        "id": event.id,
        "owner": owner,
        "type": event.type.value,
        "subject": subject,
        "sequence": event.sequence,
        "body": _json(event),
        "replay_of": event.replay_of,
        "created_at": now,
    }


def _delivery_row(event_id: str, target: _Target, now: float) -> _Row:
    return {
        "id": ids.new("dlv", now),
        "event_id": event_id,
        "endpoint_id": target.id,
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "next_at": now if target.is_enabled else None,
        "created_at": now,
    }


def hook_of(row: Any) -> Hook:
    """Return an endpoint, given all columns of its row."""
    return Hook(
        id=row.id,
        owner=row.owner,
        url=row.url,
        events=_types_decoder.decode(row.events_json),
        description=row.description,
        secrets=signings_of(row.secrets_json),
        state=EndpointState(row.state),
        disabled_reason=row.disabled_reason,
        is_callback=row.is_callback,
        created_at=row.created_at,
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        event_type=EventType(row.event_type),
        endpoint_id=row.endpoint_id,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        last_status=row.last_status,
        last_error=row.last_error,
        next_attempt_at=_time(row.next_at),
        created_at=ids.rfc3339(row.created_at),
        delivered_at=_time(row.delivered_at),
    )


def _time(at: float | None) -> str | None:
    return None if at is None else ids.rfc3339(at)


def _digits(*parts: str) -> str:
    """Return 26 digits of Crockford's base 32 that depend on these texts alone."""
    digest = hashlib.sha256(_json(parts).encode()).digest()
    return "0" + base64.b32encode(digest).decode().translate(_CROCKFORD)[:25]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _by(size: int, rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
