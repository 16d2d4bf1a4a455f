"""pinclip.activations: what is kept is what the tower says; views are drawn once; work goes on."""

from __future__ import annotations

import resource
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from open_clip.transformer import QuickGELU, VisionTransformer
from PIL import Image

from pinclip import recipe, start
from pinclip.activations import Drawn, Kept, Pictures, View, keep, store_key
from pinclip.checkpoint import CheckpointError
from pinclip.data import Row
from pinclip.distributed import World
from pinclip.model import PinClip
from pinclip.preprocess import PREPROCESSING, prepare
from pinclip.recipe import Recipe

SMALL = replace(PREPROCESSING, size=32)
PLAIN = Recipe(name="plain", model=recipe.Model(features="class_tokens", blocks=(1, 3)))
TUNED = replace(
    PLAIN, model=replace(PLAIN.model, adapter=recipe.Adapter(kind="lora", blocks=(3,), rank=1))
)
AUGMENTED = replace(PLAIN, augment=recipe.Augment(is_on=True, views=2))


class Album:
    """Nine pictures in memory; counts how often one is read."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.pixels = random.integers(0, 256, (9, 48, 40, 3), np.uint8)
        self.reads = 0
        self.rows = [
            Row(
                file=f"{i}.png",
                label="ai" if i % 2 else "real",
                source="s",
                group="g",
                fold=0,
                style="photo",
                sha256_of_original="",
            )
            for i in range(9)
        ]

    def read(self, row: Row) -> bytes:
        self.reads += 1
        buffer = BytesIO()
        Image.fromarray(self.pixels[int(row.file.split(".")[0])]).save(buffer, "PNG")
        return buffer.getvalue()

    def pictures(self, how: Recipe = PLAIN) -> Pictures:
        return Pictures(read=self.read, how=how, preprocessing=SMALL)


@pytest.fixture
def album() -> Album:
    return Album()


def model(how: Recipe = PLAIN) -> PinClip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = VisionTransformer(
            image_size=32,
            patch_size=16,
            width=64,
            layers=3,
            heads=4,
            mlp_ratio=1,
            output_dim=32,
            act_layer=QuickGELU,
        )
    return start.make(tower, how).eval()


@pytest.mark.parametrize("how", [PLAIN, TUNED], ids=["class-tokens", "tokens"])
def test_what_is_kept_scores_as_the_pictures_do(album: Album, tmp_path: Path, how: Recipe) -> None:
    tower = model(how)
    view = keep(tower, album.pictures(), album.rows, folder=tmp_path, view=0, world=World())
    inputs = Kept(views=(view,))
    indices = torch.tensor([7, 0, 3])

    scores = tower.score(inputs(indices, epoch=None))

    images = np.stack([prepare(album.pixels[i], SMALL) for i in indices.tolist()])
    expected = tower.score(torch.from_numpy(images))
    torch.testing.assert_close(scores, expected, atol=5e-3, rtol=0)
    assert (view.tokens is None) == (how is PLAIN)
    assert inputs(indices, epoch=0).classes.dtype == torch.float32


def test_what_is_kept_is_not_computed_again(album: Album, tmp_path: Path) -> None:
    first = keep(model(), album.pictures(), album.rows, folder=tmp_path, view=0, world=World())
    reads = album.reads

    again = keep(model(), album.pictures(), album.rows, folder=tmp_path, view=0, world=World())

    assert album.reads == reads
    assert torch.equal(again.classes, first.classes)


def test_work_that_was_broken_off_goes_on(album: Album, tmp_path: Path) -> None:
    whole = keep(model(), album.pictures(), album.rows, folder=tmp_path, view=0, world=World())
    done = np.load(tmp_path / "done.npy")
    done[[2, 5]] = 0
    np.save(tmp_path / "done.npy", done)
    classes = np.load(tmp_path / "classes.npy")
    classes[[2, 5]] = 0
    np.save(tmp_path / "classes.npy", classes)
    album.reads = 0

    again = keep(model(), album.pictures(), album.rows, folder=tmp_path, view=0, world=World())

    assert album.reads == 2
    assert torch.equal(again.classes, whole.classes)


def test_a_view_is_a_function_of_seed_file_and_number(album: Album) -> None:
    pictures, row = album.pictures(AUGMENTED), album.rows[4]

    assert np.array_equal(pictures(row, 1), pictures(row, 1))
    assert not np.array_equal(pictures(row, 1), pictures(row, 2))
    assert not np.array_equal(pictures(row, 1), album.pictures(replace(AUGMENTED, seed=1))(row, 1))
    assert np.array_equal(pictures(row, 0), prepare(album.pixels[4], SMALL))


def test_a_view_is_the_same_whatever_the_label(album: Album) -> None:
    how = replace(AUGMENTED, equalise=recipe.Equalise(is_on=True))
    row = album.rows[4]

    one, other = (album.pictures(how)(replace(row, label=label), 1) for label in ("ai", "real"))

    assert np.array_equal(one, other)


def test_epochs_take_the_views_in_turn() -> None:
    views = tuple(View(torch.full((4, 1, 2), float(number))) for number in range(3))
    inputs = Kept(views=views)

    seen = [float(inputs(torch.tensor([1]), epoch=epoch).classes[0, 0, 0]) for epoch in range(5)]

    assert seen == [0, 1, 2, 0, 1]
    assert float(inputs(torch.tensor([1]), epoch=None).classes.max()) == 0


def test_pictures_are_drawn_anew_in_each_epoch(album: Album) -> None:
    inputs = Drawn(album.pictures(AUGMENTED), album.rows, device=torch.device("cpu"), threads=2)
    indices = torch.tensor([3, 1])

    first, second, plain = (inputs(indices, epoch=epoch) for epoch in (0, 1, None))

    assert first.shape == (2, 3, 32, 32)
    assert not torch.equal(first, second)
    assert torch.equal(first, inputs(indices, epoch=0))
    assert np.array_equal(plain[1].numpy(), prepare(album.pixels[1], SMALL))


def test_a_store_is_named_by_all_that_decides_a_number(album: Album) -> None:
    rows = album.rows

    def key(how: Recipe = PLAIN, base: str = "b", parts: tuple[int, ...] = (3,)) -> str:
        return store_key(base, parts, album.pictures(how), rows)

    others = [
        key(AUGMENTED),
        key(replace(AUGMENTED, seed=1)),
        key(replace(PLAIN, equalise=recipe.Equalise(is_on=True))),
        key(base="c"),
        key(parts=(2,)),
        store_key("b", (3,), album.pictures(), rows[:-1]),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key(replace(PLAIN, seed=1)) == key()  # nothing is drawn
    assert key(replace(AUGMENTED, augment=replace(AUGMENTED.augment, views=9))) == key(AUGMENTED)
    assert key(replace(PLAIN, optimise=recipe.Optimise(epochs=9))) == key()


def test_a_full_disk_is_told_before_anything_is_computed(album: Album, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limits[1]))
        with pytest.raises(CheckpointError) as caught:
            keep(model(), album.pictures(), album.rows, folder=tmp_path, view=0, world=World())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert caught.value.code == "disk_full"
    assert album.reads == 0
    assert list(tmp_path.iterdir()) == []
