"""docs/guides/plugin.md, as a stranger would type it: an empty folder, and the page's commands.

`sh` blocks are run in their order in one shell; a `python` block titled "FILE: this" is replaced
in FILE by the one titled "FILE: becomes"; other `python` blocks are quotations of the adapter
that `pinclip bot new` wrote.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import pytest

from sdk.moderation.template import new

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "guides" / "plugin.md"
SITE = Path(pytest.__file__).parents[1]


class Block(NamedTuple):
    """A fenced block: its language, the title it has, and its text."""

    language: str
    title: str
    text: str


def blocks() -> Iterator[Block]:
    fence = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    for match in fence.finditer(PAGE.read_text("utf-8")):
        yield Block(match[1], match[2] or "", match[3])


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment in which pinclip and pytest are installed, and no network is used."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True
    )
    packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (packages / "of_pinclip.pth").write_text(f"{SITE}\n{ROOT}\n")
    command = tmp_path / "venv" / "bin" / "pinclip"
    command.write_text(
        f"#!{tmp_path}/venv/bin/python\nimport sys\nfrom pinclip.cli import main\n"
        "sys.exit(main())\n"
    )
    command.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},  # noqa: TID251 - the shell's own
        "PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}",  # noqa: TID251 - the shell's own
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of our own suite, which a stranger lacks
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip spells "without"
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def script() -> tuple[str, str]:
    """Return the page as shell commands, and what it says that they print."""
    lines, printed, replaced = ["set -eu"], [], ""
    for block in blocks():
        if block.language == "sh":
            lines.append(block.text)
        elif block.language == "text":
            printed.append(block.text)
        elif block.title.endswith(": this"):
            replaced = indent(block.text, "    ")  # the page shows what stands in a class
        elif block.title.endswith(": becomes"):
            file = block.title.removesuffix(": becomes")
            code = (
                f"import pathlib; path = pathlib.Path({file!r}); text = path.read_text(); "
                f"assert text.count({replaced!r}) == 1; "
                f"path.write_text(text.replace({replaced!r}, {indent(block.text, '    ')!r}))"
            )
            lines.append(f"python - <<'END'\n{code}\nEND")
    return "\n".join(lines), "".join(printed)


def test_guide_leads_from_an_empty_folder_to_a_conforming_adapter(
    tmp_path: Path, shell_environment: dict[str, str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    commands, printed = script()

    started = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", commands],
        cwd=folder,
        env=shell_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    minutes = (time.monotonic() - started) / 60
    print(f"From an empty folder to a conforming adapter: {minutes:.2f} minutes of commands.")

    assert done.returncode == 0, done.stdout
    assert printed in done.stdout
    assert done.stdout.count("1 passed") == 2
    assert "myboard" in done.stdout.partition("1 passed")[2]
    adapter = (folder / "pinclip-myboard" / "pinclip_myboard" / "__init__.py").read_text()
    assert "Capability.REMOVE" not in adapter


def test_guide_quotes_the_adapter_as_it_is(tmp_path: Path) -> None:
    project = new("myboard", tmp_path)
    adapter = (project / "pinclip_myboard" / "__init__.py").read_text()

    quoted = [block.text for block in blocks() if block.language == "python" and not block.title]

    assert len(quoted) == 2
    assert [text for text in quoted if text not in adapter] == []


def test_guide_names_every_file_of_the_project(tmp_path: Path) -> None:
    project = new("myboard", tmp_path)
    page = PAGE.read_text("utf-8")

    written = [str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()]

    assert [name for name in written if f"`{name}`" not in page] == []
