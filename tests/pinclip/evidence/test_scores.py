"""Scores of any tool: how a CSV is read, what is refused, which images are scored."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pinclip.data.manifest import Row
from pinclip.data.sets import ImageSet
from pinclip.evidence import scores
from pinclip.evidence.scores import EvidenceError


def row(file: str, label: str = "real", *, source: str = "s", fold: int = 0) -> Row:
    return Row(
        file=file,
        label=label,
        source=source,
        group=source,
        fold=fold,
        style="photo",
        sha256_of_original="",
    )


ROWS = (row("a/1.png", "ai"), row("b/2.png"), row("b/3.png"))


def written(tmp_path, text: str):
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_find_their_rows_however_the_paths_are_written(tmp_path):
    path = written(
        tmp_path, "score,file,more\n0.5,./a/1.png,x\n-2,/data/images/b/2.png,y\n9,other.png,z\n"
    )

    tool = scores.from_csv("tool", path, ROWS)

    assert tool.score[:2].tolist() == [0.5, -2]
    assert np.isnan(tool.score[2])
    assert (tool.kind, tool.cut) == ("logit", 0)


def test_scores_between_0_and_1_are_probabilities(tmp_path):
    path = written(tmp_path, "file,score\na/1.png,1\nb/2.png,0.5\nb/3.png,0\n")

    tool = scores.from_csv("tool", path, ROWS)

    assert (tool.kind, tool.cut) == ("probability", 0.5)
    assert np.isfinite(tool.logit).all()
    assert tool.logit[1] == 0
    assert tool.decided_at(0.9).cut == 0.9


def test_a_probability_is_a_threshold_on_logits_too(tmp_path):
    path = written(tmp_path, "file,score\na/1.png,3\nb/2.png,-3\n")

    cut = scores.from_csv("tool", path, ROWS).decided_at(0.9).cut

    assert cut == pytest.approx(np.log(9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("name,score\na/1.png,1\n", "lacks the column file", id="no-file-column"),
        pytest.param("", "lacks the column file and score", id="empty"),
        pytest.param("file,score\na/1.png,high\n", "'high'", id="no-number"),
        pytest.param("file,score\na/1.png,nan\n", "finite", id="not-finite"),
        pytest.param("file,score\na/1.png\n", "finite", id="short-line"),
        pytest.param("file,score\na/1.png,1\na/1.png,2\n", "second score", id="twice"),
        pytest.param("file,score\nzz.png,1\n", "no image of this set", id="other-set"),
        pytest.param("file,score,label\na/1.png,1,real\n", "label real", id="other-labels"),
        pytest.param("file,score,fold\na/1.png,1,4\n", "fold 4", id="other-folds"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(tmp_path, text, said):
    with pytest.raises(EvidenceError, match=said):
        scores.from_csv("tool", written(tmp_path, text), ROWS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EvidenceError, match=r"absent\.csv"):
        scores.from_csv("tool", tmp_path / "absent.csv", ROWS)


def test_a_run_is_held_out_and_must_have_scores(tmp_path):
    with pytest.raises(EvidenceError, match="--all-folds"):
        scores.from_run(tmp_path, ROWS)
    written(tmp_path, "file,label,source,group,fold,score\na/1.png,ai,s,s,0,0.4\n")

    tool = scores.from_run(tmp_path, ROWS)

    assert (tool.name, tool.seen, tool.kind) == (tmp_path.name, "held out", "logit")


def test_only_what_every_tool_scored_is_compared(tmp_path):
    first = scores.from_csv("a", written(tmp_path, "file,score\na/1.png,1\nb/2.png,2\n"), ROWS)
    second = scores.from_csv("b", written(tmp_path, "file,score\nb/2.png,1\nb/3.png,2\n"), ROWS)
    third = scores.from_csv("c", written(tmp_path, "file,score\nb/3.png,2\n"), ROWS)

    assert scores.common([first, second]).tolist() == [False, True, False]
    with pytest.raises(EvidenceError, match="a, c"):
        scores.common([first, third])


def test_a_limit_takes_both_classes_and_every_source_before_a_second_image():
    rows = [row(f"{k}", "ai", source=f"g{k % 4}") for k in range(40)]
    rows += [row(f"r{k}", source=f"c{k % 3}") for k in range(40)]

    at = scores.pick(rows, 14, seed=0)

    chosen = [rows[index] for index in at]
    assert sorted(one.label for one in chosen) == ["ai"] * 7 + ["real"] * 7
    assert {one.source for one in chosen} == {"g0", "g1", "g2", "g3", "c0", "c1", "c2"}
    assert at == scores.pick(rows, 14, seed=0)
    assert at != scores.pick(rows, 14, seed=1)
    assert scores.pick(rows, 100, seed=0) == list(range(80))


def test_a_limit_is_kept_where_one_class_is_small():
    rows = [row("x", "ai")] + [row(f"r{k}") for k in range(40)]

    assert len(scores.pick(rows, 14, seed=0)) == 14


def test_what_does_not_decode_has_no_score():
    def read(one: Row) -> bytes:
        if one.file == "b/2.png":
            return b"no picture"
        data = BytesIO()
        Image.new("RGB", (9, 9), (200 if one.label == "ai" else 10, 0, 0)).save(data, "PNG")
        return data.getvalue()

    def redness(pictures, rows):
        return np.array([float(np.asarray(picture)[..., 0].mean()) for picture in pictures])

    found = scores.score_images(ImageSet(name="set", rows=ROWS, read=read), redness, range(3))

    assert found[[0, 2]].tolist() == [200, 10]
    assert np.isnan(found[1])
