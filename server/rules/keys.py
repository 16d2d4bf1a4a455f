"""API keys: how they are written, what they may do, who may use them from where. Knows no SQL.

    sk_  43 digits of base 62: 256 bits of chance   6 more: CRC-32      secret, for servers
    pk_  the same                                                       may be seen by the public

    create, rotate -> the key, told once -> its sha256 is kept
    a request -> Bearer KEY -> written right? -> judge: known, not revoked, this page? -> Caller

Only the sha256 is kept, and a plain one is enough: slow and salted hashes are for words that
people choose, and nobody guesses 256 bits. The CRC tells a slip of the hand from an unknown key,
and spares the store whatever was never a key of anybody.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sdk.codes import ProblemCode
from sdk.wire import KeyFacts, Scope
from server import ids
from server.ports import Clock
from server.refused import Refused

from .caller import Caller, Limits

OVERLAP_SECONDS = 86_400.0
"""How long a key that was replaced goes on working, unless told otherwise."""
OVERLAP_LIMIT_SECONDS = 30 * 86_400.0
"""Longest that it may."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHANCE = 43
_CHECK = 6
_FORM = re.compile(rf"(?:sk|pk)_[0-9A-Za-z]{{{_CHANCE + _CHECK}}}")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXTENSION = re.compile(r"chrome-extension://[a-p]{32}|moz-extension://[0-9a-f-]{36}")
_NAME_LIMIT = 100
_COUNT_LIMIT = 1_000_000_000
_PUBLIC_SCOPES = frozenset({Scope.SCAN})


class Kind(StrEnum):
    """Who may see a key: its owner alone, or everybody who looks into an extension or a page."""

    SECRET = "sk"  # noqa: S105 - how one begins, not one
    PUBLISHABLE = "pk"


