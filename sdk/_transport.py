"""The one door to HTTP: sends a Call, tries again where that can help, reads what comes back.

    Call --request--> httpx --> Answer --pause--> None: outcome -> struct | APIStatusError
                            \\-> NoAnswer           |
                                  ^                v
                                  +--- sleep <-- seconds

The two transports differ in nothing but `await`. Each call has one idempotency key, which its
retries share. A call with an end to its time is not tried past it, whatever the server does.
Redirects are not followed, so the key goes to the address that was set and nowhere else; proxies
of the environment are not used for a server on this machine.
"""

from __future__ import annotations

import copy
import random
import ssl
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import msgspec

from . import _retry, _tracing
from ._calls import NOTHING, UNREADABLE, Call
from ._clock import Clock
from .codes import ProblemCode
from .environment import SettingsError
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    APITLSError,
    InputError,
    of_status,
)
from .settings import ClientSettings
from .wire import Problem

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

SyncHttp = httpx.Client
AsyncHttp = httpx.AsyncClient

NOT_PINCLIP = "Something else answers at this address, such as a proxy: check PINCLIP_BASE_URL."
NO_SERVER = "Start the server with `pinclip up`, or set PINCLIP_BASE_URL to where it runs."
TOO_SLOW = "Give it longer with `wait` or `timeout`, or ask whether the server is overloaded."
NOT_TRUSTED = (
    "This machine does not trust the server's certificate: set SSL_CERT_FILE to your authority's, "
    "or pass http_client=httpx.Client(verify=...)."
)
MOVED = (
    "Redirects are not followed: set PINCLIP_BASE_URL to where this one leads, most often the "
    "same address with https://."
)
NOT_TLS = "The other end does not speak TLS as this one does: is it an http:// address?"


class Answer(NamedTuple):
    """What came back. Header names are in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


LEAST_SECONDS = 0.001
"""A timeout of 0 would mean none to a socket."""
LONGEST_SECONDS = 86_400.0
"""Longest limit of one step; a system's clock takes no more than some years."""
PIECE_BYTES = 64 * 1024
"""How much of a body is sent before the time is looked at again."""

NoAnswer = APIConnectionError | APIResponseValidationError
"""Why nothing readable came back."""
Arguments = dict[str, Any]
"""What httpx builds a request of."""
A = TypeVar("A")
H = TypeVar("H", httpx.Client, httpx.AsyncClient)


class Plan:
    """How every request of one client is sent. Decides only; sends nothing."""

    def __init__(self, settings: ClientSettings, *, timeout: float, max_retries: int) -> None:
        self._base = settings.base_url.rstrip("/")
        self._timeout = _limit(timeout)
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
            # Each caller says how much is under way at a time: none waits for another's connection.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        }
        """How to open an HTTP client for this server."""
        _refuse_unreadable(self._base)

    def changed(self, *, timeout: float | None, max_retries: int | None) -> Plan:
        """Return the same plan with these in place of its own, where they are given."""
        other = copy.copy(self)
        other._timeout = self._timeout if timeout is None else _limit(timeout)
        other._max_retries = self._max_retries if max_retries is None else max_retries
        return other

    def request(self, call: Call[Any]) -> Arguments:
        """Return the arguments of httpx for a call; retries send the same ones."""
        headers = {**self._headers, **call.headers}
        if (parent := _tracing.traceparent()) is not None:
            headers[_tracing.HEADER] = parent
        if call.method == "POST" and "Idempotency-Key" not in headers:
            headers["Idempotency-Key"] = f'"{uuid.uuid4()}"'
        return {
            "method": call.method,
            "url": self._base + call.path,
            "content": call.body,
            "headers": headers,
        }

    def limits(self, call: Call[Any], now: float) -> httpx.Timeout:
        """Return the limits of one try; none is longer than what is left of the caller's time."""
        # Waiting for a free connection of our own is no fault of the server's: it has no limit.
        step, read, pool = self._timeout, self._timeout + call.wait_seconds, None
        if call.until is not None:
            left = min(max(call.until - now, LEAST_SECONDS), LONGEST_SECONDS)
            step, read, pool = min(step, left), min(read, left), left
        return httpx.Timeout(step, read=read, pool=pool)

    def pause(self, call: Call[Any], answer: object, *, attempt: int, now: float) -> float | None:
        """Return the seconds to wait before trying again, or None to take this answer."""
        if attempt >= self._max_retries or not _may_do_better(call, answer):
            return None
        pause = _retry.delay(
            attempt,
            retry_after=_retry_after(answer) if isinstance(answer, Answer) else None,
            draw=random.SystemRandom().random(),
        )
        is_in_time = pause is None or call.until is None or now + pause < call.until
        return pause if is_in_time else None

    def no_answer(self, call: Call[Any], error: httpx.RequestError | TimeoutError) -> NoAnswer:
        """Say what httpx could not do."""
        what = f"{call.method} {_shown(call)} had no answer from {self.shown}"
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            hint = NO_SERVER if isinstance(error, httpx.ConnectTimeout) else TOO_SLOW
            return APITimeoutError(f"{what} in time ({type(error).__name__}).", hint=hint)
        if isinstance(error, httpx.DecodingError):
            return APIResponseValidationError(f"{what} that can be read.", hint=NOT_PINCLIP)
        said = str(error) or type(error).__name__
        if (fault := _tls_fault(error)) is not None:
            is_trust = isinstance(fault, ssl.SSLCertVerificationError)
            return APITLSError(f"{what}: {said}.", hint=NOT_TRUSTED if is_trust else NOT_TLS)
        return APIConnectionError(f"{what}: {said}.", hint=NO_SERVER)


