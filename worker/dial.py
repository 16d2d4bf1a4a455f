"""FRONT DESK, HTTP DOOR: connects to hosts that strangers named, at public addresses only.

    host  --Names.addresses-->  addresses     all of one answer may be dialled, or none is
                                   |
                 PinnedBackend: dials one of them, whatever httpcore asks for, checks again
                                   |          what it dialled and what it reached
                              MeteredStream:  a head is read in small pieces, and not for ever

    GuardedBackend does both for a pool: each new connection is looked up, checked and pinned.

Names are looked up once a connection and the checked address is dialled, so an answer that
changes between check and dial changes nothing; SNI, certificate and Host keep the name. Images
are fetched (worker/fetcher.py) and webhooks delivered (server/courier.py) through here, under
one guard.Policy. Knows neither of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import Any

import anyio
import httpcore

from .guard import Address, Policy, check_address, own_addresses

Resolver = Callable[[str], Sequence[str]]
"""Host name -> addresses as text. Blocks; raises OSError where there is no answer."""

DNS_SECONDS = 5.0
"""Longest wait for an answer of DNS, waiting for a free thread included."""
DNS_THREADS = 16
"""Most look-ups at a time."""
CONNECT_ADDRESSES = 3
"""Most addresses of one answer that are tried."""
HEAD_BYTES = 128 * 1024
"""Most bytes of an answer that is not there yet: interim answers (103), headers."""
HEAD_READ_BYTES = 8 * 1024
"""Most of them that are read at once; h11 takes 0.1 ms a piece, and other tasks wait meanwhile."""

TROUBLE = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    ssl.SSLError,  # httpcore lets those of a read or write through as they are
)
"""What httpcore raises when it is the wire's or the other side's fault."""


class NotDialled(Exception):
    """No connection was tried; `detail` is a sentence, without addresses of inside names."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NameUnknown(NotDialled):
    """DNS has no address for the name, or gave no answer in time."""


class NotPublic(NotDialled):
    """The name leads to an address that must not be dialled."""


def system_resolver(host: str) -> list[str]:
    """Return the addresses the system gives for a name, in the order it prefers them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def why(error: Exception) -> str:
    """Return in a few words what httpcore met: a certificate's fault, or the error's own text."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    text = str(cause).rstrip(".") or type(cause).__name__
    return text if len(text) <= 120 else f"{text[:120]}..."


class Names:
    """Looks names up, and gives addresses only where all of them may be dialled."""

    def __init__(
        self,
        policy: Policy,
        *,
        resolver: Resolver = system_resolver,
        seconds: float = DNS_SECONDS,
        threads: int = DNS_THREADS,
        most: int = CONNECT_ADDRESSES,
    ) -> None:
        self.policy = policy
        self._lookups = _Lookups(resolver, threads)
        self._seconds = seconds
        self._most = most

    async def addresses(self, host: str) -> Sequence[Address]:
        """Return the addresses to try, all of them checked; raises NameUnknown or NotPublic."""
        own = own_addresses(host, self.policy)
        if own:
            return own
        answer: Sequence[str] | None = None
        with anyio.move_on_after(self._seconds):
            answer = await self._lookups.resolve(host)
        if answer is None:
            raise NameUnknown(f"DNS gave no answer for {host} within {self._seconds:g} s.")
        if not answer:
            raise NameUnknown(f"{host} has no address.")
        addresses = list(dict.fromkeys(map(ip_address, answer)))
        # The address stays out of the text: it would tell strangers what inside names resolve to.
        if any(check_address(address, self.policy) for address in addresses):
            raise NotPublic(f"{host} resolves to an address that is not public.")
        return addresses[: self._most]


