"""From an entry to arrays for the model: gets the bytes, recalls, reads what they say, decodes.

    Entry --get--> bytes as served --recall--> Known: nothing is left to do
             |                       | or: nobody knows, and no other worker is looking
             |                       v
             |                     prepare --> an array for each sampled frame, and facts
             |                     prepare_again --> the array of one frame, re-encoded
             +--> Known, without a body: the host says that the URL is as it was (304)

All steps block, belong on threads, and raise Refusal for what is the image's own fault. Decoded
pictures (up to 120 MB) live only inside these, so `prepare_again`, which few images need, decodes
again. Knows nothing of leases or verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from sdk.codes import ScanErrorCode
from sdk.wire import Declaration, Input, InputKind

from .contract import Entry
from .guard import Policy, check_url
from .known import Known, is_enough
from .ports import (
    Cache,
    Clock,
    Decoder,
    Fetched,
    Fetcher,
    Frame,
    Preprocessor,
    Refusal,
    Seen,
    Unchanged,
    Validator,
)
from .verdicts import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray


ELSEWHERE_SECONDS = 5.0
"""Longest wait for what another worker is finding out; then it is done here as well."""
ELSEWHERE_LOOK_SECONDS = 0.05
"""Between two looks whether the other worker has found out."""


class Bytes(Struct, frozen=True, kw_only=True):
    """An image as it was got, and the `input` of its scan as far as it is known.

    `known` is what a cache remembers of these very bytes. `data` is empty where the host said
    that nothing changed and `known` is enough for any verdict.
    """

    data: bytes
    input: Input
    known: Known | None = None
    fresh_until: float | None = None
    """Until this Unix time the hosts of its URL vouch for it; None: they do not."""

    @property
    def sha256(self) -> str:
        """Of the bytes as served, also where there are none; hex."""
        return self.input.sha256 or ""


class Prepared(Struct, frozen=True, kw_only=True):
    """An image ready for the model: (3, S, S) for each of the sampled frames."""

    arrays: tuple[NDArray[np.float32], ...]
    mime: str
    facts: Facts
    declaration: Declaration | None


class Source:
    """Gets the bytes that an entry names. Thread-safe."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        read_upload: Callable[[str], bytes],
        cache: Cache,
        policy: Policy,
        clock: Clock,
        fetch_seconds: float,
    ) -> None:
        self._fetcher = fetcher
        self._read_upload = read_upload
        self._cache = cache
        self._policy = policy
        self._clock = clock
        self._fetch_seconds = fetch_seconds

    def place(self, entry: Entry) -> str:
        """Return where the bytes are: entries with the same place need be got once only."""
        if entry.kind is InputKind.UPLOAD:
            return f"upload:{entry.upload_id}"
        return self._canonical(entry.url or "")

    def get(self, entry: Entry, *, deadline: float) -> Bytes:
        """Return the bytes of the entry's URL or upload, or raise Refusal.

        `deadline` is Unix time in seconds; what it cuts short is refused as deadline_exceeded,
        and as nothing that the image could be blamed for.
        """
        if entry.kind is InputKind.UPLOAD:
            return self._uploaded(entry.upload_id or "")
        return self._fetched(entry.url or "", deadline)

    def _uploaded(self, upload_id: str) -> Bytes:
        data = self._read_upload(upload_id)
        known = Input(
            kind=InputKind.UPLOAD,
            fetched_by="client",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        return Bytes(data=data, input=known, known=self._cache.known(known.sha256 or ""))

    def _fetched(self, url: str, deadline: float) -> Bytes:
        place, asked_at = self._canonical(url), self._clock.now()
        seen = self._cache.seen(place)
        known = self._cache.known(seen.sha256) if seen else None
        fetched: Fetched | Unchanged
        if seen and known and is_enough(known):
            fetched = self._refetch(url, deadline, seen.validator)
            if isinstance(fetched, Unchanged):
                found = _by_server(url, fetched.final_url, seen.sha256, seen.size)
                until = _until(asked_at, fetched)
                return Bytes(data=b"", input=found, known=known, fresh_until=until)
        else:
            fetched = self._fetch(url, deadline)
        if seen or fetched.validator:
            self._cache.saw(place, _seen(fetched))
        found = _by_server(url, fetched.final_url, fetched.sha256, len(fetched.data))
        return Bytes(
            data=fetched.data,
            input=found,
            known=self._cache.known(fetched.sha256),
            fresh_until=_until(asked_at, fetched),
        )

    def _refetch(self, url: str, deadline: float, unless: Validator) -> Fetched | Unchanged:
        try:
            with self._within(deadline) as seconds:
                return self._fetcher.refetch(url, timeout_seconds=seconds, unless=unless)
        except Refusal as refusal:
            if refusal.code is not ScanErrorCode.FETCH_HTTP_ERROR:
                raise
        return self._fetch(url, deadline)  # Some hosts choke on a condition.

    def _fetch(self, url: str, deadline: float) -> Fetched:
        with self._within(deadline) as seconds:
            return self._fetcher.fetch(url, timeout_seconds=seconds)

    @contextmanager
    def _within(self, deadline: float) -> Iterator[float]:
        """Give the seconds a fetch may take; one that the deadline cut short is overdue."""
        left = deadline - self._clock.now()
        if left <= 0:
            raise overdue()
        try:
            yield min(self._fetch_seconds, left)
        except Refusal as refusal:
            if refusal.code is ScanErrorCode.FETCH_TIMEOUT and left < self._fetch_seconds:
                raise overdue() from refusal
            raise

    def _canonical(self, url: str) -> str:
        try:
            return check_url(url, self._policy).url
        except Exception:  # Whatever is wrong with it, getting it says so, and ends that scan only.
            return url


def recall(
    cache: Cache, sha256: str, *, clock: Clock, is_wanted: Callable[[], bool]
) -> Known | None:
    """Return what is known of these bytes; None: nobody knows, and whoever asks should look.

    Waits for another worker that is looking, for up to ELSEWHERE_SECONDS and no longer than it
    `is_wanted`. After None the claim on these bytes is the caller's to end, or has run out.
    """
    until = clock.monotonic() + ELSEWHERE_SECONDS
    while True:
        is_ours = cache.claim(sha256)
        known = cache.known(sha256)  # After claiming: whoever had the claim keeps, then ends it.
        if known and is_ours:
            cache.release(sha256)
        if known or is_ours or clock.monotonic() >= until or not is_wanted():
            return known
        clock.sleep(ELSEWHERE_LOOK_SECONDS)


class Preparer:
    """Turns bytes into arrays for one detector, loaded or not. Thread-safe."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        detector: Preprocessor,
        read_declaration: Callable[[bytes], Declaration | None],
    ) -> None:
        self._decoder = decoder
        self._detector = detector
        self._read_declaration = read_declaration

    def prepare(self, data: bytes) -> Prepared:
        """Return the arrays of the image's sampled frames, or raise Refusal."""
        decoded = self._decoder.decode(data)
        return Prepared(
            arrays=tuple(self._detector.prepare(_rgb(frame)) for frame in decoded.frames),
            mime=decoded.mime,
            facts=Facts(
                width=decoded.width,
                height=decoded.height,
                frame_count=decoded.frame_count,
                sampled=len(decoded.frames),
                jpeg_quality=decoded.jpeg_quality,
            ),
            declaration=self._read_declaration(data),
        )

    def prepare_again(self, data: bytes, frame: int) -> NDArray[np.float32]:
        """Return the array of one of the sampled frames, re-encoded, or raise Refusal.

        Raises IndexError where decoding had less time and came to fewer frames than before.
        """
        decoded = self._decoder.decode(data)
        return self._detector.prepare_reencoded(_rgb(decoded.frames[frame]))


def overdue() -> Refusal:
    """The refusal of a scan whose deadline has passed."""
    return Refusal(
        ScanErrorCode.DEADLINE_EXCEEDED, "The scan was not done before its deadline passed."
    )


def _seen(fetched: Fetched) -> Seen | None:
    if fetched.validator is None:
        return None
    return Seen(sha256=fetched.sha256, size=len(fetched.data), validator=fetched.validator)


def _until(asked_at: float, fetched: Fetched | Unchanged) -> float | None:
    """Count from when it was asked, since no host can count what its answer took to come."""
    return asked_at + fetched.fresh_seconds if fetched.fresh_seconds > 0 else None


def _by_server(url: str, final_url: str, sha256: str, size: int) -> Input:
    return Input(
        kind=InputKind.URL,
        url=url,
        final_url=final_url,
        fetched_by="server",
        sha256=sha256,
        bytes=size,
    )


def _rgb(frame: Frame) -> NDArray[np.uint8]:
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
