"""Every public method of the SDK has an example, and each is true of a real server.

What an example starts from (client, scan, batch, ...) is made for it, on an API that holds
nothing else.
"""

from __future__ import annotations

import doctest
import inspect
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

import sdk
from sdk import webhooks
from sdk._appeals import Appeals
from sdk._batches import Batches
from sdk._endpoints import Webhooks
from sdk._feedback import Words
from sdk._models import Models
from sdk._scans import Scans
from tests.server.conftest import until
from tests.server.receiver import Receiver, receiving

from .small_api import small_api

pytestmark = pytest.mark.redis

URL = "https://example.org/picture.jpg"
HOOK = "https://example.org/hook"
WITHOUT = {"Client.close", "Webhooks.unwrap", "Models.gate_report"}
"""Methods that need none, or that have a gate report to show where there is a gated model."""


class Place(NamedTuple):
    """A running API, and a receiver that it may deliver to."""

    client: sdk.Client
    receiver: Receiver


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    # A short path: a unix socket's name has room for about 100 characters.
    with (
        receiving() as receiver,
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        small_api(Path(folder), allow_port=receiver.port) as url,
        sdk.Client(base_url=url) as client,
    ):
        anyio.run(until, lambda: client.models.list())
        yield Place(client, receiver)


@pytest.fixture
def bare(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place, with nothing on record."""
    client = place.client
    monkeypatch.setenv("PINCLIP_BASE_URL", client._mode.transport._plan.shown)
    for scan in client.scans.list():
        client.scans.delete(scan)
    for endpoint in client.webhooks.list():
        client.webhooks.delete(endpoint)
    place.receiver.got.clear()
    return place


def batch_of(place: Place) -> sdk.Batch:
    batch = place.client.batches.create([URL])
    anyio.run(until, lambda: place.client.batches.get(batch.id).completed_at)
    return place.client.batches.get(batch.id)


MAKERS: dict[str, Callable[[Place, dict[str, Any]], Any]] = {
    "client": lambda place, _: place.client,
    "scan": lambda place, _: place.client.check(URL),
    "batch": lambda place, _: batch_of(place),
    "appeal": lambda place, made: place.client.appeals.create(
        made["scan"], reason="I drew it; see the sketches."
    ),
    "endpoint": lambda place, _: place.client.webhooks.create(place.receiver.url),
    "ping": lambda place, made: place.client.webhooks.test(made["endpoint"]),
    "delivery": lambda place, _: first_delivery(place),
    "handled": lambda *_: set(),
}
"""What examples start from, in the order in which it is made."""
NEEDS = {"appeal": "scan", "delivery": "ping", "ping": "endpoint", "deliveries": "ping"}


def first_delivery(place: Place) -> Any:
    anyio.run(until, lambda: place.receiver.got)
    return place.receiver.got[0]


def given(text: str, place: Place) -> dict[str, Any]:
    """Make what an example uses and does not make itself."""
    code = "\n".join(re.findall(r"^\s*(?:>>>|\.\.\.) (.*)$", text, re.M))
    wanted = set(re.findall(r"\w+", code)) - set(re.findall(r"^(?:\w+, )*(\w+) = ", code, re.M))
    for name, need in NEEDS.items():
        wanted |= {need} if name in wanted else set()
    made: dict[str, Any] = {"sdk": sdk}
    for name, make in MAKERS.items():
        if name in wanted:
            made[name] = make(place, made)
    return made


def examples() -> Iterator[tuple[str, str]]:
    yield "sdk", inspect.getdoc(sdk) or ""
    yield "webhooks.unwrap", inspect.getdoc(webhooks.unwrap) or ""
    for kind in (sdk.Client, Scans, Batches, Appeals, Words, Webhooks, Models):
        if kind is sdk.Client:
            yield "Client", inspect.getdoc(kind) or ""
        for name in dir(kind):
            text = inspect.getdoc(getattr(kind, name)) or ""
            if not name.startswith("_") and not isinstance(getattr(kind, name), property):
                yield f"{kind.__name__}.{name}", text
    yield "Client.with_raw_response", inspect.getdoc(sdk.Client.with_raw_response) or ""


EXAMPLES = dict(examples())


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in WITHOUT])
def test_example_is_true(bare: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = EXAMPLES[name].replace(HOOK, bare.receiver.url)
    test = doctest.DocTestParser().get_doctest(text, given(text, bare), name, None, 0)

    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)

    assert found.attempted > 0
    assert found.failed == 0, capsys.readouterr().out


def test_errors_are_named_wherever_a_request_is_made() -> None:
    silent = [
        name
        for name, text in EXAMPLES.items()
        if "." in name and name not in WITHOUT and "Raises" not in text and "InputError" not in text
    ]

    assert silent == []
