"""worker/declarations.py: each place of each format, what is no declaration, hostile bytes."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.worker import corpus
from tests.worker.corpus import box, chunk, exif, jpeg, patched, png, segment, sub_blocks, webp
from worker.declarations import read

AI = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PARAMETERS = (
    "a castle on a hill\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: abc"
)
SAMPLER = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}})
RESIZER = json.dumps({"3": {"class_type": "ImageScale", "inputs": {"width": 1}}})


# --- builders ---------------------------------------------------------------------------------


def xmp(source_type: str = AI) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f'Iptc4xmpExt:DigitalSourceType="{VOCABULARY}{source_type}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def jumbf(label: bytes, *content: bytes) -> bytes:
    return box(b"jumb", box(b"jumd", bytes(16) + b"\3" + label + b"\0") + b"".join(content))


def manifest(source_type: str = AI, *, content: bytes = b"cbor") -> bytes:
    """A manifest store whose action has a source type; in CBOR a letter follows the text."""
    uri = (VOCABULARY + source_type).encode()
    action = b"\xa2qdigitalSourceTypex" + bytes((len(uri),)) + uri + b"dwhen\xf6"
    assertion = jumbf(b"c2pa.actions.v2", box(content, action))
    store = jumbf(b"urn:c2pa:1", jumbf(b"c2pa.assertions", assertion))
    return jumbf(b"c2pa", store)


def app11(data: bytes, *, pieces: int = 1, swapped: bool = False) -> bytes:
    """The box in numbered segments, each repeating its head."""
    head, body = data[:8], data[8:]
    size = -(-len(body) // pieces)
    parts = [
        segment(0xEB, b"JP\0\1" + struct.pack(">I", number + 1) + head + body[at : at + size])
        for number, at in enumerate(range(0, len(body), size))
    ]
    return b"".join(reversed(parts) if swapped else parts)


def app1(payload: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + payload)


def app1_more(payload: bytes) -> bytes:
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    return segment(0xE1, head + struct.pack(">II", len(payload), 0) + payload)


def text(key: str, value: str) -> bytes:
    return chunk(b"tEXt", key.encode() + b"\0" + value.encode("latin-1"))


def packed_text(key: str, value: str) -> bytes:
    return chunk(b"zTXt", key.encode() + b"\0\0" + zlib.compress(value.encode("latin-1")))


def utf8_text(key: str, value: str) -> bytes:
    return chunk(b"iTXt", key.encode() + b"\0\0\0en\0\0" + value.encode())


def packed_utf8_text(key: str, value: str) -> bytes:
    return chunk(b"iTXt", key.encode() + b"\0\1\0\0\0" + zlib.compress(value.encode()))


def gif(*extensions: bytes) -> bytes:
    frame = corpus.gif_frame(32, 32)
    return corpus.gif_screen(32, 32) + b"".join(extensions) + frame + b";"


def gif_xmp(payload: bytes) -> bytes:
    """The packet stands as it is; its trailer leads a reader of sub-blocks to the end."""
    return b"!\xff\x0bXMP DataXMP" + payload + b"\1" + bytes(range(255, -1, -1)) + b"\0"


def gif_c2pa(payload: bytes) -> bytes:
    return b"!\xff\x0bC2PA_GIF\1\0\0" + sub_blocks(payload)


def avif_c2pa(payload: bytes) -> bytes:
    """The manifest's box stands right after ftyp; offsets are not mended, only the walk is."""
    data = corpus.avif()
    end = struct.unpack(">I", data[:4])[0]
    return data[:end] + box(b"uuid", c2pa_uuid(payload)) + data[end:]


def c2pa_uuid(payload: bytes) -> bytes:
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return uuid + bytes(4) + b"manifest\0" + bytes(8) + payload


def user_comment(value: bytes, *, order: str = "<") -> bytes:
    """An EXIF block whose second directory holds a UserComment."""
    second = exif((0x9286, 7, len(value), value), order=order)[8:]
    at = 8 + 2 + 12 + 4
    pointer = exif((0x8769, 4, 1, struct.pack(order + "I", at)), order=order)
    # The value of the second directory lies where the first one's length moved it to.
    moved = struct.pack(order + "I", at + 2 + 12 + 4)
    return pointer + second[:10] + moved + second[14:]


def unicode_comment(value: str, codec: str) -> bytes:
    return b"UNICODE\0" + value.encode(codec)


def exif_jpeg(block: bytes) -> bytes:
    return jpeg(segment(0xE1, b"Exif\0\0" + block))


def description(value: str) -> bytes:
    data = value.encode() + b"\0"
    return exif((0x010E, 2, len(data), data))


