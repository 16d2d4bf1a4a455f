"""Which noise resists a shortcut? The mechanism test of method 3.

    training   every fake bears a mark that no real image bears     inputs "aligned"
    test       the same; then the mark swaps: real images bear it   inputs "swapped"
    drop       M aligned - M swapped: what the model spent on the mark

The marks are JPEG quality 75, and a faint grid of 8 pixels. The paper's abstract predicts a smaller
drop for learned than for Gaussian noise; method 1.3 predicts the reverse, unless the variance is
adversarial (A4-adv). Validation images are marked as training images are: nobody would know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from msgspec import Struct
from PIL import Image

from pinclip.corruptions import jpeg
from pinclip.data.sets import ImageSet, decode

from . import falsification
from .ablation import SEED, measured
from .arms import GAUSSIAN, METHOD
from .falsification import Difference, Rates

if TYPE_CHECKING:
    from torch import Tensor

    from pinclip.data.manifest import Row

    from .records import Run

QUALITY = 75
STRENGTH = 4
"""Grey levels by which the grid's lines are darker: hardly seen, and there after a JPEG of 85."""
STEP = 8
SWAPPED = "swapped"


class Sides(NamedTuple):
    """Class tokens of the same rows (N, blocks, W), without the mark and with it."""

    plain: Tensor
    marked: Tensor

    def where(self, bears: Tensor) -> Tensor:
        """Return the class tokens where the rows that `bears` (N,) says bear the mark."""
        return torch.where(bears[:, None, None], self.marked, self.plain)


class Drop(Struct, frozen=True, kw_only=True):
    """M aligned less M swapped of one arm, in shares; the larger, the more it used the mark."""

    arm: str
    aligned: float
    swapped: float
    drop: Difference


def jpeg_75(image: Image.Image) -> Image.Image:
    """Return the picture after one JPEG pass of quality 75."""
    return jpeg(image, QUALITY)


def grid_8(image: Image.Image) -> Image.Image:
    """Return the picture with every eighth row and column a little darker."""
    pixels = np.asarray(image).astype(np.int16)
    pixels[::STEP] -= STRENGTH
    pixels[:, ::STEP] -= STRENGTH
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


MARKS: dict[str, Callable[[Image.Image], Image.Image]] = {"jpeg_75": jpeg_75, "grid_8": grid_8}
"""Name -> what a shortcut does to a picture."""


def marked(images: ImageSet, mark: str) -> ImageSet:
    """Return the set with every picture marked, losslessly encoded."""

    def read(row: Row) -> bytes:
        buffer = BytesIO()
        MARKS[mark](decode(images.read(row))).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    return ImageSet(name=f"{images.name} {mark}", rows=images.rows, read=read)


def drops(runs: Sequence[Run]) -> list[Drop]:
    """Return the drop of every arm, smallest first, with its 95 % interval over sources.

    Each run has the outcomes "off" (aligned) and "off swapped".
    """
    found = []
    for arm in dict.fromkeys(run.arm for run in runs):
        before, after = _pair(arm, runs)
        aligned, swapped = (float(rates.by_seed().mean()) for rates in (before, after))
        drop = falsification.difference(before, after, _rng())
        found.append(Drop(arm=arm, aligned=aligned, swapped=swapped, drop=drop))
    return sorted(found, key=lambda each: each.drop.mean)


def excess(first: str, second: str, runs: Sequence[Run]) -> Difference:
    """Return drop(second) - drop(first), paired: above 0 where `first` resists the mark better."""
    lost = [_lost(*_pair(arm, runs)) for arm in (second, first)]
    return falsification.difference(lost[0], lost[1], _rng())


def section(runs: Sequence[Run], *, complete: Sequence[str]) -> str:
    """Return the part of the page that says how far each complete arm fell, and what that means."""
    own = [run for run in runs if run.arm in complete and "off" in _modes(run)]
    if not own:
        return ""
    lines = [
        "\n## A planted shortcut\n",
        "Fakes bear a mark in training and real images bear it at test. The drop of M says how "
        "much of a model rests on the mark.\n",
        "| arm | M aligned | M swapped | drop, points | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for each in drops(own):
        low, high = (f"{100 * bound:.1f}" for bound in (each.drop.low, each.drop.high))
        lines.append(
            f"| {each.arm} | {100 * each.aligned:.1f} | {100 * each.swapped:.1f} | "
            f"{100 * each.drop.mean:.1f} | {low} to {high} |"
        )
    return "\n".join(lines + _predictions(own)) + "\n"


def _predictions(runs: Sequence[Run]) -> list[str]:
    """Say of A5 and A4-adv whether they fall less far than Gaussian noise of A5's energy."""
    arms = {run.arm for run in runs}
    lines = [""]
    for learned in (METHOD, "A4-adv"):
        if {learned, GAUSSIAN} <= arms:
            found = excess(learned, GAUSSIAN, runs)
            said = "less" if found.low > 0 else "further" if found.high < 0 else "about as far"
            lines.append(
                f"{learned} falls {said} than {GAUSSIAN}: drop({GAUSSIAN}) - drop({learned}) is "
                f"{100 * found.mean:+.2f} points ({100 * found.low:+.2f} to "
                f"{100 * found.high:+.2f})."
            )
    return lines if len(lines) > 1 else []


def _pair(arm: str, runs: Sequence[Run]) -> tuple[Rates, Rates]:
    own = [run for run in runs if run.arm == arm]
    return measured(own, "off").rates, measured(own, f"off {SWAPPED}").rates


def _lost(before: Rates, after: Rates) -> Rates:
    return replace(before, fake=before.fake - after.fake, real=before.real - after.real)


def _modes(run: Run) -> list[str]:
    return [outcome.mode for outcome in run.outcomes]


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
