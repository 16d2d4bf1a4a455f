"""The contact sheet of a set: a row for each source, so that a person sees what a label stands for.

    | real  nikon_d90            | [] [] [] [] [] [] [] [] |
    | 40 images, folds 0 3, photo|                         |
    | ai    midjourney-v6        | [] [] [] [] [] [] [] [] |
    | ...

Pictures are drawn from each source by a seed and shown whole. One that does not decode is a
crossed box. Long sets take several pages. Knows no model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .errors import UnreadableError
from .sets import ImageSet, decode

if TYPE_CHECKING:
    from .manifest import Row

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ROWS = 40
"""Sources on one page."""
TILE, GAP, LABEL, HEAD = 112, 8, 330, 48
"""Pixels: side of a picture's box, between boxes, width of the text beside a row, page title."""
LARGE, SMALL = 17, 13
"""Pixels of the text."""
PAPER, TEXT, FAINT = "white", "#111111", "#5a5a5a"
COLOURS = {"ai": "#b3261e", "real": "#1b6e3c"}
"""Of the bar beside a row."""


def pages(images: ImageSet, *, per_source: int = 8, seed: int = 0) -> Iterator[Image.Image]:
    """Yield the pages of the contact sheet, RGB; real sources first, then AI, by name.

    `per_source` pictures of each source are drawn by `seed`, or all that it has.
    """
    sources = _sources(images.rows)
    count = -(-len(sources) // ROWS)
    for number in range(count):
        part = sources[number * ROWS : (number + 1) * ROWS]
        yield _page(images, part, f"page {number + 1} of {count}", per_source, seed)


def write_sheet(images: ImageSet, to: Path, *, per_source: int = 8, seed: int = 0) -> list[Path]:
    """Write the pages as `to`, `to`-2, ...: PNG or JPEG by its suffix; return their paths.

    Raises ValueError for another suffix, OSError where they cannot be written.
    """
    if to.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{to} is neither .png nor .jpg: give the sheet one of these endings.")
    to.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for number, page in enumerate(pages(images, per_source=per_source, seed=seed), start=1):
        path = to if number == 1 else to.with_stem(f"{to.stem}-{number}")
        page.save(path, quality=88)
        written.append(path)
    return written


def _sources(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each source: real before AI, by name."""
    by_source: dict[tuple[bool, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.label == "ai", row.source].append(row)
    return [by_source[key] for key in sorted(by_source)]


def _page(
    images: ImageSet, sources: Sequence[Sequence[Row]], which: str, per_source: int, seed: int
) -> Image.Image:
    width = GAP + LABEL + per_source * (TILE + GAP)
    page = Image.new("RGB", (width, HEAD + len(sources) * (TILE + GAP)), PAPER)
    pen = ImageDraw.Draw(page)
    labels = Counter(row.label for row in images.rows)
    title = f"{images.name}: {labels['real']} real, {labels['ai']} ai, {which}"
    pen.text((GAP, HEAD // 2), _fitting(title, _font(LARGE), width), TEXT, _font(LARGE), "lm")
    for place, rows in enumerate(sources):
        top = HEAD + place * (TILE + GAP)
        _write_label(pen, rows, top)
        for column, row in enumerate(_drawn(rows, per_source, seed)):
            page.paste(_tile(images, row), (GAP + LABEL + column * (TILE + GAP), top))
    return page


def _write_label(pen: ImageDraw.ImageDraw, rows: Sequence[Row], top: int) -> None:
    """Write what a source is beside its pictures."""
    one = rows[0]
    pen.rectangle((GAP, top, GAP + 5, top + TILE - 1), fill=COLOURS[one.label])
    left, room = GAP + 14, LABEL - 3 * GAP
    styles = ", ".join(name for name, _ in Counter(row.style for row in rows).most_common(3))
    folds = " ".join(str(fold) for fold in sorted({row.fold for row in rows}))
    groups = sorted({row.group for row in rows})
    group = groups[0] if len(groups) == 1 else f"{len(groups)} groups"
    generator = ", ".join(sorted({row.generator for row in rows} - {"", one.source}))
    lines = [f"{one.label}, {len(rows)} images", f"{group}, fold {folds}", styles, generator]
    pen.text((left, top), _fitting(one.source, _font(LARGE), room), TEXT, _font(LARGE))
    for number, line in enumerate(lines):
        where = (left, top + LARGE + 8 + number * (SMALL + 7))
        pen.text(where, _fitting(line, _font(SMALL), room), FAINT, _font(SMALL))


def _drawn(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Return `count` rows of a source in their order, or all that it has."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    return [rows[index] for index in sorted(chosen)]


def _tile(images: ImageSet, row: Row) -> Image.Image:
    """Return a picture, whole, in a square box; a crossed box where there is none."""
    tile = Image.new("RGB", (TILE, TILE), "#ececec")
    try:
        picture = decode(images.read(row))
    except UnreadableError:
        pen = ImageDraw.Draw(tile)
        pen.line((0, 0, TILE, TILE), FAINT)
        pen.line((0, TILE, TILE, 0), FAINT)
        return tile
    picture.thumbnail((TILE, TILE))
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _fitting(text: str, font: Font, room: int) -> str:
    """Return the text, its middle cut out until it fits into `room` pixels."""
    if font.getlength(text) <= room:
        return text
    for keep in range(len(text) - 1, 1, -1):
        short = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
        if font.getlength(short) <= room:
            return short
    return text[:1]
