"""`pinclip evaluate` from the arguments to the files it writes, on sets that the tests draw."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from pinclip.evaluate import main
from pinclip.evidence.report import read_report

COLUMNS = ("file", "label", "source", "group", "fold", "style", "sha256_of_original", "generator")


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory) -> Path:
    """A set of 80 small pictures with a manifest: 2 real and 2 AI sources, 20 groups, 5 folds."""
    where = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    (where / "images").mkdir()
    with (where / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for k in range(80):
            label, group = ("real", "ai")[k % 2], f"g{k % 20}"
            generator = f"gen{k // 2 % 2}" if label == "ai" else ""
            pixels = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(where / "images" / f"{k}.png")
            source = f"{label}{k % 20 // 10}"
            table.writerow(
                (f"{k}.png", label, source, group, k % 20 // 2 % 5, "photo", k, generator)
            )
    return where


def scored(path: Path, *, files=range(80), better: float = 1.0, columns=()) -> Path:
    """Write scores that part the classes by `better`, an AI image being an odd one."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=80)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "score", *columns))
        for k in files:
            table.writerow((f"{k}.png", noise[k] + better * (k % 2)))
    return path


def test_two_tools_stand_in_one_report(folder_of_images, tmp_path, capsys):
    first = scored(tmp_path / "first.csv", better=3)
    second = scored(tmp_path / "second.csv", files=range(76))
    out = tmp_path / "out"

    status = main(
        [
            str(folder_of_images),
            *("--scores", f"ours={first}", "--scores", f"theirs={second}"),
            *("-o", str(out), "--figures", str(tmp_path / "figures"), "--draws", "50"),
        ]
    )

    assert status == 0
    made = read_report(out / "report.json")
    assert [tool.name for tool in made.tools] == ["ours", "theirs"]
    assert (made.images, made.real, made.ai) == (76, 38, 38)
    assert [tool.unscored for tool in made.tools] == [0, 4]
    assert any("4 of 80 images are left out" in note for note in made.notes)
    assert made.comparisons[0].differences["auroc"].value > 0
    page = (out / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "generators.svg",
        "roc.svg",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(out / "report.html")
    assert any(line.startswith("theirs") for line in printed)


def test_a_run_is_measured_by_its_out_of_fold_scores(folder_of_images, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    scored(run / "scores.csv")

    status = main([str(folder_of_images), "--run", str(run), "-o", str(tmp_path), "--draws", "9"])

    made = read_report(tmp_path / "report.json")
    assert status == 0
    assert (made.tools[0].name, made.tools[0].seen) == ("run", "held out")
    assert not any("run" in note for note in made.notes)


def test_the_threshold_moves_recalls_and_not_the_ranking(folder_of_images, tmp_path):
    file = scored(tmp_path / "scores.csv")
    figures = {}
    for p in ("0.5", "0.99"):
        arguments = [str(folder_of_images), "--scores", f"a={file}", "-o", str(tmp_path / p)]
        assert main([*arguments, "--threshold", p, "--draws", "9"]) == 0
        figures[p] = read_report(tmp_path / p / "report.json").tools[0].overall.figures

    assert figures["0.99"]["ai_recall"].value < figures["0.5"]["ai_recall"].value
    assert figures["0.99"]["real_recall"].value > figures["0.5"]["real_recall"].value
    assert figures["0.99"]["auroc"] == figures["0.5"]["auroc"]


def test_the_same_seed_writes_the_same_report(folder_of_images, tmp_path):
    file = scored(tmp_path / "scores.csv")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = [str(folder_of_images), "--scores", f"t={file}", "-o", str(tmp_path / name)]
        assert main([*arguments, "--seed", seed, "--draws", "20"]) == 0

    first, again, other = ((tmp_path / n / "report.json").read_bytes() for n in "abc")
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--scores", "a={tmp}/absent.csv"], "absent.csv", id="no-file"),
        pytest.param(["--run", "{tmp}"], "has no scores.csv", id="no-run"),
        pytest.param(["--weights", "none-such"], "none-such", id="no-weights"),
        pytest.param(["--scores", "a={ok}", "--scores", "a={ok}"], "'a'", id="one-name-twice"),
        pytest.param(["--scores", "a={ai}"], "both are needed", id="one-class"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder_of_images, tmp_path, capsys, arguments, said):
    names = {
        "tmp": tmp_path,
        "ok": scored(tmp_path / "ok.csv"),
        "ai": scored(tmp_path / "ai.csv", files=range(1, 80, 2)),
    }
    filled = [one.format(**names) for one in arguments]

    status = main([str(folder_of_images), *filled, "-o", str(tmp_path / "out")])

    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("pinclip: ")
    assert said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "--run, --weights or --scores", id="nothing"),
        pytest.param(["--scores", "file.csv"], "NAME=FILE.csv", id="no-name"),
        pytest.param(["--scores", "a=b", "--robustness"], "--robustness", id="nothing-to-score"),
        pytest.param(["--scores", "a=b", "--threshold", "1"], "between 0 and 1", id="threshold"),
        pytest.param(["--scores", "a=b", "--draws", "0"], "from 1", id="draws"),
    ],
)
def test_misuse_is_told(tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), *arguments, "-o", str(tmp_path)])

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(folder_of_images, tmp_path, capsys):
    file = scored(tmp_path / "scores.csv")
    (tmp_path / "taken").write_text("")

    status = main([str(folder_of_images), "--scores", f"a={file}", "-o", str(tmp_path / "taken")])

    assert status == 2
    assert f"pinclip: {tmp_path / 'taken'}" in capsys.readouterr().err


@pytest.mark.slow
def test_installed_weights_score_pictures_as_they_are_and_corrupted(folder, tmp_path, pictures):
    where = tmp_path / "set"
    (where / "images").mkdir(parents=True)
    lines = [COLUMNS]
    for label, picture in (("ai", pictures[3]), ("real", pictures[0])):
        picture.save(where / "images" / f"{label}.png")
        lines.append((f"{label}.png", label, label, label, 0, "photo", label, ""))
    with (where / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)

    status = main(
        [
            *(str(where), "--weights", str(folder), "-o", str(tmp_path / "out")),
            *("--robustness", "half", "--draws", "9"),
        ]
    )

    assert status == 0
    made = read_report(tmp_path / "out" / "report.json")
    meta = msgspec.json.decode((folder / "meta.json").read_bytes())
    assert made.tools[0].name == meta["id"]
    assert made.tools[0].seen == "not known"
    assert [one.name for one in made.robustness[0].corruptions] == ["clean", "half"]
    assert all(np.isfinite(one.auroc.value) for one in made.robustness[0].corruptions)
    assert any("no folds" in note for note in made.notes)


def test_asking_for_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom pinclip.evaluate import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'numpy', 'sklearn', 'torch', 'matplotlib'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "--robustness" in done.stdout
