"""`pinclip webhook verify`: tells a delivery of pinclip's from any other."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sdk import webhooks
from sdk.commands.exits import Exit
from sdk.commands.webhook import headers_of, main

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = (
    b'{"id":"evt_1","type":"ping","timestamp":"2026-11-01T00:00:00Z","sequence":1,'
    b'"data":{"endpoint":{"id":"whk_1","url":"https://a.example","events":[],"description":"",'
    b'"state":"enabled","created_at":"2026-11-01T00:00:00Z"}}}'
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINCLIP_WEBHOOK_SECRET", SECRET)


@pytest.fixture
def body(tmp_path: Path) -> Path:
    (tmp_path / "body.json").write_bytes(BODY)
    return tmp_path / "body.json"


def options(body: bytes = BODY, *, seconds_ago: int = 0, secret: str = SECRET) -> list[str]:
    """Return the headers of a delivery as arguments."""
    at = int(time.time()) - seconds_ago  # noqa: TID251 - deliveries are signed by the wall clock
    signed = webhooks.sign(body, secret, event_id="evt_1", timestamp=at)
    return [f"--header={name}: {value}" for name, value in signed.items()]


def test_verify_says_what_a_delivery_of_ours_is(
    body: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(body), *options()]) == Exit.DONE
    assert main(["verify", str(body), *options(), "--json"]) == Exit.DONE

    line, told = capsys.readouterr().out.splitlines()
    assert line == "valid: ping evt_1"
    assert msgspec.json.decode(told) == {"valid": True, "id": "evt_1", "type": "ping"}


def test_verify_reads_a_saved_request_and_stdin(tmp_path: Path) -> None:
    head = tmp_path / "head.txt"
    lines = [option.removeprefix("--header=") for option in options()]
    head.write_text("\r\n".join(["POST https://a.example/hook HTTP/1.1", "Host: a", *lines, ""]))
    code = "import sys; from sdk.commands.webhook import main; sys.exit(main(sys.argv[1:]))"

    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "--headers", str(head)],
        input=BODY,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"valid: ping evt_1\n", b"")


OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


@pytest.mark.parametrize(
    ("signed", "said"),
    [
        pytest.param(lambda: options(BODY + b" "), "signatures", id="changed"),
        pytest.param(lambda: options(secret=OTHER), "signatures", id="another's"),
        pytest.param(lambda: options(seconds_ago=4000), "s before now", id="replayed"),
        pytest.param(list, "no webhook-id", id="no headers"),
    ],
)
def test_verify_says_why_a_delivery_is_not_to_be_trusted(
    body: Path, capsys: pytest.CaptureFixture[str], signed: Callable[[], list[str]], said: str
) -> None:
    # Signed now: tests are collected minutes before the last of them runs.
    assert main(["verify", str(body), *signed(), "--json"]) == Exit.SCAN_FAILED

    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    answer = msgspec.json.decode(told.out)
    assert answer["valid"] is False
    assert answer["error"]["code"] == "webhook_signature_invalid"


def test_verify_takes_an_old_delivery_when_told_to(body: Path) -> None:
    old = options(seconds_ago=4000)

    assert main(["verify", str(body), *old, "--tolerance", "5000"]) == Exit.DONE


def test_verify_tells_a_signed_body_that_is_no_event(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"[]")

    assert main(["verify", str(tmp_path / "b"), *options(b"[]")]) == Exit.SERVER


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!"])
def test_verify_asks_for_a_secret_that_is_one_and_never_shows_it(
    monkeypatch: pytest.MonkeyPatch, body: Path, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    monkeypatch.setenv("PINCLIP_WEBHOOK_SECRET", secret)

    assert main(["verify", str(body), *options()]) == Exit.AUTH

    told = capsys.readouterr().err
    assert told.startswith("pinclip: PINCLIP_WEBHOOK_SECRET")
    assert "!!" not in told


@pytest.mark.parametrize("argv", [[], ["check"], ["verify", "--tolerance", "-1"]])
def test_webhook_refuses_misuse(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == Exit.USAGE


def test_verify_calls_a_file_that_is_not_there_misuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path / "gone"), *options()]) == Exit.USAGE
    assert str(tmp_path / "gone") in capsys.readouterr().err


def test_headers_of_passes_over_what_is_no_header() -> None:
    assert headers_of(["GET http://a.example HTTP/1.1", "", "A:1", "b: x: y \r\n", "no"]) == {
        "A": "1",
        "b": "x: y",
    }
