"""What every request passes before the routes, and every answer after them. Plain ASGI.

    request -> id -> stopping? 503 -> Host, Origin of ours? 403 -> JSON wanted? 406 -> routes
    answer  <- X-Request-Id <- one log line: method, path, status, duration; never a query

A page in somebody's browser can reach 127.0.0.1, so the listener alone keeps nobody out: a Host
that is not ours is a rebound name, and a foreign Origin is another site's script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from sdk.codes import ProblemCode

from . import ids
from .ports import Clock
from .problems import MEDIA_TYPE, REQUEST_ID, encode, problem_of
from .refused import Refused
from .rules.desk import Stopping

RETRY_SECONDS = 3
"""Retry-After while stopping: by then another start is on its way."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_JSON_RANGES = frozenset({"*/*", "application/*", "application/json", MEDIA_TYPE})
_HEALTH = frozenset({"/healthz", "/readyz"})
_log = structlog.get_logger(__name__)


class Edge:
    """The whole server as an ASGI application; `in_flight` counts requests without an answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        clock: Clock,
        stopping: Stopping,
        prepare: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._app = app
        self._host = host
        self._clock = clock
        self.stopping = stopping
        self.prepare = prepare
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event stream, as ASGI has it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        self.in_flight += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self.in_flight -= 1

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic()
        headers = _Headers(scope)
        request_id = self._named(scope, headers)
        status = 500

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_id = (REQUEST_ID.encode(), request_id.encode())
                message["headers"] = [*message["headers"], answer_id]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._pass(scope, receive, send_named, headers)
            finally:
                self._tell(scope, status, self._clock.monotonic() - began)

    async def _pass(
        self, scope: HTTPScope, receive: Receive, send: Send, headers: _Headers
    ) -> None:
        try:
            if self.stopping.is_set:
                raise _stopping()
            check_source(scope["method"], headers.get("host"), headers.get("origin"), self._host)
            check_accept(headers.all("accept"))
        except Refused as refused:
            await _refuse(refused, headers.get(REQUEST_ID) or "", send)
            return
        await self._app(scope, receive, send)

    def _named(self, scope: HTTPScope, headers: _Headers) -> str:
        """Give the request the id it brought, if that is sane, or a new one; return it."""
        given = headers.get(REQUEST_ID)
        is_sane = given is not None and _SANE_ID.fullmatch(given)
        request_id = given if given and is_sane else ids.request_id(self._clock.now())
        headers.put(REQUEST_ID, request_id)
        scope["headers"] = headers.pairs
        return request_id

    def _tell(self, scope: HTTPScope, status: int, seconds: float) -> None:
        tell = _log.debug if scope["path"] in _HEALTH else _log.info
        tell(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )


def check_source(method: str, host: str | None, origin: str | None, bound_to: str) -> None:
    """Return if a request may come from where it comes from; raises Refused. Pure."""
    if host is None or not _is_ours(_name_of(host), bound_to):
        raise _not_allowed(f"The Host header is {_shown(host)}, which is not this server's name.")
    if method in _SAFE or origin is None:
        return
    if origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        raise _not_allowed(f"The request comes from a page of {_shown(origin)}.")


def check_accept(accepted: Sequence[str]) -> None:
    """Return if the caller reads JSON; raises Refused. Pure."""
    ranges = [part for value in accepted for part in value.split(",") if part.strip()]
    if ranges and not any(_takes_json(part) for part in ranges):
        raise Refused(
            ProblemCode.NOT_ACCEPTABLE,
            f"The Accept header is {_shown(', '.join(accepted))}, without application/json.",
        )


class _Headers:
    """The headers of a request as text; names are lower case, as ASGI has them."""

    def __init__(self, scope: HTTPScope) -> None:
        self.pairs = list(scope["headers"])

    def all(self, name: str) -> list[str]:
        key = name.encode()
        return [value.decode("latin-1") for found, value in self.pairs if found == key]

    def get(self, name: str) -> str | None:
        """Return the one value of a header; None if there is none, or more than one."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def put(self, name: str, value: str) -> None:
        others = [pair for pair in self.pairs if pair[0] != name.encode()]
        self.pairs = [*others, (name.encode(), value.encode())]


async def _refuse(refused: Refused, request_id: str, send: Send) -> None:
    told, extra = problem_of(refused, request_id=request_id)
    body = encode(told)
    headers = {**extra, "content-type": MEDIA_TYPE, "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": told.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _stopping() -> Refused:
    return Refused(ProblemCode.SHUTTING_DOWN, "The server is stopping.", retry_after=RETRY_SECONDS)


def _not_allowed(detail: str) -> Refused:
    return Refused(ProblemCode.ORIGIN_NOT_ALLOWED, detail)


def _name_of(host: str) -> str:
    """Return the name of a Host header, without port and brackets; empty if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    is_plain = parts.netloc == host and "@" not in host
    return (parts.hostname or "") if is_plain else ""


def _is_ours(name: str, bound_to: str) -> bool:
    if name in ("localhost", bound_to.lower()):
        return bool(name)
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _takes_json(part: str) -> bool:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    return kind in _JSON_RANGES and not any(re.fullmatch(r"q=0(\.0*)?", p) for p in parameters)


def _shown(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 80 else f"{text[:80]}...")
