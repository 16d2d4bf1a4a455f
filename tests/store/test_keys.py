"""Keys as SQL keeps them: found by digest, never twice, each act with its line in the audit log."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from sdk.wire import Scope
from server.rules import keys as rules
from server.rules.caller import Limits
from server.rules.keys import Key, KeyRequest, KeysDesk, Kind, digest_of
from server.settings import ServerSettings
from server.store import keys as store
from server.store.audit import SqlAudit
from server.store.engine import Database
from server.store.keys import SqlKeys
from server.store.tables import KeyRow
from tests.fakes import ManualClock
from tests.store.conftest import opened
from worker.contract import RedisSettings

pytestmark = pytest.mark.anyio

BOT = KeyRequest(
    owner="acme",
    name="bot",
    scopes=frozenset({Scope.SCAN, Scope.READ}),
    limits=Limits(rate_per_minute=600, parallel=64, quota_per_day=100_000),
    lifetime_seconds=90 * 86_400,
)
SITE = "https://acme.example"
PAGE = KeyRequest(
    owner="acme",
    name="page",
    scopes=frozenset({Scope.SCAN}),
    kind=Kind.PUBLISHABLE,
    origins=(SITE, "chrome-extension://" + "a" * 32),
)


@pytest.fixture
def keys(database: Database) -> SqlKeys:
    return SqlKeys(database)


@pytest.fixture
def desk(keys: SqlKeys, clock: ManualClock) -> KeysDesk:
    return KeysDesk(store=keys, clock=clock)


async def made(request: KeyRequest, desk: KeysDesk) -> tuple[Key, str]:
    made = await rules.create(request, actor="test", desk=desk)
    return made.key, made.text


@pytest.mark.parametrize("request_", [BOT, PAGE], ids=["secret", "publishable"])
async def test_key_comes_back_as_it_was_made(
    keys: SqlKeys, desk: KeysDesk, request_: KeyRequest
) -> None:
    key, text = await made(request_, desk)

    assert await keys.find([digest_of(text)]) == {digest_of(text): key}
    assert await keys.get(key.id) == key


async def test_key_itself_is_nowhere_in_the_store(
    database: Database, keys: SqlKeys, desk: KeysDesk
) -> None:
    _, text = await made(BOT, desk)

    rows = await database.rows(sa.select(*KeyRow.__table__.c))
    entries = await SqlAudit(database).entries()

    assert text not in repr(rows)
    assert text not in repr(entries)


async def test_one_query_finds_many_and_leaves_out_what_there_is_not(
    keys: SqlKeys, desk: KeysDesk
) -> None:
    pairs = [await made(BOT, desk) for _ in range(3)]
    asked = [digest_of(text) for _, text in pairs]

    found = await keys.find([*asked, digest_of("sk_other")])

    assert found == {digest_of(text): key for key, text in pairs}


async def test_newest_key_is_listed_first(
    keys: SqlKeys, desk: KeysDesk, clock: ManualClock
) -> None:
    first, _ = await made(BOT, desk)
    clock.advance(1)
    second, _ = await made(PAGE, desk)

    assert await keys.all() == [second, first]


async def test_revoked_key_is_still_found_and_says_so(
    keys: SqlKeys, desk: KeysDesk, clock: ManualClock
) -> None:
    key, text = await made(BOT, desk)

    await rules.revoke(key.id, actor="test", desk=desk)

    found = (await keys.find([digest_of(text)]))[digest_of(text)]
    assert found.state(clock.now()) == "revoked"
    assert not await keys.is_one_live(clock.now())
    assert await keys.are_there_any()


async def test_rotation_adds_a_key_and_lets_the_old_one_expire(
    keys: SqlKeys, desk: KeysDesk, clock: ManualClock
) -> None:
    old, _ = await made(BOT, desk)
    clock.advance(10)

    new = await rules.rotate(old.id, overlap_seconds=3600, actor="test", desk=desk)

    kept = await keys.get(old.id)
    assert kept is not None
    assert kept.expires_at == clock.now() + 3600
    assert (new.key.owner, new.key.scopes, new.key.limits) == (old.owner, old.scopes, old.limits)
    assert new.key.expires_at == clock.now() + 90 * 86_400


async def test_key_that_was_revoked_meanwhile_is_not_replaced(
    keys: SqlKeys, desk: KeysDesk, clock: ManualClock
) -> None:
    old, _ = await made(BOT, desk)
    new = (await rules.create(PAGE, actor="test", desk=desk)).key
    await keys.revoke(old.id, actor="test", now=clock.now())

    is_done = await keys.replace(
        old, until=clock.now(), new=new, digest=digest_of("x"), actor="test"
    )

    assert not is_done
    assert len(await keys.all()) == 2


async def test_every_act_is_in_the_audit_log(database: Database, desk: KeysDesk) -> None:
    key, _ = await made(BOT, desk)
    new = await rules.rotate(key.id, overlap_seconds=0, actor="test", desk=desk)
    await rules.revoke(key.id, actor="test", desk=desk)

    entries = await SqlAudit(database).entries(actor="test")

    assert [(entry.action, entry.subject) for entry in entries] == [
        ("key.revoke", key.id),
        ("key.rotate", new.key.id),
        ("key.create", key.id),
    ]
    assert (await SqlAudit(database).verify()).fault is None


async def test_origins_are_those_of_publishable_keys_that_work(
    keys: SqlKeys, desk: KeysDesk, clock: ManualClock
) -> None:
    page, _ = await made(PAGE, desk)
    await made(BOT, desk)

    before = await keys.origins(clock.now())
    await keys.revoke(page.id, actor="test", now=clock.now())

    assert before == frozenset(PAGE.origins)
    assert await keys.origins(clock.now()) == frozenset()


async def test_last_use_never_goes_back(keys: SqlKeys, desk: KeysDesk, clock: ManualClock) -> None:
    first, _ = await made(BOT, desk)
    second, _ = await made(PAGE, desk)
    at = clock.now()

    await keys.note_uses({first.id: at + 60, second.id: at + 1})
    await keys.note_uses({first.id: at + 30, second.id: at + 2})

    assert {key.id: key.last_used_at for key in await keys.all()} == {
        first.id: at + 60,
        second.id: at + 2,
    }


QUERIES = {
    "look-up of a key": (sa.text("SELECT * FROM keys WHERE digest IN ('a', 'b')"), "(digest=?)"),
    "origins": (store._origins(1.0), "ix_keys_publishable"),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_query_that_a_caller_waits_for_uses_an_index(name: str, tmp_path: Path) -> None:
    # On SQLite: PostgreSQL reads a table this small from end to end, whatever its indexes.
    query, index = QUERIES[name]

    def plan(connection: sa.Connection) -> str:
        asked = query.compile(dialect=sqlite.dialect(paramstyle="named"))
        explain = sa.text(f"EXPLAIN QUERY PLAN {asked}")
        return str(connection.execute(explain, asked.params).all())

    async with opened(ServerSettings(redis=RedisSettings(state_dir=tmp_path))) as database:
        found = await database.read(plan)

    assert "USING INDEX" in found
    assert index in found
