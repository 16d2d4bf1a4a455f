"""The API as a platform meets it: SQLite, Valkey, keys, all that runs beside, and a worker.

    async with platform(settings) as api:
        acme = await api.key("acme")               headers of a key that may do everything
        await api.client.get("/v1/scans", headers=acme)
        await api.rows()                           all that is on record, to see what has changed

The worker finds everything likely_ai, and looks at nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import httpx
import sqlalchemy as sa
from advanced_alchemy.base import DefaultBase

from sdk.wire import Scope
from server.app import create_app
from server.clock import SystemClock
from server.edge import Edge
from server.rules import keys as rules
from server.rules.keys import KeyRequest, KeysDesk
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.keys import SqlKeys
from tests.server.conftest import alive, calling
from tests.server.scenes import completed
from worker.ledger import StreamLedger

Headers = dict[str, str]
HOOK = "https://hooks.example.com/pinclip"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A running API, and what is behind it."""

    client: httpx.AsyncClient
    edge: Edge
    settings: ServerSettings
    database: Database

    async def made(self, owner: str, *scopes: Scope, **asked: Any) -> rules.Made:
        """Make a key for everything, or for these scopes."""
        desk = KeysDesk(store=SqlKeys(self.database), clock=SystemClock())
        request = KeyRequest(owner=owner, name="test", scopes=frozenset(scopes or Scope), **asked)
        return await rules.create(request, actor="test", desk=desk)

    async def key(self, owner: str, *scopes: Scope, **asked: Any) -> Headers:
        """Return the headers of a new key."""
        return bearing(await self.made(owner, *scopes, **asked))

    async def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what is on record in every table."""

        def work(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
            return {
                table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
                for table in DefaultBase.metadata.sorted_tables
            }

        return await self.database.read(work)


def bearing(made: rules.Made) -> Headers:
    return {"authorization": f"Bearer {made.text}"}


@asynccontextmanager
async def platform(settings: ServerSettings) -> AsyncIterator[Platform]:
    """Yield an API that runs in this loop, with a worker in a thread; stop both at the end."""
    edge = create_app(settings)
    database = Database(settings, quick_seconds=30)
    with working(settings.redis.address):
        async with alive(edge), calling(edge) as client:
            try:
                yield Platform(client=client, edge=edge, settings=settings, database=database)
            finally:
                await database.aclose()


@contextmanager
def working(redis_url: str) -> Iterator[None]:
    """Judge what waits, as soon as it does, inside of this block."""
    is_over = Event()

    def work() -> None:
        with closing(StreamLedger(redis_url, worker="by hand", timeout_seconds=5)) as ledger:
            while not is_over.wait(0.02):
                claims = ledger.claim(100)
                ledger.complete([(one, completed(one.entry.scan_id)) for one in claims])

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
