"""Loads a Detector by name, and runs it on one thread, in batches. Knows nothing of scans.

    arrays of one image --score--> waiting --a turn: what fits into one batch--> forward, finish
      from any thread                                | a batch that fails             |
                                                     +--> its arrays one by one ------+
    a promise of a reading or an exception for each array <---------------------------+

The thread takes its next batch itself, at the moment at which it is free: so the device never
waits for those who judge, publish or claim, a batch is as large as what waited meanwhile, and an
image that comes alone is begun at once. Bulk gives way to what people wait for (line.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from .line import Line
from .ports import Detector, Preprocessor, Reading
from .settings import WorkerSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = structlog.get_logger()


class DetectorUnusable(Exception):
    """The detector that PINCLIP_DETECTOR names cannot be used; the text says why, in a sentence."""


def load(settings: WorkerSettings) -> Detector:
    """Return the detector that the settings name, after one forward pass.

    Raises DetectorUnusable, whatever was wrong with it.
    """
    with _telling(settings):
        detector: Detector = _named(settings.detector)(
            **_weights(settings),
            engine=settings.engine,
            precision=settings.precision,
            batch_limit=settings.batch_limit,
        )
        _warm(detector)
    return detector


def load_preprocessor(settings: WorkerSettings) -> Preprocessor:
    """Return what prepares pictures for the detector that the settings name.

    That is a function of the same module, NAME_preprocessor if the detector is loaded by NAME. It
    is not asked of a detector to have one: without it, the whole of it is loaded.
    Raises DetectorUnusable, whatever was wrong with it.
    """
    with _telling(settings):
        found = _named(f"{settings.detector}_preprocessor", None)
        if found is not None:
            preprocessor: Preprocessor = found(**_weights(settings))
            return preprocessor
    return load(settings)


@dataclass(eq=False)
class _Job:
    arrays: Sequence[NDArray[np.float32]]
    promise: Future[list[Reading | Exception]]
    is_bulk: Callable[[], bool]


class Engine:
    """Sole owner of the thread on which `detector.forward` runs. Thread-safe."""

    def __init__(
        self, detector: Detector, *, batch_limit: int, now: Callable[[], float] = monotonic
    ) -> None:
        self.detector = detector
        self.batch_limit = min(batch_limit, detector.batch_limit)
        self.busy_since: float | None = None
        """When the batch in the model was begun, by `now`; None: there is none."""
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._waiting: Line[_Job] = Line(lambda job: job.is_bulk())

    def __repr__(self) -> str:
        return f"Engine({self.detector.weights_id}, batch_limit={self.batch_limit})"

    def score(
        self,
        arrays: Sequence[NDArray[np.float32]],
        *,
        first: bool = False,
        is_bulk: Callable[[], bool] = lambda: False,
    ) -> Future[list[Reading | Exception]]:
        """Promise a reading or an exception for each prepared array, (3, S, S), in this order.

        `first` goes before all of its priority that waits; `is_bulk` is asked at each batch, on
        any thread. The arrays of one call share a batch if they fit into one. A promise that is
        cancelled before its turn costs nothing.
        """
        job = _Job(arrays, Future(), is_bulk)
        self._waiting.put(job, first=first)
        self._thread.submit(self._turn)  # One a job: a turn may find that an earlier one took all.
        return job.promise

    def close(self) -> None:
        """Finish what was asked for, and end the thread."""
        self._thread.shutdown()

    def _turn(self) -> None:
        """Score what fits into one batch of what waits now."""
        jobs = self._take()
        if not jobs:
            return
        self.busy_since = self._now()
        answers = iter(self._score([array for job in jobs for array in job.arrays]))
        self.busy_since = None
        for job in jobs:
            job.promise.set_result([next(answers) for _ in job.arrays])

    def _take(self) -> list[_Job]:
        jobs = self._waiting.take(self._fitting)
        return [job for job in jobs if job.promise.set_running_or_notify_cancel()]

    def _fitting(self, waiting: Sequence[_Job]) -> list[_Job]:
        """Return the jobs of the next batch, in this order; one larger than a batch goes alone."""
        jobs: list[_Job] = []
        room = self.batch_limit
        for job in waiting:
            size = 0 if job.promise.cancelled() else len(job.arrays)
            if size > room < self.batch_limit:
                break
            jobs.append(job)
            room -= size
        return jobs

    def _score(self, arrays: Sequence[NDArray[np.float32]]) -> list[Reading | Exception]:
        answers: list[Reading | Exception] = []
        for start in range(0, len(arrays), self.batch_limit):
            answers += self._batch(arrays[start : start + self.batch_limit])
        return answers

    def _batch(self, arrays: Sequence[NDArray[np.float32]]) -> Sequence[Reading | Exception]:
        try:
            return self._forward(arrays)
        except Exception as error:  # The batch fails as one; find out which image it was.
            if len(arrays) == 1:
                return [error]
            log.warning("batch_failed", size=len(arrays), why=repr(error))
            return [self._batch([array])[0] for array in arrays]

    def _forward(self, arrays: Sequence[NDArray[np.float32]]) -> Sequence[Reading]:
        readings = self.detector.finish(self.detector.forward(np.stack(arrays)))
        if len(readings) != len(arrays):
            raise RuntimeError(f"The detector gave {len(readings)} readings for {len(arrays)}.")
        return readings


def readings(answers: Sequence[Reading | Exception]) -> list[Reading]:
    """Return the readings of one image's frames; raises the first exception among them."""
    found: list[Reading] = []
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
        found.append(answer)
    return found


@contextmanager
def _telling(settings: WorkerSettings) -> Iterator[None]:
    """Whatever goes wrong inside is DetectorUnusable, with what to do about it."""
    try:
        yield
    except ImportError as error:
        raise DetectorUnusable(
            f"The detector {settings.detector} needs what is not installed ({error}): "
            "pip install 'pinclip[worker]', or [torch] for PINCLIP_ENGINE=torch."
        ) from error
    except Exception as error:  # Weights are data: they can be wrong in any way.
        raise DetectorUnusable(f"The detector {settings.detector} did not load: {error}") from error


def _named(name: str, *default: None) -> Any:
    """Return the function that module:function names, or the default where there is none."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function, *default)


def _weights(settings: WorkerSettings) -> dict[str, str]:
    return {"weights": settings.weights} if settings.weights else {}


def _warm(detector: Detector) -> None:
    """Score one grey picture, so that the first scan does not pay for what comes once."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    (reading,) = detector.finish(detector.forward(detector.prepare(grey)[None]))
    if not 0.0 <= reading.score <= 1.0:
        raise ValueError(f"it gives a grey picture the score {reading.score}; its weights are bad")
