"""The files of tests/vectors/images.json, built byte by byte: honest, odd, damaged and hostile.

`build(id)` makes one; nothing is stored, so that each file says in code what is wrong with it.
Small parts (chunk, segment, riff, box ...) are for other tests to build their own with.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

Builder = Callable[[], bytes]
BUILDERS: dict[str, Builder] = {}
WIDTH, HEIGHT = 64, 48


def build(name: str) -> bytes:
    return BUILDERS[name]()


def part(builder: Builder) -> Builder:
    BUILDERS[builder.__name__] = builder
    return builder


def picture(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Shapes on a colour ramp: enough detail that its data cannot be cut unnoticed."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, size[0] // 2, size[1] - 4), fill=(200, 40, 30))
    draw.rectangle((size[0] // 2, 8, size[0] - 6, size[1] // 2), fill=(20, 90, 200))
    return image.convert(mode)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


# --- parts of files ---------------------------------------------------------------------------


def chunk(name: bytes, payload: bytes = b"") -> bytes:
    crc = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", crc)


PNG = b"\x89PNG\r\n\x1a\n"


def ihdr(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png(*extra: bytes, width: int = WIDTH, height: int = HEIGHT, after: bytes = b"") -> bytes:
    """An RGB PNG with chunks before and after its IDAT."""
    rows = b"".join(b"\0" + bytes(x % 256 for x in range(3 * width)) for _ in range(height))
    body = chunk(b"IDAT", zlib.compress(rows))
    return PNG + ihdr(width, height) + b"".join(extra) + body + after + chunk(b"IEND")


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg(*segments: bytes, image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG with segments put right after SOI."""
    data = saved(image or picture(), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """A TIFF block with one directory; an entry is (tag, type, count, value)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    at = 8 + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, value in entries:
        short = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", at)
        directory += struct.pack(order + "HHI", tag, kind, count) + short
        if len(value) > 4:
            values += value
            at += len(value)
    return head + directory + b"\0\0\0\0" + values


def orientation(value: int) -> bytes:
    return exif((0x0112, 3, 1, struct.pack("<H", value)))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for name, payload in chunks:
        body += name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp(*chunks: tuple[bytes, bytes], image: Image.Image | None = None) -> bytes:
    """An extended WebP: canvas, picture, then these chunks; flags say EXIF and XMP may follow."""
    image = image or picture()
    plain = saved(image, "WEBP", lossless=True)
    length = struct.unpack_from("<I", plain, 16)[0]
    return riff(vp8x(*image.size, flags=0x0C), (b"VP8L", plain[20 : 20 + length]), *chunks)


def vp8x(width: int, height: int, *, flags: int = 0) -> tuple[bytes, bytes]:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes((flags, 0, 0, 0)) + sides


def vp8l(width: int, height: int) -> bytes:
    return b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)


def box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + name + payload


def avif(image: Image.Image | None = None, **options: Any) -> bytes:
    return saved(image or picture(), "AVIF", speed=10, **options)


def with_ispe(width: int, height: int) -> bytes:
    data = avif()
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def gif_screen(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


def gif_frame(width: int, height: int, data: bytes | None = None) -> bytes:
    """A frame of two colours; without data, the codes of a blank one."""
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return descriptor + b"\x02" + sub_blocks(blank_codes(width * height) if data is None else data)


def blank_codes(pixels: int) -> bytes:
    """LZW codes of `pixels` zeros at two bits, cleared before the code size would grow."""
    bits: list[str] = []
    left = pixels
    while left > 0:
        bits += ["100", *["000"] * min(2, left)]
        left -= 2
    bits.append("101")
    stream = "".join(code[::-1] for code in bits)
    stream += "0" * (-len(stream) % 8)
    return bytes(int(stream[at : at + 8][::-1], 2) for at in range(0, len(stream), 8))


def sub_blocks(data: bytes) -> bytes:
    parts = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in parts) + b"\0"


def bmp(width: int, height: int, rows: bytes = b"") -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + head + rows


def noise(length: int, *, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def sof(data: bytes) -> int:
    """Where the frame header of a baseline JPEG begins."""
    return data.index(b"\xff\xc0")


def start_of_scan(data: bytes) -> int:
    return data.rindex(b"\xff\xda")


def with_scans(data: bytes, extra: int) -> bytes:
    """The progressive JPEG with its last scan repeated."""
    at = start_of_scan(data)
    return data[:-2] + data[at:-2] * extra + b"\xff\xd9"


# --- PNG --------------------------------------------------------------------------------------


@part
def png_grey() -> bytes:
    return saved(picture("L"), "PNG")


@part
def png_rgb() -> bytes:
    return png()


@part
def png_grey_alpha() -> bytes:
    return saved(picture("LA"), "PNG")


@part
def png_palette_transparent() -> bytes:
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    return saved(image, "PNG", transparency=b"\0\xff")


@part
def png_16_bit() -> bytes:
    return saved(Image.new("I;16", (WIDTH, HEIGHT), 40_000), "PNG")


@part
def png_animated() -> bytes:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "lime", "blue")]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


@part
def png_no_iend() -> bytes:
    return png()[:-12]


@part
def png_zip_tail() -> bytes:
    return png() + b"PK\3\4" + noise(5_000)


@part
def png_20000_square() -> bytes:
    rows = zlib.compress(bytes(20_000 * 2_501), 1)
    return PNG + ihdr(20_000, 20_000, depth=1, colour=0) + chunk(b"IDAT", rows) + chunk(b"IEND")


@part
def png_2147483647_square() -> bytes:
    return PNG + ihdr(2**31 - 1, 2**31 - 1) + chunk(b"IDAT") + chunk(b"IEND")


@part
def png_30000_by_1() -> bytes:
    return png(width=30_000, height=1)


@part
def png_1_by_1() -> bytes:
    return png(width=1, height=1)


@part
def png_1_by_1_of_100_mb() -> bytes:
    rows = zlib.compress(bytes(100_000_000), 1)
    return PNG + ihdr(1, 1) + chunk(b"IDAT", rows) + chunk(b"IEND")


@part
def png_31_by_400() -> bytes:
    return png(width=31, height=400)


@part
def png_0_by_0() -> bytes:
    return PNG + ihdr(0, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")


@part
def png_ihdr_only() -> bytes:
    return PNG + ihdr(WIDTH, HEIGHT)


@part
def png_bad_crc() -> bytes:
    return patched(png(), 8 + 8 + 13, b"\0\0\0\0")


@part
def png_wider_than_data() -> bytes:
    data = png()
    return PNG + ihdr(2 * WIDTH, HEIGHT) + data[8 + 25 :]


@part
def png_magic_then_html() -> bytes:
    return PNG + b"<!doctype html><title>Not found</title>" * 20


@part
def png_ztxt_64_mb() -> bytes:
    return png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 << 20), 1)))


@part
def png_iccp_64_mb() -> bytes:
    return png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(64 << 20), 1)))


@part
def png_cut() -> bytes:
    data = saved(picture(size=(200, 200)), "PNG")
    return data[: len(data) // 2]


# --- JPEG -------------------------------------------------------------------------------------


@part
def jpeg_grey() -> bytes:
    return jpeg(image=picture("L"))


@part
def jpeg_cmyk_adobe() -> bytes:
    """Pure red as printers' programs write it: inverted, and an Adobe segment to say so."""
    return saved(Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)), "JPEG", quality=100)


