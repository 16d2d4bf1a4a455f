"""/v1/scans over HTTP, on fakes: what is answered, and what was done before the answer."""

from __future__ import annotations

import anyio
import httpx
import pytest

from sdk.wire import InputKind, PointName, Priority
from server import ids
from server.ports import Unavailable
from server.routes.scans import preferred_wait
from tests.server.conftest import Api
from tests.server.scenes import URL, completed
from worker.contract import DEADLINE_SECONDS

pytestmark = pytest.mark.anyio


async def _submitted(api: Api, **body: object) -> httpx.Response:
    answer = await api.client.post("/v1/scans", json=body or {"url": URL})
    assert answer.status_code == 202
    return answer


async def test_submit_answers_202_with_the_scan_and_where_it_is(api: Api) -> None:
    answer = await _submitted(api)

    scan = answer.json()
    assert ids.is_scan_id(scan["id"])
    assert scan["status"] == "queued"
    assert scan["verdict"] is None
    assert scan["input"]["url"] == URL
    assert answer.headers["location"] == f"/v1/scans/{scan['id']}"
    assert answer.headers["retry-after"] == "1"
    assert (await api.client.get(answer.headers["location"])).json() == scan


async def test_submit_hands_the_workers_all_they_need(api: Api) -> None:
    answer = await api.client.post(
        "/v1/scans",
        json={"url": URL, "operating_point": "strict", "priority": "bulk"},
        headers={"X-Request-Id": "mine"},
    )

    (entry,) = api.board.waiting
    assert entry.scan_id == answer.json()["id"]
    assert (entry.kind, entry.url, entry.upload_id) == (InputKind.URL, URL, None)
    assert entry.operating_point is PointName.STRICT
    assert entry.priority is Priority.BULK
    assert entry.deadline == api.clock.now() + DEADLINE_SECONDS
    assert entry.request_id == "mine"
    assert api.queue.tickets == 1


async def test_submit_refuses_bulk_before_it_refuses_people(api: Api) -> None:
    await _submitted(api)

    bulk = await api.client.post("/v1/scans", json={"url": URL, "priority": "bulk"})

    assert (bulk.status_code, bulk.json()["code"]) == (503, "queue_full")
    assert int(bulk.headers["retry-after"]) > 0
    for _ in range(2):
        await _submitted(api)
    people = await api.client.post("/v1/scans", json={"url": URL})
    assert (people.status_code, people.json()["code"]) == (503, "queue_full")
    assert len(api.board.waiting) == 3


async def test_submit_of_an_upload_shows_which_bytes(api: Api) -> None:
    upload = await api.client.post("/v1/uploads", files={"file": ("a.png", b"abc")})

    answer = await _submitted(api, upload_id=upload.json()["id"])

    shown = answer.json()["input"]
    assert (shown["kind"], shown["fetched_by"], shown["bytes"]) == ("upload", "client", 3)
    assert shown["sha256"] == upload.json()["sha256"]
    (entry,) = api.board.waiting
    assert (entry.kind, entry.upload_id) == (InputKind.UPLOAD, upload.json()["id"])


async def test_submit_records_before_it_tells_the_workers(api: Api) -> None:
    api.records.fault = Unavailable("store", "full")

    answer = await api.client.post("/v1/scans", json={"url": URL})

    assert answer.status_code == 503
    assert (api.board.waiting, api.queue.tickets) == ([], 0)


async def test_submit_is_accepted_when_redis_dies_after_the_commit(api: Api) -> None:
    await _submitted(api)  # the last look at Redis is good for a second
    api.board.fault = Unavailable("redis", "gone")

    answer = await _submitted(api)

    assert len(api.board.waiting) == 1
    again = await api.client.get(answer.headers["location"])
    assert again.json()["status"] == "queued"


async def test_submit_leaves_no_scan_when_a_part_is_down(api: Api) -> None:
    api.board.fault = Unavailable("redis", "gone")

    answer = await api.client.post("/v1/scans", json={"url": URL})

    assert answer.json()["code"] == "store_unavailable"
    assert await api.records.stale(api.clock.now() + 1) == []


