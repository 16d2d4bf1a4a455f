"""OUT of `pinclip bulk`: what stands there is complete, of one question, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")

import pyarrow.dataset as pds  # noqa: E402 - after the skip
from msgspec.structs import replace  # noqa: E402

from sdk.wire import PointName  # noqa: E402
from worker.bulk import results  # noqa: E402
from worker.bulk.results import SCHEMA, Model, Question, Results, ResultsUnusable  # noqa: E402
from worker.testing import ManualClock  # noqa: E402

MODEL = Model(id="b16", weights_sha256="ab" * 32, calibration_id="cal_1")
QUESTION = Question(
    inputs=9, inputs_sha256="cd" * 32, operating_point=PointName.BALANCED, model=MODEL
)


def _rows(*numbers: int, status: str = "completed") -> pa.Table:
    return pa.Table.from_pylist([{"row": n, "status": status} for n in numbers], SCHEMA)


def test_rows_are_written_when_they_have_waited_long_enough(tmp_path: Path) -> None:
    clock = ManualClock()
    with Results.open(tmp_path / "out", clock) as out:
        out.write(_rows(0, 1))
        assert not out.done(9).rows.any()

        clock.advance(results.PART_SECONDS)
        out.write(_rows(2))

        assert out.done(9).rows.nonzero()[0].tolist() == [0, 1, 2]


def test_what_waits_is_written_when_the_run_is_interrupted(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Results.open(tmp_path, ManualClock()) as out:
            out.write(_rows(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    with Results.open(tmp_path, ManualClock()) as out:
        assert out.done(9).rows.nonzero()[0].tolist() == [4]


def test_a_run_goes_on_in_parts_of_its_own_and_drops_what_was_half_written(tmp_path: Path) -> None:
    with Results.open(tmp_path, ManualClock()) as out:
        out.ask(QUESTION)
        out.write(_rows(0, 3))
    (tmp_path / ".part-00001.tmp").write_bytes(b"PAR1 and no more")

    with Results.open(tmp_path, ManualClock()) as out:
        out.ask(QUESTION)
        out.write(_rows(1, status="failed"))
        out.flush()
        done = out.done(9)

    assert done.rows.nonzero()[0].tolist() == [0, 1, 3]
    assert (done.completed, done.failed) == (2, 1)
    assert sorted(path.name for path in tmp_path.glob("*part*")) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_the_folder_reads_as_one_table(tmp_path: Path) -> None:
    with Results.open(tmp_path, ManualClock()) as out:
        out.ask(QUESTION)
        out.write(_rows(0))
        out.flush()
        out.write(_rows(1))

    table = pds.dataset(tmp_path, format="parquet").to_table()

    assert table.schema.equals(SCHEMA)
    assert sorted(table["row"].to_pylist()) == [0, 1]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        pytest.param(
            replace(QUESTION, model=replace(MODEL, id="l14")), "another model", id="model"
        ),
        pytest.param(
            replace(QUESTION, model=replace(MODEL, calibration_id="cal_2")),
            "another model",
            id="calibration",
        ),
        pytest.param(
            replace(QUESTION, operating_point=PointName.STRICT),
            "another operating point",
            id="point",
        ),
        pytest.param(replace(QUESTION, inputs_sha256="ef" * 32), "other inputs", id="inputs"),
    ],
)
def test_results_of_another_question_are_refused(
    tmp_path: Path, other: Question, says: str
) -> None:
    with Results.open(tmp_path, ManualClock()) as out:
        out.ask(QUESTION)
        with pytest.raises(ResultsUnusable, match=f"{says}.*name another folder"):
            out.ask(other)


def test_other_inputs_are_refused_before_the_model_is_known(tmp_path: Path) -> None:
    with Results.open(tmp_path, ManualClock()) as out:
        out.check(replace(QUESTION, model=None))  # Nothing was asked yet.
        out.ask(QUESTION)

        out.check(replace(QUESTION, model=None))
        with pytest.raises(ResultsUnusable, match="other inputs"):
            out.check(replace(QUESTION, model=None, inputs=3))


def _foreign(folder: Path) -> None:
    (folder / "thesis.doc").write_text("mine")


def _broken_part(folder: Path) -> None:
    with Results.open(folder, ManualClock()) as out:
        out.write(_rows(0))
    (folder / "part-00000.parquet").write_bytes(b"PAR1")


def _row_beyond(folder: Path) -> None:
    with Results.open(folder, ManualClock()) as out:
        out.write(_rows(9))


def _no_folder(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file")


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (_foreign, "not of `pinclip bulk`"),
        (_broken_part, "remove it, and its rows are scored again"),
        (_row_beyond, "cannot be read"),
        (_no_folder, "cannot be written to"),
    ],
)
def test_a_folder_that_cannot_take_results_is_refused(
    tmp_path: Path, prepare: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    prepare(folder)

    with pytest.raises(ResultsUnusable, match=says), Results.open(folder, ManualClock()) as out:
        out.done(9)


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        Results.open(tmp_path, ManualClock()),
        pytest.raises(ResultsUnusable, match="Another `pinclip bulk` is writing"),
        Results.open(tmp_path, ManualClock()),
    ):
        pass
