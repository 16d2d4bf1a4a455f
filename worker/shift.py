"""Does the scans that wait: claims, fetches, decodes, scores, judges, completes. No I/O of its own.

    claim --> held --> get: fetch or read --> admit --> prepare: decode, resize, declaration --+
                       (a thread each)                  (a small pool)                         |
    complete, at once <-- judge <-- forward: what is ready, up to batch_limit <----------------+
                                    (one thread)                                               |
                            +------ a score that accuses --> prepare again, re-encoded --------+

All decisions are taken on the thread that calls `work`; the other threads run one step of one
scan and put what came of it on `_events`. So a slow fetch holds back nobody, and an image that
fails fails alone. At most `in_flight` scans are held; decoded pictures exist only inside the
small pool, which is why a picture to be scored again is decoded again from its bytes.

A scan that saw its worker die (attempt 2) is fetched beside the others but decoded and scored
alone; on its last attempt it has the whole worker to itself. An image that kills workers thus
takes no other scan with it to `worker_lost`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import structlog
from msgspec.structs import asdict, replace

from sdk.codes import ScanErrorCode
from sdk.wire import Input, InputKind, Model, Status

from .contract import ATTEMPT_LIMIT, BEAT_SECONDS, Entry, Outcome
from .engine import Engine, readings
from .intake import Bytes, Prepared, Preparer, Source, overdue
from .ports import Claim, Clock, Ledger, Reading, Refusal, Unavailable
from .verdicts import Case, Judgement, judge, to_confirm

LOOK_SECONDS = 0.02
"""Between two looks at the ledger while a scan is under way and there is room for more."""
IDLE_SECONDS = 0.5
"""Longest wait for an event when there is no room; a stop is noticed within it."""
STALL_SECONDS = 20.0
"""The work loop counts as stuck when it has not come round for so long."""
HANG_SECONDS = 60.0
"""A forward pass that takes longer has hung; the process must end, and another take over."""
STOP_SECONDS = 8.0
"""After a stop, how long held scans may be finished; container runtimes kill after 10 s."""
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
"""Between two tries while the ledger is unavailable: doubled each time up to the longest."""

log = structlog.get_logger()


class ModelHung(Exception):
    """The model has not answered for HANG_SECONDS; this process can do no more scans."""


@dataclass(eq=False)
class Held:
    """One claimed scan and what is known of it so far; belongs to one thread at a time."""

    claim: Claim
    since: float
    input: Input
    data: bytes = b""
    prepared: Prepared | None = None
    readings: tuple[Reading, ...] = ()
    """Of the picture as served, while one of its frames is scored again."""
    is_over: bool = False
    """It has an outcome or was given back; whatever a step still brings of it is dropped."""

    def __repr__(self) -> str:
        return f"Held({self.claim.entry.scan_id}, attempt {self.claim.attempt})"

    @property
    def is_suspect(self) -> bool:
        """True if a worker died while it held this scan."""
        return self.claim.attempt > 1


class Shift:
    """A worker's scans. `work` is called by one thread at a time; `stop` may come from a signal."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        source: Source,
        preparer: Preparer,
        engine: Engine,
        clock: Clock,
        worker: str,
        in_flight: int = 32,
        prepare_threads: int = 3,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._preparer = preparer
        self._engine = engine
        self._clock = clock
        self._worker = worker
        self._in_flight = in_flight
        self._beat_seconds = beat_seconds
        detector = engine.detector
        self._model = Model(id=detector.weights_id, weights_sha256=detector.weights_sha256)

        self._getters = ThreadPoolExecutor(in_flight, thread_name_prefix="get")
        self._preparers = ThreadPoolExecutor(prepare_threads, thread_name_prefix="prepare")
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()

        self._held: dict[str, Held] = {}
        self._last: Held | None = None
        """On its last attempt, and not started as long as others are held."""
        self._got: deque[Held] = deque()
        self._inside: set[Held] = set()
        """Between admission and outcome: where an image could kill the process."""
        self._ready: deque[Held] = deque()
        self._scoring_since: float | None = None
        self._outcomes: list[tuple[Held, Outcome]] = []

        self._is_stopping = False
        self._stop_by: float | None = None
        self._look_at = self._retry_at = self._moved_at = clock.monotonic()
        self._pause_seconds = PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"Shift({self._worker}, holds {len(self._held)} of {self._in_flight})"

    def work(self) -> int:
        """Do scans until none waits and none is held, or until a stop; return how many ended.

        Raises Unavailable if the ledger cannot be asked and nothing is held, and ModelHung.
        """
        done = 0
        with self._leases_renewed():
            while self._claim() or self._held:
                self._admit()
                self._forward()
                self._await()
                self._expire()
                done += self._publish()
                self._heed_stop()
        return done

    def stop(self) -> None:
        """Claim no more, finish what is held within STOP_SECONDS, give back the rest."""
        # A plain flag: a signal may arrive while this thread holds any lock.
        self._is_stopping = True

    def touch(self) -> None:
        """Note that the work loop, here or around us, came round."""
        self._moved_at = self._clock.monotonic()

    def is_moving(self) -> bool:
        """True unless the work loop or the model is stuck."""
        return self._clock.monotonic() - self._moved_at < STALL_SECONDS and not self._is_hung()

    def close(self) -> None:
        """End the threads; those in the middle of a step end with it."""
        self._getters.shutdown(wait=False, cancel_futures=True)
        self._preparers.shutdown(wait=False, cancel_futures=True)
        self._engine.close()

    def _claim(self) -> bool:
        """Take what there is room for; True if that was anything."""
        self.touch()
        if not self._may_look():
            return False
        try:
            claims = self._ledger.claim(self._in_flight - len(self._held))
        except Unavailable as error:
            if not self._held:
                raise
            self._pause(error)
            return False
        if claims:
            self._tell(claims, Status.FETCHING)
        else:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
        for claim in claims:
            self._take(claim)
        return bool(claims)

    def _may_look(self) -> bool:
        now = self._clock.monotonic()
        is_time = now >= self._retry_at and (now >= self._look_at or not self._held)
        return is_time and self._has_room()

    def _has_room(self) -> bool:
        if self._is_stopping or len(self._held) >= self._in_flight:
            return False
        return all(held.claim.attempt < ATTEMPT_LIMIT for held in self._held.values())

    def _take(self, claim: Claim) -> None:
        held = Held(claim=claim, since=self._clock.monotonic(), input=_input_of(claim.entry))
        self._held[claim.token] = held
        if claim.attempt > ATTEMPT_LIMIT:
            self._fail(held, _lost(claim))
        elif claim.attempt == ATTEMPT_LIMIT:
            self._last = held
        else:
            self._get(held)

    def _admit(self) -> None:
        """Let what was got be prepared; a suspect only while nothing else is inside."""
        if self._last is not None and len(self._held) == 1:
            self._get(self._last)
            self._last = None
        while self._got and self._may_enter(self._got[0]):
            held = self._got.popleft()
            if not held.is_over:
                self._inside.add(held)
                self._run(self._preparers, held, self._prepare_step, then=self._ready.append)

    def _may_enter(self, held: Held) -> bool:
        if not self._inside:
            return True
        return not held.is_suspect and not any(other.is_suspect for other in self._inside)

    def _get(self, held: Held) -> None:
        self._run(self._getters, held, self._get_step, then=self._got.append)

    def _run(
        self,
        pool: ThreadPoolExecutor,
        held: Held,
        step: Callable[[Held], None],
        *,
        then: Callable[[Held], None],
    ) -> None:
        """Run `step` in the pool; `then` or the scan's failure follows on the loop."""

        def run() -> None:
            try:
                step(held)
            except Exception as error:
                self._events.put(partial(self._fail, held, error))
            else:
                self._events.put(lambda: None if held.is_over else then(held))

        pool.submit(run)

    def _get_step(self, held: Held) -> None:
        got: Bytes = self._source.get(held.claim.entry)
        held.data, held.input = got.data, got.input

    def _prepare_step(self, held: Held) -> None:
        prepared = self._preparer.prepare(held.data)
        held.prepared = prepared
        held.input = replace(
            held.input,
            mime=prepared.mime,
            width=prepared.facts.width,
            height=prepared.facts.height,
            frames=prepared.facts.frame_count,
        )

    def _prepare_again_step(self, held: Held, *, prepared: Prepared, frame: int) -> None:
        """Leave the array of one frame, re-encoded, or none: then the score stays unconfirmed."""
        held.prepared = replace(prepared, arrays=())
        try:
            array = self._preparer.prepare_again(held.data, frame)
        except Exception as error:
            _log_unconfirmed(held, error)
        else:
            held.prepared = replace(prepared, arrays=(array,))

    def _forward(self) -> None:
        """Give the engine what is ready, unless it is busy; one scan alone does not wait."""
        if self._is_hung():
            raise ModelHung(f"No answer of {self._engine} for {HANG_SECONDS} seconds.")
        batch = self._next_batch() if self._scoring_since is None else []
        if not batch:
            return
        self._tell([held.claim for held, _ in batch], Status.SCORING)
        self._scoring_since = self._clock.monotonic()
        scored = self._engine.score([array for _, prepared in batch for array in prepared.arrays])
        scored.add_done_callback(lambda done: self._events.put(partial(self._scored, batch, done)))

    def _is_hung(self) -> bool:
        since = self._scoring_since
        return since is not None and self._clock.monotonic() - since > HANG_SECONDS

    def _next_batch(self) -> list[tuple[Held, Prepared]]:
        batch: list[tuple[Held, Prepared]] = []
        room = self._engine.batch_limit
        while self._ready:
            held = self._ready[0]
            if held.prepared is not None:  # None: it ended while it waited here.
                if batch and len(held.prepared.arrays) > room:
                    break
                batch.append((held, held.prepared))
                room -= len(held.prepared.arrays)
            self._ready.popleft()
        return batch

    def _scored(
        self,
        batch: Sequence[tuple[Held, Prepared]],
        scored: Future[list[Reading | Exception]],
    ) -> None:
        self._scoring_since = None
        answers = iter(scored.result())
        for held, prepared in batch:
            own = [next(answers) for _ in prepared.arrays]
            try:
                self._weigh(held, prepared, own)
            except Exception as error:
                self._fail(held, error)

    def _weigh(
        self, held: Held, prepared: Prepared, answers: Sequence[Reading | Exception]
    ) -> None:
        """End the scan, or have a frame scored again first where its score accuses."""
        if held.is_over:
            return
        case = self._case(held, prepared)
        if held.readings:
            self._judge(held, prepared, case, again=_again(held, answers))
            return
        held.readings = tuple(readings(answers))
        frame = to_confirm(held.readings, case)
        if frame is None:
            self._judge(held, prepared, case, again=None)
            return
        step = partial(self._prepare_again_step, prepared=prepared, frame=frame)
        self._run(self._preparers, held, step, then=self._ready.appendleft)

    def _case(self, held: Held, prepared: Prepared) -> Case:
        return Case(
            point=held.claim.entry.operating_point,
            calibration_id=self._engine.detector.calibration_id,
            facts=replace(prepared.facts, is_client_supplied=held.input.fetched_by == "client"),
            declaration=prepared.declaration,
        )

    def _judge(self, held: Held, prepared: Prepared, case: Case, *, again: Reading | None) -> None:
        judgement = judge(held.readings, case, again=again)
        self._end(
            held, _completed(held, judgement, prepared, worker=self._worker, model=self._model)
        )

    def _fail(self, held: Held, error: Exception) -> None:
        if held.is_over:
            return
        if not isinstance(error, Refusal):
            _log_fault(held, error)
            error = _fault(error)
        self._end(held, _failed(held, error, worker=self._worker))

    def _end(self, held: Held, outcome: Outcome) -> None:
        if not held.is_over:
            self._let_go(held)
            self._outcomes.append((held, outcome))

    def _let_go(self, held: Held) -> None:
        held.is_over = True
        held.data, held.prepared, held.readings = b"", None, ()
        self._inside.discard(held)
        if self._last is held:
            self._last = None

    def _await(self) -> None:
        """Wait for an event, but not longer than until the next look; take all there are."""
        if self._outcomes and self._clock.monotonic() >= self._retry_at:
            return
        try:
            self._events.get(timeout=LOOK_SECONDS if self._has_room() else IDLE_SECONDS)()
            while True:
                self._events.get_nowait()()
        except Empty:
            return

    def _expire(self) -> None:
        now = self._clock.now()
        for held in list(self._held.values()):
            if now >= held.claim.entry.deadline:
                self._fail(held, overdue())

    def _publish(self) -> int:
        """Complete what has an outcome; keep it all where the ledger is unavailable."""
        if not self._outcomes or self._clock.monotonic() < self._retry_at:
            return 0
        outcomes, self._outcomes = self._outcomes, []
        try:
            accepted = self._ledger.complete([(held.claim, out) for held, out in outcomes])
        except Unavailable as error:
            self._outcomes = outcomes
            self._pause(error)
            return 0
        self._pause_seconds = PAUSE_SECONDS
        for (held, outcome), is_ours in zip(outcomes, accepted, strict=True):
            del self._held[held.claim.token]
            _log_end(held, outcome, is_ours=is_ours, now=self._clock.monotonic())
        return len(outcomes)

    def _pause(self, error: Unavailable) -> None:
        log.warning("ledger_unavailable", why=str(error), held=len(self._held))
        self._retry_at = self._clock.monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    def _tell(self, claims: Sequence[Claim], status: Status) -> None:
        """Say what is being done with these scans; nothing depends on it."""
        try:
            self._ledger.phase(claims, status.value)
        except Unavailable as error:
            log.debug("phase_not_told", why=str(error))

    def _heed_stop(self) -> None:
        """After a stop, give back what is not done in time, and forget it."""
        if not self._is_stopping:
            return
        now = self._clock.monotonic()
        if self._stop_by is None:
            self._stop_by = now + STOP_SECONDS
        if now < self._stop_by or not self._held:
            return
        left = list(self._held.values())
        log.info("scans_given_back", count=len(left))
        try:
            self._ledger.release([held.claim for held in left])
        except Unavailable as error:
            log.warning("scans_left_to_their_leases", why=str(error), count=len(left))
        for held in left:
            self._let_go(held)
        self._held.clear()
        self._outcomes.clear()

    @contextmanager
    def _leases_renewed(self) -> Iterator[None]:
        """Renew the leases of what is held, from a thread, as long as the work loop moves."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._beat_seconds):
                held = [held.claim for held in list(self._held.values())]
                if held and self.is_moving():
                    self._renew(held)

        thread = threading.Thread(target=renew, name="leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _renew(self, claims: Sequence[Claim]) -> None:
        try:
            self._ledger.renew(claims)
        except Unavailable as error:
            log.warning("leases_not_renewed", why=str(error), held=len(claims))


def _input_of(entry: Entry) -> Input:
    fetched_by = "client" if entry.kind is InputKind.UPLOAD else "server"
    return Input(kind=entry.kind, url=entry.url, fetched_by=fetched_by)


def _again(held: Held, answers: Sequence[Reading | Exception]) -> Reading | None:
    """The reading of the re-encoded frame, or None where there is none."""
    for answer in answers:  # One, or none.
        if not isinstance(answer, Exception):
            return answer
        _log_unconfirmed(held, answer)
    return None


def _completed(
    held: Held, judgement: Judgement, prepared: Prepared, *, worker: str, model: Model
) -> Outcome:
    return Outcome(
        scan_id=held.claim.entry.scan_id,
        attempt=held.claim.attempt,
        worker=worker,
        status=Status.COMPLETED,
        input=held.input,
        declaration=prepared.declaration,
        model=model,
        **asdict(judgement),
    )


def _failed(held: Held, refusal: Refusal, *, worker: str) -> Outcome:
    return Outcome(
        scan_id=held.claim.entry.scan_id,
        attempt=held.claim.attempt,
        worker=worker,
        status=Status.FAILED,
        input=held.input,
        error=refusal.as_error(),
    )


def _lost(claim: Claim) -> Refusal:
    return Refusal(
        ScanErrorCode.WORKER_LOST,
        f"A worker died or hung while it held this scan, {claim.attempt - 1} times.",
    )


def _fault(error: Exception) -> Refusal:
    """What a scan shows of a fault of ours: its kind; the rest is in the log."""
    return Refusal(
        ScanErrorCode.SCORING_FAILED,
        f"The worker met a fault of its own on this image ({type(error).__name__}).",
    )


def _log_fault(held: Held, error: Exception) -> None:
    entry = held.claim.entry
    log.error("scan_broke", scan_id=entry.scan_id, request_id=entry.request_id, exc_info=error)


def _log_unconfirmed(held: Held, error: Exception) -> None:
    entry = held.claim.entry
    about = {"scan_id": entry.scan_id, "request_id": entry.request_id}
    log.warning("score_unconfirmed", **about, exc_info=error)


def _log_end(held: Held, outcome: Outcome, *, is_ours: bool, now: float) -> None:
    """One line a scan. `scan_passed_on`: the lease was lost, so another's outcome counts."""
    entry = held.claim.entry
    log.info(
        f"scan_{outcome.status.value}" if is_ours else "scan_passed_on",
        scan_id=entry.scan_id,
        request_id=entry.request_id,
        code=outcome.error.code.value if outcome.error else None,
        verdict=outcome.verdict.value if outcome.verdict else None,
        attempt=outcome.attempt,
        duration_ms=round((now - held.since) * 1000, 1),
        url_host=_host(entry.url),
    )


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None
