"""What a file says of its own making: bytes -> Declaration if it says AI, else None. Pure.

    c2pa      manifest store (JUMBF): an action with an AI digitalSourceType
    xmp       packet: IPTC DigitalSourceType
    stable_diffusion  novelai  comfyui  invokeai     the parameters a generator leaves behind

Strongest first. Looked at are only the places where a format keeps metadata (containers.py), so
bytes put after the image say nothing. Cameras' provenance is no AI declaration and gives None.

Nothing here is proof: no signature is verified, not even C2PA's, whose manifest anyone can copy
or forge, so `trust` is always "unsigned" and `signer` None. Time grows with the size of the file
and no further, and no bytes make it raise.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from sdk.wire import Declaration

from .containers import boxes, gif_blocks, jpeg_segments, kind, meta_items, png_chunks, riff_chunks

AI_SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
"""IPTC digital source types that mean AI; https://cv.iptc.org/newscodes/digitalsourcetype/."""
TEXT_LIMIT = 1 << 20
"""Bytes of one text that are looked at, after decompression."""
FIND_LIMIT = 64
"""Places of one file that are looked at."""

Find = tuple[str, bytes]
"""What a place holds ("c2pa", "xmp", "exif" or a PNG keyword) and its bytes."""

_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_XMP_GIF = b"\x0bXMP DataXMP"
_XMP_PNG = "XML:com.adobe.xmp"
_C2PA_GIF = b"\x0bC2PA_GIF"
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_JUMBF_DEPTH = 6

_AI = "|".join(AI_SOURCE_TYPES).encode()
_XMP_TYPE = re.compile(
    rb"""DigitalSourceType(?:\s*=\s*["']|[^<>"'=]{0,9}>|[^<>"']{0,99}resource\s*=\s*["'])\s*"""
    rb"""(?:https?://cv\.iptc\.org/newscodes/digitalsourcetype/)?(%b)\b""" % _AI
)
# In CBOR the byte after a text may be a letter, so no word boundary here.
_C2PA_TYPE = re.compile(rb"cv\.iptc\.org/newscodes/digitalsourcetype/(%b)" % _AI)
_RANKS = {"c2pa": 0, "xmp": 1}

_STEPS = re.compile(r"(?:^|\n|, )Steps: \d+, ")
_SETTINGS = re.compile(r", (?:Sampler|CFG scale|Seed|Model hash|Model): ")
_COMFY_SAMPLER = re.compile(r'"(?:class_type|type)"\s*:\s*"[^"]{0,80}Sampler')
_DREAM = re.compile(r'^".{1,20000}" -s ?\d+ -S ?\d+', re.DOTALL)

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE = 0x010E, 0x010F, 0x0110, 0x0131
_WANTED = (_EXIF_IFD, _USER_COMMENT, _DESCRIPTION, _MAKE, _MODEL, _SOFTWARE)
_LONG = 4
_ENTRY_LIMIT = 512


def read(data: bytes) -> Declaration | None:
    """Return what the file declares if it declares AI, else None; for any bytes whatever."""
    places = _PLACES.get(kind(data))
    if places is None:
        return None
    judged = (_judged(name, payload) for name, payload in islice(places(data), FIND_LIMIT))
    found = [declaration for declaration in judged if declaration]
    return min(found, key=lambda declaration: _RANKS.get(declaration.kind, 9), default=None)


# --- places: where each format keeps metadata -------------------------------------------------


def _jpeg(data: bytes) -> Iterator[Find]:
    extended, manifests = bytearray(), defaultdict(list)
    for marker, start, end in jpeg_segments(data):
        payload = data[start:end]
        if marker == b"\xe1" and payload.startswith(b"Exif\0\0"):
            yield "exif", payload[6:]
        elif marker == b"\xe1" and payload.startswith(_XMP_NAME):
            yield "xmp", payload[len(_XMP_NAME) :]
        elif marker == b"\xe1" and payload.startswith(_XMP_MORE):
            extended += payload[len(_XMP_MORE) + 40 :]
        elif marker == b"\xeb" and payload.startswith(b"JP"):
            manifests[payload[2:4]].append((payload[4:8], payload[8:]))
    yield "xmp", bytes(extended)
    for pieces in manifests.values():
        yield "c2pa", _joined(pieces)


