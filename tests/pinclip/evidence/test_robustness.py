"""Robustness: which pictures are scored, which verdicts count as flipped, what AUROC loses."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pinclip.corruptions import GRID
from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet
from pinclip.evidence import robustness
from pinclip.evidence.bench import Bench
from pinclip.evidence.scores import EvidenceError


def row(k: int, label: str) -> Row:
    return Row(
        file=f"{k}.png",
        label=label,
        source=f"{label}{k % 3}",
        group=f"{label}{k}",
        fold=k % 5,
        style="photo",
        sha256_of_original="",
    )


def width_and_fold(pictures, rows):
    """A scorer whose answer shows which picture and which row it was given."""
    return np.array(
        [picture.width + one.fold / 10 for picture, one in zip(pictures, rows, strict=True)]
    )


def test_every_form_of_a_picture_is_scored_with_its_row():
    rows = tuple(row(k, ("real", "ai")[k % 2]) for k in range(11))

    def read(one: Row) -> bytes:
        if one.file == "4.png":
            return b"broken"
        data = BytesIO()
        Image.new("RGB", (60, 40)).save(data, "PNG")
        return data.getvalue()

    images = ImageSet(name="set", rows=rows, read=read)

    found = robustness.score_corrupted(images, width_and_fold, ["half", "jpeg_40"], range(10))

    fold = np.array([one.fold / 10 for one in rows])
    scored = np.array([k not in (4, 10) for k in range(11)])
    assert list(found) == ["clean", "half", "jpeg_40"]
    for name, width in (("clean", 60), ("half", 30), ("jpeg_40", 60)):
        assert found[name][scored] == pytest.approx(width + fold[scored])
        assert np.isnan(found[name][~scored]).all()


def test_verdicts_that_flip_are_counted_by_where_they_go():
    rows = tuple(row(k, label) for k, label in enumerate(["real"] * 4 + ["ai"] * 4))
    scores = {
        "clean": np.array([-3, -3, 0, 3, -3, 0, 3, 3.0]),
        "worse": np.array([3, 0, 0, 3, -3, 3, -3, 0.0]),
    }

    clean, worse = robustness.compare(scores, Bench(rows), (1.0, -1.0), count=50, seed=0)

    assert (clean.flips, clean.accused, clean.missed, clean.drop.value) == (0, 0, 0, 0)
    assert (worse.flips, worse.accused, worse.missed) == (5, 1, 1)
    assert (clean.false_alarms, worse.false_alarms) == (0.25, 0.5)
    assert (clean.found, worse.found) == (0.5, 0.25)
    before = np.mean([(a > r) + (a == r) / 2 for a in (-3, 0, 3, 3) for r in (-3, -3, 0, 3)])
    after = np.mean([(a > r) + (a == r) / 2 for a in (-3, 3, -3, 0) for r in (3, 0, 0, 3)])
    assert worse.drop.value == pytest.approx(before - after, abs=1e-5)


def test_thresholds_are_those_of_the_balanced_point_on_clean_scores():
    is_ai = np.arange(2000) < 1000
    score = np.concatenate([np.arange(1000), np.arange(-900, 100)]).astype(float)

    threshold, clear_below = robustness.thresholds(score, is_ai)

    assert (score[~is_ai] >= threshold).mean() == pytest.approx(0.03)
    assert (score[is_ai] < clear_below).mean() <= 0.10
    assert clear_below <= threshold


def test_all_corruptions_are_tried_unless_some_are_named():
    assert robustness.names_of([]) == list(GRID)
    assert robustness.names_of(["half"]) == ["half"]
    with pytest.raises(EvidenceError, match="'jpeg_5' is no corruption"):
        robustness.names_of(["half", "jpeg_5"])
