"""pinclip.data.layouts: every published layout, read from a miniature tree that is written here."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pinclip.data.errors import DataError
from pinclip.data.families import family
from pinclip.data.layouts import LAYOUTS, expected
from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet, decode, open_set


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def plant(folder: Path, files: Iterable[str]) -> Path:
    """Write a tree; each file is another picture."""
    for seed, file in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return folder


def said(row: Row) -> tuple[str, str, str, str]:
    return row.label, row.generator, row.source, row.split


def by_file(images: ImageSet) -> dict[str, Row]:
    return {row.file: row for row in images.rows}


# Layout -> file -> label, generator, source, split. Names are those of the published trees.
TREES = {
    "genimage": {
        "Midjourney/train/ai/1.png": ("ai", "Midjourney", "Midjourney", "train"),
        "Midjourney/train/nature/n01440764_1.JPEG": ("real", "", "Midjourney", "train"),
        "Stable Diffusion V1.4/val/ai/1.png": (
            "ai",
            "Stable Diffusion V1.4",
            "Stable Diffusion V1.4",
            "val",
        ),
        "Stable Diffusion V1.4/val/nature/1.png": ("real", "", "Stable Diffusion V1.4", "val"),
        "ADM/imagenet_ai_0508_adm/train/ai/1.png": ("ai", "ADM", "ADM", "train"),
        "ADM/imagenet_ai_0508_adm/train/nature/n01/1.png": ("real", "", "ADM", "train"),
        "imagenet_ai/train/ai/1.png": ("ai", "", "imagenet_ai", "train"),
        "imagenet_ai/train/nature/1.png": ("real", "", "imagenet_ai", "train"),
    },
    "forensynths": {
        "train/airplane/0_real/1.png": ("real", "", "progan/airplane", "train"),
        "train/airplane/1_fake/1.png": ("ai", "progan", "progan/airplane", "train"),
        "val/car/0_real/1.png": ("real", "", "progan/car", "val"),
        "val/car/1_fake/1.png": ("ai", "progan", "progan/car", "val"),
        "test/cyclegan/horse/0_real/1.png": ("real", "", "cyclegan/horse", "test"),
        "test/cyclegan/horse/1_fake/1.png": ("ai", "cyclegan", "cyclegan/horse", "test"),
        "test/biggan/0_real/1.png": ("real", "", "biggan", "test"),
        "test/biggan/1_fake/1.png": ("ai", "biggan", "biggan", "test"),
    },
    "universal_fake_detect": {
        "datasets/test/progan/cat/0_real/1.png": ("real", "", "progan/cat", "test"),
        "datasets/test/progan/cat/1_fake/1.png": ("ai", "progan", "progan/cat", "test"),
        "diffusion_datasets/guided/1_fake/1.png": ("ai", "guided", "guided", "test"),
        "diffusion_datasets/imagenet/0_real/1.png": ("real", "", "imagenet", "test"),
        "diffusion_datasets/ldm_200/1_fake/1.png": ("ai", "ldm_200", "ldm_200", "test"),
        "diffusion_datasets/dalle/1_fake/1.png": ("ai", "dalle", "dalle", "test"),
        "diffusion_datasets/laion/0_real/1.png": ("real", "", "laion", "test"),
    },
    "aigcdetectbenchmark": {
        "progan/airplane/0_real/1.png": ("real", "", "progan/airplane", "test"),
        "progan/airplane/1_fake/1.png": ("ai", "progan", "progan/airplane", "test"),
        "ADM/0_real/1.png": ("real", "", "ADM", "test"),
        "ADM/1_fake/1.png": ("ai", "ADM", "ADM", "test"),
        "VQDM/1_fake/1.png": ("ai", "VQDM", "VQDM", "test"),
        "stable_diffusion_v_1_4/1_fake/1.png": (
            "ai",
            "stable_diffusion_v_1_4",
            "stable_diffusion_v_1_4",
            "test",
        ),
    },
    "aigibench": {
        "train/car/0_real/1.png": ("real", "", "car", "train"),
        "train/car/1_fake/1.png": ("ai", "progan", "car", "train"),
        "train/sdv1.4/1_fake/1.png": ("ai", "sdv1.4", "sdv1.4", "train"),
        "val/horse/1_fake/1.png": ("ai", "progan", "horse", "val"),
        "test/R3GAN/0_real/1.png": ("real", "", "R3GAN", "test"),
        "test/R3GAN/1_fake/1.png": ("ai", "R3GAN", "R3GAN", "test"),
        "test/Midjourney-V6/1_fake/1.png": ("ai", "Midjourney-V6", "Midjourney-V6", "test"),
    },
    "chameleon": {
        "Chameleon/test/0_real/1.png": ("real", "", "chameleon", "test"),
        "Chameleon/test/1_fake/1.png": ("ai", "", "chameleon", "test"),
    },
    "wildrf": {
        "train/0_real/1.png": ("real", "", "wildrf", "train"),
        "train/1_fake/1.png": ("ai", "", "wildrf", "train"),
        "test/reddit/0_real/1.png": ("real", "", "reddit", "test"),
        "test/reddit/1_fake/1.png": ("ai", "", "reddit", "test"),
        "test/facebook/1_fake/1.png": ("ai", "", "facebook", "test"),
    },
    "folders": {
        "mine/deep/AI/flux-dev/1.jpg": ("ai", "flux-dev", "mine/deep/flux-dev", ""),
        "mine/Fake/a.b.PNG": ("ai", "", "mine", ""),
        "train/Real/alps/1.webp": ("real", "", "alps", "train"),
        "0_REAL/coast/1.png": ("real", "", "coast", ""),
    },
}


@pytest.mark.parametrize("how", ["auto", "named"])
@pytest.mark.parametrize("layout", TREES)
def test_a_published_tree_is_known_and_read(tmp_path: Path, layout: str, how: str) -> None:
    plant(tmp_path, TREES[layout])

    images = open_set(tmp_path, layout="auto" if how == "auto" else layout, folds=0)

    assert {row.file: said(row) for row in images.rows} == TREES[layout]
    assert images.read(images.rows[0]) == (tmp_path / images.rows[0].file).read_bytes()


def test_every_layout_is_tried_here() -> None:
    assert {*TREES, "manifest", "webdataset", "community_forensics"} == set(LAYOUTS)


def test_a_generator_in_train_and_val_is_one_group(tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            f"{generator}/{split}/{label}/{number}.png"
            for generator in ("VQDM", "GLIDE", "BigGAN")
            for split in ("train", "val")
            for label in ("ai", "nature")
            for number in range(3)
        ],
    )

    images = open_set(tmp_path, folds=3)

    assert {row.group for row in images.rows} == {"VQDM", "GLIDE", "BigGAN"}
    assert len({(row.group, row.fold) for row in images.rows}) == 3


def test_a_mirror_counts_shared_reals_once(tmp_path: Path) -> None:
    plant(tmp_path, [f"{name}/1_fake/{n}.png" for name in ("ldm_100", "dalle") for n in "12"])
    shared = png(100)
    for name in ("ldm_100", "dalle", "guided"):
        plant(tmp_path / name, ["0_real/1.png"])
        (tmp_path / name / "0_real/shared.png").write_bytes(shared)
        (tmp_path / name / "0_real/1.png").write_bytes(png(200) + bytes(len(name)))

    images = open_set(tmp_path, folds=0)

    reals = [row.source for row in images.rows if row.label == "real"]
    assert sorted(reals) == ["imagenet"] * 2 + ["laion"] * 3  # 1.png differs, shared.png does not
    assert len(images.rows) == 4 + 5


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("genimage", ["ADM/train/ai/1.png", "ADM/train/nature/1.png", "ADM/extra/ai/1.png"]),
        ("forensynths", ["test/biggan/0_real/1.png", "test/biggan/2_other/1.png"]),
        ("wildrf", ["test/reddit/0_real/1.png", "test/reddit/1_fake/1.png", "more/1_fake/1.png"]),
        ("folders", ["a/real/1.png", "a/fake/1.png", "a/photos/1.png"]),
        ("folders", ["a/real/1.png", "a/fake/1.png", "1.png"]),
    ],
)
def test_an_image_without_a_place_is_refused_and_the_tree_is_shown(
    tmp_path: Path, layout: str, files: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        open_set(plant(tmp_path, files))

    assert caught.value.code == "unknown_folder"
    assert (Path(files[-1]).parent.as_posix() + " have") in caught.value.detail
    assert expected(layout) in caught.value.detail


def test_an_unknown_tree_says_what_was_seen_and_what_is_known(tmp_path: Path) -> None:
    plant(tmp_path, ["cats/1.png", "dogs/1.png"])

    with pytest.raises(DataError) as caught:
        open_set(tmp_path)

    assert caught.value.code == "unknown_layout"
    assert "cats, dogs" in caught.value.detail
    assert all(expected(layout) in caught.value.detail for layout in LAYOUTS)


def test_a_named_layout_that_does_not_fit_is_refused_with_its_tree(tmp_path: Path) -> None:
    plant(tmp_path, ["real/1.png", "fake/1.png"])

    with pytest.raises(DataError, match="read as genimage") as caught:
        open_set(tmp_path, layout="genimage")

    assert "{train,val}/{ai,nature}" in caught.value.detail


@pytest.mark.parametrize("where", ["nowhere", "file.txt"])
def test_what_is_no_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file.txt").write_text("x")

    with pytest.raises(DataError, match="is no folder"):
        open_set(tmp_path / where)


def test_a_layout_that_is_not_there_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="genimage"):
        open_set(tmp_path, layout="genimages")


def test_folders_of_both_classes_on_one_path_contradict(tmp_path: Path) -> None:
    plant(tmp_path, ["real/1.png", "fake/1.png", "real/x/ai/1.png"])

    with pytest.raises(DataError) as caught:
        open_set(tmp_path)

    assert caught.value.code == "contradictory_labels"


def test_a_class_folder_without_images_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["a/real/1.png", "a/fake/1.png"])
    (tmp_path / "b/fake").mkdir(parents=True)

    with pytest.raises(DataError, match="b/fake") as caught:
        open_set(tmp_path)

    assert caught.value.code == "empty_set"


def test_files_that_are_no_images_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, ["real/1.png", "fake/1.png", "fake/._1.png", ".cache/x.png", "__MACOSX/x.png"])
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "real/notes.png.txt").write_text("x")

    images = open_set(tmp_path, folds=0)

    assert set(by_file(images)) == {"real/1.png", "fake/1.png"}


def test_links_to_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    outside = plant(tmp_path / "outside", ["1.png"])
    inside = plant(tmp_path / "set", ["real/1.png", "fake/1.png"])
    (inside / "real/more").symlink_to(outside)

    images = open_set(inside, folds=0)

    assert len(images.rows) == 2
    assert "real/more" in images.notes[0]


def forensics(folder: Path, **changes: list[object]) -> Path:
    """Write two shards as the dataset's card describes them, in row groups of two."""
    for shard in range(2):
        columns: dict[str, list[object]] = {
            "image_name": [f"{n}.png" for n in range(5)],
            "image_data": [png(10 * shard + n) for n in range(5)],
            "model_name": ["stabilityai/stable-diffusion-2", "lab/pixel", "lab/gan", "", ""],
            "real_source": ["LAION", "LAION", "FFHQ", "COCO", "FFHQ"],
            "subset": ["Systematic", "Manual", "Manual", "PublicEval", "PublicEval"],
            "split": ["train", "train", "test", "test", "test"],
            "label": [1, 1, 1, 0, 0],
            "architecture": ["LatDiff", "PixDiff", "GAN", "real", "real"],
        }
        columns = {name: cells for name, cells in (columns | changes).items() if cells}
        path = folder / "data" / f"part-{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=2)
    return folder


