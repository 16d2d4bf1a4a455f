"""The probe that containers run: what it says of an API and of a worker, alive or not."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import redis

from benchmarks.running_system import free_port
from server.keys_command import main as keys
from tests.deploy.files import DEPLOY
from tests.server.scenes import BEAT
from tests.valkey_server import Valkey, running
from worker.contract import WORKER_EXPIRES_SECONDS, encode, worker_key


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_probe", DEPLOY / "probe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def valkey(monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    with running() as valkey:
        monkeypatch.setenv("REDIS_URL", valkey.url)
        yield valkey


@pytest.fixture(params=[200, 503], ids=["well", "stopping"])
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """An HTTP server that answers /healthz so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("PINCLIP_PORT", str(server.server_port))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield request.param
        server.shutdown()
        thread.join()


def beat(valkey: Valkey, name: str) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set(worker_key(name), encode(BEAT), ex=WORKER_EXPIRES_SECONDS)


def test_api_is_well_when_it_says_so(probe: ModuleType, api: int) -> None:
    assert probe.main(["api"]) == (0 if api == 200 else 1)


def test_api_that_does_not_listen_is_not_well(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("PINCLIP_PORT", str(port))

    assert probe.main(["api"]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_key_is_missed_until_one_works(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PINCLIP_STATE_DIR", str(tmp_path))

    before = probe.main(["key"])
    told = capsys.readouterr().err
    keys(["create", "--owner", "acme", "--name", "first", "--scope", "admin"])
    after = probe.main(["key"])

    assert (before, after) == (1, 0)
    assert "pinclip keys create" in told


def test_key_is_missed_where_the_database_is_none(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"postgresql://u:p@127.0.0.1:{free_port()}/pinclip"
    monkeypatch.setenv("DATABASE_URL", url)

    assert probe.main(["key"]) == 1
    assert "u:p" not in capsys.readouterr().err


@pytest.mark.redis
@pytest.mark.parametrize("arguments", [["worker"], ["worker", "--ready"]])
def test_worker_is_well_as_long_as_it_beats(
    probe: ModuleType,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.setenv("PINCLIP_WORKER_NAME", "pod-1")
    beat(valkey, "pod-2")

    before = probe.main(arguments)
    beat(valkey, "pod-1")
    after = probe.main(arguments)

    assert (before, after) == (1, 0)


@pytest.mark.redis
def test_worker_without_a_name_is_found_by_the_one_it_gives_itself(
    probe: ModuleType, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PINCLIP_WORKER_NAME", raising=False)
    beat(valkey, f"{socket.gethostname()}-1")  # a container's first process

    assert probe.main(["worker"]) == 0


@pytest.mark.parametrize(("arguments", "status"), [(["worker"], 0), (["worker", "--ready"], 1)])
def test_worker_is_not_blamed_for_a_redis_that_is_away_but_has_not_started(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    status: int,
) -> None:
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")

    assert probe.main(arguments) == status


@pytest.mark.parametrize("arguments", [[], ["api", "--ready"], ["redis"]])
def test_misuse_is_told_and_fails(
    probe: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert probe.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
