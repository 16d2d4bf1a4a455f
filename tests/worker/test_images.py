"""worker/images.py: the corpus with its exact codes, and what the pixels must be."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.worker import corpus
from worker import images
from worker.ports import Decoded, Frame, Refusal

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "vectors" / "images.json").read_text())["cases"]
FILES = [case for case in CASES if not case["id"].startswith("fault-") and case["id"] != "heic"]
HEIC = "heic" in images._PILLOW


def pixels(frame: Frame) -> NDArray[np.uint8]:
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)


def first(data: bytes) -> NDArray[np.uint8]:
    return pixels(images.decode(data).frames[0])


def colours(decoded: Decoded) -> list[tuple[int, ...]]:
    """The top left pixel of each sampled frame."""
    return [tuple(map(int, pixels(frame)[0, 0])) for frame in decoded.frames]


def plain(mode: str, colour: Any, form: str = "PNG", **options: Any) -> bytes:
    return corpus.saved(Image.new(mode, (40, 40), colour), form, **options)


# --- the corpus -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FILES, ids=lambda case: case["id"])
def test_decode_answers_as_the_corpus_says(case: dict[str, str]) -> None:
    data = corpus.build(case["id"].replace("-", "_"))

    try:
        decoded, code, reason = images.decode(data), None, None
    except Refusal as refused:
        decoded, code = None, refused.code
        reason = refused.detail.split(":")[0] if code == "decode_failed" else None

    assert (code, reason) == (case["code"], case.get("reason"))
    for frame in decoded.frames if decoded else ():
        assert len(frame.rgb) == 3 * frame.width * frame.height


def test_corpus_describes_every_file_that_is_built() -> None:
    described = {case["id"].replace("-", "_") for case in CASES} - {
        case["id"].replace("-", "_") for case in CASES if case["id"].startswith("fault-")
    }

    assert described == set(corpus.BUILDERS)


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "corner"),
    [
        (1, (0, 0)),
        (2, (0, -1)),
        (3, (-1, -1)),
        (4, (-1, 0)),
        (5, (0, 0)),
        (6, (0, -1)),
        (7, (-1, -1)),
        (8, (-1, 0)),
        (9, (0, 0)),
    ],
)
def test_decode_turns_the_picture_upright(value: int, corner: tuple[int, int]) -> None:
    """The file's dark corner is stored at the top left."""
    shown = first(corpus.build(f"jpeg_orientation_{value}"))

    dark = {at for at in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if shown[at].mean() < 60}

    assert dark == {corner}
    assert shown.shape == ((64, 48, 3) if 5 <= value <= 8 else (48, 64, 3))


@pytest.mark.parametrize("value", [5, 7])
def test_decode_transposes_along_the_right_diagonal(value: int) -> None:
    """Orientations 5 and 7 keep a corner; a mark along the long side shows the direction."""
    image = Image.new("L", (64, 48), 255)
    image.paste(0, (16, 0, 64, 8))
    head = corpus.segment(0xE1, b"Exif\0\0" + corpus.orientation(value))

    shown = first(corpus.jpeg(head, image=image, quality=95))

    edge = shown[:, 2] if value == 5 else shown[:, -3]
    assert edge[20:44].mean() < 10


def test_decode_turns_png_and_webp_by_their_exif() -> None:
    turned = corpus.orientation(6)

    png = images.decode(corpus.png(corpus.chunk(b"eXIf", turned)))
    webp = images.decode(corpus.webp((b"EXIF", turned)))

    assert (png.width, png.height) == (webp.width, webp.height) == (corpus.HEIGHT, corpus.WIDTH)


def test_decode_shows_adobe_cmyk_red_as_red() -> None:
    assert first(corpus.build("jpeg_cmyk_adobe"))[0, 0] == pytest.approx([255, 0, 0], abs=2)


def test_decode_scales_16_bits_instead_of_clipping() -> None:
    assert first(corpus.build("png_16_bit"))[0, 0].tolist() == [155, 155, 155]


@pytest.mark.parametrize(
    ("value", "grey"), [(0, 0), (256, 0), (257, 1), (65_534, 254), (65_535, 255)]
)
def test_decode_maps_the_ends_of_16_bits_to_the_ends_of_8(value: int, grey: int) -> None:
    assert first(plain("I;16", value))[0, 0].tolist() == [grey] * 3


