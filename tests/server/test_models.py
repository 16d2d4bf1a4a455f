"""/v1/models over HTTP, on a real Valkey with the beats and papers of workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import redis
from msgspec.structs import replace

from sdk.wire import Model, Scope
from server.board import RedisBoard
from server.routes import models
from server.rules.caller import Caller
from server.rules.models import ModelDesk
from server.settings import ServerSettings
from tests.server.scenes import BEAT
from tests.server.small_app import WHO, small_app
from tests.valkey_server import Valkey
from worker.contract import Papers, WorkerBeat, worker_key
from worker.ledger import StreamLedger

pytestmark = pytest.mark.anyio

CALLERS = {
    "reader": Caller(owner="me", key_id="key_r", scopes=frozenset({Scope.READ})),
    "scanner": Caller(owner="me", key_id="key_s", scopes=frozenset({Scope.SCAN})),
    "moderator": Caller(owner="me", key_id="key_m", scopes=frozenset({Scope.MODERATE})),
}
SMALL = replace(BEAT, model=Model("small", "aa"), calibration_id="cal-1", engine="onnx")
Says = Callable[..., None]


@pytest.fixture
def says(valkey: Valkey, redis_client: redis.Redis) -> Says:
    """Let workers say that they live: says(beat, beat, papers=...)."""
    redis_client.delete(worker_key(BEAT.name))

    def say(*beats: WorkerBeat, papers: Papers | None = None) -> None:
        ledger = StreamLedger(valkey.url, worker="a", timeout_seconds=5)
        for number, beat in enumerate(beats):
            ledger.beat(replace(beat, name=f"worker-{number}"))
            if papers is not None:
                ledger.show(beat, papers, is_first=True)
        ledger.close()

    return say


@pytest.fixture
async def client(settings: ServerSettings) -> AsyncIterator[httpx.AsyncClient]:
    board = RedisBoard(settings.redis)
    desk = ModelDesk(workers=board)
    async with small_app(models.router, callers=CALLERS, model_desk=desk) as client:
        client.headers[WHO] = "reader"
        yield client
    await board.aclose()


async def test_list_has_each_model_that_live_workers_run_and_how_many_do(
    says: Says, client: httpx.AsyncClient
) -> None:
    says(SMALL, replace(SMALL, engine="torch"), SMALL, papers=Papers(card="# Small"))

    found = (await client.get("/v1/models")).json()["data"]

    assert [(model["id"], model["engine"], model["workers"]) for model in found] == [
        ("small", "onnx", 2),
        ("small", "torch", 1),
    ]
    assert found[0]["weights_sha256"] == "aa"
    assert found[0]["calibration_id"] == "cal-1"
    assert found[0]["card"] is None, "cards are read one by one"


async def test_model_comes_with_the_card_of_its_weights(
    says: Says, client: httpx.AsyncClient
) -> None:
    says(SMALL, papers=Papers(card="# Small"))
    says(SMALL, replace(SMALL, model=Model("other", "bb")))

    small = await client.get("/v1/models/small")
    other = await client.get("/v1/models/other", headers={WHO: "scanner"})

    assert (small.json()["card"], small.json()["workers"]) == ("# Small", 1)
    assert (other.status_code, other.json()["card"]) == (200, None)


@pytest.mark.parametrize("path", ["/v1/models/large", "/v1/models/large/gate-report"])
async def test_model_that_no_live_worker_has_is_unknown(
    says: Says, client: httpx.AsyncClient, path: str
) -> None:
    says(SMALL, papers=Papers(gate_report="{}"))

    answer = await client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "model_unknown")


async def test_gate_report_is_as_the_gate_wrote_it(says: Says, client: httpx.AsyncClient) -> None:
    says(SMALL, papers=Papers(gate_report='{"old": "tiny", "is_refused": false}'))

    answer = await client.get("/v1/models/small/gate-report")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"old": "tiny", "is_refused": False}


@pytest.mark.parametrize("report", [None, "no JSON", "[1]"])
async def test_model_without_a_gate_report_says_how_one_is_made(
    says: Says, client: httpx.AsyncClient, report: str | None
) -> None:
    says(SMALL, papers=Papers(gate_report=report))

    answer = await client.get("/v1/models/small/gate-report")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "pinclip gate" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["", "/small", "/small/gate-report"])
async def test_models_need_a_key_that_reads(
    says: Says, client: httpx.AsyncClient, path: str
) -> None:
    says(SMALL, papers=Papers(gate_report="{}"))

    answer = await client.get(f"/v1/models{path}", headers={WHO: "moderator"})

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_no_worker_is_an_empty_list(says: Says, client: httpx.AsyncClient) -> None:
    says()

    assert (await client.get("/v1/models")).json() == {"data": []}


async def test_one_of_all_processes_has_the_turn(settings: ServerSettings) -> None:
    boards = [RedisBoard(settings.redis) for _ in range(2)]

    turns = [await board.take_turn("sweep", 60) for board in boards]
    another = await boards[1].take_turn("other", 60)

    for board in boards:
        await board.aclose()
    assert (turns, another) == ([True, False], True)
