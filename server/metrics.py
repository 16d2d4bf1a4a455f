"""What Prometheus is told: every metric's name, once. Knows neither routes, nor SQL, nor Redis.

    edge       answered(...)            ---+
    collector  scan_ended, swept, ...   ---+--> counters of this process --+
    courier    delivered, ...           ---+                               +--> exposition()
    Health of /readyz, free disk space  ----------> gauges of this moment -+    GET /metrics

One Metrics an application, not one a process: tests make many. Each API process counts what it did
itself, so a total is the sum over all of them; gauges tell of shared parts, so there it is the
maximum. No label has a value that a caller chooses: no URL, no id, no owner.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from http import HTTPMethod
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sdk.codes import ScanErrorCode
from sdk.wire import AppealDecision, Health, Scan
from worker.contract import Outcome

MEDIA_TYPE = "text/plain; version=0.0.4"
"""Type of the exposition, which every version of Prometheus reads; litestar adds the charset."""
NO_VERDICT = "none"
"""Label `verdict` of a scan that failed or was canceled."""
UNMATCHED = "none"
"""Label `route` of a request that no route takes."""
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 900.0)
"""Upper bounds of the durations counted; the last is a scan's deadline."""

_FETCH = "fetch_"
_METHODS = frozenset(HTTPMethod)

disable_created_metrics()  # type: ignore[no-untyped-call]  # each would be a series of its own


class Stage(StrEnum):
    """What a scan's time goes to; `total` is from acceptance to the record of its end."""

    WAIT = "wait"
    FETCH = "fetch"
    DECODE = "decode"
    SCORE = "score"
    TOTAL = "total"


