"""Two doors for programs that speak another protocol: OpenAI's moderation, pict-rs' validation.

    {"input": [image_url, ...]} -> each: URL, or data: -> uploads.keep -+
    the bytes of one image ------------------> uploads.keep ------------+-> scans.submit, wait
                                                                                 |
    flagged: likely_ai, or declared by a signature that is trusted   <-----------+
    not final or failed: an error to OpenAI's client, the setting to pict-rs; never "not flagged"

Both do what any caller of /v1/scans could do, and own nothing: the scans are the key's owner's.
`inconclusive` flags nothing and rejects nothing, nor does a declaration that anybody could write.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import anyio
import structlog
from msgspec import Struct

from sdk.codes import ProblemCode, ScanErrorCode
from sdk.wire import Fault, PointName, Scan, ScanRequest, Scope, Status, Upload, Verdict
from server.ports import Unavailable
from server.refused import Refused
from worker.contract import UPLOAD_LIMIT_BYTES

from . import requests, scans, uploads
from .caller import Caller
from .desk import Desk

BODY_LIMIT_BYTES = UPLOAD_LIMIT_BYTES * 4 // 3 + 64 * 1024
"""Largest body of a moderation request: one image of the largest size, in base64."""
BODIES = 8
"""Most such bodies in memory at a time."""
BODY_SECONDS = 30.0
"""How long such a body may take to arrive."""
IMAGES_LIMIT = 10
"""Most images in one moderation request."""
MODERATION_SECONDS = 30.0
"""How long OpenAI's client waits for us; its own limit is ten minutes."""
VETTING_SECONDS = 25.0
"""How long pict-rs waits for us: it gives up after 30 s, unless told otherwise."""
RETRY_SECONDS = 5
"""When to ask again for an image that was not judged in time."""
VETTING_POINT = PointName.STRICT
"""Where an image is rejected without a person who looks, the fewest real ones may be."""
CATEGORY = "ai_generated"
TRUSTED = "trusted"
"""Trust of a declaration whose signature was verified."""

_OURS = (ScanErrorCode.WORKER_LOST, ScanErrorCode.SCORING_FAILED, ScanErrorCode.DEADLINE_EXCEEDED)
_log = structlog.get_logger(__name__)


class Callers(Protocol):
    """Whose key is whose."""

    async def caller(self, *, authorization: list[str], page: str | None) -> Caller:
        """Return who may use the key of an Authorization header; raises Refused or Unavailable."""
        ...


@dataclass(frozen=True, kw_only=True)
class CompatDesk:
    """What these rules work with; `accepts_unjudged` is what pict-rs hears where there is no
    verdict."""

    desk: Desk
    callers: Callers
    accepts_unjudged: bool
    bodies: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(BODIES))


@dataclass(frozen=True, kw_only=True)
class _Asker:
    """Who asks, by which request, and of whom."""

    caller: Caller
    request_id: str
    desk: Desk


class PartType(StrEnum):
    """What a part of the input is. Text is not judged here."""

    IMAGE_URL = "image_url"


class ImageUrl(Struct, frozen=True):
    """Where the image is: http, https, or data: with its bytes in base64."""

    url: str


class ImagePart(Struct, frozen=True, kw_only=True):
    """One image of a moderation request."""

    type: PartType
    image_url: ImageUrl


class ModerationRequest(Struct, frozen=True, kw_only=True):
    """What OpenAI's client sends. `model` is not read: the answer says which one judged."""

    input: tuple[ImagePart, ...]
    model: str = ""
    operating_point: PointName = PointName.BALANCED


class ModerationResult(Struct, frozen=True, kw_only=True):
    """One answer for all images of a request, as OpenAI's is: flagged if any of them is."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, tuple[str, ...]]


class Moderation(Struct, frozen=True, kw_only=True):
    """What OpenAI's client reads, and the scans in the order of the input, with all they say."""

    id: str
    model: str
    results: tuple[ModerationResult, ...]
    scans: tuple[Scan, ...]


class Vetting(Struct, frozen=True, kw_only=True):
    """Whether pict-rs shall keep an image; `code` says why there is no verdict, where none is."""

    accepted: bool
    verdict: Verdict | None = None
    scan_id: str | None = None
    code: str | None = None


