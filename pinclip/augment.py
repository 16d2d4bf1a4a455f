"""What is done to a training image: one law, whatever the label (method.md 5).

    flip -> crop (random resized | native) -> rescale, random kernel -> blur
         -> JPEG or WebP, sometimes twice -> noise -> mild colour -> 16-px patches masked

A pure function of the picture, the recipe's [augment] and a generator. Both crops are squares, so
that the shape of a picture says nothing. The tower's own preprocessing follows and brings the
result, whose size is drawn too, to the tower's size. The steps themselves are in corruptions.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from .corruptions import blurred, jpeg, noisy, resized, webp

if TYPE_CHECKING:
    from .recipe import Augment

SIDE, PATCH = 224, 16
"""Pixels of the tower's input and of its patches."""
AREA = (0.3, 1.0)
"""Share of the picture's area that a random resized crop keeps."""
STRETCH = 4 / 3
"""Width over height of a random resized crop, at most; at least the inverse."""
SIGMA_BLUR = (0.0, 2.0)
SIGMA_NOISE = (1.0, 8.0)
QUALITY = (40, 96)
JPEG_SHARE, TWICE = 0.7, 0.3
"""Share of JPEG among the recompressions, and of those that are followed by another."""
COLOUR = 0.2
"""Brightness, contrast and saturation change by this share, at most."""
MASKED = (0.05, 0.3)
"""Share of the patches that are hidden where any is."""
KERNELS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def augment(image: Image.Image, how: Augment, rng: np.random.Generator) -> Image.Image:
    """Return one view of an RGB picture: a square RGB picture, its side drawn (method.md 5).

    The same picture, recipe and state of `rng` give the same view. Not `how.is_on`: the picture as
    it is. The shares of `how` are the probabilities of the steps.
    """
    if not how.is_on:
        return image
    if rng.random() < how.flip:
        image = ImageOps.mirror(image)
    image = _resized_crop(image, rng) if rng.random() < how.crop else _native_crop(image, rng)
    image = resized(image, rng.uniform(*how.rescale), _kernel(rng))
    if rng.random() < how.blur:
        image = blurred(image, rng.uniform(*SIGMA_BLUR))
    if rng.random() < how.recompress:
        image = _recompressed(image, rng)
    if rng.random() < how.noise:
        image = noisy(image, rng.uniform(*SIGMA_NOISE), rng)
    if rng.random() < how.colour:
        image = _recoloured(image, rng)
    return _masked(image, rng) if rng.random() < how.mask else image


def _resized_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a part of drawn area and shape, brought to SIDE x SIDE."""
    area = rng.uniform(*AREA) * image.width * image.height
    ratio = STRETCH ** rng.uniform(-1, 1)
    width = min(image.width, max(1, round((area * ratio) ** 0.5)))
    height = min(image.height, max(1, round((area / ratio) ** 0.5)))
    part = _part(image, (width, height), rng)
    return part.resize((SIDE, SIDE), _kernel(rng))


def _native_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a square of SIDE pixels as they are, or the widest that a smaller picture holds."""
    side = min(SIDE, *image.size)
    return _part(image, (side, side), rng)


def _part(image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return a part of that size, its place drawn."""
    left = int(rng.integers(image.width - size[0] + 1))
    top = int(rng.integers(image.height - size[1] + 1))
    return image.crop((left, top, left + size[0], top + size[1]))


def _kernel(rng: np.random.Generator) -> Image.Resampling:
    return KERNELS[rng.integers(len(KERNELS))]


def _recompressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture after one pass, sometimes two, of JPEG or WebP."""
    for _ in range(2 if rng.random() < TWICE else 1):
        encode = jpeg if rng.random() < JPEG_SHARE else webp
        image = encode(image, int(rng.integers(QUALITY[0], QUALITY[1] + 1)))
    return image


def _recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(rng.uniform(1 - COLOUR, 1 + COLOUR))
    return image


def _masked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the square picture with some of the tower's patches painted in its mean colour.

    The grid is laid on the picture as it is, 14 x 14 cells of any size: the tower's preprocessing
    makes 16 x 16 pixels, one token, of each.
    """
    cells = SIDE // PATCH
    hidden = rng.random((cells, cells)) < rng.uniform(*MASKED)
    rows, columns = (np.arange(side) * cells // side for side in (image.height, image.width))
    pixels = np.array(image)
    pixels[hidden[np.ix_(rows, columns)]] = np.rint(pixels.mean(axis=(0, 1)))
    return Image.fromarray(pixels)
