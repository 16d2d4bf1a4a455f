"""The stages of `pinclip bulk`, one after the other and without Ray: what becomes of each row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("braceexpand")

from msgspec.structs import replace  # noqa: E402 - after the skip

from sdk.wire import PointName  # noqa: E402
from tests.worker.origins import Origin, response  # noqa: E402
from worker import engine  # noqa: E402
from worker.bulk.inputs import listed  # noqa: E402
from worker.bulk.results import SCHEMA  # noqa: E402
from worker.bulk.stages import Prepare, Score  # noqa: E402
from worker.engine import DetectorUnusable  # noqa: E402
from worker.predict import Predictor, find  # noqa: E402
from worker.settings import WorkerSettings  # noqa: E402

Draw = Callable[..., bytes]
SETTINGS = WorkerSettings(
    detector="worker.testing:load_fixed", batch_limit=3, fetch_allow_networks=("127.0.0.0/8",)
)


def _scored(*names: str | Path, settings: WorkerSettings = SETTINGS) -> list[dict[str, Any]]:
    """Results of IN in the order of its rows."""
    prepare, score = Prepare(settings), Score(settings, PointName.BALANCED)
    try:
        tables = [score(cargo) for cargo in prepare(listed([str(name) for name in names]))]
    finally:
        prepare.close()
        score.close()
    return sorted(pa.concat_tables(tables).to_pylist(), key=lambda row: int(row["row"]))


@pytest.fixture
def origin(picture: Draw) -> Iterator[Origin]:
    found = Origin(
        {
            "/white.png": [response(picture(255))],
            "/cut.jpg": [response(picture(9, kind="JPEG")[:300])],
        }
    )
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path: Path, picture: Draw, flimsy: bytes) -> Path:
    """White, greys, black, a picture whose score does not hold, a small one, and two broken."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for index in range(6):
        (folder / "deep" / f"{index}.png").write_bytes(picture(51 * index))
    (folder / "flimsy.png").write_bytes(flimsy)
    (folder / "small.png").write_bytes(picture(255, size=(100, 100)))
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "cut.jpg").write_bytes(picture(9, kind="JPEG")[:300])
    return folder


def test_results_are_those_of_predict(folder: Path) -> None:
    rows = _scored(folder)

    with Predictor.open(SETTINGS) as predictor:
        lines = list(predictor.predict(find([str(folder)]), point=PointName.BALANCED))
    assert [row["input"] for row in rows] == [os.path.relpath(line.path, folder) for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert (row["verdict"], row["score"], row["probability"]) == (
            line.verdict,
            line.score,
            line.probability,
        )
        assert row["error_code"] == (line.error.code if line.error else None)
        assert (row["warnings"] or []) == list(line.warnings)
        assert (row["reasons"] or []) == [reason.code for reason in line.reasons]
    by_name = {row["input"]: row for row in rows}
    assert by_name["deep/5.png"]["verdict"] == "likely_ai"
    assert by_name["flimsy.png"]["reasons"] == ["verdict_unstable"]


def test_a_row_tells_bytes_model_and_error_rate(folder: Path, picture: Draw) -> None:
    row = next(row for row in _scored(folder) if row["input"] == "deep/0.png")

    assert (row["status"], row["verdict"], row["slice"]) == ("completed", "no_sign_of_ai", "photo")
    assert (row["operating_point"], row["threshold"]) == ("balanced", 0.8)
    assert (row["clear_below"], row["expected_false_alarm_rate"]) == (0.3, 0.03)
    assert (row["mime"], row["width"], row["height"]) == ("image/png", 300, 300)
    assert row["bytes"] == len(picture(0))
    assert len(row["sha256"]) == len(row["weights_sha256"]) == 64
    assert (row["model"], row["calibration_id"]) == ("fixed", "cal_fixed")
    assert set(row) == set(SCHEMA.names)


def test_what_prepares_loads_no_model(folder: Path) -> None:
    prepare = Prepare(replace(SETTINGS, detector="tests.worker.heavy_detector:load"))
    try:
        cargo = list(prepare(listed([str(folder)])))
    finally:
        prepare.close()

    assert sum(map(len, cargo)) == 10
    with pytest.raises(DetectorUnusable, match="too heavy"):
        engine.load(replace(SETTINGS, detector="tests.worker.heavy_detector:load"))


def test_urls_are_fetched_by_the_rules_of_scans(tmp_path: Path, origin: Origin) -> None:
    table = tmp_path / "urls.csv"
    urls = [
        origin.url("/white.png"),
        origin.url("/gone.png"),
        origin.url("/cut.jpg"),
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "",
    ]
    table.write_text("\n".join(["url", *(f'"{url}"' for url in urls)]) + "\n")
    settings = WorkerSettings(
        detector=SETTINGS.detector,
        fetch_allow_networks=("127.0.0.0/8",),
        fetch_allow_ports=(origin.port,),
    )

    rows = _scored(table, settings=settings)

    assert [row["input"] for row in rows] == urls
    assert [row["error_code"] for row in rows] == [
        None,
        "fetch_not_found",
        "decode_failed",
        "fetch_address_blocked",
        "fetch_address_blocked",
        "url_scheme_not_allowed",
        "url_invalid",
    ]
    assert rows[0]["verdict"] == "likely_ai"
    for row in rows[1:]:
        assert (row["status"], row["verdict"], row["score"]) == ("failed", None, None)
        assert row["error_detail"]
        assert row["error_hint"]
    assert len(rows[2]["sha256"]) == 64  # It was fetched, so it is told what was.


def test_a_path_that_is_not_there_fails_alone(tmp_path: Path, picture: Draw) -> None:
    (tmp_path / "a.png").write_bytes(picture(255))
    table = tmp_path / "paths.csv"
    table.write_text("path,id\na.png,1\ngone.png,2\n,3\n.,4\n")

    rows = _scored(table)

    codes = [row["error_code"] for row in rows]
    assert codes == [None, "path_not_found", "path_not_found", "path_unreadable"]
