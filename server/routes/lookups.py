"""/v1/lookups over HTTP: decode, call rules/lookups.py, encode."""

from __future__ import annotations

import hashlib

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, SkipValidation

from sdk.wire import LookupList, LookupRequest
from server.rules import lookups as rules
from server.rules.lookups import LookupDesk
from server.rules.requests import read

from .bodies import read_json
from .given import AnyRequest, GivenCaller
from .scans import matches

KEPT = "private, max-age=60"
"""Cache-Control of a range: who asked need not ask again for so long. What an owner had overturned
is in it, so it is nobody else's."""

GivenLookupDesk = NamedDependency[SkipValidation[LookupDesk]]


@post("/", status_code=200, operation_id="lookUp")
async def look_up(
    request: AnyRequest, caller: GivenCaller, lookup_desk: GivenLookupDesk
) -> LookupList:
    """Say what is known of up to 100 images by the sha256 of their bytes; sends none of them."""
    asked = read(await read_json(request), LookupRequest)
    return await rules.look_up(asked, caller=caller, desk=lookup_desk)


@get("/range/{prefix:str}", operation_id="lookUpRange")
async def look_around(
    request: AnyRequest, prefix: FromPath[str], caller: GivenCaller, lookup_desk: GivenLookupDesk
) -> Response[bytes]:
    """Return all known sha256 that begin with five digits, so that nobody learns which is meant."""
    found = await rules.look_around(
        prefix,
        query=request.query_params.multi_items(),
        caller=caller,
        desk=lookup_desk,
    )
    body = msgspec.json.encode(found)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": KEPT, "vary": "Authorization"}
    if matches(tag, request.headers.getall("if-none-match", [])):
        return Response(b"", status_code=304, headers=headers)
    return Response(body, media_type=MediaType.JSON, headers=headers)


router = Router("/v1/lookups", route_handlers=[look_up, look_around], tags=["lookups"])
