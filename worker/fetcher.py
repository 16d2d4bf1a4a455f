"""HTTP DOOR: gets the bytes of a URL that strangers chose, and reaches only where it may.

    fetch, refetch          any thread waits; sha256
    `- _fetch               one deadline over all of it; from here on, one event loop thread
       `- _follow           200, or at most 5 redirects, each through guard.follow
          `- _hop           the host's lane; every address of one answer passes, or none is dialled
             `- _ask        the address's lane and breaker; reuses a line to that very address
                `- _Line    httpcore over PinnedBackend (dial.py), which dials the address checked
                   `- _read     status, encoding, bytes counted as they come off the wire

Names are looked up once a hop and the checked address is dialled, so an answer that changes
between check and dial changes nothing; SNI, certificate and Host keep the name. httpcore and not
httpx: a client would bring cookies, proxies from the environment, decompression and redirects
of its own, each of which must not happen here. `refetch` puts a condition on one hop only: the
one to the very URL that gave the bytes before; from any other, 304 is refused as ever. Knows
nothing of images.
"""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from typing import NamedTuple

import anyio
import httpcore
from anyio.from_thread import start_blocking_portal

from sdk.codes import ProblemCode, ScanErrorCode

from . import freshness
from .clock import SystemClock
from .contract import UPLOAD_LIMIT_BYTES
from .dial import (
    TROUBLE,
    Names,
    NotDialled,
    NotPublic,
    PinnedBackend,
    Resolver,
    system_resolver,
    why,
)
from .freshness import Freshness
from .guard import (
    Address,
    Policy,
    Target,
    UrlRefused,
    check_url,
    follow,
)
from .ports import Clock, Fetched, Refusal, Unchanged, Validator


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one fetch, one host and one address may take."""

    body_bytes: int = UPLOAD_LIMIT_BYTES
    """Largest body, whatever Content-Length says."""
    redirects: int = 5
    """Most redirects followed."""
    dns_seconds: float = 5.0
    """Longest wait for an answer of DNS, waiting for a free thread included."""
    dns_threads: int = 16
    """Most look-ups at a time."""
    connect_seconds: float = 3.0
    """Longest TCP connect to one address; the same again for TLS."""
    connect_addresses: int = 3
    """Most addresses of one answer that are tried."""
    read_seconds: float = 5.0
    """Longest silence of a connected host."""
    in_flight: int = 4
    """Most requests at a time to one host, and to one address."""
    starts_per_second: int = 20
    """Most requests begun in any second to one host, and to one address."""
    breaker_failures: int = 5
    """Connects failed in a row before a host or address is left alone."""
    breaker_seconds: float = 60.0
    """How long it is left alone."""
    idle_lines: int = 32
    """Most connections kept open for reuse."""
    idle_seconds: float = 15.0
    """How long one is kept."""


class HttpFetcher:
    """The Fetcher that workers use. Owns one thread with an event loop until `close`."""

    def __init__(
        self,
        policy: Policy,
        *,
        limits: Limits | None = None,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock or SystemClock()
        self._limits = limits = limits or Limits()
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._names = Names(
            policy,
            resolver=resolver,
            seconds=limits.dns_seconds,
            threads=limits.dns_threads,
            most=limits.connect_addresses,
        )
        self._lanes = _Lanes(limits.in_flight, limits.starts_per_second)
        self._breaker = Breaker(limits.breaker_failures, limits.breaker_seconds)
        context = ssl_context or httpcore.default_ssl_context()
        self._lines = _Lines(policy, limits, context)

    def fetch(self, url: str, *, timeout_seconds: float) -> Fetched:
        """Return the body at the URL, redirects followed, or raise Refusal (fetch_*).

        A fetch that `close` interrupts raises concurrent.futures.CancelledError.
        """
        return _fetched(self._portal.call(self._fetch, url, timeout_seconds, None))

    def refetch(
        self, url: str, *, timeout_seconds: float, unless: Validator
    ) -> Fetched | Unchanged:
        """The same, but Unchanged where the URL that `unless` was made for says so itself."""
        found = self._portal.call(self._fetch, url, timeout_seconds, unless)
        if found.answer.is_unchanged:
            return Unchanged(final_url=found.final_url, fresh_seconds=found.fresh_seconds)
        return _fetched(found)

    def close(self) -> None:
        """End what is under way, close all connections and the thread. May be called again."""
        with suppress(RuntimeError):  # raised where the portal has stopped already
            self._portal.call(self._lines.aclose)
            self._portal.call(self._portal.stop, True)
        self._stack.close()

    async def _fetch(self, url: str, timeout_seconds: float, unless: Validator | None) -> _Found:
        try:
            target = check_url(url, self._policy)
        except UrlRefused as refused:
            raise Refusal(ScanErrorCode.FETCH_ADDRESS_BLOCKED, refused.detail) from refused
        with anyio.move_on_after(timeout_seconds):
            return await self._follow(target, unless)
        raise Refusal(
            ScanErrorCode.FETCH_TIMEOUT,
            f"{target.host} did not deliver within {timeout_seconds:g} s, redirects included.",
        )

    async def _follow(self, target: Target, unless: Validator | None) -> _Found:
        """Return the first answer that is no redirect."""
        seen, fresh = {target.url}, freshness.LIMIT_SECONDS
        for _ in range(self._limits.redirects + 1):
            is_final = unless is not None and unless.is_of(target.url)
            answer = await self._hop(_Question(target, unless if is_final else None))
            fresh = min(fresh, self._fresh_seconds(answer))
            if answer.body is not None or answer.is_unchanged:
                return _Found(target.url, answer, fresh)
            target = _next(target, answer.locations, self._policy)
            if target.url in seen:
                raise Refusal(ScanErrorCode.FETCH_REDIRECTS, f"{target.host} redirects in a loop.")
            seen.add(target.url)
        raise Refusal(
            ScanErrorCode.FETCH_REDIRECTS,
            f"More than {self._limits.redirects} redirects, the last to {target.host}.",
        )

    def _fresh_seconds(self, answer: _Answer) -> float:
        return answer.freshness.seconds(self._clock.now()) if answer.freshness else 0.0

    async def _hop(self, question: _Question) -> _Answer:
        """Return the answer of the first address that takes a connection."""
        host = question.target.host
        async with self._lanes.enter(("host", host)):
            failures = []
            for address in await self._addresses(host):
                try:
                    return await self._ask(question, address)
                except _NotConnected as failure:
                    failures.append(failure)
            raise failures[-1]

    async def _addresses(self, host: str) -> Sequence[Address]:
        """Return the addresses to try, all of them checked."""
        try:
            return await self._names.addresses(host)
        except NotDialled as refused:
            raise _not_dialled(refused) from refused

    async def _ask(self, question: _Question, address: Address) -> _Answer:
        """Return the answer of this address, unless it is left alone for now."""
        target = question.target
        route = _Route(target.scheme, target.host, target.port, address)
        async with self._lanes.enter(("address", str(address))):
            with self._breaking((address, target.port), target.host):
                return await self._exchange(route, question)

    @contextmanager
    def _breaking(self, place: _Place, host: str) -> Iterator[None]:
        """Refuse at once while the breaker is open; else tell it whether we were connected."""
        seconds = self._breaker.seconds_left(place, anyio.current_time())
        if seconds > 0:
            raise _NotConnected(
                f"{host} took none of the last {self._limits.breaker_failures} connections; "
                f"it is tried again in {seconds:.0f} s."
            )
        try:
            yield
        except _NotConnected:
            self._breaker.failed(place, anyio.current_time())
            raise
        except Refusal:
            self._breaker.succeeded(place)
            raise
        self._breaker.succeeded(place)

    async def _exchange(self, route: _Route, question: _Question) -> _Answer:
        """Return the answer. A kept line that the host has closed by now is not held against it."""
        line = await self._lines.take(route)
        if line is not None:
            try:
                return await self._converse(line, question)
            except _Dropped:
                pass
        return await self._converse(self._lines.new(route), question)

    async def _converse(self, line: _Line, question: _Question) -> _Answer:
        """Send the request over the line and read the answer; keep or close the line."""
        try:
            return await line.get(question)
        finally:
            with anyio.CancelScope(shield=True):
                await self._lines.give_back(line)


class Breaker:
    """Leaves alone what does not take connections. Pure: the caller tells the time in seconds."""

    def __init__(self, failures: int, seconds: float) -> None:
        self._limit = failures
        self._seconds = seconds
        self._failed: dict[_Place, tuple[int, float]] = {}  # failures in a row, time of the last

    def seconds_left(self, place: _Place, now: float) -> float:
        """Return how long the place is to be left alone, 0 where it may be dialled."""
        count, last = self._failed.get(place, (0, 0.0))
        return max(last + self._seconds - now, 0.0) if count >= self._limit else 0.0

    def failed(self, place: _Place, now: float) -> None:
        """Count a failed connect. After the pause one more opens it again at once."""
        count, _ = self._failed.get(place, (0, 0.0))
        self._failed[place] = (count + 1, now)
        if len(self._failed) > _MEMORY:
            self._failed = {
                place: (count, last)
                for place, (count, last) in self._failed.items()
                if last + self._seconds > now
            }

    def succeeded(self, place: _Place) -> None:
        """Forget the failures of a place that took a connection."""
        self._failed.pop(place, None)

    def __len__(self) -> int:
        return len(self._failed)


class Pace:
    """Spreads starts so that no second has more than so many. Pure, like Breaker."""

    def __init__(self, starts_per_second: int) -> None:
        self._starts: deque[float] = deque(maxlen=starts_per_second)

    def pause(self, now: float) -> float:
        """Return the seconds until another start may come, and count it as coming then."""
        is_full = len(self._starts) == self._starts.maxlen
        start = max(now, self._starts[0] + 1.0) if is_full else now
        self._starts.append(start)
        return start - now

    def is_idle(self, now: float) -> bool:
        """True if nothing began within the last second, so that nothing need be remembered."""
        return not self._starts or self._starts[-1] + 1.0 < now


_Place = tuple[Address, int]
_USER_AGENT = f"pinclip/{version('pinclip')}"
_MEMORY = 1000  # hosts and addresses remembered before old ones are dropped
# 20 MiB in chunks of one byte would cost h11 half an hour of this thread.
_CHUNKS = 1000
_CHUNK_BYTES = 64

_STEADY_SECONDS = 60
"""Between a change and a Date after which a second change in the same second is ruled out."""
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,256}"')
_REDIRECTS = (301, 302, 303, 307, 308)
_STATUS = {
    401: ScanErrorCode.FETCH_FORBIDDEN,
    403: ScanErrorCode.FETCH_FORBIDDEN,
    404: ScanErrorCode.FETCH_NOT_FOUND,
    410: ScanErrorCode.FETCH_NOT_FOUND,
}


class _NotConnected(Refusal):
    """No TCP connection came about; another address may do better."""

    def __init__(self, detail: str) -> None:
        super().__init__(ScanErrorCode.FETCH_CONNECT, detail)


class _Dropped(Refusal):
    """The connection broke before a byte of the answer; on a kept line that means little."""


class _Question(NamedTuple):
    """What is asked for, and the condition under which it is not wanted again."""

    target: Target
    unless: Validator | None


class _Answer(NamedTuple):
    """A body, that it is as it was, or a redirect: its Location headers, of which one is right."""

    body: bytes | None
    locations: Sequence[str] = ()
    is_unchanged: bool = False
    validator: Validator | None = None
    freshness: Freshness | None = None


class _Found(NamedTuple):
    """Where redirects ended, and how long all on the way vouch for that."""

    final_url: str
    answer: _Answer
    fresh_seconds: float


class _Route(NamedTuple):
    """What a line connects to. The address is part of it, so reuse never asks DNS for trust."""

    scheme: str
    host: str
    port: int
    address: Address


@dataclass
class _Lane:
    """Requests to one host or address; `users` counts those that wait, too."""

    free: anyio.Semaphore
    pace: Pace
    users: int = 0


class _Lanes:
    """Makes requests wait their turn: so many at a time, so many begun in any second."""

    def __init__(self, in_flight: int, starts_per_second: int) -> None:
        self._in_flight = in_flight
        self._starts = starts_per_second
        self._lanes: dict[tuple[str, str], _Lane] = {}

    @asynccontextmanager
    async def enter(self, key: tuple[str, str]) -> AsyncIterator[None]:
        """Hold a place in the lane of `key`, once it is our turn."""
        lane = self._lanes.get(key) or self._add(key)
        lane.users += 1
        try:
            async with lane.free:
                await anyio.sleep(lane.pace.pause(anyio.current_time()))
                yield
        finally:
            lane.users -= 1

    def _add(self, key: tuple[str, str]) -> _Lane:
        if len(self._lanes) >= _MEMORY:
            now = anyio.current_time()
            self._lanes = {
                key: lane
                for key, lane in self._lanes.items()
                if lane.users or not lane.pace.is_idle(now)
            }
        lane = _Lane(anyio.Semaphore(self._in_flight), Pace(self._starts))
        self._lanes[key] = lane
        return lane


class _Lines:
    """Connections that wait for another request to the same route, oldest first."""

    def __init__(self, policy: Policy, limits: Limits, ssl_context: ssl.SSLContext) -> None:
        self._make = (policy, limits, ssl_context)
        self._limit = limits.idle_lines
        self._idle: list[_Line] = []

    def new(self, route: _Route) -> _Line:
        """Return a line that will connect when it is first used."""
        return _Line(route, *self._make)

    async def take(self, route: _Route) -> _Line | None:
        """Return the line to this route that was used last, if one is still good."""
        while found := [line for line in self._idle if line.route == route]:
            self._idle.remove(found[-1])
            if found[-1].is_reusable:
                return found[-1]
            await found[-1].aclose()
        return None

    async def give_back(self, line: _Line) -> None:
        """Keep the line if it is good for another request, else close it."""
        if not line.is_reusable:
            await line.aclose()
            return
        self._idle.append(line)
        while len(self._idle) > self._limit:
            await self._idle.pop(0).aclose()

    async def aclose(self) -> None:
        """Close all and keep none from now on."""
        self._limit = 0
        while self._idle:
            await self._idle.pop().aclose()


class _Line:
    """One connection to one route."""

    def __init__(
        self, route: _Route, policy: Policy, limits: Limits, ssl_context: ssl.SSLContext
    ) -> None:
        self.route = route
        self._limits = limits
        self._backend = PinnedBackend(route.address, policy)
        self._http = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(route.scheme.encode(), route.host.encode(), route.port),
            ssl_context=ssl_context,
            keepalive_expiry=limits.idle_seconds,
            network_backend=self._backend,
        )

    @property
    def is_reusable(self) -> bool:
        """True if another request may be sent; httpcore calls a failed connection idle too."""
        http = self._http
        return http.is_idle() and not http.is_closed() and not http.has_expired()

    async def get(self, question: _Question) -> _Answer:
        """Return the answer to GET; raises Refusal."""
        response, target = None, question.target
        try:
            self._backend.meter.expect_head()
            response = await self._http.handle_async_request(_request(question, self._limits))
            self._backend.meter.expect_body()
            if question.unless and _is_unchanged(response, question.unless):
                await response.aread()  # There is no body; its end keeps the line.
                return _Answer(None, is_unchanged=True, freshness=_freshness(response))
            return await _read(response, target, self._limits.body_bytes)
        except NotDialled as refused:
            raise _not_dialled(refused) from refused
        except TROUBLE as error:
            is_connected = self._backend.stream is not None
            raise _refusal(error, target.host, is_connected, response is not None) from error
        finally:
            if response is not None:
                with anyio.CancelScope(shield=True):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close the connection, also one that was cut off while TLS was being set up."""
        await self._http.aclose()
        if self._backend.stream is not None:
            await self._backend.stream.aclose()


