"""What comes with the weights for people to read, as a worker finds it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pinclip.detector import Detector
from pinclip.weights import open_weights

TOWER: Any = SimpleNamespace(engine="none", precision="float32", device="cpu")


def _detector(folder: Path) -> Detector:
    return Detector(open_weights(folder), TOWER, batch_limit=1, reason="none runs")


def test_shipped_weights_have_a_card_that_names_them(folder: Path) -> None:
    detector = _detector(folder)

    assert detector.card is not None
    assert detector.weights_id in detector.card


def test_papers_are_read_where_they_are_and_missing_where_not(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*.*"):
        if file.name not in ("CARD.md", "gate.json"):
            (tmp_path / file.name).symlink_to(file)
    detector = _detector(tmp_path)
    assert (detector.card, detector.gate_report) == (None, None)

    (tmp_path / "gate.json").write_text('{"is_refused": false}')
    (tmp_path / "CARD.md").write_bytes(b"\xff\xfe no text")

    assert (detector.card, detector.gate_report) == (None, '{"is_refused": false}')
