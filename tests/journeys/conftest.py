"""A running system with the FixedDetector (white scores 1, black 0), and an origin it may fetch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.running_system import Origin, RunningSystem
from tests.journeys.pictures import picture

FIXED = {"PINCLIP_DETECTOR": "worker.testing:load_fixed"}


PICTURES = {
    "white.png": picture(255),
    "grey.png": picture(128),
    "black.png": picture(0),
    "small.png": picture(255, (100, 100)),
    "tiny.png": picture(255, (8, 8)),
    "page.html": b"<html><body>not an image</body></html>",
    "cut.png": picture(255)[:200],
    "bitmap.tiff": picture(255, kind="TIFF"),
    "nothing": b"",
}


@pytest.fixture(scope="session")
def state_folder() -> Iterator[Path]:
    """A short path: a unix socket's name has room for about 100 characters."""
    with tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin(PICTURES) as origin:
        yield origin


@pytest.fixture(scope="session")
def system(state_folder: Path, origin: Origin) -> Iterator[RunningSystem]:
    with RunningSystem(state_folder, origin.port, **FIXED) as system:
        yield system
