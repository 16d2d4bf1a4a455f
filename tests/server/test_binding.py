"""Where the API may listen: this machine alone, until there is a key that works."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sdk.environment import SettingsError, inherited, load
from server.keys_command import main as keys
from server.process import listen, serve_on
from server.refused import StartRefused
from server.settings import ServerSettings
from worker.contract import RedisSettings

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


@contextmanager
def serving(state_dir: Path) -> Iterator[str]:
    """Run an API for other machines, and give its address on this one."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "server"],
        cwd=ROOT,
        env=inherited(
            PINCLIP_STATE_DIR=str(state_dir),
            PINCLIP_PORT=str(port),
            PINCLIP_HOST="0.0.0.0",
            PINCLIP_ALLOWED_HOSTS="api.example.com",
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening" in line:
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_server_for_other_machines_starts_once_there_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServerSettings(
        redis=RedisSettings(state_dir=tmp_path),
        host="0.0.0.0",
        port=free_port(),
        allowed_hosts=("api.example.com",),
    )
    with listen(settings) as listener, pytest.raises(StartRefused, match="pinclip keys create"):
        serve_on(listener, settings)

    monkeypatch.setenv("PINCLIP_STATE_DIR", str(tmp_path))
    keys(["create", "--owner", "acme", "--name", "bot", "--scope", "read"])
    bearer = {"authorization": f"Bearer {capsys.readouterr().out.strip()}"}

    with serving(tmp_path) as address:
        ours = httpx.get(f"{address}/v1/key", headers={**bearer, "host": "api.example.com"})
        foreign = httpx.get(f"{address}/v1/key", headers={**bearer, "host": "evil.example"})
        keyless = httpx.get(f"{address}/v1/key")
    assert (ours.status_code, ours.json()["owner"]) == (200, "acme")
    assert (foreign.status_code, foreign.json()["code"]) == (403, "origin_not_allowed")
    assert (keyless.status_code, keyless.json()["code"]) == (401, "auth_missing")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_needs_a_name_to_be_asked_by(host: str) -> None:
    with pytest.raises(SettingsError, match="set PINCLIP_ALLOWED_HOSTS"):
        load(ServerSettings, {"PINCLIP_HOST": host})


@pytest.mark.parametrize(
    "name", ["https://api.example.com", "api.example.com:443", "a b/c", "user@host", "*.example:1"]
)
def test_allowed_host_is_a_name_alone(name: str) -> None:
    with pytest.raises(SettingsError, match="PINCLIP_ALLOWED_HOSTS has"):
        load(ServerSettings, {"PINCLIP_ALLOWED_HOSTS": name})


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("203.0.113.7", False)],
)
def test_loopback_is_this_machine_alone(host: str, is_local: bool) -> None:
    settings = load(ServerSettings, {"PINCLIP_HOST": host, "PINCLIP_ALLOWED_HOSTS": "API.example"})

    assert settings.is_local is is_local