class Key(Struct, frozen=True, kw_only=True):
    """What is kept of a key. Times are Unix seconds; `hint` shows how it begins and ends."""

    id: str
    hint: str
    kind: Kind
    owner: str
    name: str
    scopes: frozenset[Scope]
    origins: tuple[str, ...]
    limits: Limits
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def state(self, now: float) -> str:
        """Return `live`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"


class KeyRequest(Struct, frozen=True, kw_only=True):
    """A key to be made; `lifetime_seconds` None: it does not expire."""

    owner: str
    name: str
    scopes: frozenset[Scope]
    kind: Kind = Kind.SECRET
    origins: tuple[str, ...] = ()
    limits: Limits = Limits()
    lifetime_seconds: float | None = None


class Made(Struct, frozen=True, kw_only=True):
    """A new key. `text` is the key itself and is told this once."""

    key: Key
    text: str


class KeyStore(Protocol):
    """Where keys are kept. Each write is one transaction with its entry in the audit log."""

    async def add(self, key: Key, *, digest: str, actor: str) -> None:
        """Keep a new key."""
        ...

    async def all(self) -> list[Key]:
        """Return every key that was ever made, newest first."""
        ...

    async def get(self, key_id: str) -> Key | None:
        """Return the key of an id."""
        ...

    async def revoke(self, key_id: str, *, actor: str, now: float) -> bool:
        """Revoke a key; False if it was already."""
        ...

    async def replace(self, old: Key, *, until: float, new: Key, digest: str, actor: str) -> bool:
        """Keep a new key and let the old one expire; False, and neither, if it was revoked."""
        ...


@dataclass(frozen=True, kw_only=True)
class KeysDesk:
    """What the rules about keys work with."""

    store: KeyStore
    clock: Clock


async def create(request: KeyRequest, *, actor: str, desk: KeysDesk) -> Made:
    """Make a key and keep its hash; raises Refused with every fault of the request."""
    faults = list(faults_of(request))
    if faults:
        raise Refused(ProblemCode.INVALID_PARAMETER, "\n".join(faults))
    made = _made(request, now=desk.clock.now())
    await desk.store.add(made.key, digest=digest_of(made.text), actor=actor)
    return made


async def revoke(key_id: str, *, actor: str, desk: KeysDesk) -> Key:
    """Make a key useless from now on; raises Refused if there is none, or it is so already."""
    key = await _known(key_id, desk)
    if not await desk.store.revoke(key_id, actor=actor, now=desk.clock.now()):
        raise Refused(ProblemCode.STATE_CONFLICT, f"The key {key_id} is revoked already.")
    return key


async def rotate(key_id: str, *, overlap_seconds: float, actor: str, desk: KeysDesk) -> Made:
    """Make a key that may do what this one may, and let this one expire after the overlap.

    The new one lives as long as the old one was given. Raises Refused.
    """
    now = desk.clock.now()
    old = await _known(key_id, desk)
    if old.state(now) != "live":
        detail = f"The key {key_id} is {old.state(now)}: make a new one with `pinclip keys create`."
        raise Refused(ProblemCode.STATE_CONFLICT, detail)
    if not 0 <= overlap_seconds <= OVERLAP_LIMIT_SECONDS:
        detail = f"The overlap is {overlap_seconds:g} s: give 0 to {OVERLAP_LIMIT_SECONDS:g} s."
        raise Refused(ProblemCode.INVALID_PARAMETER, detail)
    made = _made(_again(old), now=now)
    until = now + overlap_seconds
    until = until if old.expires_at is None else min(until, old.expires_at)
    is_done = await desk.store.replace(
        old, until=until, new=made.key, digest=digest_of(made.text), actor=actor
    )
    if not is_done:
        raise Refused(ProblemCode.STATE_CONFLICT, f"The key {key_id} was revoked just now.")
    return made


def facts(*, caller: Caller) -> KeyFacts:
    """Return what the caller may do. Every key may ask this of itself."""
    return KeyFacts(
        id=caller.key_id,
        owner=caller.owner,
        scopes=tuple(sorted(caller.scopes)),
        expires_at=None if caller.expires_at is None else ids.rfc3339(caller.expires_at),
        rate_per_minute=caller.limits.rate_per_minute,
        parallel=caller.limits.parallel,
        quota_per_day=caller.limits.quota_per_day,
    )


def judge(key: Key | None, *, page: str | None, now: float) -> Caller:
    """Return who asks with this key; raises Refused.

    `page` is the origin of another site's page or of an extension, None for everybody else.
    """
    if key is None:
        raise Refused(ProblemCode.AUTH_INVALID, "The key is not one of this server's.")
    if key.state(now) != "live":
        raise Refused(ProblemCode.KEY_REVOKED, f"The key {key.id} is {key.state(now)}.")
    if page is not None and page not in key.origins:
        raise Refused(ProblemCode.ORIGIN_NOT_ALLOWED, _why_not_from(key, page))
    return Caller(
        owner=key.owner,
        key_id=key.id,
        scopes=key.scopes,
        is_publishable=key.kind is Kind.PUBLISHABLE,
        expires_at=key.expires_at,
        limits=key.limits,
    )


def read_bearer(values: list[str]) -> str | None:
    """Return the key of an Authorization header, None where there is no header; raises Refused."""
    if not values:
        return None
    scheme, _, text = values[0].strip().partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        detail = "The Authorization header is not of the form `Bearer KEY`."
        raise Refused(ProblemCode.AUTH_INVALID, detail)
    if not is_whole(text.strip()):
        detail = "The key is not written as keys are, as if a part of it were missing or mistyped."
        raise Refused(ProblemCode.AUTH_INVALID, detail)
    return text.strip()


def is_whole(text: str) -> bool:
    """True if a key is written as ours are, its check digits included."""
    return _FORM.fullmatch(text) is not None and text[-_CHECK:] == _check_of(text[:-_CHECK])


def digest_of(text: str) -> str:
    """Return what a key is known by: its sha256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def faults_of(request: KeyRequest) -> Iterator[str]:
    """Yield a sentence for each thing wrong with a key that is asked for."""
    if not _OWNER.fullmatch(request.owner):
        yield (
            f"The owner is {request.owner[:80]!r}: give 1 to 64 letters, digits, dots, dashes or "
            "underscores, a letter or digit first."
        )
    if (
        not request.name.strip()
        or len(request.name) > _NAME_LIMIT
        or not request.name.isprintable()
    ):
        yield f"The name is {request.name[:80]!r}: give 1 to {_NAME_LIMIT} printable characters."
    if not request.scopes:
        yield f"The key has no scope: give one or more of {', '.join(Scope)}."
    if request.lifetime_seconds is not None and request.lifetime_seconds <= 0:
        yield f"The key would live {request.lifetime_seconds:g} s: give more than 0."
    yield from _faults_of_kind(request)
    for what, count in msgspec.structs.asdict(request.limits).items():
        if count is not None and not 0 < count <= _COUNT_LIMIT:
            yield f"The limit {what} is {count}: give 1 to {_COUNT_LIMIT}, or none."