def _joined(pieces: list[tuple[bytes, bytes]]) -> bytes:
    """Return the JUMBF box of numbered pieces, each of which repeats the box's 8-byte head."""
    ordered = [piece for _, piece in sorted(pieces)]
    return ordered[0] + b"".join(piece[8:] for piece in ordered[1:])


def _png(data: bytes) -> Iterator[Find]:
    for name, start, end in png_chunks(data):
        if name == b"caBX":
            yield "c2pa", data[start:end]
        elif name == b"eXIf":
            yield "exif", data[start:end]
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            yield from _png_text(name, data[start:end])


def _png_text(name: bytes, payload: bytes) -> Iterator[Find]:
    """Yield a text chunk's keyword and text as UTF-8, inflated up to the limit."""
    keyword, _, rest = payload.partition(b"\0")
    word = keyword[:80].decode("latin-1")
    if name == b"tEXt":
        text = rest[:TEXT_LIMIT].decode("latin-1").encode()
    elif name == b"zTXt":
        text = _inflated(rest[1:]).decode("latin-1").encode()
    else:
        fields = rest[2:].split(b"\0", 2)
        text = fields[-1] if len(fields) == 3 else b""
        text = _inflated(text) if rest[:1] == b"\1" else text[:TEXT_LIMIT]
    yield ("xmp" if word == _XMP_PNG else word), text


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, TEXT_LIMIT)
    except zlib.error:
        return b""


def _webp(data: bytes) -> Iterator[Find]:
    names = {b"XMP ": "xmp", b"EXIF": "exif", b"C2PA": "c2pa"}
    for name, start, end in riff_chunks(data):
        if name in names:
            yield names[name], data[start:end].removeprefix(b"Exif\0\0")


def _gif(data: bytes) -> Iterator[Find]:
    for label, start, end in gif_blocks(data):
        if label == b"!\xff" and data.startswith(_XMP_GIF, start):
            yield "xmp", data[start + len(_XMP_GIF) : end]
        elif label == b"!\xff" and data.startswith(_C2PA_GIF, start):
            yield "c2pa", _unblocked(data, start + 12, end)


def _unblocked(data: bytes, start: int, end: int) -> bytes:
    """Return the content of a chain of GIF sub-blocks."""
    out, at = bytearray(), start
    while at < end and data[at]:
        out += data[at + 1 : min(end, at + 1 + data[at])]
        at += 1 + data[at]
    return bytes(out)


def _heif(data: bytes) -> Iterator[Find]:
    """Yield what AVIF and HEIC keep in boxes before the pixels."""
    for name, start, end in boxes(data, 0, len(data)):
        if name == b"uuid" and data.startswith(_C2PA_UUID, start):
            # Version and flags (4), a purpose such as "manifest" with its NUL, an offset (8).
            purpose = data.find(b"\0", start + 20, start + 60)
            yield "c2pa", data[purpose + 9 : end] if purpose > 0 else b""
        elif name == b"meta":
            yield from _heif_items(data, start, end)
        elif name == b"mdat":
            return


def _heif_items(data: bytes, start: int, end: int) -> Iterator[Find]:
    for kind_, first, last in meta_items(data, start, end):
        if kind_ == b"application/rdf+xml":
            yield "xmp", data[first : min(last, first + TEXT_LIMIT)]
        elif kind_ == b"Exif":
            exif = data[first + 4 : min(last, first + TEXT_LIMIT)]
            yield "exif", exif.removeprefix(b"Exif\0\0")


