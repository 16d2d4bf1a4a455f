"""Hooks of schemathesis: what the document cannot say of a good request.

No image is fetched from where a generated URL leads, and nothing is sent there: URLs of images are
made those of pictures on loopback, URLs of webhooks those of a receiver there. Times are such as
clients write them.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

_PICTURES = itertools.cycle(os.environ["PICTURES"].split())  # noqa: TID251 - of the test
_RECEIVER = os.environ["RECEIVER"]  # noqa: TID251 - of the test

schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)).map(
        datetime.isoformat
    ),
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let what is a URL in the body be one that may be asked."""
    if case.media_type == "application/json":
        of_hook = case.operation.path.startswith("/v1/webhooks")
        case.body = _led(case.body, _RECEIVER if of_hook else None)


def _led(node: Any, receiver: str | None) -> Any:
    if isinstance(node, list):
        return [_led(one, receiver) for one in node]
    if isinstance(node, dict):
        return {name: _url(name, value, receiver) for name, value in node.items()}
    return node


def _url(name: str, value: Any, receiver: str | None) -> Any:
    if not isinstance(value, str) or not value.lower().startswith(("http://", "https://")):
        return _led(value, receiver)
    if name == "url":
        return receiver or next(_PICTURES)
    return _RECEIVER if name == "callback_url" else value