def camera_tag(tag: int, value: str) -> bytes:
    data = value.encode() + b"\0"
    return exif((tag, 2, len(data), data))


def declared(data: bytes) -> tuple[str, str | None] | None:
    found = read(data)
    return (found.kind, found.source_type) if found else None


# --- IPTC source types in XMP -----------------------------------------------------------------

XMP_PLACES: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": lambda packet: jpeg(app1(packet)),
    "jpeg-extended": lambda packet: jpeg(app1_more(packet[:90]), app1_more(packet[90:])),
    "png": lambda packet: png(utf8_text("XML:com.adobe.xmp", packet.decode())),
    "png-packed": lambda packet: png(packed_utf8_text("XML:com.adobe.xmp", packet.decode())),
    "png-after-pixels": lambda packet: png(after=utf8_text("XML:com.adobe.xmp", packet.decode())),
    "webp": lambda packet: webp((b"XMP ", packet)),
    "gif": lambda packet: gif(gif_xmp(packet)),
    "avif": lambda packet: corpus.avif(xmp=packet),
}


@pytest.mark.parametrize("place", XMP_PLACES)
@pytest.mark.parametrize("source_type", [AI, COMPOSITE])
def test_read_finds_an_ai_source_type_in_xmp(place: str, source_type: str) -> None:
    assert declared(XMP_PLACES[place](xmp(source_type))) == ("xmp", source_type)


@pytest.mark.parametrize("place", XMP_PLACES)
@pytest.mark.parametrize("source_type", ["digitalCapture", "computationalCapture", AI + "X"])
def test_read_gives_nothing_for_other_source_types_in_xmp(place: str, source_type: str) -> None:
    assert read(XMP_PLACES[place](xmp(source_type))) is None


@pytest.mark.parametrize(
    "written",
    [
        f"<a:DigitalSourceType>{VOCABULARY}{AI}</a:DigitalSourceType>",
        f"<a:DigitalSourceType>\n  {VOCABULARY}{AI}\n</a:DigitalSourceType>",
        f'<a:DigitalSourceType rdf:resource="{VOCABULARY}{AI}"/>',
        f"a:DigitalSourceType = '{VOCABULARY}{AI}'",
        f'a:DigitalSourceType="https{VOCABULARY[4:]}{AI}"',
        f'a:DigitalSourceType="{AI}"',
    ],
)
def test_read_knows_the_ways_to_write_a_source_type(written: str) -> None:
    assert declared(jpeg(app1(written.encode()))) == ("xmp", AI)


def heif_with_xmp(*, in_idat: bool) -> bytes:
    """An item in the `idat` box, or in `mdat` while there is an `idat` as well."""
    packet = xmp()
    infe = box(b"infe", b"\2\0\0\0\0\7\0\0mime\0application/rdf+xml\0")
    iinf = box(b"iinf", bytes(4) + b"\0\1" + infe)
    idat = box(b"idat", packet if in_idat else b"nothing")
    size = 8 + 4 + len(iinf) + 8 + 8 + 16 + len(idat)
    offset = 0 if in_idat else 24 + size + 8
    extent = struct.pack(">HHHHII", 7, int(in_idat), 0, 1, offset, len(packet))
    iloc = box(b"iloc", b"\1\0\0\0" + b"\x44\0" + b"\0\1" + extent)
    meta = box(b"meta", bytes(4) + iinf + iloc + idat)
    assert len(meta) == size
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta + box(b"mdat", packet)


@pytest.mark.parametrize("in_idat", [True, False])
def test_read_follows_an_item_to_its_bytes(in_idat: bool) -> None:
    assert declared(heif_with_xmp(in_idat=in_idat)) == ("xmp", AI)


# --- C2PA -------------------------------------------------------------------------------------

C2PA_PLACES: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": lambda store: jpeg(app11(store)),
    "jpeg-in-pieces": lambda store: jpeg(app11(store, pieces=5)),
    "jpeg-in-pieces-swapped": lambda store: jpeg(app11(store, pieces=5, swapped=True)),
    "png": lambda store: png(chunk(b"caBX", store)),
    "webp": lambda store: webp((b"C2PA", store)),
    "gif": lambda store: gif(gif_c2pa(store)),
    "avif": avif_c2pa,
}


@pytest.mark.parametrize("place", C2PA_PLACES)
def test_read_finds_an_ai_source_type_in_c2pa(place: str) -> None:
    assert declared(C2PA_PLACES[place](manifest())) == ("c2pa", AI)


