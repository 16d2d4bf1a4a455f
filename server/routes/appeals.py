"""/v1/scans/{id}/appeals and /v1/appeals over HTTP: decode, call rules/appeals.py, encode."""

from __future__ import annotations

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sdk.wire import Appeal, AppealDecisionRequest, AppealList, AppealRequest
from server.rules import appeals as rules
from server.rules import requests
from server.rules.appeals import AppealDesk

from .bodies import read_json
from .given import AnyRequest, GivenCaller
from .idempotency import replay_headers, replay_of_request

GivenAppealDesk = NamedDependency[SkipValidation[AppealDesk]]


@post("/scans/{scan_id:str}/appeals", status_code=201, operation_id="createAppeal")
async def create(
    request: AnyRequest, scan_id: FromPath[str], caller: GivenCaller, appeal_desk: GivenAppealDesk
) -> Response[Appeal]:
    """Dispute the verdict of a scan; each scan has at most one appeal."""
    body = await read_json(request)
    appeal, is_replayed = await rules.create(
        scan_id,
        requests.read(body, AppealRequest),
        caller=caller,
        replay=replay_of_request(request, body),
        desk=appeal_desk,
    )
    headers = {"location": f"/v1/appeals/{appeal.id}", **replay_headers(is_replayed)}
    return Response(appeal, status_code=201, headers=headers)


@get("/appeals", operation_id="listAppeals")
async def list_appeals(
    request: AnyRequest, caller: GivenCaller, appeal_desk: GivenAppealDesk
) -> AppealList:
    """Return the owner's appeals, newest first."""
    query = request.query_params
    return await rules.listing(
        limit=query.get("limit"), cursor=query.get("cursor"), caller=caller, desk=appeal_desk
    )


@get("/appeals/{appeal_id:str}", operation_id="getAppeal")
async def get_appeal(
    appeal_id: FromPath[str], caller: GivenCaller, appeal_desk: GivenAppealDesk
) -> Appeal:
    """Return an appeal as it is now."""
    return await rules.get(appeal_id, caller=caller, desk=appeal_desk)


@post("/appeals/{appeal_id:str}/decision", status_code=200, operation_id="decideAppeal")
async def decide(
    request: AnyRequest, appeal_id: FromPath[str], caller: GivenCaller, appeal_desk: GivenAppealDesk
) -> Appeal:
    """Uphold the verdict, or overturn it: then these bytes are not accused any more."""
    asked = requests.read(await read_json(request), AppealDecisionRequest)
    return await rules.decide(appeal_id, asked, caller=caller, desk=appeal_desk)


router = Router("/v1", route_handlers=[create, list_appeals, get_appeal, decide], tags=["appeals"])
