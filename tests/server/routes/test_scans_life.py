"""/v1/scans after they are made, on fakes: listed, canceled, erased, scored again, by digest."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from sdk.wire import Scope
from server import ids
from server.refused import Refused
from server.routes.scans import matches
from server.rules import listing, scans
from server.rules.caller import Caller
from server.rules.desk import Desk
from tests.server.conftest import Api
from tests.server.scenes import BEAT, URL, completed

pytestmark = pytest.mark.anyio

JUDGE = "judge-1"
SHA256 = "ab" * 32


async def _submitted(api: Api, **body: object) -> dict[str, Any]:
    answer = await api.client.post("/v1/scans", json=body or {"url": URL})
    assert answer.status_code == 202, answer.text
    scan: dict[str, Any] = answer.json()
    return scan


async def _completed(api: Api, **body: object) -> dict[str, Any]:
    scan = await _submitted(api, **body)
    await api.records.close([replace(completed(scan["id"]), judge=JUDGE)])
    api.board.waiting.clear()
    api.clock.advance(2)  # what was seen of Redis is looked at anew
    return scan


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_list_is_newest_first_and_paged(api: Api) -> None:
    made = []
    for _ in range(5):
        made.append((await _completed(api))["id"])

    pages, cursor = [], ""
    while True:
        page = (await api.client.get(f"/v1/scans?limit=2{cursor}")).json()
        pages.append([scan["id"] for scan in page["data"]])
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == made[::-1]
    assert page["next_cursor"] is None


async def test_list_gives_back_what_the_caller_added(api: Api) -> None:
    await _submitted(api, url=URL, context={"platform": "forum"}, metadata={"post": "7"})

    answer = await api.client.get("/v1/scans")

    (scan,) = answer.json()["data"]
    assert (scan["context"], scan["metadata"]) == ({"platform": "forum"}, {"post": "7"})
    assert answer.headers["cache-control"] == "private, no-store"


async def test_list_filters_by_all_that_it_says(api: Api) -> None:
    begun = ids.rfc3339(api.clock.now())
    done = await _completed(api)
    between = ids.rfc3339(api.clock.now())
    waiting = await _submitted(api)

    async def found(**query: str) -> list[str]:
        answer = await api.client.get("/v1/scans", params=query)
        assert answer.status_code == 200, answer.text
        return [scan["id"] for scan in answer.json()["data"]]

    assert await found(status="completed") == [done["id"]]
    assert await found(status="queued") == [waiting["id"]]
    assert await found(verdict="likely_ai") == [done["id"]]
    assert await found(verdict="declared_ai") == []
    assert await found(sha256=SHA256.upper()) == [done["id"]]
    assert await found(batch_id=ids.new("batch", 0)) == []
    assert await found(created_after=between) == [waiting["id"]]
    assert await found(created_before=between) == [done["id"]]
    assert await found(created_after=begun, created_before=between) == [done["id"]]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=many",
        "status=fetching",
        "verdict=real",
        "sha256=abc",
        "batch_id=7",
        "created_after=yesterday",
        "created_before=2026-01-01T00:00:00",
        "status=queued&status=failed",
        "page=2",
    ],
)
async def test_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.client.get(f"/v1/scans?{query}")

    assert _refusal(answer) == (400, "invalid_parameter")
    (fault,) = answer.json()["errors"]
    name = query.partition("=")[0]
    assert fault["pointer"] == f"/{name}"
    assert name in fault["detail"]


async def test_list_tells_all_that_is_wrong_at_once(api: Api) -> None:
    answer = await api.client.get("/v1/scans?limit=0&page=2&status=gone")

    faults = answer.json()["errors"]
    assert {fault["pointer"] for fault in faults} == {"/limit", "/page", "/status"}


async def test_cursor_goes_with_its_filters(api: Api) -> None:
    for _ in range(2):
        await _completed(api)
    first = (await api.client.get("/v1/scans?limit=1&status=completed")).json()

    other = await api.client.get("/v1/scans", params={"cursor": first["next_cursor"]})

    assert _refusal(other) == (400, "cursor_invalid")
    same = {"cursor": first["next_cursor"], "status": "completed"}
    assert (await api.client.get("/v1/scans", params=same)).status_code == 200


@pytest.mark.parametrize("cursor", ["", "x", "WyJhIiwiYiJd", "%00", "é"])
async def test_what_is_no_cursor_is_refused(api: Api, cursor: str) -> None:
    answer = await api.client.get("/v1/scans", params={"cursor": cursor})

    assert _refusal(answer) == (400, "cursor_invalid")


async def test_canceled_scan_stays_so_whatever_a_worker_says(api: Api) -> None:
    scan = await _submitted(api)

    answer = await api.client.post(f"/v1/scans/{scan['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    assert answer.json()["error"]["code"] == "canceled"
    assert answer.json()["verdict"] is None
    assert await api.records.close([completed(scan["id"])]) == {}
    assert (await api.client.get(f"/v1/scans/{scan['id']}")).json() == answer.json()


async def test_canceled_scan_is_counted_once_as_an_end_like_others(api: Api) -> None:
    scan = await _submitted(api)
    api.clock.advance(3)

    for _ in range(2):
        await api.client.post(f"/v1/scans/{scan['id']}/cancel")

    counted = (await api.client.get("/metrics")).text.splitlines()
    assert 'pinclip_scans_total{operating_point="none",verdict="none"} 1.0' in counted
    assert 'pinclip_scan_errors_total{code="canceled"} 1.0' in counted
    assert 'pinclip_scan_duration_seconds_sum{stage="total"} 3.0' in counted


async def test_final_scan_cannot_be_canceled(api: Api) -> None:
    scan = await _completed(api)

    answer = await api.client.post(f"/v1/scans/{scan['id']}/cancel")

    assert _refusal(answer) == (409, "state_conflict")
    assert "completed" in answer.json()["detail"]


async def test_erased_scan_is_gone_for_good(api: Api) -> None:
    scan = await _completed(api)

    answer = await api.client.delete(f"/v1/scans/{scan['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    for again in (
        await api.client.get(f"/v1/scans/{scan['id']}"),
        await api.client.delete(f"/v1/scans/{scan['id']}"),
        await api.client.post(f"/v1/scans/{scan['id']}/cancel"),
        await api.client.post(f"/v1/scans/{scan['id']}/rescore"),
        await api.client.get(f"/v1/scans/{scan['id']}/events"),
    ):
        assert _refusal(again) == (410, "expired")
    assert (await api.client.get("/v1/scans")).json()["data"] == []


async def test_erasing_forgets_the_upload_that_no_other_scan_needs(api: Api) -> None:
    upload = (await api.client.post("/v1/uploads", files={"file": ("a.png", b"abc")})).json()
    first = await _submitted(api, upload_id=upload["id"])
    second = await _submitted(api, upload_id=upload["id"])

    await api.client.delete(f"/v1/scans/{first['id']}")
    assert await api.spool.kept() == [upload["id"]]

    await api.client.delete(f"/v1/scans/{second['id']}")
    assert await api.spool.kept() == []


@pytest.mark.parametrize("scan_id", ["scan_01KX3Q8RZ07M2V9C4H8T1B6N5D", "scan_1", "..%2Fx"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/cancel"), ("POST", "/rescore"), ("DELETE", ""), ("GET", "/events")],
)
async def test_what_there_is_not_is_not_found(
    api: Api, scan_id: str, method: str, path: str
) -> None:
    answer = await api.client.request(method, f"/v1/scans/{scan_id}{path}")

    assert _refusal(answer) == (404, "not_found")


async def test_rescored_scan_names_the_one_before_and_is_named_by_it(api: Api) -> None:
    api.board.workers[:] = [replace(BEAT, judge=JUDGE)]
    old = await _completed(api, url=URL, operating_point="strict", metadata={"post": "7"})

    answer = await api.client.post(f"/v1/scans/{old['id']}/rescore")

    assert answer.status_code == 202  # and not a verdict that is known
    new = answer.json()
    assert answer.headers["location"] == f"/v1/scans/{new['id']}"
    assert (new["rescore_of"], new["metadata"]) == (old["id"], {"post": "7"})
    (entry,) = api.board.waiting
    assert (entry.scan_id, entry.url, entry.operating_point) == (new["id"], URL, "strict")
    assert (await api.client.get(f"/v1/scans/{old['id']}")).json()["superseded_by"] is None
    await api.records.close([completed(new["id"])])
    assert (await api.client.get(f"/v1/scans/{old['id']}")).json()["superseded_by"] == new["id"]


async def test_rescore_needs_a_final_scan_whose_bytes_can_be_had(api: Api) -> None:
    waiting = await _submitted(api)
    upload = (await api.client.post("/v1/uploads", files={"file": ("a.png", b"abc")})).json()
    gone = await _completed(api, upload_id=upload["id"])
    await api.spool.forget([upload["id"]])

    for scan in (waiting, gone):
        answer = await api.client.post(f"/v1/scans/{scan['id']}/rescore")
        assert _refusal(answer) == (409, "state_conflict")


async def test_digest_of_known_bytes_is_answered_at_once(api: Api) -> None:
    api.board.workers[:] = [replace(BEAT, judge=JUDGE)]
    await _completed(api)
    api.clock.advance(40 * 24 * 3600)  # neither bytes nor judge have changed

    answer = await api.client.post("/v1/scans", json={"sha256": SHA256})

    assert answer.status_code == 200
    scan = answer.json()
    assert (scan["status"], scan["verdict"]) == ("completed", "likely_ai")
    seen = scan["input"]
    assert (seen["kind"], seen["sha256"], seen["width"]) == ("sha256", SHA256, 640)
    assert (seen["url"], seen["final_url"], seen["fetched_by"]) == (None, None, None)
    assert api.board.waiting == []
    again = await api.client.post(f"/v1/scans/{scan['id']}/rescore")
    assert _refusal(again) == (409, "state_conflict")


@pytest.mark.parametrize(
    ("judge", "point", "sha256"),
    [("another", "balanced", SHA256), (JUDGE, "strict", SHA256), (JUDGE, "balanced", "cd" * 32)],
    ids=["judge", "point", "bytes"],
)
async def test_digest_of_unknown_bytes_says_to_upload(
    api: Api, judge: str, point: str, sha256: str
) -> None:
    api.board.workers[:] = [replace(BEAT, judge=judge)]
    await _completed(api)

    answer = await api.client.post("/v1/scans", json={"sha256": sha256, "operating_point": point})

    assert _refusal(answer) == (404, "not_found")
    assert "upload" in answer.json()["detail"]
    assert len((await api.client.get("/v1/scans")).json()["data"]) == 1


async def test_what_is_no_digest_is_refused(api: Api) -> None:
    answer = await api.client.post("/v1/scans", json={"sha256": "abc"})

    assert _refusal(answer) == (400, "invalid_parameter")
    assert answer.json()["errors"][0]["pointer"] == "/sha256"


async def test_callback_url_that_nothing_may_be_sent_to_is_refused(api: Api) -> None:
    answer = await api.client.post(
        "/v1/scans", json={"url": URL, "callback_url": "http://127.0.0.1/told"}
    )

    assert _refusal(answer) == (422, "webhook_url_rejected")
    assert answer.json()["errors"][0]["pointer"] == "/callback_url"
    assert api.board.waiting == []


async def test_scan_has_an_etag_that_saves_its_body(api: Api) -> None:
    scan = await _submitted(api)
    path = f"/v1/scans/{scan['id']}"
    first = await api.client.get(path)
    tag = first.headers["etag"]

    same = await api.client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == tag
    assert first.headers["cache-control"] == "private, no-cache"

    await api.records.close([completed(scan["id"])])
    changed = await api.client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("values", "is_matched"),
    [(['"a"'], True), (['W/"a"'], True), (["*"], True), (['"b", "a"'], True), (['"b"'], False)],
)
def test_if_none_match_is_read_as_rfc_9110_writes_it(values: list[str], is_matched: bool) -> None:
    assert matches('"a"', values) is is_matched


@pytest.mark.parametrize("what", ["listing", "erase", "cancel", "rescore"])
async def test_public_key_may_not_see_or_change_what_others_sent(what: str) -> None:
    public = Caller(
        owner="acme", key_id="key_1", scopes=frozenset({Scope.SCAN}), is_publishable=True
    )
    desk: Desk = None  # type: ignore[assignment]  # it is refused before anything is asked
    scan_id, terms = ids.scan_id(0), scans.Terms(request_id="r")
    calls = {
        "listing": lambda: listing.listing((), caller=public, desk=desk),
        "erase": lambda: scans.erase(scan_id, caller=public, desk=desk),
        "cancel": lambda: scans.cancel(scan_id, caller=public, desk=desk),
        "rescore": lambda: scans.rescore(scan_id, caller=public, terms=terms, desk=desk),
    }

    with pytest.raises(Refused) as refused:
        await calls[what]()

    assert refused.value.code == "scope_missing"
    assert "pk_" in refused.value.detail
