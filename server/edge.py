"""What every request passes before the routes, and every answer after them. Plain ASGI.

    request -> id -> stopping? 503 -> Host, Origin of ours? 403 -> JSON wanted? 406 -> routes
    answer  <- X-Request-Id, RateLimit, CORS <- one log line: method, path, status, duration

A page in somebody's browser can reach 127.0.0.1, so the listener alone keeps nobody out: a Host
that is not ours is a rebound name, and a foreign Origin is another site's script. Only the origins
that publishable keys name are answered by CORS, never with credentials: keys are no cookies. The
set changes while we run, which litestar's own CORS cannot follow. No query is ever logged.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from sdk.codes import ProblemCode
from worker.tracing import HEADER, Tracing

from . import ids
from .ports import Clock, Unavailable
from .problems import MEDIA_TYPE, REQUEST_ID, encode, problem_of
from .refused import Refused
from .rules.desk import Stopping
from .rules.limits import telling
from .rules.sources import check_host, check_page, page_of, shown

RETRY_SECONDS = 3
"""Retry-After while stopping: by then another start is on its way."""
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_SPOKEN = frozenset(
    {
        "*/*",
        "application/*",
        "application/json",
        "application/x-ndjson",
        MEDIA_TYPE,
        "text/*",
        "text/event-stream",
        "text/plain",
    }
)
_HEALTH = frozenset({"/healthz", "/readyz"})
_READABLE = (
    "etag, idempotent-replayed, location, preference-applied, ratelimit, ratelimit-policy, "
    "retry-after, x-request-id"
)
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "access-control-allow-headers": (
        "authorization, content-type, idempotency-key, if-none-match, last-event-id, prefer, "
        "x-request-id"
    ),
    "access-control-max-age": "600",
}
_log = structlog.get_logger(__name__)


async def no_origins() -> frozenset[str]:
    """Return that no other site's page may ask."""
    return frozenset()


class Answered(Protocol):
    """Counts requests."""

    def __call__(self, *, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one; `route` is its template, None where it met no route."""
        ...


class Edge:
    """The whole server as an ASGI application; `in_flight` counts requests without an answer.

    `host` is what is listened on, `allowed_hosts` the names that callers may use besides it, and
    `origins` tells of which other sites pages may ask; it may raise Unavailable.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        clock: Clock,
        stopping: Stopping,
        prepare: Callable[[], Coroutine[Any, Any, None]],
        answered: Answered,
        tracing: Tracing,
        allowed_hosts: Collection[str] = (),
        origins: Callable[[], Awaitable[Collection[str]]] = no_origins,
    ) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in (host, *allowed_hosts))
        self._origins = origins
        self._clock = clock
        self._answered = answered
        self._tracing = tracing
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
        with (
            telling() as fields,
            structlog.contextvars.bound_contextvars(request_id=request_id),
            self._tracing.span(scope["method"], parent=headers.get(HEADER)) as attributes,
        ):
            fields[REQUEST_ID] = request_id

            async def send_named(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    message["headers"] = [*message["headers"], *_encoded(fields)]
                await send(message)

            try:
                await self._pass(scope, receive, send_named, headers, fields)
            finally:
                attributes |= {"request_id": request_id, "http.response.status_code": status}
                self._tell(scope, status, self._clock.monotonic() - began)

    async def _pass(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        headers: _Headers,
        fields: dict[str, str],
    ) -> None:
        try:
            if self.stopping.is_set:
                raise _stopping()
            is_preflight = await self._admit(scope["method"], headers, fields)
        except (Refused, Unavailable) as refused:
            await _refuse(refused, headers.get(REQUEST_ID) or "", send)
            return
        if is_preflight:
            await _answer(send, status=204, headers=_PREFLIGHT, body=b"")
            return
        await self._app(scope, receive, send)

    async def _admit(self, method: str, headers: _Headers, fields: dict[str, str]) -> bool:
        """Return if a request may come from where it comes from: True for a CORS preflight.

        Puts into `fields` what lets a page that is known read the answer. Raises Refused, or
        Unavailable where it cannot be told which pages are known.
        """
        host = headers.get("host")
        check_host(host, self._names)
        page = page_of(headers.all("origin"), host)
        known = await self._origins() if page is not None else ()
        check_page(method, page, known)
        if page is not None and page in known:
            fields["access-control-allow-origin"] = page
            fields["access-control-expose-headers"] = _READABLE
            fields["vary"] = "origin"
            if method == "OPTIONS" and headers.get("access-control-request-method"):
                return True
        check_accept(headers.all("accept"))
        return False

    def _named(self, scope: HTTPScope, headers: _Headers) -> str:
        """Give the request the id it brought, if that is sane, or a new one; return it."""
        given = headers.get(REQUEST_ID)
        is_sane = given is not None and _SANE_ID.fullmatch(given)
        request_id = given if given and is_sane else ids.request_id(self._clock.now())
        headers.put(REQUEST_ID, request_id)
        scope["headers"] = headers.pairs
        return request_id

    def _tell(self, scope: HTTPScope, status: int, seconds: float) -> None:
        route: str | None = scope.get("path_template")
        self._answered(method=scope["method"], route=route, status=status, seconds=seconds)
        tell = _log.debug if scope["path"] in _HEALTH else _log.info
        tell(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )


def check_accept(accepted: Sequence[str]) -> None:
    """Return if the caller reads JSON; raises Refused. Pure."""
    ranges = [part for value in accepted for part in value.split(",") if part.strip()]
    if ranges and not any(_takes_json(part) for part in ranges):
        raise Refused(
            ProblemCode.NOT_ACCEPTABLE,
            f"The Accept header is {shown(', '.join(accepted))}, without application/json.",
        )


class _Headers:
    """The headers of a request as text; names are lower case, as ASGI has them."""

    def __init__(self, scope: HTTPScope) -> None:
        self.pairs = list(scope["headers"])
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in self.pairs:
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for value in self._values.get(name.encode(), ())]

    def get(self, name: str) -> str | None:
        """Return the one value of a header; None if there is none, or more than one."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def put(self, name: str, value: str) -> None:
        key, only = name.encode(), value.encode()
        if key in self._values:
            self.pairs = [pair for pair in self.pairs if pair[0] != key]
        self.pairs.append((key, only))
        self._values[key] = [only]


async def _refuse(refused: Exception, request_id: str, send: Send) -> None:
    told, extra = problem_of(refused, request_id=request_id)
    headers = {**extra, "content-type": MEDIA_TYPE}
    await _answer(send, status=told.status, headers=headers, body=encode(told))


async def _answer(send: Send, *, status: int, headers: dict[str, str], body: bytes) -> None:
    sized = {**headers, "content-length": str(len(body))} if body else headers
    await send({"type": "http.response.start", "status": status, "headers": [*_encoded(sized)]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _encoded(fields: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode(), value.encode()) for name, value in fields.items())


def _stopping() -> Refused:
    return Refused(ProblemCode.SHUTTING_DOWN, "The server is stopping.", retry_after=RETRY_SECONDS)


def _takes_json(part: str) -> bool:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    return kind in _SPOKEN and not any(re.fullmatch(r"q=0(\.0*)?", p) for p in parameters)