def test_decode_shows_a_transparent_16_bit_grey_as_white() -> None:
    rows = b"".join(b"\0" + b"\x40\0" * 20 + b"\x80\0" * 20 for _ in range(40))
    data = (
        corpus.PNG
        + corpus.ihdr(40, 40, depth=16, colour=0)
        + corpus.chunk(b"tRNS", b"\x80\0")
        + corpus.chunk(b"IDAT", zlib.compress(rows))
        + corpus.chunk(b"IEND")
    )

    shown = first(data)

    assert shown[0, 0].tolist() == [63] * 3
    assert shown[0, 39].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        pytest.param(plain("RGBA", (200, 0, 0, 0)), (255, 255, 255), id="clear"),
        pytest.param(plain("RGBA", (200, 0, 0, 128)), (227, 127, 127), id="half"),
        pytest.param(plain("RGBA", (200, 0, 0, 255)), (200, 0, 0), id="opaque"),
        pytest.param(plain("LA", (100, 0)), (255, 255, 255), id="grey"),
        pytest.param(plain("RGB", (1, 2, 3), transparency=(1, 2, 3)), (255, 255, 255), id="key"),
        pytest.param(plain("RGB", (1, 2, 4), transparency=(1, 2, 3)), (1, 2, 4), id="not-the-key"),
        pytest.param(plain("L", 9, transparency=9), (255, 255, 255), id="grey-key"),
        pytest.param(plain("1", 1), (255, 255, 255), id="one-bit"),
        pytest.param(plain("RGBA", (9, 8, 7, 0), "WEBP", lossless=True), (255,) * 3, id="webp"),
    ],
)
def test_decode_lays_transparency_over_white(data: bytes, colour: tuple[int, ...]) -> None:
    assert first(data)[20, 20] == pytest.approx(colour, abs=1)


def test_decode_shows_a_palette_with_its_clear_entry_white() -> None:
    shown = first(corpus.build("png_palette_transparent"))

    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[0, -1].tolist() == [10, 200, 30]


def test_decode_converts_in_strips_as_in_one() -> None:
    """Larger than one strip, so that a seam would show."""
    image = corpus.picture("RGBA", (1_100, 2_500))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)

    shown = first(corpus.saved(image, "PNG", compress_level=1))

    assert shown.tobytes() == white.tobytes()


def test_decode_shows_the_first_image_of_an_mpo() -> None:
    decoded = images.decode(corpus.build("jpeg_mpo"))

    assert decoded.mime == "image/jpeg"
    assert decoded.frame_count == 1
    assert colours(decoded) != [(0, 0, 254)]


def test_decode_reads_a_jpeg_without_end_as_the_whole_one() -> None:
    assert first(corpus.build("jpeg_no_eoi")).tobytes() == first(corpus.jpeg()).tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_decode_refuses_a_jpeg_cut_anywhere(options: dict[str, Any]) -> None:
    data = corpus.jpeg(image=corpus.picture(size=(96, 96)), **options)
    start = corpus.start_of_scan(data) + 14

    for end in range(start + 1, len(data) - 16, 7):
        with pytest.raises(Refusal, match="corrupt"):
            images.decode(data[:end])


# --- what is said of the image ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("jpeg_grey", "image/jpeg"),
        ("png_animated", "image/png"),
        ("gif_still", "image/gif"),
        ("webp_still", "image/webp"),
        ("avif_still", "image/avif"),
        ("bmp_still", "image/bmp"),
    ],
)
def test_decode_names_the_media_type(name: str, mime: str) -> None:
    assert images.decode(corpus.build(name)).mime == mime


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 85, 95, 100])
def test_decode_estimates_the_jpeg_quality(quality: int) -> None:
    assert images.decode(corpus.jpeg(quality=quality)).jpeg_quality == quality


def test_decode_has_no_quality_for_other_formats() -> None:
    assert images.decode(corpus.build("webp_still")).jpeg_quality is None


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("png_30000_by_1", "image_too_large", "30000 x 1 pixels"),
        ("png_20000_square", "image_too_large", "400000000 pixels"),
        ("png_31_by_400", "image_too_small", "31 x 400 pixels; at least 32"),
        ("svg", "format_unsupported", "SVG"),
        ("html", "not_an_image", "63 bytes of no known image format"),
        ("empty", "not_an_image", "no bytes"),
        ("jpeg_65_scans", "decode_failed", "more than 64 scans"),
    ],
)
def test_refusal_says_what_was_found(name: str, code: str, part: str) -> None:
    with pytest.raises(Refusal) as refused:
        images.decode(corpus.build(name))

    assert refused.value.code == code
    assert part in refused.value.detail


