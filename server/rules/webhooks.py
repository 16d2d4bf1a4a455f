"""Where a platform's events go: endpoints, their secrets, what was delivered, and sending again.

    create --> enabled <--patch--> disabled <-- 410, 5 days of failures      told secret: once
                  |                    `-- what happens meanwhile waits, and goes out on `enabled`
                  |-- rotate    the new secret signs at once, the old one too for 24 h more
                  |-- ping      a test event
                  `-- replay    an event of the last 30 days again, under a new id

The one-off `callback_url`s of scans and batches go the same way: each is an endpoint that is not
listed, signed with the owner's callback secret. Knows no SQL and no HTTP; URLs are judged by
worker/guard.py, here by their text and by the courier at each dial.
"""

from __future__ import annotations

import base64
import secrets
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sdk.codes import ProblemCode
from sdk.webhooks import SECRET_PREFIX
from sdk.wire import (
    CallbackSecret,
    Delivery,
    DeliveryList,
    Endpoint,
    EndpointList,
    EndpointPatch,
    EndpointRequest,
    EndpointState,
    Event,
    EventData,
    EventType,
    Fault,
    Scope,
)
from server import ids
from server.ports import Clock, Kept, Replay
from server.refused import Refused
from worker.guard import Policy, UrlRefused, check_url

from .caller import Caller
from .idempotency import Flights, Replays, once

ENDPOINTS_LIMIT = 50
"""Most endpoints of one owner."""
DESCRIPTION_LIMIT = 500
"""Longest description in characters."""
OVERLAP_SECONDS = 86_400.0
"""How long a secret that was rotated out still signs."""
SECRETS_LIMIT = 5
"""Most secrets that sign at a time; rotating more often within a day drops the oldest."""
SECRET_BYTES = 32
PAGE = 20
"""Deliveries a page where the caller does not say."""
PAGE_LIMIT = 100
BY_OWNER = "Disabled by its owner."


class Signing(Struct, frozen=True, array_like=True):
    """A secret that signs, and until when (Unix time); None is for good."""

    secret: str
    until: float | None = None


class Hook(Struct, frozen=True, kw_only=True):
    """An endpoint as it is kept. No `events` means all; secrets stand newest first.

    `is_callback`: made for the callback_url of a scan or batch.
    """

    id: str
    owner: str
    url: str
    events: tuple[EventType, ...] = ()
    description: str = ""
    secrets: tuple[Signing, ...] = ()
    state: EndpointState = EndpointState.ENABLED
    disabled_reason: str | None = None
    is_callback: bool = False
    created_at: float


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of an endpoint is to be another; UNSET stays as it is.

    `disabled_reason` counts where `state` is disabled.
    """

    url: str | UnsetType = UNSET
    events: tuple[EventType, ...] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    state: EndpointState | UnsetType = UNSET
    disabled_reason: str | None = None


class Sent(Struct, frozen=True, kw_only=True):
    """An event that goes to one endpoint only: a ping, or a replay."""

    event: Event
    subject: str


class Endpoints(Protocol):
    """What is kept of endpoints. Each call sees one owner's; raises Unavailable."""

    async def add_endpoint(
        self, hook: Hook, *, limit: int, actor: str, replay: Replay | None = None
    ) -> bool:
        """Keep a new endpoint; False, and not kept, where the owner has `limit` already.

        Raises KeyTaken, and keeps nothing, if the key of `replay` was used before.
        """
        ...

    async def endpoints(self, owner: str) -> Sequence[Hook]:
        """Return the listed endpoints, newest first."""
        ...

    async def endpoint(self, owner: str, endpoint_id: str) -> Hook | None:
        """Return one endpoint, also one that is not listed."""
        ...

    async def change(
        self, owner: str, endpoint_id: str, change: Change, *, now: float, actor: str
    ) -> Hook | None:
        """Change a listed endpoint and return it; what waited goes out once it is enabled."""
        ...

    async def remove(self, owner: str, endpoint_id: str, *, now: float, actor: str) -> bool:
        """Forget a listed endpoint and its deliveries; False where there is none."""
        ...

    async def rotate(
        self, owner: str, endpoint_id: str, secret: str, *, now: float, actor: str
    ) -> Hook | None:
        """Put a secret before the ones there are, by `rotated`, and return the endpoint."""
        ...

    async def callback(self, owner: str, secret: str, *, now: float) -> Hook:
        """Return what holds the owner's callback secrets, made with this one if there is none."""
        ...


