"""A known image is answered when it is accepted, and what is not surely the same is looked at anew.

All parts are real: API, SQLite, Valkey, a worker that fetches from an origin on loopback. What is
counted are the requests that reach the origin, and the scans that reach the worker.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import redis
from msgspec.structs import replace
from PIL import Image
from structlog.testing import capture_logs

from server.app import create_app
from server.clock import SystemClock
from server.settings import ServerSettings
from tests.server.conftest import alive, calling
from tests.server.scenes import BEAT
from tests.worker.origins import Origin, response
from worker import uploads
from worker.clock import SystemClock as WorkerClock
from worker.contract import encode, worker_key
from worker.engine import Engine
from worker.fetcher import HttpFetcher
from worker.guard import Policy
from worker.intake import Preparer, Source
from worker.ledger import StreamLedger
from worker.ports import judge
from worker.shift import Shift
from worker.testing import FixedDetector, InProcessDecoder, MemoryCache

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

FRESH = "Cache-Control: max-age=600"
BLACK, WHITE = 0, 255


def picture(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (400, 400), grey).save(file, "PNG")
    return file.getvalue()


class Clock(SystemClock):
    """The server's: the machine's, set ahead by `ahead` seconds."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class Town:
    """An origin, a worker, and APIs over one store, each started when it is first asked."""

    def __init__(self, settings: ServerSettings, client: redis.Redis, stack: AsyncExitStack):
        self.pages: dict[str, bytes] = {}
        self.origin = stack.enter_context(closing(Origin(lambda path: [self.pages[path]])))
        self.clock = Clock()
        self.detector = FixedDetector()
        self.judge = judge(self.detector)
        networks, ports = ("127.0.0.0/8",), (self.origin.port,)
        self._policy = Policy(networks, ports)
        self._settings = replace(settings, fetch_allow_networks=networks, fetch_allow_ports=ports)
        self._redis = client
        self._stack = stack
        self.shift = self._shift(stack)

    def serve(self, path: str, grey: int, *headers: str) -> str:
        """Let the path have this picture; return its URL."""
        self.pages[path] = response(picture(grey), headers=headers)
        return self.origin.url(path)

    async def api(self, *, queue_limit: int = 100) -> httpx.AsyncClient:
        """Start one more API, which hears at once whose verdicts count."""
        beat = replace(BEAT, judge=self.judge)
        self._redis.set(worker_key(beat.name), encode(beat))
        edge = create_app(replace(self._settings, queue_limit=queue_limit), clock=self.clock)
        await self._stack.enter_async_context(alive(edge))
        return await self._stack.enter_async_context(calling(edge))

    async def work(self) -> None:
        """Let the worker do what waits."""
        await anyio.to_thread.run_sync(self.shift.work)

    async def judged(self, api: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
        """Return the final scan of what a worker has to look at."""
        answer = await api.post("/v1/scans", json=asked)
        assert answer.status_code == 202, answer.text
        await self.work()
        path = answer.headers["location"]
        final = await api.get(path, headers={"Prefer": "wait=20"}, timeout=30)
        assert final.json()["status"] == "completed", final.text
        scan: dict[str, Any] = final.json()
        return scan

    def _shift(self, stack: AsyncExitStack) -> Shift:
        address = self._settings.redis.address
        fetcher = stack.enter_context(closing(HttpFetcher(self._policy)))
        ledger = StreamLedger(address, worker="w", timeout_seconds=5)
        stack.callback(ledger.close)
        cache, folder = MemoryCache(), self._settings.redis.state_dir
        shift = Shift(
            ledger=ledger,
            source=Source(
                fetcher=fetcher,
                read_upload=lambda upload_id: uploads.read(folder, upload_id),
                cache=cache,
                policy=self._policy,
                clock=WorkerClock(),
                fetch_seconds=20.0,
            ),
            preparer=Preparer(
                decoder=InProcessDecoder(),
                detector=self.detector,
                read_declaration=lambda data: None,
            ),
            engine=Engine(self.detector, batch_limit=8),
            cache=cache,
            clock=WorkerClock(),
            worker="w",
        )
        return stack.enter_context(closing(shift))


@pytest.fixture
async def town(settings: ServerSettings, redis_client: redis.Redis) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(settings, redis_client, stack)


async def upload(api: httpx.AsyncClient, grey: int) -> str:
    answer = await api.post("/v1/uploads", files={"file": ("a.png", picture(grey))})
    return str(answer.json()["id"])


async def is_recalled(api: httpx.AsyncClient, *headers: tuple[str, str], **asked: Any) -> bool:
    """Ask; True if the answer was there at once."""
    answer = await api.post("/v1/scans", json=asked, headers=list(headers))
    assert answer.status_code == (200 if answer.json()["status"] == "completed" else 202)
    return answer.status_code == 200


async def test_url_that_its_origin_vouches_for_is_completed_at_once(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    first = await town.judged(api, url=f"{url}#first", metadata={"whose": "another"})

    with capture_logs() as logs:
        answer = await api.post("/v1/scans", json={"url": f"{url}#second"})

    again = answer.json()
    assert answer.status_code == 200
    assert answer.headers["location"] == f"/v1/scans/{again['id']}"
    assert again["id"] != first["id"]
    assert again["completed_at"] == again["created_at"] != first["created_at"]
    assert again["sequence"] == 1
    own = {"id", "input", "sequence", "created_at", "completed_at", "context", "metadata"}
    assert {name: again[name] for name in set(again) - own} == {
        name: first[name] for name in set(first) - own
    }
    assert again["input"] == {**first["input"], "url": f"{url}#second"}
    assert "#first" not in answer.text
    assert "another" not in answer.text
    assert (await api.get(answer.headers["location"])).json() == again
    assert len(town.origin.heads) == 1
    told = [line for line in logs if line["event"] == "scan_recalled"]
    assert [(line["scan_id"], line["verdict"]) for line in told] == [
        (again["id"], again["verdict"])
    ]


async def test_upload_of_the_same_bytes_is_completed_at_once(town: Town) -> None:
    api = await town.api()
    first = await town.judged(api, upload_id=await upload(api, WHITE))

    same, other = await upload(api, WHITE), await upload(api, BLACK)
    answer = await api.post("/v1/scans", json={"upload_id": same})

    assert answer.status_code == 200
    assert answer.json()["verdict"] == first["verdict"] == "likely_ai"
    assert answer.json()["input"] == first["input"]
    assert not await is_recalled(api, upload_id=other)


async def test_another_process_recalls_it_too(town: Town) -> None:
    api, other = await town.api(), await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)

    assert await is_recalled(other, url=url)


async def test_known_images_take_up_no_room(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    small = await town.api(queue_limit=1)

    for _ in range(3):
        assert await is_recalled(small, url=url)

    unknown = town.serve("/b.png", WHITE, FRESH)
    assert (await small.post("/v1/scans", json={"url": unknown})).status_code == 202


async def test_known_image_needs_no_room(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    full = await town.api(queue_limit=1)
    unknown = town.serve("/b.png", WHITE, FRESH)
    assert (await full.post("/v1/scans", json={"url": unknown})).status_code == 202
    refused = await full.post("/v1/scans", json={"url": unknown})
    assert refused.json()["code"] == "queue_full"

    assert await is_recalled(full, url=url)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="nothing said"),
        pytest.param(('ETag: "1"',), id="a validator is no promise"),
        pytest.param(("Cache-Control: no-store, max-age=600",), id="no-store"),
        pytest.param(("Cache-Control: no-cache, max-age=600",), id="no-cache"),
        pytest.param(("Cache-Control: private, max-age=600",), id="private"),
        pytest.param((FRESH, "Vary: *"), id="Vary: *"),
        pytest.param((FRESH, "Age: 600"), id="as old as it may be"),
        pytest.param(("Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT",), id="no heuristic"),
    ],
)
async def test_what_is_not_fresh_is_looked_at_anew(town: Town, headers: tuple[str, ...]) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, *headers)
    await town.judged(api, url=url)

    assert not await is_recalled(api, url=url)


