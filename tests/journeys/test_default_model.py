"""The default model through the whole path once: `pinclip up` with nothing set but the origin."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdk
from benchmarks.running_system import Origin, RunningSystem
from sdk import Verdict

pytestmark = [pytest.mark.redis, pytest.mark.slow]

PHOTOGRAPH = Path(__file__).parents[2] / "server" / "example.jpg"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin({"photograph.jpg": PHOTOGRAPH.read_bytes()}) as origin:
        yield origin


@pytest.fixture(scope="module")
def system(origin: Origin) -> Iterator[RunningSystem]:
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as name,
        RunningSystem(Path(name), origin.port) as system,
    ):
        yield system


def test_photograph_is_not_accused_and_its_verdict_carries_a_measured_rate(
    system: RunningSystem, origin: Origin
) -> None:
    with sdk.Client(base_url=system.base_url) as client:
        scan = client.check(origin.url("photograph.jpg"))

    assert scan.verdict in (Verdict.NO_SIGN_OF_AI, Verdict.INCONCLUSIVE)
    assert scan.model is not None
    assert scan.model.id.startswith("pinclip-b16-")
    point = scan.operating_point
    assert point is not None
    assert point.n >= 300
    assert point.expected_false_alarm_rate is not None
    assert point.ci95 is not None
    assert point.ci95[0] <= point.expected_false_alarm_rate <= point.ci95[1]


def test_url_and_bytes_of_one_photograph_score_the_same(
    system: RunningSystem, origin: Origin
) -> None:
    with sdk.Client(base_url=system.base_url) as client:
        by_url = client.check(origin.url("photograph.jpg"))
        by_file = client.check(PHOTOGRAPH)

    assert by_url.score == pytest.approx(by_file.score, abs=1e-6)
    assert by_url.input.sha256 == by_file.input.sha256
