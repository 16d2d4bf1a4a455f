"""Helm in a process of its own: JSON on stdin, JSON on stdout.

    {"verb": "render", "values": {...}}   ->  {"files": {name: text}} | {"refused": message}
    {"verb": "lint", "values": {...}, "kube_version": "v1.35.0"}   ->  Helm's report

Helm is written in Go. Its runtime, once loaded, takes signals and signal stacks of the process
that it is in for its own; a test process that then gets a signal may end with SIGSEGV.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "pinclip"


def helm(**order: Any) -> dict[str, Any]:
    """Return what Helm says of the chart."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.deploy.helm_process"],
        input=json.dumps(order),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"Helm's process ended with {ended.returncode}: {ended.stderr}")
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def render(values: dict[str, Any]) -> dict[str, Any]:
    """Return the files that the chart makes of values, or why it makes none."""
    from helm_python.chart import Chart
    from helm_python.errors import HelmError

    try:
        with Chart.load(CHART) as chart:
            chart.validate_schema(values)
            return {"files": chart.render(values, name="pinclip", namespace="default")}
    except HelmError as error:
        return {"refused": str(error)}


def lint(values: dict[str, Any], kube_version: str) -> dict[str, Any]:
    """Return Helm's report, strictly."""
    from helm_python.chart import lint as helm_lint

    return helm_lint(CHART, values, strict=True, kube_version=kube_version)


def main() -> None:
    """Carry out the one order on stdin."""
    order = json.load(sys.stdin)
    verb = {"render": render, "lint": lint}[order.pop("verb")]
    json.dump(verb(**order), sys.stdout)


if __name__ == "__main__":
    main()
