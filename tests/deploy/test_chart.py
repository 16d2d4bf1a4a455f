"""The chart as Helm itself renders it: manifests that Kubernetes takes, and that keep our rules.

The linters are big: they are imported where they are used, not when tests are collected.
"""

from __future__ import annotations

import copy
import re
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from sdk.environment import load
from server.process import CLOSE_SECONDS, DRAIN_SECONDS
from server.settings import ServerSettings
from server.up import WORKER_GRACE_SECONDS
from tests.deploy.files import (
    ALL,
    LEAST,
    Manifest,
    Refused,
    containers,
    kind_of,
    pods,
    rendered,
)
from tests.deploy.helm_process import CHART, ROOT, helm
from worker import contract
from worker.guard import _GLOBAL_V6, _SPECIAL
from worker.settings import WorkerSettings
from worker.shift import STOP_SECONDS

KUBERNETES = ("1.30", "1.35")
KEDA = ("ScaledObject", "TriggerAuthentication")
WARNING = 2
NOTES = (CHART / "templates" / "NOTES.txt").read_text()


@pytest.fixture(scope="module")
def whole() -> list[Manifest]:
    return rendered(ALL)


def changed(path: str, value: object) -> dict[str, Any]:
    """Return ALL with the value at a path, parts separated by /, replaced."""
    values = copy.deepcopy(ALL)
    *above, last = path.split("/")
    inner = values
    for part in above:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return values


# --- linters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [LEAST, ALL], ids=["least", "all"])
def test_helm_lint_finds_nothing(values: dict[str, Any]) -> None:
    report = helm(verb="lint", values=values, kube_version=f"v{KUBERNETES[0]}.0")

    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] >= WARNING] == []


def test_go_runtime_of_helm_is_not_in_this_process(whole: list[Manifest]) -> None:
    assert whole
    assert "helm_python" not in sys.modules


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_what_kubernetes_takes(whole: list[Manifest], version: str) -> None:
    import kubernetes_validate

    native = [one for one in whole if one["kind"] not in KEDA]

    assert len(native) >= 10
    for manifest in native:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("kind", KEDA)
def test_manifests_are_what_keda_takes(whole: list[Manifest], kind: str) -> None:
    from cloudcoil.models.keda import v1alpha1

    (manifest,) = kind_of(whole, kind).values()

    getattr(v1alpha1, kind).model_validate(manifest)


def test_example_of_the_page_is_taken() -> None:
    (example,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )

    manifests = rendered(yaml.safe_load(example))

    assert kind_of(manifests, "ScaledObject")
    assert not kind_of(manifests, "Secret")  # it names one that exists


def test_chart_with_the_least_values_has_no_keda_and_no_gpu() -> None:
    manifests = rendered(LEAST)

    assert set(pods(manifests)) == {"pinclip-server", "pinclip-worker"}
    assert not any(one["kind"] in KEDA for one in manifests)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("worker/replica", 2),
        ("worker/replicas", 0),
        ("keda/minReplicas", 0),
        ("keda/waitSeconds", {"pinclip:else": 1}),
        ("secret/receiptKey", "short"),
        ("secret/apiKeys", ["k" * 32]),
        ("hosts", ["https://pinclip.example.org"]),
        ("secret/redisUrl", "memcached://redis"),
        ("settings/PINCLIP_WORKER_NAME", "one-for-all"),
        ("settings/PINCLIP_RECEIPT_KEY", "k" * 43 + "="),
        ("settings/LOG_LEVEL", "info"),
        ("fetch/allowPorts", [0]),
        ("networkPolicy/redis/to", [{"cidr": "10.0.0.0/8"}]),
    ],
)
def test_schema_refuses_what_cannot_work(path: str, value: object) -> None:
    with pytest.raises(Refused):
        rendered(changed(path, value))


@pytest.mark.parametrize(
    "path",
    [
        "secret/redisUrl",
        "secret/databaseUrl",
        "secret/receiptKey",
        "hosts",
        "keda/redisAddress",
        "networkPolicy/redis/to",
        "networkPolicy/database/to",
    ],
)
def test_chart_fails_with_a_sentence_where_something_is_not_told(path: str) -> None:
    nothing: object = [] if path.endswith(("to", "hosts")) else ""

    with pytest.raises(Refused, match=f"{path.replace('/', '.')} is empty"):
        rendered(changed(path, nothing))


# --- rules -----------------------------------------------------------------------------------


def test_every_container_has_nothing_that_it_does_not_need(whole: list[Manifest]) -> None:
    for pod in pods(whole).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in containers(pod):
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert "memory" in one["resources"]["limits"]


def test_no_service_writes_our_variables(whole: list[Manifest]) -> None:
    # A Service named pinclip would be told to pods as PINCLIP_PORT=tcp://10.0.0.1:80.
    assert all(pod["enableServiceLinks"] is False for pod in pods(whole).values())


