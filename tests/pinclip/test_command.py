"""pinclip.command: `pinclip train` answers before it loads anything heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "open_clip", "numpy", "sklearn", "scipy", "PIL", "msgspec")


@pytest.mark.parametrize(
    ("given", "status"),
    [pytest.param(["--help"], 0, id="help"), pytest.param(["a.toml"], 2, id="misuse")],
)
def test_arguments_are_read_where_nothing_heavy_can_be_imported(
    given: list[str], status: int
) -> None:
    code = (
        "import sys\n"
        f"sys.modules |= dict.fromkeys({HEAVY})\n"  # None: importing it fails
        "from pinclip.command import train\n"
        f"sys.exit(train({given}))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == status, done.stderr
    assert "usage: pinclip train" in done.stdout + done.stderr
