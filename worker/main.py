"""RQ DOOR: one worker process. Loads the model, wires the parts, and takes tickets.

    settings -> detector, warm -> ledger, source, decode pool, engine, cache -> Shift
         +--> beat thread: "alive", as long as the work loop moves; once, the model's papers
         +--> listen: drain once; wait for a ticket -> forget it -> drain -> ...
                      Redis lost -> back-off -> begin again

RQ carries tickets and nothing else (docs/decisions/0001). A ticket is deleted before its work is
done, so a kill -9 at any moment leaves no job behind that must be cleaned up: what was popped
but not deleted is swept by the next worker, what was under way is still in the ledger. RQ's own
cleaning, callbacks, webhooks and remote commands are off: they would run what anybody wrote into
Redis.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType

import structlog
from msgspec.structs import replace
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

from sdk.wire import Model

from . import declarations, engine, jobs, log, memory, tracing, uploads
from .cache import RedisCache
from .clock import SystemClock
from .contract import (
    DRAIN,
    PAPER_LIMIT_BYTES,
    QUEUE,
    WORKER_BEAT_SECONDS,
    Papers,
    WorkerBeat,
)
from .decoding import DecodePool
from .engine import DetectorUnusable, Engine
from .fetcher import HttpFetcher
from .guard import Policy
from .intake import Preparer, Source
from .ledger import StreamLedger, connect
from .ports import Clock, Detector, Documented, Unavailable, judge
from .settings import WorkerSettings
from .shift import Shift
from .supervisor import SETTINGS_STATUS

TICKET_SECONDS = 2
"""Longest wait for a ticket in one go; a stop is noticed within it."""
SHORTEST_REST_SECONDS = 0.25
LONGEST_REST_SECONDS = 4.0
"""Before trying Redis again: doubled each time up to the longest."""

_log = structlog.get_logger()


class TicketWorker(SimpleWorker):
    """RQ's worker, made to take tickets only; `work` returns soon after `is_stopping` is true."""

    def __init__(
        self,
        connection: Redis,
        *,
        name: str,
        is_stopping: Callable[[], bool],
        touch: Callable[[], None],
        drain: Callable[[], object] = jobs.drain,
    ) -> None:
        # RQ waits for jobs 15 s less than worker_ttl, and for Redis 10 s more than that.
        super().__init__(
            [Queue(QUEUE, connection=connection, serializer=JSONSerializer)],
            name=name,
            connection=connection,
            worker_ttl=TICKET_SECONDS + 15,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self.failure: Exception | None = None
        """What ended `work` other than a stop: RedisError and Unavailable pass, others do not."""
        self._is_stopping = is_stopping
        self._touch = touch
        self._drain = drain

    def subscribe(self) -> None:
        """Take no commands: RQ's channel lets anybody in Redis end this process."""

    def check_for_suspension(self, burst: bool) -> None:
        """Never rest: RQ's key lets anybody in Redis suspend it for good."""

    def run_maintenance_tasks(self) -> None:
        """Forget tickets whose worker died between popping and deleting them, then look.

        Instead of RQ's own cleaning, which runs failure callbacks and webhooks of any job.
        """
        with self._failing_quietly():
            left = self.queues[0].intermediate_queue.get_job_ids()
            for job_id in left:
                self._forget(job_id)
            clean_worker_registry(self.queues[0])
            self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ infers None from its start
            if left:
                self._drain()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a ticket or a stop. RQ's own loop would not notice a stop while idle."""
        del timeout, max_idle_time
        with self._failing_quietly():
            self.set_state(WorkerStatus.IDLE)
            while not self._is_stopping():
                self._touch()
                self.heartbeat()
                with suppress(DequeueTimeout):
                    return Queue.dequeue_any(
                        self.queues, TICKET_SECONDS, self.connection, serializer=self.serializer
                    )
        raise StopRequested

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Forget the ticket, then do what waits. Nothing that the job names is ever called."""
        del queue
        with self._failing_quietly():
            self.set_state(WorkerStatus.BUSY)
            self._forget(job.id)
            if _is_ticket(job):
                self._drain()
            else:
                _log.error("job_refused", job_id=job.id, why=f"only {DRAIN}() is run here")

    def _install_signal_handlers(self) -> None:
        """Leave signals to the process: RQ's handlers raise wherever the code happens to be."""

    def _forget(self, job_id: str) -> None:
        pipe = self.connection.pipeline(transaction=True)
        pipe.lrem(self.queues[0].intermediate_queue_key, 0, job_id)
        pipe.delete(Job.key_for(job_id))
        pipe.execute()

    @contextmanager
    def _failing_quietly(self) -> Iterator[None]:
        """Keep what went wrong for `listen`; RQ would only print a traceback and end."""
        try:
            yield
        except StopRequested:
            raise
        except Exception as error:
            self.failure = error
            raise StopRequested from error


def run(settings: WorkerSettings) -> int:
    """One worker has run until it was told to stop; returns the exit status."""
    memory.give_back()
    log.setup(settings.log_level, "worker")
    stop = Stop()
    stop.install()
    try:
        traces = tracing.to(settings.trace_endpoint, component="worker")
        detector = engine.load(settings)
    except (DetectorUnusable, tracing.TracingUnusable) as error:
        sys.stderr.write(f"pinclip work: {error}\n")
        return SETTINGS_STATUS
    if detector.engine == "torch":
        memory.hold()
    clock = SystemClock()
    name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(traces.close)
        ledger = StreamLedger(
            settings.redis.address,
            worker=name,
            timeout_seconds=settings.redis.redis_timeout_seconds,
        )
        stack.callback(ledger.close)
        shift = _shift(settings, detector, ledger, clock, name, traces, stack)
        stop.tell(shift)
        jobs.install(shift)
        _log.info(
            "worker_ready",
            worker=name,
            model=detector.weights_id,
            engine=detector.engine,
            precision=detector.precision,
            device=detector.device,
            why=detector.reason,
        )
        with beating(ledger, shift, detector, clock, name):
            _listen_or_die(settings, shift, stop, clock, name)
        with suppress(Unavailable):
            ledger.leave()
    _log.info("worker_stopped", worker=name)
    return 0


class Stop:
    """Whether SIGTERM or SIGINT came. The handler sets flags and nothing else."""

    def __init__(self) -> None:
        self._came = False
        self._shift: Shift | None = None

    def install(self) -> None:
        """Take the two signals from now on."""
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGINT, self._receive)

    def tell(self, shift: Shift) -> None:
        """Stop this shift too when a signal comes, or now if one has come."""
        self._shift = shift
        if self._came:
            shift.stop()

    def came(self) -> bool:
        """True once a signal came."""
        return self._came

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        if self._shift is not None:
            self._shift.stop()


