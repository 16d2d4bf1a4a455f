"""pinclip.data.shards: shards that webdataset wrote are read, each image by itself."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import webdataset
from msgspec.structs import replace
from PIL import Image

from pinclip.data.errors import DataError, UnreadableError
from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet, open_set, readable


def encoded(seed: int, encoding: str = "PNG") -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, encoding)
    return buffer.getvalue()


def write(folder: Path, *samples: dict[str, object], shards: int = 1) -> Path:
    """Write samples as webdataset does, spread over shards."""
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"{shard:06}.tar")) as writer:
            for sample in samples[shard::shards]:
                writer.write(sample)
    return folder


def sample(number: int, label: object, **said: object) -> dict[str, object]:
    return {
        "__key__": f"{number:04}",
        "png": encoded(number),
        "json": {"label": label, "caption": "ignored", **said},
    }


def by_file(images: ImageSet) -> dict[str, Row]:
    return {row.file: row for row in images.rows}


def test_shards_are_read_in_any_order(tmp_path: Path) -> None:
    samples = [sample(n, ("ai", "real")[n % 2]) for n in range(12)]
    images = open_set(write(tmp_path, *samples, shards=3), folds=0)

    order = np.random.default_rng(0).permutation(12)

    assert len(images.rows) == 12
    for row in (images.rows[index] for index in order):
        number = int(Path(row.file).stem)
        assert row.file == f"{number % 3:06}.tar/{number:04}.png"
        assert images.read(row) == encoded(number)
        assert row.label == ("ai", "real")[number % 2]
    assert readable(images, limit=0)[1] == []


def test_json_says_what_a_manifest_would(tmp_path: Path) -> None:
    said = {"source": "s", "group": "g", "fold": 2, "generator": "flux-dev", "split": "val"}
    other = said | {"group": "h", "fold": 1}
    images = open_set(write(tmp_path, sample(1, "ai", **said), sample(2, 0, **other)))

    row = by_file(images)["000000.tar/0001.png"]

    assert (row.label, row.source, row.group, row.fold) == ("ai", "s", "g", 2)
    assert (row.generator, row.split) == ("flux-dev", "val")


def test_cls_is_enough_and_the_folder_of_a_key_is_its_source(tmp_path: Path) -> None:
    images = open_set(
        write(
            tmp_path,
            {"__key__": "coco/a", "jpg": encoded(1, "JPEG"), "cls": 0},
            {"__key__": "flux/b", "webp": encoded(2, "WEBP"), "cls": 1},
        ),
        folds=0,
    )

    rows = by_file(images)

    assert (rows["000000.tar/coco/a.jpg"].label, rows["000000.tar/coco/a.jpg"].source) == (
        "real",
        "coco",
    )
    assert rows["000000.tar/flux/b.webp"].label == "ai"


@pytest.mark.parametrize(
    "bad",
    [
        {"__key__": "x", "png": encoded(1)},
        {"__key__": "x", "png": encoded(1), "json": {"source": "s"}},
        {"__key__": "x", "png": encoded(1), "json": {"label": "unsure"}},
        {"__key__": "x", "png": encoded(1), "txt": "ai"},
        {"__key__": "x", "png": encoded(1), "cls": 2},
    ],
    ids=["nothing", "no label", "unknown label", "txt", "unknown class"],
)
def test_an_image_of_which_no_label_is_said_is_refused_by_name(
    tmp_path: Path, bad: dict[str, object]
) -> None:
    write(tmp_path, sample(1, "ai"), bad)

    with pytest.raises(DataError, match=r"000000\.tar/x") as caught:
        open_set(tmp_path)

    assert caught.value.code == "bad_manifest"


def test_shards_without_an_image_are_an_empty_set(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_set(write(tmp_path, {"__key__": "x", "txt": "words"}))

    assert caught.value.code == "empty_set"


@pytest.mark.parametrize("spoil", [lambda data: b"no tar", lambda data: data[: len(data) // 3]])
def test_a_broken_shard_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    shard = write(tmp_path, *[sample(n, n % 2) for n in range(4)]) / "000000.tar"
    shard.write_bytes(spoil(shard.read_bytes()))

    with pytest.raises(DataError, match=r"000000\.tar cannot be read"):
        open_set(tmp_path)


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"), BytesIO())

    with pytest.raises(DataError, match="uncompress"):
        open_set(tmp_path)


def test_links_in_a_shard_lead_nowhere(tmp_path: Path) -> None:
    write(tmp_path, sample(1, "ai"), sample(2, "real"))
    with tarfile.open(tmp_path / "000000.tar", "a") as tar:
        link = tarfile.TarInfo("0003.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)

    images = open_set(tmp_path, folds=0)

    assert sorted(by_file(images)) == ["000000.tar/0001.png", "000000.tar/0002.png"]


def test_an_image_beside_the_shards_is_not_of_the_set(tmp_path: Path) -> None:
    write(tmp_path, sample(1, "ai"), sample(2, "real"))
    (tmp_path / "preview.png").write_bytes(encoded(3))

    images = open_set(tmp_path, folds=0)

    assert len(images.rows) == 2
    with pytest.raises(UnreadableError):
        images.read(replace(images.rows[0], file="preview.png"))
