"""/v1/scans/{id}/feedback and /v1/feedback over HTTP: decode, call rules/feedback.py, encode."""

from __future__ import annotations

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sdk.wire import Feedback, FeedbackList, FeedbackRequest
from server.rules import feedback as rules
from server.rules import requests
from server.rules.feedback import FeedbackDesk

from .bodies import read_json
from .given import AnyRequest, GivenCaller
from .idempotency import replay_headers, replay_of_request

GivenFeedbackDesk = NamedDependency[SkipValidation[FeedbackDesk]]


@post("/scans/{scan_id:str}/feedback", status_code=201, operation_id="createFeedback")
async def create(
    request: AnyRequest,
    scan_id: FromPath[str],
    caller: GivenCaller,
    feedback_desk: GivenFeedbackDesk,
) -> Response[Feedback]:
    """Say what a scan's image is; no verdict changes by it."""
    body = await read_json(request)
    made, is_replayed = await rules.create(
        scan_id,
        requests.read(body, FeedbackRequest),
        caller=caller,
        replay=replay_of_request(request, body),
        desk=feedback_desk,
    )
    return Response(made, status_code=201, headers=replay_headers(is_replayed))


@get("/scans/{scan_id:str}/feedback", operation_id="listScanFeedback")
async def list_of_scan(
    request: AnyRequest,
    scan_id: FromPath[str],
    caller: GivenCaller,
    feedback_desk: GivenFeedbackDesk,
) -> FeedbackList:
    """Return what was said of a scan's image, newest first."""
    return await _listing(request, scan_id, caller, feedback_desk)


@get("/feedback", operation_id="listFeedback")
async def list_all(
    request: AnyRequest, caller: GivenCaller, feedback_desk: GivenFeedbackDesk
) -> FeedbackList:
    """Return what was said of all of the owner's scans, newest first."""
    return await _listing(request, None, caller, feedback_desk)


async def _listing(
    request: AnyRequest, scan_id: str | None, caller: GivenCaller, desk: FeedbackDesk
) -> FeedbackList:
    query = request.query_params
    return await rules.listing(
        scan_id=scan_id,
        limit=query.get("limit"),
        cursor=query.get("cursor"),
        caller=caller,
        desk=desk,
    )


router = Router("/v1", route_handlers=[create, list_of_scan, list_all], tags=["feedback"])
