"""worker/dial.py by itself: what is looked up, what is dialled, and what is read."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address
from threading import Event

import anyio
import httpcore
import pytest

from worker.dial import (
    HEAD_BYTES,
    GuardedBackend,
    Meter,
    Names,
    NameUnknown,
    NotPublic,
    PinnedBackend,
    system_resolver,
)
from worker.guard import Policy

pytestmark = pytest.mark.anyio

LOOPBACK = Policy(("127.0.0.0/8",))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def unknown(host: str) -> Sequence[str]:
    raise OSError(f"{host} is unknown")


async def test_names_gives_all_addresses_of_an_answer_once() -> None:
    names = Names(Policy(), resolver=lambda _: ["8.8.8.8", "1.1.1.1", "8.8.8.8"])

    assert await names.addresses("h.com") == [ip_address("8.8.8.8"), ip_address("1.1.1.1")]


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:10.0.0.1"]])
async def test_names_gives_none_where_one_is_forbidden(answer: list[str]) -> None:
    with pytest.raises(NotPublic) as caught:
        await Names(Policy(), resolver=lambda _: answer).addresses("h.com")

    assert "10.0.0.1" not in caught.value.detail


@pytest.mark.parametrize("resolver", [unknown, lambda _: []], ids=["unknown", "empty"])
async def test_names_says_that_a_name_is_unknown(resolver: object) -> None:
    with pytest.raises(NameUnknown, match=r"h\.com"):
        await Names(Policy(), resolver=resolver).addresses("h.com")  # type: ignore[arg-type]


async def test_names_waits_no_longer_than_it_is_told() -> None:
    release = Event()

    def silent(_: str) -> Sequence[str]:
        release.wait(30)
        return ["8.8.8.8"]

    names = Names(Policy(), resolver=silent, seconds=0.05, threads=1)
    try:
        for _ in range(2):  # the second finds no free thread
            with anyio.fail_after(10), pytest.raises(NameUnknown, match=r"within 0\.05 s"):
                await names.addresses("h.com")
    finally:
        release.set()


async def test_pinned_backend_refuses_an_address_that_nobody_checked() -> None:
    backend = PinnedBackend(ip_address("127.0.0.1"), Policy())

    with pytest.raises(NotPublic):
        await backend.connect_tcp("h.com", 80)


async def test_pinned_backend_refuses_to_arrive_elsewhere() -> None:
    # Linux takes 0.0.0.0 for 127.0.0.1, so this dial ends at another address than asked.
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        backend = PinnedBackend(ip_address("0.0.0.0"), Policy(("0.0.0.0/8",)))

        with pytest.raises(NotPublic, match="another address"):
            await backend.connect_tcp("h.com", listener.getsockname()[1])


async def test_pinned_backend_knows_no_unix_sockets() -> None:
    with pytest.raises(NotImplementedError):
        await PinnedBackend(ip_address("8.8.8.8"), Policy()).connect_unix_socket("/run/x.sock")


async def test_guarded_backend_tries_the_next_address_when_one_takes_no_connection() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        names = Names(LOOPBACK, resolver=lambda _: ["127.0.0.2", "127.0.0.1"])

        stream = await GuardedBackend(names).connect_tcp("h.com", listener.getsockname()[1])

        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        await stream.aclose()


async def test_guarded_backend_says_what_the_last_address_said() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(Names(LOOPBACK, resolver=lambda _: ["127.0.0.1"])).connect_tcp(
            "h.com", port
        )


def test_meter_ends_a_head_that_never_ends_and_begins_anew_with_a_request() -> None:
    meter = Meter()
    meter.count(HEAD_BYTES)

    with pytest.raises(httpcore.RemoteProtocolError):
        meter.most(1)
    meter.expect_head()
    assert meter.most(10**6) < HEAD_BYTES
    meter.expect_body()
    assert meter.most(10**6) == 10**6


def test_system_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in system_resolver("localhost")
