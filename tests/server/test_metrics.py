"""What Prometheus reads at /metrics: the promised names, and nothing that a caller chose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.di import Provide
from prometheus_client.parser import text_string_to_metric_families

from sdk.codes import ScanErrorCode
from sdk.wire import (
    AppealDecision,
    Health,
    OperatingPoint,
    PointName,
    Scope,
    Status,
    Verdict,
)
from server import problems
from server.metrics import DeliveryOutcome, Metrics, Stage, disk_of
from server.ports import Unavailable
from server.routes import metrics as routes
from server.rules.caller import LOCAL, Caller
from server.rules.metrics import MetricsDesk
from server.rules.readiness import Pace, Readiness
from tests.fakes import ManualClock, MemoryBoard, MemoryRecords
from tests.server.scenes import BEAT, completed, failed, opened
from worker.contract import Outcome

POINT = OperatingPoint(
    name=PointName.STRICT,
    slice="photo/any",
    threshold=0.9,
    clear_below=0.1,
    expected_false_alarm_rate=0.01,
    ci95=(0.0, 0.02),
    n=400,
    calibration_id="c",
)
WELL = Health(
    status="ok",
    checks={
        "store": {"ok": True},
        "redis": {"ok": True, "waiting": 7},
        "worker": {
            "ok": True,
            "workers": [
                {
                    "name": name,
                    "model": "m",
                    "engine": "e",
                    "precision": "int8",
                    "device": "cpu",
                }
                for name in ("worker-1", "worker-2")
            ],
        },
    },
)
PROMISED = {
    "pinclip_scans_total": {"verdict", "operating_point"},
    "pinclip_scan_duration_seconds": {"stage"},
    "pinclip_queue_depth": set(),
    "pinclip_fetch_errors_total": {"code"},
    "pinclip_webhook_deliveries_total": {"outcome"},
    "pinclip_appeals_total": {"decision"},
    "pinclip_model_info": {"model", "engine", "precision", "device"},
}
"""Names and labels that users build dashboards on: these never change within v1."""


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, *, health: Health = WELL, **labels: str) -> float | None:
    return samples(metrics.exposition(health, None)).get((name, frozenset(labels.items())))


def judged(verdict: Verdict) -> Outcome:
    return msgspec.structs.replace(completed("s"), verdict=verdict, operating_point=POINT)


def everything(metrics: Metrics) -> None:
    """Count each thing once."""
    scan = msgspec.structs.replace(
        opened(0.0).scan, status=Status.COMPLETED, verdict=Verdict.LIKELY_AI, operating_point=POINT
    )
    metrics.answered(method="GET", route="/v1/scans/{scan_id}", status=200, seconds=0.01)
    metrics.scan_ended(judged(Verdict.LIKELY_AI), seconds=2.0, stages=dict.fromkeys(Stage, 0.5))
    metrics.scan_ended(failed("s"), seconds=1.0)
    metrics.scan_recalled(scan)
    metrics.swept(oldest_seconds=3.0, posted_again=2)
    metrics.delivered(DeliveryOutcome.DELIVERED)
    metrics.deliveries_wait(oldest_seconds=4.0)
    metrics.endpoint_disabled()
    metrics.appeal_decided(AppealDecision.OVERTURN)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_the_promised_names_have_the_promised_labels(metrics: Metrics) -> None:
    everything(metrics)

    found = samples(metrics.exposition(WELL, disk_of(Path("/"))))
    for name, labels in PROMISED.items():
        of_name = [
            {label for label, _ in key}
            for sample, key in found
            if sample in (name, f"{name}_count")
        ]
        assert of_name, name
        assert all(found_labels == labels for found_labels in of_name), name


def test_a_scan_counts_by_its_verdict_and_point(metrics: Metrics) -> None:
    metrics.scan_ended(judged(Verdict.LIKELY_AI), seconds=2.0)
    metrics.scan_ended(judged(Verdict.LIKELY_AI), seconds=2.0)

    total = value(metrics, "pinclip_scans_total", verdict="likely_ai", operating_point="strict")
    assert total == 2
    assert value(metrics, "pinclip_scan_duration_seconds_sum", stage="total") == 4


def test_a_failed_scan_counts_as_no_verdict_and_by_its_code(metrics: Metrics) -> None:
    decoded = msgspec.structs.replace(
        failed("s"),
        error=msgspec.structs.replace(failed("s").error, code=ScanErrorCode.DECODE_FAILED),  # type: ignore[type-var]
    )

    metrics.scan_ended(failed("s"), seconds=1.0)
    metrics.scan_ended(decoded, seconds=1.0)

    assert value(metrics, "pinclip_scans_total", verdict="none", operating_point="none") == 2
    assert value(metrics, "pinclip_fetch_errors_total", code="fetch_not_found") == 1
    assert value(metrics, "pinclip_fetch_errors_total", code="decode_failed") is None
    assert value(metrics, "pinclip_scan_errors_total", code="decode_failed") == 1


def test_workers_and_models_are_those_of_readiness(metrics: Metrics) -> None:
    about = {"model": "m", "engine": "e", "precision": "int8", "device": "cpu"}

    assert value(metrics, "pinclip_workers") == 2
    assert value(metrics, "pinclip_model_info", **about) == 2
    assert value(metrics, "pinclip_queue_depth") == 7


def test_what_is_unknown_is_left_out_and_not_zero(metrics: Metrics) -> None:
    down = Health(
        status="unavailable",
        checks={"redis": {"ok": False, "detail": "away"}, "worker": {"ok": False, "detail": "?"}},
    )

    assert value(metrics, "pinclip_part_up", health=down, part="redis") == 0
    assert value(metrics, "pinclip_queue_depth", health=down) is None
    assert value(metrics, "pinclip_workers", health=down) is None


def test_without_a_worker_their_number_is_zero(metrics: Metrics) -> None:
    none = Health(
        status="unavailable",
        checks={"redis": {"ok": True, "waiting": 0}, "worker": {"ok": False, "detail": "none"}},
    )

    assert value(metrics, "pinclip_workers", health=none) == 0


def test_callers_cannot_make_series(metrics: Metrics) -> None:
    for number in range(100):
        metrics.answered(method=f"M{number}", route=None, status=404, seconds=0.0)

    total = value(
        metrics, "pinclip_http_requests_total", method="other", route="none", status="404"
    )
    assert total == 100
    assert b"M42" not in metrics.exposition(WELL, None)


def test_two_applications_count_apart(metrics: Metrics) -> None:
    metrics.scan_ended(failed("s"), seconds=1.0)

    assert value(Metrics(), "pinclip_scan_errors_total", code="fetch_not_found") == 0


def test_a_folder_that_cannot_be_asked_has_no_size() -> None:
    assert disk_of(Path("/nowhere/at/all")) is None


# --- over HTTP -------------------------------------------------------------------------------


class Scene:
    def __init__(self, tmp_path: Path) -> None:
        clock = ManualClock()
        self.caller = LOCAL
        self.board = MemoryBoard()
        self.board.workers.append(BEAT)
        records = MemoryRecords(clock)
        parts = Readiness(
            records=records, board=self.board, clock=clock, pace=Pace(clock), queue_limit=9
        )
        self.desk = MetricsDesk(counters=Metrics(), parts=parts, disk=lambda: disk_of(tmp_path))
        self.app = Litestar(
            [routes.get_metrics],
            dependencies={
                "caller": Provide(lambda: self.caller, sync_to_thread=False),
                "metrics_desk": Provide(lambda: self.desk, sync_to_thread=False),
            },
            exception_handlers=problems.handlers(),
            openapi_config=None,
            logging_config=None,
        )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=scene.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.anyio
async def test_prometheus_can_read_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")

    found = samples(answer.content)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert found["pinclip_workers", frozenset()] == 1
    assert found["pinclip_state_disk_bytes", frozenset({("kind", "free")})] > 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scopes", "status"),
    [({Scope.READ}, 200), ({Scope.ADMIN}, 200), ({Scope.SCAN}, 403), ({Scope.MODERATE}, 403)],
    ids=["read", "admin", "scan", "moderate"],
)
async def test_only_who_may_read_reads_it(
    scene: Scene, client: httpx.AsyncClient, scopes: set[Scope], status: int
) -> None:
    scene.caller = Caller(owner="acme", key_id="key_1", scopes=frozenset(scopes))

    assert (await client.get("/metrics")).status_code == status


@pytest.mark.anyio
async def test_it_is_there_while_redis_is_not(scene: Scene, client: httpx.AsyncClient) -> None:
    scene.board.fault = Unavailable("redis", "no answer")

    answer = await client.get("/metrics")

    found: Any = samples(answer.content)
    assert answer.status_code == 200
    assert found["pinclip_part_up", frozenset({("part", "redis")})] == 0
    assert ("pinclip_queue_depth", frozenset()) not in found
