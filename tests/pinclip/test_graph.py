"""pinclip.graph and pinclip.tower: one model, two engines, no influence between images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
import pytest
from PIL import Image
from safetensors.numpy import save_file
from scipy.special import erf

from pinclip.graph import OpenVinoTower, build
from pinclip.preprocess import prepare
from pinclip.weights import Base, Head, Hidden, Weights, open_weights

if TYPE_CHECKING:
    from pinclip.tower import TorchTower


@pytest.fixture(scope="module")
def weights(folder: Path) -> Weights:
    return open_weights(folder)


@pytest.fixture(scope="module")
def graph(weights: Weights) -> OpenVinoTower:
    blocks, head = weights.meta.blocks, weights.head()
    return OpenVinoTower(weights.base(), blocks, head, precision="float32")


@pytest.fixture(scope="module")
def tower(weights: Weights) -> TorchTower:
    from pinclip.tower import TorchTower

    blocks, head = weights.meta.blocks, weights.head()
    return TorchTower(weights.base(), blocks, head, precision="float32", device="cpu")


@pytest.fixture(scope="module")
def batch(weights: Weights, pictures: list[Image.Image]) -> np.ndarray:
    how = weights.meta.preprocessing
    return np.stack([prepare(np.asarray(picture), how) for picture in pictures])


@pytest.fixture(scope="module")
def whole(graph: OpenVinoTower, batch: np.ndarray) -> np.ndarray:
    return graph.forward(batch)


@pytest.mark.torch
def test_graph_scores_like_open_clip(
    whole: np.ndarray, tower: TorchTower, batch: np.ndarray
) -> None:
    theirs = tower.forward(batch)

    assert whole.shape == theirs.shape == (len(batch), 5)
    np.testing.assert_allclose(whole, theirs, atol=1e-3)


@pytest.mark.torch
def test_tower_in_bfloat16_scores_much_like_float32(
    weights: Weights, tower: TorchTower, batch: np.ndarray
) -> None:
    from pinclip.tower import TorchTower

    blocks, head = weights.meta.blocks, weights.head()
    half = TorchTower(weights.base(), blocks, head, precision="bfloat16", device="cpu")

    exact, rough = tower.forward(batch[:1])[:, 0], half.forward(batch[:1])[:, 0]

    assert 0 < np.abs(exact - rough).max() < 0.5


@pytest.mark.torch
def test_image_tower_is_that_of_open_clip(weights: Weights) -> None:
    import open_clip

    from pinclip.tower import image_tower

    theirs = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).visual
    ours = image_tower(weights.base())

    assert str(ours) == str(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_graph_scores_an_image_alike_whatever_is_beside_it(
    graph: OpenVinoTower, whole: np.ndarray, batch: np.ndarray
) -> None:
    order = np.array([3, 0, 4, 1, 2])

    permuted = graph.forward(np.ascontiguousarray(batch[order]))
    parts = np.concatenate([graph.forward(part) for part in (batch[:1], batch[1:3], batch[3:])])

    np.testing.assert_allclose(permuted, whole[order], atol=1e-5)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_graph_tells_images_apart(whole: np.ndarray) -> None:
    assert np.isfinite(whole).all()
    assert whole.std(axis=0).min() > 0.1


def test_graph_gives_results_that_later_calls_leave_alone(
    graph: OpenVinoTower, batch: np.ndarray
) -> None:
    first = graph.forward(batch[:1])
    before = first.copy()

    graph.forward(batch[1:2])

    np.testing.assert_array_equal(first, before)


def test_graph_without_a_head_gives_the_features_that_the_head_sees(
    weights: Weights, whole: np.ndarray, batch: np.ndarray
) -> None:
    bare = OpenVinoTower(weights.base(), weights.meta.blocks, None, precision="float32")
    head = weights.head()

    features = bare.forward(batch[:1])

    assert features.shape == (1, head.weight.shape[1])
    parts = features.reshape(1, len(weights.meta.blocks), -1)
    np.testing.assert_allclose(parts.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(parts.std(-1), 1, atol=1e-3)
    linear = features @ head.weight.T + head.bias  # the hidden layer adds to the first alone
    np.testing.assert_allclose(linear[:, 1:], whole[:1, 1:], atol=1e-3)


# A tuned tower with a deep head. Two blocks only, so that it is quick; the second one is tuned.

BLOCKS = (1, 2)
AT = "transformer.resblocks.1.attn.in_proj"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(3)
    factors = {}
    for part in "qkv":
        factors[f"{AT}.{part}.a"] = random.normal(0, 0.03, (3, 768)).astype(np.float32)
        factors[f"{AT}.{part}.b"] = random.normal(0, 0.3, (768, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    save_file(factors, path)
    return path


@pytest.fixture(scope="module")
def tuned(folder: Path, adapter: Path) -> Base:
    return Base(folder / "base.safetensors", adapter=adapter)


@pytest.fixture(scope="module")
def deep() -> Head:
    random = np.random.default_rng(4)
    wide = 768 * len(BLOCKS)
    return Head(
        weight=random.normal(0, 0.02, (3, wide)).astype(np.float32),
        bias=random.normal(size=3).astype(np.float32),
        hidden=Hidden(
            weight=random.normal(0, 0.02, (5, wide)).astype(np.float32),
            bias=random.normal(size=5).astype(np.float32),
            # Large, so that the exact GELU can be told from its approximations.
            output=30 * random.normal(size=5).astype(np.float32),
        ),
    )


@pytest.fixture(scope="module")
def expected(folder: Path, adapter: Path, deep: Head, batch: np.ndarray) -> np.ndarray:
    """What the parts mean, worked out from open_clip's blocks one by one."""
    import torch
    from safetensors.numpy import load_file

    from pinclip.tower import image_tower

    visual = image_tower(Base(folder / "base.safetensors"))
    factors = load_file(adapter)
    with torch.no_grad():
        whole = visual.transformer.resblocks[1].attn.in_proj_weight
        for row, part in zip((0, 768, 1536), "qkv", strict=True):
            change = factors[f"{AT}.{part}.b"] @ factors[f"{AT}.{part}.a"]
            whole[row : row + 768] += torch.from_numpy(change)
        first = visual.transformer.resblocks[0](visual._embeds(torch.from_numpy(batch[:2])))
        second = visual.transformer.resblocks[1](first)
    parts = [tokens[:, 0].numpy().astype(np.float64) for tokens in (first, second)]
    normed = [
        (p - p.mean(-1, keepdims=True)) / np.sqrt(p.var(-1, keepdims=True) + 1e-5) for p in parts
    ]
    features = np.concatenate(normed, axis=1)
    outputs = features @ deep.weight.T + deep.bias
    assert deep.hidden is not None
    inner = features @ deep.hidden.weight.T + deep.hidden.bias
    outputs[:, 0] += inner * (1 + erf(inner / np.sqrt(2))) / 2 @ deep.hidden.output
    return outputs


