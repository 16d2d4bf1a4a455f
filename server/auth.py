"""Authenticator: who a request comes from, asked of SQL at most every few seconds.

    Authorization: Bearer KEY -> written right? -> known lately? -> judge -> Caller
                                                  `- no: find, with all who ask meanwhile
    none                      -> no key was ever made, and only this machine is listened to: LOCAL

A guard asks it before every handler but the few that are open, so that a route which forgets to
ask is closed. What was read of a key is used for FRESH_SECONDS: that, and one query, is how long a
revocation takes to arrive in every process. If the store is down, so is every key: a 503.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import anyio
import structlog
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from sdk.codes import ProblemCode

from .ports import Clock, Unavailable
from .refused import Refused
from .routes.given import AnyRequest, caller_of
from .rules import keys as rules
from .rules.caller import LOCAL, Caller
from .rules.keys import Key
from .rules.sources import page_of
from .together import Together

FRESH_SECONDS = 3.0
"""How long what was read of a key is used."""
KEPT = 10_000
"""Most keys that are remembered at a time."""
NOTE_SECONDS = 60.0
"""Time between two writes of when keys were last used."""
LAST_NOTE_SECONDS = 2.0
"""Longest that the last of them may hold up the end of the server."""

_OPEN = frozenset({"/healthz", "/readyz", "/schema"})
_OPEN_BELOW = ("/v1/errors/", "/compat/pictrs/")
"""The second has its key in the path, and asks for the caller itself."""
_log = structlog.get_logger(__name__)

AnyConnection = ASGIConnection[Any, Any, Any, Any]
T = TypeVar("T")


class Finder(Protocol):
    """Where keys are looked up. Raises Unavailable."""

    async def find(self, digests: Sequence[str]) -> dict[str, Key]:
        """Return the keys of these digests, revoked and expired ones too."""
        ...

    async def are_there_any(self) -> bool:
        """True once a key was made, whatever became of it."""
        ...

    async def origins(self, now: float) -> frozenset[str]:
        """Return all origins from which a publishable key works at this Unix time."""
        ...

    async def note_uses(self, uses: Mapping[str, float]) -> None:
        """Keep when keys were last used (Unix time)."""
        ...


class Authenticator:
    """Says who asks. `is_local`: only this machine can reach the server."""

    def __init__(self, finder: Finder, clock: Clock, *, is_local: bool) -> None:
        self._finder = finder
        self._clock = clock
        self._is_local = is_local
        self._known: dict[str, tuple[Key, float]] = {}
        self._finding: Together[str] = Together(self._find)
        self._keys_exist = _Fresh(finder.are_there_any, clock)
        self._origins = _Fresh(self._find_origins, clock)
        self._uses: dict[str, float] = {}

    async def caller(self, *, authorization: list[str], page: str | None) -> Caller:
        """Return who asks; raises Refused or Unavailable.

        `page` is the origin of another site's page or of an extension, None for everybody else.
        """
        text = rules.read_bearer(authorization)
        if text is None:
            return await self._without_key()
        now = self._clock.now()
        caller = rules.judge(await self._key(rules.digest_of(text)), page=page, now=now)
        if caller.key_id is not None:
            self._uses[caller.key_id] = now
        return caller

    async def origins(self) -> frozenset[str]:
        """Return the origins whose pages may ask with some key; raises Unavailable."""
        return await self._origins.value()

    async def run(self) -> None:
        """Write now and then when keys were last used, and once more at the end."""
        try:
            while True:
                await self._clock.sleep(NOTE_SECONDS)
                await self.note_uses()
        finally:
            with anyio.move_on_after(LAST_NOTE_SECONDS, shield=True):
                await self.note_uses()

    async def note_uses(self) -> None:
        """Write when keys were last used; what cannot be written is kept for the next time."""
        uses, self._uses = self._uses, {}
        try:
            await self._finder.note_uses(uses)
        except Unavailable as error:
            self._uses = {**uses, **self._uses}
            _log.warning("key_uses_not_written", keys=len(uses), reason=str(error))

    async def _without_key(self) -> Caller:
        if not self._is_local or await self._keys_exist.value():
            raise Refused(ProblemCode.AUTH_MISSING, "There is no Authorization header.")
        return LOCAL

    async def _key(self, digest: str) -> Key | None:
        if not self._is_fresh(digest):
            await self._finding.do(digest)
        known = self._known.get(digest)
        return known[0] if known else None

    def _is_fresh(self, digest: str) -> bool:
        known = self._known.get(digest)
        return known is not None and self._clock.monotonic() - known[1] < FRESH_SECONDS

    async def _find(self, digests: Sequence[str]) -> None:
        stale = [digest for digest in dict.fromkeys(digests) if not self._is_fresh(digest)]
        if not stale:
            return
        asked_at = self._clock.monotonic()  # before: an answer is as old as its question
        found = await self._finder.find(stale)
        for digest in stale:
            self._known.pop(digest, None)
            if digest in found:
                self._known[digest] = (found[digest], asked_at)
        for digest in list(self._known)[: max(0, len(self._known) - KEPT)]:
            del self._known[digest]

    async def _find_origins(self) -> frozenset[str]:
        return await self._finder.origins(self._clock.now())


def guarding(authenticator: Authenticator) -> Callable[[AnyConnection, BaseRouteHandler], Any]:
    """Return the guard of the whole application: `request.state.caller` is set, or it raises."""

    async def guard(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
        if not is_open(connection.scope["path"]):
            headers = connection.headers
            connection.state.caller = await authenticator.caller(
                authorization=headers.getall("authorization", []),
                page=page_of(headers.getall("origin", []), headers.get("host")),
            )

    return guard


async def provide_caller(request: AnyRequest) -> Caller:
    """Return who asks, as the guard found; a litestar dependency."""
    return caller_of(request)


def is_open(path: str) -> bool:
    """True if everybody may ask for this path, whatever their key. Pure."""
    return path.rstrip("/") in _OPEN or path.startswith(_OPEN_BELOW)


class _Fresh(Generic[T]):
    """One value out of the store, read again once it is older than FRESH_SECONDS."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._held: tuple[T, float] | None = None
        self._reading: Together[None] = Together(self._refresh)

    async def value(self) -> T:
        """Return the value; raises what reading it raised."""
        if not self._is_fresh():
            await self._reading.do(None)
        return cast("tuple[T, float]", self._held)[0]

    def _is_fresh(self) -> bool:
        return self._held is not None and self._clock.monotonic() - self._held[1] < FRESH_SECONDS

    async def _refresh(self, _asked: Sequence[None]) -> None:
        if not self._is_fresh():
            asked_at = self._clock.monotonic()
            self._held = (await self._read(), asked_at)
