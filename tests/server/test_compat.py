"""What OpenAI's client and pict-rs hear: verdicts of ordinary scans, and no error as "clean"."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import httpx2
import msgspec
import openai
import pytest
import structlog
from litestar import Litestar
from litestar.di import Provide

from sdk.codes import ProblemCode, ScanErrorCode
from sdk.wire import Declaration, Input, InputKind, Scan, Scope, Status, Verdict
from server import problems
from server.metrics import Metrics
from server.ports import Unavailable
from server.problems import REQUEST_ID
from server.refused import Refused
from server.routes import compat
from server.rules.caller import LOCAL, Caller
from server.rules.compat import BODY_LIMIT_BYTES, CompatDesk, accuses
from server.rules.desk import Desk
from server.rules.limits import Limiter
from server.rules.readiness import Pace, Readiness
from tests.fakes import (
    ManualClock,
    MemoryBoard,
    MemoryMeter,
    MemoryQueue,
    MemoryRecords,
    MemorySpool,
)
from tests.server.scenes import BEAT, completed, failed
from worker.contract import Entry, Outcome
from worker.guard import Policy

pytestmark = pytest.mark.anyio

KEY = "sk_c4n4ry"
URL = "https://images.example.com/cat.jpg"
BYTES = b"\x89PNG of a cat"
DATA_URL = f"data:image/png;base64,{base64.b64encode(BYTES).decode()}"
ID = "req_1"


class JudgingBoard(MemoryBoard):
    """A board whose workers answer at once: the next of `says`, or nothing."""

    def __init__(self, records: MemoryRecords) -> None:
        super().__init__()
        self._records = records
        self.says: list[Outcome | None] = []
        self.posted: list[Entry] = []

    async def post(self, entries: Sequence[Entry]) -> None:
        await super().post(entries)
        self.posted += entries
        for entry in entries:
            says = self.says.pop(0) if self.says else None
            if says is not None:
                outcome = msgspec.structs.replace(says, scan_id=entry.scan_id)
                await self._records.close([outcome])


class Keys:
    """The keys of one owner."""

    def __init__(self) -> None:
        self.callers = {KEY: Caller(owner="acme", key_id="key_1", scopes=frozenset({Scope.SCAN}))}

    async def caller(self, *, authorization: list[str], page: str | None) -> Caller:
        (header,) = authorization
        found = self.callers.get(header.removeprefix("Bearer "))
        if found is None:
            raise Refused(ProblemCode.AUTH_INVALID, "The key is not known here.")
        return found


@dataclass
class Scene:
    """The two doors over fakes."""

    clock: ManualClock = field(default_factory=ManualClock)
    accepts_unjudged: bool = True
    caller: Caller = LOCAL

    def __post_init__(self) -> None:
        self.records = MemoryRecords(self.clock)
        self.board = JudgingBoard(self.records)
        self.board.workers.append(BEAT)
        self.spool = MemorySpool(self.clock)
        self.keys = Keys()
        self.desk = Desk(
            records=self.records,
            precedents=self.records,
            board=self.board,
            queue=MemoryQueue(),
            spool=self.spool,
            clock=self.clock,
            policy=Policy(),
            readiness=Readiness(
                records=self.records,
                board=self.board,
                clock=self.clock,
                pace=Pace(self.clock),
                queue_limit=10,
            ),
            limiter=Limiter(MemoryMeter(), self.clock),
            counters=Metrics(),
        )

    def app(self) -> Litestar:
        desk = CompatDesk(desk=self.desk, callers=self.keys, accepts_unjudged=self.accepts_unjudged)
        return Litestar(
            [compat.router],
            dependencies={
                "compat_desk": Provide(lambda: desk, sync_to_thread=False),
                "caller": Provide(lambda: self.caller, sync_to_thread=False),
            },
            exception_handlers=problems.handlers(),
            request_max_body_size=None,
            openapi_config=None,
            logging_config=None,
        )

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=KEY,
            base_url="http://127.0.0.1:8417/compat/openai/v1",
            max_retries=0,
            default_headers={REQUEST_ID: ID},
            http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app())),  # type: ignore[arg-type]
        )

    async def pictrs(
        self, *chunks: bytes, secret: str = KEY, kind: str = "image/png"
    ) -> httpx.Response:
        """Send what pict-rs sends: POST, the media type, and the bytes in chunks."""

        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        transport = httpx.ASGITransport(app=self.app())  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"content-type": kind, "accept": "*/*", REQUEST_ID: ID}
            return await client.post(f"/compat/pictrs/{secret}", content=body(), headers=headers)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scene() -> Scene:
    return Scene()


@contextmanager
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def saying(verdict: Verdict, *, trust: str | None = None) -> Outcome:
    declaration = Declaration(kind="c2pa", trust=trust) if trust else None
    return msgspec.structs.replace(completed(""), verdict=verdict, declaration=declaration)


def image(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


# --- OpenAI ----------------------------------------------------------------------------------


async def test_openai_hears_that_an_image_is_flagged(scene: Scene) -> None:
    scene.board.says = [saying(Verdict.LIKELY_AI)]

    async with scene.openai() as client:
        told = await client.moderations.create(model="omni-moderation-latest", input=[image(URL)])

    (result,) = told.results
    assert result.flagged
    assert result.categories.model_extra == {"ai_generated": True}
    assert result.category_scores.model_extra == {"ai_generated": 0.9}
    assert (told.id, told.model) == (ID, "fixed")
    assert told.model_extra is not None
    assert told.model_extra["scans"][0]["verdict"] == "likely_ai"
    assert scene.board.posted[0].url == URL


async def test_openai_sends_bytes_as_a_data_url(scene: Scene) -> None:
    scene.board.says = [saying(Verdict.NO_SIGN_OF_AI)]

    async with scene.openai() as client:
        told = await client.moderations.create(input=[image(DATA_URL)])

    assert not told.results[0].flagged
    assert told.model_extra is not None
    (entry,) = scene.board.posted
    assert entry.upload_id is not None
    upload = await scene.spool.find(entry.upload_id, owner="local")
    assert upload is not None
    assert upload.bytes == len(BYTES)


@pytest.mark.parametrize(
    ("outcome", "is_accused"),
    [
        (saying(Verdict.LIKELY_AI), True),
        (saying(Verdict.INCONCLUSIVE), False),
        (saying(Verdict.NO_SIGN_OF_AI), False),
        (saying(Verdict.DECLARED_AI, trust="unsigned"), False),
        (saying(Verdict.DECLARED_AI, trust="untrusted"), False),
        (saying(Verdict.DECLARED_AI, trust="trusted"), True),
    ],
    ids=["likely_ai", "inconclusive", "no_sign", "unsigned", "untrusted", "trusted"],
)
async def test_only_a_verdict_that_may_be_acted_on_flags_and_rejects(
    scene: Scene, outcome: Outcome, is_accused: bool
) -> None:
    scene.board.says = [outcome, outcome]

    async with scene.openai() as client:
        told = await client.moderations.create(input=[image(URL)])
    vetted = await scene.pictrs(BYTES)

    assert told.results[0].flagged is is_accused
    assert vetted.status_code == (406 if is_accused else 200)


async def test_openai_hears_of_the_worst_of_several(scene: Scene) -> None:
    scene.board.says = [saying(Verdict.NO_SIGN_OF_AI), saying(Verdict.LIKELY_AI)]

    async with scene.openai() as client:
        told = await client.moderations.create(input=[image(URL), image(URL + "?2")])

    assert told.results[0].flagged
    assert told.model_extra is not None
    assert [scan["verdict"] for scan in told.model_extra["scans"]] == [
        "no_sign_of_ai",
        "likely_ai",
    ]


async def test_openai_hears_of_an_image_that_could_not_be_fetched(scene: Scene) -> None:
    scene.board.says = [saying(Verdict.NO_SIGN_OF_AI), failed("")]

    async with scene.openai() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.moderations.create(input=[image(URL), image(URL + "?2")])

    fault = caught.value.body["errors"][0]  # type: ignore[index]
    assert fault["pointer"] == "/input/1/image_url/url"
    assert fault["code"] == ScanErrorCode.FETCH_NOT_FOUND


async def test_openai_may_try_again_where_the_fault_is_ours(scene: Scene) -> None:
    error = msgspec.structs.replace(failed("").error, code=ScanErrorCode.WORKER_LOST)  # type: ignore[type-var]
    scene.board.says = [msgspec.structs.replace(failed(""), error=error)]

    async with scene.openai() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.moderations.create(input=[image(URL)])

    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"]


async def test_openai_may_try_again_where_there_is_no_verdict_in_time(scene: Scene) -> None:
    scene.desk.stopping.set()  # as after 30 s: the wait is over and the scan is not

    async with scene.openai() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.moderations.create(input=[image(URL)])

    assert caught.value.body["code"] == ProblemCode.QUEUE_FULL  # type: ignore[index]
    assert scene.board.posted[0].scan_id in caught.value.body["detail"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        ([], "invalid_parameter", "/input"),
        ([image(URL)] * 11, "invalid_parameter", "/input"),
        ("a text", "invalid_parameter", "/input"),
        ([{"type": "text", "text": "a text"}], "unknown_field", "/input/0/text"),
        ([image("ftp://h.com/a")], "url_scheme_not_allowed", "/input/0/image_url/url"),
        ([image("http://127.0.0.1/")], "address_blocked", "/input/0/image_url/url"),
        ([image("data:image/png,AAAA")], "url_invalid", "/input/0/image_url/url"),
        ([image("data:image/png;base64,A")], "url_invalid", "/input/0/image_url/url"),
        ([image("data:image/png;base64,ä")], "url_invalid", "/input/0/image_url/url"),
    ],
    ids=[
        "none",
        "many",
        "string",
        "text",
        "scheme",
        "loopback",
        "plain-data",
        "cut-data",
        "wide-data",
    ],
)
async def test_openai_hears_what_is_wrong_with_its_input(
    scene: Scene, asked: Any, code: str, pointer: str
) -> None:
    async with scene.openai() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.moderations.create(input=asked)

    body: Any = caught.value.body
    assert body["code"] == code
    assert body["errors"][0]["pointer"] == pointer
    assert scene.board.posted == []


async def test_openai_is_refused_a_body_that_no_image_fills(scene: Scene) -> None:
    async with scene.openai() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.moderations.create(input=[image("data:," + "A" * BODY_LIMIT_BYTES)])

    assert caught.value.body["code"] == ProblemCode.BODY_TOO_LARGE  # type: ignore[index]


async def test_openai_needs_the_scope_to_scan(scene: Scene) -> None:
    scene.caller = Caller(owner="acme", key_id="key_2", scopes=frozenset({Scope.READ}))

    async with scene.openai() as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.moderations.create(input=[image(URL)])


# --- pict-rs ---------------------------------------------------------------------------------


async def test_pictrs_is_told_to_reject_what_is_likely_ai(scene: Scene) -> None:
    scene.board.says = [saying(Verdict.LIKELY_AI)]

    with logged() as lines:
        vetted = await scene.pictrs(BYTES[:4], BYTES[4:])

    (entry,) = scene.board.posted
    assert vetted.status_code == 406
    assert vetted.json() == {
        "accepted": False,
        "verdict": "likely_ai",
        "scan_id": entry.scan_id,
        "code": None,
    }
    assert entry.operating_point == "strict"
    (line,) = [line for line in lines if line["event"] == "pictrs_vetted"]
    assert line["is_accepted"] is False


@pytest.mark.parametrize(("accepts", "status"), [(True, 200), (False, 406)], ids=["open", "closed"])
@pytest.mark.parametrize("trouble", ["failed", "late", "redis", "worker", "video", "empty", "ours"])
async def test_pictrs_hears_what_the_setting_says_where_there_is_no_verdict(
    scene: Scene, trouble: str, accepts: bool, status: int
) -> None:
    scene = replace(scene, accepts_unjudged=accepts)
    body, kind = (BYTES,), "image/png"
    if trouble == "failed":
        scene.board.says = [failed("")]
    elif trouble == "late":
        scene.desk.stopping.set()
    elif trouble == "redis":
        scene.board.fault = Unavailable("redis", "no answer")
    elif trouble == "worker":
        scene.board.workers.clear()
    elif trouble == "video":
        kind = "video/mp4"
    elif trouble == "empty":
        body = (b"",)
    else:
        scene.spool.store = None  # type: ignore[assignment]

    with logged() as lines:
        vetted = await scene.pictrs(*body, kind=kind)

    expected = {
        "failed": "fetch_not_found",
        "late": "deadline_exceeded",
        "redis": "store_unavailable",
        "worker": "model_unavailable",
        "video": "media_type_unsupported",
        "empty": "upload_empty",
        "ours": "internal",
    }[trouble]
    (line,) = [line for line in lines if line["event"] == "pictrs_unjudged"]
    assert vetted.status_code == status
    assert (vetted.json()["verdict"], vetted.json()["code"]) == (None, expected)
    assert (line["code"], line["is_accepted"]) == (expected, accepts)


async def test_pictrs_with_a_wrong_secret_is_not_served_whatever_the_setting(scene: Scene) -> None:
    vetted = await scene.pictrs(BYTES, secret="sk_wrong")

    assert vetted.status_code == 401
    assert scene.board.posted == []
    assert "sk_wrong" not in json.dumps(vetted.json())


async def test_pictrs_needs_a_key_that_may_scan(scene: Scene) -> None:
    scene.keys.callers["sk_reader"] = Caller(
        owner="acme", key_id="key_2", scopes=frozenset({Scope.READ})
    )

    vetted = await scene.pictrs(BYTES, secret="sk_reader")

    assert vetted.status_code == 403


def test_a_scan_without_a_verdict_accuses_nobody() -> None:
    scan = Scan(
        id="scan_1", status=Status.FAILED, input=Input(kind=InputKind.URL), created_at="2026"
    )

    assert not accuses(scan)