@pytest.mark.parametrize("place", C2PA_PLACES)
def test_read_gives_nothing_for_a_cameras_c2pa(place: str) -> None:
    assert read(C2PA_PLACES[place](manifest("digitalCapture"))) is None


def test_read_passes_over_thumbnails_in_c2pa() -> None:
    assert read(C2PA_PLACES["png"](manifest(content=b"bidb"))) is None


def test_read_trusts_no_declaration() -> None:
    found = read(C2PA_PLACES["jpeg"](manifest()))

    assert found is not None
    assert (found.trust, found.signer) == ("unsigned", None)


def test_read_gives_the_strongest_of_several() -> None:
    data = png(text("parameters", PARAMETERS), chunk(b"caBX", manifest(COMPOSITE)))

    assert declared(data) == ("c2pa", COMPOSITE)


# --- parameters of generators -----------------------------------------------------------------


@pytest.mark.parametrize("write", [text, packed_text, utf8_text, packed_utf8_text])
def test_read_finds_parameters_in_every_kind_of_png_text(
    write: Callable[[str, str], bytes],
) -> None:
    assert declared(png(write("parameters", PARAMETERS))) == ("stable_diffusion", None)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("parameters", PARAMETERS.split("\n")[-1], "stable_diffusion"),
        ("parameters", '{"base_model": "x", "prompt": "a cat"}', "stable_diffusion"),
        ("prompt", SAMPLER, "comfyui"),
        ("workflow", '{"nodes": [{"type": "SamplerCustomAdvanced"}]}', "comfyui"),
        ("invokeai_metadata", '{"generation_mode": "txt2img"}', "invokeai"),
        ("sd-metadata", '{"model": "stable diffusion", "image": {"prompt": []}}', "invokeai"),
        ("Dream", '"a cat" -s 50 -S 42 -W 512', "invokeai"),
        ("Software", "NovelAI", "novelai"),
        ("Source", "NovelAI Diffusion V4 4F49EC75", "novelai"),
        ("Source", "Stable Diffusion XL C1E1DE52", "novelai"),
    ],
)
def test_read_names_the_generator(key: str, value: str, kind: str) -> None:
    assert declared(png(text(key, value))) == (kind, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parameters", "exposure 1/60, f 2.8"),
        ("parameters", "Steps: 20, walked up the hill"),
        ("Comment", PARAMETERS),
        ("prompt", RESIZER),
        ("prompt", "a castle on a hill"),
        ("workflow", '{"nodes": [{"type": "LoadImage", "outputs": [{"type": "SAMPLER"}]}]}'),
        ("invokeai_metadata", "{}"),
        ("Dream", "I had a dream"),
        ("Software", "Adobe Photoshop 26.0"),
        ("Source", "scanner"),
        ("Description", "an article on trainedAlgorithmicMedia"),
    ],
)
def test_read_gives_nothing_for_other_texts(key: str, value: str) -> None:
    assert read(png(text(key, value))) is None


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(user_comment(b"ASCII\0\0\0" + PARAMETERS.encode()), id="ascii"),
        pytest.param(user_comment(bytes(8) + PARAMETERS.encode()), id="no-code"),
        pytest.param(user_comment(unicode_comment(PARAMETERS, "utf-16-le")), id="utf-16-le"),
        pytest.param(user_comment(unicode_comment(PARAMETERS, "utf-16-be")), id="utf-16-be"),
        pytest.param(
            user_comment(unicode_comment(PARAMETERS, "utf-16-be"), order=">"), id="big-endian"
        ),
        pytest.param(description(PARAMETERS), id="description"),
    ],
)
def test_read_finds_parameters_in_exif(block: bytes) -> None:
    assert declared(exif_jpeg(block)) == ("stable_diffusion", None)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda block: png(chunk(b"eXIf", block)), id="png"),
        pytest.param(lambda block: webp((b"EXIF", block)), id="webp"),
        pytest.param(lambda block: webp((b"EXIF", b"Exif\0\0" + block)), id="webp-with-head"),
        pytest.param(lambda block: corpus.avif(exif=block), id="avif"),
    ],
)
def test_read_finds_exif_in_every_format(wrap: Callable[[bytes], bytes]) -> None:
    assert declared(wrap(description(PARAMETERS))) == ("stable_diffusion", None)


def test_read_finds_the_graph_that_comfyui_puts_into_webp() -> None:
    data = webp((b"EXIF", camera_tag(0x0110, "prompt:" + SAMPLER)))

    assert declared(data) == ("comfyui", None)


def test_read_gives_nothing_for_a_cameras_exif() -> None:
    assert read(exif_jpeg(camera_tag(0x0110, "Canon EOS R5"))) is None


