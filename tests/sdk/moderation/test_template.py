"""new(): a project whose adapter conforms as written, and refusals that say what to do."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sdk.errors import InputError
from sdk.moderation.template import new

ROOT = Path(__file__).parents[3]


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, check=False
    )


def test_project_passes_the_conformance_suite_as_written(tmp_path: Path) -> None:
    project = new("my-board", tmp_path)

    # pythonpath: as if the package were installed. No cache: the folder is looked at below.
    done = _run(
        project, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider",
        "-o", f"pythonpath=tests . {ROOT}",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("passed   ") == 16
    assert "1 passed" in done.stdout


def test_project_is_clean_for_ruff(tmp_path: Path) -> None:
    project = new("board", tmp_path)
    isolated = ["--isolated", "--line-length=100"]
    rules = "--select=E,F,W,I,UP,B,SIM,RET,PT,ASYNC,RUF"

    linted = _run(project, "-m", "ruff", "check", *isolated, rules, ".")
    formatted = _run(project, "-m", "ruff", "format", *isolated, "--check", ".")

    assert linted.returncode == 0, linted.stdout
    assert formatted.returncode == 0, formatted.stdout


def test_adapter_is_clean_for_strict_mypy(tmp_path: Path) -> None:
    project = new("board", tmp_path)
    settings = tmp_path / "mypy.ini"
    settings.write_text(f"[mypy]\nstrict = true\nmypy_path = {ROOT}\nfollow_imports = silent\n")

    done = _run(
        project, "-m", "mypy", f"--config-file={settings}", f"--cache-dir={tmp_path}", "-p",
        "pinclip_board",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


def test_project_declares_the_platform_under_its_name(tmp_path: Path) -> None:
    project = new("my-board", tmp_path)

    meta = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert project == tmp_path / "pinclip-my-board"
    assert meta["name"] == "pinclip-my-board"
    assert meta["entry-points"]["pinclip.platforms"] == {"my-board": "pinclip_my_board:PLUGIN"}
    left = [path for path in project.rglob("*") if path.is_file() and "$" in path.read_text()]
    assert left == []


@pytest.mark.parametrize(
    "name",
    [
        "", "Board", "9board", "-board", "board-", "my--board", "my board", "../board", "a/b",
        "böard", "board\n", "a" * 41, "$name", "pinclip-board",
    ],
)  # fmt: skip
def test_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        new(name, tmp_path)

    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pinclip-board").mkdir()
    (tmp_path / "pinclip-board" / "mine.txt").write_text("mine")

    with pytest.raises(InputError, match="exists already"):
        new("board", tmp_path)

    assert [path.name for path in (tmp_path / "pinclip-board").iterdir()] == ["mine.txt"]


def test_name_of_an_installed_platform_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site"
    meta = installed / "other-1.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (meta / "entry_points.txt").write_text("[pinclip.platforms]\nboard = other:PLUGIN\n")
    monkeypatch.syspath_prepend(installed)

    with pytest.raises(InputError, match="'board' here already"):
        new("board", tmp_path)


def test_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        new("board", tmp_path / "nowhere")
