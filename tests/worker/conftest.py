"""What the worker's tests share: a real Valkey, drawn pictures, entries."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis
from PIL import Image

from sdk.wire import InputKind, PointName
from tests.valkey_server import Valkey, running
from worker.contract import Entry

FOREVER = 4_000_000_000.0
"""A deadline that no test reaches, Unix time."""


@pytest.fixture(scope="session")
def valkey_of_session() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture
def valkey(valkey_of_session: Valkey) -> Valkey:
    """A running server that holds nothing."""
    with redis.Redis.from_url(valkey_of_session.url) as client:
        client.flushall()
    return valkey_of_session


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Make an entry: entry("scan_a", url="http://h.test/a.png")."""

    def make(scan_id: str, **fields: object) -> Entry:
        given = {
            "kind": InputKind.URL,
            "operating_point": PointName.BALANCED,
            "deadline": FOREVER,
            "url": f"http://h.test/{scan_id}.png",
            **fields,
        }
        return Entry(scan_id=scan_id, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def flimsy() -> bytes:
    """A PNG that FixedDetector scores 0.83, and 0.31 re-encoded."""
    pixels = np.full((300, 300, 3), 255, np.uint8)
    pixels[::2, ::2] = 80
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Draw a picture of one grey: picture(255) is a white PNG, which FixedDetector scores 1."""

    def draw(grey: int, *, size: tuple[int, int] = (300, 300), kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((size[1], size[0], 3), grey, np.uint8)).save(buffer, kind)
        return buffer.getvalue()

    return draw
