"""tests/vectors/local.json: what the extension's local tier must give, as the server gives it.

The same file is read by extension/local/*.test.ts: preprocessing to the byte, verdicts to the rule.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from pinclip.detector import Detector
from pinclip.preprocess import PREPROCESSING, prepare, reencoded
from pinclip.weights import SliceFacts
from sdk.wire import PointName
from worker.verdicts import Case, Facts, judge, to_confirm

FILE = Path(__file__).parent / "vectors" / "local.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text("utf-8"))


def rows(key: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in VECTORS[key]]


def drawn(case: dict[str, Any]) -> np.ndarray:
    """Return a picture that any language can draw: a slope, and a generator's noise upon it."""
    seed, noise = 1, []
    for _ in range(4093):
        seed = (seed * 1664525 + 1013904223) % 2**32
        noise.append((seed >> 24) * case["noise"] // 256)
    y, x, channel = np.mgrid[: case["height"], : case["width"], :3]
    slope = x * case["slope"] + y * case["slope"] // 2 + channel * 64
    grain = np.array(noise)[(y * 997 + x * 3 + channel) % len(noise)]
    picture: np.ndarray = ((slope + grain) % 256).astype(np.uint8)
    return picture


def prepared(case: dict[str, Any]) -> dict[str, str]:
    rgb = drawn(case)
    again = reencoded(rgb)
    arrays = {
        "prepared": prepare(rgb, PREPROCESSING),
        "reencoded": again,
        "prepared_again": prepare(again, PREPROCESSING),
    }
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def judged(case: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what worker and detector make of a row of outputs."""
    slices = msgspec.convert(given["slices"], dict[str, SliceFacts])
    meta = SimpleNamespace(
        id="m",
        calibration_id="c",
        preprocessing=PREPROCESSING,
        blocks=[12],
        outputs=given["outputs"],
        slices=slices,
    )
    detector = cast("Any", Detector.__new__(Detector))
    detector._meta, detector._slices = meta, list(slices.items())
    read = [
        None if row is None else detector.finish(np.array([row], np.float32))[0]
        for row in (case["row"], case["again"])
    ]
    facts = Facts(width=case["size"][0], height=case["size"][1])
    settled = Case(
        point=PointName(case["point"]), calibration_id="c", facts=facts, declaration=None
    )
    found = judge([read[0]], settled, again=read[1])
    return {
        "must_confirm": to_confirm([read[0]], settled) is not None,
        "verdict": found.verdict.value,
        "probability": found.probability,
        "rate": found.operating_point.expected_false_alarm_rate,
        "slice": found.operating_point.slice,
        "warnings": [str(warning) for warning in found.warnings],
    }


def test_preprocessing_is_the_one_that_ships() -> None:
    assert msgspec.convert(VECTORS["preprocessing"], type(PREPROCESSING)) == PREPROCESSING


@pytest.mark.parametrize("case", rows("pictures"))
def test_picture_is_prepared_as_the_vectors_say(case: dict[str, Any]) -> None:
    assert case | prepared(case) == case


@pytest.mark.parametrize("case", rows("verdicts"))
def test_outputs_are_judged_as_the_vectors_say(case: dict[str, Any]) -> None:
    found = judged(case, VECTORS)

    assert found.pop("probability") == pytest.approx(case["probability"], abs=1e-6)
    assert case | found == case
