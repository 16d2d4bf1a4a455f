"""/v1/webhooks over HTTP: decode, call rules/webhooks.py, encode. Decides nothing of its own."""

from __future__ import annotations

from litestar import Response, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation

from sdk.wire import (
    CallbackSecret,
    Delivery,
    DeliveryList,
    Endpoint,
    EndpointList,
    EndpointPatch,
    EndpointRequest,
)
from server.rules import webhooks as rules
from server.rules.requests import read
from server.rules.webhooks import WebhooksDesk

from .bodies import read_json
from .given import AnyRequest, GivenCaller
from .idempotency import replay_headers, replay_of_request

# Not validated: litestar would look into it field by field, at each request.
GivenWebhooksDesk = NamedDependency[SkipValidation[WebhooksDesk]]
EndpointId = FromPath[str]
Cursor = FromQuery[str | None]
Limit = FromQuery[int]


@post("/", status_code=201, operation_id="createWebhook")
async def create(
    request: AnyRequest, caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> Response[Endpoint]:
    """Register an endpoint; the answer alone shows its secret."""
    body = await read_json(request)
    made, is_replayed = await rules.create(
        read(body, EndpointRequest),
        caller=caller,
        replay=replay_of_request(request, body),
        desk=webhooks_desk,
    )
    headers = {"location": f"/v1/webhooks/{made.id}", **replay_headers(is_replayed)}
    return Response(made, status_code=201, headers=headers)


@get("/", operation_id="listWebhooks")
async def list_all(caller: GivenCaller, webhooks_desk: GivenWebhooksDesk) -> EndpointList:
    """Return the caller's endpoints, newest first."""
    return await rules.all_of(caller=caller, desk=webhooks_desk)


@get("/callback-secret", operation_id="getCallbackSecret")
async def get_callback_secret(
    caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> CallbackSecret:
    """Return what deliveries to a `callback_url` are signed with."""
    return await rules.callback_secret(caller=caller, desk=webhooks_desk)


@post("/callback-secret/rotate", status_code=200, operation_id="rotateCallbackSecret")
async def rotate_callback_secret(
    caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> CallbackSecret:
    """Make a new callback secret; the old one signs for 24 h more."""
    return await rules.rotate_callback_secret(caller=caller, desk=webhooks_desk)


@get("/{endpoint_id:str}", operation_id="getWebhook")
async def get_one(
    endpoint_id: EndpointId, caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> Endpoint:
    """Return one endpoint, without its secret."""
    return await rules.get(endpoint_id, caller=caller, desk=webhooks_desk)


@patch("/{endpoint_id:str}", operation_id="changeWebhook")
async def change(
    request: AnyRequest,
    endpoint_id: EndpointId,
    caller: GivenCaller,
    webhooks_desk: GivenWebhooksDesk,
) -> Endpoint:
    """Change what the body names; `"state": "enabled"` sends what waited."""
    asked = read(await read_json(request), EndpointPatch)
    return await rules.change(endpoint_id, asked, caller=caller, desk=webhooks_desk)


@delete("/{endpoint_id:str}", status_code=204, operation_id="deleteWebhook")
async def remove(
    endpoint_id: EndpointId, caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> None:
    """Forget an endpoint and its deliveries."""
    await rules.remove(endpoint_id, caller=caller, desk=webhooks_desk)


@post("/{endpoint_id:str}/rotate", status_code=200, operation_id="rotateWebhookSecret")
async def rotate(
    endpoint_id: EndpointId, caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> Endpoint:
    """Make a new secret and show it; the old one signs for 24 h more."""
    return await rules.rotate(endpoint_id, caller=caller, desk=webhooks_desk)


@post("/{endpoint_id:str}/test", status_code=202, operation_id="testWebhook")
async def ping(
    endpoint_id: EndpointId, caller: GivenCaller, webhooks_desk: GivenWebhooksDesk
) -> Delivery:
    """Send a `ping` event; read its delivery to see whether it arrived."""
    return await rules.ping(endpoint_id, caller=caller, desk=webhooks_desk)


@get("/{endpoint_id:str}/deliveries", operation_id="listDeliveries")
async def list_deliveries(
    endpoint_id: EndpointId,
    caller: GivenCaller,
    webhooks_desk: GivenWebhooksDesk,
    cursor: Cursor = None,
    limit: Limit = rules.PAGE,
) -> DeliveryList:
    """Return a page of an endpoint's deliveries of the last 30 days, newest first."""
    return await rules.deliveries(
        endpoint_id, cursor=cursor, limit=limit, caller=caller, desk=webhooks_desk
    )


@post(
    "/{endpoint_id:str}/deliveries/{delivery_id:str}/replay",
    status_code=202,
    operation_id="replayDelivery",
)
async def replay_delivery(
    endpoint_id: EndpointId,
    delivery_id: FromPath[str],
    caller: GivenCaller,
    webhooks_desk: GivenWebhooksDesk,
) -> Delivery:
    """Send the event of a delivery again, under a new id, with `replay_of`."""
    return await rules.replay_delivery(endpoint_id, delivery_id, caller=caller, desk=webhooks_desk)


@post(
    "/{endpoint_id:str}/events/{event_id:str}/replay",
    status_code=202,
    operation_id="replayEvent",
)
async def replay_event(
    endpoint_id: EndpointId,
    event_id: FromPath[str],
    caller: GivenCaller,
    webhooks_desk: GivenWebhooksDesk,
) -> Delivery:
    """Send an event of the last 30 days to an endpoint, whether or not it was sent there before."""
    return await rules.replay_event(endpoint_id, event_id, caller=caller, desk=webhooks_desk)


router = Router(
    "/v1/webhooks",
    route_handlers=[
        create,
        list_all,
        get_callback_secret,
        rotate_callback_secret,
        get_one,
        change,
        remove,
        rotate,
        ping,
        list_deliveries,
        replay_delivery,
        replay_event,
    ],
    tags=["webhooks"],
)
