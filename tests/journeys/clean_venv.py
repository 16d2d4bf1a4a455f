"""An environment with the built wheel and what it requires, and nothing else. Needs no network.

    sources --hatchling--> wheel --pip--> venv <--copied-- httpx, msgspec and what they require

What pip would fetch from an index is taken from the environment that runs the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def clean_venv(folder: Path) -> Path:
    """Return the `bin` folder of a fresh environment, made in `folder`."""
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    home = folder / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    python = home / "bin" / "python"
    install = [*pip, "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(next(wheels.glob("*.whl")))], check=True, capture_output=True)
    (site,) = home.glob("lib/python*/site-packages")
    for one in _required("pinclip", seen=set()):
        _copy(one, site)
    return home / "bin"


def _required(name: str, *, seen: set[str]) -> Iterator[Distribution]:
    """Yield the distributions that one requires without extras, and those that they require."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.name in seen or (
            requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        seen.add(requirement.name)
        yield distribution(requirement.name)
        yield from _required(requirement.name, seen=seen)


def _copy(one: Distribution, site: Path) -> None:
    source = Path(str(one.locate_file("")))
    for name in {file.parts[0] for file in one.files or () if file.parts[0] != ".."}:
        if name == "__pycache__":
            continue
        if (source / name).is_dir():
            shutil.copytree(source / name, site / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, site / name)