class DeliveryOutcome(StrEnum):
    """What came of one attempt to deliver an event."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    """It failed, and there will be another."""
    GIVEN_UP = "given_up"
    """It failed, and it was the last."""


class Disk(NamedTuple):
    """The file system of the state folder, in bytes."""

    total: int
    free: int


class Metrics:
    """The counters of one application. Every method returns at once and raises nothing."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._of_requests()
        self._of_scans()
        self._of_webhooks()
        self._begin_at_zero()

    def answered(self, *, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; `route` is its template, such as /v1/scans/{scan_id}."""
        labels = (method if method in _METHODS else "other", route or UNMATCHED)
        self._requests.labels(*labels, str(status)).inc()
        self._request_seconds.labels(*labels).observe(seconds)

    def scan_ended(
        self, outcome: Outcome, *, seconds: float, stages: Mapping[Stage, float] | None = None
    ) -> None:
        """Count a scan whose end is recorded now, `seconds` after it was accepted."""
        self._count(outcome)
        if outcome.error is not None:
            self._count_error(outcome.error.code)
        for stage, spent in {**(stages or {}), Stage.TOTAL: seconds}.items():
            self._scan_seconds.labels(stage.value).observe(spent)

    def scan_recalled(self, scan: Scan) -> None:
        """Count a scan that was final at once, by a verdict on record."""
        self._count(scan)
        self._recalled.inc()

    def swept(self, *, oldest_seconds: float, posted_again: int) -> None:
        """Note the age of the oldest scan that is not final, and how many Redis had lost.

        0: none is older than what the sweep looks for.
        """
        self._oldest_scan.set(oldest_seconds)
        self._posted_again.inc(posted_again)

    def delivered(self, outcome: DeliveryOutcome) -> None:
        """Count one attempt to deliver an event."""
        self._deliveries.labels(outcome.value).inc()

    def deliveries_wait(self, *, oldest_seconds: float) -> None:
        """Note how long the delivery that is longest overdue has been so; 0: none is."""
        self._oldest_delivery.set(oldest_seconds)

    def endpoint_disabled(self) -> None:
        """Count an endpoint that deliveries are made to no more."""
        self._disabled.inc()

    def appeal_decided(self, decision: AppealDecision) -> None:
        """Count a decision about an appeal."""
        self._appeals.labels(decision.value).inc()

    def exposition(self, health: Health, disk: Disk | None) -> bytes:
        """Return all of it as Prometheus reads it; what is unknown now is left out."""
        now = CollectorRegistry()
        now.register(_Moment(health, disk))
        return generate_latest(self._registry) + generate_latest(now)

    def _of_requests(self) -> None:
        self._requests = Counter(
            "pinclip_http_requests_total",
            "Requests answered, by method, template of the route, and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "pinclip_http_request_duration_seconds",
            "Time until a request was answered, waits that the caller asked for included.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self._registry,
        )

    def _of_scans(self) -> None:
        self._scans = Counter(
            "pinclip_scans_total",
            "Scans whose end was recorded; verdict is none for those without one.",
            ("verdict", "operating_point"),
            registry=self._registry,
        )
        self._recalled = Counter(
            "pinclip_scans_recalled_total",
            "Of these, how many were answered by a verdict on record.",
            registry=self._registry,
        )
        self._scan_seconds = Histogram(
            "pinclip_scan_duration_seconds",
            "Time that a scan took, by stage.",
            ("stage",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._errors = Counter(
            "pinclip_scan_errors_total",
            "Scans that failed or were canceled, by code.",
            ("code",),
            registry=self._registry,
        )
        self._fetch_errors = Counter(
            "pinclip_fetch_errors_total",
            "Of these, those whose image could not be fetched.",
            ("code",),
            registry=self._registry,
        )
        self._oldest_scan = Gauge(
            "pinclip_oldest_scan_seconds",
            "Age of the oldest accepted scan that is not final; 0 if none is older than 10 s.",
            registry=self._registry,
        )
        self._posted_again = Counter(
            "pinclip_scans_posted_again_total",
            "Scans that Redis had lost and the sweep handed to the workers again.",
            registry=self._registry,
        )
        self._appeals = Counter(
            "pinclip_appeals_total",
            "Appeals decided.",
            ("decision",),
            registry=self._registry,
        )

    def _of_webhooks(self) -> None:
        self._deliveries = Counter(
            "pinclip_webhook_deliveries_total",
            "Attempts to deliver an event, by what came of them.",
            ("outcome",),
            registry=self._registry,
        )
        self._oldest_delivery = Gauge(
            "pinclip_oldest_delivery_seconds",
            "How long the delivery that is longest overdue has been so; 0 if none is.",
            registry=self._registry,
        )
        self._disabled = Counter(
            "pinclip_webhook_endpoints_disabled_total",
            "Endpoints that were disabled because they failed.",
            registry=self._registry,
        )

    def _begin_at_zero(self) -> None:
        """Show what has not happened yet as 0: `increase` sees no series that begins at 1."""
        for code in ScanErrorCode:
            self._errors.labels(code.value)
            if code.value.startswith(_FETCH):
                self._fetch_errors.labels(code.value)
        for outcome in DeliveryOutcome:
            self._deliveries.labels(outcome.value)
        for decision in AppealDecision:
            self._appeals.labels(decision.value)

    def _count(self, ended: Outcome | Scan) -> None:
        verdict = ended.verdict.value if ended.verdict else NO_VERDICT
        point = ended.operating_point.name.value if ended.operating_point else NO_VERDICT
        self._scans.labels(verdict, point).inc()

    def _count_error(self, code: ScanErrorCode) -> None:
        self._errors.labels(code.value).inc()
        if code.value.startswith(_FETCH):
            self._fetch_errors.labels(code.value).inc()


class _Moment(Collector):
    """What /readyz and the disk say now."""

    def __init__(self, health: Health, disk: Disk | None) -> None:
        self._checks = health.checks
        self._disk = disk

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield _gauge(
            "pinclip_part_up",
            "1 if this part is well, as /readyz has it.",
            {(part,): float(bool(check["ok"])) for part, check in self._checks.items()},
            ("part",),
        )
        waiting = self._checks.get("redis", {}).get("waiting")
        if waiting is not None:
            yield _gauge("pinclip_queue_depth", "Scans that wait or are held.", {(): waiting})
            yield from _of_workers(self._checks.get("worker", {}).get("workers", ()))
        if self._disk is not None:
            sizes = {("total",): self._disk.total, ("free",): self._disk.free}
            yield _gauge(
                "pinclip_state_disk_bytes",
                "Space of the file system that holds PINCLIP_STATE_DIR.",
                sizes,
                ("kind",),
            )


def _of_workers(workers: Iterable[Mapping[str, str]]) -> Iterator[GaugeMetricFamily]:
    shown = list(workers)
    yield _gauge("pinclip_workers", "Workers that can score.", {(): len(shown)})
    labels = ("model", "engine", "precision", "device")
    counts: dict[tuple[str, ...], float] = {}
    for worker in shown:
        key = tuple(worker.get(label, "") for label in labels)
        counts[key] = counts.get(key, 0) + 1
    yield _gauge("pinclip_model_info", "Workers with this model, run like this.", counts, labels)


def _gauge(
    name: str, about: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def disk_of(folder: Path) -> Disk | None:
    """Return the space of the file system that holds `folder`; None if it cannot be asked."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Disk(total=usage.total, free=usage.free)
