"""What is known of an image by the sha256 of its bytes, so that nobody need send it.

    POST look-ups   whole sha256s  -->  an answer for each, also where nothing is known
    GET range       five digits    -->  all that is known and begins so; the asker finds theirs

Told is the newest verdict of a judge that is at work now, at the operating point that is asked
for, whoever's scan it was. To whom it belonged does not show: the time is given to the hour, and
nothing else of that scan is. Of who asks for a range, the server learns twenty bits. What the
caller's owner had overturned is not accused. Knows nothing of HTTP or stores.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from sdk.codes import ProblemCode
from sdk.wire import (
    Fault,
    HashRange,
    Lookup,
    LookupList,
    LookupRequest,
    Model,
    OperatingPoint,
    PointName,
    Verdict,
)
from server.ids import rfc3339
from server.refused import Refused

from .appeals import ACCUSING
from .caller import Caller
from .limits import Limiter
from .readiness import Readiness
from .requests import pointer_to
from .scans import need_reading

MOST = 100
"""Most sha256 in one request."""
RANGE_LIMIT = 1000
"""Most entries of a range; those that come first by sha256. Five digits have so many only where
a thousand million images are known. An exact look-up finds the others."""
HOUR = 3600
POINT = "operating_point"

_SHA256 = re.compile("[0-9a-f]{64}", re.IGNORECASE)
_PREFIX = re.compile("[0-9a-f]{5}", re.IGNORECASE)


class Known(Struct, frozen=True, kw_only=True):
    """What a judge said of some bytes, `at` this Unix time.

    `is_overridden`: a person has said since, for the owner who asks, not to accuse them.
    """

    sha256: str
    verdict: Verdict | None
    probability: float | None
    operating_point: OperatingPoint | None
    model: Model | None
    at: float
    is_overridden: bool = False


class Lookups(Protocol):
    """What these rules need of the store. Raises Unavailable."""

    async def of(
        self, sha256s: Collection[str], *, point: PointName, judges: Collection[str], owner: str
    ) -> list[Known]:
        """Return what one of the judges said of these bytes at this point; the newest of each."""
        ...

    async def between(
        self,
        first: str,
        last: str,
        *,
        point: PointName,
        judges: Collection[str],
        owner: str,
        limit: int,
    ) -> list[Known]:
        """The same of all from one sha256 to another, in their order, `limit` at most."""
        ...


@dataclass(frozen=True, kw_only=True)
class LookupDesk:
    """What these rules work with."""

    lookups: Lookups
    readiness: Readiness
    limiter: Limiter


async def look_up(request: LookupRequest, *, caller: Caller, desk: LookupDesk) -> LookupList:
    """Return an answer for each sha256, in their order; raises Refused or Unavailable.

    It costs as much as one scan, however many are asked for.
    """
    need_reading(caller)
    _refuse_if(list(_faults(request.sha256)))
    await desk.limiter.spend_reading(caller)
    wanted = [sha256.lower() for sha256 in request.sha256]
    judges = await desk.readiness.judges()
    known = await desk.lookups.of(
        set(wanted), point=request.operating_point, judges=judges, owner=caller.owner
    )
    answers = {one.sha256: told(one) for one in known}
    return LookupList(data=tuple(answers.get(one, Lookup(sha256=one)) for one in wanted))


async def look_around(
    prefix: str, *, query: Iterable[tuple[str, str]], caller: Caller, desk: LookupDesk
) -> HashRange:
    """Return all that is known and begins with five digits; raises Refused or Unavailable.

    `query` may have the operating point, and nothing else: a name with a slip in it would be
    answered for another point than was meant.
    """
    need_reading(caller)
    if not _PREFIX.fullmatch(prefix):
        raise Refused(
            ProblemCode.INVALID_PARAMETER,
            f"The range is {prefix[:64]!r}: give the first five hex digits of a sha256.",
        )
    at = _point(list(query))
    await desk.limiter.spend_reading(caller)
    prefix = prefix.lower()
    known = await desk.lookups.between(
        prefix.ljust(64, "0"),
        prefix.ljust(64, "f"),
        point=at,
        judges=await desk.readiness.judges(),
        owner=caller.owner,
        limit=RANGE_LIMIT,
    )
    return HashRange(prefix=prefix, data=tuple(map(told, known)))


def told(known: Known) -> Lookup:
    """Return what the asker is told: never an accusation that its owner had overturned. Pure."""
    verdict = known.verdict
    if known.is_overridden and verdict in ACCUSING:
        verdict = Verdict.INCONCLUSIVE
    return Lookup(
        sha256=known.sha256,
        verdict=verdict,
        probability=known.probability,
        operating_point=known.operating_point,
        model=known.model,
        judged_at=rfc3339(known.at // HOUR * HOUR),
    )


def _point(query: Sequence[tuple[str, str]]) -> PointName:
    for name, _ in query:
        if name != POINT or len(query) > 1:
            detail = f"There is the parameter {name[:64]!r}: give {POINT}, once, or none."
            fault = Fault(pointer_to(name[:64]), ProblemCode.INVALID_PARAMETER, detail)
            raise Refused(ProblemCode.INVALID_PARAMETER, detail, errors=[fault])
    if not query:
        return PointName.BALANCED
    ((_, text),) = query
    if text not in tuple(PointName):
        raise Refused(
            ProblemCode.OPERATING_POINT_UNKNOWN,
            f"There is no operating point {text[:64]!r}: use {' or '.join(PointName)}.",
        )
    return PointName(text)


def _faults(sha256s: Sequence[str]) -> Iterator[Fault]:
    if not 1 <= len(sha256s) <= MOST:
        detail = f"There are {len(sha256s)} sha256: give 1 to {MOST}."
        yield Fault(pointer_to("sha256"), ProblemCode.INVALID_PARAMETER, detail)
        return
    for index, sha256 in enumerate(sha256s):
        if not _SHA256.fullmatch(sha256):
            yield Fault(
                pointer_to("sha256", str(index)),
                ProblemCode.INVALID_PARAMETER,
                f"{sha256[:80]!r} is no sha256: give 64 hex digits.",
            )


def _refuse_if(faults: list[Fault]) -> None:
    if faults:
        raise Refused(ProblemCode.INVALID_PARAMETER, faults[0].detail, errors=faults)
