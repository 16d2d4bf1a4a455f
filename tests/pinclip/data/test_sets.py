"""pinclip.data.sets and folds: what a set promises, whatever layout it came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from pinclip.data.errors import DataError, UnreadableError
from pinclip.data.families import family
from pinclip.data.folds import UNFOLDED, assign_folds
from pinclip.data.manifest import Row
from pinclip.data.sets import decode, open_set, readable

ORIENTATION = 0x0112


def encoded(image: Image.Image, encoding: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8))


def plant(folder: Path, *files: str) -> Path:
    for seed, file in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed)))
    return folder


def row(file: str, label: str = "ai", **changes: object) -> Row:
    plain = Row(
        file=file,
        label=label,
        source="s",
        group=file,
        fold=UNFOLDED,
        style="other",
        sha256_of_original="",
    )
    return replace(plain, **changes)


def test_a_manifest_is_opened_with_its_folds_and_its_images(tmp_path: Path) -> None:
    plant(tmp_path / "images", "1.png", "2.png")
    (tmp_path / "manifest.csv").write_text(
        "file,label,source,group,fold,generator,split\n"
        "1.png,ai,x,g,3,flux-dev,val\n2.png,real,y,h,1,,\n"
    )

    images = open_set(tmp_path)

    assert [(r.fold, r.generator, r.split) for r in images.rows] == [
        (3, "flux-dev", "val"),
        (1, "", ""),
    ]
    assert images.read(images.rows[1]) == (tmp_path / "images/2.png").read_bytes()
    assert repr(images) == f"ImageSet({tmp_path.name}: 1 ai, 1 real)"


def test_a_manifest_may_lie_beside_its_images(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "manifest.csv").write_text("file,label,source\na/1.png,ai,x\nb/2.png,real,y\n")

    images = open_set(tmp_path, folds=0)

    assert decode(images.read(images.rows[0])).size == (12, 10)


def test_no_image_is_read_from_outside_the_set(tmp_path: Path) -> None:
    inside = plant(tmp_path / "set", "real/1.png", "fake/1.png")
    secret = plant(tmp_path, "secret.png") / "secret.png"
    (inside / "fake/2.png").symlink_to(secret)
    images = open_set(inside, folds=0)
    linked = next(r for r in images.rows if r.file == "fake/2.png")

    for escape in (linked, row("../secret.png"), row(str(secret))):
        with pytest.raises(UnreadableError, match="out of the set"):
            images.read(escape)


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    images = open_set(plant(tmp_path, "real/1.png", "fake/1.png"), folds=0)
    (tmp_path / "fake/1.png").unlink()

    with pytest.raises(UnreadableError, match=r"fake/1\.png"):
        images.read(images.rows[0])


def test_a_set_can_be_read_from_threads(tmp_path: Path) -> None:
    files = [f"{label}/{n}.png" for label in ("real", "fake") for n in range(40)]
    images = open_set(plant(tmp_path, *files), folds=0)

    kept, unreadable = readable(images, limit=0)

    assert (kept, unreadable) == (images, [])


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([], "empty_set"),
        (["real/1.png", "real/2.png"], "one_class"),
        (["x/1_fake/1.png"], "one_class"),
    ],
    ids=["empty", "real", "fake"],
)
def test_a_set_without_two_classes_is_refused(tmp_path: Path, files: list[str], code: str) -> None:
    plant(tmp_path, *files)

    with pytest.raises(DataError) as caught:
        open_set(tmp_path)

    assert caught.value.code == code
    assert str(tmp_path) in caught.value.detail


def test_a_manifest_without_a_line_is_an_empty_set(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,label,source\n")

    with pytest.raises(DataError) as caught:
        open_set(tmp_path)

    assert caught.value.code == "empty_set"


# --- decoding -----------------------------------------------------------------------------------


def spoilt(data: bytes) -> bytes:
    return data[: len(data) // 2]


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "garbage": bytes(range(256)) * 4,
    "text": b"<html>404</html>",
    "half a JPEG": spoilt(encoded(picture(0, (200, 200)), "JPEG")),
    "half a PNG": spoilt(encoded(picture(0, (200, 200)))),
    "half a WebP": spoilt(encoded(picture(0, (200, 200)), "WEBP")),
    "a PNG header": encoded(picture(0))[:40],
    "no fixed range": encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_decode_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableError):
        decode(BROKEN[name])


def test_decode_turns_a_picture_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6

    upright = decode(encoded(picture(0, (30, 20)), "JPEG", exif=exif))

    assert (upright.mode, upright.size) == ("RGB", (20, 30))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.new("RGBA", (3, 3), (9, 9, 9, 0)),
        lambda: Image.new("LA", (3, 3), (9, 0)),
    ],
    ids=["RGBA", "LA"],
)
def test_decode_lays_alpha_over_white(make: Callable[[], Image.Image]) -> None:
    assert decode(encoded(make())).getpixel((1, 1)) == (255, 255, 255)


def test_decode_goes_by_content_not_by_name(tmp_path: Path) -> None:
    plant(tmp_path, "real/1.png", "fake/1.png")
    (tmp_path / "fake/2.png").write_bytes(encoded(picture(5), "JPEG"))
    images = open_set(tmp_path, folds=0)

    assert readable(images, limit=0)[1] == []


def test_unreadable_images_are_listed_and_left_out_up_to_the_limit(tmp_path: Path) -> None:
    files = [f"{label}/{n}.png" for label in ("real", "fake") for n in range(10)]
    images = open_set(plant(tmp_path, *files), folds=0)
    (tmp_path / "real/3.png").write_bytes(BROKEN["text"])

    kept, unreadable = readable(images, limit=0.05)

    assert len(kept.rows) == 19
    assert [line.partition(":")[0] for line in unreadable] == ["real/3.png"]
    assert "real/3.png" not in {r.file for r in kept.rows}


def test_too_many_unreadable_images_are_refused_by_name(tmp_path: Path) -> None:
    files = [f"{label}/{n}.png" for label in ("real", "fake") for n in range(10)]
    images = open_set(plant(tmp_path, *files), folds=0)
    (tmp_path / "real/3.png").write_bytes(BROKEN["text"])

    with pytest.raises(DataError, match=r"1 of 20 .*real/3\.png") as caught:
        readable(images, limit=0.04)

    assert caught.value.code == "too_many_unreadable"


def test_a_class_that_cannot_be_read_at_all_is_refused(tmp_path: Path) -> None:
    images = open_set(plant(tmp_path, "real/1.png", "fake/1.png"), folds=0)
    (tmp_path / "real/1.png").write_bytes(BROKEN["garbage"])

    with pytest.raises(DataError) as caught:
        readable(images, limit=1)

    assert caught.value.code == "one_class"


# --- folds --------------------------------------------------------------------------------------

GENERATORS = ("stylegan2", "sd-1.5", "flux-dev", "dalle-3")


def many() -> list[Row]:
    """40 groups a class of 1 to 7 images; the AI ones of four families."""
    rows = []
    for group in range(40):
        generator = GENERATORS[group % 4]
        for number in range(1 + group % 7):
            ai = row(f"a{group}-{number}", "ai", group=f"a{group}", generator=generator)
            real = row(f"r{group}-{number}", "real", group=f"r{group}")
            rows += [ai, real]
    return rows


def test_folds_keep_groups_whole_and_spread_classes_and_families() -> None:
    folded, notes = assign_folds(many(), folds=5)

    assert len({(r.group, r.fold) for r in folded}) == 80
    counts = Counter((r.fold, r.label, family(r.generator)) for r in folded)
    assert len(counts) == 5 * 5
    reals = [counts[fold, "real", "unknown"] for fold in range(5)]
    assert max(reals) - min(reals) <= 4
    assert notes == ()


def test_folds_are_the_same_every_time() -> None:
    assert assign_folds(many(), folds=5) == assign_folds(many(), folds=5)


def test_folds_that_are_given_stay() -> None:
    rows = [row("1", fold=7), row("2", "real", fold=2)]

    assert assign_folds(rows, folds=5).rows == tuple(rows)


def test_no_folds_put_everything_in_one() -> None:
    assert {r.fold for r in assign_folds(many(), folds=0).rows} == {0}


def test_fewer_groups_than_folds_make_fewer_folds() -> None:
    rows = [r for r in many() if r.label == "ai" or r.group in ("r1", "r2", "r3")]

    folded, notes = assign_folds(rows, folds=5)

    assert {r.fold for r in folded} == {0, 1, 2}
    assert "3 folds instead of 5" in notes[0]


@pytest.mark.parametrize("above", ["Midjourney/train", "."])
def test_a_single_source_is_cut_image_by_image_and_said_so(tmp_path: Path, above: str) -> None:
    files = [f"{part}/{n}.png" for part in ("ai", "nature") for n in range(10)]
    plant(tmp_path / above, *files)

    images = open_set(tmp_path, folds=5)

    assert Counter((r.fold, r.label) for r in images.rows) == {
        (fold, label): 2 for fold in range(5) for label in ("ai", "real")
    }
    assert "image by image" in images.notes[0]


def test_a_stated_group_is_never_opened() -> None:
    rows = [row(f"{n}", "real", group="one") for n in range(10)] + [
        row(f"a{n}", group=f"{n}") for n in range(10)
    ]

    with pytest.raises(DataError) as caught:
        assign_folds(rows, folds=5, groups_are_stated=True)

    assert caught.value.code == "one_class"


def test_a_stated_group_in_two_folds_is_refused_and_an_inferred_one_is_opened() -> None:
    rows = [row(f"{n}", ("ai", "real")[n % 2], group="one", fold=n) for n in range(4)]

    with pytest.raises(DataError) as caught:
        assign_folds(rows)
    folded, notes = assign_folds(rows, groups_are_stated=False)

    assert caught.value.code == "group_in_two_folds"
    assert [(r.group, r.fold) for r in folded] == [(f"{n}", n) for n in range(4)]
    assert "cut sources: one" in notes[0]


def test_a_fold_for_some_images_only_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        assign_folds([row("1", fold=0), row("2", "real")], folds=2)

    assert caught.value.code == "bad_manifest"
