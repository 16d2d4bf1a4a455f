"""OUT: a folder of Parquet files with a row for each row of IN, and nothing else to remember.

    _bulk.json          which question OUT answers: these inputs, this model, this operating point
    part-00000.parquet  rows that are done; complete, or not there at all
    .part-*.tmp         a part that was being written when the process died

What is done is what stands in the parts, so a run that was killed goes on where they end. A part
is renamed into place once it is on the disk. Names that begin with _ or . are skipped by readers
of such folders (Arrow, pandas, Spark), which take OUT as one table. Knows nothing of Ray.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from sdk.wire import PointName, Status
from worker.ports import Clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("input", pa.string()),
        ("status", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("probability", pa.float64()),
        ("slice", pa.string()),
        ("operating_point", pa.string()),
        ("threshold", pa.float64()),
        ("clear_below", pa.float64()),
        ("expected_false_alarm_rate", pa.float64()),
        ("reasons", pa.list_(pa.string())),
        ("warnings", pa.list_(pa.string())),
        ("declaration", pa.string()),
        ("error_code", pa.string()),
        ("error_detail", pa.string()),
        ("error_hint", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("mime", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model", pa.string()),
        ("weights_sha256", pa.string()),
        ("calibration_id", pa.string()),
    ]
)
"""A row of OUT. Where `status` is failed, there is an error and no verdict."""
PART_ROWS = 10_000
"""Rows after which a part is written."""
PART_SECONDS = 20.0
"""Seconds after which one is, however small: more work than that is not lost with the process."""

_QUESTION = "_bulk.json"
_LOCK = "_lock"


class Model(Struct, frozen=True, kw_only=True):
    """What gave the scores, and the numbers they are judged by."""

    id: str
    weights_sha256: str
    calibration_id: str


class Question(Struct, frozen=True, kw_only=True):
    """What OUT answers. Rows of two questions must not stand in one table."""

    inputs: int
    inputs_sha256: str
    operating_point: PointName
    model: Model | None = None
    """None as long as it is not known."""


class ResultsUnusable(Exception):
    """OUT cannot take these results; the text says why and what to do, in a sentence."""


class ResultsMissing(Exception):
    """Ray could not be reached, or gave up: OUT keeps what it has, and another run may go on."""


class Done(NamedTuple):
    """What stands in OUT: `rows` (N,) is True where a row of IN has its row."""

    rows: NDArray[np.bool_]
    completed: int
    failed: int


class Results:
    """Takes rows and writes them in parts. Belongs to one thread of one process."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._waiting: list[pa.Table] = []
        self._written_at = clock.monotonic()
        self._next = 1 + max((_number(path) for path in _parts(folder)), default=-1)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, clock: Clock) -> Iterator[Results]:
        """Hold OUT for this process alone, and write at the end what waits, however it ends.

        Raises ResultsUnusable.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()) and not (folder / _LOCK).exists():
                raise ResultsUnusable(
                    f"{folder} holds files that are not of `pinclip bulk`: name another folder."
                )
            lock = (folder / _LOCK).open("ab")
        except OSError as error:
            raise ResultsUnusable(
                f"{folder} cannot be written to ({error.strerror}): name another folder."
            ) from error
        with lock:
            _take(lock.fileno(), folder)
            for left in folder.glob(".part-*.tmp"):
                left.unlink()
            results = cls(folder, clock)
            try:
                yield results
            finally:
                results.flush()

    def check(self, question: Question) -> None:
        """Raise ResultsUnusable if OUT is of another question, as far as this one is known."""
        before = self._asked()
        if before is None:
            return
        now = question if question.model else msgspec.structs.replace(question, model=before.model)
        if before != now:
            raise ResultsUnusable(
                f"{self._folder} holds results of {_difference(before, now)}: name another folder."
            )

    def ask(self, question: Question) -> None:
        """OUT is of this question from now on; raises ResultsUnusable if it is of another."""
        self.check(question)
        path = self._folder / _QUESTION
        if not path.exists():
            _write(path, msgspec.json.format(msgspec.json.encode(question)))

    def done(self, inputs: int) -> Done:
        """Return which of so many inputs are done; raises ResultsUnusable for a broken part."""
        rows = np.zeros(inputs, np.bool_)
        completed = failed = 0
        for path in _parts(self._folder):
            try:
                part = pq.read_table(path, columns=["row", "status"])
                rows[part["row"].to_numpy()] = True
            except (pa.ArrowException, OSError, IndexError) as error:
                raise ResultsUnusable(
                    f"{path} cannot be read ({error}): remove it, and its rows are scored again."
                ) from error
            good = part["status"].to_pylist().count(Status.COMPLETED.value)
            completed, failed = completed + good, failed + len(part) - good
        return Done(rows, completed, failed)

    def write(self, rows: pa.Table) -> None:
        """Take rows; they are on the disk within PART_SECONDS of the next that come."""
        self._waiting.append(rows)
        is_due = self._clock.monotonic() - self._written_at >= PART_SECONDS
        if is_due or sum(map(len, self._waiting)) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as a part; raises ResultsUnusable where the disk does not take it."""
        if self._waiting:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.concat_tables(self._waiting), sink, compression="zstd")
            try:
                _write(self._folder / f"part-{self._next:05}.parquet", sink.getvalue())
            except OSError as error:
                raise ResultsUnusable(
                    f"{self._folder} takes no more ({error.strerror}): mend that and run again, "
                    "what is written stands."
                ) from error
            self._next += 1
            self._waiting.clear()
        self._written_at = self._clock.monotonic()

    def _asked(self) -> Question | None:
        path = self._folder / _QUESTION
        try:
            return msgspec.json.decode(path.read_bytes(), type=Question)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ResultsUnusable(
                f"{path} is not what this version of pinclip writes ({error}): name another folder."
            ) from error


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ResultsUnusable(
            f"Another `pinclip bulk` is writing to {folder}: wait for it, or name another folder."
        ) from None


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("part-"))


def _write(path: Path, data: bytes | pa.Buffer) -> None:
    """The file is complete and on the disk, or not there."""
    partial = path.with_name(f".{path.stem}.tmp")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _difference(before: Question, now: Question) -> str:
    """Name the first thing in which two questions differ."""
    if before.model and now.model and before.model != now.model:
        return f"another model ({_named(before.model)}, now {_named(now.model)})"
    if before.operating_point != now.operating_point:
        return (
            f"another operating point ({before.operating_point.value}, "
            f"now {now.operating_point.value})"
        )
    return f"other inputs ({before.inputs}, now {now.inputs} or others of the same number)"


def _named(model: Model) -> str:
    return f"{model.id}, weights {model.weights_sha256[:8]}, {model.calibration_id}"
