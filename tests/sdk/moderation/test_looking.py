"""sdk.moderation.looking: every image gets a scan or a reason, and the server may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sdk import APIStatusError, AsyncClient, PinclipError, Scan, ScanFailed
from sdk.moderation import Looked, Media, PlatformError, RateLimited
from sdk.moderation.looking import Looker
from tests.sdk.conftest import (
    SCAN_ID,
    ManualClock,
    Origin,
    Reply,
    accepted,
    failed,
    ok,
    problem,
    scan,
    uploaded,
)

pytestmark = pytest.mark.anyio

URL = "https://example.org/picture.jpg"
CONTEXT = {"platform": "fake", "item_id": "1"}


class Waits:
    """Notes each pause instead of waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.told: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)

    def tell(self, error: PinclipError, _: float) -> None:
        self.told.append(str(error.code))


async def look(origin: Origin, *media: Media, waits: Waits | None = None) -> list[Looked]:
    waits = waits or Waits()
    async with AsyncClient(base_url=origin.url, max_retries=0, _clock=ManualClock()) as client:
        looker = Looker(client, sleep=waits.sleep, tell=waits.tell)
        return await looker.look(media, context=CONTEXT)


def results(looked: Sequence[Looked]) -> list[Scan | str]:
    return [
        each.result if isinstance(each.result, Scan) else str(each.result.code) for each in looked
    ]


async def load() -> bytes:
    return b"bytes of the picture"


async def test_url_is_asked_about_as_bulk_and_says_where_it_is_from(origin: Origin) -> None:
    origin.will(ok(scan()))

    assert results(await look(origin, Media("1/0", url=URL, load=load))) == [scan()]

    [seen] = origin.seen
    assert (seen.json["url"], seen.json["priority"]) == (URL, "bulk")
    assert seen.json["context"] == CONTEXT


async def test_bytes_are_sent_where_the_server_may_not_fetch_or_there_is_no_url(
    origin: Origin,
) -> None:
    origin.will(ok(failed("fetch_forbidden")), uploaded(), ok(scan()), uploaded(), ok(scan()))

    media = [Media("1/0", url=URL, load=load), Media("1/1", load=load)]
    for each in media:
        assert results(await look(origin, each)) == [scan()]

    uploads = [seen.body for seen in origin.seen if seen.path == "/v1/uploads"]
    assert uploads == [b"bytes of the picture"] * 2


async def test_image_that_cannot_be_judged_has_the_reason_and_the_others_their_scans(
    origin: Origin,
) -> None:
    async def breaks() -> bytes:
        raise KeyError("attachment")

    async def unreadable() -> bytes:
        raise PermissionError("no such right")

    media = [Media("1/0", load=breaks), Media("1/1"), Media("1/2", load=unreadable)]
    assert results(await look(origin, *media)) == ["platform_failed"] * 3
    assert origin.seen == []

    origin.will(ok(failed("decode_failed")))
    [bad] = await look(origin, Media("1/3", url=URL))
    assert isinstance(bad.result, ScanFailed)

    origin.will(problem("url_invalid"))
    [odd] = await look(origin, Media("1/4", url=URL))
    assert isinstance(odd.result, APIStatusError)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (problem("store_unavailable"), "store_unavailable"),
        (problem("rate_limited"), "rate_limited"),
        (Reply(404, b"<html>nginx</html>"), "unknown"),
        (Reply(200, b"<html>nginx</html>"), "response_invalid"),
        (Reply(200, b"{", is_dropped=True), "connection_failed"),
        (ok(failed("deadline_exceeded")), "deadline_exceeded"),
    ],
    ids=["down", "too fast", "a proxy", "a proxy's 200", "cut off", "too busy"],
)
async def test_server_in_trouble_is_asked_again_until_it_answers(
    origin: Origin, trouble: Reply, told: str
) -> None:
    waits = Waits()
    origin.will(trouble, trouble, ok(scan()))

    assert results(await look(origin, Media("1/0", url=URL), waits=waits)) == [scan()]

    assert waits.seconds == [1.0, 2.0]
    assert waits.told == [told] * 2


async def test_server_that_names_a_time_is_left_alone_for_as_long(origin: Origin) -> None:
    waits = Waits()
    origin.will(problem("queue_full", headers={"Retry-After": "77"}), ok(scan()))

    await look(origin, Media("1/0", url=URL), waits=waits)

    assert waits.seconds == [77.0]


async def test_scan_that_takes_long_is_waited_for_and_not_asked_for_anew(origin: Origin) -> None:
    waits = Waits()
    origin.will(accepted(), *[ok(scan("queued"))] * 70, ok(scan()))

    assert results(await look(origin, Media("1/0", url=URL), waits=waits)) == [scan()]

    assert waits.told[0] == "scan_timeout"
    assert {(seen.method, seen.path) for seen in origin.seen[1:]} == {
        ("GET", f"/v1/scans/{SCAN_ID}")
    }


async def test_platform_that_asks_for_patience_while_loading_gets_it(origin: Origin) -> None:
    waits = Waits()
    limits = [RateLimited("Slow down.", retry_after=9.0)]

    async def slow() -> bytes:
        if limits:
            raise limits.pop()
        return b"bytes"

    origin.will(uploaded(), ok(scan()))

    assert results(await look(origin, Media("1/0", load=slow), waits=waits)) == [scan()]
    assert waits.seconds == [9.0]


async def test_image_that_never_loads_ends_itself_and_holds_up_no_other(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr("sdk.moderation.looking.LOAD_SECONDS", 0.01)
    origin.will(ok(failed("fetch_forbidden")))

    media = [Media("1/0", load=hangs), Media("1/1", url=URL, load=hangs)]
    for each in media:
        [(_, result)] = await look(origin, each)
        assert isinstance(result, PlatformError)
        assert "TimeoutError" in str(result)


@pytest.mark.parametrize("junk", [None, "text", 5])
async def test_image_that_loads_as_junk_has_a_reason(origin: Origin, junk: Any) -> None:
    async def loads() -> Any:
        return junk

    [(_, result)] = await look(origin, Media("1/0", load=loads))

    assert isinstance(result, PinclipError)


@pytest.mark.parametrize("status", [401, 403])
async def test_page_of_a_proxy_is_no_refusal_of_the_key(origin: Origin, status: int) -> None:
    waits = Waits()
    origin.will(Reply(status, b"<html>Checking your browser</html>"), ok(scan()))

    assert results(await look(origin, Media("1/0", url=URL), waits=waits)) == [scan()]
    assert waits.seconds == [1.0]


async def test_refused_key_is_raised_since_no_image_fares_better(origin: Origin) -> None:
    origin.will(problem("auth_invalid"), problem("auth_invalid"))

    with pytest.raises(APIStatusError, match="did not work"):
        await look(origin, Media("1/0", url=URL), Media("1/1", url=URL))


async def test_what_took_the_place_of_a_scan_is_found_once_it_has_a_verdict(
    origin: Origin,
) -> None:
    old = scan(superseded_by="scan_2")
    async with AsyncClient(base_url=origin.url, max_retries=0) as client:
        looker = Looker(client, sleep=Waits().sleep, tell=Waits().tell)

        origin.will(ok(old), ok(scan("queued", id="scan_2")))
        assert (await looker.again(scan())).id == SCAN_ID

        origin.will(ok(old), ok(scan(id="scan_2", verdict="inconclusive")))
        assert (await looker.again(scan())).id == "scan_2"
