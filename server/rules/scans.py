"""What happens to a scan between its request and its answer. Knows nothing of HTTP or stores.

request -> may be fetched? -> parts ready? -> known? -> records.open COMMIT: completed
            refused            503             | no
                                               v
                                              room? --> records.open COMMIT -> board.post -> ring
                                              503       from here on the scan exists, and whatever
                                                        fails after it is mended by the sweep
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

import anyio
import msgspec
import structlog

from sdk.codes import ProblemCode
from sdk.wire import Fault, Input, InputKind, Scan, ScanRequest, Status, Upload
from server import ids
from server.ports import Opened, Unavailable
from server.refused import Refused
from worker.contract import DEADLINE_SECONDS, Entry
from worker.guard import Policy, Target, UrlRefused, check_url

from .desk import Desk
from .recall import recalled
from .requests import pointer_to

TOLD_SECONDS = 0.9
"""Longest time until a caller hears that a part is down."""
FIRST_SEQUENCE = 1
"""Sequence of a scan's first state; each recorded change adds one."""

_log = structlog.get_logger(__name__)


async def submit(
    request: ScanRequest, *, request_id: str, wait_seconds: float, is_anew: bool, desk: Desk
) -> Scan:
    """Record the scan, hand it to the workers, and return it final if that is soon enough.

    It is final at once if a verdict on record may be given again, unless it shall be looked at
    anew. Raises Refused or Unavailable; then there is no scan.
    """
    found = await _check(request, desk)
    opened = _opened(request, found, request_id=request_id, now=desk.clock.now())
    try:
        with anyio.fail_after(TOLD_SECONDS):
            opened = await _accepted(opened, is_anew=is_anew, desk=desk)
    except TimeoutError as error:
        raise Unavailable("store", f"no answer within {TOLD_SECONDS:g} s") from error
    if opened.scan.status.is_final:
        _log_recalled(opened)
        return opened.scan
    await _announce(opened.entry, desk)
    if wait_seconds:
        with suppress(Unavailable):  # it is accepted, whatever fails now
            return await wait(opened.scan.id, seconds=wait_seconds, desk=desk)
    return opened.scan


async def get(scan_id: str, *, desk: Desk) -> Scan:
    """Return the scan as it is now; raises Refused if there is none."""
    return await _with_phase(_known(scan_id, await _recorded(scan_id, desk)), desk)


async def wait(scan_id: str, *, seconds: float, desk: Desk) -> Scan:
    """Return the scan once it is final, or as it is after `seconds` or when the server stops."""
    _known(scan_id, await _recorded(scan_id, desk))
    with desk.stopping.cuts_short():
        await desk.records.watch(scan_id, seconds)
    return await get(scan_id, desk=desk)


async def _accepted(opened: Opened, *, is_anew: bool, desk: Desk) -> Opened:
    """Record the scan, and return it as recorded: final, or waiting for a worker."""
    judges = await desk.readiness.judges()
    if judges and not is_anew:
        precedents = await desk.precedents.precedents(opened)
        final = recalled(opened, precedents, judges=judges, now=desk.clock.now())
        if final is not None:
            opened = msgspec.structs.replace(opened, scan=final)
    if not opened.scan.status.is_final:
        await desk.readiness.admit(opened.entry.priority)
    await desk.records.open(opened)
    return opened


async def _check(request: ScanRequest, desk: Desk) -> Upload | Target | None:
    """Return the upload or the place that the request names; raises Refused."""
    if not isinstance(request.upload_id, msgspec.UnsetType):
        return await _named_upload(request.upload_id, desk)
    if not isinstance(request.url, msgspec.UnsetType):
        return _check_url(request.url, desk.policy)
    return None


def _check_url(url: str, policy: Policy) -> Target:
    try:
        return check_url(url, policy)
    except UrlRefused as refused:
        fault = Fault(pointer_to("url"), refused.code, refused.detail)
        raise Refused(refused.code, refused.detail, errors=[fault]) from refused


async def _named_upload(upload_id: str, desk: Desk) -> Upload:
    upload = await desk.spool.find(upload_id)
    if upload is not None:
        return upload
    # A well-formed id was most likely ours once: "expired" tells the caller what to do.
    if ids.is_upload_id(upload_id):
        code, detail = ProblemCode.EXPIRED, f"The upload {upload_id} is not kept any more."
    else:
        code, detail = ProblemCode.NOT_FOUND, "upload_id is not an id that /v1/uploads gave."
    raise Refused(code, detail, errors=[Fault(pointer_to("upload_id"), code, detail)])


def _opened(
    request: ScanRequest, found: Upload | Target | None, *, request_id: str, now: float
) -> Opened:
    scan_id = ids.scan_id(now)
    upload = found if isinstance(found, Upload) else None
    url = None if isinstance(request.url, msgspec.UnsetType) else request.url
    entry = Entry(
        scan_id=scan_id,
        kind=InputKind.URL if upload is None else InputKind.UPLOAD,
        operating_point=request.operating_point,
        deadline=now + DEADLINE_SECONDS,
        url=url,
        upload_id=upload.id if upload else None,
        request_id=request_id,
        priority=request.priority,
    )
    scan = Scan(
        id=scan_id,
        status=Status.QUEUED,
        input=_input(entry, upload),
        sequence=FIRST_SEQUENCE,
        created_at=ids.rfc3339(now),
    )
    place = _digest(found.url) if isinstance(found, Target) else None
    return Opened(
        scan=scan, entry=entry, place=place, context=request.context, metadata=request.metadata
    )


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _input(entry: Entry, upload: Upload | None) -> Input:
    if upload is None:
        return Input(kind=entry.kind, url=entry.url)
    return Input(kind=entry.kind, fetched_by="client", sha256=upload.sha256, bytes=upload.bytes)


async def _announce(entry: Entry, desk: Desk) -> None:
    """Tell the workers. A failure costs the scan a sweep's time and is not the caller's."""
    try:
        with anyio.fail_after(TOLD_SECONDS):
            await desk.board.post([entry])
            await desk.queue.ring()
    except (Unavailable, TimeoutError) as error:
        _log.warning("scan_not_announced", scan_id=entry.scan_id, reason=str(error))


def _log_recalled(opened: Opened) -> None:
    scan, verdict = opened.scan, opened.scan.verdict
    _log.info(
        "scan_recalled",
        scan_id=scan.id,
        request_id=opened.entry.request_id,
        verdict=verdict.value if verdict else None,
    )


async def _recorded(scan_id: str, desk: Desk) -> Scan | None:
    return await desk.records.get(scan_id) if ids.is_scan_id(scan_id) else None


def _known(scan_id: str, scan: Scan | None) -> Scan:
    if scan is None:
        shown = scan_id if len(scan_id) <= 64 else f"{scan_id[:64]}..."
        raise Refused(ProblemCode.NOT_FOUND, f"There is no scan {shown!r}.")
    return scan


async def _with_phase(scan: Scan, desk: Desk) -> Scan:
    """Return the scan with what a worker says it does with it, as long as that can be asked."""
    if scan.status.is_final:
        return scan
    with suppress(Unavailable):
        phase = await desk.board.phase(scan.id)
        if phase in (Status.FETCHING, Status.SCORING):
            return msgspec.structs.replace(scan, status=Status(phase))
    return scan
