"""check_many of both clients: every item has its answer, and nothing is read or sent too far."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import sdk

from .conftest import ManualClock, Origin, Reply, failed, ok, problem, scan, uploaded

URLS = [f"https://example.org/{number}.jpg" for number in range(20)]


def endless() -> Iterator[str]:
    while True:
        yield "https://example.org/picture.jpg"


def test_check_many_answers_for_each_item(client: Any, origin: Origin) -> None:
    origin.will(*[ok(scan())] * 20)

    found = list(client.check_many(URLS))

    assert sorted((one.index, one.item) for one in found) == list(enumerate(URLS))
    assert all(one.result == scan() for one in found)
    assert {seen.json["priority"] for seen in origin.seen} == {"bulk"}
    assert sorted(seen.json["url"] for seen in origin.seen) == sorted(URLS)


def test_check_many_takes_nothing_as_nothing(client: Any, origin: Origin) -> None:
    assert list(client.check_many([])) == []
    assert origin.seen == []


def test_check_many_sends_what_check_would(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()))

    options = {"operating_point": "strict", "priority": "interactive", "context": {"item_id": "7"}}
    (one,) = client.check_many(URLS[:1], wait=5, fresh=True, metadata={"a": "b"}, **options)

    (post,) = origin.seen
    assert post.json == {
        "url": URLS[0],
        "operating_point": "strict",
        "context": {"item_id": "7"},
        "metadata": {"a": "b"},
    }
    assert (post.headers["prefer"], post.headers["cache-control"]) == ("wait=4", "no-cache")
    assert one.index == 0


def test_one_bad_item_ends_nothing(client: Any, origin: Origin, tmp_path: Path) -> None:
    origin.will(ok(scan()), ok(failed()), problem("url_invalid"), uploaded(), ok(scan()))
    items = [*URLS[:3], b"abc", "no address", tmp_path / "gone.jpg", None]

    found = {one.index: one.result for one in client.check_many(items, concurrency=1)}

    assert [type(found[index]) for index in range(7)] == [
        sdk.Scan,
        sdk.ScanFailed,
        sdk.BadRequestError,
        sdk.Scan,
        sdk.InputError,
        FileNotFoundError,
        sdk.InputError,
    ]


def test_server_that_has_gone_is_told_of_each_item(
    connect: Callable[..., Any], clock: ManualClock
) -> None:
    client = connect(base_url="http://127.0.0.1:1")

    found = list(client.check_many(URLS[:3]))

    assert [type(one.result) for one in found] == [sdk.APIConnectionError] * 3
    assert len(clock.slept) == 6


def test_refused_key_is_told_of_each_item_and_not_shown_again(client: Any, origin: Origin) -> None:
    origin.will(ok(scan()), problem("key_revoked"))

    found = [one.result for one in client.check_many(URLS, concurrency=1)]

    assert isinstance(found[0], sdk.Scan)
    assert {type(result) for result in found[1:]} == {sdk.AuthenticationError}
    assert len(found) == 20
    assert len(origin.seen) == 2


def test_input_is_read_no_further_than_there_is_room(client: Any, origin: Origin) -> None:
    origin.will(*[ok(scan())] * 30)
    read: list[int] = []

    def items() -> Iterator[str]:
        for number, url in enumerate(endless()):
            read.append(number)
            yield url

    answers = client.check_many(items(), concurrency=3)
    for given, _ in zip(range(1, 11), answers, strict=False):
        assert len(read) <= given + 3
    answers.close()


@pytest.mark.parametrize("refusal", ["rate_limited", "queue_full"])
def test_item_waits_where_the_server_asks_to_come_later(
    client: Any, origin: Origin, clock: ManualClock, refusal: str
) -> None:
    later = problem(refusal, headers={"Retry-After": "100"})
    origin.will(*[later] * 10, ok(scan()))

    (one,) = client.check_many(URLS[:1], wait=5)

    assert one.result == scan()
    assert len(clock.slept) == 10
    assert all(100 <= slept <= 150 for slept in clock.slept)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(problem("rate_limited", headers={"Retry-After": "121"}), id="too long"),
        pytest.param(problem("abnormal_usage", headers={"Retry-After": "9"}), id="other reason"),
    ],
)
def test_item_is_given_up_where_patience_does_not_help(
    client: Any, origin: Origin, reply: Reply
) -> None:
    origin.will(reply)

    (one,) = client.check_many(URLS[:1], wait=5)

    assert isinstance(one.result, sdk.RateLimitError)
    assert len(origin.seen) == 1


def test_bytes_that_the_caller_can_get_are_sent_where_the_server_may_not_fetch(
    client: Any, origin: Origin
) -> None:
    origin.will(ok(failed()), uploaded(), ok(scan()))

    (one,) = client.check_many(URLS[:1], bytes_of=lambda url: url.encode())

    assert one.result == scan()
    assert origin.seen[1].body == URLS[0].encode()


def test_closed_iterator_begins_nothing_more(client: Any, origin: Origin) -> None:
    origin.will(*[ok(scan())] * 10)
    answers = client.check_many(endless(), concurrency=2)
    next(iter(answers))

    answers.close()
    begun = len(origin.seen)
    origin.will(*[ok(scan())] * 10)

    assert begun <= 4
    assert client.check(URLS[0]) == scan()  # the client goes on
    assert len(origin.seen) <= begun + 3


def test_error_of_the_input_itself_reaches_the_caller(client: Any, origin: Origin) -> None:
    origin.will(*[ok(scan())] * 2)

    def items() -> Iterator[str]:
        yield URLS[0]
        raise LookupError("the list is broken")

    with pytest.raises(LookupError, match="the list is broken"):
        list(client.check_many(items()))


def test_client_that_is_closed_is_a_fault_of_the_program(client: Any) -> None:
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        list(client.check_many(URLS))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"concurrency": 0}, "concurrency"), ({"operating_point": "fair"}, "fair")],
)
def test_arguments_that_cannot_be_are_refused_at_once(
    client: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(sdk.InputError, match=said):
        client.check_many(URLS, **options)


def test_waiting_client_takes_items_as_they_come(origin: Origin) -> None:
    origin.will(*[ok(scan())] * 3)

    async def run() -> list[int]:
        answered = asyncio.Event()

        async def items() -> AsyncIterator[str]:
            yield URLS[0]
            await answered.wait()  # for the first answer: it is not held back for a second item
            yield URLS[1]

        async with sdk.AsyncClient(base_url=origin.url) as client:
            found = []
            async for one in client.check_many(items(), concurrency=4):
                found.append(one.index)
                answered.set()
            return found

    assert asyncio.run(run()) == [0, 1]


def test_waiting_client_that_leaves_early_cancels_what_is_under_way(origin: Origin) -> None:
    origin.will(ok(scan()))  # and the other three are left waiting

    async def run() -> int:
        async with sdk.AsyncClient(base_url=origin.url) as client:
            async with aclosing(client.check_many(endless(), concurrency=4)) as answers:
                await anext(answers)
            return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("fault", [SystemExit(3), asyncio.CancelledError()])
def test_exit_of_the_callers_function_ends_the_loop_and_hangs_nothing(
    client: Any, origin: Origin, fault: BaseException
) -> None:
    def bytes_of(_url: str) -> bytes:
        raise fault

    origin.will(ok(failed()))

    with pytest.raises(type(fault)):
        list(client.check_many(URLS[:1], bytes_of=bytes_of))


def test_one_image_is_not_taken_for_many(client: Any, origin: Origin) -> None:
    for image in (URLS[0], b"abc"):
        with pytest.raises(sdk.InputError, match="one"):
            client.check_many(image)

    assert origin.seen == []


def test_nothing_waits_for_the_connection_of_another(client: Any, origin: Origin) -> None:
    many = 120  # more than an HTTP client opens of itself
    urls = [f"https://example.org/{number}.jpg" for number in range(many)]
    together = threading.Barrier(many + 1)
    origin.will(*[ok(scan())] * many)
    origin.gate = together

    answers = client.check_many(urls, concurrency=many)
    releaser = threading.Thread(target=together.wait, args=(20,))
    releaser.start()
    found = list(answers)
    releaser.join()

    assert all(one.result == scan() for one in found)