class Transport:
    """Sends calls and blocks until each is answered. Safe to use from several threads."""

    def __init__(self, plan: Plan, *, clock: Clock, http: SyncHttp | None) -> None:
        self._plan = plan
        self._clock = clock
        self._is_lent = http is not None
        self._http = _made(SyncHttp, plan) if http is None else http

    def changed(self, *, timeout: float | None, max_retries: int | None) -> Transport:
        """Return one with other options over the same connections, which it leaves open."""
        plan = self._plan.changed(timeout=timeout, max_retries=max_retries)
        return Transport(plan, clock=self._clock, http=self._http)

    def send(self, call: Call[T]) -> tuple[T, Answer]:
        """Return what the server said, read and as it came; raises APIError."""
        answer, attempt = self._insist(call, self._ask)
        return outcome(call, answer, attempt=attempt)

    def open(self, call: Call[None]) -> Lines:
        """Return the lines of an answer as they come; raises APIError."""
        answer, _ = self._insist(call, self._begin)
        if isinstance(answer, httpx.Response):
            return Lines(self._plan, call, answer)
        raise not_lines(call, answer)

    def close(self) -> None:
        """Close the connections, unless the caller lent them."""
        if not self._is_lent:
            self._http.close()

    def _insist(self, call: Call[Any], once: Callable[[Call[Any], Arguments], A]) -> tuple[A, int]:
        """Return the first answer that is not worth another try, and how many came before it."""
        arguments = self._plan.request(call)
        attempt = 0
        while True:
            answer = once(call, arguments)
            pause = self._plan.pause(call, answer, attempt=attempt, now=self._clock.monotonic())
            if pause is None:
                return answer, attempt
            self._clock.sleep(pause)
            attempt += 1

    def look(self, call: Call[Any]) -> Answer | NoAnswer:
        """Return what comes back from one try, whatever its status."""
        return self._ask(call, self._plan.request(call))

    def _ask(self, call: Call[Any], arguments: Arguments) -> Answer | NoAnswer:
        try:
            return self._whole(call, self._sent(call, arguments))
        except httpx.RequestError as error:
            return self._plan.no_answer(call, error)

    def _begin(self, call: Call[Any], arguments: Arguments) -> httpx.Response | Answer | NoAnswer:
        try:
            response = self._sent(call, arguments)
            return response if has_lines(call, response) else self._whole(call, response)
        except httpx.RequestError as error:
            return self._plan.no_answer(call, error)

    def _sent(self, call: Call[Any], arguments: Arguments) -> httpx.Response:
        limits = self._plan.limits(call, self._clock.monotonic())
        if call.until is not None and call.body is not None and len(call.body) > PIECE_BYTES:
            length = {"Content-Length": str(len(call.body))}
            headers = {**arguments["headers"], **length}
            arguments = {**arguments, "content": self._pieces(call), "headers": headers}
        request = self._http.build_request(timeout=limits, **arguments)
        return self._http.send(request, stream=True, follow_redirects=False)

    def _pieces(self, call: Call[Any]) -> Iterator[bytes]:
        """Yield a body while there is time: a slow line may take each piece within its limit."""
        body = call.body or b""
        for start in range(0, len(body), PIECE_BYTES):
            self._need_time(call, httpx.WriteTimeout)
            yield body[start : start + PIECE_BYTES]

    def _whole(self, call: Call[Any], response: httpx.Response) -> Answer:
        try:
            if call.until is None:
                body = response.read()
            else:
                body = b"".join(self._in_time(call, response))
        finally:
            response.close()
        return Answer(response.status_code, response.headers, body)

    def _in_time(self, call: Call[Any], response: httpx.Response) -> Iterator[bytes]:
        for part in response.iter_bytes():
            yield part
            self._need_time(call, httpx.ReadTimeout)

    def _need_time(self, call: Call[Any], kind: type[httpx.TimeoutException]) -> None:
        if call.until is not None and self._clock.monotonic() >= call.until:
            raise kind("the caller's time is up")


