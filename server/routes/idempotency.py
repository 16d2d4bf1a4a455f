"""Reads Idempotency-Key of a request, and tells of a replay. What it means: rules/idempotency.py.

body = await read_json(request)
replay = replay_of_request(request, body)      -> to the rule
Response(..., headers=replay_headers(is_replayed))
"""

from __future__ import annotations

from server.ports import Replay
from server.rules.idempotency import replay_of

from .given import AnyRequest

KEY = "idempotency-key"


def replay_of_request(request: AnyRequest, body: bytes) -> Replay | None:
    """Return the request's key and what it is for; None: it has none. Raises Refused."""
    return replay_of(
        request.headers.getall(KEY, []),
        method=request.method,
        path=request.scope["path"],
        body=body,
    )


def replay_headers(is_replayed: bool) -> dict[str, str]:
    """Return what says that an earlier request made what is answered with."""
    return {"idempotent-replayed": "true"} if is_replayed else {}