async def test_submit_gives_up_on_a_store_that_is_silent(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_opened: object, *, recall: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(api.records, "open", silent)

    with anyio.fail_after(30):
        answer = await api.client.post("/v1/scans", json={"url": URL})

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def test_submit_is_accepted_when_redis_falls_silent_after_the_commit(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_entries: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(api.board, "post", silent)

    with anyio.fail_after(30):
        await _submitted(api)


async def test_submit_with_wait_is_accepted_when_the_store_dies_meanwhile(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(_scan_id: str, _seconds: float, *, owner: str) -> None:
        raise Unavailable("store", "gone")

    monkeypatch.setattr(api.records, "watch", dies)

    answer = await api.client.post("/v1/scans", json={"url": URL}, headers={"Prefer": "wait=5"})

    assert answer.status_code == 202


async def test_submit_with_wait_answers_200_when_the_scan_is_final_in_time(api: Api) -> None:
    answers = []

    async def submit() -> None:
        answers.append(
            await api.client.post(
                "/v1/scans", json={"url": URL}, headers={"Prefer": "wait=30"}, timeout=60
            )
        )

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            await api.records.close([completed(api.board.waiting[0].scan_id)])

    (answer,) = answers
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in answer.headers
    assert answer.json()["verdict"] == "likely_ai"


async def test_submit_with_wait_answers_202_when_time_is_up(api: Api) -> None:
    answer = await api.client.post("/v1/scans", json={"url": URL}, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert answer.json()["status"] == "queued"


async def test_wait_ends_when_the_server_stops(api: Api) -> None:
    answers = []

    async def submit() -> None:
        headers = {"Prefer": "wait=30"}
        answers.append(
            await api.client.post("/v1/scans", json={"url": URL}, headers=headers, timeout=60)
        )

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            api.edge.stopping.set()

    assert answers[0].status_code == 202


async def test_get_with_wait_answers_200_once_final(api: Api) -> None:
    answer = await _submitted(api)
    await api.records.close([completed(answer.json()["id"])])

    got = await api.client.get(answer.headers["location"], headers={"Prefer": "wait=5"})

    assert got.status_code == 200
    assert got.headers["preference-applied"] == "wait=5"
    assert got.json()["status"] == "completed"


async def test_get_with_wait_answers_202_when_time_is_up(api: Api) -> None:
    answer = await _submitted(api)

    got = await api.client.get(answer.headers["location"], headers={"Prefer": "wait=1"})

    assert (got.status_code, got.json()["status"]) == (202, "queued")


@pytest.mark.parametrize("phase", ["fetching", "scoring"])
async def test_get_shows_what_a_worker_does_with_it(api: Api, phase: str) -> None:
    answer = await _submitted(api)
    api.board.phases[answer.json()["id"]] = phase

    got = await api.client.get(answer.headers["location"])

    assert got.json()["status"] == phase


@pytest.mark.parametrize("phase", ["completed", "nonsense"])
async def test_get_believes_no_other_phase(api: Api, phase: str) -> None:
    answer = await _submitted(api)
    api.board.phases[answer.json()["id"]] = phase

    got = await api.client.get(answer.headers["location"])

    assert got.json()["status"] == "queued"


async def test_get_needs_no_redis(api: Api) -> None:
    answer = await _submitted(api)
    api.board.fault = Unavailable("redis", "gone")

    got = await api.client.get(answer.headers["location"])

    assert (got.status_code, got.json()["status"]) == (200, "queued")


@pytest.mark.parametrize("scan_id", ["x", "scan_", "upl_" + "0" * 26, "scan_" + "0" * 26])
async def test_get_of_an_unknown_scan_is_404(api: Api, scan_id: str) -> None:
    for headers in ({}, {"Prefer": "wait=5"}):
        got = await api.client.get(f"/v1/scans/{scan_id}", headers=headers)

        assert (got.status_code, got.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["wait=0"], 0),
        (["wait=30"], 30),
        (["wait=31"], 30),
        (["wait=999999"], 30),
        (["WAIT = 7"], 7),
        (['wait="7"'], 7),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (["wait=5; foo=bar"], 5),
        (["wait=5, wait=9"], 5),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=x"], None),
        (["await=5"], None),
        (["wait=99999999999999999999"], None),
    ],
)
async def test_preferred_wait_is_read_as_rfc_7240_writes_it(
    values: list[str], seconds: int | None
) -> None:
    assert preferred_wait(values) == seconds


@pytest.mark.parametrize(
    ("content_type", "is_taken"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("application/jsonx", False),
        ("", False),
    ],
)
async def test_submit_takes_json_only(api: Api, content_type: str, is_taken: bool) -> None:
    answer = await api.client.post(
        "/v1/scans",
        content=f'{{"url": "{URL}"}}'.encode(),
        headers={"content-type": content_type},
    )

    assert answer.status_code == (202 if is_taken else 415)


async def test_submit_takes_no_compressed_body(api: Api) -> None:
    answer = await api.client.post(
        "/v1/scans", json={"url": URL}, headers={"content-encoding": "gzip"}
    )

    assert answer.json()["code"] == "media_type_unsupported"


@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 202), (64 * 1024 + 1, 413)])
async def test_submit_takes_64_kib_of_json_and_no_more(api: Api, size: int, status: int) -> None:
    body = f'{{"url": "{URL}"}}'.encode()

    answer = await api.client.post(
        "/v1/scans",
        content=body + b" " * (size - len(body)),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == status