# --- only in its place ------------------------------------------------------------------------

TAILS = {
    "bare": xmp(),
    "bare-c2pa": manifest(),
    "segment": app1(xmp()),
    "chunk": utf8_text("XML:com.adobe.xmp", xmp().decode()),
    "riff": b"XMP " + struct.pack("<I", len(xmp())) + xmp(),
    "extension": gif_xmp(xmp()),
    "box": box(b"uuid", c2pa_uuid(manifest())),
    "whole-file": jpeg(app1(xmp())),
}
ENDS = ("jpeg_grey", "png_rgb", "webp_still", "gif_still", "avif_still", "bmp_still")


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", ENDS)
def test_read_gives_nothing_for_bytes_put_after_the_image(name: str, tail: str) -> None:
    assert read(corpus.build(name) + TAILS[tail]) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(segment(0xFE, xmp())), id="jpeg-comment"),
        pytest.param(jpeg(segment(0xE1, xmp())), id="jpeg-app1-of-no-name"),
        pytest.param(jpeg()[:-2] + app1(xmp()) + b"\xff\xd9", id="jpeg-after-the-scan"),
        pytest.param(png(chunk(b"prVt", xmp())), id="png-private-chunk"),
        pytest.param(gif(b"!\xfe" + sub_blocks(xmp())), id="gif-comment"),
        pytest.param(corpus.saved(Image.new("RGB", (40, 40)), "TIFF"), id="tiff"),
        pytest.param(xmp(), id="no-image"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_read_gives_nothing_where_a_format_keeps_no_metadata(data: bytes) -> None:
    assert read(data) is None


# --- hostile bytes ----------------------------------------------------------------------------


def test_read_inflates_no_further_than_its_limit() -> None:
    bomb = zlib.compress(bytes(64 << 20) + PARAMETERS.encode(), 1)

    assert read(png(chunk(b"zTXt", b"parameters\0\0" + bomb))) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(*[text("k", "v")] * 300_000), id="png-chunks"),
        pytest.param(jpeg(*[segment(0xE1, b"")] * 1_000_000), id="jpeg-segments"),
        pytest.param(gif(b"!\xfe" + b"\1x" * 5_000_000 + b"\0"), id="gif-sub-blocks"),
        pytest.param(png(utf8_text("XML:com.adobe.xmp", "DigitalSourceType " * 60_000)), id="xmp"),
        pytest.param(
            png(utf8_text("XML:com.adobe.xmp", "DigitalSourceType>" + " " * 900_000)), id="spaces"
        ),
        pytest.param(png(text("Dream", '"' + '" -s' * 200_000)), id="dream"),
        pytest.param(png(text("prompt", '"type":' * 140_000)), id="graph"),
        pytest.param(png(chunk(b"caBX", box(b"jumb", b"") * 500_000)), id="boxes"),
        pytest.param(
            box(b"ftyp", b"avif\0\0\0\0avif")
            + box(
                b"meta",
                bytes(4) + box(b"iinf", bytes(6)) + box(b"iloc", bytes(6) + b"\xff" * 999_999),
            ),
            id="items",
        ),
    ],
)
def test_read_comes_to_an_end(data: bytes) -> None:
    """Each would take hours in time that grows faster than the file."""
    assert read(data) is None


def test_read_goes_no_deeper_than_manifests_do() -> None:
    nested = manifest()
    for _ in range(5_000):
        nested = box(b"jumb", nested)

    assert read(png(chunk(b"caBX", nested))) is None


DECLARED = [
    *(place(xmp()) for place in XMP_PLACES.values()),
    *(place(manifest()) for place in C2PA_PLACES.values()),
    png(text("parameters", PARAMETERS), packed_text("prompt", SAMPLER)),
    exif_jpeg(user_comment(unicode_comment(PARAMETERS, "utf-16-be"))),
]


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    data=st.sampled_from(DECLARED),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=8)), max_size=5),
    cut=st.integers(0, 400),
)
def test_read_raises_for_no_damaged_file(
    data: bytes, edits: list[tuple[int, bytes]], cut: int
) -> None:
    for at, value in edits:
        data = patched(data, at % len(data), value)

    found = read(data[: len(data) - cut])

    assert found is None or found.trust == "unsigned"


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    head=st.sampled_from(
        [b"\xff\xd8\xff", corpus.PNG, b"GIF89a", b"RIFF\xff\xff\0\0WEBP", b"\0\0\0\x10ftypavif"]
    ),
    body=st.binary(max_size=300),
)
def test_read_raises_for_no_bytes(head: bytes, body: bytes) -> None:
    assert read(head + body) is None
