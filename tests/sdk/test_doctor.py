"""`pinclip doctor`: what is wrong between here and a verdict is found, and said with a remedy."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trustme

import sdk
from benchmarks.running_system import free_port
from sdk.commands.doctor import Finding, State, examine, main, new_picture, verdict
from sdk.commands.exits import Exit
from sdk.wire import Health, KeyFacts, Scope

from .conftest import Origin, Reply, failed, ok, problem
from .conftest import uploaded as taken
from .quiet_api import quiet_api

WELL = {"ok": True}
HEALTHY = ok(Health(status="ok"))
READY = ok(Health(status="ok", checks={"store": WELL}))
KEY = KeyFacts(id="key_1", owner="acme", scopes=(Scope.SCAN,))


@pytest.fixture
def scripted(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Origin:
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)
    return origin


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def states(findings: list[Finding]) -> dict[str, State]:
    return {one.name: one.state for one in findings}


def told(findings: list[Finding], name: str) -> Finding:
    return next(one for one in findings if one.name == name)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with quiet_api() as url:
        yield url


@pytest.mark.redis
def test_doctor_finds_a_running_system_well_and_leaves_nothing_behind(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", url)
    monkeypatch.delenv("PINCLIP_API_KEY", raising=False)

    assert main([]) == Exit.DONE
    assert main(["--json"]) == Exit.DONE

    *lines, answer = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("ok ") for line in lines)
    assert "worker: 1 alive: fixed on cpu (fixed, float32)." in " ".join(lines)
    assert "its scan is erased again" in lines[-1]
    read = msgspec.json.decode(answer)
    assert read["ok"] is True
    assert [one["name"] for one in read["findings"]][-2:] == ["worker", "check"]
    with sdk.Client() as client:
        assert list(client.scans.list()) == []


def test_doctor_tells_wrong_settings_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", "nonsense")

    assert main([]) == Exit.AUTH

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("failed   settings: PINCLIP_BASE_URL")


def test_doctor_says_how_to_start_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", f"http://127.0.0.1:{free_port()}")

    findings = list(examine())

    assert verdict(findings) == Exit.SERVER
    assert "refused" in told(findings, "server").text
    assert "`pinclip up`" in told(findings, "server").hint
    assert findings[-1].state is State.SKIPPED


@pytest.mark.parametrize(
    "reply", [Reply(200, b"<html>"), Reply(200, b"\xff"), Reply(404, b"{}"), Reply(502, b"Bad")]
)
def test_doctor_tells_another_program_from_pinclip(scripted: Origin, reply: Reply) -> None:
    scripted.will(reply)

    findings = list(examine())

    assert verdict(findings) == Exit.SERVER
    assert "not as pinclip does" in told(findings, "server").text
    assert len(scripted.seen) == 1


def test_doctor_names_the_proxy_without_its_password(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = origin.url.removeprefix("http://")
    monkeypatch.setenv("PINCLIP_BASE_URL", "http://pinclip.invalid")
    monkeypatch.setenv("http_proxy", f"http://me:hidden@{host}")
    origin.will(HEALTHY, problem("auth_missing"), READY)

    findings = list(examine())

    assert told(findings, "network").text == f"requests go through the proxy http://{host}"
    assert told(findings, "server").state is State.OK
    assert origin.seen[0].path == "http://pinclip.invalid/healthz"


def test_doctor_warns_of_a_key_that_can_be_read_on_the_way(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", "http://pinclip.invalid")
    monkeypatch.setenv("PINCLIP_API_KEY", "hidden")
    monkeypatch.setenv("http_proxy", origin.url)
    origin.will(HEALTHY, problem("auth_invalid"), READY)

    findings = list(examine())

    assert told(findings, "encryption").state is State.WARNING
    assert all("hidden" not in one.text + one.hint for one in findings)


def test_doctor_tells_a_certificate_that_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    origin = Origin(tls=context)
    monkeypatch.setenv("PINCLIP_BASE_URL", origin.url.replace("127.0.0.1", "localhost"))

    findings = list(examine())
    origin.close()

    assert verdict(findings) == Exit.SERVER
    assert told(findings, "encryption").state is State.FAILED
    assert "SSL_CERT_FILE" in told(findings, "encryption").hint


@pytest.mark.parametrize(("seconds", "way"), [(1000, "ahead of"), (-1000, "behind")])
def test_doctor_warns_of_a_clock_that_is_wrong(scripted: Origin, seconds: int, way: str) -> None:
    scripted.will(HEALTHY, problem("auth_missing"), READY)

    findings = list(examine(wall_time=lambda: time.time() + seconds))  # noqa: TID251 - wrong by so much

    assert told(findings, "clock").state is State.WARNING
    assert way in told(findings, "clock").text


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(problem("auth_missing"), "auth_missing", id="no key"),
        pytest.param(problem("key_revoked"), "key_revoked", id="revoked"),
        pytest.param(ok(msgspec.structs.replace(KEY, scopes=(Scope.READ,))), "read", id="scope"),
    ],
)
def test_doctor_tells_a_key_that_will_not_do(scripted: Origin, reply: Reply, said: str) -> None:
    scripted.will(HEALTHY, reply, READY)

    findings = list(examine())

    assert verdict(findings) == Exit.AUTH
    assert said in told(findings, "key").text
    assert told(findings, "key").hint
    assert states(findings)["check"] is State.SKIPPED


@pytest.mark.parametrize("part", ["store", "redis", "worker"])
def test_doctor_tells_the_part_that_is_down_and_what_to_do(scripted: Origin, part: str) -> None:
    checks: dict[str, Any] = {"store": WELL, "redis": WELL, "worker": {"ok": True, "workers": []}}
    checks[part] = {"ok": False, "detail": "no answer within 0.9 s"}
    scripted.will(HEALTHY, ok(KEY), ok(Health(status="unavailable", checks=checks), 503))

    findings = list(examine())

    assert verdict(findings) == Exit.SERVER
    assert told(findings, part).text == "no answer within 0.9 s"
    assert told(findings, part).hint
    assert findings[-1].text == f"{part} has to be well first"


def test_doctor_tells_why_the_picture_was_not_judged(scripted: Origin) -> None:
    scripted.will(HEALTHY, ok(KEY), READY, taken(), ok(failed("scoring_failed")))

    findings = list(examine())

    assert verdict(findings) == Exit.SCAN_FAILED
    assert "scoring_failed" in told(findings, "check").text


def test_new_picture_is_an_image_that_was_never_there() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    first, second = new_picture(), new_picture()

    assert first != second
    with image.open(io.BytesIO(first)) as opened:
        opened.load()
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (256, 256))


@pytest.mark.parametrize("proxy", ["smoke://127.0.0.1:1", "http://[::1"])
def test_doctor_tells_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("PINCLIP_BASE_URL", "http://pinclip.invalid")
    monkeypatch.setenv("http_proxy", proxy)

    findings = list(examine())

    assert told(findings, "server").state is State.FAILED
    assert "HTTP_PROXY" in told(findings, "server").text
    assert verdict(findings) is Exit.AUTH