def listen(settings: WorkerSettings, shift: Shift, stop: Stop, clock: Clock, name: str) -> None:
    """Work tickets until a stop, over any loss of Redis. Raises what is a fault of ours."""
    rest = SHORTEST_REST_SECONDS
    while not stop.came():
        began = clock.monotonic()
        failure = _listen_once(settings, shift, stop, name)
        if stop.came():
            return
        if not isinstance(failure, RedisError | Unavailable | None):
            raise failure
        if clock.monotonic() - began > LONGEST_REST_SECONDS:
            rest = SHORTEST_REST_SECONDS
        _log.warning("queue_lost", why=str(failure), next_try_seconds=rest)
        _rest(rest, shift, stop, clock)
        rest = min(2 * rest, LONGEST_REST_SECONDS)


def _listen_once(settings: WorkerSettings, shift: Shift, stop: Stop, name: str) -> Exception | None:
    """Take tickets until a stop or a failure; return the failure."""
    connection = connect(
        settings.redis.address, timeout_seconds=settings.redis.redis_timeout_seconds
    )
    try:
        # What waits from before, whether or not its ticket still exists.
        jobs.drain()
        # RQ refuses the name of a worker that was killed until its key expires: add a nonce.
        worker = TicketWorker(
            connection,
            name=f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}-{secrets.token_hex(3)}",
            is_stopping=stop.came,
            touch=shift.touch,
        )
        worker.work(logging_level=None)
        return worker.failure
    except (RedisError, Unavailable) as error:
        return error
    finally:
        connection.close()


