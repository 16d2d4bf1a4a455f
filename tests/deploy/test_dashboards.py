"""Every metric that the dashboard and the alerts ask for is one that the server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import Metrics, disk_of
from tests.deploy.files import DEPLOY, PROGRAMS
from tests.deploy.helm_process import ROOT
from tests.server.test_metrics import WELL, everything

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "pinclip.json"
KEYWORDS = {"le", "job", "instance"}
"""Labels that Prometheus adds."""


def known() -> dict[str, set[str]]:
    """Return every name that can be asked for, with its labels."""
    metrics = Metrics()
    everything(metrics)
    text = metrics.exposition(WELL, disk_of(Path("/"))).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def panels() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return shown


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def promtool(*words: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here: it is in Debian's package prometheus")
    done = subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("of", "expression"), list(expressions()), ids=lambda value: value[:40])
def test_a_query_asks_for_names_and_labels_that_exist(of: str, expression: str) -> None:
    names = known()

    asked = set(re.findall(r"\bpinclip_[a-z_]+\b", expression))
    labels = set(re.findall(r"[{,]\s*([a-z_]+)\s*(?:=|!)", expression))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        labels |= set(re.split(r",\s*", group))
    assert asked or "up{" in expression
    assert asked <= set(names)
    assert labels <= set().union(*(names[name] for name in asked), KEYWORDS)


def test_every_counter_that_tells_of_harm_has_an_alert() -> None:
    asked = " ".join(rule["expr"] for rule in rules())

    for name in known():
        if name.endswith(("_errors_total", "_again_total", "_disabled_total", "deliveries_total")):
            assert name in asked


def test_an_alert_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_panels_do_not_cover_each_other() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for one, other in combinations((panel["gridPos"] for panel in panels()), 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)
        assert one["x"] + one["w"] <= 24


def test_panels_ask_the_source_that_is_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    assert all(panel["datasource"] == chosen for panel in panels())


def test_yamllint_finds_nothing() -> None:
    subprocess.run(
        [PROGRAMS / "yamllint", "--strict", "-c", DEPLOY / ".yamllint", ALERTS], check=True
    )


def test_promtool_takes_the_alerts() -> None:
    assert "SUCCESS" in promtool("check", "rules", ALERTS)


def test_alerts_wake_people_when_they_must_and_not_when_all_is_well() -> None:
    assert "SUCCESS" in promtool("test", "rules", ROOT / "tests" / "deploy" / "alerts_test.yml")


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        {
            "record": f"panel:{panel['id']}:{target['refId']}",
            "expr": target["expr"].replace("$__rate_interval", "5m"),
        }
        for panel in panels()
        for target in panel["targets"]
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": queries}]}))

    assert "SUCCESS" in promtool("check", "rules", file)
