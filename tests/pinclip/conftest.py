"""Pictures that the tests draw, and the weights of this checkout."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter
from safetensors.numpy import save_file

from pinclip.weights import File, digest, open_weights

FOLDER = Path(__file__).parents[2] / "weights" / "pinclip_weights_b16"


@pytest.fixture(scope="session")
def folder() -> Path:
    return FOLDER


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Five RGB pictures of different sizes: three photographs and two that are drawn."""
    photographs = [
        Image.fromarray(pixels)
        for pixels in (
            skimage.data.astronaut(),
            skimage.data.coffee(),
            skimage.data.chelsea(),
        )
    ]
    return photographs + [draw(seed) for seed in range(2)]


@pytest.fixture(scope="session")
def tuned_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with all that is optional: an adapter and a hidden layer.

    They read the first two blocks, the second one tuned, so that they are quick; their numbers
    are drawn.
    """
    target = tmp_path_factory.mktemp("tuned")
    (target / "base.safetensors").symlink_to(folder / "base.safetensors")
    random = np.random.default_rng(1)

    def drawn(*shape: int) -> np.ndarray:
        return random.normal(0, 0.05, shape).astype(np.float32)

    at, wide = "transformer.resblocks.1.attn.in_proj", 2 * 768
    factors = {f"{at}.{part}.a": drawn(2, 768) for part in "qkv"}
    factors |= {f"{at}.{part}.b": drawn(768, 2) for part in "qkv"}
    head = {"weight": drawn(5, wide), "bias": drawn(5), "hidden.weight": drawn(4, wide)}
    head |= {"hidden.bias": drawn(4), "hidden.output": drawn(4)}
    files = {}
    for name, tensors in (("adapter", factors), ("head", head)):
        path = target / f"{name}.safetensors"
        save_file(tensors, path)
        files[name] = File(file=path.name, sha256=digest(path), license="MIT", origin="drawn")
    meta = msgspec.structs.replace(
        open_weights(folder).meta, blocks=(1, 2), hidden=4, int8=None, **files
    )
    (target / "meta.json").write_bytes(msgspec.json.encode(meta))
    return target


def draw(seed: int) -> Image.Image:
    """Return a picture of ellipses, lines and soft noise; another for each seed."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(200, 700, 2))
    image = Image.new("RGB", (width, height), tuple(int(c) for c in random.integers(0, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = random.integers(0, width), random.integers(0, height)
        dx, dy = random.integers(5, 200, 2)
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        if random.random() < 0.5:
            pen.ellipse((x, y, x + dx, y + dy), fill=color)
        else:
            pen.line((x, y, x + dx, y - dy), fill=color, width=int(random.integers(1, 9)))
    noise = random.normal(0, 12, (height, width, 3))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float64) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