def _request(question: _Question, limits: Limits) -> httpcore.Request:
    target, unless = question
    _, _, place, path = target.url.split("/", 3)
    return httpcore.Request(
        "GET",
        httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=f"/{path}"),
        headers={
            "Host": place,
            "User-Agent": _USER_AGENT,
            "Accept": "image/*, */*;q=0.5",
            "Accept-Encoding": "identity",
            **_condition(unless),
        },
        extensions={
            "timeout": {
                "connect": limits.connect_seconds,
                "read": limits.read_seconds,
                "write": limits.read_seconds,
            }
        },
    )


def _condition(unless: Validator | None) -> dict[bytes | str, bytes | str]:
    """Return the header that asks for a body only where the bytes are no longer the same."""
    if unless is None:
        return {}
    if unless.etag is not None:
        return {"If-None-Match": unless.etag}
    return {"If-Modified-Since": unless.modified or ""}


def _is_unchanged(response: httpcore.Response, unless: Validator) -> bool:
    """True for a 304 that does not speak of other bytes than those asked about."""
    etags = [etag.removeprefix("W/") for etag in _header(response, "etag")]
    return response.status == 304 and (unless.etag is None or set(etags) <= {unless.etag})


async def _read(response: httpcore.Response, target: Target, limit: int) -> _Answer:
    """Return what the response holds, as sent; raises Refusal unless it is 200 or a redirect."""
    if response.status in _REDIRECTS:
        return _Answer(None, _header(response, "location"), freshness=_freshness(response))
    host = target.host
    _check_head(response, host, limit)
    chunks, size = [], 0
    async for chunk in response.aiter_stream():
        size += len(chunk)
        chunks.append(chunk)
        if size > limit:
            raise _too_large(host, limit)
        if len(chunks) > _CHUNKS and size < len(chunks) * _CHUNK_BYTES:
            raise Refusal(
                ScanErrorCode.FETCH_HTTP_ERROR,
                f"{host} sends its body in chunks of less than {_CHUNK_BYTES} bytes.",
            )
    if not size:
        raise Refusal(ScanErrorCode.NOT_AN_IMAGE, f"{host} sent an empty body.")
    return _Answer(
        b"".join(chunks),
        validator=_validator(response, target.url),
        freshness=_freshness(response),
    )


