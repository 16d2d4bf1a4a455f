"""Idempotency-Key on /v1/scans, on fakes: one scan, however often it is asked for."""

from __future__ import annotations

import anyio
import httpx
import pytest

from server.ports import Unavailable
from server.refused import Refused
from server.rules.idempotency import replay_of
from tests.server.conftest import Api
from tests.server.scenes import URL, completed

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


async def _post(api: Api, key: str, path: str = "/v1/scans", **body: object) -> httpx.Response:
    return await api.client.post(path, json=body or {"url": URL}, headers={"Idempotency-Key": key})


async def test_same_request_again_is_answered_with_the_same_scan_as_it_is_now(api: Api) -> None:
    first = await _post(api, '"k-1"')
    await api.records.close([completed(first.json()["id"])])

    again = await _post(api, "k-1")  # bare is the same as quoted

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["status"] == "completed"
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len((await api.client.get("/v1/scans")).json()["data"]) == 1


async def test_key_of_another_request_is_refused(api: Api) -> None:
    first = await _post(api, "k")
    await api.records.close([completed(first.json()["id"])])

    other_body = await _post(api, "k", url=f"{URL}?2")
    other_path = await _post(api, "k", path=f"/v1/scans/{first.json()['id']}/rescore")

    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_request_under_way_is_not_begun_twice(api: Api) -> None:
    await api.board.begin("local", "k")

    answer = await _post(api, "k")

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")
    assert answer.json()["retryable"] is True
    await api.board.end("local", "k")
    assert (await _post(api, "k")).status_code == 202


async def test_failed_request_leaves_the_key_free(api: Api) -> None:
    api.records.fault = Unavailable("store", "full")
    assert (await _post(api, "k")).status_code == 503
    api.records.fault = None
    refused = await _post(api, "k", url="ftp://example.com/a.png")
    assert refused.status_code == 400

    assert (await _post(api, "k")).status_code == 202


async def test_key_is_free_again_after_a_day(api: Api) -> None:
    first = await _post(api, "k")
    api.clock.advance(DAY + 1)

    second = await _post(api, "k")

    assert second.json()["id"] != first.json()["id"]


async def test_key_is_free_again_once_its_scan_is_erased(api: Api) -> None:
    first = await _post(api, "k")
    await api.client.delete(f"/v1/scans/{first.json()['id']}")

    second = await _post(api, "k")

    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


async def test_rescore_with_a_key_makes_one_scan(api: Api) -> None:
    scan = (await _post(api, "a")).json()
    await api.records.close([completed(scan["id"])])
    path = f"/v1/scans/{scan['id']}/rescore"

    answers = [await api.client.post(path, headers={"Idempotency-Key": "b"}) for _ in range(2)]

    assert answers[0].json()["id"] == answers[1].json()["id"] != scan["id"]
    assert answers[1].headers["idempotent-replayed"] == "true"


async def test_replay_may_wait_as_the_first_did(api: Api) -> None:
    first = await _post(api, "k")
    answers = []

    async def again() -> None:
        headers = {"Idempotency-Key": "k", "Prefer": "wait=30"}
        answers.append(await api.client.post("/v1/scans", json={"url": URL}, headers=headers))

    async with anyio.create_task_group() as group:
        group.start_soon(again)
        await anyio.sleep(0.05)
        await api.records.close([completed(first.json()["id"])])

    assert answers[0].status_code == 200
    assert answers[0].json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    ("value", "key"),
    [('"a b"', "a b"), ("a", "a"), ('"a\\"b"', 'a"b'), ("x" * 255, "x" * 255)],
)
def test_key_is_read_quoted_or_bare(value: str, key: str) -> None:
    replay = replay_of([value], method="POST", path="/", body=b"")

    assert replay is not None
    assert replay.key == key


@pytest.mark.parametrize("values", [[""], ['""'], ["x" * 256], ["a\tb"], ["é"], ["a", "b"]])
def test_what_is_no_key_is_refused(values: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        replay_of(values, method="POST", path="/", body=b"")

    assert refused.value.code == "invalid_parameter"
    assert "Idempotency-Key" in refused.value.detail


def test_key_stands_for_method_path_and_body() -> None:
    asked = [("POST", "/a", b"1"), ("PUT", "/a", b"1"), ("POST", "/b", b"1"), ("POST", "/a", b"2")]
    prints = {
        replay.fingerprint
        for method, path, body in asked
        if (replay := replay_of(["k"], method=method, path=path, body=body))
    }

    assert len(prints) == len(asked)