class AsyncTransport:
    """Sends calls from an asyncio event loop, which goes on meanwhile."""

    def __init__(self, plan: Plan, *, clock: Clock, http: AsyncHttp | None) -> None:
        self._plan = plan
        self._clock = clock
        self._is_lent = http is not None
        self._http = _made(AsyncHttp, plan) if http is None else http

    def changed(self, *, timeout: float | None, max_retries: int | None) -> AsyncTransport:
        """Return one with other options over the same connections, which it leaves open."""
        plan = self._plan.changed(timeout=timeout, max_retries=max_retries)
        return AsyncTransport(plan, clock=self._clock, http=self._http)

    async def send(self, call: Call[T]) -> tuple[T, Answer]:
        """Return what the server said, read and as it came; raises APIError."""
        answer, attempt = await self._insist(call, self._ask)
        return outcome(call, answer, attempt=attempt)

    async def open(self, call: Call[None]) -> AsyncLines:
        """Return the lines of an answer as they come; raises APIError."""
        answer, _ = await self._insist(call, self._begin)
        if isinstance(answer, httpx.Response):
            return AsyncLines(self._plan, call, answer)
        raise not_lines(call, answer)

    async def close(self) -> None:
        """Close the connections, unless the caller lent them."""
        if not self._is_lent:
            await self._http.aclose()

    async def _insist(
        self, call: Call[Any], once: Callable[[Call[Any], Arguments], Awaitable[A]]
    ) -> tuple[A, int]:
        """Return the first answer that is not worth another try, and how many came before it."""
        arguments = self._plan.request(call)
        attempt = 0
        while True:
            answer = await once(call, arguments)
            pause = self._plan.pause(call, answer, attempt=attempt, now=self._clock.monotonic())
            if pause is None:
                return answer, attempt
            await self._clock.sleep_async(pause)
            attempt += 1

    async def _ask(self, call: Call[Any], arguments: Arguments) -> Answer | NoAnswer:
        try:
            async with self._time_of(call):
                return await self._whole(await self._sent(call, arguments))
        except (httpx.RequestError, TimeoutError) as error:
            return self._plan.no_answer(call, error)

    async def _begin(
        self, call: Call[Any], arguments: Arguments
    ) -> httpx.Response | Answer | NoAnswer:
        try:
            response = await self._sent(call, arguments)
            return response if has_lines(call, response) else await self._whole(response)
        except httpx.RequestError as error:
            return self._plan.no_answer(call, error)

    async def _sent(self, call: Call[Any], arguments: Arguments) -> httpx.Response:
        limits = self._plan.limits(call, self._clock.monotonic())
        request = self._http.build_request(timeout=limits, **arguments)
        return await self._http.send(request, stream=True, follow_redirects=False)

    async def _whole(self, response: httpx.Response) -> Answer:
        try:
            body = await response.aread()
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, body)

    def _time_of(self, call: Call[Any]) -> asyncio.Timeout:
        """Return the block in which the call must be done."""
        import asyncio  # takes 40 ms, which the blocking client need not spend

        left = None if call.until is None else call.until - self._clock.monotonic()
        return asyncio.timeout(left)