class Deliveries(Protocol):
    """What is kept of deliveries. Each call sees one owner's; raises Unavailable."""

    async def deliveries(
        self, owner: str, endpoint_id: str, *, before: str | None, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries whose id is below `before`, newest first."""
        ...

    async def delivery(self, owner: str, endpoint_id: str, delivery_id: str) -> Delivery | None:
        """Return one delivery."""
        ...

    async def event(self, owner: str, event_id: str) -> Sent | None:
        """Return an event that is still kept."""
        ...

    async def send(self, hook: Hook, sent: Sent, *, now: float) -> Delivery:
        """Record an event and its one delivery, due now, or once the endpoint is enabled."""
        ...


@dataclass(frozen=True, kw_only=True)
class WebhooksDesk:
    """The ports that webhooks work with."""

    endpoints: Endpoints
    deliveries: Deliveries
    replays: Replays
    flights: Flights
    clock: Clock
    policy: Policy


async def create(
    request: EndpointRequest, *, caller: Caller, replay: Replay | None, desk: WebhooksDesk
) -> tuple[Endpoint, bool]:
    """Keep a new endpoint; return it with its secret, and whether it was made before.

    Nothing else shows the secret: who has missed it repeats the request with its key, or rotates.
    """
    caller.need(Scope.ADMIN)

    async def make() -> Hook:
        return await _made(request, caller=caller, replay=replay, desk=desk)

    async def again(kept: Kept) -> Hook:
        return await _theirs(kept.subject, caller, desk)

    hook, is_replayed = await once(
        replay,
        owner=caller.owner,
        replays=desk.replays,
        flights=desk.flights,
        make=make,
        again=again,
    )
    return shown(hook, secret=hook.secrets[0].secret), is_replayed


async def all_of(*, caller: Caller, desk: WebhooksDesk) -> EndpointList:
    """Return the caller's endpoints, newest first."""
    caller.need(Scope.ADMIN)
    return EndpointList(data=tuple(map(shown, await desk.endpoints.endpoints(caller.owner))))


async def get(endpoint_id: str, *, caller: Caller, desk: WebhooksDesk) -> Endpoint:
    """Return one endpoint; raises Refused if the caller has none of this id."""
    caller.need(Scope.ADMIN)
    return shown(await _theirs(endpoint_id, caller, desk))


async def change(
    endpoint_id: str, request: EndpointPatch, *, caller: Caller, desk: WebhooksDesk
) -> Endpoint:
    """Change what the request names. `enabled` sends what waited, and forgets past failures."""
    caller.need(Scope.ADMIN)
    _listed(await _theirs(endpoint_id, caller, desk))
    if isinstance(request.description, str):
        _check_description(request.description)
    url, events = request.url, request.events
    changed = await desk.endpoints.change(
        caller.owner,
        endpoint_id,
        Change(
            url=checked_url(url, desk.policy, pointer="/url") if isinstance(url, str) else UNSET,
            events=_distinct(events) if isinstance(events, tuple) else UNSET,
            description=request.description,
            state=request.state,
            disabled_reason=BY_OWNER,
        ),
        now=desk.clock.now(),
        actor=caller.name,
    )
    return shown(_found(changed, endpoint_id))


async def remove(endpoint_id: str, *, caller: Caller, desk: WebhooksDesk) -> None:
    """Forget an endpoint and what was and is to be delivered to it."""
    caller.need(Scope.ADMIN)
    _listed(await _theirs(endpoint_id, caller, desk))
    await desk.endpoints.remove(caller.owner, endpoint_id, now=desk.clock.now(), actor=caller.name)


async def rotate(endpoint_id: str, *, caller: Caller, desk: WebhooksDesk) -> Endpoint:
    """Give an endpoint a new secret, and show it; the old one signs for 24 h more."""
    caller.need(Scope.ADMIN)
    _listed(await _theirs(endpoint_id, caller, desk))
    hook = _found(await _rotate(endpoint_id, caller, desk), endpoint_id)
    return shown(hook, secret=hook.secrets[0].secret)


async def callback_secret(*, caller: Caller, desk: WebhooksDesk) -> CallbackSecret:
    """Return what deliveries to the caller's `callback_url`s are signed with."""
    caller.need(Scope.ADMIN)
    return CallbackSecret(secret=(await _callback(caller, desk)).secrets[0].secret)


async def rotate_callback_secret(*, caller: Caller, desk: WebhooksDesk) -> CallbackSecret:
    """Return a new callback secret; the old one signs for 24 h more."""
    caller.need(Scope.ADMIN)
    callback = await _callback(caller, desk)
    hook = _found(await _rotate(callback.id, caller, desk), callback.id)
    return CallbackSecret(secret=hook.secrets[0].secret)


async def ping(endpoint_id: str, *, caller: Caller, desk: WebhooksDesk) -> Delivery:
    """Send a test event to an endpoint that is enabled."""
    caller.need(Scope.ADMIN)
    hook, now = await _theirs(endpoint_id, caller, desk), desk.clock.now()
    if hook.state is EndpointState.DISABLED:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The endpoint {endpoint_id} is disabled: set its state to enabled first.",
        )
    event = Event(
        id=ids.new("evt", now),
        type=EventType.PING,
        timestamp=ids.rfc3339(now),
        sequence=0,
        data=EventData(endpoint=shown(hook)),
    )
    return await desk.deliveries.send(hook, Sent(event=event, subject=hook.id), now=now)