def _listen_or_die(
    settings: WorkerSettings, shift: Shift, stop: Stop, clock: Clock, name: str
) -> None:
    try:
        listen(settings, shift, stop, clock, name)
    except Exception:
        _log.critical("worker_broke", exc_info=True)
        # Not sys.exit: it waits for every thread, and a model that hangs never ends.
        os._exit(1)


def _rest(seconds: float, shift: Shift, stop: Stop, clock: Clock) -> None:
    until = clock.monotonic() + seconds
    while not stop.came() and clock.monotonic() < until:
        shift.touch()
        clock.sleep(0.05)


def _shift(
    settings: WorkerSettings,
    detector: Detector,
    ledger: StreamLedger,
    clock: Clock,
    name: str,
    traces: tracing.Tracing,
    stack: ExitStack,
) -> Shift:
    """Build the Shift on the real parts; `stack` closes them in the right order."""
    policy = Policy(settings.fetch_allow_networks, settings.fetch_allow_ports)
    fetcher = HttpFetcher(policy, clock=clock)
    stack.callback(fetcher.close)
    decoder = DecodePool(processes=settings.decode_processes)
    stack.callback(decoder.close)
    decoder.start()
    cache = RedisCache(
        settings.redis.address,
        detector=detector,
        clock=clock,
        timeout_seconds=settings.redis.redis_timeout_seconds,
    )
    stack.callback(cache.close)
    shift = Shift(
        ledger=ledger,
        source=Source(
            fetcher=fetcher,
            read_upload=partial(uploads.read, settings.redis.state_dir),
            cache=cache,
            policy=policy,
            clock=clock,
            fetch_seconds=settings.fetch_seconds,
        ),
        preparer=Preparer(decoder=decoder, detector=detector, read_declaration=declarations.read),
        engine=Engine(detector, batch_limit=settings.batch_limit, now=clock.monotonic),
        cache=cache,
        clock=clock,
        worker=name,
        tracing=traces,
        in_flight=settings.in_flight,
        prepare_threads=settings.decode_processes + 1,
    )
    stack.callback(shift.close)
    return shift


@contextmanager
def beating(
    ledger: StreamLedger, shift: Shift, detector: Detector, clock: Clock, name: str
) -> Iterator[None]:
    """While inside, a thread says every few seconds that this worker is alive, if it is."""
    over = threading.Event()
    beat = WorkerBeat(
        name=name,
        model=Model(id=detector.weights_id, weights_sha256=detector.weights_sha256),
        engine=detector.engine,
        precision=detector.precision,
        device=detector.device,
        at=clock.now(),
        judge=judge(detector),
        calibration_id=detector.calibration_id,
    )
    papers = _papers(detector)

    def run() -> None:
        is_first = True
        while True:
            if shift.is_moving():
                with suppress(Unavailable):  # The work loop says so.
                    ledger.beat(replace(beat, at=clock.now()))
                    ledger.show(beat, papers, is_first=is_first)
                    is_first = False
            if over.wait(WORKER_BEAT_SECONDS):
                return

    thread = threading.Thread(target=run, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _papers(detector: Detector) -> Papers:
    """Return what came with the weights, without what is too long to travel."""
    if not isinstance(detector, Documented):
        return Papers()
    return Papers(
        card=_short("card", detector.card),
        gate_report=_short("gate_report", detector.gate_report),
    )


def _short(name: str, text: str | None) -> str | None:
    if text is not None and len(text.encode()) > PAPER_LIMIT_BYTES:
        _log.warning("paper_too_long", paper=name, limit_bytes=PAPER_LIMIT_BYTES)
        return None
    return text


def _is_ticket(job: Job) -> bool:
    try:
        return job.func_name == DRAIN and not job.instance and not job.args and not job.kwargs
    except Exception:  # Whatever was written there, it is no ticket.
        return False
