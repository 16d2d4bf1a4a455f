"""Appeals: a person says that a verdict is wrong, another decides. Knows nothing of HTTP or stores.

    create   likely_ai or declared_ai --> open         one a scan
    decide   open --> upheld                            the verdict stands
                  `-> overturned                        the scan is inconclusive, and so is every
                                                        scan of the owner with the same bytes, past
                                                        and to come

An overturned scan keeps its score and its error rate: a person's word against the model's proves
nothing either way, and what is not sure accuses nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sdk.codes import ProblemCode
from sdk.wire import (
    Appeal,
    AppealDecision,
    AppealDecisionRequest,
    AppealList,
    AppealRequest,
    AppealState,
    Fault,
    Reason,
    Scan,
    ScanAppeal,
    Scope,
    Status,
    Verdict,
)
from server import ids
from server.ports import Clock, Kept, Replay
from server.refused import Refused

from . import pages
from .caller import Caller
from .idempotency import Flights, Replays, once
from .requests import pointer_to

TEXT_LIMIT = 4000
"""Most characters of a reason, a note or an address."""
ACCUSING = frozenset({Verdict.LIKELY_AI, Verdict.DECLARED_AI})
"""The verdicts that can be appealed."""
OVERTURNED = Reason("overturned", "A person looked at an appeal and overturned the verdict.")
"""First reason of a scan whose bytes were judged by a person."""


class NewAppeal(Struct, frozen=True, kw_only=True):
    """An appeal to be recorded; `at` is Unix time."""

    id: str
    owner: str
    scan_id: str
    reason: str
    evidence_url: str | None
    at: float
    replay: Replay | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """What was decided of an appeal, by whom, and when (Unix time)."""

    appeal_id: str
    owner: str
    decision: AppealDecision
    note: str
    by: str
    at: float


class Appeals(Protocol):
    """What these rules need of the store. Raises Unavailable, and what a `check` raises."""

    async def create(self, new: NewAppeal, *, check: Callable[[Scan], None]) -> Appeal | None:
        """Return the appeal of the scan, this one or the one there was; None: no such scan.

        `check` is called with the scan, which stays as it is until the appeal is recorded. Raises
        KeyTaken, and records nothing, if the key of its `replay` was used before.
        """
        ...

    async def get(self, appeal_id: str, *, owner: str) -> Appeal | None:
        """Return the owner's appeal, or None."""
        ...

    async def page(self, *, owner: str, before: str | None, limit: int) -> Sequence[Appeal]:
        """Return the owner's appeals, newest first, older than the id `before`."""
        ...

    async def decide(self, decision: Decision, *, check: Callable[[Appeal], None]) -> Appeal | None:
        """Record the decision and what follows from it; None: no such appeal.

        `check` is called with the appeal, which nobody else decides meanwhile.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AppealDesk:
    """What these rules work with."""

    appeals: Appeals
    replays: Replays
    flights: Flights
    clock: Clock


async def create(
    scan_id: str,
    request: AppealRequest,
    *,
    caller: Caller,
    replay: Replay | None,
    desk: AppealDesk,
) -> tuple[Appeal, bool]:
    """Record a dispute about a scan's verdict; return it, and whether it was made before.

    Raises Refused or Unavailable; then there is no new one.
    """
    caller.need(Scope.SCAN)

    async def make() -> Appeal:
        return await _made(scan_id, request, caller=caller, replay=replay, desk=desk)

    async def again(kept: Kept) -> Appeal:
        found = await desk.appeals.get(kept.subject, owner=caller.owner)
        return _known(kept.subject, found)

    return await once(
        replay,
        owner=caller.owner,
        replays=desk.replays,
        flights=desk.flights,
        make=make,
        again=again,
    )


async def get(appeal_id: str, *, caller: Caller, desk: AppealDesk) -> Appeal:
    """Return an appeal of the caller's owner; raises Refused or Unavailable."""
    caller.need(Scope.READ)
    found = None
    if ids.is_id("apl", appeal_id):
        found = await desk.appeals.get(appeal_id, owner=caller.owner)
    return _known(appeal_id, found)


async def listing(
    *, limit: str | None, cursor: str | None, caller: Caller, desk: AppealDesk
) -> AppealList:
    """Return a page of the owner's appeals, newest first; raises Refused or Unavailable.

    `limit` and `cursor` are as the query has them.
    """
    caller.need(Scope.READ)
    page = pages.asked(limit=limit, cursor=cursor, prefix="apl")
    found = await desk.appeals.page(owner=caller.owner, before=page.before, limit=page.fetched)
    data, has_more, next_cursor = page.cut(found)
    return AppealList(data=data, has_more=has_more, next_cursor=next_cursor)


