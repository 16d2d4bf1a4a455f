"""What litestar gives a handler: the request, who asks, and the Desk that app.py put together."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from server.rules.caller import Caller
from server.rules.desk import Desk

AnyRequest = Request[Any, Any, Any]
# Not validated: litestar would look into it field by field, at each request.
GivenDesk = NamedDependency[SkipValidation[Desk]]
GivenCaller = NamedDependency[SkipValidation[Caller]]


def caller_of(request: AnyRequest) -> Caller:
    """Return who asks, as the guard found.

    For the handlers that are asked most: litestar makes a task group for two dependencies, and a
    task for each, which takes a sixth of the time that a known image takes.
    """
    caller: Caller = request.state.caller
    return caller
