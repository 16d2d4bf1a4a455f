"""What happens to a scan between its request and its end. Knows nothing of HTTP or stores.

request -> may be fetched? -> within limits? -> parts ready? -> room? -> records.open COMMIT: known?
            refused            429               503             503     |       `- yes: final
                                                                 but for v no
                                                          what is known  board.post -> ring

From the commit on the scan exists, and whatever fails after it is mended by the sweep.

rescore   the same for what a final scan was about, and never by what is known
cancel    records.close with an outcome of ours: whichever is recorded first stands
erase     records.erase: nothing tells what it said, and its owner hears 410
follow    each state as it comes, until the last
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import anyio
import msgspec
import structlog
from msgspec import Struct

from sdk.codes import SCAN_ERRORS, ProblemCode, ScanErrorCode
from sdk.wire import InputKind, Scan, ScanError, ScanRequest, Scope, Status
from server import ids
from server.ports import Kept, Opened, Replay, Unavailable
from server.refused import Refused
from worker.contract import Entry, Outcome

from .caller import Caller
from .desk import Desk
from .idempotency import once
from .opening import known, opened_again, opened_of, recalling

TOLD_SECONDS = 0.9
"""Longest time until a caller hears that a part is down."""
REPEAT_SECONDS = 60.0
"""How long the upload of a final scan is kept, for a caller who sends the scan again."""
FOLLOW_SECONDS = 1.0
"""How often it is asked what a worker does with a scan that somebody follows."""
BEAT_SECONDS = 15.0
"""Longest silence for somebody who follows a scan."""

_log = structlog.get_logger(__name__)


class Erasures(Protocol):
    """Knows which scans were erased. Raises Unavailable."""

    async def is_erased(self, scan_id: str, *, owner: str) -> bool:
        """Return whether the owner had such a scan, and it was erased."""
        ...


class Terms(Struct, frozen=True, kw_only=True):
    """How a scan is asked for: `wait_seconds` for its end, anew, and under which key."""

    request_id: str
    wait_seconds: float = 0.0
    is_anew: bool = False
    replay: Replay | None = None


class Submitted(Struct, frozen=True):
    """The scan, and whether an earlier request with the same key made it."""

    scan: Scan
    is_replayed: bool = False


async def submit(request: ScanRequest, *, caller: Caller, terms: Terms, desk: Desk) -> Submitted:
    """Record the scan, hand it to the workers, and return it final if that is soon enough.

    It is final at once if a verdict on record may be given again, unless it shall be looked at
    anew. Raises Refused or Unavailable; then there is no scan.
    """
    caller.need(Scope.SCAN)

    async def make() -> Scan:
        opened = await opened_of(request, caller=caller, request_id=terms.request_id, desk=desk)
        return await _accept(opened, caller=caller, terms=terms, desk=desk)

    return await _submit(make, caller=caller, terms=terms, desk=desk)


async def rescore(scan_id: str, *, caller: Caller, terms: Terms, desk: Desk) -> Submitted:
    """Have what a final scan was about looked at again, as a new scan; raises Refused."""
    _need_private(caller, Scope.SCAN, "have scans scored again")

    async def make() -> Scan:
        old = await _opened(scan_id, caller, desk)
        if not old.scan.status.is_final:
            raise _conflict(old.scan, "a scan is scored again once it is final")
        opened = await opened_again(old, request_id=terms.request_id, desk=desk)
        anew = msgspec.structs.replace(terms, is_anew=True)
        return await _accept(opened, caller=caller, terms=anew, desk=desk)

    return await _submit(make, caller=caller, terms=terms, desk=desk)


async def get(scan_id: str, *, caller: Caller, desk: Desk) -> Scan:
    """Return the scan as it is now; raises Refused if there is none."""
    need_reading(caller)
    return await _with_phase(await _theirs(scan_id, caller, desk), desk)


async def wait(scan_id: str, *, seconds: float, caller: Caller, desk: Desk) -> Scan:
    """Return the scan once it is final, or as it is after `seconds` or when the server stops."""
    scan = await get(scan_id, caller=caller, desk=desk)
    if scan.status.is_final or not seconds:
        return scan
    with desk.stopping.cuts_short():
        await desk.records.watch(scan_id, seconds, owner=caller.owner)
    return await get(scan_id, caller=caller, desk=desk)


async def cancel(scan_id: str, *, caller: Caller, desk: Desk) -> Scan:
    """End a scan that is not final; raises Refused for one that is."""
    _need_private(caller, Scope.SCAN, "cancel scans")
    scan = await _theirs(scan_id, caller, desk)
    unwanted = [] if scan.status.is_final else [scan]
    if scan_id not in await end_unwanted(unwanted, desk=desk):
        now_is = await _theirs(scan_id, caller, desk)
        raise _conflict(now_is, "only a scan that is not final can be canceled")
    await desk.limiter.done(caller.owner, [scan_id])
    return await _theirs(scan_id, caller, desk)


async def erase(scan_id: str, *, caller: Caller, desk: Desk) -> None:
    """Forget a scan, its events and its upload, for good; raises Refused if there is none."""
    _need_private(caller, Scope.SCAN, "erase scans")
    erased = None
    if ids.is_id("scan", scan_id):
        erased = await desk.records.erase(scan_id, owner=caller.owner, actor=caller.name)
    if erased is None:
        raise await no_scan(scan_id, owner=caller.owner, records=desk.records)
    if not erased.was_final:
        await desk.limiter.done(caller.owner, [scan_id])
    if erased.upload_id is not None:
        await _forget_upload(erased.upload_id, desk)


async def follow(
    scan_id: str, *, caller: Caller, after: int | None, desk: Desk
) -> AsyncIterator[Scan | None] | None:
    """Return what yields the scan, each time that it has changed, up to its end.

    It yields None when nothing has for a while. `after` is the sequence that the caller knows of;
    returns None if that is of the end. Raises Refused if there is no scan.
    """
    scan = await get(scan_id, caller=caller, desk=desk)
    if scan.status.is_final and after is not None and after >= scan.sequence:
        return None
    return _states(scan, after, caller, desk)


async def end_unwanted(unwanted: Sequence[Scan], *, desk: Desk) -> list[str]:
    """End scans that their owner wants no more; return the ids of those that had not ended."""
    if not unwanted:
        return []
    outcomes = {scan.id: canceled(scan) for scan in unwanted}
    recorded = list(await desk.records.close(list(outcomes.values())))
    now = desk.clock.now()
    for scan_id in recorded:
        desk.counters.scan_ended(outcomes[scan_id], seconds=now - ids.made_at(scan_id))
    return recorded


def canceled(scan: Scan) -> Outcome:
    """Return the outcome of a scan that its owner wants no more."""
    facts = SCAN_ERRORS[ScanErrorCode.CANCELED]
    return Outcome(
        scan_id=scan.id,
        attempt=0,
        worker="",
        status=Status.CANCELED,
        input=scan.input,
        error=ScanError(
            code=ScanErrorCode.CANCELED,
            detail="The scan was canceled before it was done.",
            hint=facts.hint,
            retryable=facts.retryable,
        ),
    )


def need_reading(caller: Caller) -> None:
    """Return if the caller may read scans: with `read`, or the `scan` that submits them."""
    if Scope.SCAN not in caller.scopes:
        caller.need(Scope.READ)


def need_no_public_key(caller: Caller, what: str) -> None:
    """Raise Refused for a key that anybody may have seen."""
    if caller.is_publishable:
        raise Refused(
            ProblemCode.SCOPE_MISSING,
            f"A publishable key (pk_) may not {what}, since anybody may have seen it: use a "
            "secret one (sk_).",
        )


async def no_scan(scan_id: str, *, owner: str, records: Erasures) -> Refused:
    """Return what is answered where the owner has no such scan: erased, or never there."""
    is_ours = ids.is_id("scan", scan_id)
    if is_ours and await records.is_erased(scan_id, owner=owner):
        return Refused(ProblemCode.EXPIRED, f"The scan {scan_id} was erased.")
    shown = scan_id if len(scan_id) <= 64 else f"{scan_id[:64]}..."
    return Refused(ProblemCode.NOT_FOUND, f"There is no scan {shown!r}.")


async def announce(entries: list[Entry], desk: Desk) -> None:
    """Tell the workers. A failure costs the scans a sweep's time and is not the caller's."""
    try:
        with anyio.fail_after(TOLD_SECONDS):
            await desk.board.post(entries)
            await desk.queue.ring()
    except (Unavailable, TimeoutError) as error:
        scan_ids = [entry.scan_id for entry in entries[:10]]
        _log.warning("scan_not_announced", scan_id=scan_ids, reason=str(error))


async def _submit(
    make: Callable[[], Awaitable[Scan]], *, caller: Caller, terms: Terms, desk: Desk
) -> Submitted:
    async def again(kept: Kept) -> Scan:
        return await get(kept.subject, caller=caller, desk=desk)

    scan, is_replayed = await once(
        terms.replay,
        owner=caller.owner,
        replays=desk.records,
        flights=desk.board,
        make=make,
        again=again,
    )
    if terms.wait_seconds and not scan.status.is_final:
        with suppress(Unavailable):  # it is accepted, whatever fails now
            scan = await wait(scan.id, seconds=terms.wait_seconds, caller=caller, desk=desk)
    return Submitted(scan, is_replayed)


async def _accept(opened: Opened, *, caller: Caller, terms: Terms, desk: Desk) -> Scan:
    """Record the scan, and return it as recorded: final, or waiting for a worker."""
    opened = msgspec.structs.replace(opened, replay=terms.replay)
    try:
        with anyio.fail_after(TOLD_SECONDS):
            async with _paid_for(opened.scan.id, caller, desk):
                scan = await _record(opened, is_anew=terms.is_anew, desk=desk)
    except TimeoutError as error:
        raise Unavailable("store", f"no answer within {TOLD_SECONDS:g} s") from error
    if not scan.status.is_final:
        await announce([opened.entry], desk)
        return scan
    _tell_recalled(scan, opened.entry.request_id, desk)
    await _give_back(scan.id, caller, desk)
    return scan


async def _record(opened: Opened, *, is_anew: bool, desk: Desk) -> Scan:
    judges = await desk.readiness.judges()
    if opened.entry.kind is InputKind.SHA256:
        return await _record_known(opened, _unknown(opened), judges=judges, desk=desk)
    try:
        await desk.readiness.admit(opened.entry.priority)
    except Refused as full:
        if is_anew:
            raise
        return await _record_known(opened, full, judges=judges, desk=desk)
    recall = None if is_anew else recalling(opened, judges=judges, desk=desk)
    scan = await desk.records.open(opened, recall=recall)
    if scan.status.is_final:
        desk.readiness.give_back()
    return scan


async def _record_known(
    opened: Opened, otherwise: Refused, *, judges: Collection[str], desk: Desk
) -> Scan:
    """Record the scan if a verdict on record may be given again, or else raise."""
    opened = await known(opened, judges=judges, desk=desk)
    if not opened.scan.status.is_final:
        raise otherwise
    return await desk.records.open(opened)


@asynccontextmanager
async def _paid_for(scan_id: str, caller: Caller, desk: Desk) -> AsyncIterator[None]:
    """Count the scan against the caller's limits, and give back its place if it comes to none."""
    await desk.limiter.spend(caller, scan_ids=[scan_id])
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _give_back(scan_id, caller, desk)
        raise


