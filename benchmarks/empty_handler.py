"""A Litestar application that does nothing, served as ours is: the floor under the API's figures.

    GET /  -> {"status": "ok"}        POST /  JSON in, the same out

Run as a program it serves on the port that it is given until it is told to stop.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from litestar import Litestar, get, post


@get("/", sync_to_thread=False)
def read() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


@post("/", status_code=202, sync_to_thread=False)
def write(data: dict[str, Any]) -> dict[str, Any]:
    """Answer what came."""
    return data


if __name__ == "__main__":
    app = Litestar([read, write], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
