"""pinclip.features: what is extracted is kept, resumed, and what the serving graph sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinclip.features import extract
from pinclip.graph import OpenVinoTower
from pinclip.preprocess import prepare, to_rgb
from pinclip.weights import open_weights


@pytest.fixture
def paths(tmp_path: Path, pictures: list[Image.Image]) -> list[Path]:
    found = []
    for index, picture in enumerate(pictures[:3]):
        path = tmp_path / f"{index}.png"
        picture.resize((230, 240)).save(path)
        found.append(path)
    return found


def test_extract_gives_what_the_serving_graph_sees(
    folder: Path, tmp_path: Path, paths: list[Path]
) -> None:
    weights = open_weights(folder)
    meta = weights.meta

    features = extract(
        paths[:2],
        folder / "base.safetensors",
        meta.blocks,
        meta.preprocessing,
        work=tmp_path / "work",
    )

    weight, bias = weights.head()
    graph = OpenVinoTower(weights.base(), meta.blocks, (weight, bias), precision="float32")
    batch = [prepare(to_rgb(Image.open(path)), meta.preprocessing) for path in paths[:2]]
    expected = graph.forward(np.stack(batch))
    np.testing.assert_allclose(features.astype(np.float32) @ weight.T + bias, expected, atol=0.02)


def test_extract_goes_on_where_it_was(folder: Path, tmp_path: Path, paths: list[Path]) -> None:
    meta = open_weights(folder).meta
    work = tmp_path / "work"

    def run() -> np.ndarray:
        base = folder / "base.safetensors"
        how = meta.preprocessing
        return np.array(extract(paths, base, meta.blocks[:1], how, work=work, batch_size=2))

    whole = run()
    # As if it had been broken off after the first batch, whose rows are told by a mark.
    (done,) = work.glob("*.done")
    done.write_text("2")
    store = np.lib.format.open_memmap(done.with_suffix(".npy"), mode="r+")
    store[:2], store[2:] = 7, 0
    store.flush()

    resumed = run()

    assert (resumed[:2] == 7).all()
    np.testing.assert_array_equal(resumed[2:], whole[2:])
    assert done.read_text() == "3"