async def _give_back(scan_id: str, caller: Caller, desk: Desk) -> None:
    if caller.limits.parallel is not None:
        await desk.limiter.done(caller.owner, [scan_id])


def _tell_recalled(scan: Scan, request_id: str, desk: Desk) -> None:
    desk.counters.scan_recalled(scan)
    _log.info(
        "scan_recalled",
        scan_id=scan.id,
        request_id=request_id,
        verdict=scan.verdict.value if scan.verdict else None,
    )


async def _forget_upload(upload_id: str, desk: Desk) -> None:
    """Remove the file, unless another scan needs it; a failure leaves that to the sweep."""
    since = desk.clock.now() - REPEAT_SECONDS
    try:
        needed = await desk.records.uses([upload_id], since)
        if not needed.get(upload_id, False):
            await desk.spool.forget([upload_id])
    except Unavailable as error:
        _log.warning("upload_not_forgotten", upload_id=upload_id, reason=str(error))


async def _states(
    scan: Scan, after: int | None, caller: Caller, desk: Desk
) -> AsyncIterator[Scan | None]:
    if after is None or scan.sequence > after:
        yield scan
    told = desk.clock.monotonic()
    while not scan.status.is_final and not desk.stopping.is_set:
        found, now = await _next(scan, caller, desk), desk.clock.monotonic()
        if found is None:
            return
        is_news = (found.sequence, found.status) != (scan.sequence, scan.status)
        scan = found
        if is_news:
            yield scan
        elif now - told >= BEAT_SECONDS:
            yield None
        else:
            continue
        told = now


