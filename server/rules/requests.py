"""The body of POST /v1/scans -> ScanRequest, or everything that is wrong with it. Pure.

bytes -> JSON? -> object? -> fields known? -> values right? -> exactly one of url, upload_id
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from sdk.codes import ProblemCode
from sdk.wire import Fault, PointName, Priority, ScanRequest
from server.refused import Refused

_FIELDS = ScanRequest.__struct_fields__
_TEXTS = ("url", "upload_id", "operating_point", "priority")
_TABLES = ("context", "metadata")
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def read_scan_request(body: bytes) -> ScanRequest:
    """Return what the body asks for; raises Refused with every fault of one kind."""
    fields = _object(body)
    _refuse_if(ProblemCode.UNKNOWN_FIELD, "unknown fields", _unknown(fields))
    _refuse_if(ProblemCode.INVALID_PARAMETER, "wrong values", _mistyped(fields))
    _refuse_if(ProblemCode.OPERATING_POINT_UNKNOWN, "an unknown point", _unknown_point(fields))
    _refuse_if(ProblemCode.INVALID_PARAMETER, "an unknown priority", _unknown_priority(fields))
    _refuse_if(ProblemCode.INVALID_PARAMETER, "not one image", _not_one_image(fields))
    return msgspec.convert(fields, ScanRequest)


def pointer_to(*path: str) -> str:
    """Write a path into a body as a JSON pointer (RFC 6901)."""
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(ProblemCode.MALFORMED_JSON, f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        detail = "The body is not JSON that can be read: it is nested too deeply."
        raise Refused(ProblemCode.MALFORMED_JSON, detail) from error
    if not isinstance(fields, dict):
        fault = _wrong("", "an object", fields)
        raise Refused(ProblemCode.INVALID_PARAMETER, fault.detail, errors=[fault])
    return fields


def _refuse_if(code: ProblemCode, what: str, faults: Iterator[Fault]) -> None:
    errors = list(faults)
    if errors:
        more = f" (and {len(errors) - 1} more {what})" if len(errors) > 1 else ""
        raise Refused(code, errors[0].detail + more, errors=errors)


def _unknown(fields: Mapping[str, Any]) -> Iterator[Fault]:
    for name in fields:
        if name not in _FIELDS:
            near = get_close_matches(name, _FIELDS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            yield Fault(
                pointer_to(name),
                ProblemCode.UNKNOWN_FIELD,
                f"There is no field {_shown(name)}{meant or '.'}",
            )


def _mistyped(fields: Mapping[str, Any]) -> Iterator[Fault]:
    for name in _TEXTS:
        if name in fields and not isinstance(fields[name], str):
            yield _wrong(pointer_to(name), "a string", fields[name])
    for name in _TABLES:
        table = fields.get(name, {})
        if not isinstance(table, dict):
            yield _wrong(pointer_to(name), "an object of strings", table)
            continue
        for key, value in table.items():
            if not isinstance(value, str):
                yield _wrong(pointer_to(name, key), "a string", value)


def _unknown_point(fields: Mapping[str, Any]) -> Iterator[Fault]:
    given = fields.get("operating_point", PointName.BALANCED)
    if given not in tuple(PointName):
        yield Fault(
            pointer_to("operating_point"),
            ProblemCode.OPERATING_POINT_UNKNOWN,
            f"There is no operating point {_shown(given)}: use {', '.join(PointName)}.",
        )


def _unknown_priority(fields: Mapping[str, Any]) -> Iterator[Fault]:
    given = fields.get("priority", Priority.INTERACTIVE)
    if given not in tuple(Priority):
        yield Fault(
            pointer_to("priority"),
            ProblemCode.INVALID_PARAMETER,
            f"There is no priority {_shown(given)}: use {' or '.join(Priority)}.",
        )


def _not_one_image(fields: Mapping[str, Any]) -> Iterator[Fault]:
    given = [name for name in ("url", "upload_id") if name in fields]
    if len(given) != 1:
        yield Fault(
            pointer_to(*given[:1]),
            ProblemCode.INVALID_PARAMETER,
            f"The body has {'both' if given else 'neither'} url {'and' if given else 'nor'} "
            "upload_id: give exactly one of them.",
        )


def _wrong(pointer: str, expected: str, value: object) -> Fault:
    where = pointer or "The body"
    return Fault(
        pointer,
        ProblemCode.INVALID_PARAMETER,
        f"{where} is {_KINDS.get(type(value), 'something else')}; expected {expected}.",
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else f"{text[:64]}...")
