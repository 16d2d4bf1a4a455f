"""pinclip.detector: what it takes, what it gives, and what it says when it cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image
from safetensors.numpy import save_file

import pinclip
from pinclip.detector import Detector, load
from pinclip.weights import (
    Calibration,
    File,
    Meta,
    WeightsError,
    calibration_id,
    digest,
    features_identity,
    open_weights,
)


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return load(weights=folder, engine="openvino", precision="float32", batch_limit=3)


def outputs(score: float, slices: list[float]) -> np.ndarray:
    return np.array([[score, *slices]], np.float32)


def test_predict_reads_pictures_and_arrays_alike(
    detector: Detector, pictures: list[Image.Image]
) -> None:
    as_pictures = detector.predict(pictures[:1])
    as_arrays = detector.predict([np.asarray(pictures[0])])

    assert as_pictures == as_arrays


def test_predict_scores_more_pictures_than_fit_in_a_batch(
    detector: Detector, pictures: list[Image.Image]
) -> None:
    assert len(pictures) > detector.batch_limit

    together = detector.predict(pictures)

    alone = [detector.predict([picture])[0] for picture in pictures]
    assert [reading.slice for reading in together] == [reading.slice for reading in alone]
    assert [r.score for r in together] == pytest.approx([r.score for r in alone], abs=1e-5)


def test_predict_of_nothing_is_nothing(detector: Detector) -> None:
    assert detector.predict([]) == []


@pytest.mark.parametrize("container", ["PNG", "BMP", "WEBP"])
def test_predict_gives_equal_pixels_equal_scores(
    detector: Detector, pictures: list[Image.Image], container: str
) -> None:
    buffer = BytesIO()
    pictures[3].save(buffer, container, **({"lossless": True} if container == "WEBP" else {}))

    assert detector.predict([Image.open(buffer)]) == detector.predict([pictures[3]])


def test_predict_takes_photographs_for_photographs(
    detector: Detector, pictures: list[Image.Image]
) -> None:
    assert {reading.slice for reading in detector.predict(pictures[:3])} == {"photo"}


def test_forward_gives_an_output_for_each_image(detector: Detector) -> None:
    batch = np.zeros((2, 3, 224, 224), np.float32)

    assert detector.forward(batch).shape == (2, 5 + 7 * 768)


@pytest.mark.parametrize(
    "shape", [(0, 3, 224, 224), (4, 3, 224, 224), (1, 3, 336, 336), (3, 224, 224)], ids=str
)
def test_forward_refuses_a_batch_of_another_shape(
    detector: Detector, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        detector.forward(np.zeros(shape, np.float32))


def test_finish_names_the_slice_with_the_highest_output(detector: Detector) -> None:
    (reading,) = detector.finish(outputs(0.0, [-1.0, -2.0, 3.0, 0.0]))

    assert reading.slice == "cgi"


def test_finish_gives_the_points_of_the_slice(folder: Path, detector: Detector) -> None:
    facts = open_weights(folder).meta.slices

    (reading,) = detector.finish(outputs(0.0, [5.0, 0.0, 0.0, 0.0]))

    assert reading.points == facts["photo"].points
    assert list(reading.points) == ["strict", "balanced", "sensitive"]


@pytest.mark.parametrize("logit", [-1e30, -50.0, -1.0, 0.0, 1.0, 50.0, 1e30])
def test_finish_gives_the_sigmoid_of_the_logit(detector: Detector, logit: float) -> None:
    (reading,) = detector.finish(outputs(logit, [0.0, 0.0, 0.0, 0.0]))

    with np.errstate(over="ignore"):
        assert reading.score == pytest.approx(1 / (1 + np.exp(-np.float64(np.float32(logit)))))
    assert 0 <= reading.score <= 1


def test_finish_keeps_the_order_of_scores_and_probabilities(detector: Detector) -> None:
    rows = np.concatenate([outputs(logit, [9, 0, 0, 0]) for logit in np.linspace(-8, 8, 50)])

    readings = detector.finish(rows)

    for values in ([r.score for r in readings], [r.probability for r in readings]):
        assert None not in values
        assert values == sorted(values)


def test_finish_calibrates_with_temperature_and_bias(folder: Path, detector: Detector) -> None:
    known = open_weights(folder).meta.slices["photo"].calibration
    assert known is not None

    (reading,) = detector.finish(outputs(1.25, [9, 0, 0, 0]))

    expected = 1 / (1 + np.exp(-(1.25 / known.temperature + known.bias)))
    assert reading.probability == pytest.approx(expected)


def test_finish_has_no_probability_where_the_slice_is_not_calibrated(
    folder: Path, detector: Detector
) -> None:
    facts = list(open_weights(folder).meta.slices.values())
    bare = [index for index, known in enumerate(facts) if known.calibration is None]
    assert bare, "every slice is calibrated now: drop this test"

    for index in bare:
        (reading,) = detector.finish(outputs(3.0, [float(index == i) for i in range(4)]))

        assert reading.probability is None
        assert reading.score > 0.9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finish_refuses_outputs_that_are_not_numbers(detector: Detector, bad: float) -> None:
    for column in range(5):
        rows = np.zeros((2, 5), np.float32)
        rows[1, column] = bad

        with pytest.raises(ValueError, match="not numbers"):
            detector.finish(rows)


def test_finish_refuses_outputs_of_another_model(detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"\(B, 5\) or \(B, 5381\), not \(2, 1\)"):
        detector.finish(np.zeros((2, 1), np.float32))


def test_load_says_what_runs_and_why(detector: Detector) -> None:
    assert (detector.engine, detector.precision, detector.device) == ("openvino", "float32", "cpu")
    assert detector.reason == "openvino: as set; float32: as set"
    assert repr(detector) == f"Detector({detector.weights_id}, openvino, float32, cpu)"


def test_load_refuses_an_empty_batch(folder: Path) -> None:
    with pytest.raises(ValueError, match="batch_limit is 0"):
        load(weights=folder, batch_limit=0)


@pytest.mark.torch
def test_torch_gives_the_readings_of_openvino(
    folder: Path, detector: Detector, pictures: list[Image.Image]
) -> None:
    other = load(weights=folder, engine="torch", precision="float32")

    assert other.engine == "torch"
    some = pictures[2:4]
    for ours, theirs in zip(detector.predict(some), other.predict(some), strict=True):
        assert ours.slice == theirs.slice
        assert ours.score == pytest.approx(theirs.score, abs=1e-3)


@pytest.mark.torch
def test_engines_agree_on_a_tuned_tower_with_a_deep_head(
    tuned_folder: Path, pictures: list[Image.Image]
) -> None:
    ours, theirs = (
        load(weights=tuned_folder, engine=engine, precision="float32")
        for engine in ("openvino", "torch")
    )
    batch = np.stack([ours.prepare(np.asarray(picture)) for picture in pictures[1:3]])

    outputs = ours.forward(batch)

    assert outputs.shape == (2, 5 + 2 * 768)
    np.testing.assert_allclose(outputs, theirs.forward(batch), atol=1e-3)


# -- features


def repackaged(folder: Path, target: Path, *, hidden: int, seed: int) -> Path:
    """Return the weights in `folder` with a drawn head and another calibration."""
    target.mkdir()
    for file in folder.glob("*.safetensors"):
        (target / file.name).symlink_to(file)
    (target / "head.safetensors").unlink()
    random, meta = np.random.default_rng(seed), open_weights(folder).meta
    wide = 768 * len(meta.blocks)
    shapes: dict[str, tuple[int, ...]] = {"weight": (5, wide), "bias": (5,)}
    if hidden:
        shapes |= {"hidden.weight": (hidden, wide), "hidden.bias": (hidden,)}
        shapes |= {"hidden.output": (hidden,)}
    head = {name: random.normal(0, 0.05, shape) for name, shape in shapes.items()}
    path = target / "head.safetensors"
    save_file({name: values.astype(np.float32) for name, values in head.items()}, path)
    file = File(file=path.name, sha256=digest(path), license="MIT", origin="drawn")
    slices = {
        name: replace(facts, calibration=Calibration(temperature=2.0, bias=0.1, ece=0.0))
        for name, facts in meta.slices.items()
    }
    changed = replace(
        meta, head=file, hidden=hidden, slices=slices, calibration_id=calibration_id(slices)
    )
    (target / "meta.json").write_bytes(msgspec.json.encode(changed))
    return target


@pytest.mark.parametrize("hidden", [0, 6], ids=["linear", "deep"])
def test_reread_gives_what_forward_would_have_given_with_another_head(
    tuned_folder: Path, tmp_path: Path, pictures: list[Image.Image], hidden: int
) -> None:
    other = repackaged(tuned_folder, tmp_path / "other", hidden=hidden, seed=7)
    old, new = (load(weights=each, precision="float32") for each in (tuned_folder, other))
    batch = np.stack([old.prepare(np.asarray(picture)) for picture in pictures])
    kept = [reading.features or b"" for reading in old.finish(old.forward(batch))]

    found = new.reread(kept)

    assert new.features_id == old.features_id
    expected = new.finish(new.forward(batch))
    assert [r.slice for r in found] == [r.slice for r in expected]
    assert [r.points for r in found] == [r.points for r in expected]
    assert [r.score for r in found] == pytest.approx([r.score for r in expected], abs=1e-3)
    assert [r.probability for r in found] == pytest.approx(
        [r.probability for r in expected], abs=1e-3
    )


def test_reread_gives_the_shipped_scores(detector: Detector, pictures: list[Image.Image]) -> None:
    batch = np.stack([detector.prepare(np.asarray(picture)) for picture in pictures[:3]])
    readings = detector.finish(detector.forward(batch))

    found = detector.reread([reading.features or b"" for reading in readings])

    assert [r.score for r in found] == pytest.approx([r.score for r in readings], abs=1e-3)


def test_predict_gives_readings_without_features(
    detector: Detector, pictures: list[Image.Image]
) -> None:
    (reading,) = detector.predict(pictures[:1])

    assert reading.features is None
    assert "features" not in repr(reading)


def test_reread_refuses_a_head_that_came_into_the_place_of_its_own(
    tuned_folder: Path, tmp_path: Path
) -> None:
    first, second = (
        repackaged(tuned_folder, tmp_path / name, hidden=0, seed=seed)
        for seed, name in enumerate(("first", "second"))
    )
    detector = load(weights=first, precision="float32")
    (second / "head.safetensors").replace(first / "head.safetensors")

    with pytest.raises(WeightsError, match="does not hold the tensors"):
        detector.reread([bytes(2 * 768 * 2)])


@pytest.mark.parametrize("size", [0, 7 * 768 * 2 - 1, 7 * 768 * 4])
def test_reread_refuses_features_of_another_model(detector: Detector, size: int) -> None:
    with pytest.raises(ValueError, match=rf"10752 bytes, not \[.*{size}"):
        detector.reread([bytes(7 * 768 * 2), bytes(size)])


def test_reread_refuses_features_that_are_not_numbers(detector: Detector) -> None:
    features = np.zeros(7 * 768, np.float16)
    features[3] = np.nan

    with pytest.raises(ValueError, match="not numbers"):
        detector.reread([features.tobytes()])


def test_features_go_by_all_that_makes_them_and_nothing_else(folder: Path) -> None:
    meta = open_weights(folder).meta
    other = replace(meta.base, sha256="0" * 64)

    def name(changed: Meta = meta, engine: str = "openvino", precision: str = "float32") -> str:
        return features_identity(changed, engine=engine, precision=precision)

    changes = {
        "tower": name(replace(meta, base=other)),
        "adapter": name(replace(meta, adapter=other)),
        "blocks": name(replace(meta, blocks=(1, 2))),
        "preprocessing": name(
            replace(meta, preprocessing=replace(meta.preprocessing, mean=(0.5, 0.5, 0.5)))
        ),
        "engine": name(engine="torch"),
        "bfloat16": name(precision="bfloat16"),
        "int8": name(precision="int8"),
        "ranges": name(replace(meta, int8=other), precision="int8"),
    }
    assert len({name(), *changes.values()}) == 1 + len(changes)
    # Ranges that are not used, the head, and what was measured with it.
    assert name(replace(meta, int8=other)) == name()
    assert name(replace(meta, head=other, hidden=0, calibration_id="c", slices={})) == name()


def run(code: str) -> list[str]:
    """Return the lines that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_import_pinclip_is_light() -> None:
    heavy = run(
        "import sys, pinclip\n"
        "pinclip.__version__\n"
        "print(*[name for name in ('numpy', 'openvino', 'torch', 'PIL', 'msgspec')"
        " if name in sys.modules])"
    )

    assert heavy == []


def test_pinclip_names_what_it_has() -> None:
    for name in pinclip.__all__:
        assert getattr(pinclip, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'scan'"):
        _ = pinclip.scan
