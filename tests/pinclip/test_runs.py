"""pinclip.runs: `pinclip train` fills a run folder from a set, or says what is wrong."""

from __future__ import annotations

import csv
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from PIL import Image

from pinclip import metrics
from pinclip.command import train
from pinclip.data import read_manifest
from pinclip.runs import COLUMNS, Tower, fold_scorer

RECIPE = """
name = "small"
seed = 2
[data]
folds = 2
[model]
features = "class_tokens"
blocks = [1, 2]
[noise]
kind = "learned"
site = "S1"
bank_size = 4
heads = 2
head_width = 8
[optimise]
epochs = 3
batch = 8
"""
COUNT = 32


def tower() -> Tower:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        visual = VisionTransformer(
            image_size=32,
            patch_size=16,
            width=64,
            layers=2,
            heads=4,
            mlp_ratio=1,
            output_dim=32,
            act_layer=QuickGELU,
        )
    return Tower(visual.requires_grad_(False).eval(), "0" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 32 pictures of eight sources; those of AI are stripes, the others noise."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    rows = [("file", "label", "source", "group", "fold", "style", "sha256_of_original")]
    for index in range(COUNT):
        is_ai = index % 2 == 1
        pixels = random.integers(60, 196, (36, 36, 3), np.uint8)
        if is_ai:
            pixels[:, ::4] = 255
        name = f"{index:02}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        source = f"s{index % 8}"
        fold = index % 8 // 2 % 2
        rows.append((name, "ai" if is_ai else "real", source, source, str(fold), "photo", name))
    (folder / "manifest.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


def start(recipe: Path, folder: Path, out: Path, *more: str) -> int:
    given = [str(recipe), "--data", str(folder), "--out", str(out), "--device", "cpu", *more]
    return train(given, tower=tower)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, folder: Path, recipe: Path) -> Path:
    """A run over all folds."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert start(recipe, folder, out, "--all-folds") == 0
    return out


def scores(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def test_a_run_folder_says_what_it_is_of(done: Path) -> None:
    facts = json.loads((done / "run.json").read_text())

    assert (done / "recipe.toml").read_text() == RECIPE
    assert facts["seed"] == 2
    assert facts["images"] == COUNT
    assert facts["tower"] == "0" * 64
    assert facts["versions"]["torch"] == version("torch")
    assert "--all-folds" in facts["command"]
    found = {path.name for path in done.iterdir()}
    assert found == {"recipe.toml", "run.json", "fold-0", "fold-1", "final", "scores.csv", "work"}


def test_every_image_is_scored_by_the_model_that_never_saw_its_fold(done: Path) -> None:
    found = scores(done / "scores.csv")

    assert tuple(next(iter(found.values()))) == COLUMNS
    assert len(found) == COUNT
    for fold in ("0", "1"):
        own = scores(done / f"fold-{fold}" / "scores.csv")
        assert {row["fold"] for row in own.values()} == {fold}
        assert own.items() <= found.items()
    assert not (done / "final" / "scores.csv").exists()
    logits = np.array([float(row["score"]) for row in found.values()])
    truth = np.array([row["label"] == "ai" for row in found.values()])
    assert metrics.auc(logits, truth) > 0.9


def test_the_fold_scorer_scores_as_the_run_did(done: Path, folder: Path) -> None:
    rows = read_manifest(folder)[:6]
    images = [Image.open(folder / "images" / row.file) for row in rows]

    logits = fold_scorer(done, tower())(images, rows)

    found = scores(done / "scores.csv")
    expected = [float(found[row.file]["score"]) for row in rows]
    np.testing.assert_allclose(logits, expected, atol=0.02)


LAW = """
[equalise]
is_on = true
short_side = [20, 28]
quality = [20, 90]
"""


def test_the_fold_scorer_brings_pictures_to_the_law_of_the_recipe(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "law.toml").write_text(RECIPE + LAW)
    assert start(tmp_path / "law.toml", folder, tmp_path / "run", "--fold", "0") == 0
    found = scores(tmp_path / "run" / "scores.csv")
    rows = [row for row in read_manifest(folder) if row.fold == 0]
    images = [Image.open(folder / "images" / row.file) for row in rows]

    logits = fold_scorer(tmp_path / "run", tower())(images, rows)

    expected = [float(found[row.file]["score"]) for row in rows]
    np.testing.assert_allclose(logits, expected, atol=0.02)


def test_one_fold_at_a_time_gives_the_same_and_a_run_goes_on(
    done: Path, recipe: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for fold in ("0", "1"):
        assert start(recipe, folder, out, "--fold", fold) == 0
    before = (out / "scores.csv").read_bytes()

    assert start(recipe, folder, out, "--fold", "0") == 0

    assert before == (done / "scores.csv").read_bytes()
    assert (out / "scores.csv").read_bytes() == before
    assert not (out / "final").exists()


@pytest.mark.parametrize(
    ("changed", "more", "told"),
    [
        pytest.param(
            'name = "small"\n[noise]\nloud = 1', [], "unknown field `loud`", id="unknown-key"
        ),
        pytest.param(
            "seed = 3\n" + RECIPE.replace("seed = 2", ""),
            [],
            "begun by another recipe",
            id="another-recipe",
        ),
        pytest.param("", ["--fold", "7"], "the set has folds 0, 1", id="no-such-fold"),
        pytest.param("", ["--layout", "genimage"], "genimage", id="wrong-layout"),
        pytest.param(
            'name = "small"\n[model]\nblocks = [9]', [], "cannot be built", id="no-such-block"
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    done: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: str,
    more: list[str],
    told: str,
) -> None:
    path = tmp_path / "other.toml"
    path.write_text(changed or RECIPE)

    status = start(path, folder, done, *more)

    assert status == 2
    said = capsys.readouterr().err
    assert "pinclip: " in said
    assert told in said


def test_other_data_are_refused(
    done: Path, folder: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "set"
    (other / "images").mkdir(parents=True)
    for path in (folder / "images").iterdir():
        (other / "images" / path.name).write_bytes(path.read_bytes())
    lines = (folder / "manifest.csv").read_text().splitlines(keepends=True)
    (other / "manifest.csv").write_text("".join(lines[:-1]))

    assert start(recipe, other, done) == 2
    assert "begun on other data" in capsys.readouterr().err


def test_folds_that_share_a_picture_are_refused_before_anything_is_made(
    folder: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path / "set"
    shutil.copytree(folder, shared)
    shutil.copyfile(shared / "images" / "01.png", shared / "images" / "03.png")  # folds 0 and 1

    assert start(recipe, shared, tmp_path / "run", "--all-folds") == 2

    assert "01.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_read_is_left_out_of_a_new_run_and_of_one_that_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, recipe, out = tmp_path / "set", tmp_path / "lenient.toml", tmp_path / "run"
    shutil.copytree(folder, broken)
    (broken / "images" / "05.png").write_bytes(b"no picture")
    recipe.write_text(RECIPE.replace("[data]", "[data]\nunreadable = 0.1"))

    for _ in range(2):
        assert start(recipe, broken, out, "--fold", "0") == 0
        assert "left out, unreadable: 05.png: 10 bytes are no image" in capsys.readouterr().err

    assert json.loads((out / "run.json").read_text())["images"] == COUNT - 1
    assert "05.png" not in scores(out / "scores.csv")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
def test_a_device_that_is_absent_is_refused(
    folder: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(recipe), "--data", str(folder), "--out", str(tmp_path), "--device", "cuda"]

    assert train(given, tower=tower) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err
