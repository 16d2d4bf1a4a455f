"""What happens to a picture between its maker and the one who asks: one function a step.

    picture --> jpeg | webp | resized | blurred | noisy | centre_cropped | screenshot --> picture

GRID names the steps, at the strengths at which robustness is reported. Every function takes an RGB
picture of any size from 1x1 and returns a new one. Nothing here draws at random: `noisy` takes the
generator it draws from. Knows nothing of labels, files or models.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Corruption = Callable[[Image.Image], Image.Image]
Resampling = Image.Resampling

WINDOW, TITLE_BAR, INK = (243, 243, 245), (222, 222, 228), (96, 96, 104)
"""Colours of the window around a screenshot."""


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the picture after one JPEG pass with 4:2:0 chroma; quality 1 to 100."""
    return _passed(image, "JPEG", quality=quality, subsampling="4:2:0")


def webp(image: Image.Image, quality: int) -> Image.Image:
    """Return the picture after one lossy WebP pass; quality 1 to 100.

    Raises ValueError or OSError, Pillow's, above 16383 pixels a side: WebP ends there.
    """
    return _passed(image, "WEBP", quality=quality)


def resized(
    image: Image.Image, factor: float, kernel: Resampling = Resampling.BICUBIC
) -> Image.Image:
    """Return the picture with both sides times `factor`, and no side below one pixel.

    Pillow widens the kernel when it shrinks, so nothing is aliased.
    """
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, kernel)


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    """Return the picture after a Gaussian blur; sigma in pixels.

    Pillow's, three box blurs whose variance is that of the Gaussian.
    """
    return image.filter(ImageFilter.GaussianBlur(sigma))


def noisy(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    """Return the picture with N(0, sigma^2) added to every value; sigma in 1/255 of the range."""
    noise = sigma * rng.standard_normal((image.height, image.width, 3), np.float32)
    pixels = np.rint(np.asarray(image, np.float32) + noise)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def centre_cropped(image: Image.Image, share: float) -> Image.Image:
    """Return the middle of the picture: `share` of its width and of its height."""
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def screenshot(image: Image.Image) -> Image.Image:
    """Return what is posted when a screen is photographed by itself and the window cropped loosely.

    The picture is drawn at 0.8 of its size with a bilinear kernel, as viewers do, in a window with
    a title bar; the crop leaves a strip of the window (3 % of the shorter side) on every side; the
    post is a JPEG of quality 85. The PNG in between loses nothing, so it is not written.
    """
    shown = resized(image, 0.8, Resampling.BILINEAR)
    strip = max(1, round(0.03 * min(shown.size)))
    screen = Image.new("RGB", (shown.width + 2 * strip, shown.height + 2 * strip), WINDOW)
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, screen.width, strip // 2), fill=TITLE_BAR)
    pen.line((0, strip // 2, screen.width, strip // 2), fill=INK)
    screen.paste(shown, (strip, strip))
    return jpeg(screen, 85)


def _noise_5(image: Image.Image) -> Image.Image:
    """Noise of sigma 5 that depends on the pixels alone: neither order nor file name matters."""
    return noisy(image, 5, np.random.default_rng(zlib.crc32(image.tobytes())))


def _passed(image: Image.Image, form: Literal["JPEG", "WEBP"], **how: object) -> Image.Image:
    """Return what a decoder makes of the encoded picture."""
    buffer = BytesIO()
    image.save(buffer, form, **how)
    with Image.open(buffer, formats=(form,)) as passed:
        return passed.convert("RGB")


GRID: dict[str, Corruption] = {
    **{f"jpeg_{quality}": partial(jpeg, quality=quality) for quality in range(90, 30, -10)},
    "webp_75": partial(webp, quality=75),
    "half": partial(resized, factor=1 / 2),
    "third": partial(resized, factor=1 / 3),
    "blur_1": partial(blurred, sigma=1),
    "noise_5": _noise_5,
    "crop_80": partial(centre_cropped, share=0.8),
    "screenshot": screenshot,
}
"""Name -> one step at one strength: the columns of a robustness table."""
