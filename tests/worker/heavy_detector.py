"""A detector that must not be loaded where pictures are only prepared."""

from __future__ import annotations

from worker.testing import FixedDetector


def load(*, engine: str, precision: str, batch_limit: int) -> FixedDetector:
    """Refuse; PINCLIP_DETECTOR=tests.worker.heavy_detector:load."""
    raise RuntimeError(f"a batch of {batch_limit} in {precision} by {engine} is too heavy")


def load_preprocessor() -> FixedDetector:
    """Return what prepares; it could score, but nobody asks it."""
    return FixedDetector()
