"""/v1/models over HTTP: calls rules/models.py, encodes."""

from __future__ import annotations

from typing import Any

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sdk.wire import ModelInfo, ModelList
from server.rules import models as rules
from server.rules.models import ModelDesk

from .given import GivenCaller

GivenModelDesk = NamedDependency[SkipValidation[ModelDesk]]


@get("/", operation_id="listModels")
async def list_models(caller: GivenCaller, model_desk: GivenModelDesk) -> ModelList:
    """Return the models that live workers score with."""
    return await rules.listing(caller=caller, desk=model_desk)


@get("/{model_id:str}", operation_id="getModel")
async def get_model(
    model_id: FromPath[str], caller: GivenCaller, model_desk: GivenModelDesk
) -> ModelInfo:
    """Return a model with its card."""
    return await rules.get(model_id, caller=caller, desk=model_desk)


@get("/{model_id:str}/gate-report", operation_id="getGateReport")
async def get_gate_report(
    model_id: FromPath[str], caller: GivenCaller, model_desk: GivenModelDesk
) -> dict[str, Any]:
    """Return how a model compares with the one before it, as `pinclip gate` reported."""
    return await rules.gate_report(model_id, caller=caller, desk=model_desk)


router = Router(
    "/v1/models", route_handlers=[list_models, get_model, get_gate_report], tags=["models"]
)
