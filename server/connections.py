"""REDIS DOOR: the connections of the server, and how it hears that Redis is in trouble.

    with connections.told():        within the time of the settings, or Unavailable("redis")
        await connections.redis.get(...)

Knows no key and no command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError

from worker.contract import RedisSettings

from .ports import Unavailable

FULL = "its memory is full: it takes scans again once some are done, and more with more maxmemory"
"""What is said of a Redis that is at its maxmemory."""


class Connections:
    """At most `most` connections; answers are bytes, or text with `is_text`."""

    def __init__(self, settings: RedisSettings, *, most: int, is_text: bool = False) -> None:
        self._timeout = settings.redis_timeout_seconds
        self._pool = BlockingConnectionPool.from_url(
            settings.address,
            max_connections=most,
            timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            socket_timeout=None,  # each call has its own limit, see told
            retry=Retry(NoBackoff(), 1),  # one, for a connection that a restart has closed
            decode_responses=is_text,
        )
        self.redis = Redis(connection_pool=self._pool)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.redis.aclose()
        await self._pool.aclose()

    @contextmanager
    def told(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Turn whatever Redis raises, and silence past the timeout, into Unavailable."""
        seconds = self._timeout + wait_seconds
        try:
            with anyio.fail_after(seconds):
                yield
        except TimeoutError as error:
            raise Unavailable("redis", f"no answer within {seconds:g} s") from error
        except OutOfMemoryError as error:
            raise Unavailable("redis", FULL) from error
        except (RedisError, OSError) as error:
            raise Unavailable("redis", str(error) or type(error).__name__) from error
