"""Draw the few pictures of the fixture site that Node cannot encode, and print them as JSON.

    python draw.py  ->  {"bright.jpeg": "base64...", "bright.webp": ..., "declared.jpeg": ...}

Bright pictures score near 1 with the detector that measures brightness, dark ones near 0. Same
bytes for the same Pillow: the grain comes from a fixed seed.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from io import BytesIO

from PIL import Image

SIZE = (400, 300)
GRAIN_PX = 16
GIF_FRAMES = 6  # more than are looked at
FORMATS = ("jpeg", "webp", "avif")
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"/></rdf:RDF></x:xmpmeta>'
)


MARKER = 2  # bytes; segments stand behind the first marker of a JPEG


def box(kind: bytes, content: bytes) -> bytes:
    """A JUMBF box."""
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def superbox(label: bytes, content: bytes) -> bytes:
    """A JUMBF box with a name."""
    return box(b"jumb", box(b"jumd", bytes(16) + b"\3" + label + b"\0") + content)


def manifest() -> bytes:
    """A C2PA manifest store whose action says that a model made the picture; nobody signed it."""
    uri = GENERATED.encode()
    action = b"\xa2qdigitalSourceTypex" + bytes((len(uri),)) + uri + b"dwhen\xf6"
    actions = superbox(b"c2pa.actions.v2", box(b"cbor", action))
    store = superbox(b"urn:c2pa:1", superbox(b"c2pa.assertions", actions))
    return superbox(b"c2pa", store)


def with_manifest(jpeg: bytes, store: bytes) -> bytes:
    """The JPEG with these bytes where a manifest store stands."""
    payload = b"JP\0\1" + (1).to_bytes(4, "big") + store
    segment = b"\xff\xeb" + (len(payload) + 2).to_bytes(2, "big") + payload
    return jpeg[:MARKER] + segment + jpeg[MARKER:]


def grain(seed: str, *, low: int, high: int) -> Image.Image:
    """A SIZE picture of grey squares, each somewhere in [low, high]."""
    levels = random.Random(seed)  # noqa: S311 - the grain of a picture keeps no secret
    small = Image.new("L", (SIZE[0] // GRAIN_PX, SIZE[1] // GRAIN_PX))
    small.putdata([levels.randint(low, high) for _ in range(small.width * small.height)])
    return small.resize(SIZE, Image.Resampling.NEAREST).convert("RGB")


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file of this kind."""
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def drawn() -> dict[str, bytes]:
    """Every picture by its file's name."""
    light = {"bright": (235, 255), "dark": (0, 20)}
    pictures = {
        f"{name}.{kind}": encoded(grain(name + kind, low=low, high=high), kind)
        for name, (low, high) in light.items()
        for kind in FORMATS
    }
    first, *others = (grain(f"frame {n}", low=235, high=255) for n in range(GIF_FRAMES))
    pictures["animated.gif"] = encoded(
        first, "gif", save_all=True, append_images=others, duration=500, loop=0
    )
    plain = grain("declared", low=0, high=20)
    pictures["declared.jpeg"] = encoded(plain, "jpeg", xmp=XMP.encode())
    signed, cut = (encoded(grain(seed, low=0, high=20), "jpeg") for seed in ("c2pa", "cut"))
    pictures["manifest.jpeg"] = with_manifest(signed, manifest())
    pictures["cut-manifest.jpeg"] = with_manifest(cut, manifest()[:60])
    # Words of a manifest behind the picture's end: nobody's declaration.
    smeared = encoded(grain("smeared", low=0, high=20), "jpeg")
    pictures["smeared.jpeg"] = smeared + b"jumbc2pa c2pa.claim " + GENERATED.encode()
    return pictures


if __name__ == "__main__":
    ready = {name: base64.b64encode(data).decode() for name, data in drawn().items()}
    json.dump(ready, sys.stdout)
