"""pinclip.augment: one law for both classes, repeatable, and every step is as often as it says."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from PIL import Image

from pinclip import augment as module
from pinclip.augment import augment
from pinclip.recipe import Augment

from .conftest import draw

NOTHING = {"flip": 0, "blur": 0, "recompress": 0, "noise": 0, "colour": 0, "mask": 0}
STILL = Augment(is_on=True, crop=0, rescale=(1.0, 1.0), **NOTHING)
"""A native crop and no other step."""


def with_only(**shares: float) -> Augment:
    return Augment(**{**{name: getattr(STILL, name) for name in STILL.__struct_fields__}, **shares})


def view(image: Image.Image, how: Augment, seed: int = 0) -> Image.Image:
    return augment(image, how, np.random.default_rng(seed))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int64)


def square(seed: int = 0) -> Image.Image:
    """A picture that the native crop leaves whole."""
    return draw(seed).resize((200, 200))


def test_augment_knows_no_label() -> None:
    assert tuple(inspect.signature(augment).parameters) == ("image", "how", "rng")


def test_switched_off_it_returns_the_picture() -> None:
    image = draw(0)

    assert view(image, Augment()).tobytes() == image.tobytes()


def test_the_same_seed_gives_the_same_view_and_another_seed_another() -> None:
    image, how = draw(0), Augment(is_on=True)
    before = image.tobytes()

    one, again, other = view(image, how, 1), view(image, how, 1), view(image, how, 2)

    assert (one.size, one.tobytes()) == (again.size, again.tobytes())
    assert one.tobytes() != other.tobytes()
    assert image.tobytes() == before


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (640, 20), (700, 500)], ids=str)
def test_views_of_any_picture_are_squares_of_the_drawn_scale(size: tuple[int, int]) -> None:
    image, how = Image.new("RGB", size, "teal"), Augment(is_on=True)

    views = [view(image, how, seed) for seed in range(30)]

    assert all(one.mode == "RGB" and one.width == one.height for one in views)
    assert all(1 <= one.width <= 1.5 * module.SIDE for one in views)
    assert len({one.width for one in views}) > 1 or size == (1, 1)


def test_with_every_step_off_a_view_is_a_part_of_the_picture_as_it_is() -> None:
    image = draw(1)
    whole = pixels(image)
    side = min(module.SIDE, *image.size)

    made = pixels(view(image, STILL))

    corners = (
        (y, x)
        for y in range(image.height - side + 1)
        for x in range(image.width - side + 1)
        if np.array_equal(whole[y, x], made[0, 0])
    )
    assert any(np.array_equal(whole[y : y + side, x : x + side], made) for y, x in corners)


def test_a_flip_mirrors_left_and_right() -> None:
    image = square()

    made = view(image, with_only(flip=1))

    assert np.array_equal(pixels(made), pixels(image)[:, ::-1])


@pytest.mark.parametrize("step", ["blur", "recompress", "noise", "colour", "mask"])
def test_a_share_is_the_share_of_views_that_the_step_changes(step: str) -> None:
    image, how = square(), with_only(**{step: 0.3})
    before = image.tobytes()

    changed = [view(image, how, seed).tobytes() != before for seed in range(150)]

    assert 0.15 < np.mean(changed) < 0.45


def test_masked_patches_are_whole_cells_of_the_towers_grid() -> None:
    image = draw(0).resize((224, 224))

    made = pixels(view(image, with_only(mask=1)))

    changed = (made != pixels(image)).any(axis=2).reshape(14, 16, 14, 16).mean(axis=(1, 3))
    hidden = changed > 0.5
    assert 0 < hidden.mean() <= 0.45
    assert (changed[~hidden] == 0).all()
    assert (changed[hidden] > 0.9).all()


def test_a_random_resized_crop_shows_a_part_at_the_towers_size() -> None:
    ramp = np.zeros((300, 500, 3), np.uint8)
    ramp[:, :, 0] = np.arange(500) // 2

    views = [view(Image.fromarray(ramp), with_only(crop=1), seed) for seed in range(30)]

    spans = [np.ptp(pixels(one)[:, :, 0]) for one in views]
    assert {one.size for one in views} == {(module.SIDE, module.SIDE)}
    assert min(spans) > 60
    assert max(spans) <= 249


def test_recompression_is_lossy_and_mild() -> None:
    image = square()

    lost = [
        np.abs(pixels(view(image, with_only(recompress=1), seed)) - pixels(image)).mean()
        for seed in range(10)
    ]

    assert min(lost) > 0
    assert max(lost) < 20
