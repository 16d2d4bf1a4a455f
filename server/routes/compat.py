"""/compat over HTTP: reads what OpenAI's client and pict-rs send; rules/compat.py does the rest.

POST /compat/openai/v1/moderations   Authorization: Bearer KEY, JSON     200, or a problem
POST /compat/pictrs/{secret}         the image, as the body              200 keep, 406 reject
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from litestar import Response, Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from sdk.codes import ProblemCode
from server.problems import REQUEST_ID
from server.refused import Refused
from server.rules import compat as rules
from server.rules.compat import BODY_LIMIT_BYTES, CompatDesk, Moderation, Vetting

from .bodies import file_chunks
from .given import AnyRequest, GivenCaller

REJECTED = 406
"""What tells pict-rs to refuse an upload; any status outside of 200 to 299 would."""

GivenCompatDesk = NamedDependency[SkipValidation[CompatDesk]]


@post("/openai/v1/moderations", status_code=200, operation_id="createModeration")
async def moderate(
    request: AnyRequest, caller: GivenCaller, compat_desk: GivenCompatDesk
) -> Moderation:
    """Judge up to ten images for OpenAI's client: category ai_generated."""

    async def read() -> bytes:
        return await _json(request)

    return await rules.moderate(
        read, caller=caller, request_id=request.headers[REQUEST_ID], desk=compat_desk
    )


@post("/pictrs/{secret:str}", status_code=200, operation_id="vetForPictrs")
async def vet(
    request: AnyRequest, secret: FromPath[str], compat_desk: GivenCompatDesk
) -> Response[Vetting]:
    """Judge an image before pict-rs keeps it: 200 to keep it, 406 to reject it."""
    vetting = await rules.vet(
        secret, _chunks(request), request_id=request.headers[REQUEST_ID], desk=compat_desk
    )
    return Response(vetting, status_code=200 if vetting.accepted else REJECTED)


async def _chunks(request: AnyRequest) -> AsyncIterator[bytes]:
    """Yield the body; a type that is not taken is found out only when the rule reads."""
    async for chunk in file_chunks(request):
        yield chunk


async def _json(request: AnyRequest) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "") != "":
        raise Refused(
            ProblemCode.MEDIA_TYPE_UNSUPPORTED,
            f"The Content-Type is {kind[:80]!r}; expected application/json, not compressed.",
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise Refused(
                ProblemCode.BODY_TOO_LARGE, f"The body is larger than {BODY_LIMIT_BYTES} bytes."
            )
    return bytes(body)


router = Router("/compat", route_handlers=[moderate, vet], tags=["compat"])
