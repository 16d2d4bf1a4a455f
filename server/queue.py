"""RQ DOOR: rings a ticket, "there is work". Knows nothing of scans.

A ticket names one function and carries no arguments, so a few that wait say as much as a
thousand: above a handful none is added. RQ is blocking, so it adds them in a thread; how many
wait, which is all that is asked while there is much to do, the event loop asks by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue as Tickets
from rq.serializers import JSONSerializer

from worker.contract import DRAIN, QUEUE, RedisSettings

from .connections import Connections
from .ports import Unavailable
from .together import Together

TICKET_LIMIT = 4
"""Waiting tickets above which a ring adds none."""
CONNECTIONS = 2
"""Most connections from one process to ask how many wait."""
FAILURE_SECONDS = 3600
"""How long RQ may keep a ticket that it counts as failed; its default is a year."""


class RqQueue:
    """Queue over RQ, as ports.py describes it."""

    def __init__(self, settings: RedisSettings) -> None:
        timeout = settings.redis_timeout_seconds
        self._connections = Connections(settings, most=CONNECTIONS)
        self._redis = Redis.from_url(
            settings.address,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),
        )
        self._tickets = Tickets(QUEUE, connection=self._redis, serializer=JSONSerializer)
        self._rings: Together[None] = Together(self._ring)

    async def ring(self) -> None:
        """Make sure that a worker will look at the ledger soon; raises Unavailable."""
        await self._rings.do(None)

    async def aclose(self) -> None:
        """Close all connections, once no ring is on its way that would open one anew."""
        await self._rings.ended()
        await self._connections.aclose()
        await anyio.to_thread.run_sync(self._redis.close)

    async def _ring(self, _asked: Sequence[None]) -> None:
        with self._connections.told():
            waiting = await self._connections.redis.llen(self._tickets.key)
        if waiting < TICKET_LIMIT:
            await anyio.to_thread.run_sync(self._add)

    def _add(self) -> None:
        try:
            self._tickets.enqueue(
                DRAIN,
                job_timeout=-1,  # a drain lasts as long as there is work
                result_ttl=0,
                failure_ttl=FAILURE_SECONDS,
                description=DRAIN,
            )
        except (RedisError, OSError) as error:
            raise Unavailable("redis", str(error) or type(error).__name__) from error
