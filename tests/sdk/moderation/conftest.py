"""What the kit's tests share: their async tests run on asyncio, as the kit itself does."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
