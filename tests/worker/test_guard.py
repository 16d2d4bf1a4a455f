"""worker/guard.py: the corpus, and what no single URL shows."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.codes import ProblemCode
from sdk.environment import SettingsError, load
from server.settings import ServerSettings
from worker.guard import (
    Policy,
    UrlRefused,
    check_address,
    check_url,
    faults_of_allowed,
    follow,
    own_addresses,
)
from worker.settings import WorkerSettings

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "urls.json").read_text())["cases"]
LOOPBACK = Policy(("127.0.0.0/8",), (8000,))
REPEATABLE = settings(deadline=None, derandomize=True)


PUBLIC = Policy()


def code_of(url: str, policy: Policy = PUBLIC) -> ProblemCode | None:
    try:
        check_url(url, policy)
    except UrlRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_check_url_answers_the_corpus(case: dict[str, Any]) -> None:
    assert code_of(case["url"]) == case["code"]


def test_corpus_has_distinct_ids() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        pytest.param("HTTPS://H.COM./", "https://h.com/", id="case-and-dot"),
        pytest.param("http://h.com", "http://h.com/", id="no-path"),
        pytest.param("http://h.com?a=1", "http://h.com/?a=1", id="no-path-but-query"),
        pytest.param("http://h.com:080/", "http://h.com/", id="own-port"),
        pytest.param("http://h.com:443/", "http://h.com:443/", id="other-port"),
        pytest.param("http://h.com/a?b#c", "http://h.com/a?b", id="fragment"),
        pytest.param("http://bücher.example/", "http://xn--bcher-kva.example/", id="idna"),
        pytest.param("http://bu\u0308cher.example/", "http://xn--bcher-kva.example/", id="nfc"),
        pytest.param("http://h.com/é?ü", "http://h.com/%C3%A9?%C3%BC", id="percent-encoded"),
        pytest.param("http://h.com/%C3%a9", "http://h.com/%C3%a9", id="encoded-stays"),
        pytest.param("http://h.com/a/../b//c", "http://h.com/a/../b//c", id="path-stays"),
        pytest.param("http://[2606:4700:0::1111]/", "http://[2606:4700::1111]/", id="ipv6"),
    ],
)
def test_check_url_gives_the_canonical_url(url: str, canonical: str) -> None:
    target = check_url(url, Policy())

    assert target.url == canonical
    assert check_url(canonical, Policy()) == target


def test_target_holds_an_ipv6_host_without_brackets() -> None:
    target = check_url("https://[2606:4700::1111]:443/", Policy())

    assert (target.scheme, target.host, target.port) == ("https", "2606:4700::1111", 443)


def test_refusal_does_not_repeat_the_query() -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url("http://10.0.0.1/a?token=canary", Policy())

    assert "canary" not in str(caught.value)


def test_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(UrlRefused) as caught:
        check_url("http://user:canary@h.com/", Policy())

    assert "canary" not in str(caught.value)


SCHEMES = st.sampled_from(["http:", "https:", "HTTP:", "ftp:", "", "//"])
PIECES = st.sampled_from(
    [
        *"/\\@:#?.%[]",
        "//",
        "h.com",
        "127.0.0.1",
        "::1",
        "xn--",
        "0x7f",
        "1",
        "80",
        "。",
        "é",
        "①",
        "",
    ]
)


@REPEATABLE
@given(st.builds(lambda scheme, pieces: scheme + "".join(pieces), SCHEMES, st.lists(PIECES)))
def test_accepted_url_names_the_same_host_to_another_parser(url: str) -> None:
    try:
        target = check_url(url, Policy())
    except UrlRefused:
        return

    other = httpx.URL(target.url)
    assert (other.scheme, other.raw_host.decode()) == (target.scheme, target.host)
    assert (other.port or {"http": 80, "https": 443}[other.scheme]) == target.port
    assert check_url(target.url, Policy()) == target


@REPEATABLE
@given(st.text())
def test_check_url_refuses_or_accepts_any_text(text: str) -> None:
    assert code_of(f"http://{text}") in (None, ProblemCode.URL_INVALID, ProblemCode.ADDRESS_BLOCKED)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:8000/",
        "http://localhost/",
        "http://a.localhost:8000/",
        "http://images.internal/",
        "http://redis/",
        "http://8.8.8.8/",
    ],
)
def test_allowed_network_opens_its_addresses_and_local_names(url: str) -> None:
    assert code_of(url, LOOPBACK) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8001/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://metadata.google.internal/",
    ],
)
def test_allowed_network_opens_nothing_else(url: str) -> None:
    assert code_of(url, LOOPBACK) == ProblemCode.ADDRESS_BLOCKED


def test_localhost_stays_blocked_when_another_network_is_allowed() -> None:
    assert code_of("http://localhost/", Policy(("10.0.0.0/8",))) == ProblemCode.ADDRESS_BLOCKED


def test_metadata_names_stay_blocked_when_their_network_is_allowed() -> None:
    policy = Policy(("169.254.0.0/16",))

    assert code_of("http://metadata.google.internal/", policy) == ProblemCode.ADDRESS_BLOCKED


@pytest.mark.parametrize(
    ("host", "networks", "expected"),
    [
        ("localhost", ("127.0.0.0/8",), ["127.0.0.1"]),
        ("localhost", ("::1/128",), ["::1"]),
        ("a.localhost", ("127.0.0.0/8", "::1/128"), ["127.0.0.1", "::1"]),
        ("localhost", (), []),
        ("8.8.8.8", (), ["8.8.8.8"]),
        ("2606:4700::1111", (), ["2606:4700::1111"]),
        ("h.com", (), []),
    ],
)
def test_own_addresses_are_those_that_need_no_dns(
    host: str, networks: tuple[str, ...], expected: list[str]
) -> None:
    assert [str(address) for address in own_addresses(host, Policy(networks))] == expected


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        "::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48",
        "4000::/2", "8000::/1",
    ],
)  # fmt: skip
def test_check_address_refuses_a_special_network_to_its_edges(network: str) -> None:
    special = ip_network(network)

    assert check_address(special[0], Policy())
    assert check_address(special[-1], Policy())


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
        "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255",
        "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
        "192.0.3.0", "192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0",
        "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.47.255",
        "192.175.49.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
        "203.0.112.255", "203.0.114.0", "223.255.255.255",
        "2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2001:ffff::", "2003::",
        "2620:4f:7fff::", "2620:4f:8001::", "3ffe:ffff::", "3fff:1000::",
    ],
)  # fmt: skip
def test_check_address_passes_what_lies_beside_a_special_network(address: str) -> None:
    assert check_address(ip_address(address), Policy()) is None


def test_check_address_names_the_use() -> None:
    assert check_address(ip_address("169.254.169.254"), Policy()) == (
        "169.254.169.254 is in 169.254.0.0/16 (link-local, cloud metadata), which is not public."
    )


@pytest.mark.parametrize(
    ("location", "url"),
    [
        pytest.param("/b", "https://h.com/b", id="absolute-path"),
        pytest.param("b?c", "https://h.com/x/b?c", id="relative-path"),
        pytest.param("?c", "https://h.com/x/a?c", id="query-only"),
        pytest.param("../b", "https://h.com/b", id="dot-dot"),
        pytest.param("//g.com/b", "https://g.com/b", id="network-path"),
        pytest.param("http://g.com", "http://g.com/", id="absolute"),
        pytest.param("/é", "https://h.com/%C3%A9", id="unicode"),
        pytest.param("/b#c", "https://h.com/b", id="fragment"),
    ],
)
def test_follow_resolves_a_location(location: str, url: str) -> None:
    target = check_url("https://h.com/x/a?q", Policy())

    assert follow(target, location, Policy()).url == url


@pytest.mark.parametrize(
    ("location", "code"),
    [
        pytest.param("//127.0.0.1/", ProblemCode.ADDRESS_BLOCKED, id="network-path"),
        pytest.param("http:127.0.0.1", ProblemCode.URL_INVALID, id="scheme-without-slashes"),
        pytest.param("/\t/127.0.0.1/", ProblemCode.URL_INVALID, id="tab-between-slashes"),
        pytest.param("\\\\127.0.0.1\\", ProblemCode.URL_INVALID, id="backslashes"),
        pytest.param("file:///etc/passwd", ProblemCode.URL_SCHEME_NOT_ALLOWED, id="file"),
        pytest.param("//u@h.com/", ProblemCode.URL_INVALID, id="user"),
        pytest.param("/" + "a" * 2048, ProblemCode.URL_INVALID, id="too-long"),
    ],
)
def test_follow_refuses_what_check_url_refuses(location: str, code: ProblemCode) -> None:
    target = check_url("http://h.com/x", Policy())

    with pytest.raises(UrlRefused) as caught:
        follow(target, location, Policy())

    assert caught.value.code == code


def test_policy_is_a_value() -> None:
    assert Policy(["127.0.0.0/8"], [8000]) == LOOPBACK
    assert hash(Policy(["127.0.0.0/8"], [8000])) == hash(LOOPBACK)
    assert repr(LOOPBACK) == "Policy(allow_networks=('127.0.0.0/8',), allow_ports=(8000,))"


def test_faults_of_allowed_names_each_entry() -> None:
    faults = list(faults_of_allowed(("10.0.0.0/8", "10.0.0.1/8", "lan"), (8000, 0, 70000)))

    assert len(faults) == 4
    assert "'10.0.0.1/8'" in faults[0]
    assert "'lan'" in faults[1]
    assert "has 0:" in faults[2]
    assert "has 70000:" in faults[3]


@pytest.mark.parametrize("kind", [ServerSettings, WorkerSettings])
def test_settings_refuse_a_wrong_allow_list(
    kind: type[ServerSettings | WorkerSettings],
) -> None:
    environ = {"PINCLIP_FETCH_ALLOW_NETWORKS": "lan", "PINCLIP_FETCH_ALLOW_PORTS": "99999"}

    with pytest.raises(SettingsError) as caught:
        load(kind, environ)

    assert len(caught.value.faults) == 2