async def moderate(
    read: Callable[[], Awaitable[bytes]], *, caller: Caller, request_id: str, desk: CompatDesk
) -> Moderation:
    """Judge the images of a request whose body `read` returns; raises Refused or Unavailable.

    It is raised too where one of them could not be judged: who asks here reads no other error.
    """
    caller.need(Scope.SCAN)
    asker = _Asker(caller=caller, request_id=request_id, desk=desk.desk)
    async with desk.bodies:
        request = requests.read(await _arrived(read), ModerationRequest)
        _check_count(request)
        begun = [
            await _begun(part, index, request.operating_point, asker)
            for index, part in enumerate(request.input)
        ]
    judged = await _all_judged(begun, seconds=MODERATION_SECONDS, asker=asker)
    for index, scan in enumerate(judged):
        if scan.status is not Status.COMPLETED:
            raise _unjudged(scan, index)
    return _moderation(judged, request_id)


async def vet(
    secret: str, chunks: AsyncIterable[bytes], *, request_id: str, desk: CompatDesk
) -> Vetting:
    """Say whether pict-rs shall keep the image of these bytes; raises Refused for a wrong secret.

    Whatever else goes wrong is answered as the setting says, and logged.
    """
    caller = await desk.callers.caller(authorization=[f"Bearer {secret}"], page=None)
    caller.need(Scope.SCAN)
    asker = _Asker(caller=caller, request_id=request_id, desk=desk.desk)
    try:
        upload = await _kept(chunks, asker)
        asked = ScanRequest(upload_id=upload.id, operating_point=VETTING_POINT)
        begun = await _submitted(asked, asker)
        (scan,) = await _all_judged([begun], seconds=VETTING_SECONDS, asker=asker)
    except Exception as error:  # a fault of ours too: the setting decides, and not pict-rs
        return _by_setting(_code_of(error), None, desk, error=error)
    if scan.status is not Status.COMPLETED:
        return _by_setting(_code_of_scan(scan), scan, desk)
    vetting = Vetting(accepted=not accuses(scan), verdict=scan.verdict, scan_id=scan.id)
    _log.info("pictrs_vetted", scan_id=scan.id, verdict=scan.verdict, is_accepted=vetting.accepted)
    return vetting


def accuses(scan: Scan) -> bool:
    """True if a program may act on the verdict without a person: the image is, or says, AI."""
    if scan.verdict is Verdict.DECLARED_AI:
        return scan.declaration is not None and scan.declaration.trust == TRUSTED
    return scan.verdict is Verdict.LIKELY_AI


def bytes_of_data_url(url: str) -> bytes:
    """Return the bytes of data:...;base64,...; raises Refused with what is wrong with it."""
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise _bad_url("It is a data: URL without ;base64, before its data.")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise _bad_url(f"Its data is not base64: {error}.") from error


def _bad_url(detail: str) -> Refused:
    code = ProblemCode.URL_INVALID
    return Refused(code, detail, errors=[Fault(requests.pointer_to("url"), code, detail)])


async def _arrived(read: Callable[[], Awaitable[bytes]]) -> bytes:
    try:
        with anyio.fail_after(BODY_SECONDS):
            return await read()
    except TimeoutError as error:
        detail = f"The body did not arrive within {BODY_SECONDS:g} s."
        raise Refused(ProblemCode.INVALID_PARAMETER, detail) from error


def _check_count(request: ModerationRequest) -> None:
    if not 1 <= len(request.input) <= IMAGES_LIMIT:
        detail = f"/input has {len(request.input)} images; give 1 to {IMAGES_LIMIT}."
        fault = Fault("/input", ProblemCode.INVALID_PARAMETER, detail)
        raise Refused(ProblemCode.INVALID_PARAMETER, detail, errors=[fault])


async def _begun(part: ImagePart, index: int, point: PointName, asker: _Asker) -> Scan:
    """Submit one image; what is wrong with it is told of its place in the input."""
    try:
        return await _submitted(await _asked(part.image_url.url, point, asker), asker)
    except Refused as refused:
        if not refused.errors:
            raise
        raise _refused_at(index, refused.code, refused.detail) from refused


