"""The API as one process, over uvicorn.

listen -> store prepared? -> not for this machine alone: is there a key? -> serve
TERM, Ctrl-C   new requests hear 503 -> waits are cut short -> answered -> closed, within 10 s
a second one   closed at once
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from types import FrameType

import anyio
import structlog
import uvicorn

from worker import log
from worker.supervisor import SETTINGS_STATUS
from worker.tracing import TracingUnusable
from worker.tracing import to as tracing_to

from .app import create_app
from .clock import SystemClock
from .edge import Edge
from .ports import Unavailable
from .refused import StartRefused
from .settings import ServerSettings
from .store.engine import Database
from .store.keys import SqlKeys

DRAIN_SECONDS = 6.0
"""Longest wait for answers under way after TERM."""
CLOSE_SECONDS = 3
"""Longest wait for connections to close after that."""
AWAY_STATUS = 5
"""Exit status where a later start may do better: the database server is not there."""
BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""Longest that one thread keeps Python from another that wants it. A thread of SQLite lets go at
each statement and comes back behind the event loop: by Python's 5 ms, a commit waits five times."""

_log = structlog.get_logger(__name__)


def run(settings: ServerSettings) -> int:
    """Serve the API until told to stop; return the exit status."""
    try:
        with listen(settings) as listener:
            log.setup(settings.log_level, "api")
            logging.getLogger("alembic").setLevel(logging.WARNING)  # it says the same each time
            return serve_on(listener, settings)
    except TracingUnusable as unusable:
        sys.stderr.write(f"pinclip serve: {unusable}\n")
        return SETTINGS_STATUS
    except StartRefused as refused:
        sys.stderr.write(f"pinclip serve: {refused}\n")
        return SETTINGS_STATUS if refused.is_lasting else AWAY_STATUS


def serve_on(listener: socket.socket, settings: ServerSettings) -> int:
    """Serve on a socket until told to stop; return the exit status. Raises StartRefused."""
    sys.setswitchinterval(SWITCH_SECONDS)
    tracing = tracing_to(settings.trace_endpoint, component="api")
    edge = create_app(settings, tracing=tracing)
    anyio.run(_prepare, edge, settings)
    host, port, *_ = listener.getsockname()
    _log.info("listening", host=host, port=port)
    Server(edge, settings).run(sockets=[listener])
    tracing.close()
    return 0


async def _prepare(edge: Edge, settings: ServerSettings) -> None:
    """All is ready to serve; raises StartRefused if the store or who may ask is not."""
    await edge.prepare()
    if settings.is_local:
        return
    database = Database(settings)
    try:
        is_kept = await SqlKeys(database).is_one_live(SystemClock().now())
    except Unavailable as error:
        raise StartRefused(
            f"The keys cannot be read ({error.detail}).", is_lasting=False
        ) from error
    finally:
        await database.aclose()
    if not is_kept:
        raise StartRefused(
            f"PINCLIP_HOST is {settings.host} and there is no API key that works, so that nobody "
            "could ask: make one with `pinclip keys create`, or set PINCLIP_HOST to 127.0.0.1."
        )


def listen(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens where the settings say; raises StartRefused."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Not socket.create_server: its sockets name no protocol, and asyncio turns Nagle's algorithm
    # off only for those that say TCP. With it on, each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartRefused(_not_free(settings, error)) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn, but a stop signal first lets callers hear of it."""

    def __init__(self, edge: Edge, settings: ServerSettings) -> None:
        super().__init__(
            uvicorn.Config(
                edge,
                host=settings.host,
                port=settings.port,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self._edge = edge
        self._clock = SystemClock()
        self._is_asked = False
        self._ends_at = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; the loop acts on it, since nothing may be awaited or locked here."""
        del sig, frame
        if self._is_asked:
            self.should_exit = self.force_exit = True
        self._is_asked = True

    async def on_tick(self, counter: int) -> bool:
        """Drain once asked to stop, and end when nothing is in flight; called each 0.1 s."""
        if self._is_asked and not self._edge.stopping.is_set:
            self._edge.stopping.set()
            self._ends_at = self._clock.monotonic() + DRAIN_SECONDS
            _log.info("stopping", in_flight=self._edge.in_flight)
        elif self._is_asked:
            is_late = self._clock.monotonic() > self._ends_at
            self.should_exit = self.should_exit or is_late or not self._edge.in_flight
        return await super().on_tick(counter)


def _not_free(settings: ServerSettings, error: OSError) -> str:
    taken = "stop what does, or " if error.errno == errno.EADDRINUSE else ""
    reason = os.strerror(error.errno or 0)
    return (
        f"Nothing can listen on {settings.host}:{settings.port} ({reason}): "
        f"{taken}set PINCLIP_PORT to another port."
    )
