"""What happens to many scans that are asked for at once. Knows nothing of HTTP or stores.

    request -> each may be fetched? -> known? -> within limits? -> room? -> COMMIT -> post, ring
               | refused by itself              429, or 503, for all of them
               v
               a result with its problem, and the others go on

    results    a line an item, in the order of the request, as each is now
    cancel     what is not final, by the same outcomes as one scan

A batch has one commit, one round trip to Redis and one ticket. It is taken while one more scan of
its priority would be, and if all of it can be done within the deadline; so a slow machine takes it
too, and the queue is at most one batch longer than it may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import anyio.lowlevel
import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from sdk.codes import ProblemCode
from sdk.wire import (
    Batch,
    BatchRequest,
    BatchResult,
    Fault,
    InputKind,
    Priority,
    Problem,
    Scan,
    ScanRequest,
    Scope,
)
from server import ids
from server.ports import Kept, Opened, Precedent, Replay, Unavailable
from server.refused import Refused

from .caller import Caller
from .desk import Desk
from .idempotency import once
from .opening import Place, opened_of
from .recall import recalled
from .requests import not_one_image, pointer_to, read
from .scans import announce, end_unwanted, need_no_public_key, need_reading
from .webhooks import checked_url

MOST = 1000
"""Most scans in a batch."""
CHECKED_AT_ONCE = 20
"""Items after which others get a turn while a request is read; a millisecond or two."""
TOLD_SECONDS = 10.0
"""Longest time until a caller hears that a thousand scans could not be recorded."""
PAGE = 100
"""Results that are read at once."""

Tell = Callable[[Refused], Problem]
"""Makes a refusal what callers see."""


class NewBatch(Struct, frozen=True, kw_only=True):
    """A batch to be recorded; `at` is Unix time. `refused`: [[index, problem], ...]."""

    id: str
    owner: str
    total: int
    refused: tuple[tuple[int, Problem], ...]
    metadata: dict[str, str]
    callback_url: str | None
    replay: Replay | None
    at: float


class Made(NamedTuple):
    """A batch as it was recorded, and its scans: queued, or final where they were known."""

    batch: Batch
    scans: Sequence[Scan]


class Batches(Protocol):
    """What these rules need of the store. Raises Unavailable."""

    async def precedents(self, openeds: Sequence[Opened]) -> list[list[Precedent]]:
        """Return, for each scan, what workers found of the same image; see ports.Precedents."""
        ...

    async def open(self, new: NewBatch, openeds: Sequence[Opened]) -> Made:
        """Record a batch and its scans in one commit; raises KeyTaken."""
        ...

    async def get(self, batch_id: str, *, owner: str) -> Batch | None:
        """Return the owner's batch as it is now, or None."""
        ...

    async def refused(self, batch_id: str, *, owner: str) -> tuple[int, dict[int, Problem]] | None:
        """Return how many items the owner's batch has, and which were refused and why, or None."""
        ...

    async def scans(self, batch_id: str, *, owner: str, first: int, limit: int) -> dict[int, Scan]:
        """Return the scans of `limit` items of a batch, from the item `first` on, by item."""
        ...

    async def waiting(self, batch_id: str, *, owner: str) -> list[Scan]:
        """Return those scans of a batch that are not final."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchDesk:
    """What these rules work with: the batches, and all that scans need."""

    batches: Batches
    scans: Desk


class _SaidScan(Struct):
    """Of an item only whether it says its priority."""

    priority: str | UnsetType = UNSET


class _Said(Struct):
    scans: list[_SaidScan]


_said = msgspec.json.Decoder(_Said)


def read_request(body: bytes) -> BatchRequest:
    """Return what the body of POST /v1/batches asks for; raises Refused. Pure.

    Items that do not say their priority are bulk. What is wrong with the form of any item refuses
    the body; what is wrong with its image does not.
    """
    request = read(body, BatchRequest)
    if len(request.scans) > MOST:
        raise Refused(
            ProblemCode.BATCH_TOO_LARGE,
            f"There are {len(request.scans)} scans; a batch has {MOST} at most.",
        )
    faults = list(_form_faults(request.scans))
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise Refused(ProblemCode.INVALID_PARAMETER, faults[0].detail + more, errors=faults)
    said = _said.decode(body).scans
    scans = [
        replace(scan, priority=Priority.BULK) if was.priority is UNSET else scan
        for scan, was in zip(request.scans, said, strict=True)
    ]
    return replace(request, scans=tuple(scans))


async def create(
    request: BatchRequest,
    *,
    caller: Caller,
    request_id: str,
    replay: Replay | None,
    tell: Tell,
    desk: BatchDesk,
) -> tuple[Batch, bool]:
    """Record the batch and hand it to the workers; return it, and whether it was made before.

    Raises Refused or Unavailable; then there is no batch.
    """
    caller.need(Scope.SCAN)
    need_no_public_key(caller, "make batches")

    async def make() -> Batch:
        new, openeds = await _checked(
            request, caller=caller, request_id=request_id, tell=tell, desk=desk.scans
        )
        return await _accept(
            replace(new, replay=replay), openeds, caller=caller, tell=tell, desk=desk
        )

    async def again(kept: Kept) -> Batch:
        return await get(kept.subject or "", caller=caller, desk=desk)

    return await once(
        replay,
        owner=caller.owner,
        replays=desk.scans.records,
        flights=desk.scans.board,
        make=make,
        again=again,
    )


async def get(batch_id: str, *, caller: Caller, desk: BatchDesk) -> Batch:
    """Return the batch as it is now; raises Refused if the caller has none of this id."""
    _need_to_read(caller)
    batch = None
    if ids.is_id("batch", batch_id):
        batch = await desk.batches.get(batch_id, owner=caller.owner)
    if batch is None:
        raise _no_batch(batch_id)
    return batch


async def results(
    batch_id: str, *, caller: Caller, tell: Tell, desk: BatchDesk
) -> AsyncIterator[BatchResult]:
    """Return what yields a result for each item, in their order, as it is when it is read.

    Raises Refused if the caller has no such batch.
    """
    _need_to_read(caller)
    found = None
    if ids.is_id("batch", batch_id):
        found = await desk.batches.refused(batch_id, owner=caller.owner)
    if found is None:
        raise _no_batch(batch_id)
    return _results(batch_id, found, caller=caller, tell=tell, desk=desk)


async def cancel(batch_id: str, *, caller: Caller, desk: BatchDesk) -> Batch:
    """End all scans of a batch that are not final; what is final stays. Raises Refused."""
    caller.need(Scope.SCAN)
    need_no_public_key(caller, "cancel batches")
    await get(batch_id, caller=caller, desk=desk)
    waiting = await desk.batches.waiting(batch_id, owner=caller.owner)
    recorded = await end_unwanted(waiting, desk=desk.scans)
    await _give_back(recorded, caller, desk.scans)
    return await get(batch_id, caller=caller, desk=desk)


async def _checked(
    request: BatchRequest, *, caller: Caller, request_id: str, tell: Tell, desk: Desk
) -> tuple[NewBatch, list[Opened]]:
    """Return the batch without its key, and those of its scans that may be looked at."""
    callback_url = None
    if not isinstance(request.callback_url, UnsetType):
        callback_url = checked_url(
            request.callback_url, desk.policy, pointer=pointer_to("callback_url")
        )
    now = desk.clock.now()
    batch_id = ids.new("batch", now)
    openeds: list[Opened] = []
    refused: list[tuple[int, Problem]] = []
    for index, scan in enumerate(request.scans):
        place = Place(batch_id, index)
        try:
            openeds.append(
                await opened_of(scan, caller=caller, request_id=request_id, desk=desk, place=place)
            )
        except Refused as error:
            refused.append((index, tell(error)))
        if index % CHECKED_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    new = NewBatch(
        id=batch_id,
        owner=caller.owner,
        total=len(request.scans),
        refused=tuple(refused),
        metadata=request.metadata,
        callback_url=callback_url,
        replay=None,
        at=now,
    )
    return new, openeds


async def _accept(
    new: NewBatch, openeds: Sequence[Opened], *, caller: Caller, tell: Tell, desk: BatchDesk
) -> Batch:
    """Record the batch, and tell the workers of what they must look at."""
    try:
        with anyio.fail_after(TOLD_SECONDS):
            judges = await desk.scans.readiness.judges()
            openeds = await _recalled(openeds, judges, desk)
            new, openeds = _without_unknown(new, openeds, tell)
            made = await _record(new, openeds, caller=caller, desk=desk)
    except TimeoutError as error:
        raise Unavailable("store", f"no answer within {TOLD_SECONDS:g} s") from error
    final = [scan for scan in made.scans if scan.status.is_final]
    for scan in final:
        desk.scans.counters.scan_recalled(scan)
    await _give_back([scan.id for scan in final], caller, desk.scans)
    entries = [opened.entry for opened in openeds if not opened.scan.status.is_final]
    if entries:
        await announce(entries, desk.scans)
    return made.batch


async def _record(
    new: NewBatch, openeds: Sequence[Opened], *, caller: Caller, desk: BatchDesk
) -> Made:
    """Count the scans against the caller's limits, and record all of them or none."""
    scan_ids = [opened.scan.id for opened in openeds]
    if scan_ids:
        await desk.scans.limiter.spend(caller, cost=len(scan_ids), scan_ids=scan_ids)
    try:
        await _admit(openeds, desk.scans)
        return await desk.batches.open(new, openeds)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _give_back(scan_ids, caller, desk.scans)
        raise


