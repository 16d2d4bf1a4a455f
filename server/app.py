"""The composition root: makes every part of the server and puts them together.

    settings -> SqlRecords, RedisBoard, RqQueue, FileSpool, SystemClock      the ports
             -> Readiness -> Desk -> routes                                  what requests meet
             -> Collector                                                    what runs beside them
             -> Edge(Litestar(...))                                          the ASGI application

A port that is given instead is the giver's to start and to close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
from litestar import Litestar
from litestar.di import Provide

from worker.guard import Policy

from . import problems
from .board import RedisBoard
from .clock import SystemClock
from .collector import Collector
from .edge import Edge
from .ports import Board, Clock, Precedents, Queue, Records, Spool, Uses
from .queue import RqQueue
from .records import SqlRecords
from .routes import errors, health, openapi, scans, uploads
from .rules.desk import Desk
from .rules.readiness import Pace, Readiness
from .settings import ServerSettings
from .spool import FileSpool

Task = Callable[[], Coroutine[Any, Any, None]]


class Store(Records, Precedents, Uses, Protocol):
    """What the records are given as: the truth, and what follows from it."""


def create_app(
    settings: ServerSettings,
    *,
    records: Store | None = None,
    board: Board | None = None,
    queue: Queue | None = None,
    spool: Spool | None = None,
    clock: Clock | None = None,
) -> Edge:
    """Return the server as an ASGI application; its lifespan starts and stops all background work.

    Its `prepare`, which the lifespan awaits too, raises StartRefused if the store cannot be used.
    """
    clock = clock or SystemClock()
    life = _Life()
    records = records or life.of_records(SqlRecords(settings, clock))
    board = board or life.of_board(RedisBoard(settings.redis))
    queue = queue or life.of_queue(RqQueue(settings.redis))
    spool = spool or FileSpool(settings.redis.state_dir, clock)
    pace = Pace(clock)
    readiness = Readiness(
        records=records,
        board=board,
        clock=clock,
        pace=pace,
        queue_limit=settings.queue_limit,
    )
    collector = Collector(
        records=records,
        uses=records,
        board=board,
        queue=queue,
        spool=spool,
        clock=clock,
        pace=pace,
    )
    desk = Desk(
        records=records,
        precedents=records,
        board=board,
        queue=queue,
        spool=spool,
        clock=clock,
        policy=Policy(settings.fetch_allow_networks, settings.fetch_allow_ports),
        readiness=readiness,
    )
    life.tasks.append(collector.run)
    return Edge(
        _routes(desk, life),
        host=settings.host,
        clock=clock,
        stopping=desk.stopping,
        prepare=life.prepare,
    )


class _Life:
    """What starts with the application, runs beside it, and is closed after it."""

    def __init__(self) -> None:
        self.starts: list[Task] = []
        self.tasks: list[Task] = []
        self.ends: list[Task] = []

    def of_records(self, records: SqlRecords) -> SqlRecords:
        self.starts.append(records.prepare)
        self.tasks.append(records.run)
        self.ends.append(records.aclose)
        return records

    def of_board(self, board: RedisBoard) -> RedisBoard:
        self.ends.append(board.aclose)
        return board

    def of_queue(self, queue: RqQueue) -> RqQueue:
        self.ends.append(queue.aclose)
        return queue

    async def prepare(self) -> None:
        """Make ready what must be before anything runs; a second time costs nothing."""
        for start in self.starts:
            await start()

    @asynccontextmanager
    async def lived(self, _app: Litestar) -> AsyncIterator[None]:
        """Start all, yield, stop all in the opposite order."""
        await self.prepare()
        try:
            async with anyio.create_task_group() as group:
                for task in self.tasks:
                    group.start_soon(task)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                for end in reversed(self.ends):
                    await end()


def _routes(desk: Desk, life: _Life) -> Litestar:
    return Litestar(
        [
            scans.router,
            uploads.router,
            errors.router,
            health.healthz,
            health.readyz,
            openapi.get_schema,
        ],
        dependencies={"desk": Provide(lambda: desk, sync_to_thread=False)},
        exception_handlers=problems.handlers(),
        lifespan=[life.lived],
        # Bodies are limited where they are read; the document of the API is ours (schema.py).
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )
