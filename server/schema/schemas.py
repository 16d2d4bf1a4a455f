"""The schemas of the document: the wire structs by msgspec, and what a struct cannot say.

struct -> msgspec -> answers: all fields are always there
                  -> requests: RULES, what the rules refuse besides wrong types
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from server.rules import appeals, compat, feedback, webhooks
from worker.guard import URL_LIMIT

from .parts import HTTP_URL, SHA256, TEXTUAL, id_pattern

Json = dict[str, Any]

_TEXT: Json = {"pattern": TEXTUAL}
_URL: Json = {"format": "uri", "pattern": HTTP_URL, "maxLength": URL_LIMIT}
_WORDS: Json = {
    "additionalProperties": {"type": "string", **_TEXT},
    "propertyNames": _TEXT,
}
_LONG: Json = {"maxLength": appeals.TEXT_LIMIT, **_TEXT}
RULES: dict[str, dict[str, Json]] = {
    "ScanRequest": {
        "url": _URL,
        "upload_id": {"pattern": id_pattern("upl")},
        "sha256": {"pattern": SHA256},
        "callback_url": _URL,
        "context": _WORDS,
        "metadata": _WORDS,
    },
    "BatchRequest": {
        "scans": {"minItems": 1, "maxItems": 1000},
        "callback_url": _URL,
        "metadata": _WORDS,
    },
    "LookupRequest": {
        "sha256": {
            "minItems": 1,
            "maxItems": 100,
            "items": {"type": "string", "pattern": SHA256},
        }
    },
    "AppealRequest": {
        "reason": {**_LONG, "minLength": 1, "pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"},
        "evidence_url": {**_LONG, "format": "uri", "pattern": HTTP_URL},
    },
    "AppealDecisionRequest": {"note": _LONG},
    "FeedbackRequest": {"comment": {"maxLength": feedback.COMMENT_LIMIT, **_TEXT}},
    "EndpointRequest": {
        "url": _URL,
        "description": {"maxLength": webhooks.DESCRIPTION_LIMIT, **_TEXT},
    },
    "EndpointPatch": {
        "url": _URL,
        "description": {"maxLength": webhooks.DESCRIPTION_LIMIT, **_TEXT},
    },
    "ModerationRequest": {
        "input": {"minItems": 1, "maxItems": compat.IMAGES_LIMIT},
        "model": _TEXT,
    },
    "ImagePart": {},
    "ImageUrl": {"url": {"pattern": f"{HTTP_URL}|^[dD][aA][tT][aA]:[^\\u0000]+$"}},
}
"""Of each struct that is sent to us, what its fields must be besides their types."""
ONE_IMAGE: Json = {"oneOf": [{"required": [name]} for name in ("url", "upload_id", "sha256")]}
_PARTIAL = frozenset({"EventData"})
"""Answers that leave out what does not apply."""


def schemas(structs: Iterable[type[Struct]]) -> Json:
    """Return the schemas of these structs, and of what they are made of, by name."""
    _, found = msgspec.json.schema_components(
        tuple(structs), ref_template="#/components/schemas/{name}"
    )
    for name, schema in found.items():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        if name in RULES:
            _narrow(schema, RULES[name])
        elif name not in _PARTIAL:
            _say_always_there(schema)
    found["ScanRequest"].update(ONE_IMAGE)
    return found


def _narrow(schema: Json, rules: dict[str, Json]) -> None:
    """Say of a request what its rules refuse; no field besides those of the struct is taken."""
    schema["additionalProperties"] = False
    for name, rule in rules.items():
        schema["properties"][name].update(rule)


def _say_always_there(schema: Json) -> None:
    """Mark all fields of an answer as required: it is sent whole, defaults and nulls included."""
    properties = schema.get("properties")
    if properties is not None:
        schema["required"] = list(properties)
        for described in properties.values():
            described.pop("default", None)
