"""What the worker needs of the world, as protocols; each has a fake in testing.py.

    Ledger   -> claims (entry + lease token)         Redis
    Fetcher  -> bytes of a URL                       HTTP
    Decoder  -> RGB frames of bytes                  Pillow, in a child that can be killed
    Detector -> reading of frames                    the model, named by PINCLIP_DETECTOR
    Cache    -> what was learnt of the same bytes    Redis; a hint, which may forget all
    Clock    -> now, sleep                           nobody else calls time

A failure that belongs to the image is a Refusal with a ScanErrorCode; a Ledger out of reach is
Unavailable and loses nothing; anything else raised is a fault of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from sdk.codes import SCAN_ERRORS, ScanErrorCode
from sdk.wire import ScanError

from .contract import Entry, Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .known import Features, Known


class Refusal(Exception):
    """The image cannot be judged: a stable code and what happened, for the scan's `error`."""

    def __init__(self, code: ScanErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def as_error(self) -> ScanError:
        """The refusal as the scan shows it, with the code's hint."""
        facts = SCAN_ERRORS[self.code]
        return ScanError(
            code=self.code, detail=self.detail, hint=facts.hint, retryable=facts.retryable
        )


class Unavailable(Exception):
    """The ledger did not answer, or could not write; what is held stays held: ask again later."""


class Claim(Struct, frozen=True, kw_only=True):
    """One scan held under a lease. `token` names the delivery; `attempt` counts from 1."""

    entry: Entry
    token: str
    attempt: int


class Validator(Struct, frozen=True, kw_only=True):
    """What a host gave to ask it by whether a URL still has the same bytes (RFC 9110, 13.1).

    `final` is the sha256 (hex) of the URL that gave the bytes, after redirects. `etag` is a strong
    one; where it is None, `modified` is a Last-Modified that is as good.
    """

    final: str
    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, url: str, *, etag: str | None, modified: str | None = None) -> Validator:
        """Return what the URL `url`, and no other, gave."""
        return cls(final=_digest(url), etag=etag, modified=modified)

    def is_of(self, url: str) -> bool:
        """True if this URL gave it."""
        return self.final == _digest(url)


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def judge(detector: Detector) -> str:
    """Return a digest (hex) of all that a verdict depends on but the image and the point.

    The release decides from readings, and reads declarations; so it is a part of the judge.
    """
    parts = (
        version("pinclip"),
        detector.weights_sha256,
        detector.calibration_id,
        detector.engine,
        detector.precision,
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Fetched(Struct, frozen=True, kw_only=True):
    """The body of one URL: bytes as served, the URL they came from, and their sha256 (hex)."""

    data: bytes
    final_url: str
    sha256: str
    validator: Validator | None = None
    fresh_seconds: float = 0.0
    """For so long after it was asked the host, and each that redirected, vouches for its answer."""


class Unchanged(Struct, frozen=True, kw_only=True):
    """The URL still has the bytes that its validator stands for (304)."""

    final_url: str
    fresh_seconds: float = 0.0
    """As with Fetched."""


class Seen(Struct, frozen=True, kw_only=True):
    """What bytes a URL had, and how to ask whether it still has them. `size` is in bytes."""

    sha256: str
    size: int
    validator: Validator


class Frame(Struct, frozen=True, kw_only=True):
    """One decoded picture: `rgb` is height * width * 3 bytes, upright, alpha over white."""

    width: int
    height: int
    rgb: bytes


class Decoded(Struct, frozen=True, kw_only=True):
    """An image after decoding. `frames` are the sampled ones of `frame_count`.

    width and height are in pixels, after EXIF orientation; `jpeg_quality` is an estimate, or
    None for other formats.
    """

    mime: str
    width: int
    height: int
    frame_count: int
    frames: tuple[Frame, ...]
    jpeg_quality: int | None = None


class Point(Protocol):
    """One operating point as measured on one slice; numbers are None where n < 300.

    `clear_below` is None too where fewer than 300 AI images were measured.
    """

    @property
    def threshold(self) -> float | None: ...  # noqa: D102 - described by wire.OperatingPoint
    @property
    def clear_below(self) -> float | None: ...  # noqa: D102
    @property
    def false_alarm_rate(self) -> float | None: ...  # noqa: D102
    @property
    def ci95(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102


class Reading(Protocol):
    """What the model says of one picture: score in [0, 1] always, the rest where calibrated."""

    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def probability(self) -> float | None: ...  # noqa: D102
    @property
    def slice(self) -> str: ...  # noqa: D102
    @property
    def points(self) -> Mapping[str, Point]: ...  # noqa: D102


class Preprocessor(Protocol):
    """The part of a Detector that needs no device: which one it is, and what it takes."""

    weights_id: str
    weights_sha256: str
    calibration_id: str

    def prepare(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) upright RGB -> (3, S, S), what `forward` takes; thread-safe."""
        ...

    def prepare_reencoded(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for the picture at half its size and JPEG quality 70; thread-safe too."""
        ...


class Detector(Preprocessor, Protocol):
    """The model. Only `forward` touches the device, on one thread."""

    batch_limit: int
    engine: str
    precision: str
    device: str
    reason: str
    """Why this engine and this number format: for the log."""

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, S, S), 1 <= B <= batch_limit -> (B, K) raw outputs."""
        ...

    def finish(self, outputs: NDArray[np.float32]) -> Sequence[Reading]:
        """(B, K) raw outputs -> B readings, same order."""
        ...


@runtime_checkable
class Featured(Protocol):
    """What a Reading may have besides: what the model's head read of the picture, as bytes."""

    @property
    def features(self) -> bytes | None: ...  # noqa: D102 - for Rereads.reread


@runtime_checkable
class Rereads(Protocol):
    """What a Detector may have besides: readings from features, without a forward pass.

    `features_id` names all that makes features and not what reads them: a detector takes those of
    any other with the same one, whatever its head and its calibration.
    """

    features_id: str

    def reread(self, features: Sequence[bytes]) -> Sequence[Reading]:
        """Return a reading for each, or raise ValueError for what it cannot read; thread-safe."""
        ...


@runtime_checkable
class Documented(Protocol):
    """What a Detector may have besides: what came with its weights for people to read."""

    @property
    def card(self) -> str | None: ...  # noqa: D102 - described by contract.Papers
    @property
    def gate_report(self) -> str | None: ...  # noqa: D102


class Ledger(Protocol):
    """The worker's half of Redis. Changes need the claim's token; a stale one is refused.

    Thread-safe. Each call may raise Unavailable.
    """

    def claim(self, limit: int, *, bulk: int | None = None) -> list[Claim]:
        """Take up to `limit` new scans, or one whose lease ran out, alone; never waits.

        At most `bulk` of them are bulk, which may be none; None: as many as there is room for.
        """
        ...

    def renew(self, claims: Sequence[Claim]) -> None:
        """Start the leases of these claims anew, except those that passed to another."""
        ...

    def release(self, claims: Sequence[Claim]) -> None:
        """Give these scans back at once, as if they had not been delivered."""
        ...

    def phase(self, claims: Sequence[Claim], status: str) -> None:
        """Tell who asks that these scans are `fetching` or `scoring`."""
        ...

    def complete(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[bool]:
        """Publish outcomes and end their claims; False where the lease has passed to another."""
        ...

    def depth(self) -> int:
        """How many scans wait or are held."""
        ...


class Fetcher(Protocol):
    """Gets the bytes of a URL that strangers chose."""

    def fetch(self, url: str, *, timeout_seconds: float) -> Fetched:
        """Return the body, or raise Refusal (fetch_*). Thread-safe; blocks the caller only."""
        ...

    def refetch(
        self, url: str, *, timeout_seconds: float, unless: Validator
    ) -> Fetched | Unchanged:
        """The same, but Unchanged where the URL that `unless` was made for says so itself."""
        ...


class Decoder(Protocol):
    """Turns bytes that strangers made into pictures."""

    def decode(self, data: bytes) -> Decoded:
        """Return the frames, or raise Refusal. Thread-safe; ends within its wall-clock limit."""
        ...


class Cache(Protocol):
    """What workers learnt of images, and who is learning what. Thread-safe.

    A hint: each call may forget, none raises, and a scan is done as well without. Images go by
    the sha256 (hex) of their bytes, URLs by their text.
    """

    def known(self, sha256: str) -> Known | None:
        """What this very model said, or says of what is remembered, of these bytes."""
        ...

    def claim(self, sha256: str) -> bool:
        """True if no other worker is looking at these bytes; it is ours for a few seconds."""
        ...

    def keep(self, sha256: str, known: Known, features: Features | None = None) -> None:
        """Remember this and the features it was told from, if there are any; end the claim."""
        ...

    def release(self, sha256: str) -> None:
        """End the claim without a result."""
        ...

    def seen(self, url: str) -> Seen | None:
        """What bytes the URL had, if that is remembered."""
        ...

    def saw(self, url: str, seen: Seen | None) -> None:
        """Remember this of the URL, or nothing any more."""
        ...


class Clock(Protocol):
    """Time. `now` is Unix time, `monotonic` a steady count, both in seconds."""

    def now(self) -> float: ...  # noqa: D102
    def monotonic(self) -> float: ...  # noqa: D102
    def sleep(self, seconds: float) -> None: ...  # noqa: D102