# --- animations -------------------------------------------------------------------------------


def test_decode_samples_four_frames_evenly() -> None:
    decoded = images.decode(corpus.build("gif_animated"))

    assert decoded.frame_count == 12
    assert [red for red, _, _ in colours(decoded)] == [0, 27, 63, 99]


def test_decode_takes_all_frames_of_a_short_animation() -> None:
    decoded = images.decode(corpus.build("png_animated"))

    assert colours(decoded) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_decode_samples_from_the_first_100_frames() -> None:
    decoded = images.decode(corpus.build("gif_20000_frames"))

    assert decoded.frame_count == 20_000
    assert len(decoded.frames) == 4


@pytest.mark.parametrize(
    ("frames", "area", "samples"),
    [
        (1, 4_096, [0]),
        (2, 4_096, [0, 1]),
        (12, 4_096, [0, 3, 7, 11]),
        (20_000, 4_096, [0, 33, 66, 99]),
        (60, 1920 * 1080, [0, 9, 19, 29]),
        (60, 16_000_000, [0, 3]),
        (60, 40_000_000, [0]),
    ],
)
def test_samples_are_fewer_and_closer_when_frames_are_large(
    frames: int, area: int, samples: list[int]
) -> None:
    assert images._samples(frames, area) == samples


def test_decode_stops_walking_when_its_time_is_up() -> None:
    """The clock gains a second a look: the third frame is late, and the last."""
    decoded = images.decode(corpus.build("gif_animated"), now=count().__next__)

    assert [red for red, _, _ in colours(decoded)] == [0, 27]


def test_decode_stops_before_growing_frames_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIXEL_LIMIT", 64 * 64 + 1_000)
    frames = corpus.gif_frame(32, 32) + corpus.gif_frame(64, 64) * 3

    decoded = images.decode(corpus.gif_screen(32, 32) + frames + b";")

    assert [(frame.width, frame.height) for frame in decoded.frames] == [(32, 32)]


def test_decode_ends_where_the_frames_do_whatever_the_header_says() -> None:
    data = corpus.build("png_animated")
    at = data.index(b"acTL")
    claim = corpus.chunk(b"acTL", struct.pack(">II", 90, 0))

    decoded = images.decode(data[: at - 4] + claim + data[at + 16 :])

    assert decoded.frame_count == 3
    assert colours(decoded) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


# --- HEIC -------------------------------------------------------------------------------------


def test_decode_refuses_heic_where_the_extra_is_missing() -> None:
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from worker import images, ports\n"
        "from tests.worker import corpus\n"
        "try:\n"
        "    images.decode(corpus.build('heic'))\n"
        "except ports.Refusal as refused:\n"
        "    print(refused.code)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "format_unsupported\n"


@pytest.mark.skipif(not HEIC, reason="pinclip[heic] is not installed")
def test_decode_reads_heic_where_the_extra_is_installed() -> None:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 20))).save(out, quality=90)

    decoded = images.decode(out.getvalue())

    assert (decoded.mime, decoded.width, decoded.height) == ("image/heic", 64, 48)
    assert colours(decoded)[0] == pytest.approx((200, 30, 20), abs=6)


# --- any bytes --------------------------------------------------------------------------------

SMALL = [
    corpus.build(name)
    for name in sorted(corpus.BUILDERS)
    if name.endswith(("_still", "_animated", "_progressive", "_mpo", "_no_eoi", "_transparent"))
]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    data=st.sampled_from(SMALL),
    edits=st.lists(st.tuples(st.integers(0, 4_000), st.binary(max_size=6)), max_size=4),
    cut=st.integers(0, 4_000),
)
def test_decode_gives_pixels_or_a_refusal_for_damaged_files(
    data: bytes, edits: list[tuple[int, bytes]], cut: int
) -> None:
    for at, value in edits:
        data = corpus.patched(data, at % len(data), value)
    data = data[: max(1, len(data) - cut % 200)]

    try:
        decoded = images.decode(data)
    except Refusal:
        return

    assert all(len(frame.rgb) == 3 * frame.width * frame.height for frame in decoded.frames)
    assert sum(frame.width * frame.height for frame in decoded.frames) <= images.PIXEL_LIMIT
