"""No secret of a caller is in any log line of the running system, at any level.

each place where a caller may put a secret has a canary of its own
requests of all kinds -> pinclip up at debug: supervisor, API, worker, Valkey -> one log
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, PngImagePlugin

from benchmarks.running_system import Origin, RunningSystem

pytestmark = [pytest.mark.redis, pytest.mark.slow]

PLACES = (
    "authorization",
    "basic",
    "cookie",
    "apikey",
    "idempotency",
    "query",
    "path",
    "body",
    "field",
    "metadata",
    "context",
    "urlquery",
    "urlfragment",
    "urluser",
    "urlpassword",
    "callback",
    "pixels",
    "filename",
    "dataurl",
)
REQUEST_ID = "req-of-the-canary-test"


def canary(place: str) -> str:
    """Return what must not be logged: told apart by place, and long as a key is."""
    assert place in PLACES
    return f"c4n4ry0{place}0" + "x" * 30


def picture() -> bytes:
    """A picture whose metadata and bytes hold a canary."""
    data = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", canary("pixels"))
    Image.new("RGB", (400, 300), (255, 255, 255)).save(data, "PNG", pnginfo=info)
    return data.getvalue()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin({"white.png": picture(), "page.html": b"<html></html>"}) as origin:
        yield origin


@pytest.fixture(scope="module")
def log(origin: Origin) -> Iterator[str]:
    """All that a system at debug has written while callers said what they should not."""
    with tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as name:
        system = RunningSystem(
            Path(name),
            origin.port,
            PINCLIP_DETECTOR="worker.testing:load_fixed",
            PINCLIP_LOG_LEVEL="debug",
        )
        with system:
            _call(system, origin)
        yield system.log.read_text()


def _call(system: RunningSystem, origin: Origin) -> None:
    headers = {
        "Cookie": f"session={canary('cookie')}",
        "X-Api-Key": canary("apikey"),
        "Prefer": "wait=30",
        "X-Request-Id": REQUEST_ID,
    }
    with httpx.Client(base_url=system.base_url, headers=headers, timeout=60) as client:
        for number, url in enumerate(_urls(origin)):
            once = {"Idempotency-Key": f"{canary('idempotency')}-{number}"}
            client.post(f"/v1/scans?key={canary('query')}", json=_scan(url), headers=once)
        _send_bytes(client)
        _send_nonsense(client)


def _urls(origin: Origin) -> list[str]:
    end = f"?sig={canary('urlquery')}#{canary('urlfragment')}"
    user = f"{canary('urluser')}:{canary('urlpassword')}"
    return [
        origin.url("white.png") + end,
        origin.url("page.html") + end,
        origin.url("missing.png") + end,
        f"http://127.0.0.1:1/a.png{end}",
        f"http://nowhere.invalid/a.png{end}",
        f"http://{user}@127.0.0.1:{origin.port}/white.png{end}",
        f"data:image/png;base64,{canary('dataurl')}",
    ]


def _scan(url: str) -> dict[str, Any]:
    return {
        "url": url,
        "metadata": {"note": canary("metadata")},
        "context": {"platform": "here", "item_id": canary("context")},
    }


def _send_bytes(client: httpx.Client) -> None:
    form = {"file": (f"{canary('filename')}.png", picture(), "image/png")}
    upload = client.post("/v1/uploads", files=form).json()
    client.post("/v1/scans", json={"upload_id": upload["id"]})


def _send_nonsense(client: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    client.post("/v1/scans", content=f'{{"url": "{canary("body")}', headers=kind)
    client.post("/v1/scans", json={canary("field"): canary("body")})
    client.post("/v1/scans", json={"upload_id": canary("body"), "priority": canary("body")})
    client.get("/v1/scans", headers={"Authorization": f"Bearer {canary('authorization')}"})
    client.get("/v1/scans", headers={"Authorization": f"Basic {canary('basic')}"})
    client.post(f"/compat/pictrs/sk_{canary('path')}", content=b"x", headers=kind)


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_this_place_is_in_no_line(log: str, place: str) -> None:
    lines = [line for line in log.splitlines() if f"c4n4ry0{place}0" in line]

    assert lines == []


def test_one_request_id_goes_from_the_api_to_the_worker(log: str) -> None:
    parts = set()
    for line in log.splitlines():
        _, _, text = line.partition(" | ")
        event = json.loads(text) if text.startswith("{") else {}
        if event.get("request_id") == REQUEST_ID:
            parts.add(event["component"])

    assert {"api", "worker"} <= parts


def test_the_canaries_were_alive(log: str) -> None:
    """What the test looks for was sent, and what may be logged of it was."""
    assert "scan_completed" in log
    assert "fetch_not_found" in log
    assert '"status": 400' in log
