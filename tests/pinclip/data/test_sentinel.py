"""pinclip.data.sentinel: a set that can be told apart by its files alone is called out."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pinclip.data.errors import DataError, UnreadableError
from pinclip.data.manifest import Row
from pinclip.data.sentinel import FEATURES, audit, measure, quality
from pinclip.data.sets import ImageSet

Draw = Callable[[np.random.Generator, bool], bytes]
PIXELS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))


def encoded(size: tuple[int, int], encoding: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    PIXELS.resize(size).save(buffer, encoding, **options)
    return buffer.getvalue()


def images_of(draw: Draw, *, groups: int = 40, images: int = 4) -> ImageSet:
    """A set in memory of two classes; a group is of one class."""
    random = np.random.default_rng(1)
    rows, data = [], {}
    for number in range(groups * images):
        group = number // images
        is_ai = group % 2 == 0
        row = Row(
            file=f"{number}",
            label="ai" if is_ai else "real",
            source="s",
            group=f"{group}",
            fold=0,
            style="other",
            sha256_of_original="",
        )
        rows.append(row)
        data[row.file] = draw(random, is_ai)
    return ImageSet(name="drawn", rows=tuple(rows), read=lambda row: data[row.file])


def one_law(random: np.random.Generator, _: bool) -> bytes:
    width, height = (int(side) for side in random.integers(20, 60, 2))
    return encoded((width, height), quality=int(random.integers(60, 97)))


def square_or_not(random: np.random.Generator, is_ai: bool) -> bytes:
    side = int(random.integers(30, 50))
    return encoded((side, side if is_ai else side * 2), quality=int(random.integers(60, 97)))


def two_qualities(random: np.random.Generator, is_ai: bool) -> bytes:
    width, height = (int(side) for side in random.integers(20, 60, 2))
    return encoded((width, height), quality=75 if is_ai else int(random.integers(85, 97)))


def png_or_jpeg(random: np.random.Generator, is_ai: bool) -> bytes:
    width, height = (int(side) for side in random.integers(20, 60, 2))
    return encoded((width, height), "PNG" if is_ai else "JPEG")


def test_a_set_of_one_law_passes() -> None:
    found = audit(images_of(one_law, groups=100, images=4))

    assert found.auc < 0.6
    assert found.images == 400
    assert set(found.by_feature) == set(FEATURES)


@pytest.mark.parametrize(
    ("draw", "feature"),
    [(square_or_not, "aspect"), (two_qualities, "quality"), (png_or_jpeg, "encoding")],
    ids=["shape", "quality", "encoding"],
)
def test_a_bias_is_found_and_named(draw: Draw, feature: str) -> None:
    found = audit(images_of(draw))

    assert found.auc > 0.95
    assert found.by_feature[feature] > 0.95
    assert feature in found.warning
    assert found.by_feature["mode"] == pytest.approx(0.5, abs=0.05)


def test_a_set_without_any_jpeg_is_audited_by_what_it_has() -> None:
    def square_png(random: np.random.Generator, is_ai: bool) -> bytes:
        side = int(random.integers(30, 50))
        return encoded((side, side if is_ai else side * 2), "PNG")

    found = audit(images_of(square_png))

    assert found.by_feature["aspect"] > 0.95
    assert found.by_feature["quality"] == 0.5


def test_a_few_images_may_be_separable_by_chance_and_that_is_said() -> None:
    heights = iter([60, 40] * 6 + [40, 60] * 2)  # two groups of eight look like the other class

    found = audit(images_of(lambda *_: encoded((40, next(heights))), groups=16, images=1))

    assert found.auc == 0.625
    assert "reach 0.80 by chance" in found.warning


def test_a_harmless_set_has_no_warning() -> None:
    found = audit(images_of(lambda random, is_ai: encoded((32, 32), quality=80)))

    assert (found.auc, found.warning) == (0.5, "")


def test_a_group_that_is_all_alike_is_not_learnt_by_heart() -> None:
    sizes = np.random.default_rng(3).permutation(np.arange(20, 100))
    seen = iter(range(400))

    found = audit(
        images_of(
            lambda *_: encoded((int(sizes[next(seen) // 5]), 40), quality=80), groups=80, images=5
        )
    )

    assert found.auc < 0.65  # by image instead of by group this is 1.0


def test_images_without_a_readable_header_are_left_out() -> None:
    images = images_of(lambda random, is_ai: encoded((32, 32)), groups=4)
    spoilt = ImageSet(
        name="spoilt",
        rows=images.rows,
        read=lambda row: b"words" if row.file == "0" else images.read(row),
    )

    assert audit(spoilt).images == 15


def test_a_set_of_one_class_is_refused() -> None:
    images = images_of(lambda random, is_ai: encoded((32, 32)) if is_ai else b"words", groups=4)

    with pytest.raises(DataError) as caught:
        audit(images)

    assert caught.value.code == "one_class"


@pytest.mark.parametrize("value", [20, 49, 50, 60, 75, 90, 95])
def test_quality_is_that_of_the_encoder(value: int) -> None:
    with Image.open(BytesIO(encoded((32, 32), quality=value))) as image:
        assert quality(image) == pytest.approx(value, abs=1)


def test_measure_sees_a_picture_as_it_is_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded((40, 20), exif=exif)

    known = dict(zip(FEATURES, measure(data), strict=True))

    assert (known["width"], known["height"], known["aspect"]) == (20, 40, 0.5)
    assert known["bytes_per_pixel"] == len(data) / 800


def test_measure_refuses_what_has_no_header() -> None:
    with pytest.raises(UnreadableError):
        measure(b"words")
