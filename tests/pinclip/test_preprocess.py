"""pinclip.preprocess: what the model gets to see of a picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import skimage.data
from PIL import Image

from pinclip.preprocess import (
    Canonical,
    Preprocessing,
    canonical,
    prepare,
    reencoded,
    to_rgb,
    transform,
)

HOW = Preprocessing(
    canonical=Canonical(short_side=296, long_ratio=2.0, quality=84, reducing_gap=2.0),
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
SIZES = [
    (512, 512),
    (1, 1),
    (37, 900),
    (223, 225),
    (225, 223),
    (1280, 961),
    (640, 481),
    (90, 61),
    (3000, 17),
    (450, 225),
    (2999, 2001),
]


def photograph(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).resize(size)


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_prepare_is_the_transform_of_open_clip_on_the_canonical_picture(
    size: tuple[int, int],
) -> None:
    from open_clip.transform import image_transform

    reference = image_transform(224, is_train=False, mean=HOW.mean, std=HOW.std)
    image = photograph(size)

    ours = prepare(np.asarray(image), HOW)

    theirs = reference(canonical(image, HOW.canonical)).numpy()
    assert np.abs(ours - theirs).mean() < 1e-3


FEWER = [*SIZES[:8], (900, 15), (15, 900), *SIZES[9:]]
"""SIZES, but for 3000 x 17: open_clip enlarges all of it before it cuts the middle out."""
MODES = ["L", "1", "P", "CMYK", "YCbCr", "RGBA"]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("mode", "size"),
    [("RGB", size) for size in FEWER] + [(mode, (501, 333)) for mode in MODES],
    ids=str,
)
def test_transform_is_the_transform_of_open_clip_on_any_picture(
    mode: str, size: tuple[int, int]
) -> None:
    from open_clip.transform import image_transform

    reference = image_transform(224, is_train=False, mean=HOW.mean, std=HOW.std)
    image = photograph(size).convert(mode)

    ours = transform(Image.fromarray(to_rgb(image)), HOW)

    # RGB already: open_clip resizes first and converts then, so a palette by nearest neighbour.
    theirs = reference(image.convert("RGB")).numpy()
    assert np.abs(ours - theirs).mean() < 1e-3


@pytest.mark.parametrize("size", [*SIZES, (16384, 32), (32, 16384), (1, 40000)], ids=str)
def test_prepare_takes_any_size(size: tuple[int, int]) -> None:
    rgb = np.full((size[1], size[0], 3), 128, np.uint8)

    prepared = prepare(rgb, HOW)

    assert prepared.shape == (3, 224, 224)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert np.abs(prepared).max() < 0.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((592, 888), (296, 444)),
        ((4000, 3000), (395, 296)),
        ((200, 100), (200, 100)),
        ((900, 100), (200, 100)),
        ((100, 900), (100, 200)),
        ((6000, 600), (592, 296)),
    ],
    ids=str,
)
def test_canonical_bounds_the_size_and_never_enlarges(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert canonical(Image.new("RGB", size), HOW.canonical).size == expected


def test_canonical_keeps_the_middle_of_a_long_picture() -> None:
    image = Image.new("RGB", (900, 100), "black")
    image.paste("white", (350, 0, 550, 100))

    kept = np.asarray(canonical(image, HOW.canonical))

    assert kept.min() > 250


def test_canonical_takes_a_picture_through_jpeg() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)

    passed = np.asarray(canonical(Image.fromarray(noise), HOW.canonical)).astype(int)

    assert 5 < np.abs(passed - noise).mean() < 80


def test_prepare_hardly_sees_a_jpeg_pass_that_came_before() -> None:
    image = photograph((900, 900))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)

    before = prepare(np.asarray(image), HOW)
    after = prepare(np.asarray(Image.open(buffer)), HOW)

    assert np.abs(before - after).mean() < 0.02


@pytest.mark.parametrize(
    ("size", "half"), [((400, 300), (200, 150)), ((401, 33), (200, 16)), ((1, 1), (1, 1))], ids=str
)
def test_reencoded_is_half_the_picture_through_jpeg_70(
    size: tuple[int, int], half: tuple[int, int]
) -> None:
    image = photograph(size)
    kept = np.asarray(image).copy()
    buffer = BytesIO()
    image.resize(half, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=70)

    again = reencoded(np.asarray(image))

    np.testing.assert_array_equal(again, np.asarray(Image.open(buffer)))
    np.testing.assert_array_equal(np.asarray(image), kept)


@pytest.mark.parametrize("container", ["PNG", "BMP", "TIFF", "WEBP"])
def test_prepare_sees_pixels_and_not_the_container(container: str) -> None:
    image = photograph((333, 250))
    buffer = BytesIO()
    image.save(buffer, container, **({"lossless": True} if container == "WEBP" else {}))

    prepared = prepare(to_rgb(Image.open(buffer)), HOW)

    np.testing.assert_array_equal(prepared, prepare(np.asarray(image), HOW))


def test_prepare_is_the_same_on_many_threads() -> None:
    rgb = np.asarray(photograph((700, 500)))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: prepare(rgb, HOW), range(12)))

    for result in results:
        np.testing.assert_array_equal(result, results[0])


def test_to_rgb_turns_a_picture_upright() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    buffer = BytesIO()
    image.save(buffer, "PNG", exif=exif)

    rgb = to_rgb(Image.open(buffer))

    assert rgb.shape == (40, 20, 3)
    assert rgb[:20].min() == 255
    assert rgb[20:].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_to_rgb_puts_alpha_over_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    if mode == "P":
        image.info["transparency"] = image.getpixel((0, 0))

    assert to_rgb(image).min() == 255


def test_to_rgb_refuses_a_picture_without_a_fixed_range() -> None:
    with pytest.raises(ValueError, match="mode F"):
        to_rgb(Image.new("F", (8, 8)))


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)],
    ids=["grey", "rgba", "float"],
)
def test_to_rgb_refuses_an_array_that_is_not_rgb(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        to_rgb(array)
