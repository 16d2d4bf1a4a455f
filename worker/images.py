"""PILLOW DOOR: bytes that strangers made -> upright RGB pictures, or a Refusal.

    bytes -> kind by magic -> scans, sides -> open -> sides -> load -> upright -> over white -> RGB
               not_an_image     image_too_large                decode_failed
               format_unsupported             image_too_small

Cheap checks come first, and every size is checked before pixels are made. Of an animation up to
four frames are decoded, chosen by number, not by chance. Knows nothing of processes: it runs in
a child that can be killed (decoding.py), and what loops, crashes or eats memory here ends there.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from time import monotonic

import PIL.MpoImagePlugin
import PIL.WebPImagePlugin  # noqa: F401 - it and MPO are imported to be registered
from PIL import AvifImagePlugin, ExifTags, Image, ImageChops, ImageFile

from sdk.codes import ScanErrorCode

from .containers import EOI, SOS, gif_blocks, jpeg_markers, kind, png_chunks
from .ports import Decoded, Frame, Refusal

PIXEL_LIMIT = 40_000_000
"""Most pixels of an image, and of all sampled frames together."""
SIDE_MINIMUM = 32
SIDE_LIMIT = 16_384
SCAN_LIMIT = 64
"""Scans of a JPEG: ten are usual; 300 at 49 megapixels took 16 s (libjpeg-turbo #252, #284)."""
FRAME_SAMPLES = 4
"""Most frames of an animation that are decoded."""
FRAME_SPAN = 100
"""Frames from which samples are drawn: to reach a frame, all before it must be decoded."""
STRIP_PIXELS = 1 << 20
"""Pixels converted at a time."""
WALK_PIXELS = 64_000_000
"""Pixels decoded on the way to the last sample, so that large frames shorten the span."""
WALK_SECONDS = 2.0
"""After this long the walk ends with the samples it has: a slow machine sees fewer frames."""

_PILLOW = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF", "bmp": "BMP"}
try:  # pinclip[heic]
    from pillow_heif import options as _heif
    from pillow_heif import register_heif_opener
except ImportError:
    pass
else:
    _heif.DECODE_THREADS = 1
    _heif.THUMBNAILS = False
    register_heif_opener()
    _PILLOW["heic"] = "HEIF"
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")

Image.preinit()  # the other openers, now rather than in each child
Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT
ImageFile.MAXBLOCK = 1 << 20  # of tobytes() and of reading; 64 KiB costs 40 % more at 12 megapixels
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a child is one core; threads reserve address space


def decode(data: bytes, *, now: Callable[[], float] = monotonic) -> Decoded:
    """Return the sampled frames of an image, or raise Refusal.

    Raises nothing else, whatever the bytes: a decoder's own errors are decode_failed.
    """
    name = _format(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(data, name, now)
        except Refusal:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            pixels = re.search(r"\d+", str(error))
            raise _too_large(f"{pixels[0] if pixels else 'too many'} pixels") from None
        except MemoryError:
            raise _failed("memory: it needs more memory to decode than one image may use") from None
        except Exception as error:
            raise _failed(f"corrupt: the {name} data is damaged or cut short") from error


def _format(data: bytes) -> str:
    """Return Pillow's name of the one format that these bytes may be opened as."""
    found = kind(data)
    if not found:
        raise Refusal(
            ScanErrorCode.NOT_AN_IMAGE,
            f"{len(data)} bytes of no known image format" if data else "no bytes at all",
        )
    if found not in _PILLOW:
        raise Refusal(
            ScanErrorCode.FORMAT_UNSUPPORTED,
            f"the bytes are {found.upper()}; read are {', '.join(sorted(_PILLOW.values()))}",
        )
    return _PILLOW[found]


def _decode(data: bytes, name: str, now: Callable[[], float]) -> Decoded:
    _check_header(data, name)
    try:
        return _read(data, name, now)
    except OSError:
        if name == "JPEG" and _lacks_only_its_end(data):
            return _read(data + _JPEG_END, name, now)
        raise


def _read(data: bytes, name: str, now: Callable[[], float]) -> Decoded:
    with Image.open(BytesIO(data), formats=[name]) as image:
        _check_sides(*image.size)
        count = _frame_count(data, name, image)
        frames = tuple(_frames(image, count, now))
        return Decoded(
            mime="image/heic" if name == "HEIF" else Image.MIME[name],
            width=frames[0].width,
            height=frames[0].height,
            frame_count=count,
            frames=frames,
            jpeg_quality=_quality(image) if name == "JPEG" else None,
        )


def _check_header(data: bytes, name: str) -> None:
    """Refuse what Pillow would only refuse after work: JPEG scans, the WebP canvas."""
    if name == "JPEG" and data.count(b"\xff\xda") > SCAN_LIMIT:
        scans = (marker for marker in jpeg_markers(data) if marker == SOS)
        if next(islice(scans, SCAN_LIMIT, None), None):
            raise _failed(f"complex: the JPEG has more than {SCAN_LIMIT} scans")
    if name == "WEBP":
        _check_sides(*_webp_size(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the canvas of the first chunk's header; Pillow would allocate it to find out."""
    chunk, head = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width = int.from_bytes(head[6:8], "little") & 0x3FFF
    return width, int.from_bytes(head[8:10], "little") & 0x3FFF


def _check_sides(width: int, height: int) -> None:
    size = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise _failed(f"corrupt: the header says {size}")
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        raise _too_large(size)
    if min(width, height) < SIDE_MINIMUM:
        raise Refusal(
            ScanErrorCode.IMAGE_TOO_SMALL, f"{size}; at least {SIDE_MINIMUM} a side are needed"
        )


def _lacks_only_its_end(data: bytes) -> bool:
    """Tell a JPEG without an end marker from one that is cut: filling changes only the latter.

    Pillow refuses both, and with an end marker put after them would fill the cut one with grey.
    """
    markers = set(jpeg_markers(data))
    if SOS not in markers or EOI in markers:
        return False
    first, second = (
        Image.open(BytesIO(data + filling + _JPEG_END), formats=["JPEG"]) for filling in _FILLINGS
    )
    _check_sides(*first.size)
    return ImageChops.difference(first, second).getbbox() is None


def _frame_count(data: bytes, name: str, image: Image.Image) -> int:
    """Return how many frames there are; the second image of an MPO is not one."""
    if name == "GIF":  # Pillow's count takes seconds where frames are tiny
        return max(1, sum(block == b"," for block, _, _ in gif_blocks(data)))
    said = getattr(image, "n_frames", 1) if name in _ANIMATED else 1
    if name == "PNG" and said > 1:  # a header may promise more than comes
        controls = sum(chunk == b"fcTL" for chunk, _, _ in png_chunks(data))
        said = min(said, controls + bool(image.info.get("default_image")))
    return max(1, said)


def _frames(image: Image.Image, count: int, now: Callable[[], float]) -> Iterator[Frame]:
    """Yield the first frame and the other samples, walking there frame by frame."""
    samples = _samples(count, image.width * image.height)
    started, pixels = now(), 0
    for number in range(samples[-1] + 1):
        if number and not _advance(image, number):
            return
        late = number > 0 and now() - started > WALK_SECONDS
        if number in samples or late:
            pixels += image.width * image.height  # frames of a GIF may grow
            if pixels > PIXEL_LIMIT:
                return
            yield _frame(image)
        if late:
            return


def _samples(count: int, area: int) -> list[int]:
    """Return the numbers of the frames to decode: evenly spread, the first always among them."""
    span = min(count, FRAME_SPAN, max(1, WALK_PIXELS // area))
    wanted = min(span, FRAME_SAMPLES, max(1, PIXEL_LIMIT // area))
    return [index * (span - 1) // max(1, wanted - 1) for index in range(wanted)]


def _advance(image: Image.Image, number: int) -> bool:
    """Load frame `number`; False where a file has fewer frames than it says."""
    try:
        image.seek(number)
    except EOFError:
        return False
    _check_sides(*image.size)
    image.load()
    return True


def _frame(image: Image.Image) -> Frame:
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    return Frame(width=upright.width, height=upright.height, rgb=_rgb(upright))


def _rgb(image: Image.Image) -> bytes:
    """Return height * width * 3 bytes; what must be converted is, in strips, to save memory."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.tobytes()
    rows = max(1, STRIP_PIXELS // image.width)
    pixels = BytesIO()
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        pixels.write(_over_white(strip).tobytes())
    return pixels.getvalue()


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, as stored, where the EXIF is broken or says nonsense."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:
        return 1


def _over_white(image: Image.Image) -> Image.Image:
    """Return the picture as RGB, what is transparent shown on white as a page would."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(picture, mask=picture)
    return white


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as RGB, 65535 being white; Pillow's own convert() clips at 255."""
    wide = image.convert("I")
    grey = wide.point(_HIGH_BYTE, "L")
    clear = image.info.get("transparency")
    if isinstance(clear, int) and 0 <= clear < len(_HIGH_BYTE):
        mask = [0] * len(_HIGH_BYTE)
        mask[clear] = 255
        grey.paste(255, mask=wide.point(mask, "L"))
    return grey.convert("RGB")


def _quality(image: Image.Image) -> int | None:
    """Estimate the JPEG quality, 1 to 100 on libjpeg's scale, from the first quantisation table."""
    table = getattr(image, "quantization", {}).get(0)
    if not table:
        return None
    above = bisect_left(_TABLE_SUMS, -sum(table))
    near = range(max(0, above - 1), min(len(_TABLE_SUMS), above + 1))
    return 1 + min(near, key=lambda index: abs(int(_TABLE_SUMS[index] + sum(table))))


def _scaled_sum(quality: int) -> int:
    """Return the sum of libjpeg's luminance table at a quality (its jpeg_set_quality)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (value * scale + 50) // 100)) for value in _LUMINANCE)


def _too_large(size: str) -> Refusal:
    return Refusal(
        ScanErrorCode.IMAGE_TOO_LARGE,
        f"{size}; at most 40 megapixels and {SIDE_LIMIT} a side are read",
    )


def _failed(reason: str) -> Refusal:
    return Refusal(ScanErrorCode.DECODE_FAILED, reason)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG_END = b"\xff\xd9"
_CODES = bytes(range(255))  # no FF
_FILLINGS = (b"", _CODES + b"".join(b"\xff" + bytes((0xD0 + n % 8,)) + _CODES for n in range(16)))
"""Nothing, and codes that change any picture still to be drawn, after whichever restart marker."""
_HIGH_BYTE = [value // 257 for value in range(65_536)]
# ITU T.81 Annex K.1, by sum only, so in any order.
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_TABLE_SUMS = [-_scaled_sum(quality) for quality in range(1, 101)]
