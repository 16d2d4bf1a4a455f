"""A hundred callers ask for one image at once: `python benchmarks/one_image_hundred_callers.py`.

    100 callers, one URL --> API --> worker --> fetches, counted by the origin
                                           --> forward passes, counted by the model's double
    answers with a verdict, counted here

It should take one fetch and one forward pass, and give a hundred answers. The double takes
SECONDS an image, so that all of them ask before the first is answered. One JSON line.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.callers import load
from benchmarks.doubles import ASLEEP
from benchmarks.measuring import at_least, at_most, percentile, tell
from benchmarks.origins import Origins
from benchmarks.running_system import RunningSystem

CALLERS = 100
SECONDS = 2.0
NAME = "small/1.jpg"


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name, Origins(hosts=1) as origins:
        forwards = Path(name) / "forwards"
        settings = {
            "PINCLIP_DETECTOR": ASLEEP,
            "BENCH_SECONDS": str(SECONDS),
            "BENCH_FORWARDS": str(forwards),
        }
        with RunningSystem(Path(name), origins.port, **settings) as system:
            # The worker's first pass is over a grey picture, to warm up: count from here on.
            forwards.write_text("")
            url = origins.url(NAME)
            answers = load(system.port, CALLERS, [url] * CALLERS)
            images = sum(int(line) for line in forwards.read_text().split())
        fetches = origins.requests(NAME)
    answered = [answer for answer in answers if answer.scan["status"] == "completed"]
    return tell(
        {
            "name": "one_image_hundred_callers",
            "callers": CALLERS,
            "fetches": fetches,
            "images scored": images,
            "answers": len(answered),
            "verdicts": sorted({str(answer.scan["verdict"]) for answer in answered}),
            "asked to come later": sum(answer.refused for answer in answers),
            "seconds to the last": round(percentile([one.seconds for one in answers], 1.0), 2),
            "bars": [
                at_most("one image, 100 callers: fetches", fetches, 1),
                at_most("one image, 100 callers: images scored", images, 1),
                at_least("one image, 100 callers: answers", len(answered), CALLERS),
            ],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
