"""What a first `make up` costs: megabytes with an empty pip cache, seconds to the first verdict.

    clone of HEAD --make setup, empty cache--> bytes
                  --make up, again, warm----> venv | pip | valkey | api | model | first scan

Bytes are the sizes that pip's own log gives for each file it took, every file once, build
requirements included; files that pip found on this machine's disk count like downloaded ones,
index pages do not count. Seconds are between lines that `make up` prints; the first scan is the
last line to paste of its banner, run as it stands. Prints one JSON line; exit status 1 over the
bar. Needs a package index.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEGABYTES_BAR = 400.0
MARKS = {
    "venv": "setup: installing",
    "pip": "Successfully installed",
    "valkey": "valkey ready",
    "api": "api ready",
    "model": "model ready",
    "banner": "pinclip check ",
}
"""What `make up` prints at the end of each stage, in order."""
UNITS = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def main() -> int:
    """Measure, print, and return 1 if the bar is missed."""
    with tempfile.TemporaryDirectory(prefix="pinclip-cold-") as name:
        folder = Path(name)
        clone = cloned(folder)
        environ = environment(folder)
        began = time.monotonic()
        subprocess.run(["make", "setup"], cwd=clone, env=environ, stdout=sys.stderr, check=True)
        setup_seconds = time.monotonic() - began
        files = taken(folder / "pip.log")
        shutil.rmtree(clone / ".venv")
        stages, verdict = first_verdict(clone, environ)
    megabytes = sum(files.values()) / 1e6
    print(
        json.dumps(
            {
                "name": "cold_start",
                "megabytes": round(megabytes, 1),
                "files": len(files),
                "largest": [[file, round(files[file] / 1e6, 1)] for file in largest(files)],
                "setup_seconds_empty_cache": round(setup_seconds, 1),
                "seconds_to_first_verdict_warm_cache": round(sum(stages.values()), 1),
                "stages": {stage: round(seconds, 1) for stage, seconds in stages.items()},
                "verdict": verdict,
            }
        )
    )
    if megabytes > MEGABYTES_BAR:
        print(f"{megabytes:.0f} MB is over the bar of {MEGABYTES_BAR:.0f}.", file=sys.stderr)
    return int(megabytes > MEGABYTES_BAR)


def cloned(folder: Path) -> Path:
    """Return a fresh clone of HEAD, or a copy of the tree where there is no repository."""
    clone = folder / "clone"
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    except (OSError, subprocess.CalledProcessError):
        ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, clone, ignore=ignored)
    return clone


def environment(folder: Path) -> dict[str, str]:
    """Return ours with an empty pip cache, a log, a state folder and a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(folder / "cache"),
        "PIP_LOG": str(folder / "pip.log"),
        "PINCLIP_STATE_DIR": str(folder / "state"),
        "PINCLIP_PORT": str(port),
    }


def taken(log: Path) -> dict[str, float]:
    """Return the files that pip took, with their bytes."""
    text = log.read_text()
    sizes = {}
    for name, number, unit in re.findall(r" Downloading (\S+) \(([\d.]+) (\w+)\)", text):
        sizes[name.rpartition("/")[2]] = float(number) * UNITS[unit]
    for name in re.findall(r" Processing (/\S+\.(?:whl|gz|zip))", text):
        sizes[Path(name).name] = float(Path(name).stat().st_size)
    return sizes


def largest(files: dict[str, float]) -> list[str]:
    """Return the names of the five largest files."""
    return sorted(files, key=files.__getitem__, reverse=True)[:5]


def first_verdict(clone: Path, environ: dict[str, str]) -> tuple[dict[str, float], str]:
    """Return the seconds of each stage from `make up` to the first verdict, and the verdict."""
    stages: dict[str, float] = {}
    with running(clone, environ) as up:
        last, line = time.monotonic(), ""
        for stage, mark in MARKS.items():
            line = until(up, mark)
            now = time.monotonic()
            stages[stage] = now - last
            last = now
        said = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        stages["first_scan"] = time.monotonic() - last
    stages["model"] += stages.pop("banner")
    if not said.stdout:
        raise RuntimeError(f"no verdict (exit status {said.returncode}): {said.stderr}")
    return stages, said.stdout.strip()


@contextlib.contextmanager
def running(clone: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`make up` in a session of its own, ended as Ctrl-C in a terminal would end it."""
    up = subprocess.Popen(
        ["make", "up"],
        cwd=clone,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield up
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(up.pid, signal.SIGINT)
        up.communicate()


def until(up: subprocess.Popen[str], mark: str) -> str:
    """Return the next line that has the mark in it. Raises RuntimeError if none comes."""
    assert up.stdout is not None
    seen = []
    for line in up.stdout:
        seen.append(line)
        if mark in line:
            return line
    raise RuntimeError(f"make up ended before {mark!r}:\n{''.join(seen[-30:])}")


if __name__ == "__main__":
    sys.exit(main())
