"""client.webhooks: where events are delivered. See _flows for how verbs are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from . import _calls as calls
from . import webhooks
from ._calls import Call
from ._flows import Face, Flow, Listing, M, listing, send, verb
from .errors import InputError
from .events import AnyEvent
from .wire import (
    CallbackSecret,
    Delivery,
    DeliveryList,
    Endpoint,
    EndpointList,
    EndpointPatch,
    EndpointRequest,
    EndpointState,
    EventType,
)

T = TypeVar("T")
ROOT = "/v1/webhooks"


class Webhooks(Face[M]):
    """Endpoints of this key's owner, and the deliveries to them."""

    @staticmethod
    def unwrap(
        raw_body: bytes | str,
        headers: Mapping[str, str],
        secret: str,
        *,
        tolerance: float = webhooks.TOLERANCE_SECONDS,
    ) -> AnyEvent:
        """Return the event of a delivery that is to be trusted: see sdk.webhooks.unwrap."""
        return webhooks.unwrap(raw_body, headers, secret, tolerance=tolerance)

    @verb
    def create(
        self,
        url: str,
        *,
        events: Iterable[EventType | str] = (),
        description: str = "",
        idempotency_key: str | None = None,
    ) -> Call[Endpoint]:
        """Have events delivered to this URL: those named, or all. Keep the `secret` it returns.

        The secret is shown this once. Raises InputError, UnprocessableEntityError, APIError.

        Examples:
            >>> endpoint = client.webhooks.create("https://example.org/hook")
            >>> endpoint.secret.startswith("whsec_")
            True
        """
        request = EndpointRequest(url=url, events=_types(events), description=description)
        return calls.post(ROOT, Endpoint, request, idempotency_key=idempotency_key)

    @verb
    def get(self, endpoint_id: str) -> Call[Endpoint]:
        """Return an endpoint, without its secret. Raises InputError or APIError.

        Examples:
            >>> client.webhooks.get(endpoint.id).state
            <EndpointState.ENABLED: 'enabled'>
        """
        return calls.get(_path(endpoint_id), Endpoint)

    @verb
    def list(self) -> Flow[tuple[Endpoint, ...]]:
        """Return all endpoints, newest first. Raises APIError.

        Examples:
            >>> [endpoint.url for endpoint in client.webhooks.list()]
            ['https://example.org/hook']
        """
        return (yield from send(calls.get(ROOT, EndpointList))).data

    @verb
    def update(
        self,
        endpoint: Endpoint | str,
        *,
        url: str | None = None,
        events: Iterable[EventType | str] | None = None,
        description: str | None = None,
        state: EndpointState | str | None = None,
    ) -> Call[Endpoint]:
        """Change what is given; `state="enabled"` sends what waited. Raises InputError, APIError.

        Examples:
            >>> client.webhooks.update(endpoint, description="of the forum").description
            'of the forum'
        """
        patch = EndpointPatch(
            url=msgspec.UNSET if url is None else url,
            events=msgspec.UNSET if events is None else _types(events),
            description=msgspec.UNSET if description is None else description,
            state=msgspec.UNSET if state is None else _state(state),
        )
        return calls.post(_path(endpoint), Endpoint, patch)._replace(method="PATCH")

    @verb
    def delete(self, endpoint: Endpoint | str) -> Call[None]:
        """Forget an endpoint and its deliveries. Raises APIError.

        Examples:
            >>> client.webhooks.delete(endpoint)
        """
        return Call("DELETE", _path(endpoint), calls.NOTHING)

    @verb
    def rotate(self, endpoint: Endpoint | str) -> Call[Endpoint]:
        """Make a new secret and return it, this once; the old one signs for 24 h more.

        Is not tried again if no answer comes: each try would make another. Raises APIError.

        Examples:
            >>> client.webhooks.rotate(endpoint).secret != endpoint.secret
            True
        """
        return _once(calls.post(f"{_path(endpoint)}/rotate", Endpoint))

    @verb
    def test(self, endpoint: Endpoint | str) -> Call[Delivery]:
        """Send a `ping` event; its delivery says later whether it arrived. Raises APIError.

        Examples:
            >>> client.webhooks.test(endpoint).event_type
            <EventType.PING: 'ping'>
        """
        return _once(calls.post(f"{_path(endpoint)}/test", Delivery))

    @listing
    def deliveries(self, endpoint: Endpoint | str, *, page_size: int = 100) -> Listing[Delivery]:
        """Iterate over an endpoint's deliveries of the last 30 days, newest first.

        Raises InputError or APIError.

        Examples:
            >>> [one.event_type for one in client.webhooks.deliveries(endpoint)]
            [<EventType.PING: 'ping'>]
        """
        path = f"{_path(endpoint)}/deliveries"
        return lambda cursor: calls.get(path, DeliveryList, cursor=cursor, limit=page_size)

    @verb
    def replay(
        self,
        endpoint: Endpoint | str,
        *,
        delivery: Delivery | str | None = None,
        event_id: str | None = None,
    ) -> Call[Delivery]:
        """Send a delivery again, or any event of the last 30 days: give one of the two.

        It comes under a new id, with `replay_of`. Raises InputError or APIError.

        Examples:
            >>> sent = client.webhooks.test(endpoint)
            >>> client.webhooks.replay(endpoint, delivery=sent).event_type
            <EventType.PING: 'ping'>
        """
        if (delivery is None) == (event_id is None):
            raise InputError("replay sends one thing.", hint="Pass delivery= or event_id=.")
        if event_id is not None:
            kind, name = "events", calls.segment(event_id, "event")
        else:
            named = delivery.id if isinstance(delivery, Delivery) else delivery
            kind, name = "deliveries", calls.segment(named, "delivery")
        return _once(calls.post(f"{_path(endpoint)}/{kind}/{name}/replay", Delivery))

    @verb
    def callback_secret(self) -> Call[CallbackSecret]:
        """Return what deliveries to a `callback_url` are signed with. Raises APIError.

        Examples:
            >>> client.webhooks.callback_secret().secret.startswith("whsec_")
            True
        """
        return calls.get(f"{ROOT}/callback-secret", CallbackSecret)

    @verb
    def rotate_callback_secret(self) -> Call[CallbackSecret]:
        """Make a new callback secret; the old one signs for 24 h more. Raises APIError.

        Examples:
            >>> client.webhooks.rotate_callback_secret().secret.startswith("whsec_")
            True
        """
        return _once(calls.post(f"{ROOT}/callback-secret/rotate", CallbackSecret))


def _once(call: Call[T]) -> Call[T]:
    return call._replace(is_repeatable=False)


def _path(endpoint: Endpoint | str) -> str:
    name = endpoint.id if isinstance(endpoint, Endpoint) else endpoint
    return f"{ROOT}/{calls.segment(name, 'endpoint')}"


def _types(events: Iterable[EventType | str]) -> tuple[EventType, ...]:
    if isinstance(events, str):
        raise InputError("events is one text.", hint=f"Pass a list: [{events!r}].")
    found = tuple(events)
    wrong = [event for event in found if event not in tuple(EventType)]
    if wrong:
        raise InputError(
            f"There is no event {wrong[0]!r}.", hint=f"Use some of {', '.join(EventType)}."
        )
    return tuple(EventType(event) for event in found)


def _state(state: EndpointState | str) -> EndpointState:
    if state not in tuple(EndpointState):
        raise InputError(f"state is {state!r}.", hint=f"Use {' or '.join(EndpointState)}.")
    return EndpointState(state)