async def _recalled(
    openeds: Sequence[Opened], judges: frozenset[str], desk: BatchDesk
) -> list[Opened]:
    """Return the scans; those as final of which a verdict on record may be given again."""
    if not judges:
        return list(openeds)
    now = desk.scans.clock.now()
    after: list[Opened] = []
    for start in range(0, len(openeds), PAGE):
        some = openeds[start : start + PAGE]
        for opened, precedents in zip(some, await desk.batches.precedents(some), strict=True):
            final = recalled(opened, precedents, judges=judges, now=now)
            after.append(opened if final is None else replace(opened, scan=final))
    return after


def _without_unknown(
    new: NewBatch, openeds: Sequence[Opened], tell: Tell
) -> tuple[NewBatch, list[Opened]]:
    """Refuse those scans of a digest of which nothing is known: nobody could look at them."""
    kept: list[Opened] = []
    refused = list(new.refused)
    for opened in openeds:
        if opened.entry.kind is InputKind.SHA256 and not opened.scan.status.is_final:
            refused.append((opened.batch_index or 0, tell(_unknown(opened))))
        else:
            kept.append(opened)
    return replace(new, refused=tuple(sorted(refused, key=lambda one: one[0]))), kept


async def _admit(openeds: Sequence[Opened], desk: Desk) -> None:
    """Return if there is room for all that must be looked at; raises Refused or Unavailable."""
    counts = Counter(one.entry.priority for one in openeds if not one.scan.status.is_final)
    for priority, count in counts.items():
        await desk.readiness.admit(priority, count=count)


