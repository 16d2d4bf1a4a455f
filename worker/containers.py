"""Where each image format keeps things: walks over bytes, linear, bounded, never raising.

    kind(data)       -> "jpeg" "png" "webp" "gif" "avif" "bmp" "heic", a format we know but do not
                        read ("tiff", "svg", ...), or "" for anything else
    jpeg_segments    up to the first scan                   png_chunks    up to IEND
    jpeg_markers     past the scans, to the image's end
    riff_chunks      inside the size that RIFF declares     gif_blocks    up to the trailer
    boxes            ISO base media: AVIF, HEIC             meta_items    its items, by type

Each walk yields (name, start, end) of a payload and stops where the image ends, so bytes put
after the image are never seen. Knows nothing of pixels and nothing of what a payload means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Part = tuple[bytes, int, int]
"""Name of a part and the range of its payload in the data."""

PART_LIMIT = 20_000
"""Parts looked at in one container: far above honest files, and a fraction of a second."""
EXTENT_LIMIT = 8
"""Extents of one item looked at: metadata lies in one piece."""
BLOCK_LIMIT = 2_000_000
"""GIF sub-blocks stepped over: a 20 MiB file of full blocks has 82,000."""

_MAGICS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"\0\0\2\0", "ico"),
    (b"%!PS", "eps"),
    (b"\xc5\xd0\xd3\xc6", "eps"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"qoif", "qoi"),
    (b"8BPS", "psd"),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PPM = re.compile(rb"P[1-7fF][\s#]")
_SVG = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!--|<!DOCTYPE\s+svg|<svg[\s>])", re.IGNORECASE
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_HEIF_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf")

# Markers without a length: TEM and RST0-7. FF00 is a stuffed byte, FFFF is filling.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
SOI, EOI, SOS = 0xD8, 0xD9, 0xDA


def kind(data: bytes) -> str:
    """Name the format by its own magic; file names and content types are never asked."""
    for magic, name in _MAGICS:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if data[4:8] == b"ftyp":
        return _brand(data)
    if _PPM.match(data):
        return "ppm"
    if _SVG.match(data) and re.search(rb"<svg[\s>]", data[:4096], re.IGNORECASE):
        return "svg"
    return ""


def jpeg_segments(data: bytes) -> Iterator[Part]:
    """Yield the segments before the first scan; the name is the marker's second byte."""
    at = 2
    for _ in range(PART_LIMIT):
        found = _MARKER.search(data, at)
        if found is None or data[found.end() - 1] in (SOI, EOI, SOS):
            return
        start = found.end() + 2
        end = found.end() + max(2, _big(data, found.end(), 2))
        if end > len(data):
            return
        yield data[found.end() - 1 : found.end()], start, end
        at = end


def jpeg_markers(data: bytes) -> Iterator[int]:
    """Yield the second byte of each marker, past the scans, to EOI (last) or the data's end.

    Unlike a search for FFDA, not misled by comments, thumbnails or a video after the image.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker = data[found.end() - 1]
        yield marker
        if marker in (SOI, EOI):
            return
        at = found.end() + max(2, _big(data, found.end(), 2))


def png_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks from IHDR up to IEND; checksums are not looked at."""
    at = 8
    for _ in range(PART_LIMIT):
        start = at + 8
        end = start + _big(data, at, 4)
        name = data[at + 4 : start]
        if end > len(data) or len(name) < 4 or name == b"IEND":
            return
        yield name, start, end
        at = end + 4


