"""The image side of a worker: gets, recalls, prepares, scores, confirms, for whoever waits.

    begin --> Get: fetch or read --------> Look --> recall: the cache, another worker --> known
              (one a place, a thread each) (one an image, a thread each)
                                             |
                        judged, each scan    v
                        for itself         admit --> prepare: decode, resize
                             ^                       (a small pool)
                             |                          |
                             +-- known <-- forward: the engine takes a batch of what waits <--+
                                   |       (one thread)                                       |
                                   +-- a score that accuses --> prepare again, re-encoded ----+

All decisions are taken on the thread that calls; the other threads run one step of one look and
put what came of it on `_events`. So a slow fetch holds back nobody. What is prepared goes to the
engine at once and not by way of the calling thread, so the model does not wait while that one
talks to Redis. Decoded pictures exist only inside the small pool, which is why a picture to be
scored again is decoded again from its bytes.

What waits to be admitted, for the small pool and for the model stands in a Line each: an image
for which a person waits goes before those for which only bulk does.

A suspect shares its look with none, and is prepared and scored while nothing else is. Knows
nothing of leases, outcomes or the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import structlog
from msgspec.structs import replace

from sdk.codes import ScanErrorCode

from .engine import Engine, readings
from .intake import Bytes, Prepared, Preparer, Source, recall
from .known import Known, case, judged, waits_for
from .line import Line
from .looks import Get, Held, Look, Span, credit
from .ports import Cache, Clock, Reading, Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .contract import Entry
    from .verdicts import Case, Judgement

BEHIND = 64
"""While so many images wait to be kept, features are not: they are 30 times what is said of one."""

T = TypeVar("T")
log = structlog.get_logger()


class Bench:
    """Works on images for the scans that wait for them. For one thread.

    `on_judged` and `on_failed` are called, on that thread, for each scan that is done; whoever is
    called takes the scan away by `leave`.
    """

    def __init__(
        self,
        *,
        source: Source,
        preparer: Preparer,
        engine: Engine,
        cache: Cache,
        clock: Clock,
        get_threads: int,
        prepare_threads: int,
        on_judged: Callable[[Held, Known, Judgement], None],
        on_failed: Callable[[Held, Exception], None],
    ) -> None:
        self._source = source
        self._preparer = preparer
        self._engine = engine
        self._cache = cache
        self._clock = clock
        self._on_judged = on_judged
        self._on_failed = on_failed
        self._getters = ThreadPoolExecutor(get_threads, thread_name_prefix="get")
        self._preparers = ThreadPoolExecutor(prepare_threads, thread_name_prefix="prepare")
        # Not among the getters: they may all be waiting for what others remember.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._keeping: list[Future[None]] = []
        """What was given to the keeper, without what it did when last asked."""
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()

        self._work: set[Get | Look] = set()
        """What is under way; an event about anything else comes too late."""
        self._gets: dict[str, Get] = {}
        """By place: what a scan of the same place may join, until its image is judged."""
        self._looks: dict[str, Look] = {}
        """By digest of the bytes, likewise."""
        self._queue: Line[Look] = Line(lambda look: look.is_bulk)
        """What waits for admission."""
        self._steps: Line[tuple[Look, Callable[[], None]]] = Line(lambda step: step[0].is_bulk)
        """What waits for a thread of the small pool."""
        self._inside: set[Look] = set()
        """Between admission and outcome: where an image could kill the process."""
        self._at_model: list[Held] = []
        """Scans whose image went to the engine since `at_model` was last asked."""

    def __len__(self) -> int:
        """How many images are worked on."""
        return len(self._work)

    def bulk(self) -> int:
        """How many of them only bulk waits for."""
        return sum(at.is_bulk for at in self._work)

    def begin(self, held: Held) -> None:
        """Get the scan's bytes, or join those who are getting or looking at them."""
        place = self._source.place(held.claim.entry)
        get = None if held.is_suspect else self._gets.get(place)
        if get is not None:
            self._join(get, held)
            return
        get = Get(place, held.is_suspect)
        get.join(held)
        if not get.is_suspect:
            self._gets[place] = get
        self._work.add(get)
        self._get(get)

    def leave(self, held: Held) -> None:
        """Let the scan wait no more, and drop what nobody else waits for."""
        at, held.at = held.at, None
        if at is None:
            return
        at.waiting.remove(held)
        if not at.waiting:
            self._drop(at)

    def admit(self) -> None:
        """Let what was got be prepared; a suspect only while nothing else is inside."""
        while entering := self._queue.take(self._entering):
            for look in entering:
                if look in self._work:
                    self._inside.add(look)
                    self._prepare(look)

    def attend(self, seconds: float) -> None:
        """Wait so long for something to happen, and deal with all that has."""
        try:
            self._events.get(timeout=seconds)()
            while True:
                self._events.get_nowait()()
        except Empty:
            return

    def at_model(self) -> list[Held]:
        """Return the scans whose image went to the engine since this was last asked."""
        found, self._at_model = self._at_model, []
        return found

    def close(self) -> None:
        """End the threads; those in the middle of a step end with it."""
        self._getters.shutdown(wait=False, cancel_futures=True)
        self._preparers.shutdown(wait=False, cancel_futures=True)
        self._keeper.shutdown(cancel_futures=True)
        self._engine.close()

    def _join(self, get: Get, held: Held) -> None:
        if get.look is None:
            get.join(held)
            return
        get.look.join(held, get)
        if get.look.known is not None:
            self._weigh(get.look)

    def _get(self, get: Get) -> None:
        """Get the bytes, for as long as any of those who wait has time."""
        entries = [held.claim.entry for held in get.waiting]
        deadline = max(entry.deadline for entry in entries)
        step = partial(self._get_step, get, entries[0], deadline)
        self._run(
            self._getters.submit,
            step,
            then=partial(self._got, get),
            failed=partial(self._ungot, get),
        )

    def _get_step(self, get: Get, entry: Entry, deadline: float) -> Bytes:
        with self._timed(get, "fetch"):
            return self._source.get(entry, deadline=deadline)

    @contextmanager
    def _timed(self, at: Get | Look, stage: str) -> Iterator[None]:
        began = self._clock.now()
        try:
            yield
        finally:
            at.spans.append(Span(stage, began, self._clock.now()))

    def _run(
        self,
        submit: Callable[[Callable[[], None]], object],
        step: Callable[[], T],
        *,
        then: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `step` in a pool; `then` its result, or `failed` what it raised, on the loop."""

        def run() -> None:
            try:
                result = step()
            except Exception as error:
                self._events.put(partial(failed, error))
            else:
                self._events.put(partial(then, result))

        submit(run)

    def _ungot(self, get: Get, error: Exception) -> None:
        """Fail those who wait, except those who have time left where it ran out for others."""
        if get not in self._work:
            return
        credit(get)
        is_overdue = isinstance(error, Refusal) and error.code is ScanErrorCode.DEADLINE_EXCEEDED
        for held in list(get.waiting):
            if not is_overdue or self._clock.now() >= held.claim.entry.deadline:
                self._on_failed(held, error)
        if get.waiting:
            self._get(get)

    def _got(self, get: Get, got: Bytes) -> None:
        """Look at the image, or join those who are looking at the very same bytes."""
        if get not in self._work:
            return
        look = None if get.is_suspect else self._looks.get(got.sha256)
        is_new = look is None
        look = look or self._look(get, got)
        get.got, get.look = got, look
        look.gets.append(get)
        self._work.discard(get)
        credit(get)
        waiting, get.waiting = get.waiting, []
        for held in waiting:
            look.join(held, get)
        if look.known is not None:
            self._weigh(look)
        elif is_new:
            self._recall(look)

    def _look(self, get: Get, got: Bytes) -> Look:
        look = Look(got, get.is_suspect, known=got.known)
        self._work.add(look)
        if not look.is_suspect:
            self._looks[look.sha256] = look
        return look

    def _recall(self, look: Look) -> None:
        """Admit the image, once no other worker is looking at it."""
        if look.is_suspect:
            self._queue.put(look)
            return
        step = partial(
            recall,
            self._cache,
            look.sha256,
            clock=self._clock,
            is_wanted=lambda: look in self._work,
        )
        self._run(
            self._getters.submit,
            step,
            then=partial(self._recalled, look),
            failed=partial(self._fail_all, look),
        )

    def _recalled(self, look: Look, known: Known | None) -> None:
        look.is_claimed = known is None
        if look not in self._work:
            self._remember(look)
            return
        if known is None:
            self._queue.put(look)
            return
        look.known = known
        look.describe()
        self._weigh(look)

    def _entering(self, waiting: Sequence[Look]) -> list[Look]:
        return [look for look in waiting[:1] if self._may_enter(look)]

    def _may_enter(self, look: Look) -> bool:
        if not self._inside:
            return True
        return not look.is_suspect and not any(other.is_suspect for other in self._inside)

    def _prepare(self, look: Look) -> None:
        if look.frame is None:
            self._run(
                partial(self._in_turn, look),
                partial(self._prepare_step, look),
                then=partial(self._prepared, look),
                failed=partial(self._fail_all, look),
            )
        else:
            self._run(
                partial(self._in_turn, look),
                partial(self._prepare_again_step, look, look.frame),
                then=lambda _: None,
                failed=partial(self._unconfirmed, look),
            )

    def _in_turn(self, look: Look, run: Callable[[], None]) -> None:
        """Have the small pool run this for the look; which comes next, its threads ask the line."""
        self._steps.put((look, run))
        self._preparers.submit(self._next)

    def _next(self) -> None:
        for _, run in self._steps.take(lambda waiting: list(waiting[:1])):
            run()

    def _prepare_step(self, look: Look) -> Prepared:
        with self._timed(look, "decode"):
            prepared = self._preparer.prepare(look.got.data)
        look.prepared = replace(prepared, arrays=())
        self._score(look, prepared.arrays)
        return look.prepared

    def _prepare_again_step(self, look: Look, frame: int) -> None:
        with self._timed(look, "decode"):
            array = self._preparer.prepare_again(look.got.data, frame)
        self._score(look, (array,), first=True)

    def _score(
        self, look: Look, arrays: Sequence[NDArray[np.float32]], *, first: bool = False
    ) -> None:
        """Have the engine score these as soon as it is free; called on a thread of the pool."""
        if look not in self._work:
            return
        began = self._clock.now()

        def scored(done: Future[list[Reading | Exception]]) -> None:
            look.spans.append(Span("score", began, self._clock.now()))
            self._events.put(partial(self._scored, look, done))

        look.promise = self._engine.score(arrays, first=first, is_bulk=lambda: look.is_bulk)
        look.promise.add_done_callback(scored)

    def _prepared(self, look: Look, _prepared: Prepared) -> None:
        look.describe()
        self._at_model += look.waiting

    def _scored(self, look: Look, scored: Future[list[Reading | Exception]]) -> None:
        """Take what the model said of the image, or of one of its frames, re-encoded."""
        if look not in self._work:
            return
        look.describe()  # The model may be faster than the news that the image is prepared.
        try:
            look.learn(readings(scored.result()))
        except Exception as error:
            (self._fail_all if look.known is None else self._unconfirmed)(look, error)
        else:
            self._weigh(look)

    def _weigh(self, look: Look) -> None:
        """End the scans that can be judged; have a frame scored again for those it accuses."""
        if look.known is None:
            return
        credit(look)
        frame = None
        for held in list(look.waiting):
            try:
                asked = self._case(held, look.known)
                missing = waits_for(look.known, asked)
                if missing is None:
                    self._judge(held, look, asked)
                else:
                    frame = missing
            except Exception as error:
                self._on_failed(held, error)
        if frame is not None and look.frame is None:
            look.frame = frame
            self._confirm(look)

    def _confirm(self, look: Look) -> None:
        if look in self._inside:
            self._prepare(look)
        else:
            self._queue.put(look)

    def _unconfirmed(self, look: Look, error: Exception) -> None:
        """Judge those who waited for the re-encoded score without it."""
        if look not in self._work or look.known is None:
            return
        credit(look)
        for held in list(look.waiting):
            _log_unconfirmed(held, error)
            self._judge(held, look, self._case(held, look.known))

    def _case(self, held: Held, known: Known) -> Case:
        return case(
            known,
            point=held.claim.entry.operating_point,
            calibration_id=self._engine.detector.calibration_id,
            seen_as=held.input,
        )

    def _judge(self, held: Held, look: Look, asked: Case) -> None:
        if look.known is None:
            return
        held.is_cached = not look.is_news
        self._on_judged(held, look.known, judged(look.known, asked))

    def _fail_all(self, look: Look, error: Exception) -> None:
        """Fail those who wait: it is the image's fault, or ours on this image."""
        if look in self._work:
            credit(look)
            for held in list(look.waiting):
                self._on_failed(held, error)

    def _drop(self, at: Get | Look) -> None:
        """Forget what nobody waits for any more; what a step still brings of it is dropped."""
        self._work.discard(at)
        for get in [at] if isinstance(at, Get) else at.gets:
            if self._gets.get(get.place) is get:
                del self._gets[get.place]
        if isinstance(at, Get):
            return
        if self._looks.get(at.sha256) is at:
            del self._looks[at.sha256]
        self._inside.discard(at)
        if at.promise is not None:
            at.promise.cancel()
        self._remember(at)

    def _remember(self, look: Look) -> None:
        """Let the other workers have what was learnt, or their turn at it."""
        if look.known is not None and look.is_news:
            self._keeping = [kept for kept in self._keeping if not kept.done()]
            features = look.features if len(self._keeping) < BEHIND else None
            kept = self._keeper.submit(self._cache.keep, look.sha256, look.known, features)
            self._keeping.append(kept)
        elif look.is_claimed:
            self._keeper.submit(self._cache.release, look.sha256)


def _log_unconfirmed(held: Held, error: Exception) -> None:
    entry = held.claim.entry
    about = {"scan_id": entry.scan_id, "request_id": entry.request_id}
    log.warning("score_unconfirmed", **about, exc_info=error)
