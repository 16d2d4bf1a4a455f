"""The real API on loopback for the tests of commands, whose stdout has to be theirs alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from .small_api import small_api


@contextmanager
def quiet_api() -> Iterator[str]:
    """Yield the address of a small_api that logs nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        # A short path: a unix socket's name has room for about 100 characters.
        with (
            tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
            small_api(Path(folder), allow_port=1) as url,
        ):
            yield url
    finally:
        structlog.reset_defaults()
