"""Pictures of one grey, for a detector that measures brightness."""

from __future__ import annotations

import io

from PIL import Image


def picture(brightness: int, size: tuple[int, int] = (400, 300), kind: str = "PNG") -> bytes:
    """Draw a picture of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(buffer, kind)
    return buffer.getvalue()
