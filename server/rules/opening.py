"""What a request for a scan becomes before it is recorded. Knows nothing of HTTP or stores.

    ScanRequest --> may be fetched? is kept? --> Opened --> known? --> final, by a verdict on record
                    refused                                  `--> to be looked at

For one scan (rules/scans.py) and for many at once (rules/batches.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from sdk.codes import ProblemCode
from sdk.wire import Fault, Input, InputKind, Scan, ScanRequest, Status, Upload
from server import ids
from server.ports import Opened, Recall
from server.refused import Refused
from worker import tracing
from worker.contract import DEADLINE_SECONDS, Entry
from worker.guard import Policy, Target, UrlRefused, check_url

from .caller import Caller
from .desk import Desk
from .recall import recalled
from .requests import pointer_to
from .webhooks import checked_url

FIRST_SEQUENCE = 1
"""Sequence of a scan's first state; each recorded change adds one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Place(Struct, frozen=True):
    """Where in a batch a scan stands; `path` is where its request stands in the body."""

    batch_id: str
    index: int

    @property
    def path(self) -> tuple[str, ...]:
        """As pointer_to wants it."""
        return ("scans", str(self.index))


async def opened_of(
    request: ScanRequest,
    *,
    caller: Caller,
    request_id: str,
    desk: Desk,
    place: Place | None = None,
) -> Opened:
    """Return the scan that is asked for, to be recorded; raises Refused or Unavailable."""
    path = place.path if place else ()
    found = await _check(request, caller.owner, desk, path)
    now = desk.clock.now()
    entry = _entry(request, found, request_id=request_id, now=now)
    scan = Scan(
        id=entry.scan_id,
        status=Status.QUEUED,
        input=_input(entry, found),
        batch_id=place.batch_id if place else None,
        context=request.context,
        metadata=request.metadata,
        sequence=FIRST_SEQUENCE,
        created_at=ids.rfc3339(now),
    )
    return Opened(
        owner=caller.owner,
        scan=scan,
        entry=entry,
        place=_digest(found.url) if isinstance(found, Target) else None,
        batch_index=place.index if place else None,
        callback_url=_callback(request, desk.policy, path),
    )


async def opened_again(old: Opened, *, request_id: str, desk: Desk) -> Opened:
    """Return a new scan of what another was about; raises Refused where its bytes are gone."""
    await _check_again(old, desk)
    now = desk.clock.now()
    entry = replace(
        old.entry,
        scan_id=ids.new("scan", now),
        deadline=now + DEADLINE_SECONDS,
        request_id=request_id,
        traceparent=tracing.current(),
    )
    kept = old.scan.input
    is_upload = entry.kind is InputKind.UPLOAD
    scan = Scan(
        id=entry.scan_id,
        status=Status.QUEUED,
        input=Input(
            kind=entry.kind,
            url=entry.url,
            fetched_by="client" if is_upload else None,
            sha256=kept.sha256 if is_upload else None,
            bytes=kept.bytes if is_upload else None,
        ),
        rescore_of=old.scan.id,
        context=old.scan.context,
        metadata=old.scan.metadata,
        sequence=FIRST_SEQUENCE,
        created_at=ids.rfc3339(now),
    )
    return replace(old, scan=scan, entry=entry, batch_index=None, replay=None)


async def known(opened: Opened, *, judges: Collection[str], desk: Desk) -> Opened:
    """Return the scan as final, if a verdict on record may be given again; else as it is."""
    if not judges:
        return opened
    precedents = await desk.precedents.precedents(opened)
    final = recalled(opened, precedents, judges=judges, now=desk.clock.now())
    return opened if final is None else replace(opened, scan=final)


def recalling(opened: Opened, *, judges: Collection[str], desk: Desk) -> Recall | None:
    """Return the same as a question to be asked when the scan is recorded; None: nobody judges."""
    if not judges:
        return None
    now = desk.clock.now()
    return lambda precedents: recalled(opened, precedents, judges=judges, now=now)


