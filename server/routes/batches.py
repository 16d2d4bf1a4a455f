"""/v1/batches over HTTP: decode, call rules/batches.py, encode. Results are a line each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response import Stream

from sdk.wire import Batch, BatchResult, Problem
from server.problems import REQUEST_ID, problem
from server.refused import Refused
from server.rules import batches as rules
from server.rules.batches import BatchDesk

from .bodies import read_json
from .given import AnyRequest, GivenCaller
from .idempotency import replay_headers, replay_of_request

BODY_LIMIT_BYTES = 4 * 1024 * 1024
"""Largest body: 1,000 scans of 4 KiB each."""
NDJSON = "application/x-ndjson"

GivenBatchDesk = NamedDependency[SkipValidation[BatchDesk]]
_encoder = msgspec.json.Encoder()


@post("/", status_code=202, operation_id="createBatch")
async def create(
    request: AnyRequest, caller: GivenCaller, batch_desk: GivenBatchDesk
) -> Response[Batch]:
    """Accept up to 1,000 scans at once; what cannot be accepted of them is in the results."""
    body = await read_json(request, limit=BODY_LIMIT_BYTES)
    batch, is_replayed = await rules.create(
        rules.read_request(body),
        caller=caller,
        request_id=request.headers[REQUEST_ID],
        replay=replay_of_request(request, body),
        tell=_teller(request),
        desk=batch_desk,
    )
    headers = {"location": f"/v1/batches/{batch.id}", **replay_headers(is_replayed)}
    return Response(batch, status_code=202, headers=headers)


@get("/{batch_id:str}", operation_id="getBatch")
async def get_batch(
    batch_id: FromPath[str], caller: GivenCaller, batch_desk: GivenBatchDesk
) -> Batch:
    """Say how far a batch is."""
    return await rules.get(batch_id, caller=caller, desk=batch_desk)


@get("/{batch_id:str}/results", operation_id="getBatchResults")
async def get_results(
    request: AnyRequest, batch_id: FromPath[str], caller: GivenCaller, batch_desk: GivenBatchDesk
) -> Stream:
    """Return a line for each scan of a batch, in its order, final or not."""
    found = await rules.results(batch_id, caller=caller, tell=_teller(request), desk=batch_desk)
    return Stream(_lines(found), media_type=NDJSON)


@post("/{batch_id:str}/cancel", status_code=200, operation_id="cancelBatch")
async def cancel(batch_id: FromPath[str], caller: GivenCaller, batch_desk: GivenBatchDesk) -> Batch:
    """End what of a batch is not final."""
    return await rules.cancel(batch_id, caller=caller, desk=batch_desk)


async def _lines(found: AsyncIterator[BatchResult]) -> AsyncIterator[bytes]:
    """Yield many lines at once: a message for each would cost more than the line."""
    lines: list[BatchResult] = []
    async for result in found:
        lines.append(result)
        if len(lines) == rules.PAGE:
            yield _encoder.encode_lines(lines)
            lines = []
    if lines:
        yield _encoder.encode_lines(lines)


def _teller(request: AnyRequest) -> rules.Tell:
    def tell(refused: Refused) -> Problem:
        return problem(
            refused.code,
            refused.detail,
            request_id=request.headers[REQUEST_ID],
            errors=refused.errors,
        )

    return tell


router = Router(
    "/v1/batches", route_handlers=[create, get_batch, get_results, cancel], tags=["batches"]
)
