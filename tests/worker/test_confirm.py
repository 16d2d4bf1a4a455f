"""A batch is judged image by image, and a score that accuses is asked for twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from sdk.wire import PointName, Verdict
from worker.confirm import Confirmer, Subject
from worker.engine import Engine
from worker.intake import Preparer
from worker.ports import Reading
from worker.testing import FixedDetector, InProcessDecoder
from worker.verdicts import Judgement

Draw = Callable[..., bytes]


class Bytes:
    """The bytes of each image by name; writes down which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def of(self, name: str, data: bytes) -> Callable[[], bytes]:
        """Return what gives these bytes."""

        def get() -> bytes:
            self.asked.append(name)
            return data

        return get


@pytest.fixture
def preparer() -> Preparer:
    return Preparer(
        decoder=InProcessDecoder(), detector=FixedDetector(), read_declaration=lambda _: None
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine(FixedDetector(), batch_limit=4)
    yield found
    found.close()


@pytest.fixture
def confirmer(preparer: Preparer, engine: Engine) -> Iterator[Confirmer]:
    with ThreadPoolExecutor(2) as pool:
        yield Confirmer(preparer, engine, pool)


def _asked(
    preparer: Preparer, engine: Engine, kept: Bytes, **images: bytes
) -> tuple[list[Subject], list[Reading | Exception]]:
    """Prepare and score once."""
    ready = {name: preparer.prepare(data) for name, data in images.items()}
    subjects = [
        Subject(
            name=name,
            frames=len(each.arrays),
            facts=each.facts,
            declaration=each.declaration,
            data=kept.of(name, images[name]),
        )
        for name, each in ready.items()
    ]
    arrays = [array for each in ready.values() for array in each.arrays]
    return subjects, engine.score(arrays).result()


def _verdicts(judged: Sequence[Judgement | Exception]) -> list[Verdict | type[Exception]]:
    return [type(each) if isinstance(each, Exception) else each.verdict for each in judged]


def test_only_what_accuses_is_looked_at_twice_and_has_to_hold(
    confirmer: Confirmer, preparer: Preparer, engine: Engine, picture: Draw, flimsy: bytes
) -> None:
    kept = Bytes()
    subjects, answers = _asked(
        preparer,
        engine,
        kept,
        black=picture(0),
        flimsy=flimsy,
        grey=picture(128),
        white=picture(255),
    )

    judged = confirmer.judge(subjects, answers, point=PointName.BALANCED)

    assert sorted(kept.asked) == ["flimsy", "white"]
    assert _verdicts(judged) == [
        Verdict.NO_SIGN_OF_AI,
        Verdict.INCONCLUSIVE,
        Verdict.INCONCLUSIVE,
        Verdict.LIKELY_AI,
    ]


def test_what_is_wrong_with_one_image_leaves_the_others_their_own_answers(
    confirmer: Confirmer, preparer: Preparer, engine: Engine, picture: Draw
) -> None:
    subjects, answers = _asked(
        preparer, engine, Bytes(), white=picture(255), broken=picture(255), black=picture(0)
    )
    answers[1] = ValueError("the model gave nothing")

    judged = confirmer.judge(subjects, answers, point=PointName.BALANCED)

    assert _verdicts(judged) == [Verdict.LIKELY_AI, ValueError, Verdict.NO_SIGN_OF_AI]


def test_nobody_is_accused_when_the_bytes_are_gone(
    confirmer: Confirmer, preparer: Preparer, engine: Engine, picture: Draw
) -> None:
    def gone() -> bytes:
        raise FileNotFoundError("gone")

    kept = Bytes()
    (first, second), answers = _asked(preparer, engine, kept, a=picture(255), b=picture(255))
    lost = Subject(name="a", frames=1, facts=first.facts, declaration=None, data=gone)

    with structlog.testing.capture_logs() as logs:
        judged = confirmer.judge([lost, second], answers, point=PointName.BALANCED)

    assert _verdicts(judged) == [Verdict.INCONCLUSIVE, Verdict.LIKELY_AI]
    assert [(line["event"], line["input"]) for line in logs] == [("score_unconfirmed", "a")]
