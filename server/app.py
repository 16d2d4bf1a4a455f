"""The composition root: makes every part of the server and puts them together.

    settings -> Database -> SqlScans, SqlKeys, SqlAppeals, SqlWebhooks ...     the truth
             -> RedisBoard, RedisMeter, RqQueue, FileSpool, SystemClock        the other ports
             -> Readiness, Limiter, Authenticator -> the desks -> routes       what requests meet
             -> Collector, Courier, ...                                        what runs beside them
             -> Edge(Litestar(...))                                            the ASGI application

A port that is given instead is the giver's to start and to close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio
from litestar import Litestar
from litestar.di import Provide

from worker.guard import Policy
from worker.tracing import Tracing

from . import problems
from .auth import Authenticator, Finder, guarding, provide_caller
from .board import RedisBoard
from .clock import SystemClock
from .collector import Collector
from .courier import Bell, Courier, Sender
from .edge import Edge
from .limits import RedisMeter
from .methods import tell_methods
from .metrics import Metrics, disk_of
from .ports import Board, Clock, Precedents, Queue, Records, Spool, Uses
from .queue import RqQueue
from .receipts import Signer
from .routes import (
    appeals,
    batches,
    compat,
    errors,
    events,
    feedback,
    health,
    keys,
    lookups,
    metrics,
    models,
    openapi,
    receipts,
    scans,
    uploads,
    webhooks,
)
from .rules import retention
from .rules.appeals import AppealDesk
from .rules.batches import BatchDesk
from .rules.compat import CompatDesk
from .rules.desk import Desk
from .rules.feedback import FeedbackDesk
from .rules.limits import Limiter
from .rules.lookups import LookupDesk
from .rules.metrics import MetricsDesk
from .rules.models import ModelDesk, Workers
from .rules.readiness import Pace, Readiness
from .rules.receipts import ReceiptDesk
from .rules.retention import RetentionDesk, Turns
from .rules.webhooks import WebhooksDesk
from .settings import OnFailure, ServerSettings
from .spool import FileSpool
from .store.appeals import SqlAppeals
from .store.batches import SqlBatches
from .store.deliveries import SqlDeliveries
from .store.engine import Database
from .store.feedback import SqlFeedback
from .store.keys import SqlKeys
from .store.lookups import SqlLookups
from .store.retention import SqlRetention
from .store.scans import SqlScans
from .store.webhooks import SqlWebhooks

Task = Callable[[], Coroutine[Any, Any, None]]
NO_TRACING = Tracing()
ROUTES = (
    scans.router,
    events.router,
    uploads.router,
    appeals.router,
    feedback.router,
    receipts.router,
    batches.router,
    lookups.router,
    models.router,
    webhooks.router,
    keys.router,
    errors.router,
    compat.router,
    metrics.get_metrics,
    health.healthz,
    health.readyz,
    openapi.get_schema,
)
"""Every route there is."""


class Store(Records, Precedents, Uses, Protocol):
    """What the records are given as: the truth, and what follows from it."""


class Places(Board, Workers, Turns, Protocol):
    """What Redis is given as: the server's half, what workers say, whose turn it is."""


def create_app(
    settings: ServerSettings,
    *,
    records: Store | None = None,
    board: Places | None = None,
    queue: Queue | None = None,
    spool: Spool | None = None,
    finder: Finder | None = None,
    clock: Clock | None = None,
    tracing: Tracing = NO_TRACING,
) -> Edge:
    """Return the server as an ASGI application; its lifespan starts and stops all background work.

    Its `prepare`, which the lifespan awaits too, raises StartRefused if the store cannot be used.
    Raises StartRefused if the key of the receipts cannot be read or made.
    """
    clock = clock or SystemClock()
    life = _Life()
    database = life.of_database(Database(settings))
    bell = Bell()
    sql = SqlScans(database, clock, bell)
    counted = Metrics()
    pace = Pace(clock)
    records = records or life.of_records(sql)
    board = board or life.of_board(RedisBoard(settings.redis))
    desk = Desk(
        records=records,
        precedents=records,
        board=board,
        queue=queue or life.of_queue(RqQueue(settings.redis)),
        spool=spool or FileSpool(settings.redis.state_dir, clock),
        clock=clock,
        policy=Policy(settings.fetch_allow_networks, settings.fetch_allow_ports),
        readiness=Readiness(
            records=records, board=board, clock=clock, pace=pace, queue_limit=settings.queue_limit
        ),
        limiter=Limiter(life.of_meter(RedisMeter(settings.redis)), clock),
        counters=counted,
    )
    authenticator = life.of_authenticator(
        Authenticator(finder or SqlKeys(database), clock, is_local=settings.is_local)
    )
    disputes = SqlAppeals(database, scans=sql, clock=clock)
    collector = Collector(
        records=records,
        uses=records,
        board=board,
        queue=desk.queue,
        spool=desk.spool,
        clock=clock,
        pace=pace,
        limiter=desk.limiter,
        disputes=disputes,
        counters=counted,
    )
    forgetting = RetentionDesk(
        store=SqlRetention(database), turns=board, clock=clock, days=settings.retention_days
    )
    life.tasks += [collector.run, partial(retention.run, forgetting)]
    life.of_courier(database, desk, counted=counted, bell=bell)
    desks = {
        "desk": desk,
        "batch_desk": BatchDesk(batches=SqlBatches(database, bell=bell), scans=desk),
        "model_desk": ModelDesk(
            workers=board, onnx=Path(settings.onnx).expanduser() if settings.onnx else None
        ),
        **_desks_of_rows(settings, database, desk, sql=sql, disputes=disputes),
        **_desks_of_doors(settings, desk, callers=authenticator, counted=counted),
    }
    return Edge(
        _routed(desks, authenticator, life),
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        origins=authenticator.origins,
        answered=counted.answered,
        tracing=tracing,
        clock=clock,
        stopping=desk.stopping,
        prepare=life.prepare,
    )