@pytest.mark.torch
def test_graph_runs_adapter_and_hidden_layer_as_they_are_defined(
    tuned: Base, deep: Head, batch: np.ndarray, expected: np.ndarray
) -> None:
    graph = OpenVinoTower(tuned, BLOCKS, deep, precision="float32")

    np.testing.assert_allclose(graph.forward(batch[:2]), expected, atol=1e-3)


@pytest.mark.torch
def test_tower_runs_adapter_and_hidden_layer_as_they_are_defined(
    tuned: Base, deep: Head, batch: np.ndarray, expected: np.ndarray
) -> None:
    from pinclip.tower import TorchTower

    tower = TorchTower(tuned, BLOCKS, deep, precision="float32", device="cpu")

    np.testing.assert_allclose(tower.forward(batch[:2]), expected, atol=1e-3)


@pytest.mark.torch
def test_engines_give_the_features_that_the_head_read(
    tuned: Base, deep: Head, batch: np.ndarray, expected: np.ndarray
) -> None:
    from pinclip.tower import TorchTower

    bare = OpenVinoTower(tuned, BLOCKS, None, precision="float32").forward(batch[:2])
    graph = OpenVinoTower(tuned, BLOCKS, deep, precision="float32")
    tower = TorchTower(tuned, BLOCKS, deep, precision="float32", device="cpu")

    for engine in (graph, tower):
        outputs, features = engine.forward_both(batch[:2])

        np.testing.assert_allclose(outputs, expected, atol=1e-3)
        np.testing.assert_allclose(features, bare, atol=1e-3)


@pytest.mark.torch
def test_tower_compiles_one_graph_for_any_batch_and_one_for_a_single_image(
    tuned: Base, batch: np.ndarray
) -> None:
    """What CUDA runs, with a compiler that keeps the graphs and changes nothing."""
    from pinclip.tower import TorchTower

    graphs = []

    def keeping(graph: Callable[..., object], _inputs: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph

    plain, compiled = (
        TorchTower(tuned, BLOCKS, None, precision="bfloat16", device="cpu", compiler=compiler)
        for compiler in (None, keeping)
    )
    expected = plain.forward(batch)
    outputs = [compiled.forward(batch[:size]) for size in (2, 3, 5, 1)]

    assert compiled.why_not_compiled is None
    assert len(graphs) == 2
    for found in outputs:
        np.testing.assert_allclose(found, expected[: len(found)], atol=0.1)


@pytest.mark.torch
def test_tower_runs_as_it_is_where_it_cannot_be_compiled(
    tuned: Base, deep: Head, batch: np.ndarray, expected: np.ndarray
) -> None:
    from pinclip.tower import TorchTower

    def failing(_graph: object, _inputs: object) -> Callable[..., object]:
        raise RuntimeError("Failed to find C compiler.")

    tower = TorchTower(tuned, BLOCKS, deep, precision="float32", device="cpu", compiler=failing)

    assert tower.why_not_compiled is not None
    assert tower.why_not_compiled.endswith("RuntimeError: Failed to find C compiler.")
    np.testing.assert_allclose(tower.forward(batch[:2]), expected, atol=1e-3)


def test_graph_keeps_what_was_not_tuned_in_int8(tuned: Base, folder: Path, deep: Head) -> None:
    plain = build(Base(folder / "base.safetensors"), BLOCKS, None)
    changed = build(tuned, BLOCKS, None)

    assert eight_bits(plain) - eight_bits(changed) == 3 * 768 * 768
    assert eight_bits(changed) == 768 * 768 * (12 * len(BLOCKS) - 3)


def eight_bits(model: ov.Model) -> int:
    """Return how many numbers of the graph are stored in int8."""
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    kept = [node for node in constants if node.get_element_type() == ov.Type.i8]
    return sum(int(np.prod(node.get_output_shape(0))) for node in kept)


TWO_IN_TURN = """
import signal
import openvino as ov
import openvino.opset15 as op
from pinclip.graph import compiled

def small():
    given = op.parameter([1, 4])
    return compiled(ov.Model([op.relu(given)], [given], "small"), "float32")

signal.signal(signal.SIGTERM, lambda *_: print("told"))
first = small()
second = small()
del first
del second
signal.raise_signal(signal.SIGTERM)
"""


def test_a_process_that_has_let_two_models_go_still_takes_signals() -> None:
    ended = subprocess.run([sys.executable, "-c", TWO_IN_TURN], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, b"told\n")
