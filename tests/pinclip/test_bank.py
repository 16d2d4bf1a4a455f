"""The bank of categories: where it may come from, what it is made into, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from pinclip import bank
from pinclip.recipe import RecipeError


def test_a_prepared_bank_has_unit_rows_about_no_common_direction() -> None:
    rows = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)) + 5

    found = bank.prepare(rows)

    torch.testing.assert_close(found.norm(dim=1), torch.ones(16))
    assert bank.effective_rank(found) > 2 * bank.effective_rank(rows)


def test_effective_rank_counts_directions() -> None:
    assert bank.effective_rank(torch.eye(5)) == pytest.approx(5)
    assert bank.effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-6)


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    np.save(tmp_path / "bank.npy", np.asfortranarray(rows))

    found = bank.load_bank(tmp_path / "bank.npy")

    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), rows, rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(np.ones(6), id="a vector"),
        pytest.param(np.ones((1, 4)), id="one row"),
        pytest.param(np.ones((6, 4), np.int64), id="integers"),
        pytest.param(np.full((6, 4), np.nan), id="not a number"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, wrong: Any) -> None:
    np.save(tmp_path / "bank.npy", wrong)

    with pytest.raises(RecipeError, match=r"bank\.npy holds .* M >= 2"):
        bank.load_bank(tmp_path / "bank.npy")


def test_a_file_that_would_run_code_or_is_missing_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)

    for name in ("objects.npy", "missing.npy"):
        with pytest.raises(RecipeError, match="cannot be read"):
            bank.load_bank(tmp_path / name)


def test_centroids_lie_where_each_class_is() -> None:
    random = np.random.default_rng(0)
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]], np.float32)
    features = np.repeat(corners, 20, axis=0) + random.normal(0, 0.1, (80, 2))
    classes = np.repeat([0, 0, 1, 1], 20)

    found = bank.centroids(features, classes, size=4, seed=0)

    order = np.lexsort(found.numpy().round().T[::-1])
    np.testing.assert_allclose(found.numpy()[order], corners, atol=0.1)
    assert torch.equal(found, bank.centroids(features, classes, size=4, seed=0))


def test_an_odd_number_of_centroids_is_shared_out_whole() -> None:
    features = np.random.default_rng(0).standard_normal((40, 3))

    assert bank.centroids(features, np.arange(40) % 2, size=5, seed=0).shape == (5, 3)


def test_more_centroids_than_images_are_refused() -> None:
    with pytest.raises(RecipeError, match="bank_size 16 asks for 8 centroids of class 1, which"):
        bank.centroids(np.ones((12, 3)), np.arange(12) // 9, size=16, seed=0)


def test_the_phrases_are_32_of_either_kind_over_the_same_contents() -> None:
    assert len(set(bank.PROMPTS)) == 64
    contents = [
        [p.split(" of ")[-1] for p in half] for half in (bank.PROMPTS[:32], bank.PROMPTS[32:])
    ]
    assert sorted(contents[0]) == sorted(contents[1])


def test_phrases_become_features_by_the_users_own_text_tower(tmp_path: Path) -> None:
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    (tmp_path / "pinclip-test-tiny.json").write_text(
        json.dumps({"embed_dim": 12, "vision_cfg": vision, "text_cfg": text})
    )
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    clip = open_clip.create_model("pinclip-test-tiny").eval()
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")

    found = bank.text_bank(
        bank.PROMPTS[:3], model="pinclip-test-tiny", checkpoint=tmp_path / "clip.safetensors"
    )

    tokens = open_clip.get_tokenizer("pinclip-test-tiny")(list(bank.PROMPTS[:3]))
    with torch.no_grad():
        torch.testing.assert_close(found, clip.encode_text(tokens))


def test_a_checkpoint_that_may_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.pt").touch()

    with pytest.raises(RecipeError, match="may run code"):
        bank.text_bank(["a"], model="ViT-B-16", checkpoint=tmp_path / "clip.pt")
