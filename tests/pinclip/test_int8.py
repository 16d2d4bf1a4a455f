"""pinclip.int8: 8 bits only where they were measured, and close to float32 there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from pinclip import graph, int8
from pinclip.detector import load
from pinclip.preprocess import prepare
from pinclip.weights import LINEAR, Levels, Weights, WeightsError, open_weights

IS_AI = np.array([True, False, True])


@pytest.fixture
def copy(tuned_folder: Path, tmp_path: Path) -> Path:
    """Weights of two blocks that ranges may be added to."""
    return Path(shutil.copytree(tuned_folder, tmp_path / "weights", symlinks=True))


@pytest.fixture(scope="module")
def weights(tuned_folder: Path) -> Weights:
    return open_weights(tuned_folder)


@pytest.fixture(scope="module")
def batch(weights: Weights, pictures: list[Image.Image]) -> np.ndarray:
    how = weights.meta.preprocessing
    return np.stack([prepare(np.asarray(picture), how) for picture in pictures])


@pytest.fixture(scope="module")
def found(weights: Weights, batch: np.ndarray) -> dict[str, Levels]:
    return int8.levels(weights.base(), int8.extremes(weights, batch[:2]))


def test_ranges_are_of_every_layer_that_the_weights_run(found: dict[str, Levels]) -> None:
    assert sorted(found) == [
        f"transformer.resblocks.{block}.{layer}"
        for block in (0, 1)
        for layer in ("attn.in_proj", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    for layer, one in found.items():
        low, high = one.range
        assert one.smooth.shape == (LINEAR[layer],)
        assert one.smooth.min() > 0
        assert low < 0 < high
        steps = -low / (high - low) * 255  # 0 has to be one of them: most inputs are near it
        assert steps == pytest.approx(round(float(steps)), abs=1e-3)


@pytest.mark.torch
def test_extremes_are_those_of_what_enters_the_layer(weights: Weights, batch: np.ndarray) -> None:
    import torch

    from pinclip.tower import image_tower

    seen = int8.extremes(weights, batch[:2])

    visual = image_tower(weights.base())
    with torch.no_grad():
        inputs = visual.transformer.resblocks[0].ln_1(visual._embeds(torch.from_numpy(batch[:2])))
    least, greatest = seen["transformer.resblocks.0.attn.in_proj"]
    np.testing.assert_allclose(least, inputs.amin(dim=(0, 1)), atol=1e-3)
    np.testing.assert_allclose(greatest, inputs.amax(dim=(0, 1)), atol=1e-3)


def test_layers_with_ranges_multiply_integers_and_others_do_not(
    weights: Weights, found: dict[str, Levels], tmp_path: Path
) -> None:
    first = {layer: one for layer, one in found.items() if ".0." in layer}
    int8.write(first, tmp_path / "some.safetensors")

    for path, expected in ((None, 0), (tmp_path / "some.safetensors", len(first))):
        model = graph.build(weights.base(int8=path), weights.meta.blocks, None)
        assert multiplying_integers(graph.compiled(model, "int8")) == expected


def multiplying_integers(model: ov.CompiledModel) -> int:
    """Return how many products of the graph, as it runs, are of 8-bit integers."""
    nodes = [node.get_rt_info() for node in model.get_runtime_model().get_ops()]
    products = [info for info in nodes if info["layerType"].astype(str) == "FullyConnected"]
    return sum(info["primitiveType"].astype(str).endswith("I8") for info in products)


def test_add_makes_weights_that_run_in_8_bits_and_score_alike(
    copy: Path, batch: np.ndarray
) -> None:
    before = open_weights(copy)

    change = int8.add(copy, images=batch[:2], held=batch[2:], is_ai=IS_AI)

    assert change.passes
    after = load(weights=copy, engine="openvino", precision="int8")
    assert after.precision == "int8"
    assert after.weights_sha256 != before.sha256
    ours, exact = (
        detector.forward(batch)[:, : len(before.meta.outputs)]
        for detector in (after, load(weights=copy, precision="float32"))
    )
    assert 0 < np.abs(ours - exact).max() < 0.5
    assert f"{change.mean:.4f}" in open_weights(copy).meta.int8.origin


def test_add_gives_up_blocks_until_the_bar_holds(
    copy: Path, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = int8.add(copy, images=batch[:2], held=batch[2:], is_ai=IS_AI)
    monkeypatch.setattr(int8, "MEAN_BAR", 0.999 * whole.mean)

    part = int8.add(copy, images=batch[:2], held=batch[2:], is_ai=IS_AI)

    assert part.mean < whole.mean
    base = open_weights(copy).base(int8=open_weights(copy).int8)
    kept = {layer.split(".")[2] for layer in LINEAR if base.levels(layer) is not None}
    assert len(kept) == 1


def test_add_writes_nothing_where_no_block_passes(
    copy: Path, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "MEAN_BAR", 0.0)

    with pytest.raises(ValueError, match="No block may run in 8 bits"):
        int8.add(copy, images=batch[:2], held=batch[2:], is_ai=IS_AI)

    assert not (copy / int8.FILE).exists()
    assert open_weights(copy).int8 is None


@pytest.mark.parametrize(
    ("rounded", "passes"),
    [([3.0, -3.0, 2.0], True), ([3.1, -3.1, 1.9], True), ([3.0, 2.5, 2.0], False)],
    ids=["the same", "a little", "another verdict"],
)
def test_the_bar_is_about_scores(rounded: list[float], passes: bool) -> None:
    exact = np.array([3.0, -3.0, 2.0], np.float32)

    change = int8.compare(exact, np.array(rounded, np.float32), IS_AI)

    assert change.passes == passes


@pytest.mark.parametrize("missing", ["smooth", "range", "all"])
def test_open_weights_refuses_ranges_that_are_not_whole(
    copy: Path, batch: np.ndarray, found: dict[str, Levels], missing: str
) -> None:
    int8.add(copy, images=batch[:2], held=batch[2:], is_ai=IS_AI)
    path = copy / int8.FILE
    tensors = load_file(path)
    kept = {name: t for name, t in tensors.items() if missing not in ("all", name.rsplit(".")[-1])}
    save_file(kept, path)

    with pytest.raises(WeightsError) as caught:
        open_weights(copy)

    assert caught.value.code == "weights_foreign"
    assert int8.FILE in str(caught.value)
