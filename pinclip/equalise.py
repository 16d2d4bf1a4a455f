"""One law of size and encoding for every image of a set, whatever its label (method.md 5).

    decoded RGB -> long side cut to long_ratio -> shrunk, never enlarged, to a drawn short side
                -> JPEG 4:2:0 of a drawn quality -> bytes, no metadata

So format, size, quality and metadata say nothing of the label, as far as the originals allow: a
picture that is smaller than the drawn side stays smaller, and its shape stays its own up to the
cut. The arithmetic is that of preprocess.canonical, whose numbers are fixed; here they are drawn.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

    from .recipe import Equalise

REDUCING_GAP = 2.0
"""Pillow's: a large shrink begins with a box filter and leaves this factor to bicubic."""


def equalise(image: Image.Image, how: Equalise, rng: np.random.Generator) -> Image.Image:
    """Return what the law makes of an RGB picture, decoded; not `how.is_on`: the picture itself."""
    if not how.is_on:
        return image
    with Image.open(BytesIO(encoded(image, how, rng)), formats=("JPEG",)) as passed:
        return passed.convert("RGB")


def encoded(image: Image.Image, how: Equalise, rng: np.random.Generator) -> bytes:
    """Return the JPEG that the law makes of an RGB picture, whether `how.is_on` or not.

    `rng` gives the short side and the quality, always two draws.
    """
    short = int(rng.integers(how.short_side[0], how.short_side[1] + 1))
    quality = int(rng.integers(how.quality[0], how.quality[1] + 1))
    buffer = BytesIO()
    image = _shrunk(_cut(image, how.long_ratio), short)
    # Pillow would copy the comment of a picture that was a JPEG.
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", comment=b"")
    return buffer.getvalue()


def _cut(image: Image.Image, ratio: float) -> Image.Image:
    """Return the middle of a picture that is longer than `ratio` times its shorter side."""
    limit = max(1, int(min(image.size) * ratio))
    if max(image.size) <= ratio * min(image.size):
        return image
    width, height = min(image.width, limit), min(image.height, limit)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _shrunk(image: Image.Image, short: int) -> Image.Image:
    """Return the picture with its shorter side at most `short` pixels."""
    scale = short / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
