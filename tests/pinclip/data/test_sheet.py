"""pinclip.data.sheet: every source has a row, with its name, its label and its own pictures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from pinclip.data import sheet
from pinclip.data.errors import UnreadableError
from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet
from pinclip.data.sheet import pages, write_sheet


def rows_of(source: str, label: str, count: int) -> list[Row]:
    return [
        Row(
            file=f"{label}/{source}/{number}.png",
            label=label,
            source=source,
            group=source,
            fold=number % 2,
            style="photo",
            sha256_of_original="",
        )
        for number in range(count)
    ]


def colour(row: Row) -> tuple[int, int, int]:
    """What the whole picture of a row is painted in; ai is red, real is green."""
    shade = 100 + 10 * int(Path(row.file).stem)
    return (shade, 0, 0) if row.label == "ai" else (0, shade, 0)


def read(row: Row) -> bytes:
    if row.source == "broken":
        return b"no picture"
    if row.source == "missing":
        raise UnreadableError("missing")
    buffer = BytesIO()
    Image.new("RGB", (60, 30), colour(row)).save(buffer, "PNG")
    return buffer.getvalue()


def set_of(*rows: list[Row]) -> ImageSet:
    return ImageSet(name="mine", rows=tuple(row for part in rows for row in part), read=read)


def tile(page: Image.Image, line: int, column: int) -> np.ndarray:
    left = sheet.GAP + sheet.LABEL + column * (sheet.TILE + sheet.GAP)
    top = sheet.HEAD + line * (sheet.TILE + sheet.GAP)
    return np.asarray(page.crop((left, top, left + sheet.TILE, top + sheet.TILE)), int)


def middle(page: Image.Image, line: int, column: int) -> tuple[int, ...]:
    return tuple(tile(page, line, column)[sheet.TILE // 2, sheet.TILE // 2].tolist())


def test_a_row_shows_the_pictures_of_its_source_real_ones_first() -> None:
    fake, true = rows_of("a", "ai", 2), rows_of("b", "real", 3)

    (page,) = pages(set_of(fake, true))

    assert page.mode == "RGB"
    assert [middle(page, 0, column) for column in range(3)] == [colour(row) for row in true]
    assert [middle(page, 1, column) for column in range(2)] == [colour(row) for row in fake]
    assert middle(page, 1, 2) == (255, 255, 255)


def test_a_bar_in_the_colour_of_the_label_stands_before_a_row() -> None:
    (page,) = pages(set_of(rows_of("a", "ai", 1), rows_of("b", "real", 1)))

    bars = [
        page.getpixel((sheet.GAP + 2, sheet.HEAD + line * (sheet.TILE + sheet.GAP) + 50))
        for line in (0, 1)
    ]

    assert bars == [ImageColor.getrgb(sheet.COLOURS[label]) for label in ("real", "ai")]


def test_the_text_differs_with_the_name_and_stays_in_its_column() -> None:
    long = "a-name-of-a-source-that-nobody-would-want-to-read-to-its-very-end-since-it-is-so-long"
    names = ("short", "other", long)

    labels = []
    for name in names:
        (page,) = pages(set_of(rows_of(name, "ai", 1), rows_of("b", "real", 1)))
        top = sheet.HEAD + sheet.TILE + sheet.GAP
        labels.append(np.asarray(page.crop((14, top, sheet.GAP + sheet.LABEL, page.height)), int))

    assert len({label.tobytes() for label in labels}) == 3
    assert all((label < 100).any() for label in labels)
    assert all((label[:, -8:] > 200).all() for label in labels)


def test_pictures_are_shown_whole() -> None:
    (page,) = pages(set_of(rows_of("a", "ai", 1), rows_of("b", "real", 1)))

    shown = (tile(page, 0, 0) == colour(rows_of("b", "real", 1)[0])).all(axis=2)

    assert np.argwhere(shown).min(axis=0).tolist() == [41, 26]
    assert shown.sum() == 60 * 30


def test_the_draw_depends_on_the_seed_alone() -> None:
    images = set_of(rows_of("a", "ai", 15), rows_of("b", "real", 15))

    one, again, other = (
        next(pages(images, per_source=3, seed=seed)).tobytes() for seed in (0, 0, 1)
    )

    assert one == again
    assert one != other


@pytest.mark.parametrize("source", ["broken", "missing"])
def test_a_picture_that_cannot_be_read_is_a_crossed_box(source: str) -> None:
    (page,) = pages(set_of(rows_of(source, "ai", 1), rows_of("b", "real", 1)))

    box = tile(page, 1, 0)
    assert len(np.unique(box.reshape(-1, 3), axis=0)) == 2
    assert (np.diagonal(box).T < 150).all()


def test_many_sources_take_several_pages(tmp_path: Path) -> None:
    sources = [rows_of(f"s{number:02}", "ai", 1) for number in range(sheet.ROWS)]
    images = set_of(*sources, rows_of("b", "real", 1))

    written = write_sheet(images, tmp_path / "new" / "sheet.jpg", per_source=1)

    assert [path.name for path in written] == ["sheet.jpg", "sheet-2.jpg"]
    with Image.open(written[0]) as first, Image.open(written[1]) as second:
        assert (first.format, second.format) == ("JPEG", "JPEG")
        assert second.height == sheet.HEAD + sheet.TILE + sheet.GAP
        assert first.height > second.height


def test_only_png_and_jpeg_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png"):
        write_sheet(set_of(rows_of("a", "ai", 1)), tmp_path / "sheet.pdf")
