"""deploy/ passes the linters of its formats, and what it says of pinclip is true."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from pinclip.cli import KNOWN
from sdk.environment import inherited, load, variables
from sdk.settings import ClientSettings
from server import valkey
from server.process import CLOSE_SECONDS, DRAIN_SECONDS
from server.settings import ServerSettings
from server.up import API_GRACE_SECONDS, WORKER_GRACE_SECONDS
from tests.deploy.files import (
    COMPOSE,
    DEPLOY,
    DOCKERFILES,
    PROGRAMS,
    compose,
    environment,
    instructions,
    services,
)
from tests.deploy.helm_process import ROOT
from worker.settings import WorkerSettings
from worker.shift import STOP_SECONDS

READERS = (ClientSettings, ServerSettings, WorkerSettings)
SETTINGS = {name for struct in READERS for name, _, _ in variables(struct)}
TEXTS = sorted(file for file in DEPLOY.rglob("*") if file.is_file() and file.suffix != ".pyc")
OURS = ("server", "worker", "worker-cuda")
"""Services of compose.yaml that run an image of ours."""


def lint(*words: str | Path, **environ: str) -> None:
    program, *rest = map(str, words)
    done = subprocess.run(
        [str(PROGRAMS / program), *rest],
        env=inherited() | environ,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- linters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    lint("hadolint", file)


def test_yamllint_finds_nothing() -> None:
    yamls = [COMPOSE, *(DEPLOY / "helm" / "pinclip").glob("*.yaml")]
    lint("yamllint", "--strict", "-c", DEPLOY / ".yamllint", *yamls)


def test_compose_file_is_one_by_the_schema_of_compose() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_caddy_takes_the_caddyfile_as_it_would_write_it(tmp_path: Path) -> None:
    caddyfile = DEPLOY / "Caddyfile"
    ours = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    lint("caddy", "validate", "--adapter", "caddyfile", "--config", caddyfile, **ours)
    lint("caddy", "fmt", "--diff", caddyfile)


# --- what it says of pinclip -----------------------------------------------------------------


@pytest.mark.parametrize("file", [*TEXTS, ROOT / "docs/operations.md"], ids=lambda file: file.name)
def test_every_variable_of_pinclip_is_a_setting(file: Path) -> None:
    used = set(re.findall(r"\bPINCLIP_[A-Z0-9_]+\b", file.read_text(encoding="utf-8")))

    assert used <= SETTINGS


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_runs_a_command_that_exists(file: Path) -> None:
    steps = dict(instructions(file))

    assert json.loads(steps["ENTRYPOINT"]) == ["pinclip"]
    assert set(json.loads(steps["CMD"])) <= set(KNOWN)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_is_built_from_files_that_exist_and_are_sent_to_the_builder(file: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copies = [words.split() for name, words in instructions(file) if name == "COPY"]
    sources = {word for words in copies if "--from=build" not in words for word in words[:-1]}

    assert sources
    assert sources <= sent
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_image_installs_extras_that_exist_and_no_others_than_it_needs(file: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = file.read_text()
    named = re.findall(r"'\.\[([a-z,]+)\]'|EXTRAS=([a-z,]+)", text)
    asked = [set("".join(pair).split(",")) for pair in named]

    assert asked
    assert set.union(*asked) <= set(extras)
    assert ({"server", "postgres"} in asked) == (file.name == "Dockerfile.server")
    assert ({"worker"} in asked and {"worker", "torch"} in asked) == (
        file.name == "Dockerfile.worker"
    )


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_final_image_runs_as_nobody_in_particular_on_a_base_that_is_named(file: Path) -> None:
    steps = list(instructions(file))
    bases = {words.split()[0] for name, words in steps if name == "FROM"}
    final = steps[max(at for at, (name, _) in enumerate(steps) if name == "FROM") :]

    assert bases == {"python:3.12-slim-bookworm"}
    assert ("USER", "10001:10001") in final
    assert not any(" pip " in f" {words} " or "apt" in words for _, words in final)


# --- compose ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", services())
def test_service_has_nothing_that_it_does_not_need(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert "user" in service or name in OURS  # whose images have a user of their own


def test_workers_reach_redis_and_the_internet_and_not_the_database() -> None:
    networks = {name: set(one.get("networks", ())) for name, one in services().items()}
    inner = {name for name, one in compose()["networks"].items() if one.get("internal")}

    for worker in ("worker", "worker-cuda"):
        assert networks[worker] & networks["valkey"]
        assert not networks[worker] & networks["postgres"]
        assert networks[worker] - inner
    assert networks["postgres"] | networks["valkey"] <= inner
    assert not networks["server"] & networks["worker"] - inner


def test_workers_and_api_share_the_state_folder_which_workers_only_read() -> None:
    mounts = {name: services()[name]["volumes"] for name in OURS}

    assert mounts == {
        "server": ["state:/var/lib/pinclip"],
        "worker": ["state:/var/lib/pinclip:ro"],
        "worker-cuda": ["state:/var/lib/pinclip:ro"],
    }


def test_api_is_asked_by_the_name_that_the_certificate_is_for() -> None:
    secrets = dict.fromkeys(("REDIS_PASSWORD", "POSTGRES_PASSWORD", "RECEIPT_KEY"), "x")
    name = "pinclip.example.org"
    told = load(ServerSettings, environment("server", DOMAIN=name, **secrets))
    untold = load(ServerSettings, environment("server", **secrets))
    (published,) = services()["server"]["ports"]

    assert told.allowed_hosts == (environment("caddy", DOMAIN=name)["DOMAIN"],) == (name,)
    assert untold.allowed_hosts  # or it would not start
    assert not untold.is_local
    assert published.endswith(f":{untold.port}")
    assert "127.0.0.1" in published  # in the clear on this machine alone, unless told otherwise


def test_receipts_are_signed_with_what_no_worker_has() -> None:
    has = {name for name, one in services().items() if "PINCLIP_RECEIPT_KEY" in one["environment"]}

    assert has == {"server"}


def test_no_two_workers_get_one_name() -> None:
    assert not any(
        "PINCLIP_WORKER_NAME" in one.get("environment", {}) for one in services().values()
    )


def test_services_get_more_time_to_stop_than_they_take() -> None:
    grace = {
        name: float(services()[name]["stop_grace_period"].rstrip("s"))
        for name in ("worker", "server")
    }

    assert grace["worker"] >= WORKER_GRACE_SECONDS > STOP_SECONDS
    assert grace["server"] >= API_GRACE_SECONDS > DRAIN_SECONDS + CLOSE_SECONDS


def test_redis_of_compose_keeps_what_the_embedded_one_keeps() -> None:
    command = services()["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--maxmemory"] == valkey.MEMORY
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