def _check_head(response: httpcore.Response, host: str, limit: int) -> None:
    if response.status != 200:
        code = _STATUS.get(response.status, ScanErrorCode.FETCH_HTTP_ERROR)
        raise Refusal(code, f"{host} answered with status {response.status}.")
    encodings = [encoding.lower() for encoding in _header(response, "content-encoding")]
    if any(encoding not in ("", "identity") for encoding in encodings):
        raise Refusal(
            ScanErrorCode.FETCH_HTTP_ERROR,
            f"{host} sent a compressed body although none was asked for (Content-Encoding).",
        )
    if any(int(length) > limit for length in _header(response, "content-length")):
        raise _too_large(host, limit)


def _validator(response: httpcore.Response, url: str) -> Validator | None:
    """Return by what to ask later for the same bytes; None where the host gave or allows nothing.

    Weak validators promise the same meaning, not the same bytes, and are left out (RFC 9110, 8.8).
    """
    is_to_be_forgotten = "no-store" in ",".join(_header(response, "cache-control")).lower()
    if is_to_be_forgotten or "*" in ",".join(_header(response, "vary")):
        return None
    etag = _only(_header(response, "etag"), _STRONG_ETAG)
    modified = None if etag else _steady_date(response)
    if etag is None and modified is None:
        return None
    return Validator.of(url, etag=etag, modified=modified)


