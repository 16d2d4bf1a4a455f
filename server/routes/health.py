"""/healthz: this process lives. /readyz: a scan can be taken, or which part is in the way."""

from __future__ import annotations

from litestar import Response, get

from sdk.wire import Health
from server.rules.readiness import RETRY_SECONDS

from .given import GivenDesk


@get("/healthz", operation_id="getHealth", tags=["health"])
async def healthz() -> Health:
    """Say that the process answers; asks nothing else."""
    return Health(status="ok")


@get("/readyz", operation_id="getReadiness", tags=["health"])
async def readyz(desk: GivenDesk) -> Response[Health]:
    """Say of the store, Redis and the workers whether each is well, and if not, what is wrong."""
    health = await desk.readiness.report()
    if health.status == "ok":
        return Response(health, status_code=200)
    return Response(health, status_code=503, headers={"retry-after": str(RETRY_SECONDS)})
