"""pinclip.evidence.planted: the marks are faint and there, and the drop is what was planted."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet
from pinclip.evidence.planted import MARKS, STEP, Sides, drops, excess, grid_8, marked, section
from pinclip.evidence.records import Outcome, Run

ROW = Row(
    file="a.png", label="ai", source="s", group="g", fold=0, style="photo", sha256_of_original=""
)


def picture() -> Image.Image:
    pixels = np.random.default_rng(0).normal(128, 40, (24, 32, 3)).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mark", list(MARKS))
def test_a_mark_changes_a_picture_a_little(mark: str) -> None:
    before, after = np.asarray(picture(), int), np.asarray(MARKS[mark](picture()), int)

    assert after.shape == before.shape
    assert 0 < np.abs(after - before).mean() < 12


def test_grid_is_at_every_eighth_row_and_column_and_nowhere_else() -> None:
    changed = np.asarray(grid_8(picture()), int) != np.asarray(picture(), int)
    rows, columns = np.mgrid[:96, :128]

    assert (changed.all(axis=2) == ((rows % STEP == 0) | (columns % STEP == 0))).all()


def test_marked_set_reads_what_the_mark_makes_of_each_picture() -> None:
    buffer = BytesIO()
    picture().save(buffer, "PNG")
    images = ImageSet(name="set", rows=(ROW,), read=lambda row: buffer.getvalue())

    with Image.open(BytesIO(marked(images, "grid_8").read(ROW))) as image:
        assert (np.asarray(image) == np.asarray(grid_8(picture()))).all()


def test_sides_give_the_mark_to_the_rows_that_bear_it() -> None:
    sides = Sides(plain=torch.zeros(3, 2, 4), marked=torch.ones(3, 2, 4))

    found = sides.where(torch.tensor([True, False, True]))

    assert found[:, 0, 0].tolist() == [1, 0, 1]


def run(arm: str, seed: int, *, swapped: float) -> Run:
    def outcome(mode: str, rate: float) -> Outcome:
        luck = np.random.default_rng(seed).uniform(-0.02, 0.02, 40)
        fake, real = (
            {f"{kind}-{i}": float(rate + luck[i]) for i in range(20)} for kind in ("f", "r")
        )
        none = dict.fromkeys(fake, 0.5)
        return Outcome(
            mode=mode, validation=0.9, threshold=0.0, fake=fake, real=real,
            areas=none, recall_5=none, recall_1=none, ece=0.1,
        )  # fmt: skip

    return Run(
        split="0", arm=arm, seed=seed, setting={}, recipe="", validation=0.9, energy=0.1,
        seconds=1.0, outcomes=(outcome("off", 0.9), outcome("off swapped", swapped)),
    )  # fmt: skip


RUNS = [run("A5", seed, swapped=0.6) for seed in range(2)] + [
    run("A2", seed, swapped=0.7) for seed in range(2)
]


def test_drops_are_what_was_planted_smallest_first() -> None:
    found = drops(RUNS)

    assert [each.arm for each in found] == ["A2", "A5"]
    assert [each.drop.mean for each in found] == pytest.approx([0.2, 0.3])
    assert found[1].aligned - found[1].swapped == pytest.approx(0.3)


def test_excess_says_who_resists_better() -> None:
    assert excess("A5", "A2", RUNS).mean == pytest.approx(-0.1)
    assert excess("A2", "A5", RUNS).low > 0


def test_section_answers_the_prediction_for_complete_arms_alone() -> None:
    text = section(RUNS, complete=["A5", "A2"])

    assert "A5 falls further than A2" in text
    assert "-10.00 points" in text
    assert "A5" not in section(RUNS, complete=["A2"])
    assert section(RUNS, complete=[]) == ""
