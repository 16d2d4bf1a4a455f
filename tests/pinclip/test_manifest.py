"""pinclip.data: what the manifest may say, and what an image weighs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pinclip import data
from pinclip.data import Row
from pinclip.data.errors import DataError

COLUMNS = ("file", "label", "source", "group", "fold", "style", "sha256_of_original", "camera")


def row(**changes: str) -> dict[str, str]:
    plain = {"file": "ai/x/1.jpg", "label": "ai", "source": "x", "group": "g", "fold": "3"}
    return {**plain, "style": "anime", "sha256_of_original": "00", "camera": "", **changes}


def write(folder: Path, *rows: dict[str, str]) -> Path:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def rows_of(*pairs: tuple[str, str]) -> list[Row]:
    """Rows by (label, source)."""
    return [
        Row(
            file=f"{index}.jpg",
            label=label,
            source=source,
            group=source,
            fold=0,
            style="photo",
            sha256_of_original="",
        )
        for index, (label, source) in enumerate(pairs)
    ]


def test_read_manifest_reads_what_is_used(tmp_path: Path) -> None:
    (found,) = data.read_manifest(write(tmp_path, row()))

    assert (found.label, found.fold, found.slice) == ("ai", 3, "illustration")


def test_read_manifest_leaves_a_meme_without_a_slice(tmp_path: Path) -> None:
    (found,) = data.read_manifest(write(tmp_path, row(style="meme")))

    assert found.slice is None


@pytest.mark.parametrize("change", [{"label": "fake"}, {"style": "sculpture"}], ids=str)
def test_read_manifest_names_the_line_that_cannot_be_used(
    tmp_path: Path, change: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"manifest\.csv:3: .*(fake|sculpture)"):
        data.read_manifest(write(tmp_path, row(), row(**change)))


def test_read_manifest_refuses_a_group_in_two_folds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group in two folds"):
        data.read_manifest(write(tmp_path, row(), row(file="ai/x/2.jpg", fold="4")))


def test_read_manifest_does_without_what_others_do_not_write(tmp_path: Path) -> None:
    lines = [f"{label}/{n}.jpg,{label},s{n % 4}" for label in ("ai", "real") for n in range(20)]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,label,source", *lines]))

    found = data.read_manifest(tmp_path, folds=4)

    assert {(row.style, row.sha256_of_original, row.split) for row in found} == {("other", "", "")}
    assert {(row.group, row.fold) for row in found} == {
        (row.source, row.fold) for row in found if row.label == "ai"
    }
    assert {row.fold for row in found} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"file": "../../etc/passwd"}, "bad_manifest"),
        ({"file": "/etc/passwd"}, "bad_manifest"),
        ({"file": ""}, "bad_manifest"),
        ({"fold": "-1"}, "bad_manifest"),
        ({"fold": "x"}, "bad_manifest"),
        ({"file": "ai/x/1.jpg"}, "bad_manifest"),
        ({"file": "ai/x/1.jpg", "label": "real"}, "contradictory_labels"),
        ({"label": "real", "sha256_of_original": "00"}, "contradictory_labels"),
        ({"fold": "4"}, "group_in_two_folds"),
    ],
    ids=str,
)
def test_read_manifest_refuses_a_line_with_a_code(
    tmp_path: Path, changes: dict[str, str], code: str
) -> None:
    second = row(**{"file": "ai/x/2.jpg", "sha256_of_original": "01", **changes})

    with pytest.raises(DataError) as caught:
        data.read_manifest(write(tmp_path, row(), second))

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column file, label, source"),
        (b"file,label\n1.jpg,ai\n", "no column source"),
        (b"\xff\xfe\x00f", "UTF-8"),
        (b"file,label,source,fold\n1.jpg,ai,x,0\n2.jpg,real\n", r"manifest\.csv:3"),
    ],
    ids=["empty", "column", "bytes", "short line"],
)
def test_read_manifest_says_why_a_file_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)

    with pytest.raises(DataError, match=said):
        data.read_manifest(tmp_path)


def test_read_manifest_says_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv"):
        data.read_manifest(tmp_path)


@pytest.mark.parametrize("column", ["file", "label", "group", "fold", "sha256_of_original"])
def test_digest_names_all_that_decides_a_fit(tmp_path: Path, column: str) -> None:
    before = data.digest(data.read_manifest(write(tmp_path, row())))
    changed = {column: {"label": "real", "fold": "1"}.get(column, "other")}

    after = data.digest(data.read_manifest(write(tmp_path, row(**changed))))

    assert before != after


def test_weights_make_a_source_count_as_the_root_of_its_images() -> None:
    rows = rows_of(*[("ai", "big")] * 16, *[("ai", "small")] * 4)

    weight = data.weights(rows, [r.label for r in rows])

    assert weight[:16].sum() / weight[16:].sum() == pytest.approx(2)
    assert weight.mean() == pytest.approx(1)


def test_weights_make_classes_count_alike() -> None:
    rows = rows_of(*[("ai", "x")] * 3, *[("real", "y")] * 50)

    weight = data.weights(rows, [r.label for r in rows])

    assert weight[:3].sum() == pytest.approx(weight[3:].sum())
    np.testing.assert_allclose(weight[3:], weight[3])