class Lines:
    """An answer that is read line by line; lines come as bytes, without their end."""

    def __init__(self, plan: Plan, call: Call[None], response: httpx.Response) -> None:
        self.status = response.status_code
        self._plan, self._call, self._response = plan, call, response
        self._parts = response.iter_bytes()
        self._splitter = Splitter()

    def next(self) -> bytes | None:
        """Return the next line; None at the end. Raises APIError if the answer breaks off."""
        try:
            while (line := self._splitter.take()) is None:
                part = next(self._parts, None)
                if part is None:
                    return self._splitter.rest()
                self._splitter.feed(part)
            return line
        except httpx.RequestError as error:
            raise self._plan.no_answer(self._call, error) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class AsyncLines:
    """As Lines, in an event loop."""

    def __init__(self, plan: Plan, call: Call[None], response: httpx.Response) -> None:
        self.status = response.status_code
        self._plan, self._call, self._response = plan, call, response
        self._parts = response.aiter_bytes()
        self._splitter = Splitter()

    async def next(self) -> bytes | None:
        """Return the next line; None at the end. Raises APIError if the answer breaks off."""
        try:
            while (line := self._splitter.take()) is None:
                part = await anext(self._parts, None)
                if part is None:
                    return self._splitter.rest()
                self._splitter.feed(part)
            return line
        except httpx.RequestError as error:
            raise self._plan.no_answer(self._call, error) from error

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._response.aclose()


class Splitter:
    """Cuts bytes into lines at \\n and \\r\\n: httpx cuts at letters that JSON may hold, too."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []

    def feed(self, part: bytes) -> None:
        """Take the next bytes."""
        first, *more = part.split(b"\n")
        self._begun.append(first)
        for begun in more:
            self._lines.append(b"".join(self._begun).removesuffix(b"\r"))
            self._begun = [begun]

    def take(self) -> bytes | None:
        """Return a line that is whole, or None."""
        return self._lines.popleft() if self._lines else None

    def rest(self) -> bytes | None:
        """Return what came after the last end of a line, once."""
        rest, self._begun = b"".join(self._begun), []
        return rest or None


def has_lines(call: Call[Any], response: httpx.Response) -> bool:
    """Tell whether a response is the stream that was asked for, or says that there is none."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    return response.status_code == 204 or (
        response.status_code == 200 and kind == call.headers["Accept"]
    )


def not_lines(call: Call[Any], answer: Answer | NoAnswer) -> APIError:
    """Return why there is no stream."""
    if isinstance(answer, APIError):
        error: APIError = answer
    elif 200 <= answer.status < 300:
        message = f"{call.method} {_shown(call)} was answered {answer.status} {_described(answer)}"
        error = APIResponseValidationError(
            f"{message}, not with {call.headers['Accept']}.", hint=NOT_PINCLIP
        )
    else:
        error = _refused(call, answer)
    error.scan_id = call.scan_id
    return error


def outcome(call: Call[T], answer: Answer | NoAnswer, *, attempt: int = 0) -> tuple[T, Answer]:
    """Return the struct that a success holds, and the answer; raises APIError for anything else.

    What is not there at a later attempt to delete it was deleted by an earlier one.
    """
    if isinstance(answer, APIError):
        error: APIError = answer
    elif 200 <= answer.status < 300 or _is_deleted(call, answer, attempt):
        try:
            return _read(call, answer.body), answer
        except UNREADABLE as fault:
            error = _not_understood(call, answer, fault)
    else:
        error = _refused(call, answer)
    error.scan_id = call.scan_id
    raise error