async def test_changed_bytes_are_judged_anew_once_the_promise_is_over(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    town.serve("/a.png", BLACK, FRESH)
    town.clock.ahead = 595
    assert await is_recalled(api, url=url)  # as the origin said

    town.clock.ahead = 601
    after = await town.judged(api, url=url)

    assert after["verdict"] == "no_sign_of_ai"


async def test_what_was_given_again_makes_no_promise_longer(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    await town.judged(api, upload_id=await upload(api, WHITE))
    for town.clock.ahead in (300, 599):
        assert await is_recalled(api, url=url)

    town.clock.ahead = 601
    assert not await is_recalled(api, url=url)

    for town.clock.ahead in (12 * 3600, 24 * 3600 - 5):
        assert await is_recalled(api, upload_id=await upload(api, WHITE))
    town.clock.ahead = 24 * 3600 + 1
    assert not await is_recalled(api, upload_id=await upload(api, WHITE))


async def test_other_operating_point_is_judged_for_itself(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)

    assert not await is_recalled(api, url=url, operating_point="strict")


async def test_url_and_upload_of_the_same_bytes_are_two_things(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)

    first = await town.judged(api, upload_id=await upload(api, WHITE))

    assert first["input"]["kind"] == "upload"


async def test_verdict_of_a_judge_who_is_gone_is_not_given_again(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    old, town.judge = town.judge, "another release, weights, calibration, engine or precision"

    after = await town.api()
    assert not await is_recalled(after, url=url)

    town.judge = ""  # a worker of the version before says nothing of it
    assert not await is_recalled(await town.api(), url=url, operating_point="strict")
    town.judge = old
    assert await is_recalled(await town.api(), url=url)


async def test_newer_look_that_saw_other_bytes_ends_the_promise(town: Town) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)
    town.serve("/a.png", BLACK, "Cache-Control: no-store")
    await town.judged(api, url=url, operating_point="strict")

    assert not await is_recalled(api, url=url)


@pytest.mark.parametrize("asked", ["no-cache", "max-age=0", "public, No-Store"])
async def test_caller_may_ask_for_a_new_look(town: Town, asked: str) -> None:
    api = await town.api()
    url = town.serve("/a.png", WHITE, FRESH)
    await town.judged(api, url=url)

    assert await is_recalled(api, ("Cache-Control", "max-age=60"), url=url)
    assert not await is_recalled(api, ("Cache-Control", asked), url=url)


async def test_failed_scan_is_no_verdict(town: Town) -> None:
    api = await town.api()
    town.pages["/gone.png"] = response(status=404, headers=[FRESH])
    url = town.origin.url("/gone.png")
    answer = await api.post("/v1/scans", json={"url": url})
    await town.work()
    path = answer.headers["location"]
    final = await api.get(path, headers={"Prefer": "wait=20"}, timeout=30)
    assert final.json()["status"] == "failed"

    assert not await is_recalled(api, url=url)
