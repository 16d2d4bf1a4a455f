"""The OpenAPI 3.1 document of the API, built from the wire types and the table of operations below.

    python -m server.schema > docs/openapi.json

The structs come from sdk/wire.py through msgspec, the errors and their hints from sdk/codes.py.
tests/server/test_schema.py compares the operations with the routes and the answers with the
document, and fails when docs/openapi.json is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import ErrorFacts, Health, Problem, Scan, ScanRequest, Upload

from .problems import MEDIA_TYPE, problem

API_VERSION = "1"
JSON = "application/json"
Json = dict[str, Any]

_REQUEST_ID = "req_01KX3Q8RZ07M2V9C4H8T1B6N5D"
_EVERYWHERE = (
    ProblemCode.ORIGIN_NOT_ALLOWED,
    ProblemCode.NOT_ACCEPTABLE,
    ProblemCode.INTERNAL,
    ProblemCode.SHUTTING_DOWN,
)


class Answer(Struct, frozen=True):
    """One successful answer: what it means, its struct, and the headers it may carry."""

    description: str
    struct: type[Struct] | None = None
    headers: tuple[str, ...] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """One verb on one path; `problems` are the codes that only some operations know."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str
    answers: dict[int, Answer]
    parameters: tuple[str, ...] = ()
    body: str | None = None
    problems: tuple[ProblemCode, ...] = ()


OPERATIONS = (
    Operation(
        method="post",
        path="/v1/scans",
        id="submitScan",
        tag="scans",
        summary="Have an image judged",
        description="Takes exactly one of `url` and `upload_id`. Poll the Location until `status` "
        "is completed, failed or canceled, or ask with `Prefer: wait=N` to be answered then. Send "
        "`priority: bulk` with what nobody waits for: the scans of people then go first. What was "
        "judged at this operating point within a day, as far as one can know the same bytes by "
        "the same model, is completed at once: an upload of these bytes, or a URL whose host "
        "vouches for its answer until later (RFC 9111).",
        parameters=("Prefer", "Cache-Control"),
        body="ScanRequest",
        answers={
            202: Answer("Accepted; not final yet.", Scan, ("Location", "Retry-After")),
            200: Answer(
                "Known already, or final within the wait.",
                Scan,
                ("Location", "Preference-Applied"),
            ),
        },
        problems=(
            ProblemCode.MALFORMED_JSON,
            ProblemCode.INVALID_PARAMETER,
            ProblemCode.UNKNOWN_FIELD,
            ProblemCode.URL_INVALID,
            ProblemCode.URL_SCHEME_NOT_ALLOWED,
            ProblemCode.NOT_FOUND,
            ProblemCode.EXPIRED,
            ProblemCode.BODY_TOO_LARGE,
            ProblemCode.MEDIA_TYPE_UNSUPPORTED,
            ProblemCode.ADDRESS_BLOCKED,
            ProblemCode.OPERATING_POINT_UNKNOWN,
            ProblemCode.QUEUE_FULL,
            ProblemCode.MODEL_UNAVAILABLE,
            ProblemCode.STORE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/v1/scans/{scan_id}",
        id="getScan",
        tag="scans",
        summary="Read a scan",
        description="A scan whose image could not be fetched or read is `failed`, with `error`; "
        "that is an answer of this operation and no HTTP error.",
        parameters=("scan_id", "Prefer"),
        answers={
            200: Answer("The scan as it is.", Scan, ("Retry-After", "Preference-Applied")),
            202: Answer("Not final after the wait.", Scan, ("Location", "Retry-After")),
        },
        problems=(ProblemCode.NOT_FOUND, ProblemCode.STORE_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/v1/uploads",
        id="createUpload",
        tag="uploads",
        summary="Send the bytes of an image",
        description="The body is the image itself, or a form with one file; at most 20 MiB. The "
        "bytes are kept for 15 minutes, to be named as `upload_id` of a scan.",
        body="image",
        answers={201: Answer("Kept.", Upload)},
        problems=(
            ProblemCode.INVALID_PARAMETER,
            ProblemCode.UPLOAD_EMPTY,
            ProblemCode.BODY_TOO_LARGE,
            ProblemCode.MEDIA_TYPE_UNSUPPORTED,
            ProblemCode.STORE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/v1/errors/{code}",
        id="getErrorCode",
        tag="errors",
        summary="Read what an error code means",
        description="A problem's `type` is such an address; codes of failed scans have one too.",
        parameters=("code",),
        answers={200: Answer("What the code means.", ErrorFacts)},
        problems=(ProblemCode.NOT_FOUND,),
    ),
    Operation(
        method="get",
        path="/healthz",
        id="getHealth",
        tag="health",
        summary="Ask whether the process lives",
        description="Asks nothing else, neither the store nor Redis.",
        answers={200: Answer("It lives.", Health)},
    ),
    Operation(
        method="get",
        path="/readyz",
        id="getReadiness",
        tag="health",
        summary="Ask whether a scan can be taken now",
        description="Names the store, Redis and the workers, and what is wrong with each.",
        answers={
            200: Answer("A scan can be taken.", Health),
            503: Answer("A part is in the way.", Health, ("Retry-After",)),
        },
    ),
    Operation(
        method="get",
        path="/schema",
        id="getSchema",
        tag="schema",
        summary="Read this document",
        description="OpenAPI 3.1.",
        answers={200: Answer("This document.")},
    ),
)

_PARAMETERS: dict[str, Json] = {
    "scan_id": {
        "in": "path",
        "name": "scan_id",
        "required": True,
        "description": "Id of the scan, from its Location.",
        "schema": {"type": "string", "pattern": "^scan_[0-9A-Z]{26}$"},
    },
    "code": {
        "in": "path",
        "name": "code",
        "required": True,
        "description": "The `code` of a problem or of a scan's error.",
        "schema": {"type": "string"},
    },
    "Prefer": {
        "in": "header",
        "name": "Prefer",
        "required": False,
        "description": "`wait=N` (RFC 7240): answer once the scan is final, or after N seconds, "
        "at most 30.",
        "schema": {"type": "string"},
        "example": "wait=20",
    },
    "Cache-Control": {
        "in": "header",
        "name": "Cache-Control",
        "required": False,
        "description": "`no-cache`, `no-store` or `max-age=0` (RFC 9111): have the image looked "
        "at anew, whatever is on record. Other directives change nothing.",
        "schema": {"type": "string"},
        "example": "no-cache",
    },
}

_HEADERS: dict[str, Json] = {
    "X-Request-Id": {
        "description": "Names the request in the log; the one you sent, if you sent one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which asking again makes sense.",
        "schema": {"type": "integer"},
    },
    "Location": {"description": "Where the scan is.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "`wait=N` if the scan became final within it.",
        "schema": {"type": "string"},
    },
}

_BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
_BODIES: dict[str, Json] = {
    "ScanRequest": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/ScanRequest"},
            "example": {"url": "https://example.com/cat.jpg", "operating_point": "balanced"},
        }
    },
    "image": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            }
        },
    },
}


