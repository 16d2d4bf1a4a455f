"""The same small site three times: Starlette, FastAPI, Litestar, each with the upload middleware.

POST /photos takes a form and says what arrived; POST /raw takes any body. Both say what the
middleware left in the scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import post as litestar_post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.middleware import DefineMiddleware
from litestar.params import Body
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sdk.moderation.platforms.asgi import UploadMiddleware

Site = Callable[..., Any]


def said(scope: Mapping[str, Any], **arrived: Any) -> dict[str, Any]:
    check = scope.get("pinclip")
    return {
        "arrived": {name: shown(value) for name, value in arrived.items()},
        "verdicts": check and check.summary,
        "action": check and check.decision.action,
    }


def shown(value: Any) -> Any:
    return sha256(value).hexdigest() if isinstance(value, bytes) else value


async def _form(request: Request) -> JSONResponse:
    async with request.form() as form:
        arrived = {
            name: value if isinstance(value, str) else await value.read()
            for name, value in form.items()
        }
        return JSONResponse(said(request.scope, **arrived))


async def _raw(request: Request) -> JSONResponse:
    body = b"".join([chunk async for chunk in request.stream()])
    return JSONResponse(said(request.scope, body=body))


def starlette(**how: Any) -> Any:
    paths = {"/photos": _form, "/raw": _raw}
    app = Starlette(routes=[Route(path, take, methods=["POST"]) for path, take in paths.items()])
    app.add_middleware(UploadMiddleware, **how)
    return app


def fastapi(**how: Any) -> Any:
    app = FastAPI()

    @app.post("/photos")
    async def photos(request: FastAPIRequest) -> Any:
        return await _form(request)

    @app.post("/raw")
    async def raw(request: FastAPIRequest) -> Any:
        return await _raw(request)

    app.add_middleware(UploadMiddleware, **how)
    return app


def litestar(**how: Any) -> Any:
    @litestar_post("/photos", status_code=200)
    async def photos(
        request: LitestarRequest[Any, Any, Any],
        data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
    ) -> dict[str, Any]:
        arrived = {
            name: await value.read() if isinstance(value, UploadFile) else value
            for name, value in data.items()
        }
        return said(request.scope, **arrived)

    @litestar_post("/raw", status_code=200, request_max_body_size=None)
    async def raw(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        body = b"".join([chunk async for chunk in request.stream()])
        return said(request.scope, body=body)

    return Litestar([photos, raw], middleware=[DefineMiddleware(UploadMiddleware, **how)])


SITES: dict[str, Site] = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar}
