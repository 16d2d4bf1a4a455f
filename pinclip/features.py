"""Labelled images -> what the head sees of them, once, kept in a work folder.

The tower runs in float32 through the same prepare and the same graph that serve, so a head that
fits these features scores the same pictures alike. A run that was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from PIL import Image
from tqdm import tqdm

from .graph import OpenVinoTower
from .preprocess import Preprocessing, prepare, to_rgb
from .weights import WIDTH, Base, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def extract(
    paths: Sequence[Path],
    base: Path,
    blocks: Sequence[int],
    how: Preprocessing,
    *,
    work: Path,
    batch_size: int = 16,
) -> NDArray[np.float16]:
    """Return (N, D): the layer-normed class tokens of `blocks`, joined, of each file in order."""
    key = hashlib.sha256(msgspec.json.encode([digest(base), blocks, how, [str(p) for p in paths]]))
    store = work / f"features-{key.hexdigest()[:16]}.npy"
    done = store.with_suffix(".done")
    work.mkdir(parents=True, exist_ok=True)
    start = int(done.read_text()) if done.exists() else 0
    shape = (len(paths), WIDTH * len(blocks))
    features = np.lib.format.open_memmap(
        store, mode="r+" if start else "w+", dtype=np.float16, shape=shape
    )
    if start < len(paths):
        tower = OpenVinoTower(Base(base), blocks, None, precision="float32")
        parts = [paths[i : i + batch_size] for i in range(start, len(paths), batch_size)]
        for batch in tqdm(_batches(parts, how), total=len(parts)):
            features[start : start + len(batch)] = tower.forward(batch)
            start += len(batch)
            features.flush()
            done.write_text(str(start))
    return features


def _batches(parts: Sequence[Sequence[Path]], how: Preprocessing) -> Iterator[NDArray[np.float32]]:
    """Yield (B, 3, S, S) for each part; the next one is read while one is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_read, parts[0], how)
        for part in parts[1:]:
            ready, waiting = waiting.result(), pool.submit(_read, part, how)
            yield ready
        yield waiting.result()


def _read(paths: Sequence[Path], how: Preprocessing) -> NDArray[np.float32]:
    batch = []
    for path in paths:
        with Image.open(path) as image:
            batch.append(prepare(to_rgb(image), how))
    return np.stack(batch)