def document() -> Json:
    """Return the whole document as plain data."""
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
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
        "components": {"schemas": _schemas(), "headers": _HEADERS},
    }


def encoded() -> bytes:
    """Return the document as it is committed and served."""
    return msgspec.json.format(msgspec.json.encode(document(), order="sorted"), indent=2) + b"\n"


def _operation(operation: Operation) -> Json:
    described: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "responses": dict(_responses(operation)),
    }
    if operation.parameters:
        described["parameters"] = [_PARAMETERS[name] for name in operation.parameters]
    if operation.body:
        described["requestBody"] = {"required": True, "content": _BODIES[operation.body]}
    return described


def _responses(operation: Operation) -> Iterator[tuple[str, Json]]:
    for status, answer in operation.answers.items():
        yield str(status), _answer(answer)
    codes = (*operation.problems, *_EVERYWHERE)
    for status in sorted({PROBLEMS[code].status for code in codes} - set(operation.answers)):
        yield str(status), _refusal([code for code in codes if PROBLEMS[code].status == status])


def _answer(answer: Answer) -> Json:
    schema: Json = {"type": "object"}
    if answer.struct:
        schema = {"$ref": f"#/components/schemas/{answer.struct.__name__}"}
    return {
        "description": answer.description,
        "headers": _headers(answer.headers),
        "content": {JSON: {"schema": schema}},
    }


def _refusal(codes: Sequence[ProblemCode]) -> Json:
    """Describe all problems of one status, with an example for each."""
    is_503 = PROBLEMS[codes[0]].status == 503
    return {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes) + ".",
        "headers": _headers(("Retry-After",) if is_503 else ()),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {str(code): {"value": _example(code)} for code in codes},
            }
        },
    }


def _example(code: ProblemCode) -> Json:
    told = problem(code, f"{PROBLEMS[code].title}.", request_id=_REQUEST_ID)
    example: Json = msgspec.to_builtins(told)
    return example


def _headers(names: Sequence[str]) -> Json:
    every = ("X-Request-Id", *names)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in every}


def _schemas() -> Json:
    structs = (Scan, ScanRequest, Upload, Problem, ErrorFacts, Health)
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    for name, schema in schemas.items():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        if name != ScanRequest.__name__:
            _say_always_there(schema)
    return schemas


def _say_always_there(schema: Json) -> None:
    """Mark all fields of an answer as required: it is sent whole, defaults and nulls included."""
    properties = schema.get("properties")
    if properties is not None:
        schema["required"] = list(properties)
        for described in properties.values():
            described.pop("default", None)


if __name__ == "__main__":
    sys.stdout.buffer.write(encoded())
