"""What containers do while there is no API key, and after there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.deploy.files import ALL, DEPLOY, pods, rendered
from tests.deploy.helm_process import ROOT
from tests.deploy.serving import SERVE, environ_of, make_key, process, until_it_answers

pytestmark = [pytest.mark.redis, pytest.mark.slow]

NO_REDIS = "unix:///nobody/listens.sock"
PROBE = [sys.executable, "-P", str(DEPLOY / "probe.py")]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return environ_of(tmp_path, redis_url=NO_REDIS)


def test_api_of_compose_ends_saying_what_to_do_until_there_is_a_key_and_then_serves(
    environ: dict[str, str], tmp_path: Path
) -> None:
    keyless = subprocess.run(
        SERVE, env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    key = make_key(environ, "scan")
    url = f"http://127.0.0.1:{environ['PINCLIP_PORT']}"
    with process(SERVE, environ, log=tmp_path / "api.log"):
        until_it_answers(f"{url}/healthz")
        probed = subprocess.run([*PROBE, "api"], env=environ, cwd=ROOT, check=False)
        answer = httpx.get(f"{url}/v1/key", headers={"Authorization": f"Bearer {key}"})

    assert keyless.returncode == 3
    assert "pinclip keys create" in keyless.stderr
    assert probed.returncode == 0
    assert answer.json()["owner"] == "acme"
    assert not (
        tmp_path / "receipt.key"
    ).exists()  # a secret of the API, and workers read the folder


def test_pod_waits_in_its_first_container_until_a_key_is_made_there(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (first,) = pods(rendered(ALL))["pinclip-server"]["initContainers"]
    (script,) = first["args"]
    python = f"python -P {DEPLOY / 'probe.py'}"
    script = script.replace("python -P /opt/pinclip/probe.py", python).replace(
        "sleep 5", "sleep 0.1"
    )
    path = f"{Path(sys.executable).parent}:{environ['PATH']}"

    with subprocess.Popen(
        [*first["command"], script],
        env={**environ, "PATH": path},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        make_key(environ, "admin")
        _, rest = waiting.communicate(timeout=60)

    assert "pinclip keys create" in said
    assert waiting.returncode == 0
    assert set(rest.splitlines()) <= {said.strip()}
