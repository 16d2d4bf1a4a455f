"""sdk.webhooks: what the standard's own library signs is taken, and nothing else is."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import msgspec
import pytest
from standardwebhooks import Webhook

import sdk
from sdk.errors import APIResponseValidationError, WebhookSignatureError
from sdk.webhooks import sign, unwrap
from sdk.wire import EventType

from .conftest import failed, scan
from .test_client_parts import APPEAL, ENDPOINT, batch

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
NOW = 1_790_000_000
ID = "evt_01KX3Q8RZ07M2V9C4H8T1B6N5D"
EVENT = {
    "id": ID,
    "type": "ping",
    "timestamp": "2026-09-21T13:46:40.000Z",
    "sequence": 0,
    "data": {},
    "replay_of": None,
}
BODY = json.dumps(EVENT)


def signed(secret: str = SECRET, *, body: str = BODY, at: int = NOW) -> dict[str, str]:
    """Headers as the server sends them, signed by the library that it uses."""
    signature = Webhook(secret).sign(ID, datetime.fromtimestamp(at, UTC), body)
    return {"webhook-id": ID, "webhook-timestamp": str(at), "webhook-signature": signature}


def refused(
    headers: dict[str, str], *, body: bytes | str = BODY, now: float = NOW, secret: str = SECRET
) -> WebhookSignatureError:
    with pytest.raises(WebhookSignatureError) as caught:
        unwrap(body, headers, secret, now=now)
    assert caught.value.code == "webhook_signature_invalid"
    return caught.value


@pytest.mark.parametrize("body", [BODY, BODY.encode()], ids=["text", "bytes"])
def test_unwrap_returns_the_event_that_the_library_signed(body: str | bytes) -> None:
    event = unwrap(body, {name.title(): value for name, value in signed().items()}, SECRET, now=NOW)

    assert (event.id, event.type, event.sequence) == (ID, EventType.PING, 0)


def test_library_verifies_what_sign_signed() -> None:
    headers = sign(BODY, SECRET, event_id=ID, timestamp=int(time.time()))  # noqa: TID251 - the library takes no other clock

    assert Webhook(SECRET).verify(BODY, headers) == EVENT
    assert unwrap(BODY, headers, SECRET).id == ID  # by this machine's clock


def test_sign_and_the_library_agree_on_any_text() -> None:
    body = json.dumps({**EVENT, "more": "é.\N{SNOWMAN} \\ 1700000000."}, ensure_ascii=False)

    assert sign(body, SECRET, event_id=ID, timestamp=NOW) == signed(body=body)


def test_unwrap_takes_either_secret_while_one_is_rotated() -> None:
    both = signed(OTHER)
    both["webhook-signature"] += " " + signed()["webhook-signature"]

    assert unwrap(BODY, both, SECRET, now=NOW) == unwrap(BODY, both, OTHER, now=NOW)


def test_unwrap_refuses_another_secret() -> None:
    refused(signed(OTHER))


def test_unwrap_refuses_every_flipped_bit_of_the_body() -> None:
    raw, headers = BODY.encode(), signed()
    for index in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[index // 8] ^= 1 << index % 8
        refused(headers, body=bytes(flipped))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_unwrap_refuses_every_flipped_bit_of_a_header(name: str) -> None:
    # The last digit of a base64 text has bits that decode to nothing: they count, too.
    headers = signed()
    for index in range(len(headers[name]) * 8):
        flipped = bytearray(headers[name].encode())
        flipped[index // 8] ^= 1 << index % 8
        refused({**headers, name: flipped.decode("latin-1")})


@pytest.mark.parametrize("age", [301, 86_400, -301])
def test_unwrap_refuses_a_replayed_delivery(age: int) -> None:
    error = refused(signed(at=NOW - age))

    # How far, and which way: a clock that is wrong can be told from a replay.
    assert f"{abs(age)} s {'before' if age > 0 else 'after'} now" in error.message
    assert "300 s" in error.message
    assert "clock" in error.hint


@pytest.mark.parametrize("age", [299, 0, -299])
def test_unwrap_takes_what_is_within_five_minutes(age: int) -> None:
    assert unwrap(BODY, signed(at=NOW - age), SECRET, now=NOW).id == ID


def test_tolerance_is_the_callers() -> None:
    with pytest.raises(WebhookSignatureError, match="at most 10 s"):
        unwrap(BODY, signed(at=NOW - 11), SECRET, tolerance=10, now=NOW)


def test_unwrap_refuses_an_old_delivery_with_a_new_time() -> None:
    refused({**signed(at=NOW - 900), "webhook-timestamp": str(NOW)})


def test_unwrap_refuses_a_part_of_a_signed_delivery_as_another() -> None:
    # id.timestamp.body: with a dot in the id, a timestamp within the body would do.
    part = '{"later": 1}'
    whole = f"inner.{NOW}.{part}"
    old = signed(body=whole, at=NOW - 9000)

    refused(
        {
            "webhook-id": f"{ID}.{NOW - 9000}.inner",
            "webhook-timestamp": str(NOW),
            "webhook-signature": old["webhook-signature"],
        },
        body=part,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": f" {NOW}"},
        {"webhook-timestamp": f"+{NOW}"},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "".join(chr(0x660 + int(digit)) for digit in str(NOW))},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ","},
        {"webhook-signature": "v1,\ud800"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1,====" * 1000},
    ],
    ids=repr,
)
def test_unwrap_refuses_headers_that_are_malformed(changed: dict[str, str]) -> None:
    refused(signed() | changed)


@pytest.mark.parametrize("version", ["v0", "v1a", "v2", "V1"])
def test_unwrap_refuses_a_signature_of_another_scheme(version: str) -> None:
    digest = signed()["webhook-signature"].removeprefix("v1,")

    refused(signed() | {"webhook-signature": f"{version},{digest}"})


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_unwrap_names_a_header_that_is_missing(missing: str) -> None:
    headers = signed()
    del headers[missing]

    assert missing in refused(headers).message


def test_unwrap_refuses_a_forged_body_that_is_not_even_text() -> None:
    refused(signed(), body=b"\xff\xfe")


DATA = {
    "scan.completed": (sdk.ScanCompletedEvent, {"scan": scan()}),
    "scan.failed": (sdk.ScanFailedEvent, {"scan": failed()}),
    "scan.verdict_changed": (
        sdk.ScanVerdictChangedEvent,
        {"scan": scan(), "previous": "no_sign_of_ai", "cause": "rescore"},
    ),
    "appeal.created": (sdk.AppealCreatedEvent, {"appeal": APPEAL}),
    "appeal.decided": (sdk.AppealDecidedEvent, {"appeal": APPEAL}),
    "batch.completed": (sdk.BatchCompletedEvent, {"batch": batch()}),
    "webhook.disabled": (sdk.WebhookDisabledEvent, {"endpoint": ENDPOINT}),
    "ping": (sdk.PingEvent, {"endpoint": ENDPOINT}),
}


def delivered(kind: str, data: object) -> sdk.AnyEvent:
    body = msgspec.json.encode({**EVENT, "type": kind, "data": data}).decode()
    return unwrap(body, signed(body=body), SECRET, now=NOW)


@pytest.mark.parametrize("kind", EventType)
def test_each_type_of_event_has_its_own_struct_and_data(kind: EventType) -> None:
    expected, data = DATA[kind]

    event = delivered(kind, data)

    assert type(event) is expected
    assert event.type is kind
    assert {name: getattr(event.data, name) for name in data} == data
    assert isinstance(event, sdk.Event)


def test_event_of_a_newer_server_is_no_error() -> None:
    event = delivered("scan.of_tomorrow", {"scan": {"id": 7}, "more": [1]})

    assert isinstance(event, sdk.UnknownEvent)
    assert (event.id, event.type) == (ID, "scan.of_tomorrow")
    assert event.fields == {"scan": {"id": 7}, "more": [1]}
    assert event.data.scan is None


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind != "ping"])
def test_event_without_its_data_is_none(kind: str) -> None:
    with pytest.raises(APIResponseValidationError, match="no event of this version"):
        delivered(kind, {})


def test_same_delivery_twice_has_the_same_id() -> None:
    first, again = delivered("ping", {}), delivered("ping", {})

    assert first.id == again.id == ID


@pytest.mark.parametrize(
    "body", ["\xff", "[]", "[" * 100_000, '{"type": "of.tomorrow"}', '{"id": "evt_1"}']
)
def test_signed_body_that_is_no_event_is_another_fault(body: str) -> None:
    with pytest.raises(APIResponseValidationError, match="no event of this version"):
        unwrap(body, signed(body=body), SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", "sk_abc"])
def test_secret_that_is_none_is_the_callers_fault(secret: str) -> None:
    with pytest.raises(sdk.InputError, match="whsec_"):
        unwrap(BODY, signed(), secret, now=NOW)
