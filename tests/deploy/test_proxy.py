"""Caddy in front of a real API, as compose.yaml puts it there: it hands on all that keys need.

Caddy runs the Caddyfile of compose.yaml, on a port of its own and without TLS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import sdk
from benchmarks.running_system import free_port
from sdk.environment import inherited
from tests.deploy.files import DEPLOY, PROGRAMS
from tests.deploy.serving import SERVE, environ_of, make_key, process, until_it_answers
from tests.journeys.pictures import picture
from tests.valkey_server import running

pytestmark = [pytest.mark.redis, pytest.mark.slow]

NAME = "pinclip.example.org"
UPSTREAM = "server:8417"


@dataclass(frozen=True)
class Served:
    """A proxy with a running API behind it, and a key of that API."""

    url: str
    key: str

    def headers(self, **more: str) -> dict[str, str]:
        """Return those of a caller who has the key and asks by the public name."""
        return {"Authorization": f"Bearer {self.key}", "Host": NAME, **more}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("proxy")
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(running())
        environ = environ_of(folder, redis_url=valkey.url, domain=NAME)
        key = make_key(environ, "scan")
        stack.enter_context(process(SERVE, environ, log=folder / "api.log"))
        upstream = f"127.0.0.1:{environ['PINCLIP_PORT']}"
        until_it_answers(f"http://{upstream}/healthz")
        yield Served(stack.enter_context(proxy(upstream, folder)), key)


@contextlib.contextmanager
def proxy(upstream: str, folder: Path) -> Iterator[str]:
    """Run Caddy before what listens there; give its address. Its log is folder/caddy.log."""
    text = (DEPLOY / "Caddyfile").read_text()
    assert text.count(UPSTREAM) == 2  # once in the comment
    file = folder / "Caddyfile"
    file.write_text(text.replace(UPSTREAM, upstream))
    port = free_port()
    environ = inherited(
        DOMAIN=f"http://:{port}", XDG_CONFIG_HOME=str(folder), XDG_DATA_HOME=str(folder)
    )
    caddy = [str(PROGRAMS / "caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
    with process(caddy, environ, log=folder / "caddy.log"):
        until_it_answers(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"


def test_client_with_a_key_uses_the_api(served: Served) -> None:
    with (
        sdk.Client(base_url=served.url, api_key=served.key, max_retries=0) as client,
        pytest.raises(sdk.InternalServerError) as caught,
    ):
        client.submit(picture(0))

    assert caught.value.code == "model_unavailable"  # there is no worker


@pytest.mark.parametrize(("key", "code"), [(None, "auth_missing"), ("sk_wrong", "auth_invalid")])
def test_client_without_a_key_hears_it_from_the_api(
    served: Served, key: str | None, code: str
) -> None:
    with (
        sdk.Client(base_url=served.url, api_key=key, max_retries=0) as client,
        pytest.raises(sdk.AuthenticationError) as caught,
    ):
        client.get("scan_01M8A8Y07Q2CNH9C4YRPH63BPK")

    assert caught.value.code == code


def test_public_name_is_answered_and_any_other_is_not(served: Served) -> None:
    ours = httpx.get(f"{served.url}/v1/key", headers=served.headers())
    bent = httpx.get(f"{served.url}/v1/key", headers=served.headers(Host="evil.example"))

    assert (ours.status_code, ours.json()["owner"]) == (200, "acme")
    assert (bent.status_code, bent.json()["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize(
    ("origin", "code"),
    [("https://evil.example", "origin_not_allowed"), (f"https://{NAME}", "model_unavailable")],
)
def test_page_of_another_site_is_refused_and_our_own_is_not(
    served: Served, origin: str, code: str
) -> None:
    answer = httpx.post(
        f"{served.url}/v1/scans",
        json={"url": "https://example.org/a.png"},
        headers=served.headers(Origin=origin),
    )

    assert answer.json()["code"] == code


def test_upload_of_the_largest_size_passes(served: Served) -> None:
    data = picture(0) + b"\0" * (20 * 1024 * 1024 - len(picture(0)))
    headers = served.headers(**{"Content-Type": "application/octet-stream"})

    answer = httpx.post(f"{served.url}/v1/uploads", content=data, headers=headers)

    assert answer.status_code == 201
    assert answer.json()["bytes"] == len(data)


def test_log_of_the_proxy_has_no_key(tmp_path: Path) -> None:
    with proxy(f"127.0.0.1:{free_port()}", tmp_path) as url:
        path = "/compat/pictrs/sk_in-the-path?a=b"
        answer = httpx.post(url + path, headers={"Authorization": "Bearer sk_in-the-header"})

    log = (tmp_path / "caddy.log").read_text()
    assert answer.status_code == 502
    assert "/compat/pictrs/***" in log
    assert "sk_in" not in log
