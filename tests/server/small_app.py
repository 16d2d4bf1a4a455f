"""One router alone as an application: for what its routes do, whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from litestar import Litestar, Request, Router
from litestar.di import Provide

from server import problems
from server.rules.caller import Caller

WHO = "who"
"""Header that says which of the callers asks."""


@asynccontextmanager
async def small_app(
    router: Router, *, callers: Mapping[str, Caller], **desks: object
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the router; `desks` are its dependencies by name."""

    async def caller_of(request: Request[Any, Any, Any]) -> Caller:
        return callers[request.headers[WHO]]

    def given(desk: object) -> Provide:
        return Provide(lambda: desk, sync_to_thread=False)

    app = Litestar(
        [router],
        dependencies={
            "caller": Provide(caller_of),
            **{name: given(desk) for name, desk in desks.items()},
        },
        exception_handlers=problems.handlers(),
        openapi_config=None,
        logging_config=None,
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
