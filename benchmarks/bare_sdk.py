"""How heavy is `pip install pinclip` without extras? One JSON line; exit status 1 over a bar.

    sources --pip wheel--> wheel --pip install--> fresh environment --> count, weigh, time

Times are of whole processes, from start to end, the median of RUNS after one that warms the
files. Needs a package index for httpx and msgspec.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 7
INSTALLERS = ("pip", "setuptools", "wheel")
BARS = {"packages": 10, "import_seconds": 0.25, "help_seconds": 0.15}


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="pinclip-bare-") as folder:
        home = _installed(Path(folder))
        measured: dict[str, str | float] = {
            "name": "bare_sdk",
            "packages": len(_packages(home)),
            "megabytes": round(_megabytes(home), 1),
            "import_seconds": round(_seconds([str(home / "bin/python"), "-c", "import sdk"]), 3),
            "help_seconds": round(_seconds([str(home / "bin/pinclip"), "--help"]), 3),
        }
    print(json.dumps(measured))
    missed = [name for name, bar in BARS.items() if float(measured[name]) > bar]
    for name in missed:
        print(f"{name} is {measured[name]}, over its bar of {BARS[name]}.", file=sys.stderr)
    return 1 if missed else 0


def _installed(folder: Path) -> Path:
    """Return a fresh environment that holds the built wheel and what it requires."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "-w", str(folder)], check=True)
    home = folder / "venv"
    venv.create(home, with_pip=False)
    wheel = next(folder.glob("pinclip-*.whl"))
    subprocess.run([*pip, "--python", str(home / "bin/python"), "install", str(wheel)], check=True)
    return home


def _packages(home: Path) -> list[str]:
    """Return the names of all that is installed there, installers aside."""
    names = [info.name.partition("-")[0] for info in _site(home).glob("*.dist-info")]
    return sorted(name for name in names if name not in INSTALLERS)


def _megabytes(home: Path) -> float:
    return sum(path.stat().st_size for path in _site(home).rglob("*") if path.is_file()) / 1e6


def _site(home: Path) -> Path:
    return next(home.glob("lib/python*/site-packages"))


def _seconds(command: list[str]) -> float:
    """Return the median duration of a command, its first run not counted."""
    durations = [_one(command) for _ in range(RUNS + 1)]
    return statistics.median(durations[1:])


def _one(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
