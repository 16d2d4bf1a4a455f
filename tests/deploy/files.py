"""What is in deploy/, read as its own tools read it. Knows nothing of what it should say.

Dockerfiles -> (instruction, words)      compose.yaml -> services
chart + values --Helm itself--> manifests
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.helm_process import ROOT, helm

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile.*"))
PROGRAMS = Path(sys.executable).parent
"""Where the linters are."""

LEAST: dict[str, Any] = {
    "secret": {
        "redisUrl": "redis://:p@redis:6379/0",
        "databaseUrl": "postgresql://u:p@postgres/pinclip",
        "receiptKey": "k" * 43 + "=",
    },
    "networkPolicy": {
        "redis": {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
        "database": {"to": [{"ipBlock": {"cidr": "10.1.2.4/32"}}]},
    },
}
"""The least that the chart must be told."""
ALL: dict[str, Any] = {
    **LEAST,
    "keda": {"enabled": True, "redisAddress": "redis:6379"},
    "workerCuda": {"enabled": True},
    "fetch": {"allowNetworks": ["10.9.0.0/16"], "allowPorts": [8080]},
    "hosts": ["pinclip.example.org"],
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "pinclip-tls"},
}
"""The same with every part of it switched on."""

Manifest = dict[str, Any]


class Refused(Exception):
    """The chart does not take these values; the message is Helm's."""


def rendered(values: dict[str, Any]) -> list[Manifest]:
    """Return what the chart makes of values; raises Refused."""
    made = helm(verb="render", values=values)
    if "refused" in made:
        raise Refused(made["refused"])
    texts = [text for name, text in made["files"].items() if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def kind_of(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of a kind by their names."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the pod spec of each Deployment by its name."""
    deployments = kind_of(manifests, "Deployment")
    return {name: one["spec"]["template"]["spec"] for name, one in deployments.items()}


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of a pod, sidecars included."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def compose() -> dict[str, Any]:
    """Return what compose.yaml says, merged as YAML merges it."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml by their names."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def environment(service: str, **variables: str) -> dict[str, str]:
    """Return the environment of a service, its ${...} replaced as compose does; raises KeyError."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return variables.get(name) or rest if kind == ":-" else variables[name]

    told = services()[service]["environment"]
    return {name: re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, one) for name, one in told.items()}


def instructions(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Dockerfile: its name, and the rest on one line."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, " ".join(rest.split())
