"""Measure the browser extension in a real Chromium: `python benchmarks/extension.py`.

    extension/e2e/numbers.ts  a browser, `pinclip up` and a site on loopback
        hover to badge; an unknown image by stage; a sweep over thumbnails; 500 images scrolled
    wxt zip                   what a user downloads

Needs what `make extension` installs, and a Chromium. Prints one JSON line: figures by name, bars.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import at_most, say, tell

ROOT = Path(__file__).parents[1]
EXTENSION = ROOT / "extension"


def npm(*words: str) -> None:
    """Run a script of the extension's, what it says on stderr; raises CalledProcessError."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = ["npm", "run", *words]
    subprocess.run(
        command, cwd=EXTENSION, env={**os.environ, "PATH": path}, stdout=sys.stderr, check=True
    )


def zips() -> dict[str, float]:
    """Return the size of what each browser's users download, in kB."""
    npm("build:all")
    found = (EXTENSION / ".output").glob("*.zip")
    return {path.stem.rsplit("-", 1)[1]: round(path.stat().st_size / 1000, 1) for path in found}


def figures() -> list[dict[str, Any]]:
    """Return what was measured in the browser: `what`, `value`, `unit`."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "numbers.json"
        npm("numbers", "--", str(kept))
        rows: list[dict[str, Any]] = json.loads(kept.read_text())["numbers"]
    return [{**row, "value": round(row["value"], 2)} for row in rows]


def value(rows: list[dict[str, Any]], start: str, after: str = "") -> float:
    """Return the figure whose name begins so, the first behind the one that begins with `after`."""
    names = [str(row["what"]) for row in rows]
    first = next(at for at, name in enumerate(names) if name.startswith(after))
    return next(float(row["value"]) for row in rows[first:] if row["what"].startswith(start))


def bars_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bars that these figures are held against."""
    left = "heap once that page was left"
    before, after = value(rows, left), value(rows, "... once it was left with", left)
    again = value(rows, "... once it was left so again", left)
    added = value(rows, "... added", "scrolling them")
    return [
        at_most("hover to badge over the dwell, p50 ms", value(rows, "hover to badge"), 150),
        at_most("checks of a sweep over 50 thumbnails", value(rows, "a pointer swept"), 2),
        at_most("main thread, ms added to a second of scrolling 500", added, 50),
        at_most("layout shift", value(rows, "... layout shift"), 0),
        at_most("heap after the first visit, of before", round(after / before, 3), 1.1),
        at_most("heap after the second visit, of the first", round(again / after, 3), 1.1),
    ]


def main() -> int:
    """Measure, print, and return 1 if a bar is missed."""
    try:
        sizes, rows = zips(), figures()
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"not measured: {error}. Run `make extension`, and install Chromium.")
        return 2
    return tell({"name": "extension", "zips kB": sizes, "rows": rows, "bars": bars_of(rows)})


if __name__ == "__main__":
    raise SystemExit(main())
