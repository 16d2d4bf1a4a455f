"""REDIS DOOR: what workers learnt of images lately, for all of them. A hint, and bounded.

    sha256 of the bytes + model  --> a slot   pinclip:known:{slot}     what the model said
    sha256 of the bytes + tower  --> slots    pinclip:features:{slot}  what its head read, by frame
    URL                          --> a slot   pinclip:seen:{slot}      sha256, validator
    sha256 of the bytes + model  --> a key for seconds  pinclip:looking:...    who finds out

A slot holds one entry and says of which image or URL it is; another that falls on the same slot
takes its place. So there is no index to trim, and no more than SLOTS entries of LIMIT_BYTES can
ever exist, by kind. What belongs to another image, model or version, or is damaged, is as if it
were not there. No failure leaves this file: while Redis does not answer, nothing is asked of it,
and when it is full, the slots are given back to what matters. No URL is written, only digests of
URLs.

An image that this very model never saw, but one with the same tower did, is read anew by the head
alone and then known like any other (docs/decisions/0022).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TypeVar, cast

import msgspec
import structlog
from msgspec import Struct
from redis.exceptions import OutOfMemoryError, RedisError

from .known import About, Features, Known, Part, reread
from .ledger import connect
from .ports import Clock, Detector, Rereads, Seen, judge

KEEP_SECONDS = 24 * 3600
"""How long an entry is kept. It never goes stale; this frees what nobody asks for any more."""
SLOTS = 16_384
"""For images, and for URLs: 13 MiB in all when each holds a still picture, 44 MiB at the limit."""
LIMIT_BYTES = 2048
"""Largest entry kept. One frame takes 330 bytes; four, scored again and declared, take 1,260."""
FEATURES_SLOTS = 2048
"""Each for a frame: 21 MiB in all with class tokens of seven blocks, 39 MiB at the limit."""
FEATURES_LIMIT_BYTES = 20_000
"""Largest entry kept: class tokens of all twelve blocks take 18,432 bytes, of seven 10,752."""
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
FEATURES = "pinclip:features:"
SLOTS_OF = {KNOWN: SLOTS, SEEN: SLOTS, FEATURES: FEATURES_SLOTS}
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


class _Read(Struct, frozen=True, array_like=True):
    """What the head read of one part of an image; `about` comes with the first frame."""

    name: bytes
    features: bytes
    about: About | None


_kept = msgspec.msgpack.Decoder(_Kept)
_noted = msgspec.msgpack.Decoder(_Noted)
_read = msgspec.msgpack.Decoder(_Read)


class RedisCache:
    """The Cache of one worker process, for one detector. See ports.Cache."""

    def __init__(
        self, address: str, *, detector: Detector, clock: Clock, timeout_seconds: float = 0.5
    ) -> None:
        self._redis = connect(address, timeout_seconds=timeout_seconds)
        self._clock = clock
        self._model = judge(detector)
        self._release = version("pinclip")
        self._rereads = detector if isinstance(detector, Rereads) else None
        self._ask_at = clock.monotonic()
        self._warn_at = clock.monotonic()

    def known(self, sha256: str) -> Known | None:
        """What this very model said, or says of what is remembered, of these bytes."""
        name = self._name(sha256)
        try:
            kept = _kept.decode(self._get(_slot(KNOWN, name)))
        except msgspec.MsgspecError:
            return self._reread(sha256)
        is_it = kept.name == name and kept.known.is_sound
        return kept.known if is_it else self._reread(sha256)

    def claim(self, sha256: str) -> bool:
        """True if no other worker is looking at these bytes; it is ours for CLAIM_SECONDS."""
        key = LOOKING + self._name(sha256).hex()
        is_free = self._ask(
            lambda: self._redis.set(key, b"", nx=True, ex=CLAIM_SECONDS) is not None
        )
        return is_free is not False

    def keep(self, sha256: str, known: Known, features: Features | None = None) -> None:
        """Remember this and the features it was told from, if there are any; end the claim."""
        entries = self._known_entry(sha256, known)
        if self._rereads is not None and features and known.is_sound:
            entries |= self._features_entries(self._rereads, sha256, known, features)
        self._ask(lambda: self._write(entries, ended=LOOKING + self._name(sha256).hex()))

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

    def _known_entry(self, sha256: str, known: Known) -> dict[str, bytes]:
        """Return what to write where, which is nothing if it is too large or unsound."""
        name = self._name(sha256)
        data = msgspec.msgpack.encode(_Kept(name, known))
        is_fit = len(data) <= LIMIT_BYTES and known.is_sound
        return {_slot(KNOWN, name): data} if is_fit else {}

    def _features_entries(
        self, by: Rereads, sha256: str, known: Known, features: Features
    ) -> dict[str, bytes]:
        about = About(known.mime, known.facts, known.declaration)
        entries = {}
        for part, found in features.items():
            name = self._part_name(by, sha256, part)
            data = _sealed(_Read(name, found, about if part == Part(0) else None))
            if len(data) <= FEATURES_LIMIT_BYTES:
                entries[_slot(FEATURES, name)] = data
        return entries

    def _write(self, entries: dict[str, bytes], *, ended: str) -> None:
        """Set all and delete `ended`, in one journey: Redis then writes to its disk once."""
        with self._redis.pipeline(transaction=False) as pipe:
            for key, data in entries.items():
                pipe.set(key, data, ex=KEEP_SECONDS)
            pipe.delete(ended)
            pipe.execute()

    def _reread(self, sha256: str) -> Known | None:
        """What this model's head says of features that any left, if all are there."""
        if self._rereads is None:
            return None
        found = self._parts(self._rereads, sha256, frames=range(1))
        about = found[Part(0)].about if Part(0) in found else None
        if about is None:
            return None
        if about.facts.sampled > 1:
            found |= self._parts(self._rereads, sha256, frames=range(1, about.facts.sampled))
        features = {part: entry.features for part, entry in found.items()}
        try:
            known = reread(about, features, self._rereads)
        except Exception as error:  # The detector's: the image can still be looked at.
            log.debug("features_unreadable", why=repr(error))
            return None
        if known is None or not known.is_sound:
            return None
        for key, data in self._known_entry(sha256, known).items():
            self._put(key, data)
        return known

    def _parts(self, by: Rereads, sha256: str, *, frames: Iterable[int]) -> dict[Part, _Read]:
        """Return what is remembered of these frames, as served and re-encoded."""
        parts = [Part(frame, again) for frame in frames for again in (False, True)]
        names = [self._part_name(by, sha256, part) for part in parts]
        keys = [_slot(FEATURES, name) for name in names]
        values = self._ask(lambda: cast("list[bytes | None]", self._redis.mget(keys))) or []
        found = zip(parts, names, values, strict=False)  # No values: Redis does not answer.
        entries = {part: _unsealed(value or b"", name) for part, name, value in found}
        return {part: entry for part, entry in entries.items() if entry is not None}

    def _name(self, sha256: str) -> bytes:
        return _digest(self._model, sha256)

    def _part_name(self, by: Rereads, sha256: str, part: Part) -> bytes:
        # The release too: it is what decoded, prepared and read declarations.
        step = "re-encoded" if part.is_reencoded else "as served"
        return _digest(self._release, by.features_id, sha256, str(part.frame), step)

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
            for kind, slots in SLOTS_OF.items():
                for first in range(0, slots, 1024):
                    self._redis.unlink(*(f"{kind}{slot}" for slot in range(first, first + 1024)))
        except RedisError as error:
            log.debug("cache_not_emptied", why=str(error))
        else:
            log.info("cache_emptied", why="Redis is full")


def _digest(*parts: str) -> bytes:
    """Return 32 bytes that stand for these texts in this order."""
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def _slot(kind: str, name: bytes) -> str:
    return f"{kind}{int.from_bytes(name[:8]) % SLOTS_OF[kind]}"


def _sealed(entry: _Read) -> bytes:
    """Return the entry after four bytes that tell whether it is whole: any bits make features."""
    data = msgspec.msgpack.encode(entry)
    return zlib.crc32(data).to_bytes(4) + data


def _unsealed(data: bytes, name: bytes) -> _Read | None:
    """Return the entry if it is whole and of this name."""
    if data[:4] != zlib.crc32(data[4:]).to_bytes(4):
        return None
    try:
        entry = _read.decode(data[4:])
    except msgspec.MsgspecError:
        return None
    return entry if entry.name == name else None
