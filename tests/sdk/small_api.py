"""The real API on loopback, for the SDK's tests: SQLite, Valkey, all that runs beside, a worker.

    with small_api(folder, allow_port=receiver.port) as url:
        sdk.Client(base_url=url)

The worker looks at nothing: it finds everything likely_ai, but may not fetch what has "forbidden"
in its URL, and is never done with what has "slow" in it. Webhooks may go to loopback.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis
import structlog

from benchmarks.running_system import free_port
from sdk.codes import SCAN_ERRORS, ScanErrorCode
from sdk.wire import Input, Model, OperatingPoint, ScanError, Status, Verdict
from server.app import create_app
from server.process import Server, listen
from server.settings import ServerSettings
from tests.valkey_server import running
from worker.contract import (
    Entry,
    Outcome,
    RedisSettings,
    WorkerBeat,
    encode,
    upload_path,
    worker_key,
)
from worker.ledger import StreamLedger

MODEL = Model("fixed", "00")
BEAT = WorkerBeat(
    name="one",
    model=MODEL,
    engine="fixed",
    precision="float32",
    device="cpu",
    at=0.0,
    judge="fixed",
    calibration_id="cal_1",
)


@contextmanager
def small_api(folder: Path, *, allow_port: int) -> Iterator[str]:
    """Yield the address of an API that runs in this process; stop it at the end."""
    with _silence(), running() as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            client.set(worker_key(BEAT.name), encode(BEAT))
        settings = ServerSettings(
            redis=RedisSettings(redis_url=valkey.url, state_dir=folder),
            port=free_port(),
            fetch_allow_networks=("127.0.0.0/8",),
            fetch_allow_ports=(allow_port,),
        )
        with _served(settings) as url, _working(settings):
            yield url


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the server's log from stdout, which is the tests' own."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _served(settings: ServerSettings) -> Iterator[str]:
    with listen(settings) as listener:
        server = Server(create_app(settings), settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{settings.port}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _working(settings: ServerSettings) -> Iterator[None]:
    is_over = threading.Event()

    def work() -> None:
        address = settings.redis.address
        with closing(StreamLedger(address, worker=BEAT.name, timeout_seconds=5)) as ledger:
            while not is_over.wait(0.01):
                claims = ledger.claim(100)
                done = [one for one in claims if "slow" not in (one.entry.url or "")]
                ledger.complete([(one, _judged(one.entry, settings)) for one in done])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _judged(entry: Entry, settings: ServerSettings) -> Outcome:
    """Return what a worker would say of the image."""
    if "forbidden" in (entry.url or ""):
        return _forbidden(entry)
    data = entry.scan_id.encode()  # no two URLs show the same bytes
    if entry.upload_id is not None:
        data = upload_path(settings.redis.state_dir, entry.upload_id).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return Outcome(
        scan_id=entry.scan_id,
        attempt=1,
        worker=BEAT.name,
        status=Status.COMPLETED,
        input=Input(kind=entry.kind, url=entry.url, sha256=sha256, bytes=3, width=640, height=480),
        verdict=Verdict.LIKELY_AI,
        score=0.94,
        probability=0.91,
        operating_point=OperatingPoint(
            name=entry.operating_point,
            slice="photo",
            threshold=0.87,
            clear_below=0.2,
            expected_false_alarm_rate=0.03,
            ci95=(0.024, 0.038),
            n=2488,
            calibration_id=BEAT.calibration_id,
        ),
        model=MODEL,
        judge=BEAT.judge,
    )


def _forbidden(entry: Entry) -> Outcome:
    code = ScanErrorCode.FETCH_FORBIDDEN
    facts = SCAN_ERRORS[code]
    return Outcome(
        scan_id=entry.scan_id,
        attempt=1,
        worker=BEAT.name,
        status=Status.FAILED,
        input=Input(kind=entry.kind, url=entry.url),
        error=ScanError(
            code=code, detail="403 from the host.", hint=facts.hint, retryable=facts.retryable
        ),
    )