def test_community_forensics_is_read_from_its_columns(tmp_path: Path) -> None:
    images = open_set(forensics(tmp_path), folds=0)

    rows = by_file(images)
    assert len(rows) == 10
    assert said(rows["data/part-0.parquet/0"]) == (
        "ai",
        "stabilityai/stable-diffusion-2",
        "stabilityai/stable-diffusion-2",
        "train",
    )
    assert said(rows["data/part-1.parquet/3"]) == ("real", "", "COCO", "test")
    assert images.read(rows["data/part-1.parquet/3"]) == png(13)
    assert decode(images.read(rows["data/part-0.parquet/4"])).size == (9, 8)
    assert images.notes == ()


def test_community_forensics_as_a_struct_of_bytes_without_model_names(tmp_path: Path) -> None:
    cells: list[object] = [{"bytes": png(n), "path": f"{n}.png"} for n in range(5)]
    forensics(tmp_path, image_data=cells, model_name=[])

    images = open_set(tmp_path, folds=0)

    rows = by_file(images)
    assert images.read(rows["data/part-0.parquet/4"]) == png(4)
    assert rows["data/part-0.parquet/2"].source == "GAN"
    assert family(rows["data/part-0.parquet/2"].generator) == "gan"
    assert "names the generator" in images.notes[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image_data": []}, "unknown_layout"),
        ({"label": []}, "unknown_layout"),
        ({"label": [1, 1, 1, 0, 1]}, "contradictory_labels"),
        ({"label": [1, 1, 1, 0, 7]}, "bad_manifest"),
    ],
    ids=str,
)
def test_community_forensics_that_cannot_be_read_is_refused(
    tmp_path: Path, changes: dict[str, list[object]], code: str
) -> None:
    with pytest.raises(DataError) as caught:
        open_set(forensics(tmp_path, **changes), folds=0)

    assert caught.value.code == code
