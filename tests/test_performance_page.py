"""docs/performance.md says what the benchmarks printed: all of it, missed targets too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.__main__ import PROGRAMS
from benchmarks.measuring import at_least, at_most

MACHINE = {
    "cpu": "A processor",
    "cores": 2,
    "flags": [],
    "python": "3.11.7",
    "versions": {"openvino": "2026.4.1"},
    "load_before": 0.1,
}
LINE = {
    "name": "one_image_hundred_callers",
    "callers": 100,
    "fetches": 3,
    "images scored": 1,
    "answers": 100,
    "seconds to the last": 2.5,
    "bars": [at_most("fetches", 3, 1), at_least("answers", 100, 100)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = {"machine": MACHINE, "commit": "abc1234", "date": "2026-11-26", "results": [LINE]}
    (tmp_path / "one_image_hundred_callers.json").write_text(json.dumps(kept))
    return tmp_path


def test_a_missed_target_is_told_beside_one_that_was_reached(folder: Path) -> None:
    text = page.page(page.read(folder), "by a test")

    assert "1 of 2 targets are reached." in text
    assert "| fetches | at most 1 | 3 | **falls short** | `one_image_hundred_callers` |" in text
    assert "| answers | at least 100 | 100 | reached | `one_image_hundred_callers` |" in text


def test_what_was_not_measured_is_named_with_its_command(folder: Path) -> None:
    text = page.page(page.read(folder), "by a test")

    assert "Not measured here: `python -m benchmarks worker_path`." in text
    assert "Not measured here: `forward`, `worker_path`" in text
    assert "Not measured here: `python -m benchmarks one_image_hundred_callers`." not in text


def test_the_machine_stands_beside_each_benchmark(folder: Path) -> None:
    text = page.page(page.read(folder), "by a test")

    row = next(line for line in text.splitlines() if line.startswith("| [one_image"))
    assert "A processor, 2 cores" in row
    assert "none of them" in row
    assert "Python 3.11.7, openvino 2026.4.1" in row
    assert "abc1234, 2026-11-26" in row
    assert "busy" not in row


def test_a_machine_that_was_busy_is_called_so(folder: Path) -> None:
    (result,) = page.read(folder).values()
    busy = dataclasses.replace(result, machine={**MACHINE, "load_before": 2.0})

    assert "2.0 (busy)" in page.page({busy.name: busy}, "by a test")


def test_no_result_at_all_makes_a_page_too() -> None:
    text = page.page({}, "by a test")

    assert "None was measured here." in text
    assert "Nothing was measured here." in text


def test_figures_without_bars_are_held_against_the_targets_of_their_benchmark() -> None:
    line = {"megabytes": 500.0, "stages": {"venv": 9.0, "pip": 9.0, "model": 1.5, "api": 1.0}}
    result = page.Result("cold_start", [line], MACHINE, "abc1234", "2026-11-26")

    assert [(bar["value"], bar["met"]) for bar in page.bars_of(result)] == [
        (500.0, False),
        (2.5, True),
    ]


def test_each_section_is_of_a_benchmark_that_can_be_run() -> None:
    assert set(page.SECTIONS) <= set(PROGRAMS)