_PLACES: dict[str, Callable[[bytes], Iterator[Find]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "avif": _heif,
    "heic": _heif,
}


# --- judgement: what a find declares ----------------------------------------------------------


def _judged(name: str, payload: bytes) -> Declaration | None:
    if name == "c2pa":
        return _c2pa(payload)
    if name == "xmp":
        return _xmp(payload)
    texts = _exif_texts(payload) if name == "exif" else [(name, payload.decode(errors="replace"))]
    for word, text in texts:
        if tool := _tool(word, text):
            return Declaration(kind=tool, trust="unsigned")
    return None


def _c2pa(payload: bytes) -> Declaration | None:
    """Find an AI source type in any manifest of the store, an ingredient's as well."""
    for content in _assertions(payload, 0, len(payload), _JUMBF_DEPTH):
        if found := _C2PA_TYPE.search(content):
            return _declared("c2pa", found)
    return None


def _assertions(data: bytes, start: int, end: int, depth: int) -> Iterator[bytes]:
    """Yield the CBOR and JSON contents of nested JUMBF boxes; thumbnails are passed over."""
    for name, first, last in boxes(data, start, end):
        if name == b"jumb" and depth:
            yield from _assertions(data, first, last, depth - 1)
        elif name in (b"cbor", b"json"):
            yield data[first:last]


def _xmp(payload: bytes) -> Declaration | None:
    found = _XMP_TYPE.search(payload)
    return _declared("xmp", found) if found else None


def _declared(how: str, found: re.Match[bytes]) -> Declaration:
    return Declaration(kind=how, trust="unsigned", source_type=found[1].decode("ascii"))


def _tool(word: str, text: str) -> str | None:
    """Name the generator whose parameters a text holds. `word` is the keyword it is kept under.

    A ComfyUI graph counts only with a sampler in it: one that merely resizes a photograph
    leaves a graph as well.
    """
    if word == "parameters":
        is_parameters = _is_parameters(text) or _is_fooocus(text)
        return "stable_diffusion" if is_parameters else None
    if word in ("prompt", "workflow"):
        return "comfyui" if _COMFY_SAMPLER.search(text) else None
    if word in ("Software", "Source"):
        return "novelai" if text.startswith(("NovelAI", "Stable Diffusion ")) else None
    return "invokeai" if _is_invokeai(word, text) else None


def _is_parameters(text: str) -> bool:
    """True for "Steps: 20, Sampler: Euler a, CFG scale: 7, ..." after a prompt."""
    return bool(_STEPS.search(text) and _SETTINGS.search(text))


def _is_fooocus(text: str) -> bool:
    return text.startswith("{") and '"base_model"' in text and '"prompt"' in text


def _is_invokeai(word: str, text: str) -> bool:
    if word == "invokeai_metadata":
        return '"positive_prompt"' in text or '"generation_mode"' in text
    if word == "sd-metadata":
        return '"prompt"' in text and "stable diffusion" in text.lower()
    return word == "Dream" and bool(_DREAM.match(text))


# --- EXIF -------------------------------------------------------------------------------------


def _exif_texts(tiff: bytes) -> Iterator[tuple[str, str]]:
    """Yield texts of an EXIF block under the keyword that a PNG would keep them under."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II*\0") else "big"
    first = _entries(tiff, tiff[4:8], order)
    second = _entries(tiff, first.get(_EXIF_IFD, b""), order)
    if _USER_COMMENT in second:
        yield "parameters", _comment(second[_USER_COMMENT])
    for tag in (_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE):
        text = first.get(tag, b"").rstrip(b"\0").decode(errors="replace")
        word, colon, rest = text.partition(":")
        if colon and word.lower() in ("prompt", "workflow"):  # as ComfyUI writes into WebP
            yield word.lower(), rest
        else:
            yield ("Software" if tag == _SOFTWARE else "parameters"), text


def _entries(tiff: bytes, at: bytes, order: Literal["little", "big"]) -> dict[int, bytes]:
    """Return the values, by tag, of the directory whose offset is written in `at`."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)

    start = int.from_bytes(at[:4], order)
    values: dict[int, bytes] = {}
    for entry in range(start + 2, start + 2 + 12 * min(number(start, 2), _ENTRY_LIMIT), 12):
        tag = number(entry, 2)
        if tag in _WANTED:
            size = number(entry + 4, 4) * (4 if number(entry + 2, 2) == _LONG else 1)
            value = entry + 8 if size <= 4 else number(entry + 8, 4)
            values[tag] = tiff[value : value + min(size, TEXT_LIMIT)]
    return values


def _comment(value: bytes) -> str:
    """Return the text of a UserComment, whose first 8 bytes name the encoding."""
    code, body = value[:8], value[8:]
    if not code.startswith(b"UNICODE"):
        return body.decode(errors="replace")
    # The standard leaves the byte order open; texts begin with an ASCII letter nearly always.
    return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16-le", errors="replace")