def _routed(desks: Mapping[str, object], authenticator: Authenticator, life: _Life) -> Litestar:
    """Return the routes, each given the desk that it asks for by name."""
    return Litestar(
        ROUTES,
        dependencies={
            "caller": Provide(provide_caller),
            **{name: _given(desk) for name, desk in desks.items()},
        },
        guards=[guarding(authenticator)],
        exception_handlers=problems.handlers(),
        before_send=[tell_methods],
        lifespan=[life.lived],
        # Bodies are limited where they are read; the API's document is ours (server/schema).
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )


def _desks_of_rows(
    settings: ServerSettings, database: Database, desk: Desk, *, sql: SqlScans, disputes: SqlAppeals
) -> dict[str, object]:
    """Return the desks of what is kept in SQL beside the scans, by name."""
    hooks = SqlWebhooks(database)
    signer = Signer.of(settings.redis.state_dir, given=settings.receipt_key)
    return {
        "appeal_desk": AppealDesk(
            appeals=disputes, replays=sql, flights=desk.board, clock=desk.clock
        ),
        "feedback_desk": FeedbackDesk(
            store=SqlFeedback(database, scans=sql),
            scans=sql,
            replays=sql,
            flights=desk.board,
            clock=desk.clock,
        ),
        "lookup_desk": LookupDesk(
            lookups=SqlLookups(database), readiness=desk.readiness, limiter=desk.limiter
        ),
        "receipt_desk": ReceiptDesk(scans=sql, signer=signer),
        "webhooks_desk": WebhooksDesk(
            endpoints=hooks,
            deliveries=hooks,
            replays=sql,
            flights=desk.board,
            clock=desk.clock,
            policy=desk.policy,
        ),
    }


def _desks_of_doors(
    settings: ServerSettings, desk: Desk, *, callers: Authenticator, counted: Metrics
) -> dict[str, object]:
    """Return the desks of what other programs ask in their own words, by name."""
    state_dir = settings.redis.state_dir
    accepts_unjudged = settings.pictrs_on_failure is OnFailure.ACCEPT
    return {
        "compat_desk": CompatDesk(desk=desk, callers=callers, accepts_unjudged=accepts_unjudged),
        "metrics_desk": MetricsDesk(
            counters=counted, parts=desk.readiness, disk=lambda: disk_of(state_dir)
        ),
    }


def _given(part: object) -> Provide:
    return Provide(lambda: part, sync_to_thread=False)


class _Life:
    """What starts with the application, runs beside it, and is closed after it."""

    def __init__(self) -> None:
        self.starts: list[Task] = []
        self.tasks: list[Task] = []
        self.ends: list[Task] = []

    def of_database(self, database: Database) -> Database:
        self.starts.append(database.prepare)
        self.ends.append(database.aclose)
        return database

    def of_records(self, records: SqlScans) -> SqlScans:
        self.tasks.append(records.run)
        return records

    def of_board(self, board: RedisBoard) -> RedisBoard:
        self.ends.append(board.aclose)
        return board

    def of_queue(self, queue: RqQueue) -> RqQueue:
        self.ends.append(queue.aclose)
        return queue

    def of_meter(self, meter: RedisMeter) -> RedisMeter:
        self.ends.append(meter.aclose)
        return meter

    def of_authenticator(self, authenticator: Authenticator) -> Authenticator:
        self.tasks.append(authenticator.run)
        return authenticator

    def of_courier(self, database: Database, desk: Desk, *, counted: Metrics, bell: Bell) -> None:
        sender = Sender(desk.policy)
        courier = Courier(
            deliveries=SqlDeliveries(database),
            sender=sender,
            clock=desk.clock,
            bell=bell,
            metrics=counted,
        )
        self.tasks.append(courier.run)
        self.ends.append(sender.aclose)

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
