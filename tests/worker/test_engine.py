"""The engine: batches, order, failures one by one, loading by name."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.contract import BULK_TURN
from worker.engine import DetectorUnusable, Engine, load
from worker.ports import Detector
from worker.settings import WorkerSettings
from worker.testing import FixedDetector, FixedReading

POISON = 0.5
"""Brightness that PoisonedDetector fails on."""


class PoisonedDetector(FixedDetector):
    """Fails on any batch that holds a POISON picture; notes batch sizes and threads."""

    def __init__(self, *, batch_limit: int = 8) -> None:
        super().__init__(batch_limit=batch_limit)
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        self.threads.add(threading.get_ident())
        if (batch == POISON).all(axis=(1, 2, 3)).any():
            raise ValueError("poison")
        return super().forward(batch)


class ShortDetector(FixedDetector):
    def finish(self, outputs: NDArray[np.float32]) -> list[FixedReading]:
        return list(super().finish(outputs))[:-1]


def _arrays(*brightness: float) -> list[NDArray[np.float32]]:
    return [np.full((3, 8, 8), value, np.float32) for value in brightness]


def _engine(detector: Detector, batch_limit: int = 8) -> Iterator[Engine]:
    engine = Engine(detector, batch_limit=batch_limit)
    yield engine
    engine.close()


@pytest.fixture
def detector() -> PoisonedDetector:
    return PoisonedDetector(batch_limit=4)


@pytest.fixture
def engine(detector: PoisonedDetector) -> Iterator[Engine]:
    yield from _engine(detector)


def _scores(answers: list[object]) -> list[object]:
    return [answer.score if isinstance(answer, FixedReading) else str(answer) for answer in answers]


def test_engine_answers_in_the_order_of_the_arrays(engine: Engine) -> None:
    answers = engine.score(_arrays(0.25, 1, 0)).result()

    assert _scores([*answers]) == [0.25, 1.0, 0.0]


def test_engine_keeps_to_the_smaller_batch_limit(
    engine: Engine, detector: PoisonedDetector
) -> None:
    engine.score(_arrays(*[0.25] * 9)).result()

    assert detector.sizes == [4, 4, 1]


def test_engine_fails_one_bad_image_alone(engine: Engine, detector: PoisonedDetector) -> None:
    answers = engine.score(_arrays(0.25, POISON, 1)).result()

    assert _scores([*answers]) == [0.25, "poison", 1.0]
    assert detector.sizes == [3, 1, 1, 1]


def test_engine_runs_the_model_on_one_thread_only(
    engine: Engine, detector: PoisonedDetector
) -> None:
    for promise in [engine.score(_arrays(0.25)) for _ in range(5)]:
        promise.result()

    assert len(detector.threads) == 1
    assert threading.get_ident() not in detector.threads


class GatedDetector(PoisonedDetector):
    """Each batch waits for `gate`, once `started` is set."""

    def __init__(self, *, batch_limit: int = 8) -> None:
        super().__init__(batch_limit=batch_limit)
        self.started, self.gate = threading.Event(), threading.Event()
        self.firsts: list[float] = []

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.firsts.append(float(batch[0, 0, 0, 0]))
        self.started.set()
        assert self.gate.wait(30)
        return super().forward(batch)


@pytest.fixture
def gated() -> Iterator[tuple[Engine, GatedDetector]]:
    detector = GatedDetector(batch_limit=4)
    for engine in _engine(detector):
        yield engine, detector
        detector.gate.set()


def test_engine_begins_at_once_and_then_takes_what_came_meanwhile(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    alone = engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    others = [engine.score(_arrays(*[0.125] * size)) for size in (1, 2, 1, 3, 2)]

    detector.gate.set()

    assert len(alone.result()) == 1
    assert [len(promise.result()) for promise in others] == [1, 2, 1, 3, 2]
    assert detector.sizes == [1, 4, 3, 2]  # No image is torn in two, or passed by another.


def test_engine_scores_an_image_of_more_frames_than_a_batch(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    detector.gate.set()

    assert len(engine.score(_arrays(*[0.125] * 6)).result()) == 6
    assert detector.sizes == [4, 2]


def test_engine_takes_first_what_is_asked_for_first(gated: tuple[Engine, GatedDetector]) -> None:
    engine, detector = gated
    engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    late = [engine.score(_arrays(0.125, 0.125, 0.125)), engine.score(_arrays(1), first=True)]

    detector.gate.set()
    for promise in late:
        promise.result()

    assert detector.firsts == [0.25, 1.0]


def test_engine_takes_bulk_after_what_people_wait_for(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    bulk = [engine.score(_arrays(0.125, 0.125), is_bulk=lambda: True) for _ in range(2)]
    again = engine.score(_arrays(0), first=True, is_bulk=lambda: True)
    late = [engine.score(_arrays(1, 1, 1))]

    detector.gate.set()
    for promise in [*bulk, again, *late]:
        promise.result()

    assert detector.firsts == [0.25, 1.0, 0.125]
    assert detector.sizes == [1, 4, 4]  # `again` took the room that was left.


def test_engine_takes_bulk_first_in_one_batch_of_eight(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    promises = [engine.score(_arrays(0.125), is_bulk=lambda: True) for _ in range(5)]
    promises += [engine.score(_arrays(1, 1)) for _ in range(40)]

    detector.gate.set()
    for promise in promises:
        promise.result()

    # The first was alone, when no bulk waited. The fifth of bulk is in what the people left over.
    bulk = [turn for turn, first in enumerate(detector.firsts) if first == 0.125]
    assert (bulk, BULK_TURN) == ([8, 16], 8)
    assert detector.sizes[8] == 4


def test_engine_takes_what_a_person_has_come_to_wait_for(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    joined = threading.Event()
    bulk = engine.score(_arrays(*[0.125] * 4), is_bulk=lambda: True)
    shared = engine.score(_arrays(*[1.0] * 4), is_bulk=lambda: not joined.is_set())

    joined.set()
    detector.gate.set()
    for promise in (bulk, shared):
        promise.result()

    assert detector.firsts == [0.25, 1.0, 0.125]


def test_engine_spends_nothing_on_what_is_no_longer_wanted(
    gated: tuple[Engine, GatedDetector],
) -> None:
    engine, detector = gated
    engine.score(_arrays(0.25))
    assert detector.started.wait(30)
    dropped, wanted = engine.score(_arrays(*[0.5] * 4)), engine.score(_arrays(1))

    assert dropped.cancel()
    detector.gate.set()
    wanted.result()

    assert detector.sizes == [1, 1]


def test_engine_tells_since_when_a_batch_is_in_the_model() -> None:
    detector, times = GatedDetector(), iter([5.0, 9.0])
    engine = Engine(detector, batch_limit=8, now=lambda: next(times))
    assert engine.busy_since is None

    for since in (5.0, 9.0):
        detector.started.clear()
        promise = engine.score(_arrays(0.25))
        assert detector.started.wait(30)
        assert engine.busy_since == since
        detector.gate.set()
        promise.result()
        assert engine.busy_since is None
        detector.gate.clear()

    detector.gate.set()
    engine.close()


def test_engine_does_not_guess_when_readings_are_missing() -> None:
    for engine in _engine(ShortDetector()):
        answers = engine.score(_arrays(0.25, 1)).result()

        assert all(isinstance(answer, RuntimeError) for answer in answers)


def test_load_finds_the_detector_by_name() -> None:
    settings = WorkerSettings(detector="worker.testing:load_fixed", batch_limit=3)

    assert load(settings).batch_limit == 3


def test_load_takes_the_weights_that_are_named() -> None:
    with pytest.raises(DetectorUnusable, match="No weights named 'mine' are installed"):
        load(WorkerSettings(weights="mine"))


LOADERS = """
def missing_extra(**_): import no_such_module
def damaged(**_): raise ValueError("model.safetensors is damaged: install the weights again")
def nan(**_):
    from worker.testing import FixedDetector, FixedReading
    class Nan(FixedDetector):
        def finish(self, outputs): return [FixedReading(score=float("nan"), probability=None)]
    return Nan()
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_room:load", "pip install 'pinclip[worker]'"),
        ("odd_loaders:missing_extra", "no_such_module"),
        ("odd_loaders:damaged", "install the weights again"),
        ("odd_loaders:nan", "weights are bad"),
        ("odd_loaders:nothing", "nothing"),
        ("odd_loaders", "did not load"),
        ("", "did not load"),
    ],
)
def test_load_says_in_a_sentence_why_a_detector_cannot_be_used(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_loaders.py").write_text(LOADERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_loaders", raising=False)

    with pytest.raises(DetectorUnusable) as error:
        load(WorkerSettings(detector=name))

    assert said in str(error.value)
    assert "\n" not in str(error.value)
