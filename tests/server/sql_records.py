"""The scans over a database of their own, as one process has them."""

from __future__ import annotations

from server.ports import Clock
from server.settings import ServerSettings
from server.store.engine import Database
from server.store.scans import SqlScans


class SqlRecords(SqlScans):
    """SqlScans, with the database to prepare and to close."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self.database = Database(settings)
        super().__init__(self.database, clock)

    async def prepare(self) -> None:
        await self.database.prepare()

    async def aclose(self) -> None:
        await self.database.aclose()
