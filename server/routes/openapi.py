"""/schema: the description of this API, as docs/openapi.json has it."""

from __future__ import annotations

from functools import cache

from litestar import Response, get

from server import schema


@get("/schema", operation_id="getSchema", tags=["schema"])
async def get_schema() -> Response[bytes]:
    """Return the OpenAPI 3.1 document of this API."""
    return Response(_document(), media_type="application/json")


@cache
def _document() -> bytes:
    return schema.encoded()
