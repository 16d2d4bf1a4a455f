"""What a caller may set or give: time, retries, bytes of their own, a look at the raw answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import sdk

from .conftest import (
    SCAN_ID,
    UPLOAD_ID,
    ManualClock,
    Origin,
    Reply,
    accepted,
    failed,
    ok,
    problem,
    scan,
    uploaded,
)

URL = "https://example.org/picture.jpg"


def since(began: float) -> float:
    return time.monotonic() - began


@pytest.fixture
def hurried(connect: Callable[..., Any]) -> Any:
    """A client by the clock of this machine."""
    return connect(_clock=None)


def test_check_that_is_not_accepted_in_time_is_a_timeout(hurried: Any, origin: Origin) -> None:
    began = time.monotonic()

    with pytest.raises(sdk.APITimeoutError, match="in time") as caught:
        hurried.check(URL, wait=1)

    assert since(began) < 2  # of the 30 s that a request may take, three times
    assert "wait" in caught.value.hint
    assert len(origin.seen) == 1


def test_check_ends_in_time_though_the_server_holds_its_answer(
    hurried: Any, origin: Origin
) -> None:
    origin.will(accepted(), ok(scan("scoring")), ok(scan())._replace(held_seconds=9))
    began = time.monotonic()

    with pytest.raises(sdk.ScanTimeout) as caught:
        hurried.check(URL, wait=1.4)

    assert since(began) < 2.4
    assert caught.value.scan_id == SCAN_ID


def test_check_ends_in_time_though_its_answer_trickles(hurried: Any, origin: Origin) -> None:
    # Each byte is in time; all of them would take a minute.
    origin.will(ok(scan())._replace(byte_seconds=0.05))
    began = time.monotonic()

    with pytest.raises(sdk.APITimeoutError):
        hurried.check(URL, wait=1)

    assert since(began) < 2


def test_check_is_not_tried_again_past_its_time(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(problem("queue_full", headers={"Retry-After": "21"}))

    with pytest.raises(sdk.InternalServerError) as caught:
        client.check(URL, wait=20)

    assert caught.value.retry_after == 21
    assert clock.slept == []


def test_check_spends_its_time_on_retries(client: Any, origin: Origin, clock: ManualClock) -> None:
    origin.will(problem("queue_full", headers={"Retry-After": "15"}), accepted(), ok(scan()))

    client.check(URL, wait=20)

    assert [seen.headers["prefer"] for seen in origin.seen] == ["wait=19", "wait=19", "wait=4"]
    assert clock.slept == [15.0]


def test_large_image_is_sent_whole_within_the_time(hurried: Any, origin: Origin) -> None:
    image = bytes(range(256)) * 1024
    origin.will(problem("internal"), uploaded(), ok(scan()))

    assert hurried.check(image, wait=20) == scan()

    first, second, _ = origin.seen
    assert first.body == second.body == image
    assert "transfer-encoding" not in first.headers


def test_check_without_time_asks_once(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()), accepted())

    assert client.check(URL, wait=0) == scan()
    with pytest.raises(sdk.ScanTimeout):
        client.check(URL, wait=0)

    assert [seen.headers.get("prefer") for seen in origin.seen] == [None, None]


@pytest.mark.parametrize("code", ["fetch_forbidden", "fetch_address_blocked"])
def test_bytes_of_the_callers_own_are_sent_where_the_server_may_not_fetch(
    client: Any, origin: Origin, code: str
) -> None:
    origin.will(ok(failed(code)), uploaded(), ok(scan()))
    asked: list[str] = []

    def bytes_of(url: str) -> bytes:
        asked.append(url)
        return b"mine"

    found = client.check(
        URL, bytes_of=bytes_of, context={"item_id": "7"}, idempotency_key="7", fresh=True
    )

    assert found == scan()
    assert asked == [URL]
    first, upload, second = origin.seen
    assert upload.body == b"mine"
    assert second.json == {"upload_id": UPLOAD_ID, "context": {"item_id": "7"}}
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_bytes_are_sent_where_the_address_is_refused_at_once(client: Any, origin: Origin) -> None:
    origin.will(problem("address_blocked"), uploaded(), ok(scan()))

    assert client.check("http://10.0.0.1/a.jpg", bytes_of=lambda _: b"mine") == scan()


@pytest.mark.parametrize("code", ["fetch_not_found", "not_an_image", "scoring_failed"])
def test_bytes_are_not_asked_for_where_they_would_not_help(
    client: Any, origin: Origin, code: str
) -> None:
    origin.will(ok(failed(code)))

    with pytest.raises(sdk.ScanFailed) as caught:
        client.check(URL, bytes_of=lambda _: pytest.fail("it was called"))

    assert "bytes_of" not in caught.value.hint


def test_image_that_cannot_be_had_is_told_with_the_reason(client: Any, origin: Origin) -> None:
    def bytes_of(_url: str) -> bytes:
        raise LookupError("no such post")

    origin.will(ok(failed()), ok(failed()), ok(failed()))

    with pytest.raises(sdk.InputError, match="bytes_of failed: LookupError: no such post"):
        client.check(URL, bytes_of=bytes_of)
    with pytest.raises(sdk.InputError, match="What bytes_of returned is a NoneType"):
        client.check(URL, bytes_of=lambda _: None)
    with pytest.raises(sdk.InputError, match="What bytes_of returned is empty"):
        client.check(URL, bytes_of=lambda _: b"")


def test_coroutine_that_gets_bytes_is_for_the_waiting_client(
    connect: Callable[..., Any], origin: Origin, request: pytest.FixtureRequest
) -> None:
    async def bytes_of(_url: str) -> bytes:
        return b"mine"

    origin.will(ok(failed()), uploaded(), ok(scan()))
    client = connect()

    if isinstance(client, sdk.Client):
        with pytest.raises(sdk.InputError, match="AsyncClient"):
            client.check(URL, bytes_of=bytes_of)
    else:
        assert client.check(URL, bytes_of=bytes_of) == scan()


def test_client_with_other_options_shares_the_connections(
    connect: Callable[..., Any], origin: Origin, clock: ManualClock
) -> None:
    origin.will(problem("internal"), ok(scan()), ok(scan()))
    client = connect(api_key="hush", max_retries=5)

    other = client.with_options(max_retries=0, operating_point="strict")
    with pytest.raises(sdk.InternalServerError):
        other.check(URL)
    other.close()

    assert client.check(URL) == scan()  # it is open still
    assert client.with_options(timeout=1).check(URL) == scan()
    strict, own, timed = origin.seen
    assert strict.json == {"url": URL, "operating_point": "strict"}
    assert own.json == timed.json == {"url": URL}
    assert {seen.headers["authorization"] for seen in origin.seen} == {"Bearer hush"}
    assert clock.slept == []


def test_client_with_less_time_has_less_time(client: Any, origin: Origin) -> None:
    with pytest.raises(sdk.APITimeoutError):
        client.with_options(timeout=0.1, max_retries=0).get(SCAN_ID)

    assert len(origin.seen) == 1


def test_option_that_cannot_be_is_refused(client: Any) -> None:
    with pytest.raises(sdk.InputError, match="fair"):
        client.with_options(operating_point="fair")


def test_raw_response_shows_the_last_answer(client: Any, origin: Origin) -> None:
    reply = ok(scan())
    headers = {**reply.headers, "X-Request-Id": "req_7", "RateLimit": '"scans";r=41;t=12'}
    origin.will(accepted(), reply._replace(headers=headers))

    raw = client.with_raw_response.check(URL)

    assert (raw.status, raw.request_id, raw.parse()) == (200, "req_7", scan())
    assert raw.headers["ratelimit"] == raw.headers["RateLimit"] == '"scans";r=41;t=12'
    assert repr(raw) == "<Raw 200 Scan>"


def test_raw_response_is_there_for_parts_and_has_the_same_errors(
    client: Any, origin: Origin
) -> None:
    origin.will(Reply(204), problem("not_found"))

    raw = client.with_raw_response.scans.delete(SCAN_ID)

    assert (raw.status, raw.parse()) == (204, None)
    with pytest.raises(sdk.NotFoundError):
        client.with_raw_response.scans.get(SCAN_ID)


def test_raw_response_of_no_request_is_refused(client: Any) -> None:
    with pytest.raises(sdk.InputError, match="no request"):
        client.with_raw_response.wait(scan())


def test_lent_client_may_have_a_transport_of_the_callers_own(clock: ManualClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=ok(scan()).body, request=request)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = sdk.Client(base_url="https://pinclip.invalid", http_client=http, _clock=clock)

        assert client.check(URL) == scan()