def _read(call: Call[T], body: bytes) -> T:
    if call.reads is NOTHING:
        return cast(T, None)
    return msgspec.json.decode(body, type=call.reads)


def _is_deleted(call: Call[Any], answer: Answer, attempt: int) -> bool:
    return call.method == "DELETE" and attempt > 0 and answer.status == 404


def _refused(call: Call[Any], answer: Answer) -> APIStatusError:
    problem = _problem(answer)
    if problem:
        message = f"{answer.status} {problem.code}: {problem.detail or problem.title}"
    else:
        message = f"{call.method} {_shown(call)} was answered {answer.status} {_described(answer)}."
    return of_status(answer.status)(
        message,
        status_code=answer.status,
        problem=problem,
        request_id=(problem and problem.request_id) or answer.headers.get("x-request-id"),
        hint=problem.hint if problem else _not_ours(answer),
        retry_after=_retry_after(answer),
    )


def _not_ours(answer: Answer) -> str:
    return MOVED if answer.status in (301, 302, 303, 307, 308) else NOT_PINCLIP


def _problem(answer: Answer) -> Problem | None:
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except UNREADABLE:
        return None


def _not_understood(
    call: Call[Any], answer: Answer, fault: Exception
) -> APIResponseValidationError:
    wanted = getattr(call.reads, "__name__", "object")
    message = f"{call.method} {_shown(call)} was answered {answer.status} {_described(answer)}, "
    if isinstance(fault, msgspec.ValidationError):
        return APIResponseValidationError(
            f"{message}but not with a {wanted}: {fault}.",
            hint="The server may be newer or older than this client: update both.",
        )
    return APIResponseValidationError(f"{message}not with a {wanted}.", hint=NOT_PINCLIP)


def _shown(call: Call[Any]) -> str:
    """Return the path of a call without its query."""
    return call.path.partition("?")[0]


def _tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Return what TLS said, if an error of httpx comes from there."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _may_do_better(call: Call[Any], answer: object) -> bool:
    """Tell whether the same request is worth another try."""
    if isinstance(answer, Answer):
        status, code = answer.status, _code(answer)
    elif isinstance(answer, APIConnectionError) and not isinstance(answer, APITLSError):
        status, code = None, None
    else:
        return False
    return _retry.may_retry(status, code=code, is_repeatable=call.is_repeatable)


def _code(answer: Answer) -> ProblemCode | None:
    problem = _problem(answer) if answer.status == 409 else None
    return problem.code if problem else None


def _described(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    return f"with {kind}" if kind else "without a content type"


def _retry_after(answer: Answer) -> float | None:
    headers = answer.headers
    return _retry.read_retry_after(headers.get("retry-after"), date=headers.get("date"))


def _limit(seconds: float) -> float:
    """Return a limit that a socket takes; raises InputError."""
    if not seconds > 0:
        raise InputError(f"timeout is {seconds}.", hint="Use seconds, more than 0.")
    return min(seconds, LONGEST_SECONDS)


def _made(kind: type[H], plan: Plan) -> H:
    """Return an HTTP client; raises SettingsError if the environment stands in the way."""
    try:
        # Made here, as httpx would pass over SSL_CERT_FILE where it passes over proxies.
        verify = httpx.create_ssl_context() if plan.http["verify"] else False
        return kind(**{**plan.http, "verify": verify})
    except OSError as error:
        fault = f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error.strerror or error}."
        todo = "Set it to a file, or a folder, of certificates in PEM, or unset it."
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        said = str(error).rstrip(".")
        fault = f"HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY cannot be used: {said}."
        todo = "Set it to what httpx takes, such as http://127.0.0.1:3128, or unset it."
    raise SettingsError([f"{fault} {todo}"])


def _refuse_unreadable(base_url: str) -> None:
    try:
        httpx.URL(base_url).raw_host.decode("ascii").encode("idna")  # as a socket would
    except (httpx.InvalidURL, UnicodeError) as error:
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