def test_pods_get_more_time_to_stop_than_they_take(whole: list[Manifest]) -> None:
    grace = {name: pod["terminationGracePeriodSeconds"] for name, pod in pods(whole).items()}
    api = pods(whole)["pinclip-server"]["containers"][0]
    slept = api["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert grace["pinclip-worker"] == grace["pinclip-worker-cuda"]
    assert grace["pinclip-worker"] >= WORKER_GRACE_SECONDS > STOP_SECONDS
    assert grace["pinclip-server"] > slept + DRAIN_SECONDS + CLOSE_SECONDS


def test_workers_are_named_as_their_pods_and_only_read_the_state(whole: list[Manifest]) -> None:
    for name in ("pinclip-worker", "pinclip-worker-cuda"):
        (one,) = pods(whole)[name]["containers"]
        env = {item["name"]: item for item in one["env"]}
        state = next(mount for mount in one["volumeMounts"] if mount["name"] == "state")

        assert env["PINCLIP_WORKER_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        assert "DATABASE_URL" not in env
        assert state["readOnly"] is True


def test_api_is_asked_by_names_that_it_knows(whole: list[Manifest]) -> None:
    (service,) = kind_of(whole, "Service").values()
    (ingress,) = kind_of(whole, "Ingress").values()
    (api,) = pods(whole)["pinclip-server"]["containers"]
    env = {item["name"]: item for item in api["env"]}
    # A pod's probes and Prometheus ask it by its address.
    assert env["POD_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    names = env["PINCLIP_ALLOWED_HOSTS"]["value"].replace("$(POD_IP)", "10.1.2.9")
    told = {item["name"]: item["value"] for item in api["env"] if "value" in item}
    settings = load(ServerSettings, {**told, "PINCLIP_ALLOWED_HOSTS": names})

    asked = ["10.1.2.9", service["metadata"]["name"], "pinclip.default.svc"]
    asked += [rule["host"] for rule in ingress["spec"]["rules"]]
    assert set(asked) <= set(settings.allowed_hosts)
    assert not settings.is_local
    assert service["spec"]["ports"][0]["targetPort"] == settings.port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert api[probe]["httpGet"] == {"path": "/healthz", "port": settings.port}


def test_ingress_has_the_certificate(whole: list[Manifest]) -> None:
    (ingress,) = kind_of(whole, "Ingress").values()

    assert ingress["spec"]["tls"] == [
        {"secretName": "pinclip-tls", "hosts": ["pinclip.example.org"]}
    ]


def test_key_is_made_in_the_database_that_the_api_has(whole: list[Manifest]) -> None:
    first, api = containers(pods(whole)["pinclip-server"])

    assert first["name"] in NOTES
    for part in ("image", "env", "envFrom", "volumeMounts"):
        assert first[part] == api[part]


def test_receipts_are_signed_with_what_no_worker_has(whole: list[Manifest]) -> None:
    for name, pod in pods(whole).items():
        for one in containers(pod):
            env = {item["name"] for item in one["env"]}
            assert ("PINCLIP_RECEIPT_KEY" in env) == (name == "pinclip-server")


def test_worker_has_memory_for_the_model_and_for_each_decoder_at_its_limit(
    whole: list[Manifest],
) -> None:
    for name, pod in pods(whole).items():
        if name.startswith("pinclip-worker"):
            (one,) = pod["containers"]
            env = {item["name"]: item.get("value") for item in one["env"]}
            decoders = int(env.get("PINCLIP_DECODE_PROCESSES") or WorkerSettings().decode_processes)

            assert int(one["resources"]["limits"]["memory"].removesuffix("Gi")) > decoders


def test_keda_looks_at_the_streams_of_the_contract(whole: list[Manifest]) -> None:
    (scaled,) = kind_of(whole, "ScaledObject").values()
    triggers = [one["metadata"] for one in scaled["spec"]["triggers"]]

    assert {one["stream"] for one in triggers} == set(contract.STREAMS.values())
    # With a consumer group KEDA would count what workers hold and not what waits.
    assert not any("consumerGroup" in one for one in triggers)
    assert {one["streamLength"] for one in triggers} == {"40", "1200"}
    assert scaled["spec"]["scaleTargetRef"]["name"] in pods(whole)
    assert "replicas" not in kind_of(whole, "Deployment")["pinclip-worker"]["spec"]


@pytest.mark.parametrize("name", ["pinclip-server", "pinclip-worker", "pinclip-worker-cuda"])
def test_pods_may_reach_what_the_guard_lets_them_dial(whole: list[Manifest], name: str) -> None:
    *_, outside = kind_of(whole, "NetworkPolicy")[name]["spec"]["egress"]
    v4, v6, allowed = (peer["ipBlock"] for peer in outside["to"])

    assert v4["cidr"] == "0.0.0.0/0"
    assert ip_network(v6["cidr"]) == _GLOBAL_V6
    assert {ip_network(one) for one in (*v4["except"], *v6["except"])} == set(_SPECIAL)
    assert allowed == {"cidr": "10.9.0.0/16"}
    assert [one["port"] for one in outside["ports"]] == [80, 443, 8080]


def test_nobody_may_reach_workers(whole: list[Manifest]) -> None:
    for name in ("pinclip-worker", "pinclip-worker-cuda"):
        assert kind_of(whole, "NetworkPolicy")[name]["spec"]["ingress"] == []


def test_api_without_webhooks_reaches_redis_and_the_database_alone() -> None:
    manifests = rendered(changed("networkPolicy/webhooks", value=False))
    spec = kind_of(manifests, "NetworkPolicy")["pinclip-server"]["spec"]

    cidrs = {peer["ipBlock"]["cidr"] for rule in spec["egress"][1:] for peer in rule["to"]}
    assert cidrs == {"10.1.2.3/32", "10.1.2.4/32"}


def test_workers_may_not_reach_the_database(whole: list[Manifest]) -> None:
    database = ip_address("10.1.2.4")

    for name in ("pinclip-worker", "pinclip-worker-cuda"):
        spec = kind_of(whole, "NetworkPolicy")[name]["spec"]
        blocks = [
            peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer
        ]
        assert not any(
            database in ip_network(block["cidr"])
            and not any(database in ip_network(one) for one in block.get("except", ()))
            for block in blocks
        )
