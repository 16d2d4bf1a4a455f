"""Writes the project of a new adapter: a package, a fake of its platform, the conformance test.

    new("myboard", folder)  -->  folder/pinclip-myboard/
                                   pyproject.toml          entry point `myboard`
                                   README.md
                                   pinclip_myboard/__init__.py   the adapter, of a made-up API
                                   tests/fake_myboard.py         that API on this machine
                                   tests/test_conformance.py     passes as written

The files are in adapter_template/, with ${name} and the like where the name goes. Knows no CLI.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from string import Template

from sdk.errors import InputError

GROUP = "pinclip.platforms"
LONGEST_NAME = 40

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "adapter.py.in": "${package}/__init__.py",
    "fake.py.in": "tests/fake_${module}.py",
    "test_conformance.py.in": "tests/test_conformance.py",
}


def new(name: str, folder: Path) -> Path:
    """Return the new folder `folder`/pinclip-`name` with a project whose tests pass.

    Raises InputError for a name that cannot be one, or is taken, and OSError where nothing can
    be written. What is there already is left alone.
    """
    _refuse(name)
    words = _words(name)
    project = folder / f"pinclip-{name}"
    try:
        project.mkdir()
    except FileExistsError:
        raise InputError(
            f"{project} exists already.", hint="Choose another name, or move the folder away."
        ) from None
    source = files(__package__) / "adapter_template"
    for template, target in _FILES.items():
        path = project / Template(target).substitute(words)
        path.parent.mkdir(exist_ok=True)
        text = (source / template).read_text("utf-8")
        path.write_text(Template(text).substitute(words), "utf-8")
    return project


def _refuse(name: str) -> None:
    """Raise InputError for a name that a package, a module and a platform cannot all have."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name[:60]!r} cannot be the name of a platform.",
            hint=f"Use at most {LONGEST_NAME} letters a-z, digits and single hyphens, a letter"
            " first, such as myboard.",
        )
    if name.startswith("pinclip"):
        raise InputError(
            f"{name!r} begins with pinclip, as the folder will by itself.",
            hint="Give the platform's own name, such as myboard.",
        )
    taken = {entry.name for entry in entry_points(group=GROUP)}
    if name in taken:
        raise InputError(
            f"There is a platform {name!r} here already.",
            hint="Choose another name; `pinclip bot list` shows those that are installed.",
        )


def _words(name: str) -> dict[str, str]:
    """Return what stands in the files for the name."""
    module = name.replace("-", "_")
    return {
        "name": name,
        "module": module,
        "package": f"pinclip_{module}",
        "title": "".join(part.capitalize() for part in module.split("_")),
        "prefix": f"PINCLIP_{module.upper()}",
    }
