"""Run every benchmark and keep what it printed: `make bench`, or python -m benchmarks [NAME...].

Each benchmark is a program that prints JSON lines; each line is written to
benchmarks/results/<name>.json with the machine and the commit, and shown with its bars.
docs/performance.md is written from these files. A benchmark that ends badly, or misses a bar, is
told, the others still run, and the exit status is 1. `bulk` needs Ray, `peers` installs others and
`soak` takes half an hour: they run only when they are named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PROGRAMS: dict[str, tuple[str, ...]] = {
    "bare_sdk": (),
    "forbidden_addresses": (),
    "poisoned_image": (),
    "parity": ("{data}",),
    "left_out": ("{data}", "{run}"),
    "trainer": (),
    "kill_sweep": (),
    "killed_before_post": (),
    "queued_urls": (),
    "million_rows": (),
    "cold_start": (),
    "forward": (),
    "worker_path": (),
    "api": (),
    "sdk_client": (),
    "bot_kills": (),
    "adapters": (),
    "extension": (),
    "simulation": (),
    "one_image_hundred_callers": (),
    "restarts": (),
    "bulk": (),
    "peers": (),
    "soak": (),
}
"""Each program's arguments; one that needs {data} or {run} runs only when that is given."""
WHEN_NAMED = frozenset({"bulk", "extension", "peers", "soak"})
"""Those that do not run with the others: they need Ray, a browser, an index, or half an hour."""
MEASURED = ("openvino", "torch", "litestar", "redis")
"""Packages whose version matters to the figures."""


def machine() -> dict[str, object]:
    """Describe this machine as far as timings depend on it."""
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    flags = set(re.findall(r"\b(?:amx_bf16|amx_int8|avx512_bf16|avx512_vnni|avx_vnni)\b", info))
    return {
        "cpu": found.group(1) if found else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(flags),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in MEASURED},
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    """Return the commit that is measured, marked when files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=FOLDER
    )
    return done.stdout.strip() or "unknown"


def run(name: str, arguments: tuple[str, ...]) -> bool:
    """Run one benchmark, keep its JSON lines, and say whether it ended well."""
    print(f"== {name}", flush=True)
    about = {"machine": machine(), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *arguments], stdout=subprocess.PIPE, text=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        print(json.dumps(line), flush=True)
    if lines:
        RESULTS.mkdir(exist_ok=True)
        kept = {**about, "results": lines}
        (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    if done.returncode:
        print(f"{name} ended with status {done.returncode}", file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *PROGRAMS], default=[])
    parser.add_argument("--data", help="labelled images with a manifest.csv")
    parser.add_argument("--run", help="run folder of `pinclip train --all-folds` on --data")
    args = parser.parse_args()
    good = True
    for name in args.names or [name for name in PROGRAMS if name not in WHEN_NAMED]:
        arguments = PROGRAMS[name]
        given = {"data": args.data, "run": args.run}
        missing = [key for key, value in given.items() if f"{{{key}}}" in arguments and not value]
        if missing:
            print(f"== {name}: not run; it needs --{' and --'.join(missing)}")
            continue
        good &= run(name, tuple(word.format(**given) for word in arguments))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
