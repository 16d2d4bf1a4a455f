"""What a platform does with pinclip, from the first start to the day after a restart.

Everything is real: `pinclip up` with its processes, the command line, an origin of images, and a
receiver of webhooks that is written with the SDK.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.running_system import Origin, RunningSystem
from sdk.errors import WebhookSignatureError
from sdk.wire import Event, EventType, Scan, Verdict
from tests.journeys.conftest import FIXED
from tests.server.receiver import Delivery, Receiver, receiving

pytestmark = [pytest.mark.redis, pytest.mark.slow]

WITHIN_SECONDS = 60.0
"""Longest that anything here is waited for."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def system(origin: Origin, receiver: Receiver) -> Iterator[RunningSystem]:
    ports = {"PINCLIP_FETCH_ALLOW_PORTS": f"{origin.port},{receiver.port}"}
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        RunningSystem(Path(folder), origin.port, **FIXED, **ports) as system,
    ):
        yield system


def pinclip(system: RunningSystem, *words: str) -> str:
    """Run a command on the server's machine; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pinclip", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=system.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Platform:
    """A client of the API with one key, and all that its receiver was sent."""

    def __init__(self, system: RunningSystem, key: str, receiver: Receiver) -> None:
        self._receiver = receiver
        self._http = httpx.Client(
            base_url=system.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def results(self, batch_id: str) -> list[dict[str, Any]]:
        answer = self._http.get(f"/v1/batches/{batch_id}/results")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def states(self, endpoint: str) -> dict[str, str]:
        """Return how the delivery of each event stands."""
        page = self.call("GET", f"{endpoint}/deliveries")["data"]
        return {one["event_id"]: one["state"] for one in page}

    def events(self, secret: str) -> dict[str, Event]:
        """Return the events that came, each verified with this secret as it was received."""
        return {delivery.id: delivery.event(secret) for delivery in self._receiver.got}

    def await_delivery(self, of: Callable[[Delivery], bool]) -> Delivery:
        found: list[Delivery] = []
        until(lambda: found.extend(one for one in self._receiver.got if of(one)) or found)
        return found[0]


def scans_of(events: Iterable[Event]) -> list[tuple[Event, Scan]]:
    """Return the events about scans, each with its scan."""
    return [(event, event.data.scan) for event in events if event.data.scan is not None]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.05)  # other processes tell nobody here


def test_platform_relies_on_it_over_a_restart(
    system: RunningSystem, origin: Origin, receiver: Receiver
) -> None:
    key = pinclip(
        system, "keys", "create", "--owner", "forum", "--name", "bot", "--scope", "admin"
    ).strip()
    assert key.startswith("sk_")
    # The API looks at most every few seconds whether there are keys.
    until(lambda: httpx.get(f"{system.base_url}/v1/scans").status_code == 401)
    forum = Platform(system, key, receiver)

    # It registers an endpoint and submits a batch.
    endpoint = forum.call("POST", "/v1/webhooks", {"url": receiver.url})
    path, secret = f"/v1/webhooks/{endpoint['id']}", endpoint["secret"]
    names = ["white.png", "grey.png", "black.png", "missing.png"]
    scans = [{"url": origin.url(name), "context": {"item_id": name}} for name in names]
    scans.append({"url": "http://169.254.169.254/latest"})
    batch = forum.call("POST", "/v1/batches", {"scans": scans, "metadata": {"run": "1"}})
    batch_path = f"/v1/batches/{batch['id']}"

    # Each scan, and the batch, is told of by a signed callback, once.
    until(lambda: len(receiver.got) >= 5)
    told = list(forum.events(secret).values())
    assert len(told) == len(receiver.got) == 5
    done = {scan.context["item_id"]: (event, scan) for event, scan in scans_of(told)}
    assert {name: scan.verdict for name, (_, scan) in done.items()} == {
        "white.png": Verdict.LIKELY_AI,
        "grey.png": Verdict.INCONCLUSIVE,
        "black.png": Verdict.NO_SIGN_OF_AI,
        "missing.png": None,
    }
    assert done["missing.png"][0].type is EventType.SCAN_FAILED
    (of_batch,) = (event for event in told if event.type is EventType.BATCH_COMPLETED)
    assert of_batch.data.batch is not None
    assert of_batch.data.batch.metadata == {"run": "1"}
    before = (forum.call("GET", batch_path), forum.results(batch["id"]))
    assert before[0]["status"] == "completed"
    counts = {"waiting": 0, "completed": 3, "failed": 1, "canceled": 0, "refused": 1}
    assert before[0]["counts"] == {"total": 5, **counts}
    assert [line["index"] for line in before[1]] == [0, 1, 2, 3, 4]
    assert before[1][4]["problem"]["code"] == "address_blocked"

    # It rotates the secret: in the overlap the old one and the new one both verify.
    rotated = forum.call("POST", f"{path}/rotate")["secret"]
    assert rotated != secret
    ping = forum.call("POST", f"{path}/test")
    delivery = forum.await_delivery(lambda one: one.id == ping["event_id"])
    assert delivery.event(secret) == delivery.event(rotated)
    with pytest.raises(WebhookSignatureError):
        receiver.got[0].event(rotated)

    # Everything is restarted, and it is all still there.
    forum.close()
    assert system.stop() == 0
    system.start()
    forum = Platform(system, key, receiver)
    assert (forum.call("GET", batch_path), forum.results(batch["id"])) == before
    listed = forum.call("GET", f"/v1/scans?batch_id={batch['id']}")["data"]
    assert {scan["id"] for scan in listed} == {
        line["scan"]["id"] for line in before[1] if line["scan"]
    }
    assert forum.call("GET", path) == {**endpoint, "secret": None}
    until(lambda: forum.states(path) == {one.id: "delivered" for one in receiver.got})
    assert "forum" in pinclip(system, "keys", "list")
    pinclip(system, "audit", "verify")

    # And it goes on: the next scan is told of, and both secrets still sign.
    again = forum.call("POST", "/v1/scans", {"url": origin.url("white.png")})
    delivery = forum.await_delivery(lambda one: again["id"].encode() in one.body)
    assert delivery.event(secret) == delivery.event(rotated)
    assert delivery.event(rotated).data.scan is not None
    forum.close()
