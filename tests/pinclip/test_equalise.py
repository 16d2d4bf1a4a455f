"""pinclip.equalise: after the law, format, size, quality and metadata are drawn, not inherited."""

from __future__ import annotations

import inspect
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pinclip import equalise as module
from pinclip.equalise import encoded, equalise
from pinclip.preprocess import Canonical, canonical
from pinclip.recipe import Equalise

from .conftest import draw

ON = Equalise(is_on=True)


def law(image: Image.Image, how: Equalise = ON, seed: int = 0) -> Image.Image:
    return equalise(image, how, np.random.default_rng(seed))


def test_equalise_knows_no_label() -> None:
    assert tuple(inspect.signature(equalise).parameters) == ("image", "how", "rng")


def test_switched_off_it_returns_the_picture() -> None:
    image = draw(0)

    assert law(image, Equalise()).tobytes() == image.tobytes()


def test_the_short_side_is_drawn_from_the_range_whatever_the_original() -> None:
    small, large = Image.new("RGB", (400, 400)), Image.new("RGB", (1024, 700))

    sides = [[min(law(image, seed=n).size) for n in range(60)] for image in (small, large)]

    assert sides[0] == sides[1]
    assert min(sides[0]) >= 240
    assert max(sides[0]) <= 352
    assert len(set(sides[0])) > 30


def test_nothing_is_enlarged() -> None:
    assert law(Image.new("RGB", (64, 100))).size == (64, 100)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3000, 2)], ids=str)
def test_the_long_side_is_cut_to_its_ratio(size: tuple[int, int]) -> None:
    made = law(Image.new("RGB", size))

    assert max(made.size) <= max(1, 1.8 * min(made.size))


def test_the_quality_is_drawn_from_the_range() -> None:
    image = draw(0)

    tables = [
        sum(Image.open(BytesIO(encoded(image, how, np.random.default_rng(0)))).quantization[0])
        for how in (Equalise(quality=(60, 60)), Equalise(quality=(96, 96)))
    ]

    assert tables[0] > 4 * tables[1]


def test_what_is_written_is_a_420_jpeg_without_metadata() -> None:
    image = draw(0)
    image.info["comment"] = b"made by X"
    exif = image.getexif()
    exif[0x010F] = "Maker"

    data = encoded(image, ON, np.random.default_rng(0))

    with Image.open(BytesIO(data)) as made:
        assert made.format == "JPEG"
        assert [layer[1:3] for layer in made.layer] == [(2, 2), (1, 1), (1, 1)]
        assert not made.getexif()
        assert "comment" not in made.info
    assert b"made by X" not in data


def test_equal_pixels_and_draws_give_equal_bytes() -> None:
    image = draw(1)

    one, again, other = (encoded(image, ON, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert one == again
    assert one != other


@pytest.mark.parametrize("size", [(900, 300), (500, 700), (100, 90)], ids=str)
def test_with_fixed_numbers_the_law_is_the_canonical_form(size: tuple[int, int]) -> None:
    image = draw(0).resize(size)
    fixed = Equalise(is_on=True, short_side=(296, 296), quality=(84, 84))
    form = Canonical(short_side=296, long_ratio=1.8, quality=84, reducing_gap=module.REDUCING_GAP)

    assert law(image, fixed).tobytes() == canonical(image, form).tobytes()