def riff_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks of a WebP file, none beyond the size that its header declares."""
    stop = min(len(data), 8 + _little(data, 4, 4))
    at = 12
    for _ in range(PART_LIMIT):
        start = at + 8
        end = start + _little(data, at + 4, 4)
        if start > stop or end > stop:
            return
        yield data[at : at + 4], start, end
        at = end + (end & 1)


def gif_blocks(data: bytes) -> Iterator[Part]:
    """Yield b"," for each frame and b"!" and a label for each extension, up to the trailer."""
    at = 13 + _colour_table(data, 10)
    steps = [BLOCK_LIMIT]
    while at < len(data) and steps[0] > 0:
        if data[at] == 0x2C:
            start = at
            at = _after_blocks(data, at + 11 + _colour_table(data, at + 9), steps)
            yield b",", start, at
        elif data[at] == 0x21:
            start, label = at + 2, data[at : at + 2]
            at = _after_blocks(data, start, steps)
            yield label, start, at
        elif data[at] == 0:
            at += 1
        else:
            return
        steps[0] -= 1


def boxes(data: bytes, start: int, end: int) -> Iterator[Part]:
    """Yield the ISO base media (or JUMBF) boxes of a range; one that overruns it ends the walk."""
    at = start
    for _ in range(PART_LIMIT):
        if at + 8 > end:
            return
        size, head = _big(data, at, 4), 8
        if size == 1:
            size, head = _big(data, at + 8, 8), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield data[at + 4 : at + 8], at + head, at + size
        at += size


def meta_items(data: bytes, start: int, end: int) -> Iterator[Part]:
    """Yield (type, start, end) of each extent of the items of a `meta` box's payload.

    The type is the item's four letters; for `mime` items it is the MIME type.
    """
    parts = {name: (first, last) for name, first, last in boxes(data, start + 4, end)}
    if not {b"iinf", b"iloc"} <= parts.keys():
        return
    types = dict(_item_types(data, *parts[b"iinf"]))
    base = parts.get(b"idat", (0, 0))
    for item, in_idat, offset, length in _item_extents(data, *parts[b"iloc"]):
        first = offset + (base[0] if in_idat else 0)
        if item in types and length and first + length <= len(data):
            yield types[item], first, first + length


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _brand(data: bytes) -> str:
    """Name the ISO base media format by its major brand, then by the compatible ones."""
    end = min(_big(data, 0, 4), 1024, len(data))
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return "avif"
        if brand in _HEIC_BRANDS:
            return "heic"
    return "heif" if any(brand in _HEIF_BRANDS for brand in brands) else ""


def _colour_table(data: bytes, at: int) -> int:
    """Return the bytes of the GIF colour table that the flags at `at` announce."""
    flags = data[at] if at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int, steps: list[int]) -> int:
    """Return where a chain of GIF sub-blocks ends; `steps` counts down what may be stepped."""
    left, length = steps[0], len(data)
    while at < length and left > 0:
        size = data[at]
        at += 1 + size
        left -= 1
        if not size:
            break
    steps[0] = left
    return min(at, length)


def _item_types(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (item id, type) of an `iinf` box; infe versions 2 and 3, the ones that have types."""
    first = start + (6 if start < end and data[start] == 0 else 8)
    for name, at, stop in boxes(data, first, end):
        if name != b"infe" or at >= stop or data[at] not in (2, 3):
            continue
        size = 2 if data[at] == 2 else 4
        item, rest = _big(data, at + 4, size), at + 4 + size + 2
        kind_ = data[rest : rest + 4]
        if kind_ == b"mime":
            fields = data[rest + 4 : min(stop, rest + 512)].split(b"\0")
            kind_ = fields[1] if len(fields) > 1 else b""
        yield item, kind_


def _item_extents(data: bytes, start: int, end: int) -> Iterator[tuple[int, bool, int, int]]:
    """Yield (item id, lies in idat, offset, length) of an `iloc` box, versions 0 to 2."""
    version = data[start] if start < end else 0
    sizes = _big(data, start + 4, 2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, sizes & 15 if version else 0
    id_size = 4 if version == 2 else 2
    at = start + 6 + id_size
    for _ in range(_big(data, start + 6, id_size)):
        if at >= end:
            return
        item = _big(data, at, id_size)
        method = _big(data, at + id_size, 2) & 15 if version else 0
        at += id_size + (2 if version else 0) + 2
        base = _big(data, at, base_size)
        count = _big(data, at + base_size, 2)
        at += base_size + 2
        for _ in range(min(count, EXTENT_LIMIT)):
            offset = _big(data, at + index_size, offset_size)
            length = _big(data, at + index_size + offset_size, length_size)
            at += index_size + offset_size + length_size
            yield item, method == 1, base + offset, length
        at += max(0, count - EXTENT_LIMIT) * (index_size + offset_size + length_size)
