"""Who is let in: keys on a real database, over HTTP, behind the real edge."""

from __future__ import annotations

import random
import string
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from litestar import Litestar, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from sdk.wire import Scope
from server import problems
from server.auth import FRESH_SECONDS, Authenticator, guarding, is_open, provide_caller
from server.edge import Edge
from server.metrics import Metrics
from server.ports import Unavailable
from server.routes import errors, keys
from server.routes.given import GivenCaller
from server.routes.health import healthz
from server.rules import keys as rules
from server.rules.caller import Caller, Limits
from server.rules.desk import Stopping
from server.rules.keys import Key, KeyRequest, KeysDesk, Kind, digest_of
from server.rules.limits import Levels, Limiter
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.keys import SqlKeys
from tests.fakes import ManualClock
from tests.server.conftest import calling
from tests.store.conftest import opened
from worker.contract import RedisSettings
from worker.tracing import Tracing

pytestmark = pytest.mark.anyio

EXTENSION = "chrome-extension://" + "abcdefghijklmnop" * 2
SITE = "https://acme.example"
EVIL = "https://evil.example"


class Counting(SqlKeys):
    """The keys, and how often they were asked for; down while `is_down`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.finds: list[Sequence[str]] = []
        self.looks = 0
        self.is_down = False

    async def find(self, digests: Sequence[str]) -> dict[str, Key]:
        self.finds.append(digests)
        if self.is_down:
            raise Unavailable("store", "the disk is gone")
        return await super().find(digests)

    async def are_there_any(self) -> bool:
        self.looks += 1
        return await super().are_there_any()


@dataclass(frozen=True, kw_only=True)
class Gate:
    """An API of three routes, and all that decides who may use them."""

    client: httpx.AsyncClient
    store: Counting
    desk: KeysDesk
    clock: ManualClock
    authenticator: Authenticator

    async def made(self, *origins: str, **asked: Any) -> rules.Made:
        request = KeyRequest(
            **{
                "owner": "acme",
                "name": "bot",
                "scopes": frozenset({Scope.SCAN}),
                "kind": Kind.PUBLISHABLE if origins else Kind.SECRET,
                "origins": origins,
                **asked,
            }
        )
        return await rules.create(request, actor="test", desk=self.desk)

    async def ask(
        self, text: str | None = None, *, method: str = "GET", origin: str | None = None
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {text}"} if text is not None else {}
        if origin is not None:
            headers["origin"] = origin
        path = "/v1/key" if method == "GET" else "/v1/things"
        return await self.client.request(method, path, headers=headers)


class OneOnly:
    """A Meter that lets one request pass."""

    def __init__(self) -> None:
        self.is_spent = False

    async def take(
        self, caller: Caller, *, cost: int, scan_ids: Sequence[str], abnormal: int
    ) -> Levels:
        if self.is_spent:
            return Levels(level=60, wait_seconds=6.5, violated=("scans",))
        self.is_spent = True
        return Levels(level=60)

    async def give_back(self, owner: str, scan_ids: Sequence[str]) -> None:
        pass


GivenLimiter = NamedDependency[SkipValidation[Limiter]]


@post("/v1/things")
async def make_thing(caller: GivenCaller) -> dict[str, str]:
    caller.need(Scope.SCAN)
    return {"owner": caller.owner}


@get("/v1/forgetful")
async def forgetful() -> str:
    return "this route forgot to ask who calls"


@get("/v1/limited")
async def limited(caller: GivenCaller, limiter: GivenLimiter) -> str:
    await limiter.spend(caller)
    return "passed"


async def nothing() -> None:
    pass


@pytest.fixture(params=[True])
def is_local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def gate(tmp_path: Path, is_local: bool) -> AsyncIterator[Gate]:
    settings = ServerSettings(redis=RedisSettings(state_dir=tmp_path))
    clock = ManualClock()
    async with opened(settings) as database:
        store = Counting(database)
        authenticator = Authenticator(store, clock, is_local=is_local)
        limiter = Limiter(OneOnly(), clock)
        app = Litestar(
            [keys.router, errors.router, healthz, make_thing, forgetful, limited],
            dependencies={
                "caller": Provide(provide_caller),
                "limiter": Provide(lambda: limiter, sync_to_thread=False),
            },
            guards=[guarding(authenticator)],
            exception_handlers=problems.handlers(),
            openapi_config=None,
            logging_config=None,
        )
        edge = Edge(
            app,
            host="127.0.0.1",
            clock=clock,
            stopping=Stopping(),
            prepare=nothing,
            origins=authenticator.origins,
            answered=Metrics().answered,
            tracing=Tracing(),
        )
        async with calling(edge) as client:
            desk = KeysDesk(store=store, clock=clock)
            yield Gate(
                client=client, store=store, desk=desk, clock=clock, authenticator=authenticator
            )


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_without_any_key_this_machine_may_do_everything(gate: Gate) -> None:
    answer = await gate.ask()

    assert answer.json()["id"] is None
    assert answer.json()["owner"] == "local"
    assert set(answer.json()["scopes"]) == set(Scope)


@pytest.mark.parametrize("is_local", [False], indirect=True)
async def test_without_any_key_other_machines_may_do_nothing(gate: Gate) -> None:
    assert told(await gate.ask()) == (401, "auth_missing")


async def test_first_key_closes_the_door_for_all_without_one(gate: Gate) -> None:
    await gate.ask()
    made = await gate.made()
    gate.clock.advance(FRESH_SECONDS)

    answer = await gate.ask()

    assert told(answer) == (401, "auth_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await gate.ask(made.text)).json()["id"] == made.key.id


async def test_door_stays_closed_when_all_keys_are_revoked(gate: Gate) -> None:
    made = await gate.made()
    await rules.revoke(made.key.id, actor="test", desk=gate.desk)

    assert told(await gate.ask()) == (401, "auth_missing")


@pytest.mark.parametrize("path", ["/healthz", "/v1/errors/auth_missing"])
async def test_open_paths_need_no_key(gate: Gate, path: str) -> None:
    await gate.made()

    assert (await gate.client.get(path)).status_code == 200


async def test_route_that_forgets_to_ask_is_closed(gate: Gate) -> None:
    await gate.made()

    assert told(await gate.client.get("/v1/forgetful")) == (401, "auth_missing")


@pytest.mark.parametrize(
    "path",
    ["/v1/scans", "/v1/errors", "/v1/errorsx/a", "/healthzz", "/v1/healthz", "/schema/x", "/"],
)
def test_no_other_path_is_open(path: str) -> None:
    assert not is_open(path)


async def test_key_tells_its_facts(gate: Gate) -> None:
    made = await gate.made(
        limits=Limits(rate_per_minute=60, parallel=8, quota_per_day=1000), lifetime_seconds=60.0
    )

    answer = await gate.ask(made.text)

    assert answer.json() == {
        "id": made.key.id,
        "owner": "acme",
        "scopes": ["scan"],
        "expires_at": "2026-09-21T14:14:20.000Z",
        "rate_per_minute": 60,
        "parallel": 8,
        "quota_per_day": 1000,
    }


async def test_key_without_the_scope_is_told_which_it_needs(gate: Gate) -> None:
    made = await gate.made(scopes=frozenset({Scope.READ}))

    answer = await gate.ask(made.text, method="POST")

    assert told(answer) == (403, "scope_missing")
    assert "'scan'" in answer.json()["detail"]


async def test_forged_truncated_and_foreign_keys_are_never_let_in(gate: Gate) -> None:
    made = await gate.made()
    chance = random.Random(14)
    digits = string.ascii_letters + string.digits
    elsewhere = [rules._new_text(kind) for kind in Kind for _ in range(100)]
    forged = ["sk_" + "".join(chance.choice(digits) for _ in range(49)) for _ in range(200)]
    flipped = [
        made.text[:at] + chr(ord(made.text[at]) ^ (1 << bit)) + made.text[at + 1 :]
        for at in range(len(made.text))
        for bit in range(7)
    ]
    cut = [made.text[:end] for end in range(len(made.text))]
    digest = [digest_of(made.text), made.key.id, made.key.hint]
    tried = [*elsewhere, *forged, *(text for text in flipped if text.isprintable()), *cut, *digest]

    accepted = [text for text in tried if (await gate.ask(text)).status_code != 401]

    print(f"{len(tried)} keys that are not ours: {len(accepted)} accepted")
    assert accepted == []


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "sk_x", ""])
async def test_header_that_is_no_bearer_is_refused_even_where_no_key_is_needed(
    gate: Gate, header: str
) -> None:
    answer = await gate.client.get("/v1/key", headers={"authorization": header})

    assert told(answer) == (401, "auth_invalid")


async def test_no_key_is_repeated_to_who_sent_it(gate: Gate) -> None:
    text = (await gate.made()).text[:-1]

    assert text not in (await gate.ask(text)).text


async def test_revoked_key_is_refused_within_five_seconds_everywhere(gate: Gate) -> None:
    made = await gate.made()
    other = Authenticator(gate.store, gate.clock, is_local=True)
    for one in (gate.authenticator, other):
        await one.caller(authorization=[f"Bearer {made.text}"], page=None)
    await rules.revoke(made.key.id, actor="test", desk=gate.desk)

    gate.clock.advance(5 - 0.9)  # a query takes at most QUICK_SECONDS

    assert told(await gate.ask(made.text)) == (401, "key_revoked")
    with pytest.raises(rules.Refused, match="key_revoked"):
        await other.caller(authorization=[f"Bearer {made.text}"], page=None)


async def test_expired_key_is_refused_at_once_although_it_is_remembered(gate: Gate) -> None:
    made = await gate.made(lifetime_seconds=1.0)
    await gate.ask(made.text)

    gate.clock.advance(1)

    assert told(await gate.ask(made.text)) == (401, "key_revoked")


async def test_rotated_key_and_its_successor_both_work_until_the_overlap_ends(gate: Gate) -> None:
    old = await gate.made()
    new = await rules.rotate(old.key.id, overlap_seconds=60.0, actor="test", desk=gate.desk)

    during = [(await gate.ask(one.text)).status_code for one in (old, new)]
    gate.clock.advance(60)
    after = [(await gate.ask(one.text)).status_code for one in (old, new)]

    assert (during, after) == ([200, 200], [401, 200])


async def test_hot_path_asks_sql_once_and_all_at_once_ask_together(gate: Gate) -> None:
    made = [await gate.made() for _ in range(20)]

    async with anyio.create_task_group() as group:
        for one in made * 5:
            group.start_soon(gate.ask, one.text)
    first = len(gate.store.finds)
    for one in made:
        await gate.ask(one.text)

    assert len(gate.store.finds) == first <= 3
    assert gate.store.looks == 0


async def test_unknown_key_is_taken_as_soon_as_it_is_made(gate: Gate) -> None:
    text = (await gate.made()).text
    (key,) = await gate.store.all()
    await gate.ask(text)
    other = await gate.made()

    assert (await gate.ask(other.text)).status_code == 200
    assert key.id != other.key.id


async def test_store_that_is_down_lets_nobody_in(gate: Gate) -> None:
    made = await gate.made()
    await gate.ask(made.text)
    gate.store.is_down = True

    while_fresh = await gate.ask(made.text)
    gate.clock.advance(FRESH_SECONDS)

    assert while_fresh.status_code == 200
    assert told(await gate.ask(made.text)) == (503, "store_unavailable")


async def test_last_use_is_written_in_one_go(gate: Gate) -> None:
    made = [await gate.made() for _ in range(3)]
    for one in made:
        await gate.ask(one.text)
    before = {key.last_used_at for key in await gate.store.all()}

    await gate.authenticator.note_uses()

    assert before == {None}
    assert {key.last_used_at for key in await gate.store.all()} == {gate.clock.now()}


async def test_last_use_is_written_when_the_server_stops(gate: Gate) -> None:
    made = await gate.made()
    async with anyio.create_task_group() as group:
        group.start_soon(gate.authenticator.run)
        await gate.ask(made.text)
        group.cancel_scope.cancel()

    assert (await gate.store.all())[0].last_used_at == gate.clock.now()


# --- pages of other sites -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_secret_key_in_a_page_is_refused_and_the_leak_is_told(
    gate: Gate, method: str
) -> None:
    made = await gate.made()
    await gate.made(SITE)

    answer = await gate.ask(made.text, method=method, origin=SITE)

    assert told(answer) == (403, "origin_not_allowed")
    assert "Revoke it" in answer.json()["detail"]


@pytest.mark.parametrize("origin", [EXTENSION, SITE])
async def test_publishable_key_works_from_its_pages_and_they_can_read_the_answer(
    gate: Gate, origin: str
) -> None:
    made = await gate.made(EXTENSION, SITE)

    answer = await gate.ask(made.text, method="POST", origin=origin)

    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "origin"
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_page_can_read_why_it_is_refused(gate: Gate) -> None:
    await gate.made(SITE)

    answer = await gate.ask("nonsense", method="POST", origin=SITE)

    assert told(answer) == (401, "auth_invalid")
    assert answer.headers["access-control-allow-origin"] == SITE


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("origin", [EVIL, "null", "", "https://acme.example.evil.example"])
async def test_publishable_key_works_from_no_other_page(
    gate: Gate, method: str, origin: str
) -> None:
    made = await gate.made(SITE)

    answer = await gate.ask(made.text, method=method, origin=origin)

    assert told(answer) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


async def test_key_of_one_site_does_not_work_from_the_page_of_another_customer(gate: Gate) -> None:
    made = await gate.made(SITE)
    await gate.made("https://other.example", owner="other")

    answer = await gate.ask(made.text, method="POST", origin="https://other.example")

    assert told(answer) == (403, "origin_not_allowed")


async def test_preflight_is_answered_for_known_pages_alone(gate: Gate) -> None:
    await gate.made(SITE)
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }

    known, unknown = [
        await gate.client.options("/v1/things", headers={**asked, "origin": origin})
        for origin in (SITE, EVIL)
    ]

    assert (known.status_code, known.content) == (204, b"")
    assert known.headers["access-control-allow-origin"] == SITE
    assert "POST" in known.headers["access-control-allow-methods"]
    assert "authorization" in known.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in known.headers
    assert "access-control-allow-origin" not in unknown.headers


async def test_page_is_forgotten_with_its_last_key(gate: Gate) -> None:
    made = await gate.made(SITE)
    await gate.ask(made.text, method="POST", origin=SITE)
    await rules.revoke(made.key.id, actor="test", desk=gate.desk)
    gate.clock.advance(FRESH_SECONDS)

    answer = await gate.ask(made.text, method="POST", origin=SITE)

    assert told(answer) == (403, "origin_not_allowed")


async def test_publishable_key_has_no_scope_but_scan(gate: Gate) -> None:
    made = await gate.made(SITE)

    answer = await gate.ask(made.text, origin=SITE)

    assert answer.json()["scopes"] == ["scan"]


# --- limits, as the answer tells them ------------------------------------------------------------


async def test_answer_carries_the_limits_of_its_own_request(gate: Gate) -> None:
    made = await gate.made(limits=Limits(rate_per_minute=60))
    headers = {"authorization": f"Bearer {made.text}"}

    answer = await gate.client.get("/v1/limited", headers=headers)

    assert answer.headers["ratelimit-policy"] == '"scans";q=60;w=60'
    assert answer.headers["ratelimit"] == '"scans";r=0;t=1'
    assert "ratelimit" not in (await gate.ask(made.text)).headers


async def test_refusal_for_a_limit_says_which_and_for_how_long(gate: Gate) -> None:
    made = await gate.made(limits=Limits(rate_per_minute=60))
    headers = {"authorization": f"Bearer {made.text}"}
    await gate.client.get("/v1/limited", headers=headers)

    answer = await gate.client.get("/v1/limited", headers=headers)

    assert told(answer) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["ratelimit-policy"] == '"scans";q=60;w=60'
    assert answer.headers["ratelimit"] == '"scans";r=0;t=7'
    assert answer.json()["violated-policies"] == ["scans"]
    assert answer.json()["type"].endswith("/http-problem-types#quota-exceeded")
