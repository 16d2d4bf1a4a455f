"""Shows which parts of a picture the score rests on: `pinclip explain IMAGE -o MAP.png`.

    picture --prepare--> (3, 224, 224) --occlude--> Map (14, 14) --draw--> PNG
                           a window of patches is greyed, the model looks again:
                           how far does the logit of the score fall?

Occlusion (Zeiler and Fergus, arXiv 1311.2901, section 4.2): it asks the model that serves, needs
no gradients, and runs with either engine. A map says what the model reacts to; it is no proof and
finds no edited region. What is hidden is hidden after preprocessing, so a picture that was prepared
is never prepared twice. Knows nothing of how the model works.
"""

from __future__ import annotations

import argparse
import struct
import sys
import textwrap
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from .detector import Detector, EngineError, Reading, load
from .preprocess import Preprocessing, to_rgb
from .weights import PATCH, WeightsError, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

USAGE, CONFIG = 2, 3
WINDOW = 4
"""Side of what is hidden, in patches of 16 pixels; one patch alone hardly moves the score."""
STRIDE = 2
"""Patches from one window to the next: 36 windows; 1 makes 121."""
LEAST = 0.1
"""The colours span at least this much of the logit, so that a map of nothing looks like nothing."""
AI, REAL = (178, 24, 43), (33, 102, 172)
"""Red and blue that people with any colour vision can tell apart (ColorBrewer RdBu)."""
ZOOM, MARGIN, BAR, LETTER, COLUMNS = 2, 16, 14, 13, 72
"""Of the drawing: pixels of each pixel, of the margins, the legend, a letter; letters of a line."""


class PictureError(Exception):
    """A file that cannot be read as a picture; the text says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """`drop` (14, 14): the logit of the score, less that with the patch hidden, by row and column.

    Means over the windows that hide the patch. Positive: the patch speaks for AI. `outputs` (K,)
    are those of the whole picture.
    """

    drop: NDArray[np.float64]
    outputs: NDArray[np.float32]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the map of one picture; return the exit status."""
    options = _parser().parse_args(argv)
    if not options.output.parent.is_dir():
        return _refuse(f"{options.output.parent} is no folder: make it first.", USAGE)
    try:
        rgb = read(options.image)
        detector = load(weights=named(options.weights))
        reading = explain(detector, rgb, options.output, stride=options.stride)
    except PictureError as error:
        return _refuse(str(error), USAGE)
    except (WeightsError, EngineError) as error:
        return _refuse(str(error), CONFIG)
    except OSError as error:
        return _refuse(f"{options.output} cannot be written: {error.strerror}.", USAGE)
    sys.stdout.write(f"{options.output}: score {reading.score:.3f} ({reading.slice})\n")
    return 0


def read(path: Path) -> NDArray[np.uint8]:
    """Return the picture in a file, upright: (H, W, 3) RGB. Raises PictureError."""
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist.") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path} is no picture that Pillow can read: try PNG or JPEG.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise PictureError(f"{path} cannot be read as a picture: {error}") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} is too large: {error} Make it smaller first.") from None


def explain(
    detector: Detector, rgb: NDArray[np.uint8], path: Path, *, stride: int = STRIDE
) -> Reading:
    """Write the map of (H, W, 3) RGB as a PNG, replaced when done; return what the score says."""
    prepared = detector.prepare(rgb)
    found = occlude(detector, prepared, stride=stride)
    (reading,) = detector.finish(found.outputs[None])
    said = caption(found, reading, detector.weights_id)
    picture = draw(found, visible(prepared, detector.preprocessing), said)
    description = PngImagePlugin.PngInfo()
    description.add_text("Description", said)
    part = path.with_name(f"{path.name}.part")
    try:
        picture.save(part, "PNG", pnginfo=description)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return reading


def occlude(
    detector: Detector,
    prepared: NDArray[np.float32],
    *,
    window: int = WINDOW,
    stride: int = STRIDE,
) -> Map:
    """(3, S, S) from `Detector.prepare` -> the map; window and stride in patches.

    Hidden is the colour that is zero after normalisation: the mean of the images that CLIP saw.
    Raises ValueError for a stride that would leave patches unseen.
    """
    side = prepared.shape[-1] // PATCH
    if not 1 <= stride <= window <= side:
        raise ValueError(
            f"window is {window} and stride {stride}: they need 1 <= stride <= window <= {side}."
        )
    starts = sorted({*range(0, side - window, stride), side - window})
    places = [np.s_[y : y + window, x : x + window] for y, x in product(starts, starts)]
    hidden = np.zeros((1 + len(places), side, side), bool)  # the first hides nothing
    for mask, place in zip(hidden[1:], places, strict=True):
        mask[place] = True
    outputs = np.concatenate(list(_answers(detector, prepared, hidden)))  # (1 + windows, K)
    logits = outputs[:, 0].astype(np.float64)
    drop = np.einsum("n,nyx->yx", logits[0] - logits[1:], hidden[1:]) / hidden[1:].sum(axis=0)
    return Map(drop=drop, outputs=outputs[0])


