"""client.scans, .batches, .appeals, .feedback, .webhooks, .models, look-ups: sent and returned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import sdk
from sdk import wire

from .conftest import SCAN_ID, ManualClock, Origin, Reply, accepted, ok, problem, scan

AT = "2026-11-01T00:00:00Z"
NDJSON = {"Content-Type": "application/x-ndjson"}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
HEX = hashlib.sha256(b"abc").hexdigest()

APPEAL = wire.Appeal(
    id="apl_1", scan_id=SCAN_ID, state=wire.AppealState.OPEN, reason="drawn", created_at=AT
)
FEEDBACK = wire.Feedback(
    id="fbk_1",
    scan_id=SCAN_ID,
    label=wire.FeedbackLabel.NOT_AI,
    comment="drawn",
    verdict=wire.Verdict.LIKELY_AI,
    created_at=AT,
)
ENDPOINT = wire.Endpoint(
    id="whk_1",
    url="https://example.org/hook",
    events=(),
    description="",
    state=wire.EndpointState.ENABLED,
    created_at=AT,
)
DELIVERY = wire.Delivery(
    id="dlv_1",
    event_id="evt_1",
    event_type=wire.EventType.PING,
    endpoint_id="whk_1",
    state=wire.DeliveryState.PENDING,
    attempts=0,
    created_at=AT,
)
MODEL = wire.ModelInfo(
    id="b16@2.1",
    weights_sha256="00",
    calibration_id="cal_1",
    engine="torch",
    precision="float32",
    workers=1,
)
KEY = wire.KeyFacts(id="key_1", owner="acme", scopes=(wire.Scope.SCAN,))
SECRET = wire.CallbackSecret(secret="whsec_1")
RECEIPT = wire.Receipt(payload="{}", signature="x", public_key="y")


def batch(status: str = "completed", **counts: int) -> wire.Batch:
    none = dict.fromkeys(("waiting", "completed", "failed", "canceled", "refused"), 0)
    return wire.Batch(
        id="batch_1",
        status=wire.BatchStatus(status),
        counts=wire.BatchCounts(**{"total": 2, **none, **counts}),
        created_at=AT,
    )


class Verb(NamedTuple):
    """How a verb is called, what it should send, and what it should return."""

    ask: Callable[[Any], Any]
    request: str
    answer: Any
    body: Any = None
    returned: Any = ...
    status: int = 200


VERBS = {
    "scans.get": Verb(lambda c: c.scans.get(SCAN_ID), f"GET /v1/scans/{SCAN_ID}", scan()),
    "scans.cancel": Verb(
        lambda c: c.scans.cancel(scan("queued")),
        f"POST /v1/scans/{SCAN_ID}/cancel",
        scan("canceled"),
    ),
    "scans.delete": Verb(
        lambda c: c.scans.delete(SCAN_ID), f"DELETE /v1/scans/{SCAN_ID}", None, status=204
    ),
    "scans.rescore": Verb(
        lambda c: c.scans.rescore(scan()),
        f"POST /v1/scans/{SCAN_ID}/rescore",
        scan("queued"),
        status=202,
    ),
    "scans.receipt": Verb(
        lambda c: c.scans.receipt(SCAN_ID), f"GET /v1/scans/{SCAN_ID}/receipt", RECEIPT
    ),
    "batches.create": Verb(
        lambda c: c.batches.create(
            [
                "https://example.org/a.jpg",
                sdk.ScanRequest(url="https://example.org/b.jpg", context={"item_id": "7"}),
            ],
            operating_point="strict",
            callback_url="https://example.org/hook",
            metadata={"run": "1"},
        ),
        "POST /v1/batches",
        batch("running"),
        {
            "scans": [
                {
                    "url": "https://example.org/a.jpg",
                    "operating_point": "strict",
                    "priority": "bulk",
                },
                {"url": "https://example.org/b.jpg", "context": {"item_id": "7"}},
            ],
            "callback_url": "https://example.org/hook",
            "metadata": {"run": "1"},
        },
        status=202,
    ),
    "batches.get": Verb(lambda c: c.batches.get("batch_1"), "GET /v1/batches/batch_1", batch()),
    "batches.cancel": Verb(
        lambda c: c.batches.cancel(batch()), "POST /v1/batches/batch_1/cancel", batch()
    ),
    "appeals.create": Verb(
        lambda c: c.appeals.create(scan(), reason="drawn", evidence_url="https://example.org/e"),
        f"POST /v1/scans/{SCAN_ID}/appeals",
        APPEAL,
        {"reason": "drawn", "evidence_url": "https://example.org/e"},
        status=201,
    ),
    "appeals.get": Verb(lambda c: c.appeals.get("apl_1"), "GET /v1/appeals/apl_1", APPEAL),
    "appeals.decide": Verb(
        lambda c: c.appeals.decide(APPEAL, "overturn", note="seen"),
        "POST /v1/appeals/apl_1/decision",
        APPEAL,
        {"decision": "overturn", "note": "seen"},
    ),
    "feedback.create": Verb(
        lambda c: c.feedback.create(scan(), "not_ai", comment="drawn"),
        f"POST /v1/scans/{SCAN_ID}/feedback",
        FEEDBACK,
        {"label": "not_ai", "comment": "drawn"},
        status=201,
    ),
    "feedback.create without a comment": Verb(
        lambda c: c.feedback.create(SCAN_ID, wire.FeedbackLabel.AI),
        f"POST /v1/scans/{SCAN_ID}/feedback",
        FEEDBACK,
        {"label": "ai"},
        status=201,
    ),
    "webhooks.create": Verb(
        lambda c: c.webhooks.create("https://example.org/hook", events=["ping"]),
        "POST /v1/webhooks",
        ENDPOINT,
        {"url": "https://example.org/hook", "events": ["ping"]},
        status=201,
    ),
    "webhooks.get": Verb(lambda c: c.webhooks.get("whk_1"), "GET /v1/webhooks/whk_1", ENDPOINT),
    "webhooks.list": Verb(
        lambda c: c.webhooks.list(),
        "GET /v1/webhooks",
        wire.EndpointList(data=(ENDPOINT,)),
        returned=(ENDPOINT,),
    ),
    "webhooks.update": Verb(
        lambda c: c.webhooks.update(ENDPOINT, description="", events=[], state="enabled"),
        "PATCH /v1/webhooks/whk_1",
        ENDPOINT,
        {"description": "", "events": [], "state": "enabled"},
    ),
    "webhooks.delete": Verb(
        lambda c: c.webhooks.delete(ENDPOINT), "DELETE /v1/webhooks/whk_1", None, status=204
    ),
    "webhooks.rotate": Verb(
        lambda c: c.webhooks.rotate("whk_1"), "POST /v1/webhooks/whk_1/rotate", ENDPOINT
    ),
    "webhooks.test": Verb(
        lambda c: c.webhooks.test("whk_1"), "POST /v1/webhooks/whk_1/test", DELIVERY, status=202
    ),
    "webhooks.replay a delivery": Verb(
        lambda c: c.webhooks.replay("whk_1", delivery=DELIVERY),
        "POST /v1/webhooks/whk_1/deliveries/dlv_1/replay",
        DELIVERY,
        status=202,
    ),
    "webhooks.replay an event": Verb(
        lambda c: c.webhooks.replay("whk_1", event_id="evt_1"),
        "POST /v1/webhooks/whk_1/events/evt_1/replay",
        DELIVERY,
        status=202,
    ),
    "webhooks.callback_secret": Verb(
        lambda c: c.webhooks.callback_secret(), "GET /v1/webhooks/callback-secret", SECRET
    ),
    "webhooks.rotate_callback_secret": Verb(
        lambda c: c.webhooks.rotate_callback_secret(),
        "POST /v1/webhooks/callback-secret/rotate",
        SECRET,
    ),
    "models.list": Verb(
        lambda c: c.models.list(),
        "GET /v1/models",
        wire.ModelList(data=(MODEL,)),
        returned=(MODEL,),
    ),
    "models.get": Verb(lambda c: c.models.get("b16@2.1"), "GET /v1/models/b16%402.1", MODEL),
    "models.gate_report": Verb(
        lambda c: c.models.gate_report("b16"), "GET /v1/models/b16/gate-report", {"passed": True}
    ),
    "key": Verb(lambda c: c.key(), "GET /v1/key", KEY),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_verb_sends_one_request_and_returns_what_is_answered(
    client: Any, origin: Origin, verb: Verb
) -> None:
    origin.will(Reply(204) if verb.status == 204 else ok(verb.answer, verb.status))

    found = verb.ask(client)

    (seen,) = origin.seen
    assert f"{seen.method} {seen.path}" == verb.request
    assert (seen.json if seen.body else None) == verb.body
    assert ("idempotency-key" in seen.headers) == (seen.method == "POST")
    assert found == (verb.answer if verb.returned is ... else verb.returned)


@pytest.mark.parametrize(
    "ask",
    [
        lambda c, key: c.submit("https://example.org/a.jpg", idempotency_key=key),
        lambda c, key: c.check("https://example.org/a.jpg", idempotency_key=key),
        lambda c, key: c.scans.rescore(SCAN_ID, idempotency_key=key),
    ],
    ids=["submit", "check", "rescore"],
)
def test_key_of_the_callers_own_is_sent_quoted(
    client: Any, origin: Origin, ask: Callable[[Any, str], Any]
) -> None:
    origin.will(problem("internal"), ok(scan()))

    ask(client, 'post "7"')

    assert [seen.headers["idempotency-key"] for seen in origin.seen] == [r'"post \"7\""'] * 2


@pytest.mark.parametrize("key", ["", "é", "a\nb", "x" * 256])
def test_key_that_cannot_be_sent_is_refused_here(client: Any, origin: Origin, key: str) -> None:
    with pytest.raises(sdk.InputError, match="idempotency_key"):
        client.submit("https://example.org/a.jpg", idempotency_key=key)

    assert origin.seen == []


def test_key_for_bytes_is_refused_since_each_upload_is_another(client: Any) -> None:
    with pytest.raises(sdk.InputError, match="another upload"):
        client.submit(b"abc", idempotency_key="7")


REFUSED: dict[str, Callable[[Any], Any]] = {
    "a text as a batch": lambda c: c.batches.create("https://example.org/a.jpg"),
    "no item": lambda c: c.batches.create([]),
    "too many items": lambda c: c.batches.create(["https://example.org/a.jpg"] * 1001),
    "a path in a batch": lambda c: c.batches.create([Path("a.jpg")]),
    "no batch's id": lambda c: c.batches.get("../scans"),
    "no appeal's id": lambda c: c.appeals.get(""),
    "no endpoint's id": lambda c: c.webhooks.get("a/b"),
    "no model's id": lambda c: c.models.get(".."),
    "no decision": lambda c: c.appeals.decide("apl_1", "perhaps"),
    "no label": lambda c: c.feedback.create(SCAN_ID, "real"),
    "no event": lambda c: c.webhooks.create("https://example.org/hook", events=["of.tomorrow"]),
    "a text as events": lambda c: c.webhooks.create("https://example.org/hook", events="ping"),
    "no state": lambda c: c.webhooks.update("whk_1", state="asleep"),
    "nothing to replay": lambda c: c.webhooks.replay("whk_1"),
    "two things to replay": lambda c: c.webhooks.replay("whk_1", delivery="d", event_id="e"),
    "a URL to look up": lambda c: c.lookup("https://example.org/a.jpg?token=hush"),
    "a number to look up": lambda c: c.lookup(7),
    "a time without a zone": lambda c: c.scans.list(created_after=datetime(2026, 1, 1)),
    "a number as context": lambda c: c.check("https://example.org/a.jpg", context={"item": 7}),
    "a number as metadata": lambda c: c.batches.create(["https://x.org"], metadata={1: "a"}),
}


@pytest.mark.parametrize("ask", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_here(
    client: Any, origin: Origin, ask: Callable[[Any], Any]
) -> None:
    with pytest.raises(sdk.InputError) as caught:
        ask(client)

    assert caught.value.hint
    assert "hush" not in str(caught.value)
    assert origin.seen == []


def page(*scans: sdk.Scan, cursor: str | None = None) -> Reply:
    return ok(wire.ScanList(data=scans, has_more=cursor is not None, next_cursor=cursor))


def test_list_goes_from_page_to_page(client: Any, origin: Origin) -> None:
    first, second = scan(), scan("queued")
    origin.will(page(first, cursor="a b"), page(cursor="c"), page(second))

    assert list(client.scans.list()) == [first, second]
    assert [seen.path.partition("?")[2] for seen in origin.seen] == [
        "limit=100",
        "cursor=a+b&limit=100",
        "cursor=c&limit=100",
    ]


def test_list_sends_filters_and_reads_no_page_too_many(client: Any, origin: Origin) -> None:
    origin.will(page(scan(), cursor="c"))
    since = datetime(2026, 11, 1, tzinfo=UTC)

    found = client.scans.list(verdict="likely_ai", created_after=since, page_size=1)

    assert next(iter(found)) == scan()
    (seen,) = origin.seen
    assert seen.path == (
        "/v1/scans?verdict=likely_ai&created_after=2026-11-01T00%3A00%3A00%2B00%3A00&limit=1"
    )


def test_list_can_be_read_by_whole_pages(client: Any, origin: Origin) -> None:
    origin.will(page(scan(), scan(), cursor="c"), page(scan()))

    assert [len(one.data) for one in client.scans.list().pages()] == [2, 1]


def test_list_that_leads_to_itself_is_an_error(client: Any, origin: Origin) -> None:
    origin.will(page(cursor="c"), page(cursor="c"))

    with pytest.raises(sdk.APIResponseValidationError, match="follows itself"):
        list(client.scans.list())


@pytest.mark.parametrize(
    ("ask", "answer", "path"),
    [
        (
            lambda c: c.appeals.list(page_size=5),
            wire.AppealList(data=(APPEAL,), has_more=False),
            "/v1/appeals?limit=5",
        ),
        (
            lambda c: c.feedback.list(page_size=5),
            wire.FeedbackList(data=(FEEDBACK,), has_more=False),
            "/v1/feedback?limit=5",
        ),
        (
            lambda c: c.feedback.list(scan(), page_size=5),
            wire.FeedbackList(data=(FEEDBACK,), has_more=False),
            f"/v1/scans/{SCAN_ID}/feedback?limit=5",
        ),
        (
            lambda c: c.webhooks.deliveries(ENDPOINT, page_size=5),
            wire.DeliveryList(data=(DELIVERY,), has_more=False),
            "/v1/webhooks/whk_1/deliveries?limit=5",
        ),
    ],
    ids=["appeals", "feedback", "feedback of a scan", "deliveries"],
)
def test_other_lists_are_read_alike(
    client: Any, origin: Origin, ask: Callable[[Any], Any], answer: Any, path: str
) -> None:
    origin.will(ok(answer))

    assert list(ask(client)) == list(answer.data)
    assert origin.seen[0].path == path


def events(*states: str, more: str = "") -> Reply:
    """Return what a server sends of a scan in these states, the first one at sequence 1."""
    lines = [
        f"id: {number}\nevent: scan\nretry: 3000\ndata: "
        f"{msgspec.json.encode(scan(state, sequence=number)).decode()}\n\n"
        for number, state in enumerate(states, 1)
    ]
    return Reply(200, (": still here\n\n" + "".join(lines) + more).encode(), SSE)


def test_events_are_the_states_up_to_the_final_one(client: Any, origin: Origin) -> None:
    origin.will(events("queued", "scoring", "completed", "queued"))

    assert [one.status for one in client.scans.events(SCAN_ID)] == [
        "queued",
        "scoring",
        "completed",
    ]
    (seen,) = origin.seen
    assert (seen.path, seen.headers["accept"]) == (
        f"/v1/scans/{SCAN_ID}/events",
        "text/event-stream",
    )
    assert "last-event-id" not in seen.headers


def test_events_go_on_where_they_broke_off(client: Any, origin: Origin, clock: ManualClock) -> None:
    origin.will(
        events("queued", "scoring", more="data: {")._replace(is_dropped=True),
        events(),
        events("completed"),
    )

    assert [one.status for one in client.scans.events(scan("queued"))] == [
        "queued",
        "scoring",
        "completed",
    ]
    assert [seen.headers.get("last-event-id") for seen in origin.seen] == [None, "2", "2"]
    assert clock.slept == [3.0, 3.0]


def test_events_end_where_there_are_no_more(client: Any, origin: Origin) -> None:
    origin.will(events("queued"), Reply(204))

    assert [one.status for one in client.scans.events(SCAN_ID)] == ["queued"]


def test_events_that_never_come_are_an_error(client: Any, origin: Origin) -> None:
    origin.will(*[Reply(200, b"", SSE)] * 3)

    with pytest.raises(sdk.APIConnectionError, match="3 times") as caught:
        list(client.scans.events(SCAN_ID))

    assert "client.wait" in caught.value.hint


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(problem("not_found"), sdk.NotFoundError, id="no such scan"),
        pytest.param(
            Reply(200, b"<html>", {"Content-Type": "text/html"}),
            sdk.APIResponseValidationError,
            id="page of a proxy",
        ),
        pytest.param(
            Reply(200, b"data: {\n\n", SSE), sdk.APIResponseValidationError, id="half a scan"
        ),
    ],
)
def test_events_that_are_none_are_the_error_of_any_call(
    client: Any, origin: Origin, reply: Reply, kind: type[sdk.APIError]
) -> None:
    origin.will(reply)

    with pytest.raises(kind):
        list(client.scans.events(SCAN_ID))


def test_events_are_asked_for_again_as_any_call_is(client: Any, origin: Origin) -> None:
    origin.will(problem("store_unavailable"), events("completed"))

    assert [one.status for one in client.scans.events(SCAN_ID)] == ["completed"]


def results(*indexes: int, detail: str = "ok") -> bytes:
    lines = [
        wire.BatchResult(index=index, scan=scan(metadata={"note": detail})) for index in indexes
    ]
    return msgspec.json.Encoder().encode_lines(lines)


def test_results_are_read_line_by_line(client: Any, origin: Origin) -> None:
    # Letters that Python takes for the end of a line, and JSON does not.
    odd = "a\u2028b\u0085c\u000b"
    refused = msgspec.json.decode(problem("url_invalid").body)
    line = msgspec.json.encode({"index": 1, "problem": refused})
    origin.will(Reply(200, results(0, detail=odd) + line + b"\r\n\n" + results(2), NDJSON))

    first, second, third = client.batches.results(batch())

    assert first.scan.metadata["note"] == odd
    assert (second.scan, second.problem.code) == (None, sdk.ProblemCode.URL_INVALID)
    assert third.index == 2


def test_results_that_break_off_are_read_anew_and_given_once(client: Any, origin: Origin) -> None:
    whole = results(0, 1, 2)
    origin.will(Reply(200, whole[:-20], NDJSON, is_dropped=True), Reply(200, whole, NDJSON))

    assert [one.index for one in client.batches.results("batch_1")] == [0, 1, 2]


def test_results_that_always_break_off_are_an_error(client: Any, origin: Origin) -> None:
    origin.will(*[Reply(200, results(0), NDJSON, is_dropped=True)] * 3)
    found = iter(client.batches.results("batch_1"))

    assert next(found).index == 0
    with pytest.raises(sdk.APIConnectionError):
        next(found)


def test_line_that_is_no_result_is_an_error(client: Any, origin: Origin) -> None:
    origin.will(Reply(200, results(0) + b"{\n", NDJSON))

    with pytest.raises(sdk.APIResponseValidationError, match="line of the batch"):
        list(client.batches.results("batch_1"))


def test_wait_for_a_batch_looks_until_it_is_complete(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    origin.will(*[ok(batch("running", waiting=2))] * 2, ok(batch()))

    assert client.batches.wait(batch("running")).status is sdk.BatchStatus.COMPLETED
    assert clock.slept == [2.0, 2.0]


def test_wait_for_a_batch_gives_up_and_can_be_resumed(client: Any, origin: Origin) -> None:
    origin.will(*[ok(batch("running", waiting=2))] * 3)

    with pytest.raises(sdk.BatchTimeout, match="2 of 2 scans that wait after 3 s") as caught:
        client.batches.wait("batch_1", timeout=3)

    origin.will(ok(batch()))
    assert client.batches.wait(caught.value.batch) == batch()


def known(*digests: str) -> tuple[wire.Lookup, ...]:
    return tuple(wire.Lookup(sha256=one, verdict=wire.Verdict.LIKELY_AI) for one in digests)


@pytest.mark.parametrize("kind", ["bytes", "file", "hex", "HEX"])
def test_lookup_sends_the_digest_alone(
    client: Any, origin: Origin, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"abc")
    image = {"bytes": b"abc", "file": file, "hex": HEX, "HEX": HEX.upper()}[kind]
    origin.will(ok(wire.LookupList(data=known(HEX))))

    found = client.lookup(image, operating_point="strict")

    assert found.verdict is sdk.Verdict.LIKELY_AI
    (seen,) = origin.seen
    assert (seen.path, seen.json) == (
        "/v1/lookups",
        {"sha256": [HEX], "operating_point": "strict"},
    )


def test_private_lookup_tells_five_digits(client: Any, origin: Origin) -> None:
    near = HEX[:5] + "0" * 59
    origin.will(*[ok(wire.HashRange(prefix=HEX[:5], data=known(near, HEX)))] * 2)

    assert client.lookup(b"abc", private=True) == known(HEX)[0]
    assert client.lookup(HEX[:5] + "1" * 59, private=True).verdict is None
    assert {seen.path for seen in origin.seen} == {
        f"/v1/lookups/range/{HEX[:5]}?operating_point=balanced"
    }
    assert all(seen.body == b"" for seen in origin.seen)


def test_lookup_many_asks_for_a_hundred_at_a_time(client: Any, origin: Origin) -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(201)]
    for start in (0, 100, 200):
        origin.will(ok(wire.LookupList(data=known(*digests[start : start + 100]))))

    found = client.lookup_many(digests)

    assert [one.sha256 for one in found] == digests
    assert [len(seen.json["sha256"]) for seen in origin.seen] == [100, 100, 1]


def test_lookup_many_of_nothing_asks_nothing(client: Any, origin: Origin) -> None:
    assert client.lookup_many([]) == ()
    assert origin.seen == []


def test_submit_names_where_to_tell_the_end(client: Any, origin: Origin) -> None:
    origin.will(accepted())

    client.submit(
        "https://example.org/a.jpg",
        callback_url="https://example.org/hook",
        context={"platform": "forum", "item_id": "7"},
        metadata={"a": "b"},
        fresh=True,
    )

    (seen,) = origin.seen
    assert seen.json == {
        "url": "https://example.org/a.jpg",
        "callback_url": "https://example.org/hook",
        "context": {"platform": "forum", "item_id": "7"},
        "metadata": {"a": "b"},
    }
    assert seen.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("event_id", ["é", "a\x01b", "a b", "1" * 300])
def test_events_go_on_after_an_id_that_no_header_can_hold(
    client: Any, origin: Origin, event_id: str
) -> None:
    broken = events("queued")
    broken = broken._replace(body=broken.body.replace(b"id: 1\n", f"id: {event_id}\n".encode()))
    origin.will(broken, events("completed"))

    assert [one.status for one in client.scans.events(SCAN_ID)] == ["queued", "completed"]
    assert all("last-event-id" not in seen.headers for seen in origin.seen)


def test_events_wait_no_longer_than_a_minute(
    client: Any, origin: Origin, clock: ManualClock
) -> None:
    patient = events("queued")
    origin.will(
        patient._replace(body=patient.body.replace(b"retry: 3000", b"retry: 999999999")),
        events("completed"),
    )

    assert len(list(client.scans.events(SCAN_ID))) == 2
    assert clock.slept == [60.0]
