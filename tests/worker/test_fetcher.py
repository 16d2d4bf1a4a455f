"""worker/fetcher.py against real origins on loopback: what it reaches, follows, reads, refuses.

Names come from a resolver that each test writes down; loopback and the origins' ports are
allowed by policy, everything else is as in production but for shorter limits.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from sdk.codes import ScanErrorCode
from worker.contract import UPLOAD_LIMIT_BYTES
from worker.fetcher import Breaker, HttpFetcher, Limits, Pace, PinnedBackend, system_resolver
from worker.guard import Policy
from worker.ports import Fetched, Refusal, Unchanged, Validator

from .origins import CLOSE, RESET, SILENCE, Origin, Script, redirect, response

ROOT = Path(__file__).parent.parent.parent
CASES = json.loads((ROOT / "tests" / "vectors" / "urls.json").read_text())["cases"]
BLOCKED = [case for case in CASES if case["code"] == "address_blocked"]
JPEG = b"\xff\xd8\xff\xe0 and so on"
LIMITS = Limits(connect_seconds=2, read_seconds=2, dns_seconds=2)
PLENTY_SECONDS = 20.0
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Answers = Mapping[str, Sequence[str] | Exception]
MakeOrigin = Callable[..., Origin]
MakeFetcher = Callable[..., HttpFetcher]


class Names:
    """A resolver of fixed answers; a list of lists is one answer a look-up, the last for good."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        if answer and isinstance(answer[0], list):
            return answer[min(self.asked.count(host), len(answer)) - 1]  # type: ignore[no-any-return]  # a row of a table
        return answer  # type: ignore[no-any-return]  # a row of a table


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def make_origin(stack: ExitStack) -> MakeOrigin:
    def make(scripts: Mapping[str, Script] | Callable[[str], Script], **options: Any) -> Origin:
        return stack.enter_context(closing(Origin(scripts, **options)))

    return make


@pytest.fixture
def make_fetcher(stack: ExitStack) -> MakeFetcher:
    """Make a fetcher that may reach loopback and these origins' ports."""

    def make(
        *origins: Origin,
        names: Callable[[str], Sequence[str]] = Names({}),  # noqa: B008 - never written to
        limits: Limits = LIMITS,
        ports: Sequence[int] = (),
        networks: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        ssl_context: ssl.SSLContext = TRUSTING_NOBODY,
    ) -> HttpFetcher:
        policy = Policy(networks, [*ports, *(origin.port for origin in origins)])
        fetcher = HttpFetcher(policy, limits=limits, resolver=names, ssl_context=ssl_context)
        return stack.enter_context(closing(fetcher))

    return make


def refusal_of(
    fetcher: HttpFetcher, url: str, *, timeout_seconds: float = PLENTY_SECONDS
) -> Refusal:
    """Fetch what must be refused. The detail is for strangers, so it never shows the query."""
    with pytest.raises(Refusal) as caught:
        fetcher.fetch(f"{url}?token=canary", timeout_seconds=timeout_seconds)

    assert "canary" not in caught.value.detail
    assert caught.value.detail.endswith(".")
    return caught.value


# --- whether it is still the same ----------------------------------------------------------

LONG_AGO = "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT"
NOON = "Date: Tue, 25 Nov 2025 12:00:00 GMT"
MINUTE_AGO = "Last-Modified: Tue, 25 Nov 2025 11:59:00 GMT"
MOMENT_AGO = "Last-Modified: Tue, 25 Nov 2025 11:59:59 GMT"


