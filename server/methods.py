"""Allow of an OPTIONS answer: all methods of the path. A hook that litestar calls before it sends.

litestar 2.x makes the answer to OPTIONS when the first handler of a path is registered, and goes on
with that one when others follow, so that it names the methods of the first alone.
"""

from __future__ import annotations

from litestar.datastructures import MutableScopeHeaders
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope


async def tell_methods(message: Message, scope: Scope) -> None:
    """Let the Allow of an OPTIONS answer name every method that the path takes."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    headers = MutableScopeHeaders.from_message(message)
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(_methods(scope)))


def _methods(scope: Scope) -> set[str]:
    return {
        method
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
        for method in route.methods
    }
