"""What is known of an image judges it as a model that just saw it would."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from sdk.wire import Declaration, Input, InputKind, PointName, Verdict
from worker.known import (
    About,
    Again,
    Known,
    KnownReading,
    Part,
    case,
    is_enough,
    judged,
    of,
    reread,
    waits_for,
)
from worker.testing import FixedReading, HeadedDetector
from worker.verdicts import Facts

BY_SERVER = Input(kind=InputKind.URL, fetched_by="server")
BY_CLIENT = Input(kind=InputKind.UPLOAD, fetched_by="client")
DECLARATION = Declaration(kind="xmp", trust="unsigned")


def _reading(score: float) -> KnownReading:
    return of(FixedReading(score=score, probability=score))


def _known(*scores: float, again: tuple[int, float] | None = None) -> Known:
    return Known(
        readings=tuple(map(_reading, scores)),
        mime="image/png",
        facts=Facts(width=300, height=300, frame_count=len(scores), sampled=len(scores)),
        declaration=None,
        again=Again(again[0], _reading(again[1])) if again else None,
    )


def _verdict(known: Known, point: PointName) -> Verdict:
    return judged(known, case(known, point=point, calibration_id="c", seen_as=BY_SERVER)).verdict


@pytest.mark.parametrize(
    ("known", "point", "frame"),
    [
        (_known(0.2), PointName.SENSITIVE, None),
        (_known(0.7), PointName.BALANCED, None),
        (_known(0.7), PointName.SENSITIVE, 0),
        (_known(0.1, 0.7), PointName.SENSITIVE, 1),
        (_known(0.1, 0.7, again=(1, 0.1)), PointName.SENSITIVE, None),
        (_known(0.1, 0.7, again=(0, 0.7)), PointName.SENSITIVE, 1),
        (replace(_known(0.95), declaration=DECLARATION), PointName.STRICT, None),
    ],
    ids=["clear", "between", "accused", "frame", "again", "another frame", "declared"],
)
def test_waits_for_the_reading_that_a_verdict_hangs_on(
    known: Known, point: PointName, frame: int | None
) -> None:
    asked = case(known, point=point, calibration_id="c", seen_as=BY_SERVER)

    assert waits_for(known, asked) == frame


@pytest.mark.parametrize(
    ("known", "enough"),
    [
        (_known(0.2), True),
        (_known(0.59), True),
        (_known(0.61), False),
        (_known(0.95), False),
        (_known(0.95, again=(0, 0.1)), True),
        (_known(0.1, 0.95, again=(0, 0.9)), False),
        (replace(_known(0.95), declaration=DECLARATION), True),
    ],
)
def test_is_enough_where_no_operating_point_needs_the_bytes(known: Known, enough: bool) -> None:
    assert is_enough(known) is enough


@pytest.mark.parametrize("again", [None, (0, 0.1), (0, 0.65), (0, 0.99)])
def test_known_judges_the_same_after_a_journey(again: tuple[int, float] | None) -> None:
    decoder = msgspec.msgpack.Decoder(Known)
    scores = [0.0, 0.29999999999999999, 0.3, 0.6, 0.7, 0.8, 0.9, 1 / 3, 1.0]
    for score, point in itertools.product(scores, PointName):
        known = _known(score, again=again)
        travelled = decoder.decode(msgspec.msgpack.encode(known))

        for seen_as in (BY_SERVER, BY_CLIENT):
            asked = case(known, point=point, calibration_id="c", seen_as=seen_as)
            again_asked = case(travelled, point=point, calibration_id="c", seen_as=seen_as)
            assert judged(travelled, again_asked) == judged(known, asked)


def test_judged_accuses_nobody_without_the_reading_that_was_missing() -> None:
    assert _verdict(_known(0.95), PointName.STRICT) is Verdict.INCONCLUSIVE
    assert _verdict(_known(0.95, again=(0, 0.95)), PointName.STRICT) is Verdict.LIKELY_AI
    assert _verdict(_known(0.95, again=(0, 0.1)), PointName.STRICT) is Verdict.INCONCLUSIVE


def test_case_says_who_sent_the_bytes() -> None:
    known = _known(0.2)

    by = [
        judged(known, case(known, point=PointName.STRICT, calibration_id="c", seen_as=seen_as))
        for seen_as in (BY_SERVER, BY_CLIENT)
    ]

    assert [judgement.warnings for judgement in by] == [(), ("client_supplied_bytes",)]


def _features(*served: float, again: dict[int, float] | None = None) -> dict[Part, bytes]:
    """Return what a HeadedDetector read of frames of this brightness."""
    parts = {Part(frame): brightness for frame, brightness in enumerate(served)}
    parts |= {Part(frame, True): brightness for frame, brightness in (again or {}).items()}
    return {part: np.float32(brightness).tobytes() for part, brightness in parts.items()}


@pytest.mark.parametrize(
    ("features", "again"),
    [
        (_features(0.1, 0.8), None),
        (_features(0.1, 0.8, again={1: 0.6}), (1, 0.3)),
        (_features(0.1, 0.8, again={0: 0.6}), None),
        (_features(0.1, 0.8, 0.9, again={0: 0.2, 1: 0.6}), (1, 0.3)),
    ],
    ids=["served", "again", "another frame", "more than is asked for"],
)
def test_reread_says_what_the_head_says_of_each_part(
    features: dict[Part, bytes], again: tuple[int, float] | None
) -> None:
    about = About("image/gif", Facts(width=300, height=300, frame_count=9, sampled=2), DECLARATION)

    known = reread(about, features, HeadedDetector(head=0.5))

    assert known is not None
    assert [reading.score for reading in known.readings] == pytest.approx([0.05, 0.4])
    told = (known.again.frame, known.again.reading.score) if known.again else None
    assert told == (again and (again[0], pytest.approx(again[1])))
    assert (known.mime, known.facts, known.declaration) == (
        about.mime,
        about.facts,
        about.declaration,
    )


@pytest.mark.parametrize("sampled", [0, 3], ids=["no frame", "one is missing"])
def test_reread_says_nothing_without_all_frames(sampled: int) -> None:
    about = About("image/gif", Facts(width=300, height=300, sampled=sampled), None)

    assert reread(about, _features(0.1, 0.8), HeadedDetector()) is None
