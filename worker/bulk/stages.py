"""The two stages between a listing and its results. Each is a class that Ray Data makes an actor.

    rows of a listing --Prepare--> cargo --Score--> rows of results.SCHEMA
         get the bytes (file, shard, URL)    forward, in batches
         decode, prepare for the model       judge, after a second look if it accuses (confirm.py)
         a row's trouble becomes its error

Cargo is an Arrow table: what is known of each row (Known, as JSON), its arrays for the model and
its bytes, which a second look needs. Both stages hold threads and decode processes, and let two
calls overlap, so neither waits for the other's slowest image. Knows nothing of Ray, so a test
may call one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Declaration, PointName, Status
from worker import declarations, engine
from worker.confirm import Confirmer, Subject
from worker.decoding import DecodePool
from worker.engine import Engine
from worker.fetcher import HttpFetcher, Limits
from worker.guard import Policy, UrlRefused, check_url
from worker.intake import Preparer
from worker.ports import Preprocessor
from worker.predict import PathError, path_error
from worker.settings import WorkerSettings
from worker.verdicts import Facts, Judgement

from .inputs import read
from .results import SCHEMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARGO = pa.schema(
    [
        ("row", pa.int64()),
        ("input", pa.string()),
        ("known", pa.binary()),
        ("arrays", pa.large_binary()),
        ("data", pa.large_binary()),
    ]
)
"""`arrays` are float32 of Known.shape; it and `data` are null where there is an error."""


class Known(Struct, frozen=True, kw_only=True):
    """What is known of a row before it is scored. `shape` of its arrays is (frames, 3, S, S)."""

    sha256: str | None = None
    bytes: int | None = None
    mime: str | None = None
    facts: Facts | None = None
    declaration: Declaration | None = None
    shape: tuple[int, ...] = ()
    error: PathError | None = None


class Item(Struct, frozen=True, kw_only=True):
    """A row of cargo in the hands of Score: a shape of () has no arrays."""

    row: int
    input: str | None
    known: Known
    arrays: Sequence[NDArray[np.float32]]
    data: pa.Scalar


class Prepare:
    """Rows of a listing -> cargo, in the order in which they are ready."""

    def __init__(self, settings: WorkerSettings) -> None:
        preprocessor = engine.load_preprocessor(settings)
        self._policy = Policy(settings.fetch_allow_networks, settings.fetch_allow_ports)
        self._fetcher = HttpFetcher(self._policy)
        # The fetcher's clock runs while a fetch waits for its host's turn, and many rows of one
        # table share a host: time for all that may stand before it.
        turns = max(1, settings.in_flight // Limits().in_flight)
        self._fetch_seconds = settings.fetch_seconds * turns
        self._decoder = DecodePool(processes=settings.decode_processes)
        self._preparer = _preparer(self._decoder, preprocessor)
        self._pool = ThreadPoolExecutor(settings.in_flight)
        self._in_flight = settings.in_flight
        self._batch = settings.batch_limit

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield cargo for all of the rows, a batch at a time."""
        ready = self._ready(iter(rows.to_pylist()))
        while batch := list(islice(ready, self._batch)):
            yield pa.Table.from_pylist(batch, CARGO)

    def close(self) -> None:
        """End its threads and processes."""
        self._pool.shutdown(cancel_futures=True)
        self._fetcher.close()
        self._decoder.close()

    def _ready(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows as they come, so that a slow host holds up its own alone."""
        asked: set[Future[dict[str, Any]]] = set()
        while True:
            room = self._in_flight - len(asked)
            asked |= {self._pool.submit(self._row, row) for row in islice(rows, room)}
            if not asked:
                return
            done, asked = wait(asked, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        data, arrays, known = None, None, Known()
        try:
            data = self._get(row)
            known = Known(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            arrays, known = self._prepared(data, known)
        except Exception as error:  # One row's trouble is that row's.
            data, known = None, msgspec.structs.replace(known, error=_told(error))
        return {
            "row": row["row"],
            "input": row["input"],
            "known": msgspec.json.encode(known),
            "arrays": arrays,
            "data": data,
        }

    def _get(self, row: dict[str, Any]) -> bytes:
        if row["source"] is not None:
            return read(row)
        url = row["input"] or ""
        try:
            check_url(url, self._policy)
        except UrlRefused as refused:
            if refused.code is not ProblemCode.ADDRESS_BLOCKED:  # as POST /v1/scans refuses it
                raise
        return self._fetcher.fetch(url, timeout_seconds=self._fetch_seconds).data

    def _prepared(self, data: bytes, known: Known) -> tuple[bytes, Known]:
        """Return the arrays as bytes, and what is known now."""
        prepared = self._preparer.prepare(data)
        arrays = np.stack(prepared.arrays)
        return arrays.tobytes(), msgspec.structs.replace(
            known,
            mime=prepared.mime,
            facts=prepared.facts,
            declaration=prepared.declaration,
            shape=arrays.shape,
        )


class Score:
    """Cargo -> results. One for each device, as it holds the model."""

    def __init__(self, settings: WorkerSettings, point: PointName) -> None:
        detector = engine.load(settings)
        self._point = point
        self._engine = Engine(detector, batch_limit=settings.batch_limit)
        self._decoder = DecodePool(processes=settings.decode_processes)
        self._pool = ThreadPoolExecutor(settings.decode_processes + 1)
        preparer = _preparer(self._decoder, detector)
        self._confirmer = Confirmer(preparer, self._engine, self._pool)
        self._model = {
            "model": detector.weights_id,
            "weights_sha256": detector.weights_sha256,
            "calibration_id": detector.calibration_id,
        }

    def __call__(self, cargo: pa.Table) -> pa.Table:
        """Return a row of results.SCHEMA for each row, in the same order."""
        items = _items(cargo)
        scored = self._engine.score([array for item in items for array in item.arrays]).result()
        subjects = [_subject(item, item.known.facts) for item in items if item.known.facts]
        judged = iter(self._confirmer.judge(subjects, scored, point=self._point))
        rows = [_row(item, next(judged) if item.known.facts else None) for item in items]
        return pa.Table.from_pylist([{**row, **self._model} for row in rows], SCHEMA)

    def close(self) -> None:
        """End its threads and processes."""
        self._pool.shutdown(cancel_futures=True)
        self._engine.close()
        self._decoder.close()


def _preparer(decoder: DecodePool, detector: Preprocessor) -> Preparer:
    decoder.start()
    return Preparer(decoder=decoder, detector=detector, read_declaration=declarations.read)


def _items(cargo: pa.Table) -> list[Item]:
    known = [msgspec.json.decode(each, type=Known) for each in cargo["known"].to_pylist()]
    return [
        Item(
            row=cargo["row"][index].as_py(),
            input=cargo["input"][index].as_py(),
            known=each,
            arrays=_arrays(cargo["arrays"][index], each.shape),
            data=cargo["data"][index],
        )
        for index, each in enumerate(known)
    ]


def _arrays(packed: pa.Scalar, shape: Sequence[int]) -> Sequence[NDArray[np.float32]]:
    """The arrays of a row, not copied; none where it has an error."""
    if not shape:
        return ()
    return list(np.frombuffer(packed.as_buffer(), np.float32).reshape(shape))


def _subject(item: Item, facts: Facts) -> Subject:
    return Subject(
        name=item.input or "",
        frames=len(item.arrays),
        facts=facts,
        declaration=item.known.declaration,
        data=item.data.as_py,
    )


def _row(item: Item, judged: Judgement | Exception | None) -> dict[str, Any]:
    """The item's row of results, the model's columns apart; None: it was not prepared."""
    if isinstance(judged, Judgement):
        return _completed(item, judged)
    return _failed(item, item.known.error or _told(judged or RuntimeError("nothing was prepared")))


def _completed(item: Item, found: Judgement) -> dict[str, Any]:
    point, declaration = found.operating_point, item.known.declaration
    return {
        **_about(item),
        "status": Status.COMPLETED.value,
        "verdict": found.verdict.value,
        "score": found.score,
        "probability": found.probability,
        "slice": point.slice,
        "operating_point": point.name.value,
        "threshold": point.threshold,
        "clear_below": point.clear_below,
        "expected_false_alarm_rate": point.expected_false_alarm_rate,
        "reasons": [reason.code for reason in found.reasons],
        "warnings": [str(warning) for warning in found.warnings],
        "declaration": declaration.kind if declaration else None,
    }


def _failed(item: Item, error: PathError) -> dict[str, Any]:
    return {
        **_about(item),
        "status": Status.FAILED.value,
        "error_code": error.code,
        "error_detail": error.detail,
        "error_hint": error.hint,
    }


def _about(item: Item) -> dict[str, Any]:
    known = item.known
    return {
        "row": item.row,
        "input": item.input,
        "sha256": known.sha256,
        "bytes": known.bytes,
        "mime": known.mime,
        "width": known.facts.width if known.facts else None,
        "height": known.facts.height if known.facts else None,
    }


def _told(error: Exception) -> PathError:
    """The error as `pinclip predict` tells it, or as a scan of a refused URL does."""
    if isinstance(error, UrlRefused):
        return PathError(error.code.value, error.detail, PROBLEMS[error.code].hint)
    return path_error(error)
