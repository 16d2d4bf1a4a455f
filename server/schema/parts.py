"""What the operations of the document share: parameters, headers, bodies, links. Data alone."""

from __future__ import annotations

from typing import Any

from sdk.wire import PointName, Status, Verdict

Json = dict[str, Any]

JSON = "application/json"
TEXT = "text/plain"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
BYTES = "application/octet-stream"

SHA256 = "^[0-9a-fA-F]{64}$"
TEXTUAL = "^[^\\u0000]*$"
"""Any text but with U+0000, which is kept nowhere."""
HTTP_URL = "^[hH][tT][tT][pP][sS]?://[^\\u0000]+$"


def id_pattern(prefix: str) -> str:
    """Return the pattern of our ids with this prefix."""
    return f"^{prefix}_[0-7][0-9A-HJKMNP-TV-Z]{{25}}$"


def _path(name: str, prefix: str, description: str) -> Json:
    schema = {"type": "string", "pattern": id_pattern(prefix)}
    return {
        "in": "path",
        "name": name,
        "required": True,
        "description": description,
        "schema": schema,
    }


def _query(name: str, description: str, **schema: Any) -> Json:
    return {
        "in": "query",
        "name": name,
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _header(name: str, description: str, example: str, **schema: Any) -> Json:
    return {
        "in": "header",
        "name": name,
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
        "example": example,
    }


PARAMETERS: dict[str, Json] = {
    "scan_id": _path("scan_id", "scan", "Id of the scan, from its Location."),
    "batch_id": _path("batch_id", "batch", "Id of the batch, from its Location."),
    "appeal_id": _path("appeal_id", "apl", "Id of the appeal, from its Location."),
    "endpoint_id": _path("endpoint_id", "whk", "Id of the endpoint, from its Location."),
    "delivery_id": _path("delivery_id", "dlv", "Id of a delivery to this endpoint."),
    "event_id": _path("event_id", "evt", "Id of an event: the `webhook-id` of its delivery."),
    "model_id": {
        "in": "path",
        "name": "model_id",
        "required": True,
        "description": "Id of a model, as `model.id` of a scan has it.",
        "schema": {"type": "string"},
    },
    "prefix": {
        "in": "path",
        "name": "prefix",
        "required": True,
        "description": "The first five hex digits of a sha256.",
        "schema": {"type": "string", "pattern": "^[0-9a-fA-F]{5}$"},
        "example": "0a1b2",
    },
    "code": {
        "in": "path",
        "name": "code",
        "required": True,
        "description": "The `code` of a problem or of a scan's error.",
        "schema": {"type": "string"},
    },
    "secret": {
        "in": "path",
        "name": "secret",
        "required": True,
        "description": "An API key: the program that asks cannot send a header.",
        "schema": {"type": "string"},
    },
    "limit": _query(
        "limit", "Most entries on the page.", type="integer", minimum=1, maximum=100, default=20
    ),
    "cursor": _query("cursor", "`next_cursor` of the page before, with the same filters."),
    "status": _query(
        "status",
        "Only scans that are here; `queued` finds all that are not final.",
        enum=[Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELED],
    ),
    "verdict": _query(
        "verdict", "Only scans with this verdict.", enum=[verdict.value for verdict in Verdict]
    ),
    "sha256": _query("sha256", "Only scans of these bytes.", pattern=SHA256),
    "of_batch": _query("batch_id", "Only scans of this batch.", pattern=id_pattern("batch")),
    "created_after": _query(
        "created_after",
        "Only scans that were made at or after this time, from 1970 on.",
        format="date-time",
    ),
    "created_before": _query(
        "created_before",
        "Only scans that were made before this time, from 1970 on.",
        format="date-time",
    ),
    "operating_point": _query(
        "operating_point",
        "Where verdicts are read.",
        enum=[point.value for point in PointName],
        default=PointName.BALANCED.value,
    ),
    "Prefer": _header(
        "Prefer",
        "`wait=N` (RFC 7240): answer once the scan is final, or after N seconds, at most 30.",
        "wait=20",
    ),
    "Cache-Control": _header(
        "Cache-Control",
        "`no-cache`, `no-store` or `max-age=0` (RFC 9111): have the image looked at anew, "
        "whatever is on record. Other directives change nothing.",
        "no-cache",
    ),
    "If-None-Match": _header(
        "If-None-Match",
        "ETag of what you have: answered with 304 if it is still so.",
        '"0a1b2c3d4e5f"',
    ),
    "Last-Event-ID": _header(
        "Last-Event-ID",
        "Id of the last event that you have: what came after it is sent.",
        "1",
        pattern="^[0-9]{0,9}$",
    ),
    "Idempotency-Key": _header(
        "Idempotency-Key",
        "Up to 255 printable ASCII characters of your choice, quoted or not. The same request "
        "with the same key within 24 h is done once, and answered with what it made.",
        '"7b5f2f0e-3f1d-4a57-9a53-0b4d6f0f6c11"',
        pattern="^[!-~]([ -~]{0,253}[!-~])?$",
    ),
}


def _told(description: str, kind: str = "string") -> Json:
    return {"description": description, "required": True, "schema": {"type": kind}}


HEADERS: dict[str, Json] = {
    "X-Request-Id": _told("Names the request in the log; the one you sent, if you sent one."),
    "Retry-After": _told("Seconds after which asking again makes sense.", "integer"),
    "Location": _told("Where what was made is."),
    "Preference-Applied": _told("`wait=N` if the scan became final within it."),
    "ETag": _told("Names this state of what was read; see If-None-Match."),
    "Cache-Control": _told("How long the answer may be kept, and by whom."),
    "WWW-Authenticate": _told("`Bearer`."),
    "Idempotent-Replayed": _told("`true` if an earlier request with this key made it."),
    "RateLimit-Policy": _told(
        "The limits of the key, where it has any (draft-ietf-httpapi-ratelimit-headers-11)."
    ),
    "RateLimit": _told(
        "What is left of each limit (`r`), and in how many seconds there is more (`t`)."
    ),
}

SCAN_EVENT: Json = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "`sequence` of the scan."},
        "event": {"const": "scan"},
        "retry": {"type": "integer", "description": "Milliseconds until one should come back."},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"$ref": "#/components/schemas/Scan"},
        },
    },
    "required": ["id", "event", "retry", "data"],
}
_BINARY: Json = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_FORM: Json = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    }
}
_IMAGE: Json = {
    "image/*": _BINARY,
    "application/octet-stream": _BINARY,
    "multipart/form-data": _FORM,
}


