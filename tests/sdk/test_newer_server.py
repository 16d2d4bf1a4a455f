"""A server that is newer than this client: words and fields that it does not know change nothing.

No unknown word reads as an all-clear, and none ends a program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import sdk
from sdk import wire

from .conftest import SCAN_ID, Origin, ok, scan
from .test_client_parts import APPEAL, DELIVERY, ENDPOINT, FEEDBACK, KEY, batch

Ask = Callable[[Any], Any]


def newer(value: Any, *path: str, word: Any = "of_tomorrow") -> Any:
    """Return what a server sends of a struct, with another word at the path, and more fields."""
    whole = {**msgspec.to_builtins(value), "mood": {"new": 1}}
    place = whole
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = word
    return whole


def get_scan(client: Any) -> Any:
    return client.get(SCAN_ID)


WORDS: dict[str, tuple[Any, tuple[str, ...], Ask, Callable[[Any], Any]]] = {
    "status": (scan(), ("status",), get_scan, lambda one: one.status),
    "operating point": (
        scan(),
        ("operating_point", "name"),
        get_scan,
        lambda one: one.operating_point.name,
    ),
    "slice": (
        scan(),
        ("operating_point", "slice"),
        get_scan,
        lambda one: one.operating_point.slice,
    ),
    "input": (scan(), ("input", "kind"), get_scan, lambda one: one.input.kind),
    "appeal of a scan": (scan(), ("appeal", "state"), get_scan, lambda one: one.appeal.state),
    "batch": (batch(), ("status",), lambda c: c.batches.get("batch_1"), lambda one: one.status),
    "appeal": (APPEAL, ("state",), lambda c: c.appeals.get("apl_1"), lambda one: one.state),
    "feedback": (
        FEEDBACK,
        ("label",),
        lambda c: c.feedback.create(SCAN_ID, "ai"),
        lambda one: one.label,
    ),
    "endpoint": (ENDPOINT, ("state",), lambda c: c.webhooks.get("whk_1"), lambda one: one.state),
    "delivery": (DELIVERY, ("state",), lambda c: c.webhooks.test("whk_1"), lambda one: one.state),
    "event": (
        DELIVERY,
        ("event_type",),
        lambda c: c.webhooks.test("whk_1"),
        lambda one: one.event_type,
    ),
}


@pytest.mark.parametrize(("value", "path", "ask", "read"), WORDS.values(), ids=WORDS)
def test_unknown_word_is_kept_as_it_came(
    client: Any,
    origin: Origin,
    value: Any,
    path: tuple[str, ...],
    ask: Ask,
    read: Callable[[Any], Any],
) -> None:
    origin.will(ok(newer(value, *path)))

    word = read(ask(client))

    assert word == "of_tomorrow"
    assert word not in list(type(word)) if type(word) is not str else True


@pytest.mark.parametrize(
    ("value", "path", "ask", "read"),
    [
        (ENDPOINT, "events", lambda c: c.webhooks.get("whk_1"), lambda one: one.events),
        (KEY, "scopes", lambda c: c.key(), lambda one: one.scopes),
        (scan(), "warnings", get_scan, lambda one: one.warnings),
    ],
    ids=["events", "scopes", "warnings"],
)
def test_unknown_word_in_a_list_is_kept(
    client: Any, origin: Origin, value: Any, path: str, ask: Ask, read: Callable[[Any], Any]
) -> None:
    origin.will(ok(newer(value, path, word=["of_tomorrow"])))

    assert read(ask(client)) == ("of_tomorrow",)


def test_unknown_status_is_no_end(client: Any, origin: Origin) -> None:
    origin.will(*[ok(newer(scan(), "status"))] * 3)

    with pytest.raises(sdk.ScanTimeout, match="of_tomorrow"):
        client.wait(SCAN_ID, timeout=1)


def test_unknown_verdict_is_inconclusive(client: Any, origin: Origin) -> None:
    origin.will(ok(newer(scan(), "verdict", word="surely_real")))

    assert client.check("https://example.org/a.jpg").verdict is sdk.Verdict.INCONCLUSIVE


def test_unknown_verdict_of_a_lookup_is_inconclusive(client: Any, origin: Origin) -> None:
    known = wire.Lookup(sha256="0" * 64, verdict=sdk.Verdict.LIKELY_AI)
    origin.will(ok({"data": [newer(known, "verdict", word="surely_real")]}))

    assert client.lookup("0" * 64).verdict is sdk.Verdict.INCONCLUSIVE


def test_unknown_word_can_be_written_read_and_compared_like_any_other() -> None:
    word = sdk.Status("of_tomorrow")

    assert msgspec.json.decode(msgspec.json.encode(word), type=sdk.Status) == word
    assert (str(word), hash(word)) == ("of_tomorrow", hash("of_tomorrow"))
    assert word != sdk.Status.COMPLETED
    assert not word.is_final


def test_value_that_is_no_word_at_all_is_still_an_error(client: Any, origin: Origin) -> None:
    origin.will(ok(newer(scan(), "status", word=7)))

    with pytest.raises(sdk.APIResponseValidationError):
        client.get(SCAN_ID)
