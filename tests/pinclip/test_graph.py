"""pinclip.graph and pinclip.tower: one model, two engines, no influence between images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pinclip.graph import OpenVinoTower
from pinclip.preprocess import prepare
from pinclip.weights import Weights, open_weights

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
    weight, bias = weights.head()

    features = bare.forward(batch[:1])

    assert features.shape == (1, weight.shape[1])
    parts = features.reshape(1, len(weights.meta.blocks), -1)
    np.testing.assert_allclose(parts.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(parts.std(-1), 1, atol=1e-3)
    np.testing.assert_allclose(features @ weight.T + bias, whole[:1], atol=1e-3)
