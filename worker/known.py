"""What is known of one image once the model saw it: enough to judge it anew at any point. Pure.

    Prepared, readings --of--> Known --waits_for--> None: judge it    or the frame to score again
                               Known --judged-----> Judgement          <-- again, re-encoded
    About, features, another head --reread--> Known

A scan that was just scored and one whose image was scored an hour ago by another worker are
judged from the same Known by the same lines, so that a cache cannot change a verdict. Which
verdict follows is decided by verdicts.py alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from sdk.wire import Declaration, Input, InputKind, PointName

from .ports import Point, Reading, Rereads
from .verdicts import Case, Facts, Judgement, judge, to_confirm


class KnownPoint(Struct, frozen=True, array_like=True):
    """A ports.Point by value."""

    threshold: float | None
    clear_below: float | None
    false_alarm_rate: float | None
    ci95: tuple[float, float] | None
    n: int


class KnownReading(Struct, frozen=True, array_like=True):
    """A ports.Reading by value."""

    score: float
    probability: float | None
    slice: str
    points: dict[str, KnownPoint]


class Again(Struct, frozen=True, array_like=True):
    """The reading of one of the frames, re-encoded."""

    frame: int
    reading: KnownReading


class Known(Struct, frozen=True, array_like=True):
    """All that a verdict is made of but the operating point and who sent the bytes."""

    readings: tuple[KnownReading, ...]
    mime: str
    facts: Facts
    declaration: Declaration | None
    again: Again | None = None

    @property
    def is_sound(self) -> bool:
        """False for what no model can have said: a damaged or made-up entry of a cache."""
        readings = [*self.readings, *([self.again.reading] if self.again else [])]
        frame = self.again.frame if self.again else 0
        return 0 <= frame < len(self.readings) and all(
            0.0 <= reading.score <= 1.0 for reading in readings
        )


class About(Struct, frozen=True, array_like=True):
    """What a Known says of an image that no model said."""

    mime: str
    facts: Facts
    declaration: Declaration | None


class Part(NamedTuple):
    """One of an image's sampled frames, as served or re-encoded."""

    frame: int
    is_reencoded: bool = False


Features = Mapping[Part, bytes]
"""What the model's head read of each part of an image that it saw."""


def of(reading: Reading) -> KnownReading:
    """Return the reading by value, so that it outlives its detector."""
    return KnownReading(
        score=reading.score,
        probability=reading.probability,
        slice=reading.slice,
        points={name: _point(point) for name, point in reading.points.items()},
    )


def reread(about: About, features: Features, by: Rereads) -> Known | None:
    """Return what `by` says of an image whose features are kept; None where a frame is missing.

    Raises ValueError for features that it cannot read.
    """
    parts = [Part(frame) for frame in range(about.facts.sampled)]
    if not parts or not features.keys() >= set(parts):
        return None
    readings = tuple(of(reading) for reading in by.reread([features[part] for part in parts]))
    known = Known(readings, about.mime, about.facts, about.declaration)
    # Only the frame with the highest score is ever scored again (verdicts.to_confirm).
    frame = max(range(len(readings)), key=lambda index: readings[index].score)
    again = features.get(Part(frame, is_reencoded=True))
    if again is None:
        return known
    (reading,) = by.reread([again])
    return replace(known, again=Again(frame, of(reading)))


def case(known: Known, *, point: PointName, calibration_id: str, seen_as: Input) -> Case:
    """Return what the image is judged by, asked at this point and fetched as `seen_as` says."""
    is_client_supplied = seen_as.fetched_by == "client"
    return Case(
        point=point,
        calibration_id=calibration_id,
        facts=replace(known.facts, is_client_supplied=is_client_supplied),
        declaration=known.declaration,
    )


def waits_for(known: Known, case: Case) -> int | None:
    """Return the frame whose re-encoded reading is missing for a verdict, or None: none is.

    Raises Refusal (scoring_failed) where a score is no number in [0, 1].
    """
    frame = to_confirm(known.readings, case)
    return None if known.again is not None and known.again.frame == frame else frame


def judged(known: Known, case: Case) -> Judgement:
    """Say what is known; a re-encoded reading that is missing confirms nothing."""
    frame, again = to_confirm(known.readings, case), known.again
    is_asked_for = again is not None and again.frame == frame
    return judge(known.readings, case, again=again.reading if again and is_asked_for else None)


def is_enough(known: Known) -> bool:
    """True if a scan at any operating point can be judged without the image's bytes."""
    as_fetched = Input(kind=InputKind.URL)
    return all(
        waits_for(known, case(known, point=point, calibration_id="", seen_as=as_fetched)) is None
        for point in PointName
    )


def described(seen_as: Input, mime: str, facts: Facts) -> Input:
    """Return the input with what decoding told of it."""
    return replace(
        seen_as, mime=mime, width=facts.width, height=facts.height, frames=facts.frame_count
    )


def _point(point: Point) -> KnownPoint:
    return KnownPoint(
        threshold=point.threshold,
        clear_below=point.clear_below,
        false_alarm_rate=point.false_alarm_rate,
        ci95=point.ci95,
        n=point.n,
    )