async def _check(
    request: ScanRequest, owner: str, desk: Desk, path: tuple[str, ...]
) -> Upload | Target | str | None:
    """Return the upload, the place or the digest that the request names; raises Refused."""
    if not isinstance(request.upload_id, msgspec.UnsetType):
        return await _named_upload(request.upload_id, owner, desk, path)
    if not isinstance(request.url, msgspec.UnsetType):
        return _check_url(request.url, desk.policy, path)
    if not isinstance(request.sha256, msgspec.UnsetType):
        return _check_digest(request.sha256, path)
    return None


def _check_url(url: str, policy: Policy, path: tuple[str, ...]) -> Target:
    try:
        return check_url(url, policy)
    except UrlRefused as refused:
        fault = Fault(pointer_to(*path, "url"), refused.code, refused.detail)
        raise Refused(refused.code, refused.detail, errors=[fault]) from refused


def _check_digest(sha256: str, path: tuple[str, ...]) -> str:
    if _SHA256.fullmatch(sha256.lower()):
        return sha256.lower()
    detail = f"sha256 is {sha256[:80]!r}: give 64 hex digits, those of the image's bytes."
    code = ProblemCode.INVALID_PARAMETER
    raise Refused(code, detail, errors=[Fault(pointer_to(*path, "sha256"), code, detail)])


async def _named_upload(upload_id: str, owner: str, desk: Desk, path: tuple[str, ...]) -> Upload:
    upload = await desk.spool.find(upload_id, owner=owner)
    if upload is not None:
        return upload
    # A well-formed id was most likely theirs once: "expired" tells the caller what to do, and of
    # another's no more than that.
    if ids.is_upload_id(upload_id):
        code, detail = ProblemCode.EXPIRED, f"The upload {upload_id} is not kept any more."
    else:
        code, detail = ProblemCode.NOT_FOUND, "upload_id is not an id that /v1/uploads gave."
    raise Refused(code, detail, errors=[Fault(pointer_to(*path, "upload_id"), code, detail)])


async def _check_again(old: Opened, desk: Desk) -> None:
    entry = old.entry
    if entry.kind is InputKind.URL:
        _check_url(entry.url or "", desk.policy, ())
    elif entry.kind is InputKind.SHA256:
        raise _gone(old, "was about a digest, and its bytes were never here")
    elif await desk.spool.find(entry.upload_id or "", owner=old.owner) is None:
        raise _gone(old, "was of an upload that is not kept any more")


def _gone(old: Opened, why: str) -> Refused:
    return Refused(
        ProblemCode.STATE_CONFLICT,
        f"The scan {old.scan.id} {why}: upload the bytes again, and submit them as a new scan.",
    )


def _callback(request: ScanRequest, policy: Policy, path: tuple[str, ...]) -> str | None:
    if isinstance(request.callback_url, msgspec.UnsetType):
        return None
    return checked_url(request.callback_url, policy, pointer=pointer_to(*path, "callback_url"))


def _entry(
    request: ScanRequest, found: Upload | Target | str | None, *, request_id: str, now: float
) -> Entry:
    kind = InputKind.URL
    if isinstance(found, Upload):
        kind = InputKind.UPLOAD
    elif isinstance(found, str):
        kind = InputKind.SHA256
    return Entry(
        scan_id=ids.new("scan", now),
        kind=kind,
        operating_point=request.operating_point,
        deadline=now + DEADLINE_SECONDS,
        url=None if request.url is UNSET else str(request.url),
        upload_id=found.id if isinstance(found, Upload) else None,
        request_id=request_id,
        priority=request.priority,
        traceparent=tracing.current(),
    )


def _input(entry: Entry, found: Upload | Target | str | None) -> Input:
    if isinstance(found, Upload):
        return Input(kind=entry.kind, fetched_by="client", sha256=found.sha256, bytes=found.bytes)
    if isinstance(found, str):
        return Input(kind=entry.kind, sha256=found)
    return Input(kind=entry.kind, url=entry.url)


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]
