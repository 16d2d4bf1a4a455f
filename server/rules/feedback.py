"""Feedback: a person says what a scan's image is. Knows nothing of HTTP or stores.

    create   a final scan --> label, comment, and the verdict and sha256 as they are now
    listing  of one scan, or of all of the owner's; newest first, and for secret keys alone

It changes no verdict and no scan: anybody who has a publishable key may give it, and a word proves
nothing. Who wants a decision makes an appeal (rules/appeals.py). Feedback is there to be read: by
moderators, and by whoever measures how often the detector is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from sdk.codes import ProblemCode
from sdk.wire import Fault, Feedback, FeedbackLabel, FeedbackList, FeedbackRequest, Scan, Scope
from server import ids
from server.ports import Clock, Kept, Replay
from server.refused import Refused

from . import pages
from .caller import Caller
from .idempotency import Flights, Replays, once
from .requests import pointer_to
from .scans import Erasures, need_no_public_key, no_scan

COMMENT_LIMIT = 2000
"""Most characters of a comment."""
FEEDBACK_LIMIT = 20
"""Most feedback of one scan: what can be said by anybody must not fill the disk."""


class NewFeedback(Struct, frozen=True, kw_only=True):
    """What is to be recorded; `at` is Unix time."""

    id: str
    owner: str
    scan_id: str
    label: FeedbackLabel
    comment: str
    at: float
    replay: Replay | None = None


class Store(Protocol):
    """What these rules need of the store. Raises Unavailable, and what a `check` raises."""

    async def create(
        self, new: NewFeedback, *, check: Callable[[Scan, int], None]
    ) -> Feedback | None:
        """Record it with the verdict and sha256 of its scan, and return it; None: no such scan.

        `check` is called with the scan and how much feedback it has, which both stay so until this
        is recorded. Raises KeyTaken, and records nothing, if the key of its `replay` was used.
        """
        ...

    async def get(self, feedback_id: str, *, owner: str) -> Feedback | None:
        """Return the owner's, or None."""
        ...

    async def page(
        self, *, owner: str, scan_id: str | None, before: str | None, limit: int
    ) -> Sequence[Feedback]:
        """Return the owner's, of one scan or of all, newest first, older than the id `before`."""
        ...


class Scans(Erasures, Protocol):
    """What these rules need of the scans. Raises Unavailable."""

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        """Return the owner's scan as last recorded, or None."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeedbackDesk:
    """What these rules work with."""

    store: Store
    scans: Scans
    replays: Replays
    flights: Flights
    clock: Clock


async def create(
    scan_id: str,
    request: FeedbackRequest,
    *,
    caller: Caller,
    replay: Replay | None,
    desk: FeedbackDesk,
) -> tuple[Feedback, bool]:
    """Record what a person says of a scan's image; return it, and whether it was made before.

    Raises Refused or Unavailable; then nothing is recorded.
    """
    caller.need(Scope.SCAN)

    async def make() -> Feedback:
        return await _made(scan_id, request, caller=caller, replay=replay, desk=desk)

    async def again(kept: Kept) -> Feedback:
        found = await desk.store.get(kept.subject, owner=caller.owner)
        if found is None:
            raise await no_scan(scan_id, owner=caller.owner, records=desk.scans)
        return found

    return await once(
        replay,
        owner=caller.owner,
        replays=desk.replays,
        flights=desk.flights,
        make=make,
        again=again,
    )


async def listing(
    *,
    scan_id: str | None = None,
    limit: str | None,
    cursor: str | None,
    caller: Caller,
    desk: FeedbackDesk,
) -> FeedbackList:
    """Return a page of a scan's feedback, or of all of the owner's; newest first.

    `limit` and `cursor` are as the query has them. Raises Refused or Unavailable.
    """
    need_no_public_key(caller, "read feedback")
    caller.need(Scope.READ)
    page = pages.asked(limit=limit, cursor=cursor, prefix="fbk")
    if scan_id is not None:
        await _need_scan(scan_id, caller, desk)
    found = await desk.store.page(
        owner=caller.owner, scan_id=scan_id, before=page.before, limit=page.fetched
    )
    data, has_more, next_cursor = page.cut(found)
    return FeedbackList(data=data, has_more=has_more, next_cursor=next_cursor)


def check_open(scan: Scan, count: int) -> None:
    """Return if a scan with so much feedback takes more; raises Refused. Pure."""
    if not scan.status.is_final:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The scan is {scan.status.value}: feedback is given once it is final.",
        )
    if count >= FEEDBACK_LIMIT:
        raise Refused(
            ProblemCode.STATE_CONFLICT,
            f"The scan has {count} reports, which is the most there can be: to have its verdict "
            "looked at by a person, make an appeal.",
        )


async def _made(
    scan_id: str,
    request: FeedbackRequest,
    *,
    caller: Caller,
    replay: Replay | None,
    desk: FeedbackDesk,
) -> Feedback:
    _check_comment(request.comment)
    now = desk.clock.now()
    new = NewFeedback(
        id=ids.new("fbk", now),
        owner=caller.owner,
        scan_id=scan_id,
        label=request.label,
        comment=request.comment,
        at=now,
        replay=replay,
    )
    made = None
    if ids.is_id("scan", scan_id):
        made = await desk.store.create(new, check=check_open)
    if made is None:
        raise await no_scan(scan_id, owner=caller.owner, records=desk.scans)
    return made


async def _need_scan(scan_id: str, caller: Caller, desk: FeedbackDesk) -> None:
    is_ours = ids.is_id("scan", scan_id)
    if not is_ours or await desk.scans.get(scan_id, owner=caller.owner) is None:
        raise await no_scan(scan_id, owner=caller.owner, records=desk.scans)


def _check_comment(text: str) -> None:
    if len(text) > COMMENT_LIMIT:
        detail = f"comment has {len(text)} characters: give at most {COMMENT_LIMIT}."
        code = ProblemCode.INVALID_PARAMETER
        raise Refused(code, detail, errors=[Fault(pointer_to("comment"), code, detail)])
