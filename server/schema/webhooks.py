"""What the document says of webhooks: the operations, and what is delivered. Data alone."""

from __future__ import annotations

from typing import Any

from sdk.codes import ProblemCode
from sdk.wire import (
    CallbackSecret,
    Delivery,
    DeliveryList,
    Endpoint,
    EndpointList,
    Scope,
)

from .parts import JSON
from .shape import Answer, Operation

_ADMIN = (Scope.ADMIN,)
_CONFLICTS = (ProblemCode.NOT_FOUND, ProblemCode.STATE_CONFLICT)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/webhooks",
        id="createWebhook",
        tag="webhooks",
        summary="Register an endpoint",
        description="Events are delivered to it from now on. The answer alone shows its secret, "
        "and so does that to the same request with the same Idempotency-Key.",
        scopes=_ADMIN,
        is_idempotent=True,
        body="EndpointRequest",
        answers={201: Answer("Registered.", Endpoint, ("Location",), link="endpoint")},
        problems=(ProblemCode.STATE_CONFLICT, ProblemCode.WEBHOOK_URL_REJECTED),
    ),
    Operation(
        method="get",
        path="/v1/webhooks",
        id="listWebhooks",
        tag="webhooks",
        summary="List endpoints",
        description="All of the key's owner, newest first, without their secrets.",
        scopes=_ADMIN,
        answers={200: Answer("All endpoints.", EndpointList)},
    ),
    Operation(
        method="get",
        path="/v1/webhooks/callback-secret",
        id="getCallbackSecret",
        tag="webhooks",
        summary="Read the callback secret",
        description="What deliveries to a `callback_url` are signed with.",
        scopes=_ADMIN,
        answers={200: Answer("The secret.", CallbackSecret)},
    ),
    Operation(
        method="post",
        path="/v1/webhooks/callback-secret/rotate",
        id="rotateCallbackSecret",
        tag="webhooks",
        summary="Replace the callback secret",
        description="The old one signs, beside the new one, for 24 h more.",
        scopes=_ADMIN,
        answers={200: Answer("The new secret.", CallbackSecret)},
    ),
    Operation(
        method="get",
        path="/v1/webhooks/{endpoint_id}",
        id="getWebhook",
        tag="webhooks",
        summary="Read an endpoint",
        description="Without its secret.",
        scopes=_ADMIN,
        parameters=("endpoint_id",),
        answers={200: Answer("The endpoint.", Endpoint, link="endpoint")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="patch",
        path="/v1/webhooks/{endpoint_id}",
        id="changeWebhook",
        tag="webhooks",
        summary="Change an endpoint",
        description='What is not named stays. `"state": "enabled"` sends what waited.',
        scopes=_ADMIN,
        parameters=("endpoint_id",),
        body="EndpointPatch",
        answers={200: Answer("Changed.", Endpoint, link="endpoint")},
        problems=(*_CONFLICTS, ProblemCode.WEBHOOK_URL_REJECTED),
    ),
    Operation(
        method="delete",
        path="/v1/webhooks/{endpoint_id}",
        id="deleteWebhook",
        tag="webhooks",
        summary="Forget an endpoint",
        description="And its deliveries. The events stay, for other endpoints.",
        scopes=_ADMIN,
        parameters=("endpoint_id",),
        answers={204: Answer("Forgotten.", media_type=None)},
        problems=_CONFLICTS,
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{endpoint_id}/rotate",
        id="rotateWebhookSecret",
        tag="webhooks",
        summary="Replace an endpoint's secret",
        description="The old one signs, beside the new one, for 24 h more.",
        scopes=_ADMIN,
        parameters=("endpoint_id",),
        answers={200: Answer("The endpoint with its new secret.", Endpoint, link="endpoint")},
        problems=_CONFLICTS,
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{endpoint_id}/test",
        id="testWebhook",
        tag="webhooks",
        summary="Send a test event",
        description="Read the delivery to see whether it arrived.",
        scopes=_ADMIN,
        parameters=("endpoint_id",),
        answers={202: Answer("Will be sent.", Delivery, link="delivery")},
        problems=_CONFLICTS,
    ),
    Operation(
        method="get",
        path="/v1/webhooks/{endpoint_id}/deliveries",
        id="listDeliveries",
        tag="webhooks",
        summary="List an endpoint's deliveries",
        description="Those of the last 30 days, newest first, a page at a time.",
        scopes=_ADMIN,
        parameters=("endpoint_id", "limit", "cursor"),
        answers={200: Answer("A page.", DeliveryList)},
        problems=(
            ProblemCode.INVALID_PARAMETER,
            ProblemCode.CURSOR_INVALID,
            ProblemCode.NOT_FOUND,
        ),
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{endpoint_id}/deliveries/{delivery_id}/replay",
        id="replayDelivery",
        tag="webhooks",
        summary="Send a delivery's event again",
        description="Under a new id, with `replay_of`.",
        scopes=_ADMIN,
        parameters=("endpoint_id", "delivery_id"),
        answers={202: Answer("Will be sent.", Delivery, link="delivery")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="post",
        path="/v1/webhooks/{endpoint_id}/events/{event_id}/replay",
        id="replayEvent",
        tag="webhooks",
        summary="Send an event to an endpoint",
        description="An event of the last 30 days, whether or not it was sent there before.",
        scopes=_ADMIN,
        parameters=("endpoint_id", "event_id"),
        answers={202: Answer("Will be sent.", Delivery, link="delivery")},
        problems=(ProblemCode.NOT_FOUND,),
    ),
)


def _signed(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string"}
    told = {"in": "header", "name": name, "required": True}
    return {**told, "description": description, "schema": schema}


EVENT: dict[str, Any] = {
    "post": {
        "operationId": "receiveEvent",
        "summary": "What an endpoint or a callback_url is sent",
        "description": "Signed as Standard Webhooks 1.0.0 has it; sdk.webhooks.unwrap verifies it. "
        "The same event may come again, under the same id.",
        "parameters": [
            _signed("webhook-id", "Id of the event."),
            _signed("webhook-timestamp", "When this attempt was signed, in Unix seconds."),
            _signed("webhook-signature", "`v1,` and base64, for each secret that signs now."),
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Event"}}},
        },
        "responses": {
            "2XX": {"description": "Taken; answer within 15 s."},
            "410": {"description": "Do not send any more: the endpoint is disabled."},
        },
    }
}