def _steady_date(response: httpcore.Response) -> str | None:
    """Return Last-Modified if it lies so far back that a change since would show in it."""
    values = _header(response, "last-modified")
    modified, date = freshness.date_of(values), freshness.date_of(_header(response, "date"))
    if modified is None or date is None:
        return None
    return values[0] if date - modified >= _STEADY_SECONDS else None


def _only(values: Sequence[str], form: re.Pattern[str]) -> str | None:
    """Return the header's value if there is one only and it has this form."""
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None


def _freshness(response: httpcore.Response) -> Freshness | None:
    return freshness.read(partial(_header, response))


def _fetched(found: _Found) -> Fetched:
    data = found.answer.body or b""
    return Fetched(
        data=data,
        final_url=found.final_url,
        sha256=sha256(data).hexdigest(),
        validator=found.answer.validator,
        fresh_seconds=found.fresh_seconds,
    )


def _too_large(host: str, limit: int) -> Refusal:
    return Refusal(
        ScanErrorCode.FETCH_TOO_LARGE, f"{host} sends more than {limit} bytes, which is the limit."
    )


def _header(response: httpcore.Response, name: str) -> list[str]:
    """Return all values of a header; UTF-8 where it is, though RFC 9110 knows only Latin-1."""
    values = [value for key, value in response.headers if key.lower() == name.encode()]
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        return [value.decode("latin-1") for value in values]


