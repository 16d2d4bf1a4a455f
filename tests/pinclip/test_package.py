"""`pinclip package`: what serves says what was trained, and claims only what was held out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from PIL import Image
from scipy.special import erf, expit, logit

import pinclip
from pinclip import adapters, cli, package, probe, recipe, runs, weights
from pinclip.model import PinClip
from pinclip.recipe import Adapter, Model, Recipe

from .conftest import draw

pytestmark = pytest.mark.torch

RECIPE = """
name = "small"
[data]
folds = 3
[model]
blocks = [1, 2]
hidden = 4
members = 2
[noise]
kind = "gaussian"
site = "S1"
draws = 1
[optimise]
epochs = 2
batch = 8
"""


def tower() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        image_size=32,
        patch_size=16,
        width=64,
        layers=3,
        heads=4,
        mlp_ratio=2.0,
        output_dim=32,
        act_layer=QuickGELU,
    )


def model_of(**change: object) -> PinClip:
    how = Recipe(name="tiny", model=Model(blocks=(1, 3), **change))  # type: ignore[arg-type]
    model = PinClip(tower(), how, None).eval()
    random = torch.Generator().manual_seed(1)
    model.set_standardisation(
        torch.randn(128, generator=random), 1 + torch.rand(128, generator=random)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return model


@pytest.mark.parametrize(("hidden", "members"), [(0, 1), (0, 3), (5, 1), (5, 3)])
def test_head_gives_the_score_of_the_model_from_raw_features(hidden: int, members: int) -> None:
    model = model_of(hidden=hidden, members=members)
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    kind = probe.Head(
        weight=np.asfortranarray(np.ones((4, 128), np.float32)), bias=np.arange(4, dtype=np.float32)
    )

    found = package.head_tensors(model, kind)

    features = model.features(images).numpy()
    assert all(tensor.flags.c_contiguous for tensor in found.values())  # as safetensors writes
    outputs = features @ found["weight"].T + found["bias"]
    if hidden:
        inside = features @ found["hidden.weight"].astype(np.float32).T + found["hidden.bias"]
        active = inside * (1 + erf(inside / np.sqrt(2))) / 2
        outputs[:, 0] += active @ found["hidden.output"]
    np.testing.assert_allclose(outputs[:, 0], model.score(images).numpy(), atol=2e-3)
    np.testing.assert_allclose(outputs[0, 1:], features[0].sum() + np.arange(4), atol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "orthogonal"])
def test_adapter_holds_what_merging_adds(kind: str) -> None:
    model = model_of(adapter=Adapter(kind=kind, blocks=(2, 3), rank=3, alpha=6.0))  # type: ignore[arg-type]
    before = tower().transformer.resblocks[1].attn.in_proj_weight.detach()

    found = package.adapter_tensors(model)
    model.merge()

    assert {name.split(".")[2] for name in found} == {"1", "2"}
    at = "transformer.resblocks.1.attn.in_proj"
    added = np.concatenate([found[f"{at}.{n}.b"] @ found[f"{at}.{n}.a"] for n in "qkv"])
    merged = model.visual.transformer.resblocks[1].attn.in_proj_weight.detach()
    np.testing.assert_allclose(added, (merged - before).numpy(), atol=1e-6)
    assert np.abs(added).max() > 1e-3


def test_factors_are_of_adapters_alone() -> None:
    with pytest.raises(TypeError, match="Linear is no adapter"):
        adapters.factors(torch.nn.Linear(2, 2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real tower's first two blocks on pictures that are drawn, both folds."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "images").mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "source", "group", "fold", "style"])
        for number in range(24):
            label = ("ai", "real")[number % 2]
            group, name = f"{label}-{number // 2 % 6}", f"{number}.png"
            picture = draw(number)
            picture = picture if label == "ai" else picture.convert("L").convert("RGB")
            picture.save(folder / "images" / name)
            style = ("photo", "illustration", "3d", "screenshot")[number // 2 % 4]
            table.writerow([name, label, label, group, number // 2 % 3, style])
    (folder / "recipe.toml").write_text(RECIPE)
    order = ["train", str(folder / "recipe.toml"), "--data", str(folder)]
    assert cli.main([*order, "--out", str(folder / "run"), "--all-folds"]) == 0
    return folder


def order(folder: Path, out: Path) -> list[str]:
    there = [str(folder / "run"), "--data", str(folder), "-o", str(out)]
    return ["package", *there, "--release", "test", "--date", "2026-11-25"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_serves_says_what_was_trained(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"

    assert cli.main([*order(trained, out), "--description", "Drawn for a test."]) == 0

    picture = Image.open(trained / "images" / "3.png").convert("RGB")
    served = pinclip.load(weights=out, engine="openvino", precision="float32")
    (reading,) = served.predict([picture])
    model = runs.load_model(trained / "run", "final", runs.shipped_tower().visual)
    said = model.score(torch.from_numpy(served.prepare(np.asarray(picture)))[None]).item()
    assert reading.score == pytest.approx(float(expit(said)), abs=2e-3)
    meta = weights.open_weights(out).meta
    assert (meta.hidden, meta.blocks, meta.data.images) == (8, (1, 2), 24)
    assert all(facts.calibration is None for facts in meta.slices.values())
    card = (out / "CARD.md").read_text()
    assert meta.data.description == "Drawn for a test."
    assert "Drawn for a test." in card
    assert f"`{recipe.digest(recipe.read_recipe(trained / 'recipe.toml'))[:16]}`" in card
    assert "every answer is inconclusive" in card


@pytest.mark.slow
def test_what_is_claimed_is_of_the_folds(trained: Path) -> None:
    rows = tuple(package.open_set(trained, layout="manifest").rows)

    held = package._held(rows, trained / "run" / "scores.csv")

    model = runs.load_model(trained / "run", "fold-1", runs.shipped_tower().visual)
    index = next(i for i, row in enumerate(rows) if row.fold == 1)
    detector = pinclip.load(engine="openvino", precision="float32")
    pixels = np.asarray(Image.open(trained / "images" / rows[index].file).convert("RGB"))
    said = model.score(torch.from_numpy(detector.prepare(pixels))[None]).item()
    assert held.logit[index] == pytest.approx(said, abs=2e-3)
    assert logit(expit(held.logit)) == pytest.approx(held.logit)


@pytest.mark.slow
def test_a_run_of_other_data_or_half_a_run_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = trained / "run" / "scores.csv"
    whole = scores.read_text()
    scores.write_text("\n".join(whole.splitlines()[:-3]) + "\n")
    try:
        assert cli.main(order(trained, tmp_path / "a")) == 2
        assert "no score for 3 of 24 images" in capsys.readouterr().err
    finally:
        scores.write_text(whole)
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    for path in (trained / "images").iterdir():
        (other / "images" / path.name).write_bytes(path.read_bytes())
    manifest = (trained / "manifest.csv").read_text().replace("ai-0", "ai-other")
    (other / "manifest.csv").write_text(manifest)

    assert cli.main([*order(trained, tmp_path / "b")[:3], str(other), "-o", str(tmp_path / "b"),
                     "--release", "x", "--date", "2026-11-25"]) == 2  # fmt: skip
    assert "trained on other data" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
