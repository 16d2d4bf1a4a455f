"""From the model's answers on a batch of images to judgements: a score that accuses must hold.

    subjects, answers --read--> Look: readings, and the frame on which its verdict hangs, if any
                                  |                |
                                  |   bytes, prepare re-encoded, forward
                                  v                v
                                judge <---- reading, or none: then it confirms nothing

For those who score files in batches (predict.py, bulk/): what is wrong with one image is that
image's result, and the rest of the batch is judged. A worker does the same one image at a time, as
things happen (bench.py). Knows nothing of where bytes come from or how a judgement is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from sdk.wire import Declaration, PointName

from .engine import Engine, readings
from .intake import Preparer
from .ports import Reading
from .verdicts import Case, Facts, Judgement, judge, to_confirm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An image that was prepared. `data` gives its bytes, and is called for a second look only."""

    name: str
    """For the log."""
    frames: int
    """How many of the answers are its own."""
    facts: Facts
    declaration: Declaration | None
    data: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class _Look:
    """What the model said of a subject; the frame to be scored again, if its verdict needs it."""

    subject: Subject
    readings: Sequence[Reading]
    case: Case
    frame: int | None


class Confirmer:
    """Judges batches at one operating point after another. Owns none of its parts."""

    def __init__(self, preparer: Preparer, engine: Engine, pool: ThreadPoolExecutor) -> None:
        self._preparer = preparer
        self._engine = engine
        self._pool = pool

    def judge(
        self,
        subjects: Sequence[Subject],
        answers: Iterable[Reading | Exception],
        *,
        point: PointName,
    ) -> list[Judgement | Exception]:
        """Return a judgement for each subject, or the exception that stands in its way.

        `answers` are those of all frames, one subject's after another's. Blocks until the engine
        has scored again what must be.
        """
        rest = iter(answers)
        looks = [self._look(each, list(islice(rest, each.frames)), point) for each in subjects]
        again = self._again([each for each in looks if isinstance(each, _Look)])
        return [
            each
            if isinstance(each, Exception)
            else judge(each.readings, each.case, again=again.get(each))
            for each in looks
        ]

    def _look(
        self, subject: Subject, own: Sequence[Reading | Exception], point: PointName
    ) -> _Look | Exception:
        case = Case(
            point=point,
            calibration_id=self._engine.detector.calibration_id,
            facts=subject.facts,
            declaration=subject.declaration,
        )
        try:
            found = readings(own)
            return _Look(subject, found, case, to_confirm(found, case))
        except Exception as error:  # What the model makes of one image is that image's.
            return error

    def _again(self, looks: Iterable[_Look]) -> dict[_Look, Reading]:
        """Score again, re-encoded, the frames on which a verdict hangs.

        What cannot be had is logged and left out: that verdict is then not confirmed.
        """
        asked = [look for look in looks if look.frame is not None]
        if not asked:  # An empty batch, too, would wait for the one in the model.
            return {}
        arrays = list(self._pool.map(self._prepare_again, asked))
        ready = [each for each in arrays if not isinstance(each, Exception)]
        scored = iter(self._engine.score(ready).result())
        found = {}
        for look, array in zip(asked, arrays, strict=True):
            answer = array if isinstance(array, Exception) else next(scored)
            if isinstance(answer, Exception):
                log.warning("score_unconfirmed", input=look.subject.name, why=repr(answer))
            else:
                found[look] = answer
        return found

    def _prepare_again(self, look: _Look) -> NDArray[np.float32] | Exception:
        try:
            return self._preparer.prepare_again(look.subject.data(), look.frame or 0)
        except Exception as error:  # The score then stays unconfirmed.
            return error