async def deliveries(
    endpoint_id: str, *, cursor: str | None, limit: int, caller: Caller, desk: WebhooksDesk
) -> DeliveryList:
    """Return a page of an endpoint's deliveries of the last 30 days, newest first."""
    caller.need(Scope.ADMIN)
    if not 1 <= limit <= PAGE_LIMIT:
        detail = f"limit is {limit}; expected 1 to {PAGE_LIMIT}."
        fault = Fault("/limit", ProblemCode.INVALID_PARAMETER, detail)
        raise Refused(ProblemCode.INVALID_PARAMETER, detail, errors=[fault])
    before = _read_cursor(cursor)
    await _theirs(endpoint_id, caller, desk)
    found = await desk.deliveries.deliveries(
        caller.owner, endpoint_id, before=before, limit=limit + 1
    )
    page, has_more = tuple(found[:limit]), len(found) > limit
    following = _write_cursor(page[-1].id) if has_more else None
    return DeliveryList(data=page, has_more=has_more, next_cursor=following)


async def replay_delivery(
    endpoint_id: str, delivery_id: str, *, caller: Caller, desk: WebhooksDesk
) -> Delivery:
    """Send the event of a delivery again to its endpoint, under a new id."""
    caller.need(Scope.ADMIN)
    hook = await _theirs(endpoint_id, caller, desk)
    delivery = await desk.deliveries.delivery(caller.owner, endpoint_id, delivery_id)
    if delivery is None:
        raise _not_found("delivery", delivery_id)
    return await _replay(hook, delivery.event_id, caller, desk)


async def replay_event(
    endpoint_id: str, event_id: str, *, caller: Caller, desk: WebhooksDesk
) -> Delivery:
    """Send an event to an endpoint under a new id, whether or not it was sent there before."""
    caller.need(Scope.ADMIN)
    return await _replay(await _theirs(endpoint_id, caller, desk), event_id, caller, desk)


def checked_url(url: str, policy: Policy, *, pointer: str) -> str:
    """Return the URL as it is to be kept; raises Refused where nothing may be delivered to it.

    `pointer` says where in the body it stands: this is for `callback_url`s of scans, too.
    """
    try:
        return check_url(url, policy).url
    except UrlRefused as refused:
        code = ProblemCode.WEBHOOK_URL_REJECTED
        fault = Fault(pointer, code, refused.detail)
        raise Refused(code, refused.detail, errors=[fault]) from refused


