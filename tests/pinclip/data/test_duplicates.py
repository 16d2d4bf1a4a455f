"""pinclip.data.duplicates: what is held out has not been seen in another form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pinclip.data.duplicates import (
    DISTANCE,
    Fingerprint,
    check_splits,
    distances,
    fingerprints,
    near_duplicates,
    phash,
    readable_prints,
)
from pinclip.data.errors import DataError, UnreadableError
from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet


def scene(seed: int, side: int = 96) -> Image.Image:
    """A picture of rectangles; another for each seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), "grey")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = (int(v) for v in random.integers(4, side // 2, 4))
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        pen.rectangle((x, y, x + width, y + height), fill=color)
    return image


def encoded(image: Image.Image, encoding: str = "PNG", **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def images_of(files: Mapping[str, tuple[str, int, str, bytes]]) -> ImageSet:
    """A set in memory: file -> label, fold, split, bytes."""

    def read(row: Row) -> bytes:
        data = files[row.file][3]
        if not data:
            raise UnreadableError(f"{row.file} is missing")
        return data

    rows = tuple(
        Row(
            file=file,
            label=label,
            source="s",
            group=file,
            fold=fold,
            style="other",
            sha256_of_original="",
            split=split,
        )
        for file, (label, fold, split, _) in files.items()
    )
    return ImageSet(name="drawn", rows=rows, read=read)


def test_a_recompressed_copy_in_another_fold_is_found() -> None:
    images = images_of(
        {
            "one": ("ai", 0, "", encoded(scene(1))),
            "two": ("ai", 1, "", encoded(scene(2))),
            "copy": ("real", 1, "", encoded(scene(1).resize((64, 64)), "JPEG", quality=60)),
        }
    )

    (pair,) = near_duplicates(images)

    assert (pair.one, pair.other) == ("one", "copy")
    assert "pHash" in pair.why
    with pytest.raises(DataError, match="one = copy") as caught:
        check_splits(images)
    assert caught.value.code == "near_duplicates_across_splits"


def test_a_copy_in_another_split_is_found_and_one_beside_it_is_not() -> None:
    data = encoded(scene(3))
    images = images_of(
        {
            "one": ("ai", 0, "train", data),
            "beside": ("ai", 0, "train", data),
            "tested": ("ai", 0, "test", data),
        }
    )

    pairs = near_duplicates(images)

    assert [(pair.one, pair.other, pair.why) for pair in pairs] == [
        ("one", "tested", "same bytes"),
        ("beside", "tested", "same bytes"),
    ]


def test_a_set_of_different_pictures_passes() -> None:
    files = {f"{n}": (("ai", "real")[n % 2], n % 5, "", encoded(scene(n))) for n in range(40)}

    check_splits(images_of(files))


def test_the_same_bytes_under_both_labels_contradict_wherever_they_lie() -> None:
    data = encoded(scene(4))
    images = images_of({"a": ("ai", 0, "", data), "b": ("real", 0, "", data)})

    with pytest.raises(DataError) as caught:
        check_splits(images)

    assert caught.value.code == "contradictory_labels"


def test_flat_pictures_are_not_each_other() -> None:
    images = images_of(
        {
            "white": ("ai", 0, "", encoded(Image.new("RGB", (40, 40), "white"))),
            "blue": ("ai", 1, "", encoded(Image.new("RGB", (40, 40), "blue"))),
        }
    )

    assert near_duplicates(images) == []


def test_what_cannot_be_read_is_no_duplicate() -> None:
    images = images_of(
        {
            "gone": ("ai", 0, "", b""),
            "too": ("ai", 1, "", b""),
            "text": ("ai", 0, "", b"words"),
            "words": ("ai", 1, "", b"words"),
        }
    )

    assert [(pair.one, pair.other) for pair in near_duplicates(images)] == [("text", "words")]


def test_one_pass_says_what_is_readable_and_gives_its_fingerprints() -> None:
    images = images_of(
        {
            "gone": ("ai", 0, "", b""),
            "one": ("ai", 0, "", encoded(scene(1))),
            "text": ("real", 0, "", b"words"),
            "copy": ("real", 1, "", encoded(scene(1), "JPEG")),
        }
    )
    reads: list[str] = []

    def read(row: Row) -> bytes:
        reads.append(row.file)
        return images.read(row)

    kept, unreadable, prints = readable_prints(replace(images, read=read), limit=0.5)

    assert sorted(reads) == ["copy", "gone", "one", "text"]
    assert [row.file for row in kept.rows] == ["one", "copy"]
    assert [line.partition(":")[0] for line in unreadable] == ["gone", "text"]
    assert prints == fingerprints(kept)
    with pytest.raises(DataError, match="one = copy"):
        check_splits(kept, prints=prints)


def test_one_pass_refuses_a_set_of_which_too_much_is_unreadable() -> None:
    images = images_of({"one": ("ai", 0, "", encoded(scene(1))), "gone": ("real", 0, "", b"")})

    with pytest.raises(DataError, match="gone") as caught:
        readable_prints(images, limit=0.4)

    assert caught.value.code == "too_many_unreadable"


def test_features_find_what_hashes_do_not() -> None:
    images = images_of(
        {f"{n}": ("ai", n % 2, "", encoded(scene(10 + n))) for n in range(4)},
    )
    features = np.eye(4, 8, dtype=np.float32)
    features[3] = 5 * features[0] + 0.1

    (pair,) = near_duplicates(images, features=features)

    assert (pair.one, pair.other) == ("0", "3")
    assert pair.why.startswith("cosine")


def test_phash_is_that_of_imagehash() -> None:
    one, other = scene(5), scene(6)

    apart = distances(np.array([phash(one)]), np.array([phash(other)]))

    assert apart[0, 0] == imagehash.phash(one) - imagehash.phash(other)


def test_every_close_pair_of_many_hashes_is_found() -> None:
    random = np.random.default_rng(7)
    hashes = random.integers(0, 2**63, 300).astype(np.uint64)
    far = hashes ^ np.uint64((1 << (DISTANCE + 1)) - 1)
    close = hashes[::7] ^ np.uint64((1 << DISTANCE) - 1)
    everything = [*hashes, *far, *close]
    blank = encoded(scene(8))
    images = images_of({f"{n}": ("ai", n, "", blank) for n in range(len(everything))})
    prints = [Fingerprint(f"{n}", value) for n, value in enumerate(everything)]

    pairs = near_duplicates(images, prints=prints)

    # `close` differs from its hash in 6 bits, and from the far copy of that in the 7th alone.
    expected = {(str(7 * k), str(600 + k)) for k in range(len(close))}
    expected |= {(str(300 + 7 * k), str(600 + k)) for k in range(len(close))}
    assert {(pair.one, pair.other) for pair in pairs} == expected
