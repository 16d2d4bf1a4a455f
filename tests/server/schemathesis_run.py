"""Tries the OpenAPI document on a running system with schemathesis: all checks, all phases.

    python -m tests.server.schemathesis_run --max-time 300 --seed 7      any options of `st run`

The system is `pinclip up` with the FixedDetector, over SQLite and Valkey; its images are on
loopback, and so is what its webhooks are sent to. The key may do everything.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.running_system import Origin, RunningSystem
from sdk.environment import inherited
from tests.journeys.conftest import FIXED, PICTURES
from tests.server.receiver import receiving

CONFIG = Path(__file__).with_name("schemathesis.toml")
NAMES = ("white.png", "grey.png", "missing.png")
"""Of pictures that are judged, and of one that is not there."""


def tried(*options: str) -> subprocess.CompletedProcess[str]:
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
            done.stdout += f"\n--- the system's log ends:\n{system.log.read_text()[-3000:]}"
    return done


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
    ended = tried(*sys.argv[1:])
    sys.stdout.write(ended.stdout + ended.stderr)
    sys.exit(ended.returncode)