async def _asked(url: str, point: PointName, asker: _Asker) -> ScanRequest:
    if not url.lower().startswith("data:"):
        return ScanRequest(url=url, operating_point=point)
    upload = await _kept(_one(bytes_of_data_url(url)), asker)
    return ScanRequest(upload_id=upload.id, operating_point=point)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _kept(chunks: AsyncIterable[bytes], asker: _Asker) -> Upload:
    return await uploads.keep(chunks, owner=asker.caller.owner, spool=asker.desk.spool)


async def _submitted(request: ScanRequest, asker: _Asker) -> Scan:
    terms = scans.Terms(request_id=asker.request_id)
    submitted = await scans.submit(request, caller=asker.caller, terms=terms, desk=asker.desk)
    return submitted.scan


async def _all_judged(begun: Sequence[Scan], *, seconds: float, asker: _Asker) -> list[Scan]:
    """Return the scans once all are final, or as they are after so many seconds."""
    ends_at = asker.desk.clock.monotonic() + seconds
    judged = []
    for scan in begun:
        left = ends_at - asker.desk.clock.monotonic()
        is_over = scan.status.is_final or left <= 0
        judged.append(scan if is_over else await _awaited(scan, left, asker))
    return judged


async def _awaited(scan: Scan, seconds: float, asker: _Asker) -> Scan:
    return await scans.wait(scan.id, seconds=seconds, caller=asker.caller, desk=asker.desk)


def _moderation(judged: Sequence[Scan], request_id: str) -> Moderation:
    is_flagged = any(accuses(scan) for scan in judged)
    result = ModerationResult(
        flagged=is_flagged,
        categories={CATEGORY: is_flagged},
        category_scores={CATEGORY: max(scan.score or 0.0 for scan in judged)},
        category_applied_input_types={CATEGORY: ("image",)},
    )
    model = judged[0].model
    return Moderation(
        id=request_id, model=model.id if model else "", results=(result,), scans=tuple(judged)
    )


def _unjudged(scan: Scan, index: int) -> Exception:
    """Return what is raised for an image without a verdict: their fault, ours, or too early."""
    if not scan.status.is_final:
        return Refused(
            ProblemCode.QUEUE_FULL,
            f"The image was not judged within {MODERATION_SECONDS:g} s; its scan is {scan.id}.",
            retry_after=RETRY_SECONDS,
        )
    code = _code_of_scan(scan)
    detail = scan.error.detail if scan.error else "The scan was canceled."
    if code in _OURS:
        return Unavailable("worker", detail)
    return _refused_at(index, ProblemCode.INVALID_PARAMETER, detail, code)


def _refused_at(index: int, code: ProblemCode, detail: str, fault_code: str = "") -> Refused:
    pointer = requests.pointer_to("input", str(index), "image_url", "url")
    return Refused(code, detail, errors=[Fault(pointer, fault_code or code, detail)])


def _by_setting(
    code: str, scan: Scan | None, desk: CompatDesk, *, error: Exception | None = None
) -> Vetting:
    is_expected = error is None or isinstance(error, Refused | Unavailable)
    (_log.warning if is_expected else _log.error)(
        "pictrs_unjudged",
        code=code,
        scan_id=scan.id if scan is not None else None,
        is_accepted=desk.accepts_unjudged,
        reason=str(error) if error and is_expected else None,
        exc_info=None if is_expected else error,
    )
    return Vetting(
        accepted=desk.accepts_unjudged, scan_id=scan.id if scan is not None else None, code=code
    )


def _code_of(error: Exception) -> str:
    if isinstance(error, Refused):
        return error.code.value
    if isinstance(error, Unavailable):
        is_model = error.part == "worker"
        code = ProblemCode.MODEL_UNAVAILABLE if is_model else ProblemCode.STORE_UNAVAILABLE
        return code.value
    return ProblemCode.INTERNAL.value


def _code_of_scan(scan: Scan) -> str:
    if not scan.status.is_final:
        return ScanErrorCode.DEADLINE_EXCEEDED.value
    return (scan.error.code if scan.error else ScanErrorCode.CANCELED).value