async def _next(scan: Scan, caller: Caller, desk: Desk) -> Scan | None:
    """Return the scan once it is final, or as it is a moment later; None: it is erased.

    As it was, if that cannot be known.
    """
    with suppress(Unavailable), desk.stopping.cuts_short():
        found = await desk.records.watch(scan.id, FOLLOW_SECONDS, owner=caller.owner)
        return None if found is None else await _with_phase(found, desk)
    return scan


async def _theirs(scan_id: str, caller: Caller, desk: Desk) -> Scan:
    scan = None
    if ids.is_id("scan", scan_id):
        scan = await desk.records.get(scan_id, owner=caller.owner)
    if scan is None:
        raise await no_scan(scan_id, owner=caller.owner, records=desk.records)
    return scan


async def _opened(scan_id: str, caller: Caller, desk: Desk) -> Opened:
    opened = None
    if ids.is_id("scan", scan_id):
        opened = await desk.records.opened(scan_id, owner=caller.owner)
    if opened is None:
        raise await no_scan(scan_id, owner=caller.owner, records=desk.records)
    return opened


def _need_private(caller: Caller, scope: Scope, what: str) -> None:
    caller.need(scope)
    need_no_public_key(caller, what)


def _conflict(scan: Scan, rule: str) -> Refused:
    return Refused(ProblemCode.STATE_CONFLICT, f"The scan is {scan.status.value}: {rule}.")


def _unknown(opened: Opened) -> Refused:
    return Refused(
        ProblemCode.NOT_FOUND,
        f"Nothing is known of the bytes with the sha256 {opened.scan.input.sha256} at "
        f"{opened.entry.operating_point.value}: upload them, and submit the upload.",
    )


async def _with_phase(scan: Scan, desk: Desk) -> Scan:
    """Return the scan with what a worker says it does with it, as long as that can be asked."""
    if scan.status.is_final:
        return scan
    with suppress(Unavailable):
        phase = await desk.board.phase(scan.id)
        if phase in (Status.FETCHING, Status.SCORING):
            return msgspec.structs.replace(scan, status=Status(phase))
    return scan
