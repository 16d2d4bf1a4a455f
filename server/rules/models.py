"""Which models score now, and what came with them for people to read.

    beats of live workers   -->  one entry a model and way of running it, with its workers
    papers of its weights   -->  the model card, and the gate report
    the file of the owner   -->  the model itself, for those who judge without us

A model that no live worker has does not exist here (model_unknown): a list of what could be
installed would not say what judges. Knows nothing of HTTP or Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
import msgspec
import structlog

from sdk.codes import ProblemCode
from sdk.wire import ModelInfo, ModelList
from server import model_file
from server.model_file import OnnxFacts
from server.refused import Refused
from worker.contract import Papers, WorkerBeat

from .caller import Caller
from .scans import need_reading

NAME_SHOWN = 64
EXPORT = "`pinclip export --small -o FILE` writes one, and PINCLIP_ONNX names it to the server."
_log = structlog.get_logger(__name__)


class Workers(Protocol):
    """What these rules need of the board. Raises Unavailable."""

    async def state(self) -> tuple[int, list[WorkerBeat]]:
        """Return how many scans wait or are held, and the workers that are alive."""
        ...

    async def papers(self, weights_sha256: str, calibration_id: str) -> Papers:
        """Return what came with these weights; empty where that is not known."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelDesk:
    """What these rules work with."""

    workers: Workers
    onnx: Path | None = None
    """Where the owner has put what `pinclip export --small` wrote; None: nowhere."""


async def listing(*, caller: Caller, desk: ModelDesk) -> ModelList:
    """Return the models that live workers score with, without their cards."""
    need_reading(caller)
    _, beats = await desk.workers.state()
    return ModelList(data=tuple(models(beats)))


async def get(model_id: str, *, caller: Caller, desk: ModelDesk) -> ModelInfo:
    """Return a model with its card; raises Refused or Unavailable.

    Where workers run it in several ways, the one that most of them do.
    """
    need_reading(caller)
    model = await _live(model_id, desk)
    papers = await desk.workers.papers(model.weights_sha256, model.calibration_id)
    return msgspec.structs.replace(model, card=papers.card)


async def gate_report(model_id: str, *, caller: Caller, desk: ModelDesk) -> dict[str, Any]:
    """Return what `pinclip gate` said of the model against the one before it."""
    need_reading(caller)
    model = await _live(model_id, desk)
    papers = await desk.workers.papers(model.weights_sha256, model.calibration_id)
    try:
        return msgspec.json.decode(papers.gate_report or "", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refused(
            ProblemCode.NOT_FOUND,
            f"The model {model.id} came without a gate report: its weights have no gate.json that "
            "`pinclip gate OLD NEW --json` wrote.",
        ) from error


async def onnx(model_id: str, *, caller: Caller, desk: ModelDesk) -> OnnxFacts:
    """Return the file of the model; raises Refused or Unavailable.

    A file of other weights is not given: what it says is not what the workers here would say.
    """
    need_reading(caller)
    model = await _live(model_id, desk)
    facts = await _readable(desk.onnx) if desk.onnx else None
    if facts is None:
        raise Refused(
            ProblemCode.NOT_FOUND, f"This server has no file of the model {model.id}: {EXPORT}"
        )
    if facts.weights_sha256 != model.weights_sha256:
        raise Refused(
            ProblemCode.NOT_FOUND,
            f"The file of PINCLIP_ONNX is of other weights than the model {model.id}: {EXPORT}",
        )
    return facts


def models(beats: Iterable[WorkerBeat]) -> Sequence[ModelInfo]:
    """Return one entry a model and way of running it, those of most workers first. Pure."""
    counts = Counter(
        ModelInfo(
            id=beat.model.id,
            weights_sha256=beat.model.weights_sha256,
            calibration_id=beat.calibration_id,
            engine=beat.engine,
            precision=beat.precision,
            workers=0,
        )
        for beat in beats
    )
    found = [msgspec.structs.replace(model, workers=count) for model, count in counts.items()]
    return sorted(found, key=lambda model: (-model.workers, msgspec.structs.astuple(model)[:5]))


async def _readable(path: Path) -> OnnxFacts | None:
    try:
        return await anyio.to_thread.run_sync(model_file.read, path)
    except (OSError, ValueError) as error:
        _log.warning("onnx_unreadable", detail=str(error))
        return None


async def _live(model_id: str, desk: ModelDesk) -> ModelInfo:
    _, beats = await desk.workers.state()
    for model in models(beats):
        if model.id == model_id:
            return model
    raise Refused(
        ProblemCode.MODEL_UNKNOWN,
        f"No live worker scores with the model {model_id[:NAME_SHOWN]!r}.",
    )
