"""From an entry to arrays for the model: gets the bytes, reads what they say, decodes, prepares.

    Entry --get--> bytes as served --prepare--> an array for each sampled frame, and facts
                                   --prepare_again--> the array of one frame, re-encoded

All steps block, belong on threads, and raise Refusal for what is the image's own fault. Decoded
pictures (up to 120 MB) live only inside these, so `prepare_again`, which few images need, decodes
again. Knows nothing of leases or verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from sdk.codes import ScanErrorCode
from sdk.wire import Declaration, Input, InputKind

from .contract import Entry
from .ports import Clock, Decoder, Detector, Fetcher, Frame, Refusal
from .verdicts import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Bytes(Struct, frozen=True, kw_only=True):
    """An image as it was got, and the `input` of its scan as far as it is known."""

    data: bytes
    input: Input


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
        clock: Clock,
        fetch_seconds: float,
    ) -> None:
        self._fetcher = fetcher
        self._read_upload = read_upload
        self._clock = clock
        self._fetch_seconds = fetch_seconds

    def get(self, entry: Entry) -> Bytes:
        """Return the bytes of the entry's URL or upload, or raise Refusal."""
        if entry.kind is InputKind.UPLOAD:
            return self._uploaded(entry.upload_id or "")
        return self._fetched(entry)

    def _uploaded(self, upload_id: str) -> Bytes:
        data = self._read_upload(upload_id)
        known = Input(
            kind=InputKind.UPLOAD,
            fetched_by="client",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        return Bytes(data=data, input=known)

    def _fetched(self, entry: Entry) -> Bytes:
        left = entry.deadline - self._clock.now()
        if left <= 0:
            raise overdue()
        url = entry.url or ""
        fetched = self._fetcher.fetch(url, timeout_seconds=min(self._fetch_seconds, left))
        known = Input(
            kind=InputKind.URL,
            url=url,
            final_url=fetched.final_url,
            fetched_by="server",
            sha256=fetched.sha256,
            bytes=len(fetched.data),
        )
        return Bytes(data=fetched.data, input=known)


class Preparer:
    """Turns bytes into arrays for one detector. Thread-safe."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        detector: Detector,
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


def _rgb(frame: Frame) -> NDArray[np.uint8]:
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
