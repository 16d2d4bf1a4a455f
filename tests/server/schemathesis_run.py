"""Tries the OpenAPI document on a running system with schemathesis: all checks, all phases.

    python -m tests.server.schemathesis_run --max-time 300 --seed 7      any options of `st run`

The system is `pinclip up` with the FixedDetector, over SQLite and Valkey; its images are on
loopback, and so is what its webhooks are sent to. The key may do everything.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.running_system import Origin, RunningSystem
from sdk.environment import inherited
from tests.journeys.conftest import FIXED, PICTURES
from tests.server.receiver import receiving

_STATUS = re.compile(r'"path": "/(?:v1|compat)/[^}]*"status": (\d{3})')
CONFIG = Path(__file__).with_name("schemathesis.toml")
NAMES = ("white.png", "grey.png", "missing.png")
"""Of pictures that are judged, and of one that is not there."""


class Tried(NamedTuple):
    """How `st run` ended, and how often the system answered with which status."""

    done: subprocess.CompletedProcess[str]
    answers: Counter[int]


def tried(*options: str) -> Tried:
    """Run `st run` with these options on a system of its own; its status is 0 if it found nothing.

    What it printed is in `stdout`, with the end of the system's log below it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        Origin(PICTURES) as origin,
        receiving() as receiver,
    ):
        ports = {"PINCLIP_FETCH_ALLOW_PORTS": f"{origin.port},{receiver.port}"}
        with RunningSystem(Path(folder), origin.port, **FIXED, **ports) as system:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                    *("run", f"{system.base_url}/schema", *options),
                ],
                capture_output=True,
                text=True,
                cwd=folder,
                env=inherited(
                    API_KEY=_key(system),
                    PICTURES=" ".join(map(origin.url, NAMES)),
                    PYTHONPATH=str(CONFIG.parents[2]),
                    RECEIVER=receiver.url,
                ),
                check=False,
            )
        log = system.log.read_text()
    done.stdout += f"\n--- the system's log ends:\n{log[-3000:]}"
    return Tried(done, Counter(map(int, _STATUS.findall(log))))


def _key(system: RunningSystem) -> str:
    words = ["keys", "create", "--owner", "forum", "--name", "test", "--scope", "admin"]
    made = subprocess.run(
        [sys.executable, "-m", "pinclip", *words],
        capture_output=True,
        text=True,
        env=system.environ,
        check=True,
    )
    return made.stdout.strip()


if __name__ == "__main__":
    ended, statuses = tried(*sys.argv[1:])
    sys.stdout.write(f"answers by status: {dict(sorted(statuses.items()))}\n")
    sys.stdout.write(ended.stdout + ended.stderr)
    sys.exit(ended.returncode)
