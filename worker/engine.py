"""Loads a Detector by name, and runs it on one thread, in batches. Knows nothing of scans.

arrays --score--> [<= batch_limit arrays] --forward, finish--> a reading each
                         | a batch that fails
                         +--> its arrays one by one --> a reading or an exception each
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import structlog

from .ports import Detector, Reading
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
    try:
        chosen = {"weights": settings.weights} if settings.weights else {}
        detector = _named(settings.detector)(
            **chosen,
            engine=settings.engine,
            precision=settings.precision,
            batch_limit=settings.batch_limit,
        )
        _warm(detector)
    except ImportError as error:
        raise DetectorUnusable(
            f"The detector {settings.detector} needs what is not installed ({error}): "
            "pip install 'pinclip[worker]', or [torch] for PINCLIP_ENGINE=torch."
        ) from error
    except Exception as error:  # Weights are data: they can be wrong in any way.
        raise DetectorUnusable(f"The detector {settings.detector} did not load: {error}") from error
    return detector


class Engine:
    """Sole owner of the thread on which `detector.forward` runs."""

    def __init__(self, detector: Detector, *, batch_limit: int) -> None:
        self.detector = detector
        self.batch_limit = min(batch_limit, detector.batch_limit)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")

    def __repr__(self) -> str:
        return f"Engine({self.detector.weights_id}, batch_limit={self.batch_limit})"

    def score(self, arrays: Sequence[NDArray[np.float32]]) -> Future[list[Reading | Exception]]:
        """Promise a reading or an exception for each prepared array, (3, S, S), in this order."""
        return self._thread.submit(self._score, arrays)

    def close(self) -> None:
        """Finish what was asked for, and end the thread."""
        self._thread.shutdown()

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


def _named(name: str) -> Callable[..., Detector]:
    module, _, function = name.partition(":")
    loader: Callable[..., Detector] = getattr(import_module(module), function)
    return loader


def _warm(detector: Detector) -> None:
    """Score one grey picture, so that the first scan does not pay for what comes once."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    (reading,) = detector.finish(detector.forward(detector.prepare(grey)[None]))
    if not 0.0 <= reading.score <= 1.0:
        raise ValueError(f"it gives a grey picture the score {reading.score}; its weights are bad")
