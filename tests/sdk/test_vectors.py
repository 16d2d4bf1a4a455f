"""tests/vectors: what is promised between any client and any server, in any language.

wire.json         messages, those of tomorrow, those to refuse, requests
frozen/0.1.json   the same of a release: never edited
retry_after.json, webhooks.json, words.json
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jsonschema
import msgspec
import pytest
from msgspec import Struct

import sdk
from sdk import codes, events, webhooks, wire
from sdk._retry import delay, read_retry_after
from sdk.commands.exits import EXIT_OF_VERDICT, MEANINGS, Exit, together
from sdk.commands.words import WORDS, rate_in_words
from sdk.errors import APIResponseValidationError, APIStatusError, WebhookSignatureError
from tests.sdk.conftest import Origin, Reply

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
FROZEN = {"0.1.json": "3ccd6efde097be230424e9fff79050ebbe5568872ad29df8f9601ca68c4f913f"}
"""sha256 of what each release promised. A file that was edited is to be put back."""

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_790_000_000


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / name).read_text("utf-8"))
    return loaded


WIRE = load("wire.json")
FILES = ["wire.json", *(f"frozen/{name}" for name in FROZEN)]


def rows(name: str, key: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in load(name)[key]]


def messages() -> list[Any]:
    return [
        pytest.param(case, id=f"{Path(name).stem}-{case['id']}")
        for name in FILES
        for key in ("messages", "tomorrow")
        for case in load(name).get(key, [])
    ]


def requests() -> list[Any]:
    return [
        pytest.param(case, id=f"{Path(name).stem}-{case['id']}")
        for name in FILES
        for case in load(name)["requests"]
    ]


def read(case: dict[str, Any]) -> Struct:
    """Return the message as the client reads it."""
    body = json.dumps(case["body"]).encode()
    if case["type"] == "Event":
        headers = webhooks.sign(body, SECRET, event_id="evt_1", timestamp=NOW)
        return webhooks.unwrap(body, headers, SECRET, now=NOW)
    read: Struct = msgspec.json.decode(body, type=getattr(wire, case["type"]))
    return read


def as_json(value: object) -> Any:
    """Return what any language would see of it."""
    return json.loads(msgspec.json.encode(value))


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def lost(body: Any, found: Any, path: str = "") -> list[str]:
    """Return the paths of what is in the body and not in what was found; null is nothing."""
    if isinstance(body, dict) and isinstance(found, dict):
        return [one for key in body for one in lost(body[key], found.get(key), f"{path}.{key}")]
    if isinstance(body, list) and isinstance(found, list) and len(body) == len(found):
        pairs = enumerate(zip(body, found, strict=True))
        return [one for n, (sent, read) in pairs for one in lost(sent, read, f"{path}.{n}")]
    return [] if body == found else [path]


@pytest.mark.parametrize("case", messages())
def test_client_reads_the_message_so(case: dict[str, Any]) -> None:
    found = as_json(read(case))

    assert {path: at(found, path) for path in case["reads"]} == case["reads"]


@pytest.mark.parametrize("name", FILES)
def test_client_reads_all_that_the_server_says(name: str) -> None:
    for case in load(name)["messages"]:
        assert lost(case["body"], as_json(read(case))) == [], case["id"]


@pytest.mark.parametrize("case", rows("wire.json", "refused"))
def test_client_refuses_what_is_no_message(case: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(case)


def test_a_verdict_of_tomorrow_is_inconclusive() -> None:
    cases = [case for case in WIRE["tomorrow"] if case["type"] in ("Scan", "Lookup")]
    unknown = [
        case
        for case in cases
        if case["body"].get("verdict") not in (None, *(str(word) for word in sdk.Verdict))
    ]

    assert {at(as_json(read(case)), "verdict") for case in unknown} == {"inconclusive"}
    assert len(unknown) == 5


# Over HTTP, by both clients: the whole way from bytes to what a program sees.


def test_clients_read_every_scan(origin: Origin, connect: Callable[..., Any]) -> None:
    client = connect()
    for case in [*WIRE["messages"], *WIRE["tomorrow"]]:
        if case["type"] == "Scan":
            origin.will(Reply(200, json.dumps(case["body"]).encode(), _JSON))

            found = as_json(client.get("scan_1"))

            assert {path: at(found, path) for path in case["reads"]} == case["reads"], case["id"]


def test_clients_raise_every_problem(origin: Origin, connect: Callable[..., Any]) -> None:
    client = connect(max_retries=0)
    for case in [*WIRE["messages"], *WIRE["tomorrow"]]:
        if case["type"] == "Problem":
            body, reads = case["body"], case["reads"]
            origin.will(Reply(body["status"], json.dumps(body).encode(), _PROBLEM))

            with pytest.raises(APIStatusError) as caught:
                client.get("scan_1")

            assert (caught.value.code, caught.value.status_code) == (reads["code"], body["status"])
            assert body["hint"] in str(caught.value)


def test_clients_refuse_what_is_no_scan(origin: Origin, connect: Callable[..., Any]) -> None:
    client = connect()
    for case in WIRE["refused"]:
        if case["type"] == "Scan":
            origin.will(Reply(200, json.dumps(case["body"]).encode(), _JSON))

            with pytest.raises(APIResponseValidationError):
                client.get("scan_1")


_JSON = {"Content-Type": "application/json"}
_PROBLEM = {"Content-Type": "application/problem+json"}


def test_clients_send_the_scan_that_was_promised(
    origin: Origin, connect: Callable[..., Any]
) -> None:
    requests = {case["id"]: case["body"] for case in WIRE["requests"]}
    (queued,) = (case["body"] for case in WIRE["messages"] if case["id"] == "scan-queued")
    client = connect()
    for name in ("scan-url", "scan-everything"):
        origin.will(Reply(202, json.dumps(queued).encode(), _JSON))
        sent = dict(requests[name])

        client.submit(sent.pop("url"), **sent)

        assert origin.seen[-1].json == requests[name]


# The server's side.


@pytest.mark.parametrize("case", requests())
def test_server_reads_the_request_and_nothing_of_it_is_lost(case: dict[str, Any]) -> None:
    kind: type[Struct] = getattr(wire, case["type"])

    found = msgspec.json.decode(json.dumps(case["body"]), type=kind)

    assert without_defaults(as_json(found), case["body"]) == case["body"]


def without_defaults(found: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent; encoding leaves out what is as by default, such as an empty text."""
    return {**{key: value for key, value in sent.items() if value == ""}, **found}


