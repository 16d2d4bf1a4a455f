"""How a score becomes a verdict, and what else a completed scan says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sdk.codes import ScanErrorCode
from sdk.wire import Declaration, PointName, Verdict
from worker.ports import Refusal
from worker.testing import POINTS, FixedPoint, FixedReading
from worker.verdicts import Case, Facts, Judgement, judge, to_confirm

LARGE = Facts(width=1200, height=800)
UNSIGNED = Declaration(kind="xmp", trust="unsigned", source_type="trainedAlgorithmicMedia")
UNMEASURED = FixedPoint(threshold=None, clear_below=None, false_alarm_rate=None, ci95=None, n=120)


def _reading(score: float, **fields: object) -> FixedReading:
    return replace(FixedReading(score=score, probability=score), **fields)


CASE = Case(point=PointName.BALANCED, calibration_id="cal", facts=LARGE, declaration=None)
HIGH = _reading(1.0)


def _judge(*readings: FixedReading, again: FixedReading | None = HIGH, **case: object) -> Judgement:
    """Judge what scores high again; a test that wants another outcome says so."""
    return judge(readings, replace(CASE, **case), again=again)


def _codes(judgement: Judgement) -> list[str]:
    return [reason.code for reason in judgement.reasons]


@pytest.mark.parametrize(
    ("score", "verdict", "code"),
    [
        (1.0, Verdict.LIKELY_AI, "model_above_threshold"),
        (0.8, Verdict.LIKELY_AI, "model_above_threshold"),
        (0.799, Verdict.INCONCLUSIVE, "model_between_thresholds"),
        (0.3, Verdict.INCONCLUSIVE, "model_between_thresholds"),
        (0.299, Verdict.NO_SIGN_OF_AI, "model_below_threshold"),
        (0.0, Verdict.NO_SIGN_OF_AI, "model_below_threshold"),
    ],
)
def test_verdict_follows_the_two_thresholds(score: float, verdict: Verdict, code: str) -> None:
    judgement = _judge(_reading(score))

    assert (judgement.verdict, _codes(judgement)) == (verdict, [code])


@pytest.mark.parametrize(
    ("point", "verdict"),
    [
        (PointName.STRICT, Verdict.INCONCLUSIVE),
        (PointName.BALANCED, Verdict.LIKELY_AI),
        (PointName.SENSITIVE, Verdict.LIKELY_AI),
    ],
)
def test_verdict_is_that_of_the_point_that_was_asked(point: PointName, verdict: Verdict) -> None:
    judgement = _judge(_reading(0.85), point=point)

    assert judgement.verdict is verdict
    assert judgement.operating_point.name is point


def test_verdict_is_that_of_the_frame_with_the_highest_score() -> None:
    judgement = _judge(_reading(0.1), _reading(0.95, slice="cgi"), _reading(0.5))

    assert (judgement.verdict, judgement.score) == (Verdict.LIKELY_AI, 0.95)
    assert judgement.operating_point.slice == "cgi"


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(UNMEASURED, id="nulls"),
        pytest.param(replace(POINTS["balanced"], n=299), id="n under 300"),
        pytest.param(replace(POINTS["balanced"], threshold=None), id="no threshold"),
        pytest.param(replace(POINTS["balanced"], false_alarm_rate=None), id="no rate"),
        pytest.param(None, id="no such point"),
    ],
)
def test_verdict_is_inconclusive_when_the_slice_is_not_calibrated(
    score: float, point: FixedPoint | None
) -> None:
    points = {} if point is None else {"balanced": point}

    judgement = _judge(_reading(score, points=points))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.warnings == ("uncalibrated_slice",)
    assert _codes(judgement) == ["uncalibrated_slice"]
    assert judgement.score == score
    assert judgement.probability is None
    shown = judgement.operating_point
    assert (shown.threshold, shown.clear_below) == (None, None)
    assert (shown.expected_false_alarm_rate, shown.ci95) == (None, None)
    assert shown.n == (point.n if point else 0)


@pytest.mark.parametrize(
    ("score", "verdict", "code"),
    [
        (0.9, Verdict.LIKELY_AI, "model_above_threshold"),
        (0.7, Verdict.INCONCLUSIVE, "uncalibrated_slice"),
        (0.0, Verdict.INCONCLUSIVE, "uncalibrated_slice"),
    ],
)
def test_verdict_clears_nothing_when_too_few_ai_images_were_measured(
    score: float, verdict: Verdict, code: str
) -> None:
    points = {"balanced": replace(POINTS["balanced"], clear_below=None)}

    judgement = _judge(_reading(score, points=points))

    assert judgement.verdict is verdict
    assert _codes(judgement) == [code]
    assert judgement.warnings == ("uncalibrated_slice",)
    assert judgement.probability is None
    assert judgement.operating_point.expected_false_alarm_rate == 0.03


@pytest.mark.parametrize(("width", "height"), [(223, 4000), (4000, 223)])
def test_verdict_is_inconclusive_when_the_short_side_is_small(width: int, height: int) -> None:
    judgement = _judge(_reading(1.0), facts=Facts(width=width, height=height))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.warnings == ("small_image",)
    assert _codes(judgement) == ["small_image"]


def test_verdict_is_given_when_the_short_side_is_just_enough() -> None:
    assert _judge(_reading(1.0), facts=Facts(width=224, height=224)).verdict is Verdict.LIKELY_AI


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_verdict_is_declared_ai_when_the_file_says_so(score: float) -> None:
    judgement = _judge(_reading(score), declaration=UNSIGNED)

    assert judgement.verdict is Verdict.DECLARED_AI
    assert judgement.warnings == ("declaration_unsigned",)
    assert _codes(judgement)[0] == "declared_ai"
    assert "trainedAlgorithmicMedia" in judgement.reasons[0].text
    assert "anybody" in judgement.reasons[0].text


def test_verdict_does_not_call_a_signed_declaration_unsigned() -> None:
    judgement = _judge(_reading(0.5), declaration=replace(UNSIGNED, trust="trusted"))

    assert judgement.verdict is Verdict.DECLARED_AI
    assert judgement.warnings == ()


@pytest.mark.parametrize("score", [0.8, 0.801, 1.0])
def test_likely_ai_stands_when_the_image_scores_so_again(score: float) -> None:
    judgement = _judge(_reading(0.9), again=_reading(score))

    assert (judgement.verdict, judgement.warnings) == (Verdict.LIKELY_AI, ())
    assert judgement.score == 0.9


@pytest.mark.parametrize("score", [0.799, 0.0, float("nan"), None], ids=str)
def test_verdict_is_inconclusive_when_the_image_does_not_score_so_again(
    score: float | None,
) -> None:
    judgement = _judge(_reading(0.9), again=None if score is None else _reading(score))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.warnings == ("verdict_unstable",)
    assert _codes(judgement) == ["verdict_unstable"]
    assert (judgement.score, judgement.probability) == (0.9, 0.9)


def test_reason_tells_a_score_that_fell_from_one_that_is_not_known() -> None:
    (fell,) = _judge(_reading(0.9), again=_reading(0.1)).reasons
    (unknown,) = _judge(_reading(0.9), again=None).reasons

    assert fell.text == (
        "The score reaches 0.80, but not once the picture is saved again at half its size and "
        "JPEG quality 70: it hangs on how the picture was saved."
    )
    assert "could not be tested" in unknown.text


def test_score_again_is_held_against_the_threshold_that_the_scan_shows() -> None:
    lenient = replace(POINTS["balanced"], threshold=0.1)
    again = _reading(0.5, slice="cgi", points={"balanced": lenient})

    judgement = _judge(_reading(0.9), again=again)

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert (judgement.operating_point.slice, judgement.operating_point.threshold) == ("photo", 0.8)


@pytest.mark.parametrize("again", [None, _reading(0.0), _reading(1.0)], ids=["none", "low", "high"])
@pytest.mark.parametrize(
    ("score", "declaration", "verdict"),
    [
        (0.799, None, Verdict.INCONCLUSIVE),
        (0.0, None, Verdict.NO_SIGN_OF_AI),
        (0.9, UNSIGNED, Verdict.DECLARED_AI),
    ],
)
def test_score_again_changes_no_verdict_but_likely_ai(
    score: float, declaration: Declaration | None, verdict: Verdict, again: FixedReading | None
) -> None:
    judgement = _judge(_reading(score), declaration=declaration, again=again)

    assert judgement.verdict is verdict
    assert "verdict_unstable" not in (*judgement.warnings, *_codes(judgement))


@pytest.mark.parametrize(
    ("scores", "case", "frame"),
    [
        pytest.param([0.8], {}, 0, id="at the threshold"),
        pytest.param([0.1, 0.85, 0.95, 0.9], {}, 2, id="the highest of several frames"),
        pytest.param([0.799], {}, None, id="between the thresholds"),
        pytest.param([0.0], {}, None, id="low"),
        pytest.param([0.85], {"point": PointName.STRICT}, None, id="below the point's threshold"),
        pytest.param([1.0], {"declaration": UNSIGNED}, None, id="declared"),
        pytest.param([1.0], {"facts": Facts(width=223, height=500)}, None, id="small"),
    ],
)
def test_only_a_verdict_of_likely_ai_is_to_be_confirmed(
    scores: list[float], case: dict[str, object], frame: int | None
) -> None:
    readings = [_reading(score) for score in scores]

    assert to_confirm(readings, replace(CASE, **case)) == frame


def test_nothing_is_to_be_confirmed_where_the_slice_is_not_calibrated() -> None:
    assert to_confirm([_reading(1.0, points={"balanced": UNMEASURED})], CASE) is None


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf"), -0.1, 1.1], ids=str)
@pytest.mark.parametrize("place", [0, 1])
def test_a_score_that_is_none_fails_the_scan(score: float, place: int) -> None:
    readings = [_reading(0.1), _reading(0.1)]
    readings[place] = _reading(score)

    with pytest.raises(Refusal) as refusal:
        _judge(*readings)
    with pytest.raises(Refusal):
        to_confirm(readings, CASE)

    assert refusal.value.code is ScanErrorCode.SCORING_FAILED


def test_rate_is_shown_as_measured() -> None:
    point = _judge(_reading(0.9)).operating_point

    assert (point.expected_false_alarm_rate, point.ci95, point.n) == (0.03, (0.02, 0.042), 1000)
    assert (point.threshold, point.clear_below, point.calibration_id) == (0.8, 0.3, "cal")


def test_rate_is_never_below_three_in_n() -> None:
    perfect = replace(POINTS["balanced"], false_alarm_rate=0.0, ci95=(0.0, 0.001), n=1000)

    judgement = _judge(_reading(0.9, points={"balanced": perfect}))

    assert judgement.operating_point.expected_false_alarm_rate == 0.003
    assert judgement.operating_point.ci95 == (0.0, 0.003)
    assert "about 1 in 333 real photos measured (n=1000)" in judgement.reasons[0].text


def test_reason_says_how_often_real_images_score_so_high() -> None:
    (reason,) = _judge(_reading(0.9)).reasons

    assert reason.text == (
        "Scores this high were given to about 3 in 100 real photos measured (n=1000)."
    )


def test_reason_never_says_that_an_image_is_real() -> None:
    (reason,) = _judge(_reading(0.0)).reasons

    assert "does not show that the image is real" in reason.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("photo", "real photos"),
        ("illustration", "real illustrations"),
        ("cgi", "real rendered pictures"),
        ("screenshot", "real screenshots"),
        ("hologram", "real images of this kind"),
    ],
)
def test_reason_names_the_kind_of_picture(name: str, words: str) -> None:
    assert words in _judge(_reading(0.9, slice=name)).reasons[0].text


@pytest.mark.parametrize(
    ("facts", "name", "warnings"),
    [
        (LARGE, "photo", ()),
        (LARGE, "cgi", ()),
        (LARGE, "screenshot", ("screenshot_like",)),
        (LARGE, "illustration", ("illustration",)),
        (replace(LARGE, jpeg_quality=49), "photo", ("heavy_recompression",)),
        (replace(LARGE, jpeg_quality=50), "photo", ()),
        (replace(LARGE, frame_count=40, sampled=8), "photo", ("animation_sampled",)),
        (replace(LARGE, frame_count=4, sampled=4), "photo", ()),
        (replace(LARGE, is_client_supplied=True), "photo", ("client_supplied_bytes",)),
    ],
)
def test_warnings_say_what_bears_on_the_verdict(
    facts: Facts, name: str, warnings: tuple[str, ...]
) -> None:
    assert _judge(_reading(0.9, slice=name), facts=facts).warnings == warnings


@given(
    score=st.floats(),
    n=st.integers(0, 2000),
    thresholds=st.tuples(*[st.none() | st.floats()] * 3),
    side=st.integers(32, 400),
)
def test_no_sign_of_ai_needs_a_calibrated_finite_low_score(
    score: float, n: int, thresholds: tuple[float | None, ...], side: int
) -> None:
    threshold, clear_below, rate = thresholds
    point = FixedPoint(
        threshold=threshold, clear_below=clear_below, false_alarm_rate=rate, ci95=(0, 1), n=n
    )
    reading = FixedReading(score=score, probability=None, points={"balanced": point})

    try:
        judgement = _judge(reading, facts=Facts(width=side, height=400))
    except Refusal:
        assert not 0 <= score <= 1
        return

    if judgement.verdict is Verdict.NO_SIGN_OF_AI:
        assert clear_below is not None
        assert 0 <= score < clear_below
        assert n >= 300
        assert side >= 224


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=4), again=st.none() | st.floats())
def test_likely_ai_needs_two_scores_above_the_threshold(
    scores: list[float], again: float | None
) -> None:
    readings = [_reading(score) for score in scores]

    judgement = _judge(*readings, again=None if again is None else _reading(again))

    if judgement.verdict is Verdict.LIKELY_AI:
        frame = to_confirm(readings, CASE)
        assert frame is not None
        assert scores[frame] == max(scores) >= 0.8
        assert again is not None
        assert again >= 0.8
