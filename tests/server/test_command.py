"""The API as a process: what it refuses to start with, real HTTP, and how it stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from sdk.environment import inherited
from server.command import SETTINGS_STATUS, serve
from server.process import Server, listen, serve_on
from server.refused import StartRefused
from server.settings import ServerSettings
from tests.server.conftest import Api, until
from tests.server.scenes import URL
from tests.valkey_server import Valkey
from worker.contract import UPLOAD_LIMIT_BYTES, RedisSettings

ROOT = Path(__file__).parents[2]


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


def test_wrong_settings_are_all_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINCLIP_PORT", "70000")
    monkeypatch.setenv("PINCLIP_HOST", "0.0.0.0")
    monkeypatch.setenv("PINCLIP_QUEUE_LIMIT", "0")
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@host/name")

    status = serve([])

    told = capsys.readouterr().err
    assert status == SETTINGS_STATUS
    assert {line.split()[2] for line in told.splitlines()} == {
        "PINCLIP_PORT",
        "PINCLIP_QUEUE_LIMIT",
        "PINCLIP_HOST",
        "DATABASE_URL",
    }
    assert "hunter2" not in told


def test_port_that_is_taken_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with taken_port() as port:
        monkeypatch.setenv("PINCLIP_PORT", str(port))

        status = serve([])

    told = capsys.readouterr().err
    assert status == SETTINGS_STATUS
    assert str(port) in told
    assert "set PINCLIP_PORT to another port" in told


def test_address_that_is_not_here_is_told() -> None:
    with pytest.raises(StartRefused, match="Nothing can listen"):
        listen(ServerSettings(host="203.0.113.1", port=free_port()))


def test_listener_names_its_protocol_so_that_asyncio_turns_nagle_off() -> None:
    with listen(ServerSettings(port=free_port())) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_damaged_database_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite3").write_bytes(b"hello" * 1000)
    settings = ServerSettings(redis=RedisSettings(state_dir=tmp_path), port=free_port())

    with listen(settings) as listener, pytest.raises(StartRefused, match="is damaged"):
        serve_on(listener, settings)


class Running:
    """A real server of an API over fakes, in this loop."""

    def __init__(self, server: Server, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client


@pytest.fixture
async def http(api: Api) -> AsyncIterator[Running]:
    settings = ServerSettings(port=free_port())
    server = Server(api.edge, settings)
    with listen(settings) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            await until(lambda: server.started)
            base_url = f"http://127.0.0.1:{settings.port}"
            async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
                yield Running(server, client)
            server.should_exit = True


@pytest.mark.anyio
async def test_http_answers_a_body_that_is_too_large_instead_of_hanging_up(http: Running) -> None:
    answer = await http.client.post(
        "/v1/uploads",
        content=bytes(UPLOAD_LIMIT_BYTES + (1 << 20)),
        headers={"content-type": "image/png"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.anyio
async def test_http_lets_a_client_send_a_body_to_its_end_before_it_answers(http: Running) -> None:
    size = 8 << 20
    port = http.client.base_url.port
    assert port is not None
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\n")
        await stream.send(f"Content-Length: {size}\r\n\r\n".encode() + bytes(size))

        assert (await stream.receive()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.anyio
async def test_http_keeps_nothing_of_an_upload_that_broke_off(http: Running, api: Api) -> None:
    port = http.client.base_url.port
    assert port is not None
    head = b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head + b"Content-Length: 1000\r\n\r\n" + b"x" * 10)
        await until(lambda: api.edge.in_flight)

    await until(lambda: not api.edge.in_flight)
    assert await api.spool.kept() == []


@pytest.mark.anyio
async def test_stop_answers_who_waits_and_then_ends(http: Running, api: Api) -> None:
    answers: list[httpx.Response] = []

    async def submit() -> None:
        headers = {"Prefer": "wait=30"}
        answers.append(await http.client.post("/v1/scans", json={"url": URL}, headers=headers))

    with anyio.fail_after(25):
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await until(lambda: api.board.waiting)
            http.server.handle_exit(signal.SIGTERM, None)

    await until(lambda: http.server.should_exit)
    assert [answer.status_code for answer in answers] == [202]


@pytest.mark.anyio
async def test_second_stop_waits_for_nobody(http: Running) -> None:
    http.server.handle_exit(signal.SIGTERM, None)
    http.server.handle_exit(signal.SIGTERM, None)

    assert http.server.should_exit
    assert http.server.force_exit


def test_process_says_in_one_sentence_why_it_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite3"
    file.write_bytes(b"hello" * 1000)
    env = inherited(PINCLIP_PORT=str(free_port()), PINCLIP_STATE_DIR=str(tmp_path))

    done = subprocess.run(
        [sys.executable, "-m", "server"], cwd=ROOT, env=env, capture_output=True, text=True
    )

    assert done.returncode == SETTINGS_STATUS
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"pinclip serve: The database {file} is damaged")


@pytest.mark.redis
def test_process_serves_logs_without_queries_and_stops_in_order(
    valkey: Valkey, tmp_path: Path
) -> None:
    port = free_port()
    env = inherited(REDIS_URL=valkey.url, PINCLIP_PORT=str(port), PINCLIP_STATE_DIR=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "server"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = _until(process.stderr, "Application startup complete")
        answer = httpx.post(
            f"http://localhost:{port}/v1/scans?key=canary", json={"url": f"{URL}?sig=canary"}
        )
        process.send_signal(signal.SIGTERM)
        lines += list(process.stderr)
        status = process.wait()

    assert (answer.status_code, status) == (202, 0)
    assert "canary" not in "".join(lines)
    told = [json.loads(line) for line in lines]
    (request,) = [line for line in told if line["event"] == "request"]
    assert (request["method"], request["path"], request["status"]) == ("POST", "/v1/scans", 202)
    assert request["request_id"] == answer.headers["x-request-id"]
    assert request["duration_ms"] >= 0


def _until(lines: Iterator[str], text: str) -> list[str]:
    seen = []
    for line in lines:
        seen.append(line)
        if text in line:
            return seen
    raise AssertionError(f"the server ended without saying {text!r}: {seen}")