@part
def jpeg_progressive() -> bytes:
    return jpeg(progressive=True)


@part
def jpeg_arithmetic() -> bytes:
    """One DC scan of a grey picture; all-zero codes mean that no block differs from the last."""
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xCA, struct.pack(">BHHB", 8, HEIGHT, WIDTH, 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\0\0\0")
    return b"\xff\xd8" + tables + frame + scan + bytes(40) + b"\xff\xd9"


@part
def jpeg_no_eoi() -> bytes:
    return jpeg()[:-2]


@part
def jpeg_broken_exif() -> bytes:
    return jpeg(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f" + noise(200)))


@part
def jpeg_icc_13_mb() -> bytes:
    body = bytes(65_000)
    pieces = [b"ICC_PROFILE\0" + bytes((number, 200)) + body for number in range(1, 201)]
    return jpeg(*(segment(0xE2, piece) for piece in pieces))


@part
def jpeg_comments_6_mb() -> bytes:
    """Comments full of what looks like scans."""
    return jpeg(*[segment(0xFE, b"\xff\xda" * 32_000)] * 100)


@part
def jpeg_html_tail() -> bytes:
    return jpeg() + b"<html><script>alert(1)</script>" * 100


@part
def jpeg_video_tail() -> bytes:
    """A motion photo: bytes after the image that hold FFDA more often than scans may be."""
    return jpeg() + box(b"ftyp", b"mp42") + b"\xff\xda\0\2" * 200 + noise(50_000)


@part
def jpeg_mpo() -> bytes:
    second = Image.new("RGB", (WIDTH, HEIGHT), "blue")
    return saved(picture(), "MPO", save_all=True, append_images=[second])


@part
def jpeg_sof_65500_square() -> bytes:
    data = jpeg()
    return patched(data, sof(data) + 5, struct.pack(">HH", 65_500, 65_500))


@part
def jpeg_sof_0_by_0() -> bytes:
    data = jpeg()
    return patched(data, sof(data) + 5, bytes(4))


@part
def jpeg_sof3_lossless() -> bytes:
    data = jpeg()
    return patched(data, sof(data) + 1, b"\xc3")


@part
def jpeg_12_bit() -> bytes:
    data = jpeg()
    return patched(data, sof(data) + 4, b"\x0c")


@part
def jpeg_noise_after_sos() -> bytes:
    data = jpeg(image=picture(size=(200, 200)))
    return data[: start_of_scan(data) + 14] + noise(4_000) + b"\xff\xd9"


@part
def jpeg_cut() -> bytes:
    data = jpeg(image=picture(size=(200, 200)))
    return data[: len(data) // 2]


@part
def jpeg_65_scans() -> bytes:
    data = jpeg(progressive=True)
    return with_scans(data, 65 - data.count(b"\xff\xda"))


def _orientation_file(value: int) -> Builder:
    corner = Image.new("RGB", (WIDTH, HEIGHT), "white")
    corner.paste((0, 0, 0), (0, 0, 16, 16))
    head = segment(0xE1, b"Exif\0\0" + orientation(value))
    return lambda: jpeg(head, image=corner, quality=95)


BUILDERS.update({f"jpeg_orientation_{value}": _orientation_file(value) for value in range(1, 10)})


# --- GIF --------------------------------------------------------------------------------------


@part
def gif_still() -> bytes:
    return saved(picture("P"), "GIF")


@part
def gif_animated() -> bytes:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (9 * number, 0, 0)) for number in range(12)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


@part
def gif_20000_frames() -> bytes:
    return gif_screen(32, 32) + gif_frame(32, 32) * 20_000 + b";"


@part
def gif_js_polyglot() -> bytes:
    """A GIF that is also a script: the comment opens in the width, 10799, and closes at the end."""
    screen = b"GIF89a/*" + struct.pack("<HBBB", 32, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + gif_frame(32, 32) + b";*/=1;alert(1)//"


@part
def gif_screen_65535_square() -> bytes:
    return gif_screen(65_535, 65_535) + gif_frame(32, 32) + b";"


@part
def gif_frame_65535_square() -> bytes:
    return gif_screen(32, 32) + gif_frame(65_535, 65_535, b"\x0c\x05") + b";"


@part
def gif_second_frame_65535_square() -> bytes:
    frames = gif_frame(32, 32) + gif_frame(65_535, 65_535, b"\x0c\x05")
    return gif_screen(32, 32) + frames + b";"


@part
def gif_second_frame_20000_wide() -> bytes:
    frames = gif_frame(32, 32) + gif_frame(20_000, 40, b"\x0c\x05")
    return gif_screen(32, 32) + frames + b";"


@part
def gif_lzw_noise() -> bytes:
    return gif_screen(64, 64) + gif_frame(64, 64, b"\xff" * 600) + b";"


# --- WebP, AVIF, BMP --------------------------------------------------------------------------


@part
def webp_still() -> bytes:
    return saved(picture(), "WEBP")


@part
def webp_60_frames_of_16_mp() -> bytes:
    plain = saved(Image.new("RGB", (4_000, 4_000), (10, 60, 90)), "WEBP", lossless=True, method=0)
    still = plain[12:]
    side = (3_999).to_bytes(3, "little")
    frame = bytes(6) + side + side + (100).to_bytes(3, "little") + b"\0" + still
    head = vp8x(4_000, 4_000, flags=0x02)
    return riff(head, (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * 60)


@part
def webp_7000_square_of_34_bytes() -> bytes:
    return riff((b"VP8L", vp8l(7_000, 7_000) + bytes(9)))


@part
def webp_vp8x_7000_square_and_no_picture() -> bytes:
    return riff(vp8x(7_000, 7_000))


@part
def webp_vp8x_16384_square() -> bytes:
    return riff(vp8x(16_384, 16_384), (b"VP8L", vp8l(32, 32)))


@part
def webp_riff_length_lie() -> bytes:
    data = webp_still()
    return patched(data, 4, struct.pack("<I", len(data) + 5_000))


@part
def webp_cut() -> bytes:
    data = saved(picture(size=(200, 200)), "WEBP")
    return data[: len(data) // 2]


@part
def avif_still() -> bytes:
    return avif()


@part
def avif_ispe_too_small() -> bytes:
    return with_ispe(40, 40)


@part
def avif_ispe_60000_square() -> bytes:
    return with_ispe(60_000, 60_000)


@part
def avif_cut() -> bytes:
    data = avif(picture(size=(200, 200)))
    return data[: len(data) - 40]


@part
def bmp_still() -> bytes:
    return saved(picture(), "BMP")


@part
def bmp_height_60000() -> bytes:
    return bmp(1_000, 60_000)


@part
def bmp_height_minus_2_31() -> bytes:
    return bmp(100, -(2**31))


@part
def bmp_cut() -> bytes:
    return bmp_still()[:-500]


# --- formats that are known and not read; what is no image ------------------------------------


@part
def tiff_rgb() -> bytes:
    return saved(picture(), "TIFF")


@part
def tiff_deflate() -> bytes:
    return saved(picture(), "TIFF", compression="tiff_deflate")


@part
def tiff_float() -> bytes:
    return saved(picture("F"), "TIFF")


@part
def ico() -> bytes:
    return saved(picture(), "ICO")


@part
def ppm() -> bytes:
    return saved(picture(), "PPM")


@part
def eps() -> bytes:
    return saved(picture(), "EPS")


@part
def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"></svg>'


@part
def svg_entity() -> bytes:
    head = b'<?xml version="1.0"?>\n<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n'
    return head + b'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>'


@part
def jp2() -> bytes:
    return saved(picture(), "JPEG2000")


@part
def qoi() -> bytes:
    return saved(picture(), "QOI")


@part
def jxl_codestream() -> bytes:
    return b"\xff\x0a" + noise(200)


@part
def jxl_container() -> bytes:
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + noise(200)


@part
def heic() -> bytes:
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4))


@part
def heif_mif1() -> bytes:
    return box(b"ftyp", b"mif1\0\0\0\0mif1miaf") + box(b"meta", bytes(4))


@part
def psd() -> bytes:
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(14)


@part
def empty() -> bytes:
    return b""


@part
def one_byte() -> bytes:
    return b"\xff"


@part
def html() -> bytes:
    return b"<!doctype html><html><body><svg></svg><img src=x></body></html>"


@part
def json() -> bytes:
    return b'{"url": "https://example.com/a.png"}'


@part
def pdf() -> bytes:
    return b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"


@part
def bm_text() -> bytes:
    return b"BMW sells cars, and its press releases are not pictures."
