"""What one operation of the document is, and what follows from that for its answers. Pure.

Operation  + who may ask (scopes)   -> 401, 403, security
           + is_limited             -> 429, RateLimit fields
           + body                   -> 400, 413, 415
           + is_idempotent          -> 409, 422, the Idempotency-Key header
           + its own problems       -> described(): an OpenAPI operation object
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Scope
from server.problems import MEDIA_TYPE, problem

from .parts import BODIES, EVENTS, HEADERS, JSON, LINKS, PARAMETERS, SCAN_EVENT

Json = dict[str, Any]

BEARER = "bearer"
"""Name of the security scheme."""
_REQUEST_ID = "req_01KX3Q8RZ07M2V9C4H8T1B6N5D"
_EVERYWHERE = (
    ProblemCode.ORIGIN_NOT_ALLOWED,
    ProblemCode.NOT_ACCEPTABLE,
    ProblemCode.INTERNAL,
    ProblemCode.STORE_UNAVAILABLE,
    ProblemCode.SHUTTING_DOWN,
)
_BODY = (
    ProblemCode.MALFORMED_JSON,
    ProblemCode.INVALID_PARAMETER,
    ProblemCode.UNKNOWN_FIELD,
    ProblemCode.BODY_TOO_LARGE,
    ProblemCode.MEDIA_TYPE_UNSUPPORTED,
)
_KEY = (ProblemCode.AUTH_MISSING, ProblemCode.AUTH_INVALID, ProblemCode.KEY_REVOKED)
_LIMITED = (ProblemCode.RATE_LIMITED, ProblemCode.ABNORMAL_USAGE)
_IDEMPOTENT = (
    ProblemCode.INVALID_PARAMETER,
    ProblemCode.IDEMPOTENCY_IN_FLIGHT,
    ProblemCode.IDEMPOTENCY_KEY_REUSED,
)
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}


class Answer(Struct, frozen=True):
    """One successful answer: what it means, its struct or media type, and its headers.

    `may` are headers that only some of these answers have. `link` names what a client can do next
    with it; see parts.LINKS.
    """

    description: str
    struct: type[Struct] | None = None
    headers: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    media_type: str | None = JSON
    link: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One verb on one path; `problems` are the codes that only some operations know.

    `scopes` are those of which the key needs one; none: any key will do; None: no key is asked for.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str
    answers: dict[int, Answer]
    scopes: tuple[Scope, ...] | None = None
    is_limited: bool = False
    is_idempotent: bool = False
    parameters: tuple[str, ...] = ()
    body: str | None = None
    problems: tuple[ProblemCode, ...] = ()

    @property
    def codes(self) -> tuple[ProblemCode, ...]:
        """All codes that the operation may be refused with, its own first."""
        of_body = _BODY if self.body and JSON in BODIES[self.body] else ()
        of_key = () if self.scopes is None else _KEY
        of_scope = (ProblemCode.SCOPE_MISSING,) if self.scopes else ()
        of_limits = _LIMITED if self.is_limited else ()
        of_repeats = _IDEMPOTENT if self.is_idempotent else ()
        groups = (of_body, self.problems, of_repeats, of_key, of_scope, of_limits, _EVERYWHERE)
        return tuple(dict.fromkeys(code for group in groups for code in group))


def described(operation: Operation) -> Json:
    """Return the operation as OpenAPI has it."""
    names = (*operation.parameters, *(("Idempotency-Key",) if operation.is_idempotent else ()))
    told: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": _security(operation.scopes),
        "responses": dict(_responses(operation)),
    }
    if names:
        told["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if operation.body:
        told["requestBody"] = {"required": True, "content": BODIES[operation.body]}
    return told


def used_parameters(operations: Sequence[Operation]) -> Json:
    """Return the parameters that these operations name."""
    names = {name for operation in operations for name in operation.parameters}
    return {name: PARAMETERS[name] for name in (*sorted(names), "Idempotency-Key")}


def refusals(operations: Sequence[Operation]) -> Json:
    """Return the answers that refuse, each once, by the codes that it may have."""
    return {
        _name_of(codes): _refusal(codes)
        for operation in operations
        for status, codes in _by_status(operation).items()
        if status not in operation.answers
    }


def examples(operations: Sequence[Operation]) -> Json:
    """Return an example of each problem that these operations answer with, by code."""
    known = {code for operation in operations for code in operation.codes}
    return {str(code): {"value": _example(code)} for code in ProblemCode if code in known}


def _example(code: ProblemCode) -> Json:
    title, is_limit = PROBLEMS[code].title, PROBLEMS[code].status == 429
    violated = ("scans",) if is_limit else ()
    told = problem(code, f"{title}.", request_id=_REQUEST_ID, violated_policies=violated)
    example: Json = msgspec.to_builtins(told)
    return example


def _security(scopes: tuple[Scope, ...] | None) -> list[Json]:
    """Return who may ask: a key with one of the scopes or, as long as there are no keys, anyone."""
    if scopes is None:
        return []
    needed = [{BEARER: [scope.value]} for scope in scopes] or [{BEARER: []}]
    return [*needed, {}]


def _responses(operation: Operation) -> Iterator[tuple[str, Json]]:
    by_status = _by_status(operation)
    for status, answer in operation.answers.items():
        told = _answer(answer, operation)
        if status in by_status:  # a verdict or a state has this status, and so has a problem
            told["content"].update(_refusal(by_status.pop(status))["content"])
        yield str(status), told
    for status in sorted(by_status):
        yield str(status), {"$ref": f"#/components/responses/{_name_of(by_status[status])}"}


def _by_status(operation: Operation) -> dict[int, list[ProblemCode]]:
    found: dict[int, list[ProblemCode]] = {}
    for code in operation.codes:
        found.setdefault(PROBLEMS[code].status, []).append(code)
    return found


def _name_of(codes: Sequence[ProblemCode]) -> str:
    return ".".join(codes)


def _answer(answer: Answer, operation: Operation) -> Json:
    limits = ("RateLimit-Policy", "RateLimit") if operation.is_limited else ()
    replayed = ("Idempotent-Replayed",) if operation.is_idempotent else ()
    told: Json = {
        "description": answer.description,
        "headers": _headers(answer.headers, may=(*answer.may, *limits, *replayed)),
    }
    if answer.media_type:
        told["content"] = {answer.media_type: {"schema": _schema_of(answer)}}
    if answer.link:
        told["links"] = LINKS[answer.link]
    return told


def _schema_of(answer: Answer) -> Json:
    if answer.struct:
        return {"$ref": f"#/components/schemas/{answer.struct.__name__}"}
    if answer.media_type == EVENTS:
        return SCAN_EVENT
    return {"type": "object" if answer.media_type == JSON else "string"}


def _refusal(codes: Sequence[ProblemCode]) -> Json:
    """Describe all problems of one status, with an example for each."""
    status = PROBLEMS[codes[0]].status
    return {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes) + ".",
        "headers": _headers(_HEADERS_OF_STATUS.get(status, ())),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    str(code): {"$ref": f"#/components/examples/{code}"} for code in codes
                },
            }
        },
    }


def _headers(names: Sequence[str], *, may: Sequence[str] = ()) -> Json:
    """Return headers by name: those of `may` are not always there."""
    always = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}
    return {**always, **{name: {**HEADERS[name], "required": False} for name in may}}
