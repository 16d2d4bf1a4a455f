"""pinclip.data.pack: a packed set follows one law, holds nothing twice, and is whole or absent."""

from __future__ import annotations

import csv
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pinclip.data.duplicates import check_splits
from pinclip.data.errors import DataError
from pinclip.data.manifest import Row
from pinclip.data.pack import COLUMNS, Packed, PackError, of_one_class, pack
from pinclip.data.sets import ImageSet, decode, open_set
from pinclip.recipe import Equalise

LAW = Equalise(is_on=True, short_side=(40, 60))


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A picture of rectangles; another for each seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, "grey")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = (int(v) for v in random.integers(4, min(size) // 2, 4))
        pen.rectangle(
            (x, y, x + width, y + height), fill=tuple(int(c) for c in random.integers(0, 256, 3))
        )
    return image


def save(image: Image.Image, path: Path, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources a class, six images each: AI as PNG, real as JPEG."""
    where = tmp_path / "mine"
    for source in range(4):
        label, ending = ("ai", "png") if source < 2 else ("real", "jpg")
        for number in range(6):
            path = where / label / f"source{source}" / f"{number}.{ending}"
            save(scene(10 * source + number), path)
    return where


def packed(folder: Path, to: Path, seed: int = 0) -> Packed:
    return pack([open_set(folder, folds=0)], to=to, law=LAW, seed=seed, folds=2)


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_packed_set_opens_with_the_labels_sources_and_folds_it_was_given(
    folder: Path, tmp_path: Path
) -> None:
    made = packed(folder, tmp_path / "set")

    images = open_set(tmp_path / "set")
    assert images.rows == made.rows
    assert {(row.label, row.source) for row in images.rows} == {
        ("ai", "source0"),
        ("ai", "source1"),
        ("real", "source2"),
        ("real", "source3"),
    }
    assert len(images.rows) == 24
    assert {(row.label, row.fold) for row in images.rows} == {
        (label, fold) for label in ("ai", "real") for fold in (0, 1)
    }
    assert len({(row.group, row.fold) for row in images.rows}) == 4
    check_splits(images)


def test_every_image_follows_the_law(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "set")

    for path in (tmp_path / "set" / "images").rglob("*.*"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert 40 <= min(image.size) <= 60
            assert not image.getexif()


def test_the_manifest_tells_what_was_made_of_what(folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 1", 6
    save(scene(99, (90, 60)), folder / "real" / "source2" / "camera.jpg", exif=exif)

    packed(folder, tmp_path / "set")

    rows = manifest(tmp_path / "set")
    (row,) = (row for row in rows if row["camera"])
    assert tuple(row) == COLUMNS
    assert row["camera"] == "Maker Model 1"
    assert (row["repo"], row["path_in_repo"]) == ("mine", "real/source2/camera.jpg")
    assert (row["original_width"], row["original_height"]) == ("90", "60")
    assert row["original_format"] == "JPEG"
    assert int(row["width"]) < int(row["height"])
    data = (tmp_path / "set" / "images" / row["file"]).read_bytes()
    assert int(row["bytes"]) == len(data)
    assert decode(data).size == (int(row["width"]), int(row["height"]))


def test_the_same_folders_and_seed_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    (folder / "ai" / "source0" / "broken.png").write_bytes(b"no picture")
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        packed(folder, tmp_path / name, seed)

    one, again, other = (contents(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert set(one) == set(other)
    assert one != other


@pytest.mark.parametrize("twin", ["ai/source1/twin.jpg", "real/source2/twin.jpg"])
def test_of_near_duplicates_one_is_kept_across_sources_and_classes(
    folder: Path, tmp_path: Path, twin: str
) -> None:
    like = scene(0).resize((300, 250), Image.Resampling.BICUBIC)
    save(like, folder / twin, quality=70)

    made = packed(folder, tmp_path / "set")

    (dropped,) = made.dropped
    assert dropped.reason == "near-duplicate"
    assert {dropped.file, dropped.detail} == {f"mine/{twin}", "mine/ai/source0/0.png"}
    assert len(made.rows) == 24
    assert "near-duplicate" in (tmp_path / "set" / "dropped.csv").read_text()


def test_which_near_duplicate_is_kept_is_not_decided_by_the_class(tmp_path: Path) -> None:
    for label, first in (("ai", 0), ("real", 100)):
        for number in range(20):
            save(scene(number), tmp_path / "twins" / label / f"{first + number}.png")
            save(scene(first + 200 + number), tmp_path / "twins" / label / f"own{number}.png")
    for number in range(20):
        path = tmp_path / "twins" / "real" / f"{100 + number}.png"
        save(scene(number).resize((97, 81)), path)

    made = packed(tmp_path / "twins", tmp_path / "set")

    lost = [one.file.split("/")[1] for one in made.dropped]
    assert len(lost) == 20
    assert 3 <= lost.count("ai") <= 17


def test_flat_pictures_are_no_duplicates_of_each_other(folder: Path, tmp_path: Path) -> None:
    save(Image.new("RGB", (80, 80), "red"), folder / "ai" / "source0" / "red.png")
    save(Image.new("RGB", (80, 80), "blue"), folder / "real" / "source2" / "blue.png")

    assert packed(folder, tmp_path / "set").dropped == ()


def test_the_same_bytes_are_kept_once(folder: Path, tmp_path: Path) -> None:
    data = (folder / "ai" / "source0" / "0.png").read_bytes()
    (folder / "ai" / "source1" / "again.png").write_bytes(data)

    made = packed(folder, tmp_path / "set")

    assert [one.reason for one in made.dropped] == ["identical"]


def test_the_same_bytes_under_both_labels_are_an_error(folder: Path, tmp_path: Path) -> None:
    data = (folder / "ai" / "source0" / "0.png").read_bytes()
    (folder / "real" / "source2" / "again.png").write_bytes(data)

    with pytest.raises(DataError) as caught:
        packed(folder, tmp_path / "set")

    assert caught.value.code == "contradictory_labels"
    assert "mine/real/source2/again.png" in str(caught.value)
    assert list(tmp_path.iterdir()) == [folder]


def test_unreadable_images_are_left_out_and_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "ai" / "source0" / "0.png").write_bytes(b"no picture")
    whole = (folder / "real" / "source2" / "0.jpg").read_bytes()
    (folder / "real" / "source2" / "0.jpg").write_bytes(whole[: len(whole) // 2])

    made = packed(folder, tmp_path / "set")

    assert [one.reason for one in made.dropped] == ["unreadable", "unreadable"]
    assert {one.file for one in made.dropped} == {
        "mine/ai/source0/0.png",
        "mine/real/source2/0.jpg",
    }
    assert len(made.rows) == 22


def test_folders_of_one_class_make_a_set_together(folder: Path, tmp_path: Path) -> None:
    sets = [of_one_class(folder / "ai", "ai"), of_one_class(folder / "real", "real")]

    made = pack(sets, to=tmp_path / "set", law=LAW, folds=2)

    assert {(row.label, row.source) for row in made.rows} == {
        ("ai", "ai/source0"),
        ("ai", "ai/source1"),
        ("real", "real/source2"),
        ("real", "real/source3"),
    }


def test_one_class_alone_is_no_set(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        pack([of_one_class(folder / "ai", "ai")], to=tmp_path / "set", law=LAW)

    assert caught.value.code == "one_class"
    assert not (tmp_path / "set").exists()


def test_an_empty_folder_of_one_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)) as caught:
        of_one_class(tmp_path, "ai")

    assert caught.value.code == "empty_set"


def test_what_a_manifest_says_is_kept(folder: Path, tmp_path: Path) -> None:
    where = tmp_path / "listed"
    lines = ["file,label,source,group,style,generator,sha256_of_original"]
    for number in range(8):
        label, group = ("ai", "real")[number % 2], f"g{number // 2 % 2}{number % 2}"
        save(scene(number), where / "images" / f"{number}.png")
        lines.append(f"{number}.png,{label},s{number},{group},anime,sdxl,{number:064x}")
    (where / "manifest.csv").write_text("\n".join(lines))

    made = pack(
        [open_set(where, folds=0)], to=tmp_path / "set", law=LAW, folds=2, groups_are_stated=True
    )

    assert {row.sha256_of_original for row in made.rows} == {f"{n:064x}" for n in range(8)}
    assert {(row.style, row.generator) for row in made.rows} == {("anime", "sdxl")}
    fold_of = {row.group: row.fold for row in made.rows}
    assert len(fold_of) == 4
    assert all(fold_of[row.group] == row.fold for row in made.rows)


def test_a_source_name_cannot_lead_out_of_the_set(folder: Path, tmp_path: Path) -> None:
    images = open_set(folder, folds=0)
    named = of_rows(images, lambda row: f"../../{row.source}/Ünï code")

    made = pack([named], to=tmp_path / "set", law=LAW, folds=2)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set"]
    assert all((tmp_path / "set" / "images" / row.file).is_file() for row in made.rows)
    assert len(open_set(tmp_path / "set").rows) == 24


def of_rows(images: ImageSet, source: Callable[[Row], str]) -> ImageSet:
    """The set under other source names."""
    origin = dict(zip((row.file for row in images.rows), images.rows, strict=True))
    rows = tuple(
        Row(
            file=row.file,
            label=row.label,
            source=source(row),
            group=row.group,
            fold=0,
            style="other",
            sha256_of_original="",
        )
        for row in images.rows
    )
    return replace(images, rows=rows, read=lambda row: images.read(origin[row.file]))


def test_an_existing_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")

    with pytest.raises(PackError, match="exists"):
        packed(folder, tmp_path / "set")

    assert contents(tmp_path / "set") == {"mine.txt": b"mine"}


def test_a_folder_that_another_run_is_writing_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set.new").mkdir()

    with pytest.raises(PackError, match=r"set\.new exists"):
        packed(folder, tmp_path / "set")

    assert (tmp_path / "set.new").is_dir()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("a bug")], ids=repr)
def test_a_run_that_breaks_off_leaves_nothing(
    folder: Path, tmp_path: Path, fault: BaseException
) -> None:
    images = open_set(folder, folds=0)

    def read(row: Row) -> bytes:
        if row.file == images.rows[-1].file:
            raise fault
        return images.read(row)

    with pytest.raises(type(fault)):
        pack([replace(images, read=read)], to=tmp_path / "set", law=LAW)

    assert list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_is_told_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    images = open_set(folder, folds=0)

    def read(row: Row) -> bytes:
        raise OSError(28, "No space left on device", str(tmp_path / "set.new"))

    with pytest.raises(PackError, match="No space left"):
        pack([replace(images, read=read)], to=tmp_path / "set", law=LAW)

    assert list(tmp_path.iterdir()) == [folder]


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """No file of more than 200 bytes can be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_is_told_and_leaves_nothing(
    folder: Path, tmp_path: Path, small_files_only: None
) -> None:
    with pytest.raises(PackError, match="cannot be written"):
        packed(folder, tmp_path / "set")

    assert list(tmp_path.iterdir()) == [folder]
