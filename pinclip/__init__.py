"""pinclip: says when an image is likely made by AI, and how often it is wrong when it says so.

    detector = pinclip.load()
    for reading in detector.predict([image]):
        print(reading.score, reading.probability, reading.slice)

`load` and `Detector` are resolved on first use, so that `import pinclip` costs nothing: no
numpy, no inference engine. Weights come in a distribution of their own (pinclip-weights-b16).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .detector import Detector, Reading, load
    from .weights import WeightsError

__version__ = "0.1.0"
__all__ = ["Detector", "Reading", "WeightsError", "__version__", "load"]

_HOMES = {
    "Detector": ".detector",
    "Reading": ".detector",
    "WeightsError": ".weights",
    "load": ".detector",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinclip' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
