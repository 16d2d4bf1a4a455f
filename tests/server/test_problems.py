"""Every code a request can be refused with is provoked over HTTP, and says what to do next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
from litestar.exceptions import HTTPException

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Scope
from server import ids
from server.board import RedisBoard
from server.clock import SystemClock
from server.ports import Unavailable
from server.problems import problem_of
from server.rules import keys
from server.rules.caller import Limits
from server.rules.keys import KeysDesk
from server.rules.limits import ABNORMAL_FACTOR
from server.settings import ServerSettings
from server.store.keys import SqlKeys
from tests.server.conftest import Api
from tests.server.platform import Headers, Platform, bearing, platform
from tests.server.scenes import URL, opened
from worker.contract import UPLOAD_LIMIT_BYTES

pytestmark = pytest.mark.anyio

Provoke = Callable[[Api], Awaitable[httpx.Response]]
ProvokeThere = Callable[[Platform], Awaitable[httpx.Response]]
PROVOKED: dict[ProblemCode, Provoke] = {}
"""By a request to the API over fakes, which can be made to fail."""
PROVOKED_THERE: dict[ProblemCode, ProvokeThere] = {}
"""By requests to the API over SQLite and Valkey, with keys."""


def provokes(code: ProblemCode) -> Callable[[Provoke], Provoke]:
    def keep(provoke: Provoke) -> Provoke:
        PROVOKED[code] = provoke
        return provoke

    return keep


def provokes_there(code: ProblemCode) -> Callable[[ProvokeThere], ProvokeThere]:
    def keep(provoke: ProvokeThere) -> ProvokeThere:
        PROVOKED_THERE[code] = provoke
        return provoke

    return keep


@provokes(ProblemCode.MALFORMED_JSON)
async def _(api: Api) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await api.client.post("/v1/scans", content=b'{"url": ', headers=headers)


@provokes(ProblemCode.INVALID_PARAMETER)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={})


@provokes(ProblemCode.UNKNOWN_FIELD)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={"url": URL, "colour": "red"})


@provokes(ProblemCode.URL_INVALID)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={"url": "http://user:pass@example.com/"})


@provokes(ProblemCode.URL_SCHEME_NOT_ALLOWED)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={"url": "ftp://example.com/a.jpg"})


@provokes(ProblemCode.ADDRESS_BLOCKED)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={"url": "http://169.254.169.254/"})


@provokes(ProblemCode.OPERATING_POINT_UNKNOWN)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", json={"url": URL, "operating_point": "lenient"})


@provokes(ProblemCode.UPLOAD_EMPTY)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/uploads", headers={"content-type": "image/png"})


@provokes(ProblemCode.BODY_TOO_LARGE)
async def _(api: Api) -> httpx.Response:
    headers = {"content-type": "image/png"}
    body = bytes(UPLOAD_LIMIT_BYTES + 1)
    return await api.client.post("/v1/uploads", content=body, headers=headers)


@provokes(ProblemCode.MEDIA_TYPE_UNSUPPORTED)
async def _(api: Api) -> httpx.Response:
    return await api.client.post("/v1/scans", data={"url": URL})


@provokes(ProblemCode.ORIGIN_NOT_ALLOWED)
async def _(api: Api) -> httpx.Response:
    headers = {"origin": "https://evil.example"}
    return await api.client.post("/v1/scans", json={"url": URL}, headers=headers)


@provokes(ProblemCode.NOT_FOUND)
async def _(api: Api) -> httpx.Response:
    return await api.client.get(f"/v1/scans/{ids.scan_id(0)}")


@provokes(ProblemCode.METHOD_NOT_ALLOWED)
async def _(api: Api) -> httpx.Response:
    return await api.client.put("/v1/scans", json={"url": URL})


@provokes(ProblemCode.NOT_ACCEPTABLE)
async def _(api: Api) -> httpx.Response:
    return await api.client.get("/v1/scans/x", headers={"accept": "text/html"})


@provokes(ProblemCode.EXPIRED)
async def _(api: Api) -> httpx.Response:
    upload = await api.client.post("/v1/uploads", files={"file": ("a.png", b"abc")})
    api.clock.advance(901)
    return await api.client.post("/v1/scans", json={"upload_id": upload.json()["id"]})


@provokes(ProblemCode.INTERNAL)
async def _(api: Api) -> httpx.Response:
    api.records.fault = RuntimeError("a fault of ours")  # type: ignore[assignment]
    return await api.client.get(f"/v1/scans/{ids.scan_id(0)}")


@provokes(ProblemCode.QUEUE_FULL)
async def _(api: Api) -> httpx.Response:
    await api.board.post([opened(0).entry for _ in range(3)])
    return await api.client.post("/v1/scans", json={"url": URL})


@provokes(ProblemCode.MODEL_UNAVAILABLE)
async def _(api: Api) -> httpx.Response:
    api.board.workers.clear()
    return await api.client.post("/v1/scans", json={"url": URL})


@provokes(ProblemCode.STORE_UNAVAILABLE)
async def _(api: Api) -> httpx.Response:
    api.records.fault = Unavailable("store", "the disk is full", retry_after=7)
    return await api.client.post("/v1/scans", json={"url": URL})


@provokes(ProblemCode.SHUTTING_DOWN)
async def _(api: Api) -> httpx.Response:
    api.edge.stopping.set()
    return await api.client.post("/v1/scans", json={"url": URL})


@provokes_there(ProblemCode.CURSOR_INVALID)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    return await api.client.get("/v1/scans", params={"cursor": "nonsense"}, headers=key)


@provokes_there(ProblemCode.AUTH_MISSING)
async def _(api: Platform) -> httpx.Response:
    await api.key("acme")
    return await api.client.get("/v1/scans")


@provokes_there(ProblemCode.AUTH_INVALID)
async def _(api: Platform) -> httpx.Response:
    return await api.client.get("/v1/scans", headers={"authorization": "Bearer sk_nonsense"})


@provokes_there(ProblemCode.KEY_REVOKED)
async def _(api: Platform) -> httpx.Response:
    made = await api.made("acme")
    desk = KeysDesk(store=SqlKeys(api.database), clock=SystemClock())
    await keys.revoke(made.key.id, actor="test", desk=desk)
    return await api.client.get("/v1/scans", headers=bearing(made))


@provokes_there(ProblemCode.SCOPE_MISSING)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme", Scope.READ)
    return await api.client.post("/v1/scans", json={"url": URL}, headers=key)


@provokes_there(ProblemCode.IDEMPOTENCY_IN_FLIGHT)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    board = RedisBoard(api.settings.redis)  # of another process, which is at it
    assert await board.begin("acme", "once")
    headers = {**key, "idempotency-key": "once"}
    answer = await api.client.post("/v1/scans", json={"url": URL}, headers=headers)
    await board.aclose()
    return answer


@provokes_there(ProblemCode.IDEMPOTENCY_KEY_REUSED)
async def _(api: Platform) -> httpx.Response:
    headers = {**await api.key("acme"), "idempotency-key": "twice"}
    await api.client.post("/v1/scans", json={"url": URL}, headers=headers)
    return await api.client.post("/v1/scans", json={"url": f"{URL}?b"}, headers=headers)


@provokes_there(ProblemCode.STATE_CONFLICT)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    return await api.client.post(f"/v1/scans/{await judged(api, key)}/cancel", headers=key)


@provokes_there(ProblemCode.APPEAL_EXISTS)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    path = f"/v1/scans/{await judged(api, key)}/appeals"
    await api.client.post(path, json={"reason": "It is mine."}, headers=key)
    return await api.client.post(path, json={"reason": "It is mine."}, headers=key)


@provokes_there(ProblemCode.BATCH_TOO_LARGE)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    return await api.client.post("/v1/batches", json={"scans": [{"url": URL}] * 1001}, headers=key)


@provokes_there(ProblemCode.WEBHOOK_URL_REJECTED)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme")
    return await api.client.post("/v1/webhooks", json={"url": "http://10.0.0.1/"}, headers=key)


@provokes_there(ProblemCode.MODEL_UNKNOWN)
async def _(api: Platform) -> httpx.Response:
    return await api.client.get("/v1/models/none", headers=await api.key("acme"))


@provokes_there(ProblemCode.RATE_LIMITED)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme", limits=Limits(rate_per_minute=1))
    await api.client.post("/v1/scans", json={"url": URL}, headers=key)
    return await api.client.post("/v1/scans", json={"url": URL}, headers=key)


@provokes_there(ProblemCode.ABNORMAL_USAGE)
async def _(api: Platform) -> httpx.Response:
    key = await api.key("acme", limits=Limits(rate_per_minute=1))
    for _ in range(ABNORMAL_FACTOR + 1):
        await api.client.post("/v1/scans", json={"url": URL}, headers=key)
    return await api.client.post("/v1/scans", json={"url": URL}, headers=key)


async def judged(api: Platform, key: Headers) -> str:
    """Return the id of a scan that is likely_ai."""
    headers = {**key, "prefer": "wait=30"}
    answer = await api.client.post("/v1/scans", json={"url": URL}, headers=headers, timeout=40)
    assert answer.json()["verdict"] == "likely_ai", answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("code", PROVOKED)
async def test_problem_has_its_code_and_says_what_to_do(api: Api, code: ProblemCode) -> None:
    check(await PROVOKED[code](api), code)


@pytest.mark.redis
async def test_problem_of_keys_and_states_has_its_code_too(settings: ServerSettings) -> None:
    async with platform(settings) as api:
        for code, provoke in PROVOKED_THERE.items():
            check(await provoke(api), code)


def check(answer: httpx.Response, code: ProblemCode) -> None:
    told = answer.json()
    facts = PROBLEMS[code]
    assert told["code"] == code
    assert answer.status_code == told["status"] == facts.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (told["title"], told["hint"], told["retryable"]) == (
        facts.title,
        facts.hint,
        facts.retryable,
    )
    assert told["detail"]
    assert told["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (facts.status in (429, 503))
    assert ("www-authenticate" in answer.headers) == (facts.status == 401)
    assert (told["type"] == f"/v1/errors/{code}") == (facts.status != 429)
    assert bool(told["violated-policies"]) == (facts.status == 429)


def test_every_code_is_provoked() -> None:
    assert not set(PROVOKED) & set(PROVOKED_THERE)
    assert set(PROVOKED) | set(PROVOKED_THERE) == set(ProblemCode) - {ProblemCode.UNKNOWN}


async def test_every_code_is_explained(api: Api) -> None:
    for code, facts in PROBLEMS.items():
        about = await api.client.get(f"/v1/errors/{code}")

        assert about.json() == {
            "code": code,
            "title": facts.title,
            "status": facts.status,
            "retryable": facts.retryable,
            "hint": facts.hint,
        }


async def test_fault_of_ours_is_told_without_its_text(api: Api) -> None:
    api.records.fault = RuntimeError("secret of the house")  # type: ignore[assignment]

    answer = await api.client.get(f"/v1/scans/{ids.scan_id(0)}")

    assert "secret" not in answer.text


async def test_method_not_allowed_says_which_are(api: Api) -> None:
    answer = await api.client.put("/v1/scans/x")

    assert "GET" in answer.headers["allow"]


async def test_retry_after_is_what_the_part_asked_for(api: Api) -> None:
    answer = await PROVOKED[ProblemCode.STORE_UNAVAILABLE](api)

    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("pointer", ["/url", "/upload_id"])
async def test_refusal_points_at_the_field(api: Api, pointer: str) -> None:
    answer = await api.client.post("/v1/scans", json={pointer[1:]: "nonsense"})

    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_parameter"), (418, "invalid_parameter"), (404, "not_found"), (500, "internal")],
)
def test_refusals_of_litestar_have_codes_of_ours(status: int, code: str) -> None:
    told, _ = problem_of(HTTPException(status_code=status), request_id="mine")

    assert (told.code, told.request_id) == (code, "mine")
    assert told.hint


async def test_code_that_does_not_exist_is_not_explained(api: Api) -> None:
    answer = await api.client.get("/v1/errors/nonsense")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