async def _give_back(scan_ids: Sequence[str], caller: Caller, desk: Desk) -> None:
    if caller.limits.parallel is not None:
        await desk.limiter.done(caller.owner, scan_ids)


async def _results(
    batch_id: str,
    found: tuple[int, dict[int, Problem]],
    *,
    caller: Caller,
    tell: Tell,
    desk: BatchDesk,
) -> AsyncIterator[BatchResult]:
    total, refused = found
    for first in range(0, total, PAGE):
        scans = await desk.batches.scans(batch_id, owner=caller.owner, first=first, limit=PAGE)
        for index in range(first, min(first + PAGE, total)):
            scan = scans.get(index)
            problem = refused.get(index)
            if scan is None and problem is None:
                problem = tell(Refused(ProblemCode.EXPIRED, "The scan of this item was erased."))
            yield BatchResult(index=index, scan=scan, problem=problem)


def _form_faults(scans: Sequence[ScanRequest]) -> list[Fault]:
    if not scans:
        where = pointer_to("scans")
        return [Fault(where, ProblemCode.INVALID_PARAMETER, f"scans is empty: give 1 to {MOST}.")]
    return [
        fault
        for index, scan in enumerate(scans)
        for fault in not_one_image(scan, "scans", str(index))
    ]


def _unknown(opened: Opened) -> Refused:
    sha256 = opened.scan.input.sha256
    detail = (
        f"Nothing is known of the bytes with the sha256 {sha256} at "
        f"{opened.entry.operating_point.value}: upload them, and submit the upload."
    )
    where = pointer_to("scans", str(opened.batch_index), "sha256")
    code = ProblemCode.NOT_FOUND
    return Refused(code, detail, errors=[Fault(where, code, detail)])


def _need_to_read(caller: Caller) -> None:
    need_reading(caller)
    need_no_public_key(caller, "read batches")


def _no_batch(batch_id: str) -> Refused:
    return Refused(ProblemCode.NOT_FOUND, f"There is no batch {batch_id[:64]!r}.")
