"""`pinclip up` as a process of its own: the real Valkey under it, and stubs for worker and API.

The stubs write down what happens to them; the stub API is ready to score when the stub worker
has said so in a file. One test runs the real worker and API, with a detector that needs no model.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from sdk.environment import SettingsError, inherited, load
from server import valkey
from server.settings import ServerSettings
from server.up import EXAMPLE, EXAMPLE_URL, UpSettings, banner, main
from worker.contract import SOCKET

DEADLINE_SECONDS = 30.0

STUB = """
import http.server, json, os, signal, sys, threading
from pathlib import Path
name, state = sys.argv[1], Path(os.environ["PINCLIP_STATE_DIR"])
def write(what):
    with open(state / "diary", "a") as file:
        file.write(f"{name} {what} {os.getpid()}\\n")
def end(number, frame):
    write("stops")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
write("starts")
"""

WORKER = """
(state / "scoring").touch()
threading.Event().wait(60)
"""

API = """
beat = {"engine": "fixed", "precision": "float32", "device": "cpu", "model": "weights-1"}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_ready = self.path == "/healthz" or (state / "scoring").exists()
        worker = {"ok": is_ready, "detail": "loading", "workers": [beat]}
        health = {"status": "ok" if is_ready else "unavailable", "checks": {"worker": worker}}
        self.send_response(200 if is_ready else 503)
        self.end_headers()
        self.wfile.write(json.dumps(health).encode())
    def log_message(self, *args):
        pass
