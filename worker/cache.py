"""REDIS DOOR: what workers learnt of images lately, for all of them. A hint, and bounded.

    sha256 of the bytes + model  --> one of SLOTS keys  pinclip:known:{slot}   what the model said
    URL                          --> one of SLOTS keys  pinclip:seen:{slot}    sha256, validator
    sha256 of the bytes + model  --> a key for seconds  pinclip:looking:...    who finds out

A slot holds one entry and says of which image or URL it is; another that falls on the same slot
takes its place. So there is no index to trim, and no more than SLOTS entries of LIMIT_BYTES can
ever exist. What belongs to another image, model or version, or is damaged, is as if it were not
there. No failure leaves this file: while Redis does not answer, nothing is asked of it, and when
it is full, the slots are given back to what matters. No URL is written, only digests of URLs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar, cast

import msgspec
import structlog
from msgspec import Struct
from redis.exceptions import OutOfMemoryError, RedisError

from .known import Known
from .ledger import connect
from .ports import Clock, Detector, Seen

KEEP_SECONDS = 24 * 3600
"""How long an entry is kept. It never goes stale; this frees what nobody asks for any more."""
SLOTS = 16_384
"""Of each kind: 13 MiB in all when each holds a still picture, 44 MiB when each is at its limit."""
LIMIT_BYTES = 2048
"""Largest entry kept. One frame takes 330 bytes; four, scored again and declared, take 1,260."""
CLAIM_SECONDS = 5
"""How long others leave an image to the worker that began on it, if it says nothing more."""
PAUSE_SECONDS = 5.0
"""After a failure nothing is asked for so long."""
FULL_PAUSE_SECONDS = 60.0
"""The same after Redis was full."""
WARN_SECONDS = 600.0
"""Failures that follow one another more closely are one warning."""

KNOWN = "pinclip:known:"
SEEN = "pinclip:seen:"
LOOKING = "pinclip:looking:"

T = TypeVar("T")
log = structlog.get_logger()


class _Kept(Struct, frozen=True, array_like=True):
    """An entry of a slot; `name` is the digest of the image and model, or URL, it belongs to."""

    name: bytes
    known: Known


class _Noted(Struct, frozen=True, array_like=True):
    name: bytes
    seen: Seen


_kept = msgspec.msgpack.Decoder(_Kept)
_noted = msgspec.msgpack.Decoder(_Noted)


class RedisCache:
    """The Cache of one worker process, for one detector. See ports.Cache."""

    def __init__(
        self, address: str, *, detector: Detector, clock: Clock, timeout_seconds: float = 0.5
    ) -> None:
        self._redis = connect(address, timeout_seconds=timeout_seconds)
        self._clock = clock
        self._model = _digest(
            version("pinclip"),
            detector.weights_sha256,
            detector.calibration_id,
            detector.engine,
            detector.precision,
        ).hex()
        self._ask_at = clock.monotonic()
        self._warn_at = clock.monotonic()

    def known(self, sha256: str) -> Known | None:
        """What this very model said of these bytes, if that is remembered."""
        name = self._name(sha256)
        try:
            kept = _kept.decode(self._get(_slot(KNOWN, name)))
        except msgspec.MsgspecError:
            return None
        return kept.known if kept.name == name and kept.known.is_sound else None

    def claim(self, sha256: str) -> bool:
        """True if no other worker is looking at these bytes; it is ours for CLAIM_SECONDS."""
        key = LOOKING + self._name(sha256).hex()
        is_free = self._ask(
            lambda: self._redis.set(key, b"", nx=True, ex=CLAIM_SECONDS) is not None
        )
        return is_free is not False

    def keep(self, sha256: str, known: Known) -> None:
        """Remember this, and end the claim."""
        name = self._name(sha256)
        data = msgspec.msgpack.encode(_Kept(name, known))
        if len(data) <= LIMIT_BYTES and known.is_sound:
            self._put(_slot(KNOWN, name), data)
        self.release(sha256)

    def release(self, sha256: str) -> None:
        """End the claim without a result."""
        self._ask(lambda: self._redis.delete(LOOKING + self._name(sha256).hex()))

    def seen(self, url: str) -> Seen | None:
        """What bytes the URL had, if that is remembered."""
        name = _digest(url)
        try:
            noted = _noted.decode(self._get(_slot(SEEN, name)))
        except msgspec.MsgspecError:
            return None
        return noted.seen if noted.name == name else None

    def saw(self, url: str, seen: Seen | None) -> None:
        """Remember this of the URL, or nothing any more."""
        name = _digest(url)
        if seen is None:
            self._ask(lambda: self._redis.delete(_slot(SEEN, name)))
        else:
            self._put(_slot(SEEN, name), msgspec.msgpack.encode(_Noted(name, seen)))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _name(self, sha256: str) -> bytes:
        return _digest(self._model, sha256)

    def _get(self, key: str) -> bytes:
        return self._ask(lambda: cast("bytes | None", self._redis.get(key))) or b""

    def _put(self, key: str, data: bytes) -> None:
        self._ask(lambda: self._redis.set(key, data, ex=KEEP_SECONDS))

    def _ask(self, command: Callable[[], T]) -> T | None:
        """Return the answer, or None where there is none or Redis failed a moment ago."""
        if self._clock.monotonic() < self._ask_at:
            return None
        try:
            return command()
        except OutOfMemoryError as error:
            self._fail(error, FULL_PAUSE_SECONDS)
            self._give_way()
        except RedisError as error:
            self._fail(error, PAUSE_SECONDS)
        return None

    def _fail(self, error: RedisError, seconds: float) -> None:
        """Rest, and say so; nobody has to do anything, so seldom loudly."""
        now = self._clock.monotonic()
        self._ask_at = now + seconds
        tell = log.warning if now >= self._warn_at else log.debug
        self._warn_at = now + WARN_SECONDS
        tell("cache_unavailable", why=str(error), next_try_seconds=seconds)

    def _give_way(self) -> None:
        """Empty all slots: what is being scanned needs the room more."""
        try:
            for kind in (KNOWN, SEEN):
                for first in range(0, SLOTS, 1024):
                    self._redis.unlink(*(f"{kind}{slot}" for slot in range(first, first + 1024)))
        except RedisError as error:
            log.debug("cache_not_emptied", why=str(error))
        else:
            log.info("cache_emptied", why="Redis is full")


def _digest(*parts: str) -> bytes:
    """Return 32 bytes that stand for these texts in this order."""
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def _slot(kind: str, name: bytes) -> str:
    return f"{kind}{int.from_bytes(name[:8]) % SLOTS}"
