"""/v1/models over HTTP, on a real Valkey with the beats and papers of workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

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


def field(number: int, content: bytes) -> bytes:
    """A protobuf field with a length, as ONNX is made of."""
    length, head = len(content), bytes([number << 3 | 2])
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return head + bytes([length]) + content


def exported(weights_sha256: str) -> bytes:
    """A file laid out as `pinclip export` does: version, graph, metadata."""
    said = {"pinclip.weights": "small", "pinclip.weights_sha256": weights_sha256}
    entries = (field(1, key.encode()) + field(2, value.encode()) for key, value in said.items())
    return b"\x08\x0a" + field(7, bytes(600_000)) + b"".join(field(14, entry) for entry in entries)


def put(path: Path, content: bytes | None) -> None:
    """Let the owner put another file there, or none."""
    path.unlink()
    if content is not None:
        path.write_bytes(content)


CONTENT = exported("aa")
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
def onnx(tmp_path: Path) -> Path:
    """Return where the owner has put the model's file."""
    path = tmp_path / "small.onnx"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
async def client(settings: ServerSettings, onnx: Path) -> AsyncIterator[httpx.AsyncClient]:
    board = RedisBoard(settings.redis)
    desk = ModelDesk(workers=board, onnx=onnx)
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


@pytest.mark.parametrize(
    "path", ["/v1/models/large", "/v1/models/large/gate-report", "/v1/models/large/onnx"]
)
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


@pytest.mark.parametrize("path", ["", "/small", "/small/gate-report", "/small/onnx"])
async def test_models_need_a_key_that_reads(
    says: Says, client: httpx.AsyncClient, path: str
) -> None:
    says(SMALL, papers=Papers(gate_report="{}"))

    answer = await client.get(f"/v1/models{path}", headers={WHO: "moderator"})

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


FILE = "/v1/models/small/onnx"


async def test_file_of_the_model_comes_whole_and_may_be_kept_for_ever(
    says: Says, client: httpx.AsyncClient
) -> None:
    says(SMALL)

    first = await client.get(FILE)
    again = await client.get(FILE, headers={"if-none-match": first.headers["etag"]})

    assert (first.status_code, first.content) == (200, CONTENT)
    assert first.headers["content-length"] == str(len(first.content))
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "part", "told"),
    [
        ("bytes=600000-", 206, slice(600_000, None), "bytes 600000-{last}/{size}"),
        ("bytes=0-9", 206, slice(10), "bytes 0-9/{size}"),
        ("bytes=-5", 206, slice(-5, None), "bytes {tail}-{last}/{size}"),
        ("bytes=5-999999999", 206, slice(5, None), "bytes 5-{last}/{size}"),
        ("bytes=999999999-", 416, slice(0), "bytes */{size}"),
        ("bytes=-0", 416, slice(0), "bytes */{size}"),
        ("bytes=9-5", 200, slice(None), None),
        ("bytes=0-1,5-6", 200, slice(None), None),
        ("bytes=-", 200, slice(None), None),
        ("rows=0-1", 200, slice(None), None),
    ],
)
async def test_file_comes_in_the_range_that_is_asked_for(
    says: Says,
    client: httpx.AsyncClient,
    asked: str,
    status: int,
    part: slice,
    told: str | None,
) -> None:
    says(SMALL)
    size = len(CONTENT)

    answer = await client.get(FILE, headers={"range": asked})

    assert (answer.status_code, answer.content) == (status, CONTENT[part])
    said = told and told.format(size=size, last=size - 1, tail=size - 5)
    assert answer.headers.get("content-range") == said


async def test_broken_download_does_not_go_on_with_another_file(
    says: Says, client: httpx.AsyncClient, onnx: Path
) -> None:
    says(SMALL)
    etag = (await client.get(FILE, headers={"range": "bytes=0-9"})).headers["etag"]
    newer = CONTENT + field(2, b"a newer one")
    put(onnx, newer)

    rest = await client.get(FILE, headers={"range": "bytes=10-", "if-range": etag})

    assert (rest.status_code, rest.content) == (200, newer)
    assert rest.headers["etag"] != etag


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file of the model small"),
        (b"", "no file of the model small"),
        (b"\x0f\xff" * 40, "no file of the model small"),
        (exported("bb"), "other weights than the model small"),
    ],
    ids=["no file", "an empty one", "no ONNX", "of other weights"],
)
async def test_file_that_is_not_this_models_is_not_given(
    says: Says, client: httpx.AsyncClient, onnx: Path, content: bytes | None, said: str
) -> None:
    says(SMALL)
    put(onnx, content)

    answer = await client.get(FILE)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert said in answer.json()["detail"]
    assert "pinclip export --small" in answer.json()["detail"]


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
