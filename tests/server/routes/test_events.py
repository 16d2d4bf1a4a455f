"""/v1/scans/{id}/events, on fakes: the states of a scan as a browser's EventSource reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import pytest

from server.rules import scans
from tests.server.conftest import Api
from tests.server.scenes import URL, completed

pytestmark = pytest.mark.anyio

SSE = {"Accept": "text/event-stream"}


async def _submitted(api: Api) -> str:
    return str((await api.client.post("/v1/scans", json={"url": URL})).json()["id"])


async def _followed(
    api: Api, scan_id: str, meanwhile: Callable[[], Awaitable[object]], **headers: str
) -> tuple[Any, list[dict[str, str]]]:
    """Return the answer, and its events, each as a dict of its fields."""
    answers = []

    async def follow() -> None:
        path = f"/v1/scans/{scan_id}/events"
        answers.append(await api.client.get(path, headers={**SSE, **headers}, timeout=30))

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.sleep(0.05)
        await meanwhile()
    (answer,) = answers
    blocks = [block for block in answer.text.replace("\r\n", "\n").split("\n\n") if block]
    return answer, [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_each_state_is_told_and_the_stream_ends_with_the_scan(api: Api) -> None:
    scan_id = await _submitted(api)

    async def work() -> None:
        await api.records.close([completed(scan_id)])

    answer, events = await _followed(api, scan_id, work)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["id"] for event in events] == ["1", "2"]
    assert {event["retry"] for event in events} == {"2000"}
    states = [msgspec.json.decode(event["data"]) for event in events]
    assert [state["status"] for state in states] == ["queued", "completed"]
    assert states[1] == (await api.client.get(f"/v1/scans/{scan_id}")).json()


async def test_who_comes_back_hears_only_what_is_new(api: Api) -> None:
    scan_id = await _submitted(api)

    async def work() -> None:
        await api.records.close([completed(scan_id)])

    _, events = await _followed(api, scan_id, work, **{"Last-Event-ID": "1"})

    assert [event["id"] for event in events] == ["2"]
    path = f"/v1/scans/{scan_id}/events"
    over = await api.client.get(path, headers={**SSE, "Last-Event-ID": "2"})
    assert (over.status_code, over.content) == (204, b"")


async def test_stream_ends_when_the_server_stops(api: Api) -> None:
    scan_id = await _submitted(api)

    async def stop() -> None:
        api.edge.stopping.set()

    with anyio.fail_after(10):
        _, events = await _followed(api, scan_id, stop)

    assert [event["id"] for event in events] == ["1"]


async def test_stream_ends_when_the_scan_is_erased(api: Api) -> None:
    scan_id = await _submitted(api)

    async def erase() -> None:
        await api.client.delete(f"/v1/scans/{scan_id}")

    with anyio.fail_after(10):
        _, events = await _followed(api, scan_id, erase)

    assert [event["id"] for event in events] == ["1"]


async def test_wrong_last_event_id_is_refused(api: Api) -> None:
    path = f"/v1/scans/{await _submitted(api)}/events"

    answer = await api.client.get(path, headers={**SSE, "Last-Event-ID": "last"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


async def test_phase_is_told_and_silence_is_broken(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "FOLLOW_SECONDS", 0.01)
    scan_id = await _submitted(api)

    async def work() -> None:
        api.board.phases[scan_id] = "fetching"
        await anyio.sleep(0.1)
        api.clock.advance(scans.BEAT_SECONDS + 1)
        await anyio.sleep(0.1)
        await api.records.close([completed(scan_id)])

    _, events = await _followed(api, scan_id, work, **{"Last-Event-ID": "1"})

    fetching, silence, final = events
    assert msgspec.json.decode(fetching["data"])["status"] == "fetching"
    assert fetching["id"] == "1"
    assert silence == {"": "still here"}
    assert final["id"] == "2"