def _next(target: Target, locations: Sequence[str], policy: Policy) -> Target:
    """Return where a redirect leads, or raise Refusal where it may not."""
    if len(locations) != 1:
        raise Refusal(
            ScanErrorCode.FETCH_REDIRECTS,
            f"{target.host} redirects with {len(locations)} Location headers.",
        )
    try:
        following = follow(target, locations[0], policy)
    except UrlRefused as refused:
        detail = f"{target.host} redirects to where nothing is fetched. {refused.detail}"
        is_blocked = refused.code == ProblemCode.ADDRESS_BLOCKED
        code = ScanErrorCode.FETCH_ADDRESS_BLOCKED if is_blocked else ScanErrorCode.FETCH_REDIRECTS
        raise Refusal(code, detail) from refused
    if target.scheme == "https" and following.scheme == "http":
        raise Refusal(ScanErrorCode.FETCH_REDIRECTS, f"{target.host} redirects from https to http.")
    return following


def _not_dialled(refused: NotDialled) -> Refusal:
    is_blocked = isinstance(refused, NotPublic)
    code = ScanErrorCode.FETCH_ADDRESS_BLOCKED if is_blocked else ScanErrorCode.FETCH_DNS
    return Refusal(code, refused.detail)


def _refusal(error: Exception, host: str, is_connected: bool, has_answered: bool) -> Refusal:
    """Say what went wrong on the wire as the scan's error."""
    if not is_connected:
        return _NotConnected(f"{host} took no connection: {why(error)}.")
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return Refusal(ScanErrorCode.FETCH_TLS, f"TLS with {host} failed: {why(error)}.")
    if isinstance(error, httpcore.TimeoutException):
        return Refusal(ScanErrorCode.FETCH_TIMEOUT, f"{host} was silent for too long.")
    if has_answered:
        return Refusal(ScanErrorCode.FETCH_HTTP_ERROR, f"{host} broke off: {why(error)}.")
    if isinstance(error, httpcore.NetworkError):
        return _Dropped(ScanErrorCode.FETCH_CONNECT, f"{host} dropped the connection.")
    return _Dropped(ScanErrorCode.FETCH_HTTP_ERROR, f"{host} sent no answer: {why(error)}.")
