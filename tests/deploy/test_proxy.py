"""The proxy in front of a real API: who has a key gets in, but no page of another site.

Caddy runs the Caddyfile of the chart and of compose.yaml, on a port of its own.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import sdk
from benchmarks.running_system import free_port
from sdk.environment import inherited
from tests.deploy.files import CHART, PROGRAMS, ROOT
from tests.journeys.pictures import picture
from tests.valkey_server import running

pytestmark = [pytest.mark.redis, pytest.mark.slow]

OLD, NEW, SHORT = "old-key-" * 4, "new_key_" * 8, "k" * 31


@dataclass(frozen=True)
class Served:
    """A running API, its proxy, and a second proxy whose keys are no keys."""

    api_port: int
    proxy_url: str
    keyless_url: str

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask the proxy."""
        return httpx.get(f"{self.proxy_url}{path}", headers=headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("proxy")
    ports = [free_port() for _ in range(3)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(running())
        environ = inherited(
            REDIS_URL=valkey.url,
            PINCLIP_STATE_DIR=str(folder),
            PINCLIP_PORT=str(ports[0]),
            XDG_CONFIG_HOME=str(folder),
            XDG_DATA_HOME=str(folder),
        )
        api = [sys.executable, "-P", "-m", "server"]
        stack.enter_context(process(api, environ))
        for port, keys in ((ports[1], f"{OLD}|{NEW}"), (ports[2], f"{SHORT}|")):
            command = caddy(port, folder)
            stack.enter_context(process(command, {**environ, "API_KEYS": keys}))
        for url in urls:
            until_it_answers(f"{url}/healthz")
        yield Served(ports[0], *urls[1:])


@contextlib.contextmanager
def process(command: list[str], environ: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(command, env=environ, cwd=ROOT) as one:
        try:
            yield
        finally:
            one.terminate()


def caddy(port: int, folder: Path) -> list[str]:
    """Return the command that runs the Caddyfile on a port that is free here."""
    text = (CHART / "files" / "Caddyfile").read_text()
    file = folder / f"Caddyfile.{port}"
    file.write_text(text.replace("\n:8080 {", f"\n:{port} {{\n\tbind 127.0.0.1"))
    assert file.read_text() != text
    return [str(PROGRAMS / "caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


def until_it_answers(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        threading.Event().wait(0.05)
    raise AssertionError(f"no answer from {url}")


@pytest.mark.parametrize("key", [OLD, NEW])
def test_client_with_one_of_the_keys_uses_the_api(served: Served, key: str) -> None:
    with (
        sdk.Client(base_url=served.proxy_url, api_key=key, max_retries=0) as client,
        pytest.raises(sdk.InternalServerError) as caught,
    ):
        client.submit(picture(0))

    # Only the API says that there is no worker.
    assert caught.value.code == "model_unavailable"


@pytest.mark.parametrize(
    "key",
    [None, "wrong-key-" * 4, OLD[:-1], f"{OLD}x", f"{OLD}|{NEW}", ".{32,}", "Basic"],
)
def test_client_without_a_key_hears_what_to_set(served: Served, key: str | None) -> None:
    with (
        sdk.Client(base_url=served.proxy_url, api_key=key, max_retries=0) as client,
        pytest.raises(sdk.AuthenticationError) as caught,
    ):
        client.get("scan_01M8A8Y07Q2CNH9C4YRPH63BPK")

    assert "PINCLIP_API_KEY" in (caught.value.hint or "")


@pytest.mark.parametrize("key", [SHORT, "-", "k" * 32, OLD])
def test_proxy_whose_keys_are_short_or_empty_lets_nobody_in(served: Served, key: str) -> None:
    answer = httpx.get(f"{served.keyless_url}/readyz", headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 401


def test_health_is_open_and_readiness_is_not(served: Served) -> None:
    assert served.get("/healthz").status_code == 200
    assert served.get("/readyz").status_code == 401
    assert served.get("/readyz", Authorization=f"Bearer {OLD}").status_code == 503  # no worker


@pytest.mark.parametrize("path", ["//readyz", "/healthz/../readyz", "/healthz/x", "/HEALTHZ/../v1"])
def test_no_other_spelling_of_a_path_is_open(served: Served, path: str) -> None:
    with httpx.Client() as client:
        request = client.build_request("GET", served.proxy_url)
        request.url = request.url.copy_with(raw_path=path.encode())
        assert client.send(request).status_code == 401


def test_public_name_is_answered_and_a_page_of_another_site_is_not(served: Served) -> None:
    key = {"Authorization": f"Bearer {OLD}", "Host": "pinclip.example.org"}
    url = f"{served.proxy_url}/v1/scans"
    body = {"url": "https://example.org/a.png"}

    by_program = httpx.post(url, json=body, headers=key)
    by_page = httpx.post(url, json=body, headers={**key, "Origin": "https://evil.example"})

    assert by_program.json()["code"] == "model_unavailable"
    assert (by_page.status_code, by_page.json()["code"]) == (403, "origin_not_allowed")


def test_upload_of_the_largest_size_passes(served: Served) -> None:
    data = picture(0) + b"\0" * (20 * 1024 * 1024 - len(picture(0)))
    headers = {"Authorization": f"Bearer {NEW}", "Content-Type": "application/octet-stream"}

    answer = httpx.post(f"{served.proxy_url}/v1/uploads", content=data, headers=headers)

    assert answer.status_code == 201
    assert answer.json()["bytes"] == len(data)
