"""The worker process: tickets, signals, kills, loss of Redis, detectors that do not load."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import structlog
from rq import Queue
from rq.command import send_shutdown_command
from rq.job import Callback, Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.suspension import suspend

from sdk.environment import inherited
from sdk.wire import Status, Verdict
from tests.valkey_server import Valkey, running
from worker.contract import (
    DRAIN,
    FIELD,
    QUEUE,
    RESULTS,
    SCANS,
    WORKERS,
    Entry,
    Outcome,
    decode_beat,
    decode_outcome,
    encode,
)
from worker.ledger import StreamLedger
from worker.main import TicketWorker
from worker.ports import Unavailable

pytestmark = pytest.mark.redis

Make = Callable[..., Entry]
Draw = Callable[..., bytes]


# -- tickets, in this process


class Drains:
    """Counts drains and stops the worker after so many; notes what RQ held at each."""

    def __init__(self, client: redis.Redis, stop_after: int) -> None:
        self.count = 0
        self.jobs_left: list[int] = []
        self._client = client
        self._stop_after = stop_after

    def drain(self) -> None:
        self.count += 1
        self.jobs_left.append(len(list(self._client.scan_iter("rq:job:*"))))

    def is_enough(self) -> bool:
        return self.count >= self._stop_after


def _work(client: redis.Redis, *, stop_after: int = 1) -> Drains:
    """Run a TicketWorker until it has drained so many times."""
    drains = Drains(client, stop_after)
    with redis.Redis.from_pool(redis.ConnectionPool(**_where(client))) as connection:
        worker = TicketWorker(
            connection,
            name="w",
            is_stopping=drains.is_enough,
            touch=lambda: None,
            drain=drains.drain,
        )
        worker.work(logging_level=None)
        assert worker.failure is None
    return drains


def _where(client: redis.Redis) -> dict[str, object]:
    kind = redis.UnixDomainSocketConnection
    return {"connection_class": kind, "path": client.connection_pool.connection_kwargs["path"]}


@pytest.fixture
def tickets(client: redis.Redis) -> Queue:
    return Queue(QUEUE, connection=client, serializer=JSONSerializer)


def test_worker_drains_for_a_ticket(client: redis.Redis, tickets: Queue) -> None:
    tickets.enqueue(DRAIN)

    assert _work(client).count == 1


def test_worker_forgets_a_ticket_before_it_drains(client: redis.Redis, tickets: Queue) -> None:
    tickets.enqueue(DRAIN)
    tickets.enqueue(DRAIN)

    drains = _work(client, stop_after=2)

    assert drains.jobs_left == [1, 0]
    assert client.exists(tickets.intermediate_queue_key) == 0
    assert client.zcard(f"rq:wip:{QUEUE}") == 0


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("os.system", ("touch {canary}",), {}),
        ("pathlib.Path.touch", ("{canary}",), {}),
        (DRAIN, ("{canary}",), {}),
        (DRAIN, (), {"canary": "{canary}"}),
    ],
)
def test_worker_runs_no_job_but_a_ticket(
    client: redis.Redis,
    tickets: Queue,
    tmp_path: Path,
    name: str,
    args: tuple[str, ...],
    kwargs: dict[str, str],
) -> None:
    canary = tmp_path / "canary"
    tickets.enqueue(name, *(a.format(canary=canary) for a in args), **kwargs)
    tickets.enqueue(DRAIN)

    with structlog.testing.capture_logs() as logs:
        drains = _work(client)

    assert drains.count == 1
    assert drains.jobs_left == [0]
    assert not canary.exists()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["job_refused"]


def test_worker_never_unpickles_a_job(client: redis.Redis, tickets: Queue, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = Queue(QUEUE, connection=client, serializer=DefaultSerializer)
    pickled.enqueue(canary.touch)
    tickets.enqueue(DRAIN)

    _work(client)

    assert not canary.exists()


def test_worker_runs_no_callback_of_a_job_that_died(
    client: redis.Redis, tickets: Queue, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    job = tickets.create_job(DRAIN, on_failure=Callback(f"{__name__}.touch_canary"))
    job.meta = {"canary": str(canary)}
    job.set_status(JobStatus.STARTED)
    job.save()
    client.zadd(StartedJobRegistry(QUEUE, client).key, {f"{job.id}:execution": 1.0})
    tickets.enqueue(DRAIN)

    _work(client)

    assert not canary.exists()


def touch_canary(job: Job, *_args: object) -> None:
    Path(job.meta["canary"]).touch()


def test_worker_sweeps_a_ticket_that_died_between_popping_and_draining(
    client: redis.Redis, tickets: Queue
) -> None:
    job = tickets.enqueue(DRAIN)
    client.lmove(tickets.key, tickets.intermediate_queue_key)

    drains = _work(client)

    assert drains.count == 1
    assert not Job.exists(job.id, client)
    assert client.exists(tickets.intermediate_queue_key) == 0


def test_worker_takes_no_orders_from_redis(client: redis.Redis, tickets: Queue) -> None:
    suspend(client)
    sent = threading.Timer(0.2, lambda: send_shutdown_command(client, "w"))
    rung = threading.Timer(0.4, lambda: tickets.enqueue(DRAIN))
    sent.start()
    rung.start()

    assert _work(client).count == 1

    sent.join()
    rung.join()


def test_worker_tells_what_broke_in_a_drain(client: redis.Redis, tickets: Queue) -> None:
    def drain() -> None:
        raise Unavailable("gone")

    tickets.enqueue(DRAIN)
    worker = TicketWorker(
        client, name="w", is_stopping=lambda: False, touch=lambda: None, drain=drain
    )

    worker.work(logging_level=None)

    assert isinstance(worker.failure, Unavailable)


# -- the whole process


class Origin:
    """An HTTP server that holds its answers back until `gate` is set."""

    def __init__(self, body: bytes) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.asked.set()
                origin.gate.wait(30)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/white.png"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def origin(picture: Draw) -> Iterator[Origin]:
    origin = Origin(picture(255))
    yield origin
    origin.close()


class Workers:
    """Starts worker processes over one Redis and one origin."""

    def __init__(self, folder: Path, url: str, port: int) -> None:
        self.log = folder / "worker.log"
        self._environ = inherited(
            REDIS_URL=url,
            PINCLIP_STATE_DIR=str(folder),
            PINCLIP_DETECTOR="worker.testing:load_fixed",
            PINCLIP_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            PINCLIP_FETCH_ALLOW_PORTS=str(port),
            PINCLIP_DECODE_PROCESSES="1",
        )

    @contextmanager
    def start(self, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env={**self._environ, **environ},
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parent.parent.parent,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", *argv],
            env={**self._environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parent.parent.parent,
        )


@pytest.fixture
def workers(tmp_path: Path, valkey: Valkey, origin: Origin) -> Workers:
    return Workers(tmp_path, valkey.url, origin.port)


def _post(client: redis.Redis, entry: Entry) -> None:
    client.xadd(SCANS, {FIELD: encode(entry)})
    Queue(QUEUE, connection=client, serializer=JSONSerializer).enqueue(DRAIN)


def _results(client: redis.Redis) -> list[Outcome]:
    return [decode_outcome(fields[FIELD.encode()]) for _, fields in client.xrange(RESULTS)]


def _until(holds: Callable[[], object], log: Path | None = None) -> None:
    for _ in range(3000):
        try:
            if holds():
                return
        except redis.ConnectionError:
            pass
        threading.Event().wait(0.01)
    raise AssertionError(f"not true within 30 s; {log.read_text() if log else ''}")


@pytest.mark.slow
def test_worker_process_scans_and_stops_when_told(
    workers: Workers, client: redis.Redis, origin: Origin, entry: Make
) -> None:
    with workers.start(PINCLIP_WORKER_NAME="w 1") as process:
        _post(client, entry("a", url=f"{origin.url}?signature=canary"))
        _until(lambda: _results(client), workers.log)
        beats = [decode_beat(client.get(key)) for key in client.keys("pinclip:worker:*")]  # type: ignore[arg-type]
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)

    (outcome,) = _results(client)
    assert (outcome.status, outcome.verdict) == (Status.COMPLETED, Verdict.LIKELY_AI)
    assert [(beat.name, beat.engine, beat.model.id) for beat in beats] == [
        ("w 1", "fixed", "fixed")
    ]
    assert [beat.judge for beat in beats] == [outcome.judge] != [""]
    assert status == 0
    assert client.keys("pinclip:worker:*") == []
    assert client.xinfo_consumers(SCANS, WORKERS) == []
    lines = [json.loads(line) for line in workers.log.read_text().splitlines()]
    assert [line["scan_id"] for line in lines if line["event"] == "scan_completed"] == ["a"]
    (ready,) = [line for line in lines if line["event"] == "worker_ready"]
    assert (ready["model"], ready["engine"], ready["precision"]) == ("fixed", "fixed", "float32")
    assert lines[-1]["event"] == "worker_stopped"
    assert "canary" not in workers.log.read_text()
    assert "Traceback" not in workers.log.read_text()


@pytest.mark.slow
def test_worker_process_finds_what_waits_without_a_ticket_when_it_starts(
    workers: Workers, client: redis.Redis, origin: Origin, entry: Make
) -> None:
    client.xadd(SCANS, {FIELD: encode(entry("a", url=origin.url))})

    with workers.start():
        _until(lambda: _results(client), workers.log)


@pytest.mark.slow
def test_scan_is_done_once_by_another_when_its_worker_is_killed(
    workers: Workers, client: redis.Redis, valkey: Valkey, origin: Origin, entry: Make
) -> None:
    origin.gate.clear()
    with workers.start() as process:
        _post(client, entry("a", url=origin.url))
        assert origin.asked.wait(30)
        process.kill()
        process.wait()
    origin.gate.set()
    # Its lease runs out in 30 s; let it be now.
    (pending,) = client.xpending_range(SCANS, WORKERS, "-", "+", 9)
    client.xclaim(
        SCANS, WORKERS, pending["consumer"], 0, [pending["message_id"]], idle=31_000, justid=True
    )

    with workers.start():
        _until(lambda: _results(client), workers.log)
        _until(lambda: client.xlen(SCANS) == 0, workers.log)

    (outcome,) = _results(client)
    assert (outcome.status, outcome.attempt) == (Status.COMPLETED, 2)


@pytest.mark.slow
def test_lease_of_a_killed_worker_runs_out_by_itself(
    workers: Workers, client: redis.Redis, valkey: Valkey, origin: Origin, entry: Make
) -> None:
    origin.gate.clear()
    with workers.start() as process:
        _post(client, entry("a", url=origin.url))
        assert origin.asked.wait(30)
        process.kill()
        process.wait()

    ledger = StreamLedger(valkey.url, worker="other", lease_seconds=1.0)
    taken: list[int] = []
    _until(lambda: taken.extend(claim.attempt for claim in ledger.claim(8)) or taken)

    assert taken == [2]
    ledger.close()


@pytest.mark.slow
def test_worker_process_finishes_the_scan_in_hand_when_told_to_stop(
    workers: Workers, client: redis.Redis, origin: Origin, entry: Make
) -> None:
    origin.gate.clear()
    with workers.start() as process:
        _post(client, entry("a", url=origin.url))
        assert origin.asked.wait(30)
        process.send_signal(signal.SIGTERM)
        client.xadd(SCANS, {FIELD: encode(entry("b", url=origin.url))})
        threading.Event().wait(0.2)
        origin.gate.set()
        assert process.wait(30) == 0

    assert [outcome.scan_id for outcome in _results(client)] == ["a"]
    assert client.xlen(SCANS) == 1


@pytest.mark.slow
def test_worker_process_outlives_redis(tmp_path: Path, origin: Origin, entry: Make) -> None:
    with running() as valkey:
        workers = Workers(tmp_path, valkey.url, origin.port)
        client = redis.Redis.from_url(valkey.url)
        valkey.kill()
        with workers.start() as process:  # Redis is down at the start...
            _until(lambda: workers.log.exists() and "queue_lost" in workers.log.read_text())
            valkey.start()
            origin.gate.clear()
            _post(client, entry("a", url=origin.url))
            assert origin.asked.wait(30)
            valkey.kill()  # ... and in the middle of a scan...
            origin.gate.set()
            threading.Event().wait(0.2)
            valkey.start()
            _until(lambda: _results(client), workers.log)
            assert [(o.scan_id, o.attempt) for o in _results(client)] == [("a", 1)]
            client.flushall()  # ... and loses everything while the worker is idle.
            _post(client, entry("b", url=origin.url))
            _until(lambda: _results(client), workers.log)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert [(o.scan_id, o.attempt) for o in _results(client)] == [("b", 1)]
        client.close()


@pytest.mark.slow
def test_worker_process_stops_when_told_while_redis_is_down(tmp_path: Path, origin: Origin) -> None:
    workers = Workers(tmp_path, f"unix://{tmp_path}/nobody.sock", origin.port)

    with workers.start() as process:
        _until(lambda: workers.log.exists() and "queue_lost" in workers.log.read_text())
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 0


@pytest.mark.slow
def test_worker_process_goes_on_when_somebody_damages_a_job(
    workers: Workers, client: redis.Redis, tickets: Queue, origin: Origin, entry: Make
) -> None:
    job = tickets.enqueue(DRAIN)
    client.hset(job.key, mapping={"created_at": b"\xff", "data": b"\xff"})

    with workers.start():
        _post(client, entry("a", url=origin.url))
        _until(lambda: _results(client), workers.log)


@pytest.mark.slow
def test_worker_process_ends_at_a_fault_of_its_own_although_a_thread_hangs(
    workers: Workers, client: redis.Redis, origin: Origin, entry: Make, tmp_path: Path
) -> None:
    (tmp_path / "hanging.py").write_text(
        "import threading, worker.shift\n"
        "from worker.testing import FixedDetector\n"
        "worker.shift.HANG_SECONDS = 0.1\n"
        "class Hanging(FixedDetector):\n"
        "    calls = 0\n"
        "    def forward(self, batch):\n"
        "        self.calls += 1\n"
        "        if self.calls > 1: threading.Event().wait()\n"
        "        return super().forward(batch)\n"
        "def load(**_): return Hanging()\n"
    )
    _post(client, entry("a", url=origin.url))

    with workers.start(PINCLIP_DETECTOR="hanging:load", PYTHONPATH=str(tmp_path)) as process:
        assert process.wait(30) == 1

    assert "ModelHung" in workers.log.read_text()


def test_work_says_why_a_detector_does_not_load(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "damaged.py").write_text(
        "def load(**_): raise ValueError('head.safetensors is damaged: install the weights again')"
    )

    done = workers.run(PINCLIP_DETECTOR="damaged:load", PYTHONPATH=str(tmp_path))

    assert done.returncode == 3
    assert done.stderr == (
        "pinclip work: The detector damaged:load did not load: "
        "head.safetensors is damaged: install the weights again\n"
    )
    assert done.stdout == ""


def test_work_tells_all_faults_of_the_settings_at_once(workers: Workers) -> None:
    done = workers.run(PINCLIP_IN_FLIGHT="0", PINCLIP_ENGINE="abacus")

    assert done.returncode == 3
    assert "PINCLIP_IN_FLIGHT is 0" in done.stderr
    assert "PINCLIP_ENGINE is 'abacus'" in done.stderr
    assert "Traceback" not in done.stderr


def test_work_help_names_every_setting(workers: Workers) -> None:
    done = workers.run("--help")

    assert done.returncode == 0
    assert "pinclip work" in done.stdout
    for name in ("PINCLIP_DETECTOR", "REDIS_URL", "PINCLIP_BATCH_LIMIT"):
        assert name in done.stdout


def test_work_takes_no_arguments(workers: Workers) -> None:
    assert workers.run("--fast").returncode == 2
