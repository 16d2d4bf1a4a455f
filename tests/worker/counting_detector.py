"""A FixedDetector that takes its time and writes down what it scores, for tests that kill it.

`PINCLIP_DETECTOR=tests.worker.counting_detector:load`, COUNTED=a file: a line for each picture
with its score in 255ths.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sdk.environment import inherited
from worker.testing import FixedDetector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS = 0.05
"""What one picture takes."""


class CountingDetector(FixedDetector):
    """Its `weights_id` is its own, so that its results are not those of a FixedDetector."""

    weights_id = "counting"

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = super().forward(batch)
        Event().wait(SECONDS * len(batch))
        with Path(inherited()["COUNTED"]).open("a") as file:
            file.writelines(f"{round(float(score) * 255)}\n" for score in outputs[:, 0])
        return outputs


def load(*, engine: str, precision: str, batch_limit: int) -> CountingDetector:
    return CountingDetector(batch_limit=batch_limit)
