"""sdk._transport: which answers are tried again, and which error each bad answer becomes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import sdk

from .conftest import SCAN_ID, ManualClock, Origin, Reply, accepted, ok, problem, scan, uploaded

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<html>Sign in</html>"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("unknown_field", 400, sdk.BadRequestError),
        ("unknown", 401, sdk.AuthenticationError),
        ("unknown", 403, sdk.PermissionDeniedError),
        ("not_found", 404, sdk.NotFoundError),
        ("unknown", 409, sdk.ConflictError),
        ("expired", 410, sdk.APIStatusError),
        ("body_too_large", 413, sdk.APIStatusError),
        ("address_blocked", 422, sdk.UnprocessableEntityError),
        ("unknown", 429, sdk.RateLimitError),
        ("internal", 500, sdk.InternalServerError),
        ("queue_full", 503, sdk.InternalServerError),
    ],
)
def test_refusal_becomes_the_error_of_its_status(
    connect: Callable[..., Any], origin: Origin, code: str, status: int, kind: type[Exception]
) -> None:
    origin.will(problem(code, status))

    with pytest.raises(sdk.APIStatusError) as caught:
        connect(max_retries=0).get(SCAN_ID)

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.code, error.request_id) == (status, code, "req_1")
    assert error.problem is not None
    assert error.hint == error.problem.hint
    assert error.scan_id == SCAN_ID
    assert all(
        part in str(error) for part in (str(status), "It did not work.", "req_1", error.hint)
    )


def test_refusal_with_a_code_of_a_newer_server_reads_as_unknown(
    client: Any, origin: Origin
) -> None:
    reply = problem("not_found")
    origin.will(reply._replace(body=reply.body.replace(b'"not_found"', b'"lost_at_sea"')))

    with pytest.raises(sdk.NotFoundError) as caught:
        client.get(SCAN_ID)

    assert caught.value.code is sdk.ProblemCode.UNKNOWN


def test_page_of_a_proxy_is_told_from_a_refusal(
    connect: Callable[..., Any], origin: Origin
) -> None:
    origin.will(Reply(502, PAGE, {**HTML, "X-Request-Id": "req_proxy"}))

    with pytest.raises(sdk.InternalServerError, match="502 with text/html") as caught:
        connect(max_retries=0).get(SCAN_ID)

    assert caught.value.problem is None
    assert caught.value.code is sdk.ProblemCode.UNKNOWN
    assert caught.value.request_id == "req_proxy"
    assert "PINCLIP_BASE_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        pytest.param(Reply(200, PAGE, HTML), "proxy", id="page"),
        pytest.param(Reply(200), "proxy", id="nothing"),
        pytest.param(ok({"id": "x"}), "update", id="half a scan"),
        pytest.param(ok([]), "update", id="another shape"),
        pytest.param(Reply(200, ok(scan()).body[:-9], JSON), "proxy", id="truncated"),
        pytest.param(Reply(200, b'{"id": "\xff"}', JSON), "proxy", id="not even text"),
        pytest.param(Reply(200, b"ab", {"Content-Encoding": "gzip"}), "proxy", id="broken gzip"),
    ],
)
def test_success_that_is_no_scan_is_an_error_and_not_asked_again(
    client: Any, origin: Origin, reply: Reply, hint: str
) -> None:
    origin.will(reply, ok(scan()))

    with pytest.raises(sdk.APIResponseValidationError) as caught:
        client.get(SCAN_ID)

    assert caught.value.code == "response_invalid"
    assert hint in caught.value.hint
    assert len(origin.seen) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_is_asked_again(
    client: Any, origin: Origin, clock: ManualClock, status: int
) -> None:
    origin.will(problem("internal", status), Reply(status, PAGE, HTML), ok(scan()))

    assert client.get(SCAN_ID) == scan()

    first, second = clock.slept
    assert 0.5 <= first < 1.0 <= second < 2.0


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410, 413, 415, 422])
def test_lasting_trouble_is_not_asked_again(client: Any, origin: Origin, status: int) -> None:
    origin.will(problem("unknown", status), ok(scan()))

    with pytest.raises(sdk.APIStatusError):
        client.get(SCAN_ID)

    assert len(origin.seen) == 1


def test_request_that_is_under_way_is_asked_for_again(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(problem("idempotency_in_flight"), accepted())

    assert client.submit("https://example.org/a.jpg").status is sdk.Status.QUEUED

    first, second = origin.seen
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(clock.slept) == 1


@pytest.mark.parametrize("failure", ["dropped", "500"])
def test_secret_is_not_rotated_twice_where_the_answer_is_lost(
    client: Any, origin: Origin, failure: str
) -> None:
    lost = ok({})._replace(is_dropped=True) if failure == "dropped" else problem("internal")
    origin.will(lost)

    with pytest.raises(sdk.APIError):
        client.webhooks.rotate("whk_1")

    assert len(origin.seen) == 1


def test_secret_is_rotated_later_where_the_server_is_busy(client: Any, origin: Origin) -> None:
    origin.will(problem("rate_limited"), ok({"secret": "whsec_1"}))

    assert client.webhooks.rotate_callback_secret().secret == "whsec_1"


def test_what_an_earlier_try_deleted_is_deleted(client: Any, origin: Origin) -> None:
    origin.will(problem("internal"), problem("not_found"))

    client.scans.delete(SCAN_ID)

    assert [seen.method for seen in origin.seen] == ["DELETE", "DELETE"]


def test_what_never_was_cannot_be_deleted(client: Any, origin: Origin) -> None:
    origin.will(problem("not_found"))

    with pytest.raises(sdk.NotFoundError):
        client.scans.delete(SCAN_ID)


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_retries_end_at_max_retries(
    connect: Callable[..., Any], origin: Origin, max_retries: int
) -> None:
    origin.will(*[problem("internal")] * 6)

    with pytest.raises(sdk.InternalServerError):
        connect(max_retries=max_retries).get(SCAN_ID)

    assert len(origin.seen) == max_retries + 1


def test_retry_comes_no_sooner_than_the_server_asks(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(problem("queue_full", headers={"Retry-After": "120"}), ok(scan()))

    client.get(SCAN_ID)

    assert clock.slept == [120.0]


def test_retry_reads_a_date_by_the_clock_of_the_server(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    # http.server writes the true Date; a date long past asks for no wait at all.
    origin.will(
        problem("queue_full", headers={"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}), ok(scan())
    )

    client.get(SCAN_ID)

    assert 0.5 <= clock.slept[0] < 1.0


def test_retry_is_left_to_the_caller_when_the_server_asks_for_long(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(problem("queue_full", headers={"Retry-After": "121"}))

    with pytest.raises(sdk.InternalServerError) as caught:
        client.get(SCAN_ID)

    assert caught.value.retry_after == 121.0
    assert clock.slept == []


def test_retries_of_a_post_share_a_key_and_calls_do_not(client: Any, origin: Origin) -> None:
    origin.will(problem("internal"), uploaded(), problem("internal"), ok(scan()))

    client.submit(b"abc")

    keys = [seen.headers["idempotency-key"] for seen in origin.seen]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert all(key[0] == key[-1] == '"' for key in keys)


def test_retry_sends_the_whole_body_again(client: Any, origin: Origin) -> None:
    origin.will(problem("internal"), uploaded(), ok(scan()))

    client.submit(b"abc")

    assert [seen.body for seen in origin.seen[:2]] == [b"abc", b"abc"]


def test_connection_that_is_refused_is_tried_again_then_told(
    connect: Callable[..., Any], clock: ManualClock
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(sdk.APIConnectionError) as caught:
            connect(base_url=address).get(SCAN_ID)

    assert type(caught.value) is sdk.APIConnectionError
    assert caught.value.code == "connection_failed"
    assert caught.value.scan_id == SCAN_ID
    assert address in str(caught.value)
    assert "pinclip up" in caught.value.hint
    assert len(clock.slept) == 2


def test_connection_that_breaks_is_tried_again(client: Any, origin: Origin) -> None:
    whole = ok(scan())
    origin.will(whole._replace(is_dropped=True), whole)

    assert client.get(SCAN_ID) == scan()
    assert len(origin.seen) == 2


def test_silence_is_a_timeout(connect: Callable[..., Any], origin: Origin) -> None:
    with pytest.raises(sdk.APITimeoutError) as caught:
        connect(timeout=0.1, max_retries=1).get(SCAN_ID)

    assert caught.value.code == "request_timeout"
    assert len(origin.seen) == 2


def test_held_request_has_its_wait_on_top_of_the_timeout(
    connect: Callable[..., Any], origin: Origin
) -> None:
    origin.will(ok(scan())._replace(held_seconds=0.3))

    found = connect(timeout=0.1, max_retries=0).wait(SCAN_ID, timeout=5)

    assert found == scan()


def test_call_that_waits_for_a_free_connection_does_not_time_out(origin: Origin) -> None:
    origin.will(*[ok(scan())._replace(held_seconds=0.3)] * 2)

    async def both() -> list[sdk.Scan]:
        one_at_a_time = httpx.Limits(max_connections=1)
        async with (
            httpx.AsyncClient(limits=one_at_a_time) as http,
            sdk.AsyncClient(
                base_url=origin.url, timeout=0.2, max_retries=0, http_client=http
            ) as client,
        ):
            return await asyncio.gather(*[client.wait(SCAN_ID, timeout=5) for _ in range(2)])

    assert asyncio.run(both()) == [scan(), scan()]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_origin(authority: trustme.CA) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    origin = Origin(tls=context)
    yield origin
    origin.close()


def test_certificate_that_nobody_vouches_for_is_refused(
    connect: Callable[..., Any], secure_origin: Origin, clock: ManualClock
) -> None:
    secure_origin.will(ok(scan()))

    with pytest.raises(sdk.APITLSError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        connect(base_url=secure_origin.url, api_key="hush").get(SCAN_ID)

    assert caught.value.code == "tls_failed"
    assert "SSL_CERT_FILE" in caught.value.hint
    assert secure_origin.seen == []
    assert clock.slept == []  # it will not be trusted a second later


def test_server_without_tls_is_told_from_one_that_is_not_trusted(
    connect: Callable[..., Any], origin: Origin
) -> None:
    address = origin.url.replace("http:", "https:")

    with pytest.raises(sdk.APITLSError) as caught:
        connect(base_url=address, api_key="hush").get(SCAN_ID)

    assert "http://" in caught.value.hint
    assert origin.seen == []


def test_certificate_of_the_lent_client_is_taken(
    secure_origin: Origin, authority: trustme.CA
) -> None:
    secure_origin.will(ok(scan()))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    with httpx.Client(verify=trust) as http:
        client = sdk.Client(base_url=secure_origin.url, http_client=http)

        assert client.get(SCAN_ID) == scan()


def test_address_in_messages_has_no_password(connect: Callable[..., Any], origin: Origin) -> None:
    address = origin.url.replace("//", "//user:hush@")

    with pytest.raises(sdk.APITimeoutError) as caught:
        connect(base_url=address, timeout=0.1, max_retries=0).get(SCAN_ID)

    assert "hush" not in str(caught.value)
    assert origin.url in str(caught.value)


def test_certificate_of_the_environment_is_taken_on_this_machine(
    connect: Callable[..., Any],
    secure_origin: Origin,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    secure_origin.will(ok(scan()))

    assert connect(base_url=secure_origin.url).get(SCAN_ID) == scan()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "smoke://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nonexistent.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
    ],
)
def test_environment_that_no_connection_can_be_made_with_is_a_fault_of_settings(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(sdk.SettingsError, match=name):
        connect(base_url="https://example.org")


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "\N{SNOWMAN}.net"])
def test_host_that_has_no_name_in_dns_is_a_fault_of_settings(
    connect: Callable[..., Any], host: str
) -> None:
    with pytest.raises(sdk.SettingsError, match="PINCLIP_BASE_URL"):
        connect(base_url=f"http://{host}")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"title":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"x":' + b"[" * 100_000, id="too deep"),
    ],
)
@pytest.mark.parametrize("status", [409, 502])
def test_refusal_that_cannot_be_read_is_one_all_the_same(
    client: Any, origin: Origin, clock: ManualClock, body: bytes, status: int
) -> None:
    origin.will(*[Reply(status, body, JSON)] * 3)

    with pytest.raises(sdk.APIStatusError) as caught:
        client.get(SCAN_ID)

    assert (caught.value.status_code, caught.value.problem) == (status, None)
    assert len(clock.slept) == (2 if status == 502 else 0)


def test_redirect_is_told_as_one(client: Any, origin: Origin) -> None:
    origin.will(Reply(301, headers={"Location": "https://example.org/"}))

    with pytest.raises(sdk.APIStatusError) as caught:
        client.get(SCAN_ID)

    assert "https://" in caught.value.hint
    assert len(origin.seen) == 1


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_timeout_that_no_socket_takes_is_refused(
    connect: Callable[..., Any], timeout: float
) -> None:
    with pytest.raises(sdk.InputError, match="timeout is"):
        connect(timeout=timeout)
    with pytest.raises(sdk.InputError, match="timeout is"):
        connect().with_options(timeout=timeout)


def test_time_without_an_end_is_taken(connect: Callable[..., Any], origin: Origin) -> None:
    forever = float("inf")
    origin.will(accepted(), ok(scan()))

    found = connect(timeout=forever).check("https://example.org/picture.jpg", wait=forever)

    assert found == scan()
