"""RAY DOOR: runs the stages on this machine or on a cluster, and hands back results as they come.

    listing --blocks--> Prepare (one actor a device) --cargo--> Score (one a device) --> results
                             |  pauses while too much cargo waits                  driver

Score's process alone loads the model; Prepare needs what comes before it, and so does `describe`.
A device is a GPU of the cluster, or a machine where there is none. Without an address Ray runs on
this machine for as long as `running` lasts. When a process dies, the pass ends, and whoever asked
for it may ask for the rows that are missing.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from sdk.wire import PointName
from worker import engine, log
from worker.contract import RedisSettings
from worker.engine import DetectorUnusable
from worker.settings import WorkerSettings

from .results import Model, ResultsMissing
from .stages import Prepare, Score

BLOCK_ROWS = (32, 4096)
"""Fewest and most rows of a listing in a task."""
CARGO_BYTES = 8 << 20
"""Size at which Ray passes cargo on."""
OBJECT_STORE_BYTES = 1 << 30
"""Memory that Ray may take on this machine for what is between two stages."""
CALLS = 2
"""Calls of a stage that overlap, so that one can wait while the other works."""

_UNUSABLE = pa.schema([("detector_unusable", pa.string())])
"""What Score's process gives back where it has no detector: the sentence that says why."""


@contextmanager
def running(address: str) -> Iterator[None]:
    """Ray is there while inside: the one at `address`, or one of our own if that is empty.

    Raises ResultsMissing.
    """
    own: dict[str, Any] = {
        "num_cpus": (os.cpu_count() or 1) + 1,  # all for Score, and room for Prepare
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    given = {} if address else own
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **given)
    except Exception as error:  # whatever stands in its way: ValueError, RuntimeError, gRPC's own
        reason = str(error).strip().splitlines()[0]
        raise ResultsMissing(f"Ray could not be started or reached: {reason}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def describe(settings: WorkerSettings) -> Model:
    """Return what will score, as a process of the cluster finds it, without loading it.

    Raises DetectorUnusable, ResultsMissing.
    """
    task = ray.remote(_described)
    try:
        found: Model | str = ray.get(task.remote(_without_secrets(settings)))
    except ray.exceptions.RayError as error:
        raise ResultsMissing(f"A process of Ray failed: {_last_line(error)}.") from error
    if isinstance(found, str):
        raise DetectorUnusable(found)
    return found


def results(listing: pa.Table, settings: WorkerSettings, *, point: PointName) -> Iterator[pa.Table]:
    """Yield tables of results.SCHEMA with a row for each of the listing; Ray must be running.

    Raises DetectorUnusable, ResultsMissing.
    """
    _set_up_data()
    settings = _without_secrets(settings)
    devices = _gpus(settings) or _machines()
    size = min(max(len(listing) // (2 * CALLS * devices), BLOCK_ROWS[0]), BLOCK_ROWS[1])
    blocks = [listing.slice(start, size) for start in range(0, len(listing), size)]
    with warnings.catch_warnings():  # 2.60 names no other way to say max_restarts
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        scored = (
            ray.data.from_arrow(blocks)
            .map_batches(
                Prepare,
                batch_size=None,
                fn_constructor_args=(settings,),
                **_actors(devices, cpus=0.5, gpus=0),
            )
            .map_batches(
                _Scorer,
                batch_size=settings.batch_limit,
                fn_constructor_args=(settings, point),
                **_actors(devices, cpus=_cpus(settings), gpus=min(1, _gpus(settings))),
            )
        )
    try:
        rows: pa.Table
        for rows in scored.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            if rows.schema.names == _UNUSABLE.names:
                raise DetectorUnusable(rows[0][0].as_py())
            yield rows
    except ray.exceptions.RayError as error:
        raise ResultsMissing(f"A process of Ray failed: {_last_line(error)}.") from error


class _Scorer:
    """Score, but a detector that does not load is told by a table of another schema.

    An exception here would end the process, and Ray would tell a story of its own about that.
    """

    def __init__(self, settings: WorkerSettings, point: PointName) -> None:
        self._score: Score | None = None
        self._unusable = ""
        try:
            self._score = Score(settings, point)
        except DetectorUnusable as error:
            self._unusable = str(error)

    def __call__(self, cargo: pa.Table) -> pa.Table:
        if self._score is None:
            return pa.Table.from_pydict({_UNUSABLE.names[0]: [self._unusable]}, _UNUSABLE)
        return self._score(cargo)


def _actors(devices: int, *, cpus: float, gpus: int) -> dict[str, Any]:
    return {
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(
            size=devices, max_concurrent_calls_per_actor=CALLS, enable_true_multi_threading=True
        ),
        "num_cpus": cpus,
        "num_gpus": gpus,
        # A process that dies ends the pass. Ray's own retries would deliver rows twice, or never:
        # they rely on a task that gives the same blocks again, and a fetch does not.
        "max_restarts": 0,
        "max_task_retries": 0,
    }


def _described(settings: WorkerSettings) -> Model | str:
    log.setup("warning", "bulk")
    try:
        detector = engine.load_preprocessor(settings)
    except DetectorUnusable as error:
        return str(error)
    return Model(
        id=detector.weights_id,
        weights_sha256=detector.weights_sha256,
        calibration_id=detector.calibration_id,
    )


def _set_up_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = CARGO_BYTES


def _gpus(settings: WorkerSettings) -> int:
    """GPUs that can score; none where the engine runs on processors alone."""
    gpus: float = ray.cluster_resources().get("GPU", 0)
    return 0 if settings.engine == "openvino" else int(gpus)


def _machines() -> int:
    return len([node for node in ray.nodes() if node["Alive"]])


def _cpus(settings: WorkerSettings) -> float:
    """Cores of a machine that Score takes: one beside a GPU, else all but one, which Prepare needs.

    Ray makes them the threads of torch (OMP_NUM_THREADS), and so puts one Score on a machine.
    """
    if _gpus(settings):
        return 1
    least: float = min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    return max(least - 1, 0.5)


def _without_secrets(settings: WorkerSettings) -> WorkerSettings:
    """Redis is not asked, so its password need not travel."""
    return msgspec.structs.replace(settings, redis=RedisSettings())


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".")
