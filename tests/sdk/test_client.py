"""sdk.Client and sdk.AsyncClient: what each verb sends, returns and raises; both alike."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import sdk
from sdk.wire import Priority

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


def test_check_submits_a_url_and_holds_for_the_verdict(client: Any, origin: Origin) -> None:
    origin.will(accepted(), ok(scan()))

    found = client.check(URL)

    post, get = origin.seen
    assert (post.method, post.path) == ("POST", "/v1/scans")
    assert post.json == {"url": URL}  # no more: an older server would not know a newer field
    assert (get.method, get.path) == ("GET", f"/v1/scans/{SCAN_ID}")
    # A second less than the caller waits, so that the last answer is there in time.
    assert post.headers["prefer"] == get.headers["prefer"] == "wait=19"
    assert "cache-control" not in post.headers
    assert found == scan()


def test_check_asks_once_when_the_answer_is_known(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    assert client.check(URL).verdict is sdk.Verdict.LIKELY_AI
    assert len(origin.seen) == 1


def test_check_looks_again_while_the_server_has_no_verdict(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(accepted(), ok(scan("fetching"), 202), ok(scan("scoring"), 202), ok(scan()))

    found = client.check(URL)

    assert found.status is sdk.Status.COMPLETED
    assert clock.slept == [1.0, 1.0]


def test_check_uploads_bytes_and_names_the_upload(client: Any, origin: Origin) -> None:
    origin.will(uploaded(), accepted(), ok(scan()))

    client.check(b"\xff\xd8\x00")

    upload, post, _ = origin.seen
    assert (upload.method, upload.path, upload.body) == ("POST", "/v1/uploads", b"\xff\xd8\x00")
    assert upload.headers["content-type"] == "application/octet-stream"
    assert post.json["upload_id"] == UPLOAD_ID
    assert "url" not in post.json


def test_check_uploads_a_file(client: Any, origin: Origin, tmp_path: Path) -> None:
    origin.will(uploaded(), accepted(), ok(scan()))
    (tmp_path / "a.jpg").write_bytes(b"abc")

    client.check(tmp_path / "a.jpg")

    assert origin.seen[0].body == b"abc"


def test_check_sends_a_file_of_20_mib(client: Any, origin: Origin, tmp_path: Path) -> None:
    origin.will(uploaded(), ok(scan()))
    (tmp_path / "a.jpg").write_bytes(b"x" * 20 * 2**20)

    client.check(tmp_path / "a.jpg")

    assert len(origin.seen[0].body) == 20 * 2**20


def test_check_refuses_a_larger_file_here(client: Any, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * (20 * 2**20 + 1))

    with pytest.raises(sdk.InputError, match="20 MiB"):
        client.check(tmp_path / "a.jpg")

    assert origin.seen == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param("photo.jpg", "pathlib.Path", id="file name as str"),
        pytest.param("", "pathlib.Path", id="empty str"),
        pytest.param("ftp://example.org/a.jpg", "http or https", id="other scheme"),
        pytest.param("data:image/png;base64,AAAA", "its bytes", id="data URL"),
        pytest.param(b"", "empty", id="no bytes"),
        pytest.param(b"x" * (20 * 2**20 + 1), "20 MiB", id="too many bytes"),
        pytest.param(None, "NoneType", id="None"),
        pytest.param(["https://example.org"], "list", id="list"),
    ],
)
def test_check_refuses_what_cannot_be_sent(
    client: Any, origin: Origin, image: Any, said: str
) -> None:
    with pytest.raises(sdk.InputError, match=said) as caught:
        client.check(image)

    assert caught.value.code == "input_invalid"
    assert caught.value.hint
    assert origin.seen == []


def test_check_repeats_no_query_when_it_refuses_a_url(client: Any) -> None:
    with pytest.raises(sdk.InputError) as caught:
        client.check("example.org/a.jpg?token=hush")

    assert "hush" not in str(caught.value)


def test_check_says_which_file_is_missing(client: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        client.check(tmp_path / "gone.jpg")


def test_submit_returns_the_scan_as_accepted(client: Any, origin: Origin) -> None:
    origin.will(accepted())

    assert client.submit(URL).status is sdk.Status.QUEUED
    (post,) = origin.seen
    assert "prefer" not in post.headers


def test_operating_point_of_the_client_holds_unless_a_call_has_its_own(
    connect: Callable[..., Any], origin: Origin
) -> None:
    origin.will(ok(scan()), ok(scan()))
    client = connect(operating_point="strict")

    client.check(URL)
    client.check(URL, operating_point=sdk.PointName.SENSITIVE)

    assert [seen.json["operating_point"] for seen in origin.seen] == ["strict", "sensitive"]


def test_operating_point_that_does_not_exist_is_refused_here(
    connect: Callable[..., Any], client: Any, origin: Origin
) -> None:
    with pytest.raises(sdk.InputError, match="strict, balanced, sensitive"):
        client.check(URL, operating_point="fair")
    with pytest.raises(sdk.InputError, match="'fair'"):
        connect(operating_point="fair")

    assert origin.seen == []


def test_priority_of_a_call_is_sent(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()), uploaded(), ok(scan()))

    client.check(URL, priority="bulk")
    client.submit(b"abc", priority=Priority.BULK)

    assert [seen.json["priority"] for seen in origin.seen if seen.path == "/v1/scans"] == [
        "bulk",
        "bulk",
    ]


def test_priority_that_does_not_exist_is_refused_here(client: Any, origin: Origin) -> None:
    with pytest.raises(sdk.InputError, match="interactive or bulk"):
        client.check(b"abc", priority="urgent")

    assert origin.seen == []


def test_wait_takes_an_id(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    assert client.wait(SCAN_ID, timeout=7.9).id == SCAN_ID
    assert origin.seen[0].headers["prefer"] == "wait=7"


def test_wait_asks_the_server_to_hold_for_30_seconds_at_most(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    client.wait(SCAN_ID, timeout=500)

    assert origin.seen[0].headers["prefer"] == "wait=30"


def test_wait_asks_nothing_of_a_final_scan(client: Any, origin: Origin) -> None:
    assert client.wait(scan()) == scan()
    with pytest.raises(sdk.ScanFailed):
        client.wait(failed())

    assert origin.seen == []


def test_wait_gives_up_when_time_is_up_and_can_be_resumed(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(*[ok(scan("scoring"), 202)] * 4)

    with pytest.raises(sdk.ScanTimeout) as caught:
        client.wait(SCAN_ID, timeout=3)

    holds = [seen.headers.get("prefer") for seen in origin.seen]
    assert holds == ["wait=2", "wait=1", None, None]
    assert clock.slept == [1.0, 1.0, 0.75]
    assert (caught.value.code, caught.value.scan_id) == ("scan_timeout", SCAN_ID)
    assert caught.value.scan.status is sdk.Status.SCORING

    origin.will(ok(scan()))
    assert client.wait(caught.value.scan_id).verdict is sdk.Verdict.LIKELY_AI


def test_wait_looks_once_when_there_is_no_time(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    assert client.wait(SCAN_ID, timeout=0).verdict is sdk.Verdict.LIKELY_AI


def test_check_raises_scan_failed_with_the_reason(client: Any, origin: Origin) -> None:
    origin.will(accepted(), ok(failed()))

    with pytest.raises(sdk.ScanFailed) as caught:
        client.check(URL)

    assert caught.value.code is sdk.ScanErrorCode.FETCH_FORBIDDEN
    assert caught.value.hint.startswith("Send bytes.")
    assert "bytes_of" in caught.value.hint
    assert caught.value.scan == failed()


@pytest.mark.parametrize(
    ("result", "code"),
    [
        pytest.param(scan("canceled"), "canceled", id="canceled"),
        pytest.param(scan("failed"), "unknown", id="failed without a reason"),
        pytest.param(scan(verdict=None), "unknown", id="completed without a verdict"),
        pytest.param(
            msgspec.structs.replace(scan("failed"), verdict=sdk.Verdict.NO_SIGN_OF_AI),
            "unknown",
            id="failed with a verdict",
        ),
    ],
)
def test_check_raises_scan_failed_for_any_end_without_a_verdict(
    client: Any, origin: Origin, result: sdk.Scan, code: str
) -> None:
    origin.will(ok(result))

    with pytest.raises(sdk.ScanFailed) as caught:
        client.check(URL)

    assert caught.value.code == code


def test_get_returns_a_failed_scan_as_it_is(client: Any, origin: Origin) -> None:
    origin.will(ok(failed()))

    assert client.get(SCAN_ID) == failed()
    assert "prefer" not in origin.seen[0].headers


@pytest.mark.parametrize("scan_id", ["", "..", "a/b", "a?b", "a b", "é"])
def test_get_refuses_what_is_no_id(client: Any, origin: Origin, scan_id: str) -> None:
    with pytest.raises(sdk.InputError, match="not a scan's id"):
        client.get(scan_id)

    assert origin.seen == []


def test_unknown_verdict_reads_as_inconclusive(client: Any, origin: Origin) -> None:
    newer = {**msgspec.to_builtins(scan()), "verdict": "surely_real", "mood": {"new": 1}}
    origin.will(ok(newer))

    assert client.check(URL).verdict is sdk.Verdict.INCONCLUSIVE


def test_unknown_error_code_reads_as_unknown(client: Any, origin: Origin) -> None:
    newer = msgspec.to_builtins(failed())
    newer["error"]["code"] = "fetch_by_moonlight"
    origin.will(ok(newer))

    assert client.get(SCAN_ID).error.code is sdk.ScanErrorCode.UNKNOWN


def test_scan_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="verdict"):
        bool(scan())


def test_client_shows_its_key(connect: Callable[..., Any], origin: Origin) -> None:
    origin.will(ok(scan()))

    connect(api_key="hush").get(SCAN_ID)

    assert origin.seen[0].headers["authorization"] == "Bearer hush"


def test_client_sends_no_key_where_there_is_none(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    client.get(SCAN_ID)

    assert "authorization" not in origin.seen[0].headers


def test_client_reads_the_environment_unless_told_otherwise(
    connect: Callable[..., Any], origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url + "/under/")
    monkeypatch.setenv("PINCLIP_API_KEY", "from_environment")
    origin.will(ok(scan()), ok(scan()))

    connect(base_url=None).get(SCAN_ID)
    connect(base_url=None, api_key="argument").get(SCAN_ID)

    first, second = origin.seen
    assert first.path == f"/under/v1/scans/{SCAN_ID}"
    assert first.headers["authorization"] == "Bearer from_environment"
    assert second.headers["authorization"] == "Bearer argument"


def test_client_refuses_a_host_that_no_name_server_can_know(connect: Callable[..., Any]) -> None:
    with pytest.raises(sdk.SettingsError, match="PINCLIP_BASE_URL"):
        connect(base_url="http://\u2603.example")


def test_client_uses_a_lent_http_client_and_leaves_it_open(
    origin: Origin, clock: ManualClock
) -> None:
    origin.will(ok(scan()), ok(scan()))

    with httpx.Client(headers={"X-Team": "red"}) as http:
        with sdk.Client(base_url=origin.url, http_client=http) as client:
            client.get(SCAN_ID)
        http.get(origin.url)

    assert origin.seen[0].headers["x-team"] == "red"


def test_client_follows_no_redirect_with_its_key(
    connect: Callable[..., Any], origin: Origin
) -> None:
    origin.will(Reply(302, b"", {"Location": "/elsewhere"}), ok(scan()))

    with pytest.raises(sdk.APIStatusError, match="PINCLIP_BASE_URL"):
        connect(api_key="hush").get(SCAN_ID)

    assert len(origin.seen) == 1


def test_client_asks_a_local_server_without_the_proxy_of_the_environment(
    connect: Callable[..., Any], origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    origin.will(ok(scan()))

    assert connect().get(SCAN_ID) == scan()


def test_client_asks_a_distant_server_through_the_proxy_of_the_environment(
    connect: Callable[..., Any], origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", origin.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    origin.will(ok(scan()))

    connect(base_url="http://pinclip.invalid").get(SCAN_ID)

    assert origin.seen[0].path == f"http://pinclip.invalid/v1/scans/{SCAN_ID}"


def test_client_that_is_closed_sends_nothing_more(client: Any, origin: Origin) -> None:
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.get(SCAN_ID)


PARTS = (
    None,
    "scans",
    "batches",
    "appeals",
    "feedback",
    "webhooks",
    "models",
    "with_raw_response",
)


def _public(face: Any) -> dict[str, str]:
    """Return the signature of each public method, types included."""
    return {
        name: str(inspect.signature(getattr(face, name)))
        for name in dir(face)
        if not name.startswith("_") and callable(getattr(face, name))
    }


@pytest.mark.parametrize("part", PARTS)
def test_clients_have_the_same_names_and_arguments(part: str | None) -> None:
    faces: list[Any] = [sdk.Client(base_url="http://127.0.0.1:1")]
    faces.append(sdk.AsyncClient(base_url="http://127.0.0.1:1"))
    blocking, waiting = (_public(face if part is None else getattr(face, part)) for face in faces)

    assert blocking
    for own, theirs in (
        ("Iterable[X] | AsyncIterable[X]", "Iterable[X]"),
        ("AsyncGenerator[Checked[X], None]", "Generator[Checked[X], None, None]"),
        ("AsyncClient", "Client"),
    ):
        waiting = {name: text.replace(own, theirs) for name, text in waiting.items()}
    assert waiting == blocking


def test_clients_can_be_made_with_the_same_arguments() -> None:
    blocking, waiting = (str(inspect.signature(kind)) for kind in (sdk.Client, sdk.AsyncClient))

    assert waiting.replace("AsyncHttp", "SyncHttp") == blocking


def test_methods_of_the_waiting_client_are_coroutine_functions() -> None:
    client = sdk.AsyncClient(base_url="http://127.0.0.1:1")

    assert all(map(inspect.iscoroutinefunction, (client.check, client.scans.get, client.close)))
    assert not inspect.iscoroutinefunction(sdk.Client.check)


def test_public_names_are_exactly_those_promised() -> None:
    assert sorted(sdk.__all__) == sdk.__all__
    assert all(hasattr(sdk, name) for name in sdk.__all__)
    errors = {
        name
        for name, value in vars(sdk.errors).items()
        if isinstance(value, type) and issubclass(value, sdk.PinclipError)
    }
    assert errors < set(sdk.__all__)


def test_examples_of_the_package_are_true(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url)
    origin.will(accepted(), ok(scan()))

    tried = doctest.testmod(sdk, optionflags=doctest.ELLIPSIS, globs={"print": print})

    assert tried.attempted >= 5
    assert tried.failed == 0


def test_import_of_the_package_leaves_http_for_later() -> None:
    code = "import sdk, sys; print({'httpx', 'asyncio', 'ssl'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        pytest.param(lambda c: c.check("http://a/\udcff"), "surrogate", id="URL"),
        pytest.param(lambda c: c.submit(URL, metadata={"a": "\udcff"}), "surrogate", id="metadata"),
        pytest.param(
            lambda c: c.appeals.create(SCAN_ID, reason="\udcff"), "surrogate", id="reason"
        ),
        pytest.param(lambda c: c.check(Path("a\0b")), "not the name of a file", id="NUL"),
        pytest.param(lambda c: c.lookup(Path("a\0b")), "not the name of a file", id="NUL there"),
        pytest.param(lambda c: c.check(URL, wait=float("nan")), "nan", id="no number"),
        pytest.param(lambda c: c.wait(SCAN_ID, timeout=float("nan")), "nan", id="nor to wait"),
        pytest.param(lambda c: c.get("a" * 256), "not a scan's id", id="too long an id"),
    ],
)
def test_what_cannot_be_sent_is_an_input_error_and_shows_no_more_than_it_must(
    client: Any, origin: Origin, ask: Callable[[Any], Any], said: str
) -> None:
    origin.will(problem("not_found"))

    with pytest.raises(sdk.InputError, match=said):
        ask(client)

    assert origin.seen == []


def test_lookup_takes_no_answer_about_another_image(client: Any, origin: Origin) -> None:
    origin.will(ok({"data": [{"sha256": "1" * 64, "verdict": "no_sign_of_ai"}]}))

    with pytest.raises(sdk.APIResponseValidationError, match="other images"):
        client.lookup("0" * 64)