def _answers(
    detector: Detector, prepared: NDArray[np.float32], hidden: NDArray[np.bool_]
) -> Iterator[NDArray[np.float32]]:
    """Yield the outputs for the picture under each mask, a batch at a time."""
    for start in range(0, len(hidden), detector.batch_limit):
        masks = hidden[start : start + detector.batch_limit]
        pixels = masks.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
        yield detector.forward(np.where(pixels[:, None], np.float32(0), prepared))


def caption(found: Map, reading: Reading, weights_id: str) -> str:
    """Return what has to be said beside the map, a sentence a line."""
    strongest = float(np.abs(found.drop).max())
    is_one_sided = found.drop.min() > 0 or found.drop.max() < 0
    everywhere = " Here that is so wherever something is hidden." if is_one_sided else ""
    return (
        f"Score {reading.score:.3f} ({reading.slice}), {weights_id}. "
        f"Strongest effect of hiding a part: {strongest:.2f} of the score's logit.\n"
        f"Red: the score falls when this part is hidden. Blue: it rises.{everywhere}\n"
        "This shows what the model reacts to. It is no proof, and no map of what was made by AI. "
        "Only this square, the middle of the picture, is looked at."
    )


def visible(prepared: NDArray[np.float32], how: Preprocessing) -> Image.Image:
    """Return the square that the model sees, as people see it."""
    pixels = prepared.transpose(1, 2, 0) * np.asarray(how.std) + np.asarray(how.mean)
    return Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))


def draw(found: Map, square: Image.Image, said: str) -> Image.Image:
    """Return the square under the map's colours, with a legend and the caption below."""
    limit = max(LEAST, float(np.abs(found.drop).max()))
    size = square.width * ZOOM
    lines = [line for part in said.splitlines() for line in textwrap.wrap(part, COLUMNS)]
    words = (LETTER + 5) * len(lines)
    height = MARGIN + size + MARGIN + BAR + LETTER + MARGIN + words + MARGIN
    sheet = Image.new("RGB", (size + 2 * MARGIN, height), "white")
    grey = square.convert("L").convert("RGB")  # so that every colour is the map's,
    grey = Image.blend(grey, Image.new("RGB", grey.size, "white"), 0.4)  # also where it was dark
    sheet.paste(
        _tinted(grey.resize((size, size), Image.Resampling.BICUBIC), found.drop / limit),
        (MARGIN, MARGIN),
    )
    top = MARGIN + size + MARGIN
    ramp = np.linspace(-1, 1, size)[None]
    sheet.paste(_tinted(Image.new("RGB", (size, BAR), "white"), ramp), (MARGIN, top))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTER)
    for at, anchor, text in (
        (MARGIN, "la", f"-{limit:.2f} speaks for real"),
        (MARGIN + size / 2, "ma", "0"),
        (MARGIN + size, "ra", f"speaks for AI +{limit:.2f}"),
    ):
        pen.text((at, top + BAR + 2), text, "black", font, anchor=anchor)
    for index, line in enumerate(lines):
        y = top + BAR + LETTER + MARGIN + index * (LETTER + 5)
        pen.text((MARGIN, y), line, "black", font)
    return sheet


def _tinted(image: Image.Image, values: NDArray[np.float64]) -> Image.Image:
    """Return an image with `values` in [-1, 1], of any size, laid over it in colour."""
    field = Image.fromarray(values.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    strength = np.asarray(field)[..., None]  # (H, W, 1)
    cover = 0.75 * np.abs(strength)
    colour = np.where(strength > 0, np.array(AI), np.array(REAL))
    mixed = (1 - cover) * np.asarray(image) + cover * colour
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinclip explain",
        description="Show which parts of a picture the score rests on. No proof of anything.",
        epilog="exit status: 0 the map is written, 2 misuse or no picture, 3 the detector cannot "
        "work",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the picture's file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MAP", help="the PNG to write"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="installed weights by name, or a folder; default: the only ones",
    )
    parser.add_argument(
        "--stride",
        type=int,
        choices=range(1, WINDOW + 1),
        default=STRIDE,
        help=f"patches of {PATCH} pixels from one hidden square to the next; 1 is finest and "
        f"slowest (default {STRIDE})",
    )
    return parser


def _refuse(sentence: str, status: int) -> int:
    sys.stderr.write(f"pinclip: {sentence}\n")
    return status
