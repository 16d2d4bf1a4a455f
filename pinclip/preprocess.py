"""image -> array. The ONE copy of the preprocessing, for fitting, measuring and serving.

    (H, W, 3) uint8, upright RGB
       |  canonical   cut, shrink, one JPEG pass in memory      (docs/decisions/0007)
       |  transform   shorter side to `size` (bicubic), centre crop, normalise:
       v              what open_clip does before the same tower
    (3, size, size) float32

Knows nothing of files, formats or models. Thread-safe: no state.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray


REENCODED_QUALITY = 70
"""JPEG quality of `reencoded`: what a site that saves images again keeps, or a little less."""


class Canonical(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every picture becomes before the model looks: bounded, and once through JPEG."""

    short_side: int
    """Pixels that the shorter side is shrunk to; a smaller picture keeps its size."""
    long_ratio: float
    """Longer over shorter side, at most: a longer picture loses both ends, as in the crop."""
    quality: int
    """JPEG quality, with 4:2:0 chroma."""
    reducing_gap: float
    """Pillow's: a large shrink begins with a box filter and leaves this factor to bicubic."""


class Preprocessing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture becomes the model's input; `mean` and `std` are of values in [0, 1]."""

    canonical: Canonical
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


PREPROCESSING = Preprocessing(
    canonical=Canonical(short_side=352, long_ratio=2.0, quality=85, reducing_gap=2.0),
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
"""What training uses and weights are shipped with; mean and std are CLIP's."""


def prepare(rgb: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """(H, W, 3) upright RGB, any size from 1x1 -> (3, size, size) float32, C-contiguous."""
    return transform(canonical(Image.fromarray(rgb), how.canonical), how)


def canonical(image: Image.Image, form: Canonical) -> Image.Image:
    """Return an RGB picture in canonical form."""
    if max(image.size) > form.long_ratio * min(image.size):
        image = image.crop(_middle(image.size, form.long_ratio))
    scale = form.short_side / min(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=form.reducing_gap)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=form.quality, subsampling="4:2:0")
    passed = Image.open(buffer, formats=("JPEG",))
    passed.load()
    return passed


def transform(image: Image.Image, how: Preprocessing) -> NDArray[np.float32]:
    """Return what open_clip's transform makes of an RGB picture: (3, size, size) float32."""
    size = _resized(image.size, how.size)
    left, top = (round((length - how.size) / 2.0) for length in size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    image = image.crop((left, top, left + how.size, top + how.size))
    mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
    pixels: NDArray[np.float32] = (np.asarray(image, np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def reencoded(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture as a site might save it again: half its size, a JPEG of quality 70.

    (H, W, 3), any size from 1x1 -> (H / 2, W / 2, 3), rounded, no side below one pixel.
    """
    image = Image.fromarray(rgb)
    size = (max(1, round(image.width / 2)), max(1, round(image.height / 2)))
    buffer = BytesIO()
    half = image.resize(size, Image.Resampling.BICUBIC)
    half.save(buffer, "JPEG", quality=REENCODED_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(buffer, formats=("JPEG",)))


def to_rgb(image: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8: a picture upright, its alpha over white; an RGB array as it is."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"An array is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}: "
                "convert it, or give a PIL image."
            )
        return image
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"A picture in mode {image.mode} has no fixed range: make it 8-bit first.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return np.asarray(white)
    return np.asarray(image.convert("RGB"))


def _middle(size: tuple[int, int], ratio: float) -> tuple[int, int, int, int]:
    """Return the box of whole pixels that keeps the middle of a picture longer than `ratio`."""
    limit = max(1, int(min(size) * ratio))
    width, height = min(size[0], limit), min(size[1], limit)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def _resized(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size with the shorter side at `side`, the longer one rounded down."""
    short = min(size)
    return int(side * size[0] / short), int(side * size[1] / short)
