"""The OpenAPI 3.1 document of the API, built from the wire types and tables of operations.

    python -m server.schema > docs/openapi.json

    scans.py, batches.py, webhooks.py, platform.py     the operations, a table each
    parts.py      what they share: parameters, headers, bodies, links
    shape.py      an operation and what follows from it: problems, security, answers
    schemas.py    the structs of sdk/wire.py, and what the rules refuse besides

Errors and their hints come from sdk/codes.py. tests/server/test_schema.py compares the operations
with the routes and fails when docs/openapi.json is stale; test_schemathesis.py holds a running
server to what is said here, and test_isolation.py asks as another owner.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from sdk.wire import (
    AppealDecisionRequest,
    AppealRequest,
    BatchRequest,
    EndpointPatch,
    EndpointRequest,
    Event,
    FeedbackRequest,
    LookupRequest,
    Problem,
    ScanRequest,
)
from server.rules.compat import ModerationRequest

from . import batches, platform, scans, webhooks
from .parts import HEADERS
from .schemas import schemas
from .shape import BEARER, Operation, described, examples, refusals, used_parameters

API_VERSION = "1"
Json = dict[str, Any]

OPERATIONS: tuple[Operation, ...] = (
    *scans.OPERATIONS,
    *batches.OPERATIONS,
    *webhooks.OPERATIONS,
    *platform.OPERATIONS,
)
SENT = (
    AppealDecisionRequest,
    AppealRequest,
    BatchRequest,
    EndpointPatch,
    EndpointRequest,
    FeedbackRequest,
    LookupRequest,
    ModerationRequest,
    ScanRequest,
)
"""The structs of bodies; those of answers stand with the operations."""


def document() -> Json:
    """Return the whole document as plain data."""
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pinclip",
            "version": API_VERSION,
            "summary": "Says when an image is likely made by AI, and how often it is wrong.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "webhooks": {"event": webhooks.EVENT},
        "components": {
            "schemas": schemas(_structs()),
            "parameters": used_parameters(OPERATIONS),
            "headers": HEADERS,
            "responses": refusals(OPERATIONS),
            "examples": examples(OPERATIONS),
            "securitySchemes": {BEARER: _bearer()},
        },
    }


def encoded() -> bytes:
    """Return the document as it is committed and served."""
    return msgspec.json.format(msgspec.json.encode(document(), order="sorted"), indent=2) + b"\n"


def _structs() -> list[type[Struct]]:
    answered = (answer.struct for one in OPERATIONS for answer in one.answers.values())
    named = {struct.__name__: struct for struct in (*SENT, Event, Problem, *answered) if struct}
    return [named[name] for name in sorted(named)]


def _bearer() -> Json:
    return {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `pinclip keys create`. An operation lists the scopes of which the "
        "key needs one; `admin` stands for all of them. Without a key one may ask only from the "
        "server's own machine, and only until the first key was made.",
    }
