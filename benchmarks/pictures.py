"""Pictures for the benchmarks: crops of server/example.jpg, a photograph in CC0.

    photo(1280, 960)           -> JPEG of about a megapixel
    numbered(jpeg, 7)          -> the same pixels in other bytes: a comment with the number

So a picture that nobody has seen costs a copy, and decodes and scores like all the others.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

EXAMPLE = Path(__file__).parent.parent / "server" / "example.jpg"


def photo(width: int, height: int) -> bytes:
    """Return the photograph at this size, as a camera's quality 90 JPEG."""
    with Image.open(EXAMPLE) as image:
        sized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    noise = Image.effect_noise((width, height), 24).convert("RGB")
    out = io.BytesIO()
    Image.blend(sized, noise, 0.08).save(out, "JPEG", quality=90)
    return out.getvalue()


def numbered(jpeg: bytes, number: int) -> bytes:
    """Return the JPEG with a comment segment after its first marker."""
    text = b"number %d" % number
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]
