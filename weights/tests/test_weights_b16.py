"""The weights that ship: whole, consistent in themselves, and honest about what was not measured.

No image of the training data is here, so nothing is scored against labels; these are invariants.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from safetensors import safe_open

import pinclip
from pinclip import weights
from pinclip.weights import POINTS, Meta, Point, SliceFacts, Weights

FOLDER = Path(__file__).parents[1] / "pinclip_weights_b16"
FLOOR = 300


@pytest.fixture(scope="module")
def opened() -> Weights:
    return weights.open_weights(FOLDER)


@pytest.fixture(scope="module")
def meta(opened: Weights) -> Meta:
    return opened.meta


@pytest.fixture(scope="module")
def detector(opened: Weights) -> pinclip.Detector:
    return pinclip.load(weights=opened, engine="openvino", precision="float32")


def points(meta: Meta) -> Iterator[tuple[SliceFacts, Point]]:
    for facts in meta.slices.values():
        for point in facts.points.values():
            yield facts, point


def test_weights_are_found_by_name() -> None:
    (entry,) = (e for e in entry_points(group=weights.GROUP) if e.name == "b16")

    assert weights.open_weights("b16").folder.name == entry.value


def test_files_hold_no_more_than_they_should() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir() if path.is_file()}

    tensors = {f"{name}.safetensors" for name in ("base", "head", "int8")}
    assert set(sizes) == tensors | {"__init__.py", "meta.json", "CARD.md"}
    assert sizes["base.safetensors"] < 90e6
    assert sizes["head.safetensors"] + sizes["int8.safetensors"] + sizes["meta.json"] < 8e6


def test_head_has_a_row_for_the_score_and_for_each_slice(opened: Weights, meta: Meta) -> None:
    head = opened.head()

    assert meta.outputs == ("score", *meta.slices)
    assert head.weight.shape == (5, 768 * len(meta.blocks))
    assert head.bias.shape == (5,)
    assert np.isfinite(head.weight).all()
    assert np.abs(head.weight[1:]).max(axis=1).min() > 0
    assert head.hidden is not None
    assert head.hidden.weight.shape == (meta.hidden, head.weight.shape[1])
    assert np.abs(head.hidden.weight).max(axis=1).min() > 0


def test_tower_is_finite_and_dequantises_to_plausible_weights(opened: Weights) -> None:
    base = opened.base()
    with safe_open(FOLDER / "base.safetensors", "numpy") as file:
        assert len(file.keys()) == 201

    for name in base.names():
        tensor = base.tensor(name)
        assert np.isfinite(tensor).all(), name
        assert 0 < np.abs(tensor).max() < 100, name


def test_points_are_null_exactly_where_too_little_was_measured(meta: Meta) -> None:
    for facts, point in points(meta):
        of_real = (point.threshold, point.false_alarm_rate, point.ci95)
        of_ai = (point.clear_below, point.recall, point.recall_ci95)
        of_ai += (point.miss_rate, point.miss_ci95)
        assert (point.n, point.n_ai) == (facts.n, facts.n_ai)
        assert all((value is None) == (point.n < FLOOR) for value in of_real)
        assert all((value is None) == (min(point.n, point.n_ai) < FLOOR) for value in of_ai)


def test_calibration_is_null_exactly_where_too_little_was_measured(meta: Meta) -> None:
    for facts in meta.slices.values():
        assert (facts.calibration is None) == (min(facts.n, facts.n_ai) < FLOOR)
        assert facts.calibration is None or 0.3 < facts.calibration.temperature < 3
        assert facts.calibration is None or 0 <= facts.calibration.ece < 0.1


def test_thresholds_are_scores_and_clear_is_never_above_them(meta: Meta) -> None:
    for _, point in points(meta):
        if point.threshold is not None:
            assert 0 < point.threshold < 1
        if point.clear_below is not None and point.threshold is not None:
            assert 0 < point.clear_below <= point.threshold


def test_stricter_points_have_higher_thresholds(meta: Meta) -> None:
    for facts in meta.slices.values():
        assert tuple(facts.points) == POINTS
        thresholds = [facts.points[name].threshold for name in POINTS]
        if None not in thresholds:
            assert thresholds == sorted(thresholds, reverse=True)


def test_rates_lie_in_their_intervals_and_never_below_three_in_n(meta: Meta) -> None:
    for _, point in points(meta):
        for rate, interval in (
            (point.false_alarm_rate, point.ci95),
            (point.recall, point.recall_ci95),
            (point.miss_rate, point.miss_ci95),
        ):
            if rate is not None and interval is not None:
                assert 0 <= interval[0] <= rate <= interval[1] <= 1
        if point.false_alarm_rate is not None:
            assert point.false_alarm_rate >= 3 / point.n


def test_intervals_are_wider_than_if_the_images_were_independent(meta: Meta) -> None:
    for _, point in points(meta):
        if point.false_alarm_rate is not None and point.ci95 is not None:
            rate = point.false_alarm_rate
            alone = 2 * 1.96 * (rate * (1 - rate) / point.n) ** 0.5
            assert point.ci95[1] - point.ci95[0] >= 0.9 * alone


def test_counts_add_up(meta: Meta) -> None:
    real = [row for row in meta.sources if row.label == "real"]
    ai = [row for row in meta.sources if row.label == "ai"]

    assert sum(facts.n for facts in meta.slices.values()) == meta.data.real
    assert sum(facts.n_ai for facts in meta.slices.values()) == meta.data.ai
    assert sum(row.n for row in real) == meta.data.real
    assert sum(row.n for row in ai) == meta.data.ai
    assert len(meta.sources) == meta.data.sources
    assert meta.data.images == meta.data.real + meta.data.ai
    for row in meta.sources:
        assert 0 <= row.flagged + row.abstained <= row.n


def test_flagged_real_images_of_the_sources_are_the_false_alarms_of_the_slices(meta: Meta) -> None:
    flagged = sum(row.flagged for row in meta.sources if row.label == "real")

    stated = 0.0
    for facts in meta.slices.values():
        rate = facts.points["balanced"].false_alarm_rate
        stated += 0 if rate is None else rate * facts.n
    assert flagged == pytest.approx(stated, abs=4)


def test_evaluation_says_that_the_detector_is_better_than_chance_and_not_perfect(
    meta: Meta,
) -> None:
    assert {"auc", "auc_photos", "auc_others", "recall_at_0.01"} <= set(meta.evaluation)
    assert all(0.3 < value < 0.999 for value in meta.evaluation.values())


def test_licences_are_named(meta: Meta) -> None:
    assert (meta.license, meta.base.license, meta.head.license) == ("MIT", "MIT", "MIT")
    assert "Copyright (c) 2021 OpenAI" in (FOLDER.parent / "NOTICE").read_text()


def test_photographs_are_taken_for_photographs(detector: pinclip.Detector) -> None:
    pictures = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]

    assert [reading.slice for reading in detector.predict(pictures)] == ["photo"] * 3


def test_a_page_of_text_is_taken_for_a_screenshot(detector: pinclip.Detector) -> None:
    page = Image.new("RGB", (900, 700), "white")
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 900, 60), fill=(40, 60, 120))
    font = ImageFont.load_default(22)
    for line in range(18):
        pen.text((40, 90 + 32 * line), f"{line:02d}  def value(self) -> int:  # x", "black", font)

    (reading,) = detector.predict([page])

    assert reading.slice == "screenshot"


def test_photographs_without_any_ai_are_not_flagged_at_the_strict_point(
    detector: pinclip.Detector,
) -> None:
    pictures = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]

    for reading in detector.predict(pictures):
        threshold = reading.points["strict"].threshold
        assert threshold is not None
        assert reading.score < threshold
