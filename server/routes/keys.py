"""GET /v1/key over HTTP: what the key that asks may do."""

from __future__ import annotations

from litestar import Router, get

from sdk.wire import KeyFacts
from server.rules import keys as rules

from .given import GivenCaller


@get("/", operation_id="getKey")
async def get_key(caller: GivenCaller) -> KeyFacts:
    """Return the owner, the scopes and the limits of the key that asks."""
    return rules.facts(caller=caller)


router = Router("/v1/key", route_handlers=[get_key], tags=["keys"])
