"""From which names and pages a request is taken: a table of each kind."""

from __future__ import annotations

import pytest

from server.refused import Refused
from server.rules.sources import check_host, check_page, page_of

LOCAL = frozenset({"127.0.0.1"})
PUBLIC = frozenset({"203.0.113.7", "2001:db8::7", "api.example.com"})
OURS = "127.0.0.1:8417"


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (OURS, LOCAL),
        ("localhost", LOCAL),
        ("LOCALHOST:9999", LOCAL),
        ("127.0.0.1", LOCAL),
        ("127.8.8.8:80", LOCAL),
        ("[::1]:8417", LOCAL),
        ("203.0.113.7:8417", PUBLIC),
        ("[2001:db8::7]:8417", PUBLIC),
        ("api.example.com", PUBLIC),
        ("API.Example.com:443", PUBLIC),
        ("127.0.0.1:8417", PUBLIC),
    ],
)
def test_host_is_ours(host: str, names: frozenset[str]) -> None:
    check_host(host, names)


@pytest.mark.parametrize("names", [LOCAL, PUBLIC])
@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8417",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example/127.0.0.1",
        "evil.example?127.0.0.1",
        "0.0.0.0:8417",
        "10.0.0.1:8417",
        "127.0.0.1:x",
        "[::1",
        "api.example.com.evil.example",
        "sub.api.example.com",
    ],
)
def test_host_is_not_ours(host: str | None, names: frozenset[str]) -> None:
    with pytest.raises(Refused, match="origin_not_allowed"):
        check_host(host, names)


@pytest.mark.parametrize("origins", [[], [f"http://{OURS}"], [f"HTTPS://{OURS}"]])
def test_program_and_page_of_ours_are_no_page(origins: list[str]) -> None:
    assert page_of(origins, OURS) is None


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil.example"],
        ["null"],
        [""],
        ["http://127.0.0.1:3000"],
        [f"http://{OURS}.evil.example"],
        [f"http://{OURS}", "http://evil.example"],
        [f"http://{OURS}", f"http://{OURS}"],
    ],
)
def test_page_of_another_site_may_send_nothing_unless_it_is_known(origins: list[str]) -> None:
    page = page_of(origins, OURS)
    assert page is not None

    for method in ("POST", "DELETE", "PUT", "PATCH"):
        with pytest.raises(Refused, match="origin_not_allowed"):
            check_page(method, page, {"https://acme.example"})
        check_page(method, page, {page})
    for method in ("GET", "HEAD", "OPTIONS"):
        check_page(method, page, ())
