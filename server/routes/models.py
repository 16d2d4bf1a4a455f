"""/v1/models over HTTP: calls rules/models.py, encodes.

The file of a model may be asked for in parts (RFC 9110, one range), so that a download which broke
goes on, and is kept by its ETag for as long as anyone likes: a model of a name never changes.
"""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response import Stream

from sdk.wire import ModelInfo, ModelList
from server.model_file import OnnxFacts, parts
from server.rules import models as rules
from server.rules.models import ModelDesk

from .given import GivenCaller

KEPT = "private, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")

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


@get("/{model_id:str}/onnx", operation_id="getModelFile")
async def get_onnx(
    request: Request[Any, Any, Any],
    model_id: FromPath[str],
    caller: GivenCaller,
    model_desk: GivenModelDesk,
) -> Response[Any]:
    """Return the model as an ONNX file, whole or one range of it."""
    facts = await rules.onnx(model_id, caller=caller, desk=model_desk)
    headers = {"etag": facts.etag, "cache-control": KEPT, "accept-ranges": "bytes"}
    if request.headers.get("if-none-match") == facts.etag:
        return Response(None, status_code=304, headers=headers)
    start, end = asked_range(request.headers.get("range"), facts, request.headers.get("if-range"))
    if start >= end:
        headers["content-range"] = f"bytes */{facts.size}"
        return Response(b"", status_code=416, headers=headers)
    headers["content-length"] = str(end - start)
    if (start, end) != (0, facts.size):
        headers["content-range"] = f"bytes {start}-{end - 1}/{facts.size}"
    return Stream(
        parts(facts, start=start, end=end),
        status_code=206 if "content-range" in headers else 200,
        media_type="application/octet-stream",
        headers=headers,
    )


def asked_range(asked: str | None, facts: OnnxFacts, if_range: str | None) -> tuple[int, int]:
    """Return which bytes are asked for, from one up to another; empty where there are none such.

    All of them where the range is none that is known here, or is of another file. Pure.
    """
    whole = (0, facts.size)
    found = _RANGE.fullmatch(asked) if asked else None
    if found is None or if_range not in (None, facts.etag):
        return whole
    first, last = found.groups()
    if first is None:
        return whole if last is None else (max(0, facts.size - int(last)), facts.size)
    start = int(first)
    if last is not None and int(last) < start:
        return whole
    return start, facts.size if last is None else min(facts.size, int(last) + 1)


router = Router(
    "/v1/models",
    route_handlers=[list_models, get_model, get_gate_report, get_onnx],
    tags=["models"],
)
