"""The law of ports.Detector, on the fake and on the shipped model in both its engines."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

from sdk.wire import PointName, Slice
from worker.engine import load
from worker.ports import Detector, Featured, Rereads
from worker.settings import WorkerSettings
from worker.verdicts import CALIBRATED_N

BATCH_LIMIT = 3
SAME_BATCH = 0.01
"""How far scores may differ with the company in the batch: what bfloat16 does."""
SETTINGS = {
    "fixed": WorkerSettings(detector="worker.testing:load_fixed", batch_limit=BATCH_LIMIT),
    "openvino": WorkerSettings(engine="openvino", batch_limit=BATCH_LIMIT),
    "torch": WorkerSettings(engine="torch", precision="float32", batch_limit=BATCH_LIMIT),
}


@pytest.fixture(
    scope="module",
    params=[
        "fixed",
        pytest.param("openvino", marks=pytest.mark.slow),
        pytest.param("torch", marks=[pytest.mark.torch, pytest.mark.slow]),
    ],
)
def detector(request: pytest.FixtureRequest) -> Detector:
    name: str = request.param
    if name != "fixed" and not entry_points(group="pinclip.weights"):
        pytest.skip("no weights are installed")
    if name == "torch" and find_spec("torch") is None:
        pytest.skip("torch is not installed")
    return _loaded(name)


@cache
def _loaded(name: str) -> Detector:
    """Load each once a process, whatever order the tests come in."""
    return load(SETTINGS[name])


def _picture(seed: int, *, height: int = 300, width: int = 400) -> NDArray[np.uint8]:
    """Smooth colours with some grain, so that no two pictures are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3))
    rows = np.linspace(0, 4, height).astype(int)
    columns = np.linspace(0, 4, width).astype(int)
    grain = rng.integers(0, 24, (height, width, 3))
    picture: NDArray[np.uint8] = np.clip(coarse[rows][:, columns] + grain, 0, 255).astype(np.uint8)
    return picture


def _scores(detector: Detector, arrays: list[NDArray[np.float32]]) -> list[float]:
    return [reading.score for reading in detector.finish(detector.forward(np.stack(arrays)))]


def test_detector_says_what_it_is(detector: Detector) -> None:
    for name in ("weights_id", "weights_sha256", "calibration_id", "engine", "precision", "device"):
        assert getattr(detector, name)
    assert len(detector.weights_sha256) == 64
    assert 1 <= detector.batch_limit <= BATCH_LIMIT


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (224, 224), (300, 401), (2000, 33), (32, 3000)]
)
def test_prepare_makes_one_shape_of_every_size(detector: Detector, height: int, width: int) -> None:
    small = detector.prepare(_picture(1, height=32, width=32))

    array = detector.prepare(_picture(1, height=height, width=width))

    assert array.shape == small.shape
    assert array.shape[0] == 3
    assert array.shape[1] == array.shape[2]
    assert array.dtype == np.float32
    assert np.isfinite(array).all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 401), (2000, 33)])
def test_prepare_reencoded_makes_the_same_shape_of_another_picture(
    detector: Detector, height: int, width: int
) -> None:
    picture = np.random.default_rng(6).integers(0, 256, (height, width, 3), np.uint8)
    picture.setflags(write=False)
    as_served = detector.prepare(picture)

    array = detector.prepare_reencoded(picture)

    assert (array.shape, array.dtype) == (as_served.shape, np.float32)
    assert np.isfinite(array).all()
    assert (array != as_served).any()


def test_prepare_leaves_its_argument_alone_and_takes_what_is_read_only(
    detector: Detector,
) -> None:
    picture = _picture(2)
    kept = picture.copy()
    picture.setflags(write=False)

    detector.prepare(picture)

    assert (picture == kept).all()


def test_prepare_gives_the_same_on_any_thread(detector: Detector) -> None:
    pictures = [_picture(seed) for seed in range(8)]
    alone = [detector.prepare(picture) for picture in pictures]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.prepare, pictures))

    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_forward_and_finish_keep_the_order_and_the_count(detector: Detector) -> None:
    arrays = [detector.prepare(_picture(seed)) for seed in range(detector.batch_limit)]
    alone = [_scores(detector, [array])[0] for array in arrays]

    together = _scores(detector, arrays[::-1])

    assert together == pytest.approx(alone[::-1], abs=SAME_BATCH)


def test_forward_gives_the_same_twice(detector: Detector) -> None:
    batch = np.stack([detector.prepare(_picture(3))])

    np.testing.assert_array_equal(detector.forward(batch), detector.forward(batch))


def test_finish_gives_readings_that_can_be_judged(detector: Detector) -> None:
    arrays = [detector.prepare(_picture(seed)) for seed in range(detector.batch_limit)]

    readings = detector.finish(detector.forward(np.stack(arrays)))

    for reading in readings:
        assert 0.0 <= reading.score <= 1.0
        assert reading.slice in list(Slice)
        assert set(reading.points) == {name.value for name in PointName}


def test_points_have_all_rates_or_none(detector: Detector) -> None:
    (reading,) = detector.finish(detector.forward(detector.prepare(_picture(4))[None]))

    for point in reading.points.values():
        numbers = (point.threshold, point.false_alarm_rate, point.ci95)
        if point.n < CALIBRATED_N:
            assert {*numbers, point.clear_below} == {None}
            continue
        assert None not in numbers
        assert point.threshold is not None
        assert 0 <= (point.clear_below or 0) <= point.threshold <= 1
        assert point.false_alarm_rate is not None
        assert point.ci95 is not None
        low, high = point.ci95
        assert 0 <= low <= point.false_alarm_rate <= high <= 1


def test_probability_is_known_where_an_image_can_be_cleared(detector: Detector) -> None:
    (reading,) = detector.finish(detector.forward(detector.prepare(_picture(5))[None]))

    is_calibrated = any(point.clear_below is not None for point in reading.points.values())
    assert (reading.probability is not None) == is_calibrated
    if reading.probability is not None:
        assert 0.0 <= reading.probability <= 1.0
        assert math.isfinite(reading.probability)


def test_reread_gives_the_readings_that_the_features_came_with(detector: Detector) -> None:
    arrays = [detector.prepare(_picture(seed)) for seed in range(2)]

    readings = detector.finish(detector.forward(np.stack(arrays)))

    if not isinstance(detector, Rereads):
        assert not any(isinstance(reading, Featured) for reading in readings)
        return
    assert len(detector.features_id) == 64
    kept = [reading.features for reading in readings if isinstance(reading, Featured)]
    found = detector.reread([features for features in kept if features is not None])
    assert [r.score for r in found] == pytest.approx([r.score for r in readings], abs=SAME_BATCH)
    assert [r.slice for r in found] == [r.slice for r in readings]
    assert detector.reread([]) == []