port = int(os.environ["PINCLIP_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

DRIVER = """
import sys
from server.up import Plan, main
from worker.supervisor import Limits
haste = Limits(first_pause_seconds=0.01, longest_pause_seconds=0.02)
worker, api = ((sys.executable, "-c", code, name) for code, name in
               zip(sys.argv[1:], ("worker", "api")))
sys.exit(main([], plan=Plan(worker=worker, api=api, limits=haste)))
"""


class Up:
    """One `pinclip up` in a process of its own; its output goes to files."""

    def __init__(self, folder: Path, command: list[str], **settings: str) -> None:
        self.port = free_port()
        self.folder = folder
        self.state = folder / "state"
        self._settings = {
            "PINCLIP_STATE_DIR": str(self.state),
            "PINCLIP_PORT": str(self.port),
            **settings,
        }
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                self._command,
                env=inherited(**self._settings),
                stdout=out,
                stderr=err,
                cwd=self.folder,
            )

    def start_ready(self) -> None:
        self.start()
        self.until(lambda: "Ctrl-C" in self.out)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def diary(self) -> list[tuple[str, str, int]]:
        """Name, event and process id of each line that the stubs wrote."""
        lines = (self.state / "diary").read_text().splitlines()
        return [(name, what, int(pid)) for name, what, pid in map(str.split, lines)]

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(name, what) for name, what, _ in self.diary]

    def valkey(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.state / SOCKET))

    def until(self, is_true: Callable[[], bool]) -> None:
        """Wait; fails with the output if it ends, or the deadline comes, before that."""
        wait = threading.Event().wait
        for _ in range(int(DEADLINE_SECONDS / 0.02)):
            if is_true():
                return
            if self._process is not None and self._process.poll() is not None:
                break
            wait(0.02)
        pytest.fail(f"waited in vain:\n{self.out[-2000:]}\n{self.err[-4000:]}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the signal and return the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(DEADLINE_SECONDS)

    def wait(self) -> int:
        """Return the exit status once it ends by itself."""
        assert self._process is not None
        return self._process.wait(DEADLINE_SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, unlike pytest's tmp_path: a unix socket's must be."""
    made = Path(tempfile.mkdtemp(prefix="pinclip-up-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def make_up(folder: Path) -> Iterator[Callable[..., Up]]:
    """Make an Up over stubs, in the one folder; all are ended when the test is over."""
    made: list[Up] = []

    def make(*, worker: str = WORKER, api: str = API, **settings: str) -> Up:
        command = [sys.executable, "-c", DRIVER, STUB + worker, STUB + api]
        made.append(Up(folder, command, **settings))
        return made[-1]

    yield make
    for up in made:
        with contextlib.suppress(AssertionError):
            up.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.redis
def test_up_says_what_scores_once_it_is_ready(make_up: Callable[..., Up]) -> None:
    up = make_up()

    up.start_ready()

    assert f"pinclip is ready at http://127.0.0.1:{up.port}\n" in up.out
    assert "engine fixed, precision float32, device cpu, weights weights-1\n" in up.out
    assert "up     | valkey ready" in up.err
    assert "up     | api ready" in up.err
    assert "up     | model ready" in up.err


@pytest.mark.redis
def test_up_drains_the_api_first_and_valkey_last(make_up: Callable[..., Up]) -> None:
    late = """
import redis
def end_late(number, frame):
    threading.Event().wait(0.2)
    client = redis.Redis(unix_socket_path=str(state / "valkey.sock"))
    write(f"sees_{client.ping()}")
    end(number, frame)
signal.signal(signal.SIGTERM, end_late)
"""
    up = make_up(worker=late + WORKER)
    up.start_ready()

    status = up.end(signal.SIGTERM)

    assert status == 0
    assert up.events[2:] == [("api", "stops"), ("worker", "sees_True"), ("worker", "stops")]
    assert not (up.state / SOCKET).exists()


@pytest.mark.redis
def test_up_takes_a_state_folder_beside_the_current_one(
    make_up: Callable[..., Up], folder: Path
) -> None:
    up = make_up(PINCLIP_STATE_DIR="state")

    up.start_ready()

    assert sorted(up.events) == [("api", "starts"), ("worker", "starts")]
    assert up.valkey().config_get("dir") == {"dir": str(folder / "state")}


@pytest.mark.redis
def test_up_leaves_no_orphan_when_it_is_killed_and_starts_again(
    make_up: Callable[..., Up],
) -> None:
    up = make_up()
    up.start_ready()
    with up.valkey() as client:
        client.set("key", "value")
        pids = [client.info("server")["process_id"], *(pid for _, _, pid in up.diary)]

    up.end(signal.SIGKILL)
    again = make_up()
    again.start_ready()

    assert not any(map(is_alive, pids))
    with again.valkey() as client:
        assert client.get("key") == b"value"
    assert again.end() == 0


@pytest.mark.redis
def test_up_refuses_a_state_folder_that_another_runs_on(make_up: Callable[..., Up]) -> None:
    first = make_up()
    first.start_ready()
    pid = first.pid

    second = make_up()
    second.folder = first.folder / "second"
    second.folder.mkdir()
    second.start()

    assert second.wait() == 3
    assert f"already runs on {first.state} (process {pid})" in second.err
    assert first.valkey().ping()
    assert first.end() == 0


@pytest.mark.redis
def test_up_stops_everything_when_a_child_keeps_dying(make_up: Callable[..., Up]) -> None:
    broken = """
while "api starts" not in (state / "diary").read_text():
    threading.Event().wait(0.01)
print("the model is broken")
sys.exit(9)
"""
    up = make_up(worker=broken)

    up.start()

    assert up.wait() == 5
    assert "worker died 5 times in 60 s (at last: exit status 9)" in up.err
    assert "    the model is broken" in up.err
    assert up.events[-1] == ("api", "stops")


@pytest.mark.redis
def test_up_ends_with_3_when_a_child_cannot_use_its_settings(make_up: Callable[..., Up]) -> None:
    up = make_up(worker="sys.exit(3)")

    up.start()

    assert up.wait() == 3
    assert "worker cannot run with these settings" in up.err


@pytest.mark.redis
def test_up_says_which_part_is_waited_for(make_up: Callable[..., Up]) -> None:
    down = API.replace('"checks": {', '"checks": {"store": {"ok": False, "detail": "disk full"}, ')
    up = make_up(api=down, worker="threading.Event().wait(60)")

    up.start()

    up.until(lambda: "up     | waiting for store (disk full)" in up.err)


def test_up_starts_no_valkey_when_redis_url_is_set(make_up: Callable[..., Up]) -> None:
    up = make_up(REDIS_URL="redis://127.0.0.1:1/0")

    up.start_ready()

    assert not (up.state / SOCKET).exists()
    assert "valkey" not in up.err


def test_up_tells_every_wrong_setting_at_once(make_up: Callable[..., Up]) -> None:
    up = make_up(
        PINCLIP_HOST="192.168.1.5",
        PINCLIP_ENGINE="steam",
        PINCLIP_QUEUE_LIMIT="many",
        PINCLIP_FETCH_ALLOW_PORTS="0",
    )

    up.start()

    assert up.wait() == 3
    for name in ("PINCLIP_ENGINE", "PINCLIP_QUEUE_LIMIT", "PINCLIP_FETCH_ALLOW_PORTS"):
        assert up.err.count(f"pinclip up: {name}") == 1
    assert up.out == ""
    assert not up.state.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_up_refuses_every_address_where_it_has_no_name(host: str) -> None:
    with pytest.raises(SettingsError, match="set PINCLIP_ALLOWED_HOSTS"):
        load(UpSettings, {"PINCLIP_HOST": host})


def test_up_refuses_a_state_folder_whose_socket_path_would_be_too_long() -> None:
    with pytest.raises(SettingsError, match="set it to a shorter folder"):
        load(UpSettings, {"PINCLIP_STATE_DIR": "/tmp/" + "x" * 100})


def test_up_tells_that_the_port_is_taken(make_up: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        up = make_up(PINCLIP_PORT=str(other.getsockname()[1]))

        up.start()

        assert up.wait() == 3
    assert "Address already in use" in up.err
    assert "set PINCLIP_PORT to another port" in up.err


@pytest.mark.redis
@pytest.mark.parametrize("is_there", [False, True])
def test_up_keeps_its_state_from_others(make_up: Callable[..., Up], is_there: bool) -> None:
    up = make_up()
    if is_there:
        up.state.mkdir(mode=0o755)

    up.start_ready()

    assert stat.S_IMODE(up.state.stat().st_mode) == 0o700


@pytest.mark.redis
def test_up_ends_a_valkey_that_was_left_behind(make_up: Callable[..., Up]) -> None:
    up = make_up()
    up.state.mkdir(mode=0o700)
    left = valkey.child(valkey.find(), state_dir=up.state)
    with subprocess.Popen(left.argv, stdout=subprocess.DEVNULL) as process:
        up.until(lambda: valkey.answers(up.state / SOCKET))

        up.start_ready()

        assert process.wait(DEADLINE_SECONDS) == 0
    assert up.valkey().ping()


def test_up_does_not_close_a_folder_that_others_use(make_up: Callable[..., Up]) -> None:
    up = make_up()
    up.state.mkdir(mode=0o755)
    (up.state / "of-others").touch()

    up.start()

    assert up.wait() == 3
    assert "set it to a folder of its own" in up.err
    assert stat.S_IMODE(up.state.stat().st_mode) == 0o755


def test_up_tells_that_the_state_folder_cannot_be_used(make_up: Callable[..., Up]) -> None:
    up = make_up()
    up.state.touch()

    up.start()

    assert up.wait() == 3
    assert "which cannot be used (File exists)" in up.err


def test_up_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    assert "exit status" in capsys.readouterr().out


def test_banner_needs_no_address_when_it_is_the_default() -> None:
    printed = banner(ServerSettings(), "engine x")

    assert "sdk.Client()" in printed
    assert "--base-url" not in printed


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        pytest.param("127.0.0.1", 9000, "http://127.0.0.1:9000", id="other-port"),
        pytest.param("::1", 8417, "http://[::1]:8417", id="ipv6"),
        pytest.param("0.0.0.0", 9000, "http://127.0.0.1:9000", id="every-address"),
    ],
)
def test_banner_names_the_address_in_each_line(host: str, port: int, address: str) -> None:
    printed = banner(ServerSettings(host=host, port=port), "engine x", python="/a b/python")

    curl, python, command = lines_to_paste(printed)
    assert curl[2] == f"{address}/v1/scans"
    assert python[0] == "/a b/python"
    assert f"base_url='{address}'" in python[2]
    assert command == ["/a b/pinclip", "check", "--base-url", address, str(EXAMPLE)]


def test_banner_says_which_key_where_one_is_needed() -> None:
    printed = banner(ServerSettings(), "engine x", needs_key=True)

    assert "once PINCLIP_API_KEY is set" in printed
    assert "Authorization: Bearer $PINCLIP_API_KEY" in lines_to_paste(printed)[0]


def lines_to_paste(printed: str) -> list[list[str]]:
    """The words of the three lines, as a shell reads them."""
    return [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]


@pytest.fixture
def origin() -> Iterator[str]:
    """The address of the example picture on a server that runs here."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(EXAMPLE.read_bytes())

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/chelsea.jpg"
        server.shutdown()
        thread.join()


@pytest.mark.redis
@pytest.mark.slow
def test_up_prints_lines_that_work_as_they_stand(folder: Path, origin: str) -> None:
    port = origin.rpartition(":")[2].partition("/")[0]
    (folder / "server").mkdir()
    (folder / "server" / "__init__.py").write_text("raise SystemExit('not ours')")
    up = Up(
        folder,
        [sys.executable, "-P", "-m", "pinclip", "up"],
        PINCLIP_DETECTOR="worker.testing:load_fixed",
        PINCLIP_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
        PINCLIP_FETCH_ALLOW_PORTS=port,
    )
    try:
        up.start_ready()
        curl, python, command = [
            subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
            for words in lines_to_paste(up.out.replace(EXAMPLE_URL, origin))
        ]
    finally:
        status = up.end()

    verdict = json.loads(curl.stdout)["verdict"]
    assert verdict is not None
    assert python.stdout == f"{verdict}\n"
    assert command.stdout.startswith(f"{EXAMPLE}: ")
    assert status == 0
