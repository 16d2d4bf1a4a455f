"""One answer for one Idempotency-Key, however often the request is sent. No HTTP, no store.

    request + key --> used before?  other request: 422      the same: what it made, as it is now
                  --> under way?    409
                  --> make, and keep the key in the same commit   --> a crash never makes two
                        `- failed: nothing is kept, and the key is free again

Keys are their owner's, and stand for a day, or until what they made is deleted. What was made is
read anew for a replay: its answer is what it is by then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from sdk.codes import ProblemCode
from server.ports import Kept, KeyTaken, Replay, Unavailable
from server.refused import Refused

T = TypeVar("T")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class Replays(Protocol):
    """What keys were used for. Raises Unavailable."""

    async def replay(self, key: str, *, owner: str) -> Kept | None:
        """Return what the owner used this key for in the last 24 h, or None."""
        ...


class Flights(Protocol):
    """Which requests with a key are under way, in any process. Raises Unavailable."""

    async def begin(self, owner: str, key: str) -> bool:
        """Note that a request with this key is under way; False if one is already."""
        ...

    async def end(self, owner: str, key: str) -> None:
        """Note that it is over."""
        ...


def replay_of(values: Sequence[str], *, method: str, path: str, body: bytes) -> Replay | None:
    """Return the key of a request by its Idempotency-Key fields, quoted or bare; None: it has none.

    Raises Refused for one that cannot be a key. Pure.
    """
    if not values:
        return None
    key = values[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if len(values) > 1 or not _KEY.fullmatch(key):
        raise Refused(
            ProblemCode.INVALID_PARAMETER,
            f"Idempotency-Key is {', '.join(values)[:80]!r}: give one, of 1 to 255 printable "
            "ASCII characters.",
        )
    digest = hashlib.sha256(b"\0".join([method.encode(), path.encode(), body]))
    return Replay(key=key, fingerprint=digest.hexdigest())


async def once(
    replay: Replay | None,
    *,
    owner: str,
    replays: Replays,
    flights: Flights,
    make: Callable[[], Awaitable[T]],
    again: Callable[[Kept], Awaitable[T]],
) -> tuple[T, bool]:
    """Return what `make` makes, or what it made before by `again`; and whether it was made before.

    `make` keeps the key in its commit, and raises KeyTaken if that shows another was faster. What
    else it raises passes through. Raises Refused for a key that another request has.
    """
    if replay is None:
        return await make(), False
    kept = await replays.replay(replay.key, owner=owner)
    if kept is not None:
        return await again(_same(kept, replay)), True
    if not await flights.begin(owner, replay.key):
        raise Refused(
            ProblemCode.IDEMPOTENCY_IN_FLIGHT,
            f"A request with the Idempotency-Key {replay.key[:64]!r} is under way.",
        )
    try:
        return await make(), False
    except KeyTaken:  # since we looked
        kept = await replays.replay(replay.key, owner=owner)
        if kept is None:
            raise Unavailable("store", "the Idempotency-Key is being given up") from None
        return await again(_same(kept, replay)), True
    finally:
        with suppress(Unavailable):  # it ends by itself
            await flights.end(owner, replay.key)


def _same(kept: Kept, replay: Replay) -> Kept:
    if kept.fingerprint != replay.fingerprint:
        raise Refused(
            ProblemCode.IDEMPOTENCY_KEY_REUSED,
            f"The Idempotency-Key {replay.key[:64]!r} was used for another request in the last "
            "24 h.",
        )
    return kept
