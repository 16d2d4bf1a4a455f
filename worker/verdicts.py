"""(readings, case) -> what a completed scan says. Pure; does no I/O.

    the file declares AI                         declared_ai
    slice with too few real images measured      inconclusive    + uncalibrated_slice
    slice with too few AI images measured        no_sign_of_ai is out of reach; the same warning
    short side under 224 pixels                  inconclusive    + small_image
    score >= threshold, and so scored again      likely_ai
    score >= threshold, but not so again         inconclusive    + verdict_unstable
    score <  clear_below                         no_sign_of_ai
    between them                                 inconclusive

Of several frames the one with the highest score counts. `likely_ai` has to hold when that frame is
scored again, re-encoded: `to_confirm` says which, if any, and `judge` takes what came of it. A
reading that could not be had confirms nothing: nobody is accused on a hunch. `no_sign_of_ai` is
reached by one branch only, and only from a finite score; whatever else happens reads as something
weaker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from sdk.codes import ScanErrorCode
from sdk.wire import (
    Declaration,
    OperatingPoint,
    PointName,
    Reason,
    ScanWarning,
    Slice,
    Verdict,
)

from .ports import Point, Reading, Refusal

CALIBRATED_N = 300
"""Real images of a slice below which no error rate of it is told."""
SMALL_PIXELS = 224
"""Short side below which the model sees an enlarged picture, which was not measured."""
HEAVY_JPEG_QUALITY = 50
"""Estimated JPEG quality below which the finest traces of a generator are gone."""

UNSTABLE = "verdict_unstable"
"""Code of the reason for a verdict that did not hold when the picture was re-encoded."""

_MANY = {
    Slice.PHOTO: "photos",
    Slice.ILLUSTRATION: "illustrations",
    Slice.CGI: "rendered pictures",
    Slice.SCREENSHOT: "screenshots",
}


class Facts(Struct, frozen=True, kw_only=True):
    """What decoding told of the image that bears on its verdict."""

    width: int
    height: int
    frame_count: int = 1
    sampled: int = 1
    jpeg_quality: int | None = None
    is_client_supplied: bool = False
    """A client sent the bytes, so they may not be what others see at the image's address."""


class Case(Struct, frozen=True, kw_only=True):
    """What an image is judged by besides its readings.

    A `declaration` is one that says AI; of any other making there is none.
    """

    point: PointName
    calibration_id: str
    facts: Facts
    declaration: Declaration | None


class Judgement(Struct, frozen=True, kw_only=True):
    """The fields of an Outcome that judging fills."""

    verdict: Verdict
    score: float
    probability: float | None
    operating_point: OperatingPoint
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]


def to_confirm(readings: Sequence[Reading], case: Case) -> int | None:
    """Return the index of the frame to be scored again re-encoded, or None: nothing hangs on it.

    Raises Refusal (scoring_failed) where a score is no number in [0, 1].
    """
    frame = _highest(readings)
    measured = _measured(readings[frame], case)
    verdict, _ = _by_score(readings[frame].score, measured, case.facts)
    return frame if verdict is Verdict.LIKELY_AI and case.declaration is None else None


def judge(readings: Sequence[Reading], case: Case, *, again: Reading | None) -> Judgement:
    """Say what is known of an image whose frames gave these readings.

    `again` is the reading of the frame that `to_confirm` named, re-encoded; None where it named
    none, or the reading could not be had. Raises Refusal (scoring_failed) where a score of
    `readings` is no number in [0, 1].
    """
    reading, declaration = readings[_highest(readings)], case.declaration
    measured = _measured(reading, case)
    verdict, reason = _by_score(reading.score, measured, case.facts)
    reasons: tuple[Reason, ...] = (reason,)
    if declaration is not None:
        verdict, reasons = Verdict.DECLARED_AI, (_declared(declaration), reason)
    elif verdict is Verdict.LIKELY_AI and not _holds(again, measured):
        verdict, reasons = Verdict.INCONCLUSIVE, (_unstable(again, measured),)
    return Judgement(
        verdict=verdict,
        score=reading.score,
        probability=reading.probability if measured.clear_below is not None else None,
        operating_point=measured,
        reasons=reasons,
        warnings=tuple(_warnings(measured, case, is_unstable=reasons[0].code == UNSTABLE)),
    )


def _highest(readings: Sequence[Reading]) -> int:
    for reading in readings:
        if not 0.0 <= reading.score <= 1.0:  # False for NaN too
            raise Refusal(
                ScanErrorCode.SCORING_FAILED,
                f"The model gave the score {reading.score}, which is not between 0 and 1.",
            )
    return max(range(len(readings)), key=lambda index: readings[index].score)


def _measured(reading: Reading, case: Case) -> OperatingPoint:
    """The point as the scan shows it: numbers only where enough real images were measured."""
    point = reading.points.get(case.point.value)
    rate, ci95 = _honest(point) if point else (None, None)
    return OperatingPoint(
        name=case.point,
        slice=reading.slice,
        threshold=point.threshold if point and rate is not None else None,
        clear_below=point.clear_below if point and rate is not None else None,
        expected_false_alarm_rate=rate,
        ci95=ci95,
        n=point.n if point else 0,
        calibration_id=case.calibration_id,
    )


