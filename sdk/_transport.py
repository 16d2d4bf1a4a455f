"""The one door to HTTP: sends a Call, tries again where that can help, reads what comes back.

    Call --request--> httpx --> Answer --pause--> None: outcome -> struct | APIStatusError
                            \\-> NoAnswer           |
                                  ^                v
                                  +--- sleep <-- seconds

The two transports differ in nothing but `await`. Each call has one idempotency key, which its
retries share. Redirects are not followed, so the key goes to the address that was set and
nowhere else; proxies of the environment are not used for a server on this machine.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from . import _retry, _tracing
from ._calls import Call
from ._clock import Clock
from .environment import SettingsError
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    of_status,
)
from .settings import ClientSettings
from .wire import Problem

T = TypeVar("T")

SyncHttp = httpx.Client
AsyncHttp = httpx.AsyncClient

NOT_PINCLIP = "Something else answers at this address, such as a proxy: check PINCLIP_BASE_URL."
NO_SERVER = "Start the server with `pinclip up`, or set PINCLIP_BASE_URL to where it runs."


class Answer(NamedTuple):
    """What came back. Header names are in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


NoAnswer = APIConnectionError | APIResponseValidationError
"""Why nothing readable came back."""


class Plan:
    """How every request of one client is sent. Decides only; sends nothing."""

    def __init__(self, settings: ClientSettings, *, timeout: float, max_retries: int) -> None:
        self._base = settings.base_url.rstrip("/")
        self._timeout = timeout
        self._max_retries = max_retries
        self._headers = {"Accept": "application/json", "User-Agent": _user_agent()}
        if settings.api_key:
            self._headers["Authorization"] = f"Bearer {settings.api_key}"
        parts = urlsplit(self._base)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """The server's address without user name, for messages."""
        self.http: dict[str, Any] = {
            "trust_env": not _is_loopback(parts.hostname or ""),
            # Without TLS there is nothing to verify, and loading certificates takes 40 ms.
            "verify": parts.scheme == "https",
        }
        """How to open an HTTP client for this server."""
        _refuse_unreadable(self._base)

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Return the arguments of httpx for a call; retries send the same ones."""
        headers = {**self._headers, **call.headers}
        if (parent := _tracing.traceparent()) is not None:
            headers[_tracing.HEADER] = parent
        if call.method == "POST":
            headers["Idempotency-Key"] = f'"{uuid.uuid4()}"'
        return {
            "method": call.method,
            "url": self._base + call.path,
            "content": call.body,
            "headers": headers,
            "timeout": self._limits(call),
            "follow_redirects": False,
        }

    def pause(self, answer: Answer | NoAnswer, attempt: int) -> float | None:
        """Return the seconds to wait before trying again, or None to take this answer."""
        if attempt >= self._max_retries or isinstance(answer, APIResponseValidationError):
            return None
        if isinstance(answer, APIConnectionError):
            status, retry_after = None, None
        else:
            status, retry_after = answer.status, _retry_after(answer)
        if not _retry.may_retry(status):
            return None
        draw = random.SystemRandom().random()
        return _retry.delay(attempt, retry_after=retry_after, draw=draw)

    def no_answer(self, call: Call[Any], error: httpx.RequestError) -> NoAnswer:
        """Say what httpx could not do."""
        what = f"{call.method} {call.path} had no answer from {self.shown}"
        if isinstance(error, httpx.TimeoutException):
            return APITimeoutError(f"{what} in time ({type(error).__name__}).", hint=NO_SERVER)
        if isinstance(error, httpx.DecodingError):
            return APIResponseValidationError(f"{what} that can be read.", hint=NOT_PINCLIP)
        return APIConnectionError(f"{what}: {str(error) or type(error).__name__}.", hint=NO_SERVER)

    def _limits(self, call: Call[Any]) -> httpx.Timeout:
        # Waiting for a free connection of our own is no fault of the server's: it has no limit.
        read = self._timeout + call.wait_seconds
        return httpx.Timeout(self._timeout, read=read, pool=None)


class Transport:
    """Sends calls and blocks until each is answered. Safe to use from several threads."""

    def __init__(self, plan: Plan, *, clock: Clock, http: SyncHttp | None) -> None:
        self._plan = plan
        self._clock = clock
        self._is_lent = http is not None
        self._http = SyncHttp(**plan.http) if http is None else http

    def send(self, call: Call[T]) -> T:
        """Return what the server said, or raise APIError."""
        request = self._plan.request(call)
        attempt = 0
        while True:
            answer = self._try(call, request)
            pause = self._plan.pause(answer, attempt)
            if pause is None:
                return outcome(call, answer)
            self._clock.sleep(pause)
            attempt += 1

    def close(self) -> None:
        """Close the connections, unless the caller lent them."""
        if not self._is_lent:
            self._http.close()

    def _try(self, call: Call[Any], request: dict[str, Any]) -> Answer | NoAnswer:
        try:
            response = self._http.request(**request)
        except httpx.RequestError as error:
            return self._plan.no_answer(call, error)
        return Answer(response.status_code, response.headers, response.content)


class AsyncTransport:
    """Sends calls from an asyncio event loop, which goes on meanwhile."""

    def __init__(self, plan: Plan, *, clock: Clock, http: AsyncHttp | None) -> None:
        self._plan = plan
        self._clock = clock
        self._is_lent = http is not None
        self._http = AsyncHttp(**plan.http) if http is None else http

    async def send(self, call: Call[T]) -> T:
        """Return what the server said, or raise APIError."""
        request = self._plan.request(call)
        attempt = 0
        while True:
            answer = await self._try(call, request)
            pause = self._plan.pause(answer, attempt)
            if pause is None:
                return outcome(call, answer)
            await self._clock.sleep_async(pause)
            attempt += 1

    async def close(self) -> None:
        """Close the connections, unless the caller lent them."""
        if not self._is_lent:
            await self._http.aclose()

    async def _try(self, call: Call[Any], request: dict[str, Any]) -> Answer | NoAnswer:
        try:
            response = await self._http.request(**request)
        except httpx.RequestError as error:
            return self._plan.no_answer(call, error)
        return Answer(response.status_code, response.headers, response.content)


def outcome(call: Call[T], answer: Answer | NoAnswer) -> T:
    """Return the struct that a success holds; raises APIError for anything else."""
    if isinstance(answer, APIError):
        error: APIError = answer
    elif 200 <= answer.status < 300:
        try:
            return msgspec.json.decode(answer.body, type=call.reads)
        except msgspec.DecodeError as fault:
            error = _not_understood(call, answer, fault)
    else:
        error = _refused(call, answer)
    error.scan_id = call.scan_id
    raise error


def _refused(call: Call[Any], answer: Answer) -> APIStatusError:
    problem = _problem(answer)
    if problem:
        message = f"{answer.status} {problem.code}: {problem.detail or problem.title}"
    else:
        message = f"{call.method} {call.path} was answered {answer.status} {_described(answer)}."
    return of_status(answer.status)(
        message,
        status_code=answer.status,
        problem=problem,
        request_id=(problem and problem.request_id) or answer.headers.get("x-request-id"),
        hint=problem.hint if problem else NOT_PINCLIP,
        retry_after=_retry_after(answer),
    )


def _problem(answer: Answer) -> Problem | None:
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except msgspec.DecodeError:
        return None


def _not_understood(
    call: Call[Any], answer: Answer, fault: msgspec.DecodeError
) -> APIResponseValidationError:
    wanted = call.reads.__name__
    message = f"{call.method} {call.path} was answered {answer.status} {_described(answer)}, "
    if isinstance(fault, msgspec.ValidationError):
        return APIResponseValidationError(
            f"{message}but not with a {wanted}: {fault}.",
            hint="The server may be newer or older than this client: update both.",
        )
    return APIResponseValidationError(f"{message}not with a {wanted}.", hint=NOT_PINCLIP)


def _described(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    return f"with {kind}" if kind else "without a content type"


def _retry_after(answer: Answer) -> float | None:
    headers = answer.headers
    return _retry.read_retry_after(headers.get("retry-after"), date=headers.get("date"))


def _refuse_unreadable(base_url: str) -> None:
    try:
        httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise SettingsError([f"PINCLIP_BASE_URL (base_url) cannot be used: {error}."]) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _user_agent() -> str:
    try:
        return f"pinclip/{version('pinclip')}"
    except PackageNotFoundError:  # the sources are used without being installed
        return "pinclip"
