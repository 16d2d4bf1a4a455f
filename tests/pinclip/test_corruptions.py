"""pinclip.corruptions: each step does what its name says, to any picture, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pinclip import corruptions
from pinclip.corruptions import GRID

from .conftest import draw

NAMES = (
    "jpeg_90 jpeg_80 jpeg_70 jpeg_60 jpeg_50 jpeg_40 webp_75 half third blur_1 noise_5 crop_80 "
    "screenshot"
)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two pictures of one size."""
    pair = [np.asarray(image, np.float64) for image in (one, other)]
    return float(np.sqrt(np.mean((pair[0] - pair[1]) ** 2)))


def test_grid_names_the_steps_of_the_robustness_table() -> None:
    assert tuple(GRID) == tuple(NAMES.split())


@pytest.mark.parametrize("name", NAMES.split())
def test_a_step_changes_the_picture_alike_every_time_and_leaves_the_original(name: str) -> None:
    image = draw(0)
    before = image.tobytes()

    once, again = GRID[name](image), GRID[name](image)

    assert once.mode == "RGB"
    assert (once.size, once.tobytes()) == (again.size, again.tobytes())
    assert once.size != image.size or once.tobytes() != before
    assert image.tobytes() == before


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2)], ids=str)
def test_a_step_takes_the_smallest_pictures(name: str, size: tuple[int, int]) -> None:
    made = GRID[name](Image.new("RGB", size, "red"))

    assert min(made.size) >= 1


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("half", (100, 50)),
        ("third", (67, 33)),
        ("crop_80", (160, 80)),
        ("jpeg_50", (200, 100)),
        ("screenshot", (164, 84)),
    ],
)
def test_a_step_makes_the_size_it_names(name: str, size: tuple[int, int]) -> None:
    assert GRID[name](Image.new("RGB", (200, 100))).size == size


def test_lower_quality_loses_more() -> None:
    image = draw(1)

    lost = [difference(image, GRID[f"jpeg_{quality}"](image)) for quality in (90, 70, 40)]

    assert lost == sorted(lost)
    assert lost[0] > 0


def test_noise_has_the_sigma_it_is_asked_for() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))

    made = corruptions.noisy(grey, 5, np.random.default_rng(0))

    assert difference(grey, made) == pytest.approx(5, rel=0.03)


def test_noise_of_the_grid_depends_on_the_pixels_alone() -> None:
    dark, light = Image.new("RGB", (64, 64), "#404040"), Image.new("RGB", (64, 64), "#808080")

    noise = [np.asarray(GRID["noise_5"](image), int) for image in (dark, light)]

    assert not np.array_equal(noise[0] - 0x40, noise[1] - 0x80)


def test_blur_spreads_a_point_by_its_sigma() -> None:
    point = Image.new("RGB", (41, 41))
    point.putpixel((20, 20), (255, 255, 255))

    made = np.asarray(corruptions.blurred(point, 2.0), np.float64)[:, :, 0]

    columns = made.sum(axis=0) / made.sum()
    spread = np.sqrt(np.sum(columns * (np.arange(41) - 20) ** 2))
    assert spread == pytest.approx(2.0, rel=0.15)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255

    made = np.asarray(corruptions.resized(Image.fromarray(stripes), 1 / 4))

    assert np.ptp(made[:, 2:-2].astype(int)) < 16
    assert made.mean() == pytest.approx(127.5, abs=3)


def test_a_screenshot_keeps_the_picture_in_a_strip_of_the_window() -> None:
    red = Image.new("RGB", (250, 250), (200, 30, 30))

    made = np.asarray(corruptions.screenshot(red), int)

    assert np.abs(made[100, 100] - (200, 30, 30)).max() < 8
    assert np.abs(made[-2, 100] - corruptions.WINDOW).max() < 40