@pytest.mark.parametrize("name", FILES)
def test_messages_are_what_the_api_s_description_says(name: str) -> None:
    schema = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    vectors = load(name)
    for case in [*vectors["messages"], *vectors["requests"]]:
        described = {"$ref": f"#/components/schemas/{case['type']}", **schema}
        jsonschema.Draft202012Validator(described).validate(case["body"])


# Whole: a message, a word or a field in use that has no vector is one that nobody promised.


def structs() -> set[type[Struct]]:
    found = (value for value in vars(wire).values() if isinstance(value, type))
    return {one for one in found if issubclass(one, Struct) and one is not Struct}


def words() -> set[str]:
    modules = [*vars(wire).values(), *vars(codes).values()]
    kinds = {one for one in modules if isinstance(one, type) and issubclass(one, StrEnum)}
    return {f"{kind.__name__}.{word}" for kind in kinds for word in kind}


class Sent(NamedTuple):
    """A struct, and the JSON that it was read from."""

    struct: Struct
    body: dict[str, Any]

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Yield (field, its JSON) for each that the JSON gives."""
        names = zip(
            self.struct.__struct_fields__, self.struct.__struct_encode_fields__, strict=True
        )
        yield from ((name, self.body[key]) for name, key in names if key in self.body)


def walk(value: object, body: Any) -> Iterator[Sent]:
    if isinstance(value, Struct):
        sent = Sent(value, body)
        yield sent
        for name, part in sent.fields():
            yield from walk(getattr(value, name), part)
    elif isinstance(value, tuple):
        for one, part in zip(value, body, strict=True):
            yield from walk(one, part)


def seen() -> list[Sent]:
    """Return every struct in the messages and requests of today."""
    return [
        sent
        for case in [*WIRE["messages"], *WIRE["requests"]]
        for sent in walk(msgspec.convert(case["body"], getattr(wire, case["type"])), case["body"])
    ]


def test_every_message_has_a_vector() -> None:
    assert structs() - {type(sent.struct) for sent in seen()} == set()


def test_every_event_of_the_sdk_has_a_vector() -> None:
    cases = [*WIRE["messages"], *WIRE["tomorrow"]]
    found = {type(read(case)) for case in cases if case["type"] == "Event"}

    assert found == set(get_args(events.AnyEvent))


def test_every_field_has_a_vector_that_gives_it() -> None:
    given = {
        f"{type(sent.struct).__name__}.{name}"
        for sent in seen()
        for name, body in sent.fields()
        if body not in (None, [], {})
    }
    fields = {f"{kind.__name__}.{name}" for kind in structs() for name in kind.__struct_fields__}

    assert fields - given == set()


def test_every_word_has_a_vector() -> None:
    given = {
        f"{type(word).__name__}.{word}"
        for sent in seen()
        for name, _ in sent.fields()
        for word in _each(getattr(sent.struct, name))
        if isinstance(word, StrEnum)
    }
    text = json.dumps(WIRE["messages"])
    as_text = {
        f"{kind.__name__}.{word}" for kind in (wire.ScanWarning, wire.Slice) for word in kind
    }
    given |= {word for word in as_text if f'"{word.partition(".")[2]}"' in text}

    of_others = {"ProblemCode.unknown", "ScanErrorCode.unknown"}  # what a client makes of these
    as_by_default = {"Priority.interactive"}
    assert words() - given == of_others | as_by_default


def _each(value: object) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("name", ["wire.json", "retry_after.json", "webhooks.json", *FILES[1:]])
def test_vectors_have_names_of_their_own(name: str) -> None:
    for value in load(name).values():
        if isinstance(value, list):
            names = [case["id"] for case in value]
            assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_what_a_release_promised_is_not_edited(name: str) -> None:
    digest = hashlib.sha256((VECTORS / "frozen" / name).read_bytes()).hexdigest()

    assert digest == FROZEN[name]


def test_every_frozen_file_is_held_to() -> None:
    assert {path.name for path in (VECTORS / "frozen").iterdir()} == set(FROZEN)


# Retry-After, signatures, exit statuses.


def seconds(value: float | str | None) -> float | None:
    return math.inf if value == "forever" else value  # type: ignore[return-value]


@pytest.mark.parametrize("case", rows("retry_after.json", "cases"))
def test_retry_after_is_read_so(case: dict[str, Any]) -> None:
    assert read_retry_after(case["retry_after"], date=case["date"]) == seconds(case["seconds"])


@pytest.mark.parametrize("case", rows("retry_after.json", "tries"))
def test_retry_after_is_obeyed_so(case: dict[str, Any]) -> None:
    asked = seconds(case["seconds"])

    waited = delay(0, retry_after=asked, draw=0.5)

    assert (waited is not None) is case["is_retried"]
    assert waited is None or waited >= (asked or 0)


@pytest.mark.parametrize("case", rows("webhooks.json", "cases"))
def test_delivery_is_taken_or_refused(case: dict[str, Any]) -> None:
    vectors = load("webhooks.json")

    def taken() -> str:
        return webhooks.unwrap(
            case["body"],
            case["headers"],
            vectors["secret"],
            now=vectors["now"],
            tolerance=vectors["tolerance_seconds"],
        ).id

    if case["is_valid"]:
        assert taken() == json.loads(case["body"])["id"]
    else:
        with pytest.raises(WebhookSignatureError):
            taken()


def test_tolerance_is_that_of_the_sdk() -> None:
    assert load("webhooks.json")["tolerance_seconds"] == webhooks.TOLERANCE_SECONDS


def test_verdicts_have_these_words_and_statuses() -> None:
    told = [
        {"verdict": str(verdict), "words": words, "exit": int(EXIT_OF_VERDICT[verdict])}
        for verdict, words in WORDS.items()
    ]

    assert told == load("words.json")["verdicts"]
    assert set(WORDS) == set(sdk.Verdict)


def test_statuses_have_these_meanings() -> None:
    told = [
        {"name": one.name.lower(), "status": int(one), "meaning": MEANINGS[one]}
        for one in sorted(MEANINGS)
    ]

    assert told == load("words.json")["exits"]
    assert {int(one) for one in Exit} == {one["status"] for one in told}


@pytest.mark.parametrize("case", rows("words.json", "together"))
def test_several_images_have_one_status(case: dict[str, Any]) -> None:
    assert together(Exit(status) for status in case["statuses"]) == case["status"]


@pytest.mark.parametrize("case", rows("words.json", "rates"))
def test_rate_counts_images_and_claims_nothing_below_three_in_n(case: dict[str, Any]) -> None:
    assert rate_in_words(case["rate"], case["n"]) == case["words"]