def _body(struct: str, **example: Any) -> Json:
    schema = {"$ref": f"#/components/schemas/{struct}"}
    return {JSON: {"schema": schema, "example": example}}


BODIES: dict[str, Json] = {
    "ScanRequest": _body(
        "ScanRequest",
        url="https://example.com/cat.jpg",
        operating_point="balanced",
        context={"platform": "forum", "item_id": "post-1"},
    ),
    "BatchRequest": _body(
        "BatchRequest",
        scans=[{"url": "https://example.com/cat.jpg"}, {"url": "https://example.com/dog.jpg"}],
        metadata={"run": "nightly"},
    ),
    "LookupRequest": _body("LookupRequest", sha256=["ab" * 32]),
    "AppealRequest": _body(
        "AppealRequest",
        reason="I painted this in 2014; the link shows it in progress.",
        evidence_url="https://example.com/in-progress.jpg",
    ),
    "AppealDecisionRequest": _body(
        "AppealDecisionRequest", decision="overturn", note="The layers were shown to us."
    ),
    "FeedbackRequest": _body(
        "FeedbackRequest", label="not_ai", comment="A photo of mine, from before 2020."
    ),
    "EndpointRequest": _body(
        "EndpointRequest",
        url="https://example.com/hooks/pinclip",
        events=["scan.completed", "scan.failed"],
    ),
    "EndpointPatch": _body("EndpointPatch", state="enabled"),
    "ModerationRequest": _body(
        "ModerationRequest",
        input=[{"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg"}}],
        model="omni-moderation-latest",
    ),
    "image": _IMAGE,
}


def _links(parameter: str, source: str, *operation_ids: str) -> Json:
    return {
        operation_id: {"operationId": operation_id, "parameters": {parameter: source}}
        for operation_id in operation_ids
    }


_ID = "$response.body#/id"
LINKS: dict[str, Json] = {
    "scan": {
        **_links(
            "scan_id",
            _ID,
            "getScan",
            "followScan",
            "cancelScan",
            "rescoreScan",
            "eraseScan",
            "createAppeal",
            "createFeedback",
            "listScanFeedback",
            "getReceipt",
        ),
        "lookUp": {
            "operationId": "lookUp",
            "requestBody": {"sha256": ["$response.body#/input/sha256"]},
        },
    },
    "upload": {
        "submitScan": {
            "operationId": "submitScan",
            "requestBody": {"upload_id": "$response.body#/id"},
        }
    },
    "batch": _links("batch_id", _ID, "getBatch", "getBatchResults", "cancelBatch"),
    "appeal": {
        **_links("appeal_id", _ID, "getAppeal", "decideAppeal"),
        **_links("scan_id", "$response.body#/scan_id", "getScan"),
    },
    "feedback": _links("scan_id", "$response.body#/scan_id", "getScan", "listScanFeedback"),
    "endpoint": _links(
        "endpoint_id",
        _ID,
        "getWebhook",
        "changeWebhook",
        "deleteWebhook",
        "rotateWebhookSecret",
        "testWebhook",
        "listDeliveries",
    ),
    "delivery": {
        "replayDelivery": {
            "operationId": "replayDelivery",
            "parameters": {
                "endpoint_id": "$response.body#/endpoint_id",
                "delivery_id": "$response.body#/id",
            },
        },
        "replayEvent": {
            "operationId": "replayEvent",
            "parameters": {
                "endpoint_id": "$response.body#/endpoint_id",
                "event_id": "$response.body#/event_id",
            },
        },
    },
    "models": _links(
        "model_id", "$response.body#/data/0/id", "getModel", "getGateReport", "getModelFile"
    ),
}