@pytest.mark.parametrize(
    ("headers", "etag", "modified"),
    [
        (['ETag: "v1"'], '"v1"', None),
        (['etag: ""'], '""', None),
        (['ETag: "v1"', LONG_AGO, NOON], '"v1"', None),
        (['ETag: W/"v1"', LONG_AGO, NOON], None, LONG_AGO),
        ([LONG_AGO, NOON], None, LONG_AGO),
        ([MINUTE_AGO, NOON], None, MINUTE_AGO),
        (['ETag: "v1"', "Cache-Control: public, max-age=60", "Vary: Accept"], '"v1"', None),
    ],
    ids=["etag", "empty", "both", "weak", "date", "minute", "cacheable"],
)
def test_fetch_tells_by_what_to_ask_again(
    headers: list[str],
    etag: str | None,
    modified: str | None,
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
) -> None:
    origin = make_origin({"/a.jpg": [response(JPEG, headers=headers)]})
    url = origin.url("/a.jpg")

    fetched = make_fetcher(origin).fetch(url, timeout_seconds=PLENTY_SECONDS)

    date = modified and modified.partition(": ")[2]
    assert fetched.validator == Validator.of(url, etag=etag, modified=date)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ['ETag: W/"v1"'],
        ["ETag: v1"],
        ['ETag: "v"1"'],
        ['ETag: "v1"', 'ETag: "v2"'],
        [f'ETag: "{"v" * 300}"'],
        ['ETag: "\xe9"'],
        ['ETag: "v1"', "Cache-Control: no-store"],
        ['ETag: "v1"', "Cache-Control: private, No-Store, max-age=0"],
        ['ETag: "v1"', "Vary: *"],
        [LONG_AGO],
        [MOMENT_AGO, NOON],
        ["Last-Modified: yesterday", NOON],
        ["Last-Modified: Sat, 99 Nov 2025 10:00:00 GMT", NOON],
    ],
)
def test_fetch_tells_of_nothing_to_ask_by_that_is_weak_or_forbidden(
    headers: list[str], make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a.jpg": [response(JPEG, headers=headers)]})

    fetched = make_fetcher(origin).fetch(origin.url("/a.jpg"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.validator is None


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ({"etag": '"v1"'}, 'If-None-Match: "v1"'),
        (
            {"etag": None, "modified": "Sat, 01 Nov 2025 10:00:00 GMT"},
            "If-Modified-Since: Sat, 01 Nov 2025 10:00:00 GMT",
        ),
    ],
    ids=["etag", "date"],
)
def test_refetch_asks_the_last_of_the_redirects_only(
    by: dict[str, Any], line: str, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a.jpg": [redirect("/b.jpg")], "/b.jpg": [response(status=304)]})
    fetcher, final = make_fetcher(origin), origin.url("/b.jpg")

    answer = fetcher.refetch(
        origin.url("/a.jpg"),
        timeout_seconds=PLENTY_SECONDS,
        unless=Validator.of(final, **by),
    )

    assert answer == Unchanged(final_url=final)
    assert "If-" not in origin.heads[0]
    assert line in origin.heads[1].split("\r\n")


@pytest.mark.parametrize("made_for", ["/b.jpg", "/a.jpg?token=canary&more"])
def test_refetch_trusts_a_304_of_the_very_url_only(
    made_for: str, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a.jpg": [response(status=304)]})
    unless = Validator.of(origin.url(made_for), etag='"v1"')

    with pytest.raises(Refusal) as caught:
        make_fetcher(origin).refetch(
            origin.url("/a.jpg?token=canary"), timeout_seconds=PLENTY_SECONDS, unless=unless
        )

    assert caught.value.code is ScanErrorCode.FETCH_HTTP_ERROR
    assert "If-" not in origin.heads[0]


@pytest.mark.parametrize(
    ("headers", "is_unchanged"),
    [([], True), (['ETag: "v1"'], True), (['ETag: W/"v1"'], True), (['ETag: "v2"'], False)],
)
def test_refetch_trusts_no_304_about_other_bytes(
    headers: list[str], is_unchanged: bool, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a.jpg": [response(status=304, headers=headers)]})
    fetcher, url = make_fetcher(origin), origin.url("/a.jpg")
    unless = Validator.of(url, etag='"v1"')

    if is_unchanged:
        answer = fetcher.refetch(url, timeout_seconds=PLENTY_SECONDS, unless=unless)
        assert isinstance(answer, Unchanged)
        return
    with pytest.raises(Refusal):
        fetcher.refetch(url, timeout_seconds=PLENTY_SECONDS, unless=unless)


def test_refetch_returns_what_changed(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a.jpg": [response(JPEG, headers=['ETag: "v2"'])]})
    url = origin.url("/a.jpg")

    fetched = make_fetcher(origin).refetch(
        url, timeout_seconds=PLENTY_SECONDS, unless=Validator.of(url, etag='"v1"')
    )

    assert isinstance(fetched, Fetched)
    assert fetched.data == JPEG
    assert fetched.validator == Validator.of(url, etag='"v2"')


def test_refetch_keeps_the_connection(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a.jpg": [response(status=304)]})
    fetcher, url = make_fetcher(origin), origin.url("/a.jpg")

    for _ in range(3):
        fetcher.refetch(url, timeout_seconds=PLENTY_SECONDS, unless=Validator.of(url, etag='"v1"'))

    assert origin.accepted == 1


@pytest.mark.parametrize("case", BLOCKED[:3], ids=lambda case: str(case["url"])[:40])
def test_refetch_reaches_no_more_than_a_fetch(
    case: dict[str, str], make_fetcher: MakeFetcher
) -> None:
    fetcher = make_fetcher(networks=())

    with pytest.raises(Refusal) as caught:
        fetcher.refetch(
            case["url"],
            timeout_seconds=PLENTY_SECONDS,
            unless=Validator.of(case["url"], etag='"v1"'),
        )

    assert caught.value.code is ScanErrorCode.FETCH_ADDRESS_BLOCKED


# --- what comes back -----------------------------------------------------------------------


def test_fetch_returns_body_url_and_digest(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a.jpg": [response(JPEG)]})

    fetched = make_fetcher(origin).fetch(origin.url("/a.jpg"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG
    assert fetched.final_url == origin.url("/a.jpg")
    assert fetched.sha256 == "2cc120decca91eb8543669c40acb006aa05aedf3d918370ffed80f416f485f50"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([response(JPEG, headers=["Content-Type: text/html"])], id="text-html"),
        pytest.param([response(JPEG, headers=["Content-Encoding: identity"])], id="identity"),
        pytest.param(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"5\r\n" + JPEG[:5] + b"\r\n",
                b"%x\r\n" % len(JPEG[5:]) + JPEG[5:] + b"\r\n0\r\n\r\n",
            ],
            id="chunked",
        ),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\n", JPEG, CLOSE], id="until-close"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\n\r\n", response(JPEG)], id="early-hints"),
    ],
)
def test_fetch_takes_a_body_however_it_is_framed(
    script: Script, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": script})

    fetched = make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG


def test_fetch_sends_these_headers_and_no_others(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/b": [response(JPEG)]})

    make_fetcher(origin).fetch(origin.url("/b?c=%20é"), timeout_seconds=PLENTY_SECONDS)

    line, *headers = origin.heads[0].rstrip().split("\r\n")
    fields = dict(header.split(": ", 1) for header in headers)
    assert line == "GET /b?c=%20%C3%A9 HTTP/1.1"
    assert fields.pop("User-Agent") == f"pinclip/{version('pinclip')}"
    assert fields == {
        "Host": f"127.0.0.1:{origin.port}",
        "Accept": "image/*, */*;q=0.5",
        "Accept-Encoding": "identity",
    }


def test_fetch_carries_nothing_from_one_hop_to_the_next(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    cookie = b"HTTP/1.1 302 X\r\nSet-Cookie: a=b\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
    origin = make_origin({"/a": [cookie], "/b": [response(JPEG)]})

    make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert origin.heads[1] == origin.heads[0].replace("/a ", "/b ")


def test_fetch_ignores_proxies_of_the_environment(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, origin = make_origin({}), make_origin({"/a": [response(JPEG)]})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url(""))
    monkeypatch.delenv("NO_PROXY", raising=False)

    make_fetcher(origin, proxy).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert (proxy.accepted, origin.accepted) == (0, 1)


# --- where it goes -------------------------------------------------------------------------


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: case["id"])
def test_fetch_refuses_blocked_urls_by_itself(
    case: dict[str, str], make_fetcher: MakeFetcher
) -> None:
    fetcher = make_fetcher(networks=())

    assert refusal_of(fetcher, case["url"]).code == ScanErrorCode.FETCH_ADDRESS_BLOCKED


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(["10.0.0.1"], id="private"),
        pytest.param(["127.0.0.1", "10.0.0.1"], id="mixed"),
        pytest.param(["10.0.0.1", "127.0.0.1"], id="mixed-other-way"),
        pytest.param(["::ffff:127.0.0.1"], id="mapped"),
        pytest.param(["fe80::1%eth0"], id="link-local-with-zone"),
    ],
)
def test_fetch_refuses_a_name_with_any_forbidden_address(
    answer: list[str], make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, names=Names({"h.com": answer}))

    refusal = refusal_of(fetcher, origin.url("/a", host="h.com"))

    assert refusal.code == ScanErrorCode.FETCH_ADDRESS_BLOCKED
    assert "10.0.0.1" not in refusal.detail
    assert origin.accepted == 0


def test_fetch_dials_the_answer_it_checked_when_the_next_one_differs(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    names = Names({"h.com": [["127.0.0.1"], ["10.0.0.1"]]})
    fetcher = make_fetcher(origin, names=names)

    fetched = fetcher.fetch(origin.url("/a", host="h.com"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG
    assert names.asked == ["h.com"]


def test_fetch_refuses_a_name_that_has_flipped_although_a_connection_is_kept(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, names=Names({"h.com": [["127.0.0.1"], ["10.0.0.1"]]}))
    fetcher.fetch(origin.url("/a", host="h.com"), timeout_seconds=PLENTY_SECONDS)

    refusal = refusal_of(fetcher, origin.url("/a", host="h.com"))

    assert refusal.code == ScanErrorCode.FETCH_ADDRESS_BLOCKED
    assert len(origin.heads) == 1


def test_fetch_sends_the_name_as_host(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, names=Names({"xn--bcher-kva.example": ["127.0.0.1"]}))

    fetcher.fetch(origin.url("/a", host="Bücher.example."), timeout_seconds=PLENTY_SECONDS)

    assert f"Host: xn--bcher-kva.example:{origin.port}\r\n" in origin.heads[0]


def test_fetch_reaches_an_ipv6_literal(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    try:
        origin = make_origin({"/a": [response(JPEG)]}, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    fetched = make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.final_url == f"http://[::1]:{origin.port}/a"
    assert f"Host: [::1]:{origin.port}\r\n" in origin.heads[0]


def test_fetch_reaches_localhost_without_dns(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin, names = make_origin({"/a": [response(JPEG)]}), Names({})
    fetcher = make_fetcher(origin, names=names)

    fetcher.fetch(origin.url("/a", host="localhost"), timeout_seconds=PLENTY_SECONDS)

    assert names.asked == []


def test_fetch_tries_the_next_address_when_one_takes_no_connection(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, names=Names({"h.com": ["127.0.0.2", "127.0.0.1"]}))

    fetched = fetcher.fetch(origin.url("/a", host="h.com"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG


def test_pinned_backend_knows_no_unix_sockets() -> None:
    backend = PinnedBackend(ip_address("8.8.8.8"), Policy())

    with pytest.raises(NotImplementedError):
        anyio.run(backend.connect_unix_socket, "/run/docker.sock")


@pytest.mark.root
def test_fetcher_reaches_no_forbidden_address() -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, to make a network namespace")

    done = subprocess.run(
        [sys.executable, "benchmarks/forbidden_addresses.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    result = json.loads(done.stdout or done.stderr)
    assert result["reached"] == 0
    assert result["tried"] > 3 * len(BLOCKED)
    # The canary does count: the public page was reached, and all the rest is, without the guard.
    assert result["reached_public"] > len(BLOCKED)
    assert result["reached_if_all_allowed"] > len(BLOCKED)


# --- redirects -----------------------------------------------------------------------------


def test_fetch_follows_five_redirects(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin(
        {f"/{n}": [redirect(f"/{n + 1}")] for n in range(5)} | {"/5": [response(JPEG)]}
    )

    fetched = make_fetcher(origin).fetch(origin.url("/0"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.final_url == origin.url("/5")


def test_fetch_refuses_the_sixth_redirect(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin(lambda path: [redirect(f"{path.partition('?')[0]}x")])

    refusal = refusal_of(make_fetcher(origin), origin.url("/"))

    assert refusal.code == ScanErrorCode.FETCH_REDIRECTS
    assert len(origin.heads) == 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fetch_follows_each_kind_of_redirect(
    status: int, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [redirect("b", status=status)], "/b": [response(JPEG)]})

    fetched = make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.final_url == origin.url("/b")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_fetch_follows_a_location_that_is_not_ascii(
    encoding: str, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    head = "HTTP/1.1 302 X\r\nLocation: /é\r\nContent-Length: 0\r\n\r\n"
    origin = make_origin({"/a": [head.encode(encoding)], "/%C3%A9": [response(JPEG)]})

    fetched = make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.final_url == origin.url("/%C3%A9")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(redirect("file:///etc/passwd"), id="file"),
        pytest.param(redirect("http://user@h.com/"), id="user"),
        pytest.param(redirect("http://[::1/"), id="bad-host"),
        pytest.param(redirect("/a b"), id="space"),
        pytest.param(redirect("http:127.0.0.1"), id="no-slashes"),
        pytest.param(redirect(), id="no-location"),
        pytest.param(redirect("/b", "/c"), id="two-locations"),
        pytest.param(redirect("/a?token=canary"), id="loop"),
        pytest.param(redirect("/a?token=canary#again"), id="loop-with-fragment"),
        pytest.param(redirect(""), id="empty-location"),
    ],
)
def test_fetch_refuses_a_redirect_that_leads_nowhere(
    answer: bytes, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [answer]})

    refusal = refusal_of(make_fetcher(origin), origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_REDIRECTS
    assert len(origin.heads) == 1


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: case["id"])
def test_fetch_refuses_a_redirect_to_a_blocked_address(
    case: dict[str, str], make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    # Only this one address and port are allowed, so that all of the corpus stays blocked.
    origin = make_origin({"/a": [redirect(case["url"])]}, host="127.77.0.1")
    fetcher = make_fetcher(origin, networks=["127.77.0.1/32"], names=lambda _: ["10.0.0.1"])

    refusal = refusal_of(fetcher, origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_ADDRESS_BLOCKED
    assert origin.accepted == 1


def test_fetch_refuses_a_redirect_to_a_name_of_a_forbidden_address(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [redirect("http://inside.h.com/")]})
    fetcher = make_fetcher(origin, names=Names({"inside.h.com": ["169.254.169.254"]}))

    refusal = refusal_of(fetcher, origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_ADDRESS_BLOCKED


# --- DNS -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(socket.gaierror(socket.EAI_NONAME, "Name not known"), id="nxdomain"),
        pytest.param(socket.gaierror(socket.EAI_AGAIN, "Try again"), id="servfail"),
        pytest.param(TimeoutError("timed out"), id="timeout"),
        pytest.param(UnicodeError("label too long"), id="unicode"),
        pytest.param([], id="no-address"),
    ],
)
def test_fetch_says_that_a_name_is_not_found(
    answer: Sequence[str] | Exception, make_fetcher: MakeFetcher
) -> None:
    fetcher = make_fetcher(names=Names({"h.com": answer}))

    assert refusal_of(fetcher, "http://h.com/").code == ScanErrorCode.FETCH_DNS


def test_fetch_raises_what_is_wrong_with_the_resolver_itself(make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher(names=Names({"h.com": ZeroDivisionError("a fault of ours")}))

    with pytest.raises(ZeroDivisionError):
        fetcher.fetch("http://h.com/", timeout_seconds=PLENTY_SECONDS)


def test_fetch_gives_up_on_a_slow_resolver(make_fetcher: MakeFetcher, stack: ExitStack) -> None:
    hung = threading.Event()
    stack.callback(hung.set)
    fetcher = make_fetcher(
        names=lambda _: [str(hung.wait())], limits=replace(LIMITS, dns_seconds=0.1)
    )

    assert refusal_of(fetcher, "http://h.com/").code == ScanErrorCode.FETCH_DNS


def test_fetch_looks_up_again_only_when_a_hung_look_up_ends(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    hung, asked = threading.Event(), []
    stack.callback(hung.set)

    def resolve(host: str) -> list[str]:
        asked.append(host)
        hung.wait()
        return []

    fetcher = make_fetcher(names=resolve, limits=replace(LIMITS, dns_seconds=0.1, dns_threads=2))

    for host in ("a.com", "b.com", "c.com", "d.com"):
        assert refusal_of(fetcher, f"http://{host}/").code == ScanErrorCode.FETCH_DNS

    assert asked == ["a.com", "b.com"]
    hung.set()
    while "e.com" not in asked:
        refusal_of(fetcher, "http://e.com/")


def test_system_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in system_resolver("localhost")


# --- connecting ----------------------------------------------------------------------------


@pytest.fixture
def dead_port(stack: ExitStack) -> int:
    """A port of 127.0.0.1 that is taken, but listens to nobody."""
    dead = stack.enter_context(socket.socket())
    dead.bind(("127.0.0.1", 0))
    return int(dead.getsockname()[1])


def test_fetch_says_that_nobody_listens(make_fetcher: MakeFetcher, dead_port: int) -> None:
    refusal = refusal_of(make_fetcher(ports=[dead_port]), f"http://127.0.0.1:{dead_port}/")

    assert refusal.code == ScanErrorCode.FETCH_CONNECT


def test_fetch_says_that_a_connect_had_no_answer(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    # A full backlog on Linux: further SYNs are dropped, as by a firewall.
    full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port = full.getsockname()[1]
    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    limits = replace(LIMITS, connect_seconds=0.2)

    refusal = refusal_of(make_fetcher(ports=[port], limits=limits), f"http://127.0.0.1:{port}/")

    assert refusal.code == ScanErrorCode.FETCH_CONNECT


def test_fetch_says_that_the_connection_was_reset(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [RESET]})

    assert refusal_of(make_fetcher(origin), origin.url("/a")).code == ScanErrorCode.FETCH_CONNECT


def test_fetch_leaves_an_address_alone_after_failures_in_a_row(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    server = stack.enter_context(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    port = server.getsockname()[1]
    fetcher = make_fetcher(ports=[port], limits=replace(LIMITS, breaker_failures=2))
    url = f"http://127.0.0.1:{port}/"
    for _ in range(2):
        refusal_of(fetcher, url)

    server.listen()
    refusal = refusal_of(fetcher, url)

    assert refusal.code == ScanErrorCode.FETCH_CONNECT
    assert "none of the last 2 connections" in refusal.detail
    with pytest.raises(BlockingIOError):
        server.accept()


def test_breaker_opens_at_the_limit_and_closes_after_the_pause() -> None:
    breaker, place = Breaker(failures=2, seconds=60), (ip_address("8.8.8.8"), 80)

    breaker.failed(place, now=100)
    assert breaker.seconds_left(place, now=100) == 0
    breaker.failed(place, now=110)
    assert breaker.seconds_left(place, now=120) == 50
    assert breaker.seconds_left(place, now=170) == 0


def test_breaker_opens_at_once_when_the_first_try_after_the_pause_fails() -> None:
    breaker, place = Breaker(failures=2, seconds=60), (ip_address("8.8.8.8"), 80)
    breaker.failed(place, now=0)
    breaker.failed(place, now=0)

    breaker.failed(place, now=61)

    assert breaker.seconds_left(place, now=61) == 60


def test_breaker_counts_failures_in_a_row_only() -> None:
    breaker, place = Breaker(failures=2, seconds=60), (ip_address("8.8.8.8"), 80)
    breaker.failed(place, now=0)
    breaker.succeeded(place)

    breaker.failed(place, now=1)

    assert breaker.seconds_left(place, now=1) == 0


def test_breaker_keeps_ports_apart() -> None:
    breaker, address = Breaker(failures=1, seconds=60), ip_address("8.8.8.8")

    breaker.failed((address, 443), now=0)

    assert breaker.seconds_left((address, 443), now=0) == 60
    assert breaker.seconds_left((address, 80), now=0) == 0


def test_breaker_forgets_old_failures_when_there_are_many() -> None:
    breaker = Breaker(failures=1, seconds=60)

    for number in range(5000):
        breaker.failed((ip_address(number), 80), now=number)

    assert 60 <= len(breaker) <= 1000


# --- TLS -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_fetch_verifies_and_names_the_host_over_tls(
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    names_sent: list[str | None] = []
    context = server_context(authority.issue_cert("h.com"))
    context.sni_callback = lambda _object, name, _context: names_sent.append(name)
    origin = make_origin({"/a": [response(JPEG)]}, tls=context)
    fetcher = make_fetcher(origin, names=Names({"h.com": ["127.0.0.1"]}), ssl_context=trusting)

    fetched = fetcher.fetch(origin.url("/a", host="h.com"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG
    assert names_sent == ["h.com"]


def test_fetch_verifies_an_address_over_tls(
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    origin = make_origin(
        {"/a": [response(JPEG)]}, tls=server_context(authority.issue_cert("127.0.0.1"))
    )
    fetcher = make_fetcher(origin, ssl_context=trusting)

    fetched = fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG


@pytest.mark.parametrize(
    ("issue", "why"),
    [
        pytest.param(
            lambda ca: ca.issue_cert("h.com", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
            "certificate has expired",
            id="expired",
        ),
        pytest.param(
            lambda _: trustme.CA().issue_cert("h.com"), "unable to get local issuer", id="unknown"
        ),
        pytest.param(lambda ca: ca.issue_cert("g.com"), "Hostname mismatch", id="wrong-name"),
    ],
)
def test_fetch_refuses_a_certificate_that_does_not_hold(
    issue: Callable[[trustme.CA], trustme.LeafCert],
    why: str,
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    origin = make_origin({"/a": [response(JPEG)]}, tls=server_context(issue(authority)))
    fetcher = make_fetcher(origin, names=Names({"h.com": ["127.0.0.1"]}), ssl_context=trusting)

    refusal = refusal_of(fetcher, origin.url("/a", host="h.com"))

    assert refusal.code == ScanErrorCode.FETCH_TLS
    assert why in refusal.detail
    assert origin.heads == []


def test_fetcher_trusts_no_private_authority_by_default(
    make_origin: MakeOrigin, stack: ExitStack, authority: trustme.CA
) -> None:
    origin = make_origin(
        {"/a": [response(JPEG)]}, tls=server_context(authority.issue_cert("127.0.0.1"))
    )
    fetcher = HttpFetcher(Policy(["127.0.0.0/8"], [origin.port]))
    stack.enter_context(closing(fetcher))

    refusal = refusal_of(fetcher, origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_TLS


def test_fetch_says_that_the_port_speaks_no_tls(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]
    fetcher = make_fetcher(ports=[port])

    def answer_plainly() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(response(status=400))
            connection.recv(65536)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(answer_plainly)
        refusal = refusal_of(fetcher, f"https://127.0.0.1:{port}/")

    assert refusal.code == ScanErrorCode.FETCH_TLS


def test_fetch_gives_up_on_a_silent_tls_handshake(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]
    fetcher = make_fetcher(ports=[port], limits=replace(LIMITS, connect_seconds=0.2))

    refusal = refusal_of(fetcher, f"https://127.0.0.1:{port}/")

    assert refusal.code == ScanErrorCode.FETCH_TIMEOUT


def test_fetch_refuses_to_leave_https(
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    plain = make_origin({"/b": [response(JPEG)]})
    context = server_context(authority.issue_cert("127.0.0.1"))
    origin = make_origin({"/a": [redirect(plain.url("/b"))]}, tls=context)
    fetcher = make_fetcher(origin, plain, ssl_context=trusting)

    refusal = refusal_of(fetcher, origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_REDIRECTS
    assert plain.accepted == 0


def test_fetch_closes_a_tls_handshake_that_the_deadline_cuts_off(
    make_fetcher: MakeFetcher, stack: ExitStack
) -> None:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]

    refusal = refusal_of(
        make_fetcher(ports=[port]), f"https://127.0.0.1:{port}/", timeout_seconds=0.2
    )

    assert refusal.code == ScanErrorCode.FETCH_TIMEOUT
    connection, _ = server.accept()
    with connection:
        connection.settimeout(PLENTY_SECONDS)
        assert connection.recv(65536).startswith(b"\x16")  # the ClientHello
        assert connection.recv(65536) == b""


# --- time ----------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([HEAD, *[b"x", 0.02] * 500], id="drip"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.02] * 500, id="endless-103"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n", 0.02] * 500], id="drip-of-headers"),
    ],
)
def test_fetch_has_one_deadline_over_all_of_it(
    script: Script, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": script})

    refusal = refusal_of(make_fetcher(origin), origin.url("/a"), timeout_seconds=0.3)

    assert refusal.code == ScanErrorCode.FETCH_TIMEOUT


def test_fetch_deadline_spans_redirects(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin(lambda path: [0.15, redirect(f"{path.partition('?')[0]}x")])

    refusal = refusal_of(make_fetcher(origin), origin.url("/"), timeout_seconds=0.3)

    assert refusal.code == ScanErrorCode.FETCH_TIMEOUT


@pytest.mark.parametrize(
    "script", [pytest.param([SILENCE], id="at-once"), pytest.param([HEAD, SILENCE], id="in-body")]
)
def test_fetch_gives_up_on_silence(
    script: Script, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": script})
    fetcher = make_fetcher(origin, limits=replace(LIMITS, read_seconds=0.1))

    assert refusal_of(fetcher, origin.url("/a")).code == ScanErrorCode.FETCH_TIMEOUT


# --- size, status, framing -----------------------------------------------------------------


def test_fetch_refuses_a_length_over_20_mib_before_it_comes(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(length=UPLOAD_LIMIT_BYTES + 1), SILENCE]})

    assert refusal_of(make_fetcher(origin), origin.url("/a")).code == ScanErrorCode.FETCH_TOO_LARGE


def test_fetch_counts_a_chunked_body(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin = make_origin({"/a": [head, *[piece] * 400]})

    assert refusal_of(make_fetcher(origin), origin.url("/a")).code == ScanErrorCode.FETCH_TOO_LARGE


@pytest.mark.parametrize(
    ("size", "is_taken"), [(1000, True), (1001, False)], ids=["at-the-limit", "one-more"]
)
def test_fetch_takes_a_body_of_exactly_the_limit(
    size: int, is_taken: bool, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [b"HTTP/1.1 200 OK\r\n\r\n", bytes(size), CLOSE]})
    fetcher = make_fetcher(origin, limits=replace(LIMITS, body_bytes=1000))

    if is_taken:
        fetched = fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)
        assert len(fetched.data) == size
    else:
        assert refusal_of(fetcher, origin.url("/a")).code == ScanErrorCode.FETCH_TOO_LARGE


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ScanErrorCode.FETCH_FORBIDDEN),
        (403, ScanErrorCode.FETCH_FORBIDDEN),
        (404, ScanErrorCode.FETCH_NOT_FOUND),
        (410, ScanErrorCode.FETCH_NOT_FOUND),
        *((status, ScanErrorCode.FETCH_HTTP_ERROR) for status in (201, 204, 206, 300, 304, 407)),
        *((status, ScanErrorCode.FETCH_HTTP_ERROR) for status in (418, 429, 500, 502, 503, 599)),
    ],
)
def test_fetch_takes_200_only(
    status: int, code: ScanErrorCode, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    body = b"" if status in (204, 304) else JPEG
    origin = make_origin({"/a": [response(body, status=status)]})

    refusal = refusal_of(make_fetcher(origin), origin.url("/a"))

    assert refusal.code == code
    assert refusal.detail == f"127.0.0.1 answered with status {status}."


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            [response(gzip.compress(bytes(10**6)), headers=["Content-Encoding: gzip"])], id="gzip"
        ),
        pytest.param([response(JPEG, headers=["content-encoding: BR"])], id="br"),
        pytest.param(
            [response(JPEG, headers=["Content-Encoding: identity", "Content-Encoding: gzip"])],
            id="two-encodings",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", CLOSE], id="te-gzip"
        ),
        pytest.param([response(JPEG, headers=["X: " + "x" * 150_000])], id="big-headers"),
        pytest.param([response(JPEG, length=len(JPEG) + 1), CLOSE], id="short-body"),
        pytest.param([response(JPEG, length=len(JPEG) + 1), RESET], id="reset-in-body"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"], id="lengths"
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], id="negative-length"),
        pytest.param([b"\xff\xd8 an image from the start\r\n\r\n"], id="http-0.9"),
        pytest.param([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"], id="upgrade"),
        pytest.param([CLOSE], id="nothing"),
        pytest.param([b"HTTP/1.1 103 Early\r\n\r\n" * 10_000, SILENCE], id="flood-of-103"),
        pytest.param(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\nx\r\n" * 2000,
                SILENCE,
            ],
            id="flood-of-chunks",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"], id="bad-chunk"
        ),
    ],
)
def test_fetch_refuses_what_is_not_a_plain_answer(
    script: Script, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": script})

    refusal = refusal_of(make_fetcher(origin), origin.url("/a"))

    assert refusal.code == ScanErrorCode.FETCH_HTTP_ERROR
    assert len(refusal.detail) < 300


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([response(b"")], id="length-0"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", CLOSE], id="until-close"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], id="chunked"
        ),
    ],
)
def test_fetch_says_that_no_body_is_no_image(
    script: Script, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": script})

    assert refusal_of(make_fetcher(origin), origin.url("/a")).code == ScanErrorCode.NOT_AN_IMAGE


# --- many at once --------------------------------------------------------------------------


def test_fetch_reuses_a_connection(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin)

    for _ in range(3):
        fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert (origin.accepted, len(origin.heads)) == (1, 3)


def test_fetch_reuses_a_connection_over_tls(
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
) -> None:
    context = server_context(authority.issue_cert("127.0.0.1"))
    origin = make_origin({"/a": [response(JPEG)]}, tls=context)
    fetcher = make_fetcher(origin, ssl_context=trusting)

    for _ in range(3):
        fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert (origin.accepted, len(origin.heads)) == (1, 3)


def test_fetch_keeps_the_connections_of_two_names_apart(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    names = Names({"g.com": ["127.0.0.1"], "h.com": ["127.0.0.1"]})
    fetcher = make_fetcher(origin, names=names)

    for host in ("g.com", "h.com"):
        fetcher.fetch(origin.url("/a", host=host), timeout_seconds=PLENTY_SECONDS)

    assert origin.accepted == 2


@pytest.mark.parametrize("ending", [CLOSE, RESET])
def test_fetch_connects_anew_when_the_host_has_dropped_a_kept_connection(
    ending: str, make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    # The host answers the first request of a connection and drops it at the second.
    answers = iter([[response(JPEG)], [ending], [response(JPEG)]])
    origin = make_origin(lambda _: next(answers))
    fetcher = make_fetcher(origin)
    fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    fetched = fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert fetched.data == JPEG
    assert origin.accepted == 2


def test_fetch_keeps_no_more_connections_than_the_limit(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    names = Names({"f.com": ["127.0.0.1"], "g.com": ["127.0.0.1"], "h.com": ["127.0.0.1"]})
    fetcher = make_fetcher(origin, names=names, limits=replace(LIMITS, idle_lines=2))

    for host in ("f.com", "g.com", "h.com", "h.com", "g.com", "f.com"):
        fetcher.fetch(origin.url("/a", host=host), timeout_seconds=PLENTY_SECONDS)

    assert origin.accepted == 4


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param(["127.0.0.1"], id="to-one-address"),
        pytest.param([f"{letter}.com" for letter in "abcdefghijkl"], id="to-names-of-one-address"),
    ],
)
def test_fetch_holds_four_requests_at_a_time(
    hosts: list[str], make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [0.15, response(JPEG)]})
    fetcher = make_fetcher(origin, names=Names({host: ["127.0.0.1"] for host in hosts}))

    with ThreadPoolExecutor(12) as pool:
        urls = [origin.url("/a", host=hosts[number % len(hosts)]) for number in range(12)]
        fetch = partial(fetcher.fetch, timeout_seconds=PLENTY_SECONDS)
        bodies = [fetched.data for fetched in pool.map(fetch, urls)]

    assert bodies == [JPEG] * 12
    assert origin.most_busy == 4


def test_fetch_holds_four_requests_at_a_time_to_a_name_of_many_addresses(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [0.15, response(JPEG)]}, host="0.0.0.0")
    numbers = count(1)
    fetcher = make_fetcher(origin, names=lambda _: [f"127.0.0.{next(numbers)}"])

    with ThreadPoolExecutor(12) as pool:
        fetch = partial(fetcher.fetch, timeout_seconds=PLENTY_SECONDS)
        list(pool.map(fetch, [origin.url("/a", host="h.com")] * 12))

    assert (origin.most_busy, next(numbers)) == (4, 13)


def test_fetch_delays_a_burst_rather_than_refuse_it(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, limits=replace(LIMITS, starts_per_second=4))

    with ThreadPoolExecutor(6) as pool:
        fetch = partial(fetcher.fetch, timeout_seconds=PLENTY_SECONDS)
        bodies = [fetched.data for fetched in pool.map(fetch, [origin.url("/a")] * 6)]

    assert bodies == [JPEG] * 6


def test_fetch_waits_for_its_turn_within_the_deadline(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher
) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin, limits=replace(LIMITS, starts_per_second=1))
    for _ in range(5):  # each books a start, a second after the one before
        with suppress(Refusal):
            fetcher.fetch(origin.url("/a"), timeout_seconds=0.05)

    refusal = refusal_of(fetcher, origin.url("/a"), timeout_seconds=0.05)

    assert refusal.code == ScanErrorCode.FETCH_TIMEOUT
    assert len(origin.heads) < 5


def test_pace_begins_so_many_in_any_second() -> None:
    pace = Pace(starts_per_second=2)

    pauses = [pace.pause(now) for now in (10.0, 10.25, 10.5, 10.5, 10.5, 12.25, 99.0)]

    # Begun at 10, 10.25, 11, 11.25, 12, 12.25 and 99.
    assert pauses == [0, 0, 0.5, 0.75, 1.5, 0, 0]


def test_close_ends_what_is_under_way(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a": [SILENCE]})
    fetcher = make_fetcher(origin)

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(fetcher.fetch, origin.url("/a"), timeout_seconds=PLENTY_SECONDS)
        while not origin.heads:
            threading.Event().wait(0.01)
        fetcher.close()

        with pytest.raises(CancelledError):
            pending.result()


def test_close_leaves_no_thread_and_may_come_twice(make_fetcher: MakeFetcher) -> None:
    before = set(threading.enumerate())
    fetcher = make_fetcher()

    fetcher.close()
    fetcher.close()

    assert set(threading.enumerate()) <= before


def test_close_closes_kept_connections(make_origin: MakeOrigin, make_fetcher: MakeFetcher) -> None:
    origin = make_origin({"/a": [response(JPEG)]})
    fetcher = make_fetcher(origin)
    fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    fetcher.close()

    assert origin.hung_up.wait(PLENTY_SECONDS)


FRESH = "Cache-Control: max-age=600"


def hop(to: str, *headers: str) -> bytes:
    """Write a redirect that says how long it holds."""
    return response(status=302, headers=[f"Location: {to}", *headers])


@pytest.mark.parametrize(
    ("first", "second", "last", "expected"),
    [
        pytest.param(FRESH, FRESH, FRESH, 600.0, id="all vouch"),
        pytest.param(FRESH, "Cache-Control: max-age=20", FRESH, 20.0, id="the least counts"),
        pytest.param(FRESH, FRESH, "Cache-Control: s-maxage=9, max-age=600", 9.0, id="the last"),
        pytest.param("X-Y: z", FRESH, FRESH, 0.0, id="the first says nothing"),
        pytest.param(FRESH, "Cache-Control: no-cache, max-age=600", FRESH, 0.0, id="one forbids"),
        pytest.param(FRESH, FRESH, "X-Y: z", 0.0, id="the last says nothing"),
    ],
)
def test_fetch_is_as_fresh_as_the_least_fresh_hop(
    make_origin: MakeOrigin,
    make_fetcher: MakeFetcher,
    first: str,
    second: str,
    last: str,
    expected: float,
) -> None:
    origin = make_origin(
        {
            "/a": [hop("/b", first)],
            "/b": [hop("/c", second)],
            "/c": [response(b"image", headers=[last])],
        }
    )

    found = make_fetcher(origin).fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)

    assert found.fresh_seconds == expected


@pytest.mark.parametrize(
    ("headers", "expected"), [([FRESH], 600.0), ([], 0.0), (["Cache-Control: no-store"], 0.0)]
)
def test_unchanged_is_as_fresh_as_its_own_headers_say(
    make_origin: MakeOrigin, make_fetcher: MakeFetcher, headers: list[str], expected: float
) -> None:
    unchanged = b"\r\n".join([b"HTTP/1.1 304 X", *(line.encode() for line in headers), b"", b""])
    scripts = iter([[response(b"image", headers=['ETag: "1"', FRESH])], [unchanged]])
    origin = make_origin(lambda _: next(scripts))
    fetcher = make_fetcher(origin)
    found = fetcher.fetch(origin.url("/a"), timeout_seconds=PLENTY_SECONDS)
    assert found.validator is not None

    again = fetcher.refetch(
        origin.url("/a"), timeout_seconds=PLENTY_SECONDS, unless=found.validator
    )

    assert isinstance(again, Unchanged)
    assert again.fresh_seconds == expected
