"""Listens for what other software posts, in the loop of the bot and as long as the bot runs.

    async with listening(door, host="127.0.0.1", port=8418, setting="PINCLIP_...") as address:
        ...                                   # http://127.0.0.1:8418, one connection or many

uvicorn does the work. Knows no path and no platform; what is answered is the application's part.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from sdk.moderation.platform import PlatformError


@asynccontextmanager
async def listening(app: Any, *, host: str, port: int, setting: str) -> AsyncIterator[str]:
    """Serve an ASGI application; yields its address, as in http://127.0.0.1:8418.

    Port 0 takes a free one. Raises PlatformError where nothing can listen, and names `setting`,
    the variable that holds the port.
    """
    with _listener(host, port, setting=setting) as listener:
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """A server that leaves the signals to the bot that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(host: str, port: int, *, setting: str) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PlatformError(
            f"Nothing can listen on {host} port {port}: {error}.",
            hint=f"Set {setting} to a free port, or stop what uses this one.",
        ) from error
