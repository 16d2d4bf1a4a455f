"""The body of POST /v1/scans: each fault has its code, its pointer and a sentence."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from sdk.codes import ProblemCode
from sdk.wire import (
    AppealDecisionRequest,
    BatchRequest,
    EndpointRequest,
    PointName,
    Priority,
)
from server.refused import Refused
from server.rules.requests import pointer_to, read, read_scan_request

REFUSED = [
    # id, body, code, pointers
    ("empty", b"", "malformed_json", []),
    ("cut", b'{"url": "http', "malformed_json", []),
    ("two values", b'{"url": "a"} {}', "malformed_json", []),
    ("not utf-8", b'{"url": "\xff"}', "malformed_json", []),
    ("utf-16", '{"url": "a"}'.encode("utf-16"), "malformed_json", []),
    ("half a surrogate pair", b'{"url": "\\ud800"}', "malformed_json", []),
    ("NaN", b'{"url": NaN}', "malformed_json", []),
    ("nested deeply", b"[" * 60_000, "malformed_json", []),
    ("huge number", b'{"n": 1e999}', "malformed_json", []),
    ("array", b"[]", "invalid_parameter", [""]),
    ("string", b'"http://example.com"', "invalid_parameter", [""]),
    ("null", b"null", "invalid_parameter", [""]),
    ("unknown field", b'{"uri": "a"}', "unknown_field", ["/uri"]),
    (
        "two unknown fields",
        b'{"url": "a", "x": 1, "a/b~c": 2}',
        "unknown_field",
        ["/x", "/a~1b~0c"],
    ),
    ("null url", b'{"url": null}', "invalid_parameter", ["/url"]),
    ("number as url", b'{"url": 5}', "invalid_parameter", ["/url"]),
    ("list as context", b'{"url": "a", "context": []}', "invalid_parameter", ["/context"]),
    (
        "number in metadata",
        b'{"url": "a", "metadata": {"ok": "1", "n": 1, "o": {}}}',
        "invalid_parameter",
        ["/metadata/n", "/metadata/o"],
    ),
    (
        "number as point",
        b'{"url": "a", "operating_point": 1}',
        "invalid_parameter",
        ["/operating_point"],
    ),
    (
        "unknown point",
        b'{"url": "a", "operating_point": "lenient"}',
        "operating_point_unknown",
        ["/operating_point"],
    ),
    ("number as priority", b'{"url": "a", "priority": 1}', "invalid_parameter", ["/priority"]),
    ("unknown priority", b'{"url": "a", "priority": "BULK"}', "invalid_parameter", ["/priority"]),
    ("U+0000", b'{"url": "a", "metadata": {"k": "\\u0000"}}', "invalid_parameter", ["/metadata/k"]),
    ("nothing", b"{}", "invalid_parameter", [""]),
    ("url and sha256", b'{"url": "a", "sha256": "b"}', "invalid_parameter", ["/url"]),
    ("both", b'{"url": "a", "upload_id": "b"}', "invalid_parameter", ["/url"]),
]


@pytest.mark.parametrize(
    ("body", "code", "pointers"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_body_is_refused_with_code_and_pointers(
    body: bytes, code: str, pointers: list[str]
) -> None:
    with pytest.raises(Refused) as caught:
        read_scan_request(body)

    assert caught.value.code == ProblemCode(code)
    assert [fault.pointer for fault in caught.value.errors] == pointers
    assert all(fault.code == code and fault.detail for fault in caught.value.errors)
    assert caught.value.detail.endswith((".", "?", ")"))


def test_unknown_field_names_the_one_that_was_meant() -> None:
    with pytest.raises(Refused, match="did you mean 'operating_point'"):
        read_scan_request(b'{"url": "a", "operatingpoint": "strict"}')


def test_body_with_a_url_is_read_with_its_defaults() -> None:
    request = read_scan_request(b'{"url": "http://example.com/a.jpg"}')

    assert request.url == "http://example.com/a.jpg"
    assert request.upload_id is UNSET
    assert request.operating_point is PointName.BALANCED
    assert request.priority is Priority.INTERACTIVE


def test_body_with_everything_is_read() -> None:
    request = read_scan_request(
        b'{"upload_id": "upl_1", "operating_point": "strict", "priority": "bulk",'
        b' "context": {"platform": "p"}, "metadata": {"k": "v"}}'
    )

    assert request.upload_id == "upl_1"
    assert request.operating_point is PointName.STRICT
    assert request.priority is Priority.BULK
    assert (request.context, request.metadata) == ({"platform": "p"}, {"k": "v"})


def test_faults_inside_of_a_list_are_pointed_at() -> None:
    body = b'{"scans": [{"url": "a"}, {"urk": "a"}, {"url": "b", "priority": "x", "n": 1}]}'

    with pytest.raises(Refused) as caught:
        read(body, BatchRequest)

    assert [fault.pointer for fault in caught.value.errors] == ["/scans/1/urk", "/scans/2/n"]


def test_field_that_must_be_there_is_missed() -> None:
    with pytest.raises(Refused) as caught:
        read(b'{"events": ["scan.completed", "scan.lost"]}', EndpointRequest)
    assert [fault.pointer for fault in caught.value.errors] == ["/url"]

    with pytest.raises(Refused) as caught:
        read(
            b'{"url": "http://h.com/", "events": ["scan.completed", "scan.lost"]}', EndpointRequest
        )
    assert [fault.pointer for fault in caught.value.errors] == ["/events/1"]


def test_enums_that_read_unknown_words_still_refuse_them_in_requests() -> None:
    with pytest.raises(Refused):
        read(b'{"decision": "maybe"}', AppealDecisionRequest)


def test_pointer_escapes_as_rfc_6901_does() -> None:
    assert pointer_to("a/b", "m~n") == "/a~1b/m~0n"
