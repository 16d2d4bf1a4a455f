"""Serves a fake platform on loopback, from a thread: real libraries speak real HTTP to it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


class Unreliable:
    """An ASGI application that can be told to do the next POST and cut the connection after it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._loses_next = False

    def lose_answer(self) -> None:
        self._loses_next = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self._loses_next or scope.get("method") != "POST":
            await self._app(scope, receive, send)
            return
        self._loses_next = False
        await self._app(scope, receive, _into_nothing)
        # A body that is promised and never sent makes uvicorn close the connection.
        headers = [(b"content-length", b"1"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _into_nothing(_message: Any) -> None:
    pass


class Looks:
    """Tells a stage when an adapter that was just opened has looked for posts the first time.

    What is posted before it is not yielded by `items(None)`, and the suite would wait in vain.
    """

    def __init__(self) -> None:
        self._has_looked = threading.Event()
        self._has_looked.set()

    def expect_one(self) -> None:
        self._has_looked.clear()

    def expect_none(self) -> None:
        self._has_looked.set()

    def saw(self) -> None:
        """The adapter has looked: what is posted from now on is new to it."""
        self._has_looked.set()

    async def wait(self) -> None:
        assert await asyncio.to_thread(self._has_looked.wait, 10)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application for as long as the context lasts; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)  # noqa: TID251 - uvicorn has no event to wait for
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
