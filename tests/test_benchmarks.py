"""What the benchmarks compute from what they measure."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks import measuring, pictures
from benchmarks.callers import Answer
from benchmarks.simulation import steady
from benchmarks.worker_path import bound, share

MS = {
    "fetch": 9.0,
    "decode": 9.0,
    "prepare": 9.0,
    "forward, batch 1": 40.0,
    "forward, batch 8": 25.0,
}
CPU = {"fetch": 2.0, "decode": 5.0, "prepare": 3.0}


def test_the_bound_is_the_fastest_forward_pass_and_the_cpu_time_of_the_rest() -> None:
    cores = measuring.cores()

    assert bound(MS, CPU) == pytest.approx(1000 / (25 + 10 / cores))


def test_a_second_look_lowers_the_bound_and_not_the_share() -> None:
    cores = measuring.cores()
    found = {"scans": 10, "looked at twice": 10, "scans a second": 1000 / (2 * 25 + 10 / cores)}

    assert share(found, MS, CPU) == pytest.approx(1.0)


def test_the_steady_rate_leaves_out_the_start_and_the_end() -> None:
    # A slow start, ten answers a second, a slow end.
    at = [0.0, 5.0, *(6 + number / 10 for number in range(11)), 12.0, 20.0]
    answers = [Answer(scan={}, seconds=0.1, at=moment, refused=0) for moment in at]

    assert steady(answers, callers=2) == pytest.approx(10.0)


def test_numbered_pictures_differ_in_bytes_alone() -> None:
    one, two = (pictures.numbered(pictures.photo(64, 48), number) for number in (1, 2))

    assert one != two
    assert _pixels(one) == _pixels(pictures.numbered(one, 3))


def test_a_missed_bar_is_the_exit_status_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = measuring.at_most("ms", 4, 5), measuring.at_least("rate", 4, 5)

    assert measuring.tell({"name": "x", "bars": [good]}) == 0
    assert measuring.tell({"name": "x", "bars": [good, bad]}) == 1

    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[1])["bars"][1]["met"] is False
    assert told.err == "rate: 4, at least 5 wanted.\n"


def test_what_a_process_costs_is_read_with_its_children() -> None:
    code = "sum(range(10**7)); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()

        assert child.pid in measuring.family(os.getpid())
        assert measuring.cpu_seconds([child.pid]) > 0
        assert 1 < measuring.megabytes([child.pid]) < 200
        assert measuring.open_files([child.pid]) >= 3
        assert measuring.has_loaded(child.pid, "libc.so")
        assert not measuring.has_loaded(child.pid, "libtorch")
        child.communicate("\n")


def _pixels(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.tobytes()
