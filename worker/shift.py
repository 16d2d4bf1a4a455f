"""Does the scans that wait: claims, has them judged, completes. No I/O of its own.

    claim --> Held --> Bench: get, prepare, score, judge --> Outcome --> complete
      ^        |        `- a hundred scans of one image are worked on as one
      |        +-- its deadline passes, or the worker is told to stop: fail, or give back
      +-- room for more

All decisions are taken on the thread that calls `work`. At most `in_flight` images are worked on,
for at most SHARED times as many scans. Bulk may hold three quarters of these places: in the rest a
person who comes is begun at once, and in the bench goes first. Leases are renewed from a thread of
their own, as long as the work loop moves.

A scan that saw its worker die (attempt 2) is fetched beside the others but decoded and scored
alone, and shares its look with none; on its last attempt it has the whole worker to itself. An
image that kills workers thus takes no other scan with it to `worker_lost`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import structlog
from msgspec.structs import asdict, replace

from sdk.codes import ScanErrorCode
from sdk.wire import Model, Status

from .bench import Bench
from .contract import ATTEMPT_LIMIT, BEAT_SECONDS, DEADLINE_SECONDS, Outcome
from .engine import Engine
from .intake import Preparer, Source, overdue
from .known import Known, case, waits_for
from .looks import Held, Span, input_of
from .ports import Cache, Claim, Clock, Ledger, Refusal, Unavailable, judge
from .tracing import Tracing
from .verdicts import Judgement

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
SHARED = 8
"""Scans held for each image that may be worked on: those of the same image cost next to nothing."""
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
"""Between two tries while the ledger is unavailable: doubled each time up to the longest."""

log = structlog.get_logger()


class ModelHung(Exception):
    """The model has not answered for HANG_SECONDS; this process can do no more scans."""


class Shift:
    """A worker's scans. `work` is called by one thread at a time; `stop` may come from a signal."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        source: Source,
        preparer: Preparer,
        engine: Engine,
        cache: Cache,
        clock: Clock,
        worker: str,
        in_flight: int = 32,
        prepare_threads: int = 3,
        beat_seconds: float = BEAT_SECONDS,
        tracing: Tracing | None = None,
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._clock = clock
        self._worker = worker
        self._in_flight = in_flight
        self._beat_seconds = beat_seconds
        self._tracing = tracing or Tracing()
        detector = engine.detector
        self._model = Model(id=detector.weights_id, weights_sha256=detector.weights_sha256)
        self._judge = judge(detector)

        self._bench = Bench(
            source=source,
            preparer=preparer,
            engine=engine,
            cache=cache,
            clock=clock,
            get_threads=in_flight,
            prepare_threads=prepare_threads,
            on_judged=self._complete,
            on_failed=self._fail,
        )
        self._held: dict[str, Held] = {}
        self._last: Held | None = None
        """On its last attempt, and not started as long as others are held."""
        self._untold: list[Held] = []
        """Whose phase nobody knows yet; what is known at once is done before it is told."""
        self._outcomes: list[tuple[Held, Outcome]] = []

        self._is_stopping = False
        self._stop_by: float | None = None
        self._look_at = self._retry_at = self._moved_at = clock.monotonic()
        self._pause_seconds = PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"Shift({self._worker}, holds {len(self._held)}, works on {len(self._bench)})"

    def work(self) -> int:
        """Do scans until none waits and none is held, or until a stop; return how many ended.

        Raises Unavailable if the ledger cannot be asked and nothing is held, and ModelHung.
        """
        done = 0
        with self._leases_renewed():
            while self._claim() or self._held:
                self._check_model()
                self._begin_last()
                self._bench.admit()
                self._await()
                self._tell_phases()
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
        self._bench.close()

    def _claim(self) -> bool:
        """Take what there is room for; True if that was anything."""
        self.touch()
        count = 0
        while self._may_look():
            room = self._room()
            claims = self._claimed(room)
            for claim in claims:
                self._take(claim)
            count += len(claims)
            if len(claims) < room:
                break
        return count > 0

    def _claimed(self, room: int) -> list[Claim]:
        try:
            claims = self._ledger.claim(room, bulk=self._bulk_room())
        except Unavailable as error:
            if not self._held:
                raise
            self._pause(error)
            return []
        if not claims:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
        return claims

    def _may_look(self) -> bool:
        now = self._clock.monotonic()
        is_time = now >= self._retry_at and (now >= self._look_at or not self._held)
        return is_time and self._has_room()

    def _has_room(self) -> bool:
        if self._is_stopping or self._room() < 1:
            return False
        return all(held.claim.attempt < ATTEMPT_LIMIT for held in self._held.values())

    def _room(self) -> int:
        """How many scans may be claimed, should each be of another image."""
        return min(self._in_flight - len(self._bench), SHARED * self._in_flight - len(self._held))

    def _bulk_room(self) -> int:
        """How many of them may be bulk, which leaves a quarter of the places to people."""
        most = max(1, self._in_flight * 3 // 4)
        scans = sum(held.is_bulk for held in self._held.values())
        return max(0, min(most - self._bench.bulk(), SHARED * most - scans))

    def _take(self, claim: Claim) -> None:
        held = Held(claim=claim, since=self._clock.monotonic(), input=input_of(claim.entry))
        accepted_at = claim.entry.deadline - DEADLINE_SECONDS
        held.spans.append(Span("wait", accepted_at, self._clock.now()))
        self._held[claim.token] = held
        self._untold.append(held)
        if claim.attempt > ATTEMPT_LIMIT:
            self._fail(held, _lost(claim))
        elif claim.attempt == ATTEMPT_LIMIT:
            self._last = held
        else:
            self._bench.begin(held)

    def _begin_last(self) -> None:
        if self._last is not None and len(self._held) == 1:
            self._bench.begin(self._last)
            self._last = None

    def _check_model(self) -> None:
        if self._is_hung():
            raise ModelHung(f"No answer of {self._engine} for {HANG_SECONDS} seconds.")

    def _is_hung(self) -> bool:
        since = self._engine.busy_since
        return since is not None and self._clock.monotonic() - since > HANG_SECONDS

    def _complete(self, held: Held, known: Known, judgement: Judgement) -> None:
        outcome = _completed(held, judgement, known, worker=self._worker, model=self._model)
        if self._is_last_word(held, known):
            outcome = replace(outcome, judge=self._judge, fresh_until=held.fresh_until)
        self._end(held, outcome)

    def _is_last_word(self, held: Held, known: Known) -> bool:
        """False for a verdict that another look might change: its second score could not be had."""
        asked = case(
            known,
            point=held.claim.entry.operating_point,
            calibration_id=self._engine.detector.calibration_id,
            seen_as=held.input,
        )
        return waits_for(known, asked) is None

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
            self._outcomes.append((held, replace(outcome, seconds=held.seconds())))
            self._trace(held)

    def _trace(self, held: Held) -> None:
        entry = held.claim.entry
        about = {"scan_id": entry.scan_id}
        for stage, began, ended in held.spans:
            self._tracing.record(
                stage, parent=entry.traceparent, began=began, ended=ended, attributes=about
            )

    def _let_go(self, held: Held) -> None:
        held.is_over = True
        if self._last is held:
            self._last = None
        self._bench.leave(held)

    def _await(self) -> None:
        """Let things happen, but not longer than until the next look or outcome."""
        if self._outcomes and self._clock.monotonic() >= self._retry_at:
            return
        is_soon = self._untold or self._has_room()
        self._bench.attend(LOOK_SECONDS if is_soon else IDLE_SECONDS)

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

    def _tell_phases(self) -> None:
        """Say what is being done with scans; nothing depends on it."""
        told, self._untold = self._untold, []
        self._tell(told, Status.FETCHING)
        self._tell(self._bench.at_model(), Status.SCORING)

    def _tell(self, scans: Sequence[Held], status: Status) -> None:
        claims = [held.claim for held in scans if not held.is_over]
        if not claims:
            return
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


def _completed(
    held: Held, judgement: Judgement, known: Known, *, worker: str, model: Model
) -> Outcome:
    return Outcome(
        scan_id=held.claim.entry.scan_id,
        attempt=held.claim.attempt,
        worker=worker,
        status=Status.COMPLETED,
        input=held.input,
        declaration=known.declaration,
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
        is_cached=held.is_cached,
        duration_ms=round((now - held.since) * 1000, 1),
        url_host=_host(entry.url),
    )


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None
