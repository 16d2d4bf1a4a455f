"""Pictures that the tests draw, and the weights of this checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parents[2] / "weights" / "pinclip_weights_b16"


@pytest.fixture(scope="session")
def folder() -> Path:
    return FOLDER


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Five RGB pictures of different sizes: three photographs and two that are drawn."""
    photographs = [
        Image.fromarray(pixels)
        for pixels in (
            skimage.data.astronaut(),
            skimage.data.coffee(),
            skimage.data.chelsea(),
        )
    ]
    return photographs + [draw(seed) for seed in range(2)]


def draw(seed: int) -> Image.Image:
    """Return a picture of ellipses, lines and soft noise; another for each seed."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(200, 700, 2))
    image = Image.new("RGB", (width, height), tuple(int(c) for c in random.integers(0, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = random.integers(0, width), random.integers(0, height)
        dx, dy = random.integers(5, 200, 2)
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        if random.random() < 0.5:
            pen.ellipse((x, y, x + dx, y + dy), fill=color)
        else:
            pen.line((x, y, x + dx, y - dy), fill=color, width=int(random.integers(1, 9)))
    noise = random.normal(0, 12, (height, width, 3))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float64) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
