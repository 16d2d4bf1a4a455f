"""What every ports.Fetcher does, on the fake and on the real one.

The fake is worker.testing.ScriptedFetcher({url: bytes or Refusal}); the real one is HttpFetcher,
which meets an origin on loopback that says the same.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from hashlib import sha256
from typing import NamedTuple

import pytest

from sdk.codes import ScanErrorCode
from tests.worker.origins import Origin, Script, response
from worker.fetcher import HttpFetcher
from worker.guard import Policy
from worker.ports import Fetcher, Refusal
from worker.testing import ScriptedFetcher

SECONDS = 20.0
STATUS = {
    ScanErrorCode.FETCH_FORBIDDEN: 403,
    ScanErrorCode.FETCH_NOT_FOUND: 404,
    ScanErrorCode.FETCH_HTTP_ERROR: 500,
}


class World(NamedTuple):
    """A fetcher, and the address under which its answers stand."""

    fetcher: Fetcher
    address: str


Answers = Mapping[str, bytes | Refusal]
MakeWorld = Callable[[Answers], World]


def scripted(answers: Answers, _: ExitStack) -> World:
    address = "http://images.example"
    urls = {f"{address}{path}": answer for path, answer in answers.items()}
    return World(ScriptedFetcher(urls), address)


def http(answers: Answers, stack: ExitStack) -> World:
    scripts = {path: script_of(answer) for path, answer in answers.items()}
    origin = stack.enter_context(closing(Origin(scripts)))
    fetcher = HttpFetcher(
        Policy(["127.0.0.0/8"], [origin.port]),
        resolver=no_names,
        ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    return World(stack.enter_context(closing(fetcher)), origin.url(""))


def script_of(answer: bytes | Refusal) -> Script:
    if isinstance(answer, Refusal):
        return [response(status=STATUS[answer.code])]
    return [response(answer)]


def no_names(host: str) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture(params=[scripted, http])
def make_world(request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    with ExitStack() as stack:
        yield lambda answers: request.param(answers, stack)


def test_fetcher_returns_the_bytes_their_url_and_their_digest(make_world: MakeWorld) -> None:
    fetcher, address = make_world({"/a.jpg": b"an image"})

    fetched = fetcher.fetch(f"{address}/a.jpg", timeout_seconds=SECONDS)

    assert fetched.data == b"an image"
    assert fetched.final_url == f"{address}/a.jpg"
    assert fetched.sha256 == sha256(b"an image").hexdigest()


@pytest.mark.parametrize("code", STATUS)
def test_fetcher_raises_a_refusal_with_its_code(code: ScanErrorCode, make_world: MakeWorld) -> None:
    fetcher, address = make_world({"/a.jpg": Refusal(code, "It said no.")})

    with pytest.raises(Refusal) as caught:
        fetcher.fetch(f"{address}/a.jpg", timeout_seconds=SECONDS)

    error = caught.value.as_error()
    assert error.code == code
    assert error.detail
    assert error.hint


def test_fetcher_refuses_a_name_that_nobody_knows(make_world: MakeWorld) -> None:
    fetcher, _ = make_world({})

    with pytest.raises(Refusal) as caught:
        fetcher.fetch("http://nowhere.example/a.jpg", timeout_seconds=SECONDS)

    assert caught.value.code == ScanErrorCode.FETCH_DNS


def test_fetcher_goes_on_after_a_refusal(make_world: MakeWorld) -> None:
    no = Refusal(ScanErrorCode.FETCH_NOT_FOUND, "It is not there.")
    fetcher, address = make_world({"/no.jpg": no, "/a.jpg": b"an image"})
    with pytest.raises(Refusal):
        fetcher.fetch(f"{address}/no.jpg", timeout_seconds=SECONDS)

    fetched = fetcher.fetch(f"{address}/a.jpg", timeout_seconds=SECONDS)

    assert fetched.data == b"an image"


def test_fetcher_gives_each_thread_its_own_bytes(make_world: MakeWorld) -> None:
    bodies = {f"/{number}": f"image {number}".encode() for number in range(16)}
    fetcher, address = make_world(bodies)

    with ThreadPoolExecutor(8) as pool:
        fetched = pool.map(
            lambda path: fetcher.fetch(f"{address}{path}", timeout_seconds=SECONDS).data, bodies
        )

        assert list(fetched) == list(bodies.values())
