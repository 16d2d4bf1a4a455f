"""From an address to a verdict through the whole running system: API, Redis, worker, SDK, CLI."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import sdk
from benchmarks.running_system import Origin, RunningSystem
from sdk import Verdict
from tests.journeys.pictures import picture

pytestmark = [pytest.mark.redis, pytest.mark.slow]


def cli(system: RunningSystem, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pinclip", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**system.environ, "PINCLIP_BASE_URL": system.base_url},
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("white.png", Verdict.LIKELY_AI),
        ("grey.png", Verdict.INCONCLUSIVE),
        ("black.png", Verdict.NO_SIGN_OF_AI),
    ],
)
def test_check_answers_for_a_url(
    system: RunningSystem, origin: Origin, name: str, verdict: Verdict
) -> None:
    with sdk.Client(base_url=system.base_url) as client:
        scan = client.check(origin.url(name))

    assert scan.verdict is verdict
    assert scan.operating_point is not None
    assert scan.operating_point.expected_false_alarm_rate == 0.03
    assert scan.input.fetched_by == "server"
    assert (scan.input.width, scan.input.height) == (400, 300)


def test_check_answers_for_bytes_and_for_a_file(system: RunningSystem, tmp_path: Path) -> None:
    file = tmp_path / "black.png"
    file.write_bytes(picture(0))

    with sdk.Client(base_url=system.base_url) as client:
        from_bytes, from_file = client.check(picture(255)), client.check(file)

    assert from_bytes.verdict is Verdict.LIKELY_AI
    assert from_file.verdict is Verdict.NO_SIGN_OF_AI
    assert "client_supplied_bytes" in from_file.warnings


def test_wait_in_one_request_answers_200_with_the_verdict(
    system: RunningSystem, origin: Origin
) -> None:
    answer = httpx.post(
        f"{system.base_url}/v1/scans",
        json={"url": origin.url("white.png")},
        headers={"Prefer": "wait=20"},
        timeout=30,
    )

    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.json()["verdict"] == "likely_ai"


def test_small_image_is_inconclusive_whatever_it_scores(
    system: RunningSystem, origin: Origin
) -> None:
    with sdk.Client(base_url=system.base_url) as client:
        scan = client.check(origin.url("small.png"))

    assert scan.verdict is Verdict.INCONCLUSIVE
    assert "small_image" in scan.warnings


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.png", "fetch_not_found"),
        ("page.html", "not_an_image"),
        ("nothing", "not_an_image"),
        ("cut.png", "decode_failed"),
        ("tiny.png", "image_too_small"),
        ("bitmap.tiff", "format_unsupported"),
    ],
)
def test_failed_scan_has_a_code_a_hint_and_no_verdict(
    system: RunningSystem, origin: Origin, name: str, code: str
) -> None:
    with sdk.Client(base_url=system.base_url) as client, pytest.raises(sdk.ScanFailed) as caught:
        client.check(origin.url(name))

    scan = caught.value.scan
    assert scan.error is not None
    assert scan.error.code == code
    assert scan.error.hint
    assert scan.verdict is None


def test_private_address_that_was_not_allowed_is_refused_at_once(system: RunningSystem) -> None:
    with (
        sdk.Client(base_url=system.base_url) as client,
        pytest.raises(sdk.UnprocessableEntityError) as caught,
    ):
        client.check("http://169.254.169.254/latest/meta-data/")

    assert caught.value.code == "address_blocked"


def test_cli_check_prints_the_verdict_and_exits_with_its_status(
    system: RunningSystem, origin: Origin
) -> None:
    done = cli(system, "check", origin.url("white.png"), "--json")

    assert done.returncode == 10, done.stderr
    assert json.loads(done.stdout)["verdict"] == "likely_ai"


def test_twenty_images_are_answered_beside_one_that_never_ends_decoding(
    system: RunningSystem, origin: Origin
) -> None:
    with (
        sdk.Client(base_url=system.base_url) as client,
        concurrent.futures.ThreadPoolExecutor(21) as threads,
    ):
        poison = threads.submit(client.check, scan_bomb())
        good = [threads.submit(client.check, picture(255)) for _ in range(20)]

        verdicts = [future.result(60).verdict for future in good]
        with pytest.raises(sdk.ScanFailed) as caught:
            poison.result(60)

    assert verdicts == [Verdict.LIKELY_AI] * 20
    assert caught.value.scan.error is not None
    assert caught.value.scan.error.code == "decode_failed"


def scan_bomb() -> bytes:
    """A progressive JPEG whose header is followed by more scans than any encoder makes."""
    whole = picture(255, (1000, 1000), "JPEG")
    start = whole.index(b"\xff\xda")
    return whole[:start] + whole[start:-2] * 70 + whole[-2:]


def test_killed_worker_costs_no_scan(system: RunningSystem, origin: Origin) -> None:
    with sdk.Client(base_url=system.base_url) as client:
        scans = [client.submit(origin.url("black.png")) for _ in range(10)]
        assert system.kill_when_up("worker")
        ended = [client.wait(scan, timeout=60) for scan in scans]

    assert {scan.verdict for scan in ended} == {Verdict.NO_SIGN_OF_AI}
    assert {scan.sequence for scan in ended} == {2}  # accepted, then recorded once