def _honest(point: Point) -> tuple[float | None, tuple[float, float] | None]:
    """The rate and its interval, or nothing; never below 3/n, since n images show no less."""
    if point.n < CALIBRATED_N or point.threshold is None:
        return None, None
    if point.false_alarm_rate is None or point.ci95 is None:
        return None, None
    if not 0 <= point.false_alarm_rate <= 1:  # False for NaN too
        return None, None
    rate = max(point.false_alarm_rate, 3 / point.n)
    low, high = point.ci95
    return rate, (low, max(high, rate))


def _by_score(score: float, point: OperatingPoint, facts: Facts) -> tuple[Verdict, Reason]:
    if point.threshold is None:
        return Verdict.INCONCLUSIVE, _uncalibrated(point)
    if min(facts.width, facts.height) < SMALL_PIXELS:
        return Verdict.INCONCLUSIVE, _small(facts)
    if score >= point.threshold:
        return Verdict.LIKELY_AI, _above(point)
    if point.clear_below is None:
        return Verdict.INCONCLUSIVE, _not_cleared(point)
    if score < point.clear_below:
        return Verdict.NO_SIGN_OF_AI, _below(point.clear_below)
    return Verdict.INCONCLUSIVE, _between(point.clear_below, point.threshold)


def _holds(again: Reading | None, point: OperatingPoint) -> bool:
    """Whether the picture passes the threshold re-encoded too; False for NaN, and for none."""
    return again is not None and point.threshold is not None and again.score >= point.threshold


def _warnings(point: OperatingPoint, case: Case, *, is_unstable: bool) -> list[ScanWarning]:
    facts, declaration = case.facts, case.declaration
    holds = {
        ScanWarning.SMALL_IMAGE: min(facts.width, facts.height) < SMALL_PIXELS,
        ScanWarning.HEAVY_RECOMPRESSION: facts.jpeg_quality is not None
        and facts.jpeg_quality < HEAVY_JPEG_QUALITY,
        ScanWarning.SCREENSHOT_LIKE: point.slice == Slice.SCREENSHOT,
        ScanWarning.ILLUSTRATION: point.slice == Slice.ILLUSTRATION,
        ScanWarning.VERDICT_UNSTABLE: is_unstable,
        ScanWarning.UNCALIBRATED_SLICE: point.threshold is None or point.clear_below is None,
        ScanWarning.DECLARATION_UNSIGNED: declaration is not None
        and declaration.trust == "unsigned",
        ScanWarning.ANIMATION_SAMPLED: facts.sampled < facts.frame_count,
        ScanWarning.CLIENT_SUPPLIED_BYTES: facts.is_client_supplied,
    }
    return [warning for warning, is_so in holds.items() if is_so]


def _declared(declaration: Declaration) -> Reason:
    said = (declaration.source_type or "").rpartition("/")[2]
    where = f"{declaration.kind}: {said}" if said else declaration.kind
    trust = (
        "The note is not signed, so anybody can have written or removed it."
        if declaration.trust == "unsigned"
        else f"The note's signature is {declaration.trust}."
    )
    return Reason("declared_ai", f"The file says that AI made or changed it ({where}). {trust}")


def _uncalibrated(point: OperatingPoint) -> Reason:
    return Reason(
        "uncalibrated_slice",
        f"Too few real {_many(point.slice)} were measured to say how often such a score is wrong "
        f"(n={point.n}, {CALIBRATED_N} are needed).",
    )


def _small(facts: Facts) -> Reason:
    return Reason(
        "small_image",
        f"The image is {facts.width} x {facts.height} pixels; error rates are known from "
        f"{SMALL_PIXELS} pixels on the short side.",
    )


def _above(point: OperatingPoint) -> Reason:
    return Reason(
        "model_above_threshold",
        f"Scores this high were given to {_in_words(point.expected_false_alarm_rate)} real "
        f"{_many(point.slice)} measured (n={point.n}).",
    )


def _unstable(again: Reading | None, point: OperatingPoint) -> Reason:
    resaved = "once the picture is saved again at half its size and JPEG quality 70"
    found = (
        f"whether it does so {resaved} could not be tested"
        if again is None
        else f"not {resaved}: it hangs on how the picture was saved"
    )
    return Reason(UNSTABLE, f"The score reaches {point.threshold:.2f}, but {found}.")


def _not_cleared(point: OperatingPoint) -> Reason:
    return Reason(
        "uncalibrated_slice",
        f"The score is below {point.threshold:.2f}, but too few AI-made {_many(point.slice)} were "
        "measured to say how many of them score so low.",
    )


def _between(clear_below: float, threshold: float) -> Reason:
    return Reason(
        "model_between_thresholds",
        f"The score lies between {clear_below:.2f} and {threshold:.2f}, where real and AI images "
        "are too often confused.",
    )


def _below(clear_below: float) -> Reason:
    return Reason(
        "model_below_threshold",
        f"The score is below {clear_below:.2f}: the model saw no sign of AI. That does not show "
        "that the image is real.",
    )


def _many(name: str) -> str:
    return _MANY.get(Slice(name), name) if name in list(Slice) else "images of this kind"


def _in_words(rate: float | None) -> str:
    if rate is None:  # Not reached: a threshold is only known together with its rate.
        return "an unknown share of the"
    if rate >= 0.01:
        return f"about {round(rate * 100)} in 100"
    return f"about 1 in {math.floor(1 / rate):,}"
