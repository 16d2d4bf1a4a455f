"""/v1/uploads over HTTP: hands the bytes to rules/uploads.py as they arrive."""

from __future__ import annotations

from litestar import Router, post

from sdk.wire import Upload
from server.rules import uploads as rules

from .bodies import file_chunks
from .given import AnyRequest, GivenCaller, GivenDesk


@post("/", status_code=201, operation_id="createUpload")
async def create(request: AnyRequest, caller: GivenCaller, desk: GivenDesk) -> Upload:
    """Keep an image for 15 minutes, to be named as `upload_id` of a scan; at most 20 MiB."""
    return await rules.take(file_chunks(request), caller=caller, spool=desk.spool)


router = Router("/v1/uploads", route_handlers=[create], tags=["uploads"])
