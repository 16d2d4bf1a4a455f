"""Detectors that stand in for the model, to be named by PINCLIP_DETECTOR.

    load_asleep   the FixedDetector on a device that takes BENCH_SECONDS for each image, and none
                  of this machine's processors; each forward pass adds a line with its number of
                  images to the file BENCH_FORWARDS
    load_mixed    the real model, which sees the share BENCH_SHARE of all batches; the others are
                  answered as it answered last

What they are told comes from the environment, since a worker gives its detector nothing else.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.testing import FixedDetector

if TYPE_CHECKING:
    from numpy.typing import NDArray

ASLEEP = "benchmarks.doubles:load_asleep"
MIXED = "benchmarks.doubles:load_mixed"


class Asleep(FixedDetector):
    """A FixedDetector whose forward pass takes its time."""

    def __init__(self, *, batch_limit: int) -> None:
        super().__init__(batch_limit=batch_limit)
        self._seconds = float(os.environ.get("BENCH_SECONDS", "0"))
        self._log = os.environ.get("BENCH_FORWARDS", "")

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 8, 8) -> (B, 1), as dark as need be for no picture to be looked at twice."""
        time.sleep(self._seconds * len(batch))
        if self._log:
            with open(self._log, "a") as lines:
                lines.write(f"{len(batch)}\n")
        return super().forward(batch) * np.float32(0.25)


def load_asleep(*, engine: str, precision: str, batch_limit: int) -> Asleep:
    """Load it as a worker loads the real one; `engine` and `precision` are unread."""
    del engine, precision
    return Asleep(batch_limit=batch_limit)


class Mixed:
    """The real detector, of whose forward passes most are left out."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        self._share = float(os.environ.get("BENCH_SHARE", "0.1"))
        self._owed = 1.0
        self._last: NDArray[np.float32] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, S, S) -> (B, K): run, or the last row that was."""
        self._owed += self._share
        if self._last is None or self._owed >= 1.0:
            self._owed -= 1.0
            outputs: NDArray[np.float32] = self._detector.forward(batch)
            self._last = outputs[-1:]
            return outputs
        return np.repeat(self._last, len(batch), axis=0)


def load_mixed(**options: Any) -> Mixed:
    """Load the real detector and wrap it."""
    from pinclip.detector import load

    return Mixed(load(**options))
