"""client.models: the models that score now. See _flows for how verbs are written."""

from __future__ import annotations

from typing import Any

from . import _calls as calls
from ._calls import Call
from ._flows import Face, Flow, M, send, verb
from .wire import ModelInfo, ModelList


class Models(Face[M]):
    """The models that score now."""

    @verb
    def list(self) -> Flow[tuple[ModelInfo, ...]]:
        """Return the models that live workers score with. Raises APIError.

        Examples:
            >>> [model.id for model in client.models.list()]
            ['fixed']
        """
        return (yield from send(calls.get("/v1/models", ModelList))).data

    @verb
    def get(self, model_id: str) -> Call[ModelInfo]:
        """Return a model with its card. Raises NotFoundError if no worker has it.

        Examples:
            >>> client.models.get("fixed").engine
            'fixed'
        """
        return calls.get(_path(model_id), ModelInfo)

    @verb
    def gate_report(self, model_id: str) -> Call[dict[str, Any]]:
        """Return how a model compares with the one before it, as `pinclip gate` reported.

        Raises NotFoundError if there is no report.
        """
        return calls.get(f"{_path(model_id)}/gate-report", dict[str, Any])


def _path(model_id: str) -> str:
    return f"/v1/models/{calls.segment(model_id, 'model')}"
