"""Takes an upload: counts what really arrives, and keeps it. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from sdk.codes import ProblemCode
from sdk.wire import Scope, Upload
from server.ports import Spool
from server.refused import Refused
from worker.contract import UPLOAD_LIMIT_BYTES

from .caller import Caller


async def take(chunks: AsyncIterable[bytes], *, caller: Caller, spool: Spool) -> Upload:
    """Keep what a caller sends for a scan; raises Refused also if it may not submit any."""
    caller.need(Scope.SCAN)
    return await keep(chunks, owner=caller.owner, spool=spool)


async def keep(chunks: AsyncIterable[bytes], *, owner: str, spool: Spool) -> Upload:
    """Keep the owner's bytes for 15 minutes; raises Refused if there are none or too many."""
    return await spool.store(_counted(chunks), owner=owner)


async def _counted(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > UPLOAD_LIMIT_BYTES:
            raise Refused(
                ProblemCode.BODY_TOO_LARGE,
                f"The upload is larger than {UPLOAD_LIMIT_BYTES} bytes, the most that is taken.",
            )
        yield chunk
    if not size:
        raise Refused(ProblemCode.UPLOAD_EMPTY, "The upload has no bytes.")