def new_secret() -> str:
    """Return a new secret: whsec_ and 32 bytes of chance in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def rotated(signings: Sequence[Signing], secret: str, *, now: float) -> tuple[Signing, ...]:
    """Return the secrets with a new one in front: the one before ends in 24 h."""
    until = now + OVERLAP_SECONDS
    older = [
        Signing(signing.secret, until if signing.until is None else signing.until)
        for signing in live(signings, now=now)
    ]
    return (Signing(secret), *older)[:SECRETS_LIMIT]


def live(signings: Sequence[Signing], *, now: float) -> list[Signing]:
    """Return the secrets that sign at this time."""
    return [signing for signing in signings if signing.until is None or signing.until > now]


def shown(hook: Hook, *, secret: str | None = None) -> Endpoint:
    """Return an endpoint as callers see it."""
    return Endpoint(
        id=hook.id,
        url=hook.url,
        events=hook.events,
        description=hook.description,
        state=hook.state,
        disabled_reason=hook.disabled_reason,
        secret=secret,
        created_at=ids.rfc3339(hook.created_at),
    )


async def _made(
    request: EndpointRequest, *, caller: Caller, replay: Replay | None, desk: WebhooksDesk
) -> Hook:
    _check_description(request.description)
    now = desk.clock.now()
    hook = Hook(
        id=ids.new("whk", now),
        owner=caller.owner,
        url=checked_url(request.url, desk.policy, pointer="/url"),
        events=_distinct(request.events),
        description=request.description,
        secrets=(Signing(new_secret()),),
        created_at=now,
    )
    is_kept = await desk.endpoints.add_endpoint(
        hook, limit=ENDPOINTS_LIMIT, actor=caller.name, replay=replay
    )
    if not is_kept:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"There are {ENDPOINTS_LIMIT} endpoints already, the most there may be: delete one, "
            "or change the URL of one.",
        )
    return hook


async def _theirs(endpoint_id: str, caller: Caller, desk: WebhooksDesk) -> Hook:
    if not ids.is_id("whk", endpoint_id):
        raise _not_found("endpoint", endpoint_id)
    return _found(await desk.endpoints.endpoint(caller.owner, endpoint_id), endpoint_id)


async def _callback(caller: Caller, desk: WebhooksDesk) -> Hook:
    return await desk.endpoints.callback(caller.owner, new_secret(), now=desk.clock.now())


async def _rotate(endpoint_id: str, caller: Caller, desk: WebhooksDesk) -> Hook | None:
    return await desk.endpoints.rotate(
        caller.owner, endpoint_id, new_secret(), now=desk.clock.now(), actor=caller.name
    )


async def _replay(hook: Hook, event_id: str, caller: Caller, desk: WebhooksDesk) -> Delivery:
    sent = None
    if ids.is_id("evt", event_id):
        sent = await desk.deliveries.event(caller.owner, event_id)
    if sent is None:
        raise _not_found("event", event_id)
    now, event = desk.clock.now(), sent.event
    again = msgspec.structs.replace(
        event, id=ids.new("evt", now), replay_of=event.replay_of or event.id
    )
    return await desk.deliveries.send(hook, Sent(event=again, subject=sent.subject), now=now)


def _found(hook: Hook | None, endpoint_id: str) -> Hook:
    if hook is None:
        raise _not_found("endpoint", endpoint_id)
    return hook


def _listed(hook: Hook) -> None:
    if hook.is_callback:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The endpoint {hook.id} was made for a callback_url and stays as it is: name another "
            "callback_url, or rotate the callback secret.",
        )


def _not_found(what: str, an_id: str) -> Refused:
    return Refused(ProblemCode.NOT_FOUND, f"There is no {what} {an_id[:64]!r}.")


def _check_description(text: str) -> None:
    if len(text) > DESCRIPTION_LIMIT or "\x00" in text:
        detail = (
            f"The description has {len(text)} characters; at most {DESCRIPTION_LIMIT} are taken."
            if "\x00" not in text
            else "The description has a NUL character."
        )
        fault = Fault("/description", ProblemCode.INVALID_PARAMETER, detail)
        raise Refused(ProblemCode.INVALID_PARAMETER, detail, errors=[fault])


def _distinct(events: Sequence[EventType]) -> tuple[EventType, ...]:
    return tuple(dict.fromkeys(events))


def _write_cursor(delivery_id: str) -> str:
    return base64.urlsafe_b64encode(delivery_id.encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (Base64Error, ValueError):
        text = ""
    if not ids.is_id("dlv", text):
        raise Refused(ProblemCode.CURSOR_INVALID, f"The cursor {cursor[:64]!r} is not one of ours.")
    return text
