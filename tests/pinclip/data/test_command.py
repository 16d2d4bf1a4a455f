"""`pinclip data`: what it prints, what it writes, and which exit status says what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pinclip.data.command import main
from pinclip.data.sets import decode, open_set


def scene(seed: int) -> Image.Image:
    """A picture of rectangles; another for each seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (90, 60), "grey")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = (int(v) for v in random.integers(4, 40, 4))
        pen.rectangle(
            (x, y, x + width, y + height), fill=tuple(int(c) for c in random.integers(0, 256, 3))
        )
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources a class, one of PNG and one of JPEG, four images each."""
    where = tmp_path / "mine"
    for source in range(4):
        into = where / ("ai" if source < 2 else "real") / f"source{source}"
        into.mkdir(parents=True)
        for number in range(4):
            scene(10 * source + number).save(into / f"{number}.{('png', 'jpg')[source % 2]}")
    return where


def test_pack_makes_a_set_and_prints_what_is_in_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ai" / "source0" / "broken.png").write_bytes(b"no picture")

    status = main(["pack", str(folder), "-o", str(tmp_path / "set"), "--folds", "2"])

    out = capsys.readouterr().out.splitlines()
    assert status == 0
    assert out[0].split() == ["images", "sources", "groups", "fold", "0", "fold", "1"]
    assert out[1].split() == ["ai", "8", "2", "2", "4", "4"]
    assert out[2].split() == ["real", "8", "2", "2", "4", "4"]
    assert out[3] == f"left out: 1 unreadable; see {tmp_path / 'set' / 'dropped.csv'}"
    assert len(open_set(tmp_path / "set").rows) == 16


def test_pack_takes_folders_of_one_class(folder: Path, tmp_path: Path) -> None:
    ai, real = str(folder / "ai"), str(folder / "real")

    status = main(["pack", "--ai", ai, "--real", real, "-o", str(tmp_path / "set")])

    labels = {row.source.split("/")[0]: row.label for row in open_set(tmp_path / "set").rows}
    assert status == 0
    assert labels == {"ai": "ai", "real": "real"}


def test_pack_square_leaves_no_shape(folder: Path, tmp_path: Path) -> None:
    main(["pack", str(folder), "-o", str(tmp_path / "set"), "--square"])

    images = open_set(tmp_path / "set")
    assert {decode(images.read(row)).size for row in images.rows} == {(60, 60)}


def test_pack_says_what_is_left_to_tell_the_classes_by(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / "ai").rglob("*.*"):
        with Image.open(path) as image:
            made = image.resize((60, 60))
        made.save(path)

    main(["pack", str(folder), "-o", str(tmp_path / "set")])

    text = capsys.readouterr()
    assert "AUC of size and encoding alone" in text.out
    assert "--square" in text.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pack", "{folder}", "-o", "{folder}"], "exists"),
        (["pack", "-o", "{folder}/set"], "--real"),
        (["pack", "{folder}/nowhere", "-o", "{folder}/set"], "nowhere"),
        (["pack", "--ai", "{folder}/ai", "-o", "{folder}/set"], "both classes"),
        (["sheet", "{folder}", "-o", "{folder}/sheet.pdf"], ".png"),
        (["check", "{folder}/ai"], "ai"),
    ],
    ids=["exists", "nothing", "nowhere", "one class", "suffix", "no set"],
)
def test_a_fault_is_one_sentence_on_stderr_and_status_2(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    status = main([argument.format(folder=folder) for argument in arguments])

    text = capsys.readouterr()
    assert status == 2
    assert text.out == ""
    assert text.err.startswith("pinclip: ")
    assert expected in text.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["pack", "x"],
        ["check", "x", "--unreadable", "2"],
        ["sheet", "x", "--seed=-1"],
    ],
    ids=str,
)
def test_misuse_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert "usage: pinclip data" in capsys.readouterr().err


def test_sheet_writes_a_picture_and_prints_its_path(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["sheet", str(folder), "-o", str(tmp_path / "sheet.png")])

    assert status == 0
    assert capsys.readouterr().out == f"{tmp_path / 'sheet.png'}\n"
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.format == "PNG"


def test_check_prints_the_table_and_is_content(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["pack", str(folder), "-o", str(tmp_path / "set"), "--square"])
    capsys.readouterr()

    status = main(["check", str(tmp_path / "set")])

    out = capsys.readouterr().out
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["ai", "8"]
    assert "unreadable  0" in out
    assert "AUC of size and encoding alone" in out
    assert "near-duplicates across folds or splits  0" in out


def test_check_refuses_near_duplicates_across_folds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in ("ai/source0", "ai/source1"):
        scene(77).save(folder / source / "twin.png", optimize=source[-1] == "0")

    status = main(["check", str(folder)])

    text = capsys.readouterr()
    assert status == 2
    assert "twin.png" in text.err
    assert "unreadable  0" in text.out


def test_check_refuses_more_unreadable_images_than_allowed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ai" / "source0" / "0.png").write_bytes(b"no picture")

    statuses = [main(["check", str(folder), f"--unreadable={share}"]) for share in (0.01, 0.2)]

    text = capsys.readouterr()
    assert statuses == [2, 0]
    assert "ai/source0/0.png" in text.err
    assert "unreadable  1" in text.out


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from pinclip.data.command import main\n"
        "try: main(['pack', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'scipy', 'sklearn', 'imagehash'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"
    assert "--square" in done.stdout