class Meter:
    """Says how much may be read at once: little, and not for ever, until the head has come.

    h11 takes 0.1 ms a piece, so 64 KB of interim answers (103) would hold the loop for a second,
    and nothing in httpcore ever ends them. Each request that is written begins a new head.
    """

    def __init__(self) -> None:
        self._left: int | None = HEAD_BYTES

    def expect_head(self) -> None:
        """Begin a request: the bytes that follow are those of a head."""
        self._left = HEAD_BYTES

    def expect_body(self) -> None:
        """The head has come; whoever reads the body counts it."""
        self._left = None

    def most(self, asked: int) -> int:
        """Return how much to read of what was asked for; raises RemoteProtocolError at the end."""
        if self._left is None:
            return asked
        if self._left <= 0:
            raise httpcore.RemoteProtocolError(f"{HEAD_BYTES} bytes, and still no answer")
        return min(asked, HEAD_READ_BYTES)

    def count(self, size: int) -> None:
        """Take note of bytes that were read."""
        if self._left is not None:
            self._left -= size


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Dials one address, whatever host httpcore asks for, and checks it at the last moment.

    Unix sockets stay what they are in httpcore's interface: not implemented.
    """

    def __init__(self, address: Address, policy: Policy) -> None:
        self._address = address
        self._policy = policy
        self._anyio = httpcore.AnyIOBackend()
        self.meter = Meter()
        self.stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream to the pinned address; raises NotPublic if it may not be dialled."""
        if check_address(self._address, self._policy):
            raise NotPublic(f"{host} is at an address that is not public.")
        stream = await self._anyio.connect_tcp(
            str(self._address), port, timeout, local_address, socket_options
        )
        self.stream = stream
        if ip_address(stream.get_extra_info("server_addr")[0]) != self._address:
            await stream.aclose()
            raise NotPublic(f"{host} was reached at another address than the one checked.")
        return MeteredStream(stream, self.meter)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """For a pool: looks the host of each new connection up, checks, dials what it checked."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream to the first address that takes a connection.

        Raises NotDialled, or what httpcore raises of the last address.
        """
        failure: Exception = NameUnknown(f"{host} has no address.")
        for address in await self._names.addresses(host):
            backend = PinnedBackend(address, self._names.policy)
            try:
                return await backend.connect_tcp(host, port, timeout, local_address, socket_options)
            except TROUBLE as error:
                failure = error
        raise failure


class MeteredStream(httpcore.AsyncNetworkStream):
    """A stream that reads by its meter."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> bytes:
        """Return some bytes, as many as the meter allows."""
        data = await self._stream.read(self._meter.most(max_bytes), timeout)
        self._meter.count(len(data))
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> None:
        """Send bytes of a request, so that what comes next is a head."""
        self._meter.expect_head()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> httpcore.AsyncNetworkStream:
        """Return the stream in TLS, read by the same meter."""
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return MeteredStream(stream, self._meter)

    def get_extra_info(self, info: str) -> Any:
        """Return what the stream knows of itself."""
        return self._stream.get_extra_info(info)


class _LookUp:
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.addresses: Sequence[str] = ()
        self.error: Exception | None = None


class _Lookups:
    """Runs a blocking resolver on a bounded number of threads of its own.

    A look-up that hangs keeps its thread until the resolver gives up, also after whoever asked is
    gone; in the loop's default pool that would starve all else (cpython #112169).
    """

    def __init__(self, resolver: Resolver, threads: int) -> None:
        self._resolver = resolver
        self._free = anyio.Semaphore(threads)

    async def resolve(self, host: str) -> Sequence[str]:
        """Return the addresses of a name; raises NameUnknown."""
        await self._free.acquire()
        look_up, loop = _LookUp(), asyncio.get_running_loop()
        Thread(target=self._work, args=(host, look_up, loop), name="dns", daemon=True).start()
        await look_up.done.wait()
        if isinstance(look_up.error, (OSError, UnicodeError)):
            raise NameUnknown(f"{host} was not found: {look_up.error}.")
        if look_up.error:
            raise look_up.error
        return look_up.addresses

    def _work(self, host: str, look_up: _LookUp, loop: asyncio.AbstractEventLoop) -> None:
        try:
            look_up.addresses = self._resolver(host)
        except Exception as error:  # raised again where somebody waits
            look_up.error = error
        with suppress(RuntimeError):  # raised where the loop has ended
            loop.call_soon_threadsafe(self._finish, look_up)

    def _finish(self, look_up: _LookUp) -> None:
        self._free.release()
        look_up.done.set()