def _faults_of_kind(request: KeyRequest) -> Iterator[str]:
    if request.kind is Kind.SECRET:
        if request.origins:
            yield "Only a publishable key has origins: add --publishable, or leave them out."
        return
    if request.scopes - _PUBLIC_SCOPES:
        yield (
            "A publishable key may only have the scope scan, because everybody can read it; it "
            f"was to have {', '.join(sorted(request.scopes))}."
        )
    if not request.origins:
        yield "A publishable key needs the origins that it works from: add --origin."
    for origin in request.origins:
        if not _is_origin(origin):
            yield (
                f"The origin is {origin[:80]!r}: give https://HOST or chrome-extension://ID, in "
                "small letters, with nothing after it."
            )


def _is_origin(text: str) -> bool:
    """True for an origin as a browser writes it, of an extension or of a page over https."""
    if _EXTENSION.fullmatch(text):
        return True
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return False
    name = parts.hostname or ""
    is_name = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) is not None
    return is_name and text == f"https://{name}{port}" and port != ":443"


def _made(request: KeyRequest, *, now: float) -> Made:
    text = _new_text(request.kind)
    lifetime = request.lifetime_seconds
    key = Key(
        id=ids.new("key", now),
        hint=f"{text[:7]}...{text[-4:]}",
        kind=request.kind,
        owner=request.owner,
        name=request.name,
        scopes=request.scopes,
        origins=request.origins,
        limits=request.limits,
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )
    return Made(key=key, text=text)


def _again(old: Key) -> KeyRequest:
    return KeyRequest(
        owner=old.owner,
        name=old.name,
        scopes=old.scopes,
        kind=old.kind,
        origins=old.origins,
        limits=old.limits,
        lifetime_seconds=None if old.expires_at is None else old.expires_at - old.created_at,
    )


def _new_text(kind: Kind) -> str:
    body = f"{kind}_" + "".join(secrets.choice(_DIGITS) for _ in range(_CHANCE))
    return body + _check_of(body)


def _check_of(body: str) -> str:
    value = zlib.crc32(body.encode())
    return "".join(_DIGITS[value // 62**place % 62] for place in reversed(range(_CHECK)))


async def _known(key_id: str, desk: KeysDesk) -> Key:
    key = await desk.store.get(key_id) if ids.is_id("key", key_id) else None
    if key is None:
        detail = f"There is no key {key_id[:64]!r}; `pinclip keys list` shows the ids."
        raise Refused(ProblemCode.NOT_FOUND, detail)
    return key


def _why_not_from(key: Key, page: str) -> str:
    if key.kind is Kind.SECRET:
        return (
            f"The secret key {key.id} came from a page of {page[:80]!r}, where anybody can read it."
            " Revoke it, and give pages a publishable key."
        )
    return f"The key {key.id} may not be used from {page[:80]!r}."