async def decide(
    appeal_id: str, request: AppealDecisionRequest, *, caller: Caller, desk: AppealDesk
) -> Appeal:
    """Record what a person decided, and do what follows; raises Refused or Unavailable."""
    caller.need(Scope.MODERATE)
    _refuse_if(_text_faults("note", request.note, least=0))
    decision = Decision(
        appeal_id=appeal_id,
        owner=caller.owner,
        decision=request.decision,
        note=request.note,
        by=caller.name,
        at=desk.clock.now(),
    )
    decided = None
    if ids.is_id("apl", appeal_id):
        decided = await desk.appeals.decide(decision, check=check_open)
    return _known(appeal_id, decided)


def check_appealable(scan: Scan) -> None:
    """Return if there is a verdict to appeal; raises Refused. Pure."""
    if scan.status is not Status.COMPLETED:
        state = f"The scan is {scan.status.value}"
    elif scan.verdict not in ACCUSING:
        state = f"The verdict is {scan.verdict and scan.verdict.value}, which accuses nobody"
    else:
        return
    raise Refused(
        ProblemCode.STATE_CONFLICT,
        f"{state}: only a completed scan with the verdict likely_ai or declared_ai is appealed.",
    )


def check_open(appeal: Appeal) -> None:
    """Return if the appeal can be decided; raises Refused. Pure."""
    if appeal.state is not AppealState.OPEN:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The appeal is {appeal.state.value} since {appeal.decided_at}: it is decided once.",
        )


def disputed(scan: Scan, appeal: ScanAppeal) -> Scan:
    """Return the scan as it is once its appeal is in this state. Pure."""
    return msgspec.structs.replace(scan, appeal=appeal, sequence=scan.sequence + 1)


def overturned(scan: Scan, appeal_id: str, *, is_the_one: bool = False) -> Scan:
    """Return the scan as it is once its bytes are not to be accused any more. Pure.

    `is_the_one`: it is the scan of this appeal; another keeps an appeal of its own.
    """
    appeal = scan.appeal
    if is_the_one or appeal.state is AppealState.NONE:
        appeal = ScanAppeal(AppealState.OVERTURNED, appeal_id)
    after = disputed(scan, appeal)
    if scan.verdict not in ACCUSING:
        return after
    return msgspec.structs.replace(
        after, verdict=Verdict.INCONCLUSIVE, reasons=(OVERTURNED, *scan.reasons)
    )


async def _made(
    scan_id: str,
    request: AppealRequest,
    *,
    caller: Caller,
    replay: Replay | None,
    desk: AppealDesk,
) -> Appeal:
    evidence = None if isinstance(request.evidence_url, msgspec.UnsetType) else request.evidence_url
    _refuse_if([*_text_faults("reason", request.reason, least=1), *_evidence_faults(evidence)])
    now = desk.clock.now()
    new = NewAppeal(
        id=ids.new("apl", now),
        owner=caller.owner,
        scan_id=scan_id,
        reason=request.reason,
        evidence_url=evidence,
        at=now,
        replay=replay,
    )
    made = None
    if ids.is_id("scan", scan_id):
        made = await desk.appeals.create(new, check=check_appealable)
    if made is None:
        raise Refused(ProblemCode.NOT_FOUND, f"There is no scan {scan_id[:64]!r}.")
    if made.id != new.id:
        raise Refused(
            ProblemCode.APPEAL_EXISTS,
            f"The scan has the appeal {made.id} already, which is {made.state.value}.",
        )
    return made


def _known(appeal_id: str, appeal: Appeal | None) -> Appeal:
    if appeal is None:
        raise Refused(ProblemCode.NOT_FOUND, f"There is no appeal {appeal_id[:64]!r}.")
    return appeal


def _refuse_if(faults: Iterator[Fault] | list[Fault]) -> None:
    errors = list(faults)
    if errors:
        raise Refused(ProblemCode.INVALID_PARAMETER, errors[0].detail, errors=errors)


def _text_faults(name: str, text: str, *, least: int) -> Iterator[Fault]:
    """Yield what is wrong with a text; a NUL is what PostgreSQL cannot keep."""
    length = len(text.strip())
    if length < least:
        yield _fault(name, "is empty: say in words why")
    elif len(text) > TEXT_LIMIT:
        yield _fault(name, f"has {len(text)} characters: give at most {TEXT_LIMIT}")
    elif "\0" in text:
        yield _fault(name, "has a NUL character: leave it out")


def _evidence_faults(url: str | None) -> Iterator[Fault]:
    """Yield what keeps an address from being shown as a link; it is never fetched."""
    if url is None:
        return
    yield from _text_faults("evidence_url", url, least=0)
    try:
        parts = urlsplit(url)
        is_link = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_link = False
    if not is_link:
        yield _fault("evidence_url", "is no http or https address: give a link, or leave it out")


def _fault(name: str, what: str) -> Fault:
    return Fault(pointer_to(name), ProblemCode.INVALID_PARAMETER, f"{name} {what}.")
