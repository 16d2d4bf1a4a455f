"""A JSON body -> the struct it should be, or everything that is wrong with it. Pure.

    bytes -> JSON? -> an object? -> fields known? -> types right? -> values known? -> struct

All faults of one kind are told at once, each with a JSON pointer. What the fields mean together
is asked by `read_scan_request` for scans (exactly one image), and elsewhere by each rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, inspect

from sdk.codes import ProblemCode
from sdk.wire import Fault, PointName, ScanRequest
from server.refused import Refused

IMAGES = ("url", "upload_id", "sha256")
"""The fields of which a scan request has exactly one."""
S = TypeVar("S", bound=Struct)
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_SUMMARIES = {
    ProblemCode.UNKNOWN_FIELD: "unknown fields",
    ProblemCode.OPERATING_POINT_UNKNOWN: "unknown points",
    ProblemCode.INVALID_PARAMETER: "wrong values",
}


def read(body: bytes, struct: type[S]) -> S:
    """Return what the body says; raises Refused with every fault of one kind."""
    fields = _object(body)
    info = _info(struct)
    for kind in (_unknown, _mistyped, _unknown_word):
        _refuse_if(kind(fields, info, ()))
    return msgspec.convert(fields, struct)


@cache
def _info(struct: type[Struct]) -> inspect.Type:
    """Return the types of a struct's fields, looked up once: it takes a millisecond."""
    return inspect.type_info(struct)


def read_scan_request(body: bytes) -> ScanRequest:
    """Return what the body of POST /v1/scans asks for; raises Refused."""
    request = read(body, ScanRequest)
    _refuse_if(not_one_image(request))
    return request


def not_one_image(request: ScanRequest, *path: str) -> Iterator[Fault]:
    """Yield a fault if the request, which stands at `path` in its body, is not about one image."""
    given = [name for name in IMAGES if not isinstance(getattr(request, name), msgspec.UnsetType)]
    if len(given) != 1:
        yield Fault(
            pointer_to(*path, *given[:1]),
            ProblemCode.INVALID_PARAMETER,
            f"There is {' and '.join(given) or 'no image'}: give exactly one of "
            f"{', '.join(IMAGES)}.",
        )


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
        fault = _wrong((), "an object", fields)
        raise Refused(ProblemCode.INVALID_PARAMETER, fault.detail, errors=[fault])
    return fields


def _refuse_if(faults: Iterator[Fault]) -> None:
    """Raise Refused if there is a fault, with all that have the code of the first."""
    errors = list(faults)
    if errors:
        code = ProblemCode(errors[0].code)
        errors = [fault for fault in errors if fault.code == code]
        more = f" (and {len(errors) - 1} more {_SUMMARIES[code]})" if len(errors) > 1 else ""
        raise Refused(code, errors[0].detail + more, errors=errors)


def _unknown(value: Any, info: inspect.Type, path: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault for each field of an object that its struct does not have."""
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        names = [field.encode_name for field in info.fields]
        for name in value:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                yield Fault(
                    pointer_to(*path, name),
                    ProblemCode.UNKNOWN_FIELD,
                    f"There is no field {_shown(name)}{meant or '.'}",
                )
    for part, part_info, part_path in _parts(value, info, path):
        yield from _unknown(part, part_info, part_path)


def _mistyped(value: Any, info: inspect.Type, path: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault for each value of another type than its field, and each field that lacks."""
    expected = _expected(info)
    if not _is_a(value, info):
        yield _wrong(path, expected, value)
        return
    if isinstance(value, str) and "\0" in value:  # which PostgreSQL cannot keep
        yield Fault(
            pointer_to(*path),
            ProblemCode.INVALID_PARAMETER,
            f"{pointer_to(*path)} has a character U+0000; leave it out.",
        )
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            if field.required and field.encode_name not in value:
                yield Fault(
                    pointer_to(*path, field.encode_name),
                    ProblemCode.INVALID_PARAMETER,
                    f"{field.encode_name} is missing.",
                )
    for part, part_info, part_path in _parts(value, info, path):
        yield from _mistyped(part, part_info, part_path)


def _unknown_word(value: Any, info: inspect.Type, path: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault for each string that is none of the words that its field takes."""
    if isinstance(info, inspect.EnumType):
        words = [member.value for member in info.cls]
        if value not in words:
            is_point = info.cls is PointName
            code = ProblemCode.OPERATING_POINT_UNKNOWN if is_point else "invalid_parameter"
            what = "operating point" if is_point else " ".join(path[-1:]).replace("_", " ")
            yield Fault(
                pointer_to(*path),
                ProblemCode(code),
                f"There is no {what} {_shown(value)}: use {' or '.join(words)}.",
            )
    for part, part_info, part_path in _parts(value, info, path):
        yield from _unknown_word(part, part_info, part_path)


def _parts(
    value: Any, info: inspect.Type, path: tuple[str, ...]
) -> Iterator[tuple[Any, inspect.Type, tuple[str, ...]]]:
    """Yield what is inside of a value, with its type and place, as far as types are known."""
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        for field in info.fields:
            if field.encode_name in value:
                place = (*path, field.encode_name)
                yield value[field.encode_name], field.type, place
    elif isinstance(info, inspect.DictType) and isinstance(value, dict):
        for key, item in value.items():
            yield item, info.value_type, (*path, key)
    elif isinstance(info, inspect.VarTupleType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield item, info.item_type, (*path, str(index))


def _expected(info: inspect.Type) -> str:
    if isinstance(info, inspect.DictType):
        return "an object of strings"
    if isinstance(info, inspect.VarTupleType):
        return "an array"
    return "an object" if isinstance(info, inspect.StructType) else "a string"


def _is_a(value: Any, info: inspect.Type) -> bool:
    """True if the JSON value is of the kind. Requests have strings, objects and arrays alone."""
    if isinstance(info, inspect.DictType | inspect.StructType):
        return isinstance(value, dict)
    return isinstance(value, list if isinstance(info, inspect.VarTupleType) else str)


def _wrong(path: tuple[str, ...], expected: str, value: object) -> Fault:
    where = pointer_to(*path)
    return Fault(
        where,
        ProblemCode.INVALID_PARAMETER,
        f"{where or 'The body'} is {_KINDS.get(type(value), 'something else')}; "
        f"expected {expected}.",
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else f"{text[:64]}...")
