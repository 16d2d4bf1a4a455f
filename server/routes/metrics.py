"""/metrics over HTTP: calls rules/metrics.py and answers in the text format of Prometheus."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from server.metrics import MEDIA_TYPE
from server.rules import metrics as rules
from server.rules.metrics import MetricsDesk

from .given import GivenCaller

GivenMetricsDesk = NamedDependency[SkipValidation[MetricsDesk]]


@get("/metrics", operation_id="getMetrics", tags=["health"])
async def get_metrics(caller: GivenCaller, metrics_desk: GivenMetricsDesk) -> Response[bytes]:
    """Return what this process has counted, and how the system is now, for Prometheus."""
    body = await rules.read(caller=caller, desk=metrics_desk)
    return Response(body, media_type=MEDIA_TYPE)
