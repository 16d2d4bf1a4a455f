"""Fakes of the worker's seams, which pass the same suites as the real ones (tests/seams).

    FixedDetector     score = brightness of the picture; 8 x 8 pixels, no weights
    HeadedDetector    the same with features, and a head that can be another
    ScriptedFetcher   {url: bytes or Refusal}
    InProcessDecoder  the real decode, without the child process
    MemoryCache       a dict that several workers may share
    MemoryLedger      leases in a dict; `post`, `results`, `is_down`
    ManualClock       moves when told

`PINCLIP_DETECTOR=worker.testing:load_fixed` runs a whole worker on the FixedDetector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from sdk.codes import ScanErrorCode
from sdk.wire import Priority

from .contract import BULK_TURN, LEASE_SECONDS, STREAMS, Entry, Outcome
from .ports import (
    Claim,
    Clock,
    Decoded,
    Fetched,
    Refusal,
    Seen,
    Unavailable,
    Unchanged,
    Validator,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .known import Features, Known

SIDE = 8
"""Side of what FixedDetector.prepare returns, in pixels."""


class FixedPoint(Struct, frozen=True, kw_only=True):
    """A ports.Point with numbers as if 1,000 real images had been measured."""

    threshold: float | None
    clear_below: float | None = 0.3
    false_alarm_rate: float | None
    ci95: tuple[float, float] | None
    n: int = 1000


POINTS: Mapping[str, FixedPoint] = {
    "strict": FixedPoint(threshold=0.9, false_alarm_rate=0.01, ci95=(0.005, 0.018)),
    "balanced": FixedPoint(threshold=0.8, false_alarm_rate=0.03, ci95=(0.02, 0.042)),
    "sensitive": FixedPoint(threshold=0.6, false_alarm_rate=0.1, ci95=(0.083, 0.12)),
}


class FixedReading(Struct, frozen=True, kw_only=True):
    """A ports.Reading."""

    score: float
    probability: float | None
    slice: str = "photo"
    points: Mapping[str, FixedPoint] = field(default_factory=lambda: POINTS)


class FixedDetector:
    """A ports.Detector: white scores 1, black 0; `weights_id` and the rest are made up."""

    weights_id = "fixed"
    weights_sha256 = hashlib.sha256(b"fixed").hexdigest()
    calibration_id = "cal_fixed"
    engine = "fixed"
    precision = "float32"
    device = "cpu"
    reason = "fixed: as written"

    def __init__(self, *, batch_limit: int = 8) -> None:
        self.batch_limit = batch_limit

    def prepare(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) RGB -> (3, 8, 8), each pixel the mean of its part of the picture, in [0, 1]."""
        import numpy as np

        rows = np.array_split(rgb, SIDE, axis=0)
        parts = [np.array_split(row, SIDE, axis=1) for row in rows]
        means = [[part.mean(axis=(0, 1)) / 255 for part in row] for row in parts]  # (8, 8, 3)
        return np.array(means).transpose(2, 0, 1).astype(np.float32)

    def prepare_reencoded(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) RGB -> (3, 8, 8) of every second pixel; JPEG hardly changes a mean."""
        return self.prepare(rgb[::2, ::2])

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 8, 8) -> (B, 1) mean brightness."""
        brightness: NDArray[np.float32] = batch.reshape(len(batch), -1).mean(axis=1, keepdims=True)
        return brightness

    def finish(self, outputs: NDArray[np.float32]) -> Sequence[FixedReading]:
        """(B, 1) -> B readings; the probability is the score."""
        scores = [round(float(output), 6) for output in outputs[:, 0]]
        return [FixedReading(score=score, probability=score) for score in scores]


class HeadedReading(FixedReading, frozen=True, kw_only=True):
    """A ports.Reading that is Featured."""

    features: bytes | None = None


class HeadedDetector(FixedDetector):
    """A FixedDetector that Rereads: its features are the mean brightness, its head a factor.

    `tower` and `head` name what a real one would have; `sizes` has those of the batches it saw.
    """

    def __init__(self, *, tower: str = "tower", head: float = 1.0) -> None:
        super().__init__()
        self.features_id = hashlib.sha256(tower.encode()).hexdigest()
        self.weights_sha256 = hashlib.sha256(f"{tower} {head}".encode()).hexdigest()
        self.head = head
        self.sizes: list[int] = []

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 8, 8) -> (B, 1) mean brightness."""
        self.sizes.append(len(batch))
        return super().forward(batch)

    def finish(self, outputs: NDArray[np.float32]) -> Sequence[HeadedReading]:
        """(B, 1) -> B readings; the score is the head times the brightness."""
        scores = [round(float(output) * self.head, 6) for output in outputs[:, 0]]
        return [
            HeadedReading(score=score, probability=score, features=row.tobytes())
            for score, row in zip(scores, outputs, strict=True)
        ]

    def reread(self, features: Sequence[bytes]) -> Sequence[HeadedReading]:
        """Return readings of float32 features; raises ValueError for what is not one number."""
        import numpy as np

        rows = [np.frombuffer(kept, np.float32) for kept in features]
        if any(row.shape != (1,) or not np.isfinite(row).all() for row in rows):
            raise ValueError("Features are one number.")
        return self.finish(np.array(rows))


def load_fixed(*, engine: str, precision: str, batch_limit: int) -> FixedDetector:
    """Load a FixedDetector as a worker loads the real one; `engine` and `precision` are unread."""
    del engine, precision
    return FixedDetector(batch_limit=batch_limit)


class ScriptedFetcher:
    """A ports.Fetcher of fixed answers; `asked` lists the URLs in the order they came.

    Each body has an ETag of its own; `spared` lists the URLs answered by Unchanged. `fresh` says
    how many seconds each answer of a URL is fresh; none, where it says nothing.
    """

    def __init__(self, answers: Mapping[str, bytes | Refusal]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.spared: list[str] = []
        self.fresh: dict[str, float] = {}

    def fetch(self, url: str, *, timeout_seconds: float) -> Fetched:
        """Return the scripted body, or raise the scripted Refusal; fetch_dns for other URLs."""
        del timeout_seconds
        self.asked.append(url)
        answer = self.answers.get(url) or Refusal(ScanErrorCode.FETCH_DNS, f"No script for {url}.")
        if isinstance(answer, Refusal):
            raise answer
        sha256 = hashlib.sha256(answer).hexdigest()
        validator = Validator.of(url, etag=f'"{sha256}"')
        fresh = self.fresh.get(url, 0.0)
        return Fetched(
            data=answer, final_url=url, sha256=sha256, validator=validator, fresh_seconds=fresh
        )

    def refetch(
        self, url: str, *, timeout_seconds: float, unless: Validator
    ) -> Fetched | Unchanged:
        """The same, but Unchanged where the body is the one that `unless` was given with."""
        fetched = self.fetch(url, timeout_seconds=timeout_seconds)
        if fetched.validator != unless:
            return fetched
        self.spared.append(url)
        return Unchanged(final_url=url, fresh_seconds=fetched.fresh_seconds)


class InProcessDecoder:
    """A ports.Decoder that decodes as the child process does, in the caller's thread."""

    def decode(self, data: bytes) -> Decoded:
        """Return the frames, or raise Refusal."""
        from .images import decode

        return decode(data)


class MemoryCache:
    """A ports.Cache in dicts; workers that are given the same one share it."""

    def __init__(self) -> None:
        self.images: dict[str, Known] = {}
        self.urls: dict[str, Seen] = {}
        self.claims: set[str] = set()

    def known(self, sha256: str) -> Known | None:
        """See ports.Cache."""
        return self.images.get(sha256)

    def claim(self, sha256: str) -> bool:
        """See ports.Cache."""
        is_free = sha256 not in self.claims
        self.claims.add(sha256)
        return is_free

    def keep(self, sha256: str, known: Known, features: Features | None = None) -> None:
        """See ports.Cache; features are forgotten, since no other model asks."""
        del features
        self.images[sha256] = known
        self.release(sha256)

    def release(self, sha256: str) -> None:
        """See ports.Cache."""
        self.claims.discard(sha256)

    def seen(self, url: str) -> Seen | None:
        """See ports.Cache."""
        return self.urls.get(url)

    def saw(self, url: str, seen: Seen | None) -> None:
        """See ports.Cache."""
        if seen is None:
            self.urls.pop(url, None)
        else:
            self.urls[url] = seen


class ManualClock:
    """A ports.Clock that stands still until `sleep` or `advance`."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """Unix time."""
        return self._now

    def monotonic(self) -> float:
        """The same count; it never goes back either."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += seconds


class _Row(Struct, kw_only=True):
    entry: Entry
    holder: str | None = None
    attempt: int = 0
    since: float = 0.0


class MemoryLedger:
    """A ports.Ledger in a dict. `peer` makes another worker's ledger over the same scans.

    results: outcomes published, oldest first. phases: scan id -> status. `is_down`: while True,
    each call raises Unavailable.
    """

    def __init__(
        self, clock: Clock, *, worker: str = "worker", lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.results: list[Outcome] = []
        self.phases: dict[str, str] = {}
        self.is_down = False
        self._clock = clock
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._rows: dict[str, _Row] = {}
        self._posted = 0
        self._batches = 0

    def peer(self, worker: str) -> MemoryLedger:
        """Return the ledger of another worker."""
        other = MemoryLedger(self._clock, worker=worker, lease_seconds=self._lease_seconds)
        other.results, other.phases, other._rows = self.results, self.phases, self._rows
        return other

    def post(self, *entries: Entry) -> None:
        """Put entries where workers claim them."""
        for entry in entries:
            self._posted += 1
            self._rows[str(self._posted)] = _Row(entry=entry)

    def claim(self, limit: int, *, bulk: int | None = None) -> list[Claim]:
        """See ports.Ledger."""
        self._check()
        most = {Priority.INTERACTIVE: limit, Priority.BULK: limit if bulk is None else bulk}
        order = list(STREAMS)
        if self._batches % BULK_TURN == BULK_TURN - 1:
            order.reverse()
        taken: list[str] = []
        for priority in order:
            room = min(limit - len(taken), most[priority])
            if room < 1:
                continue
            rows = {key: row for key, row in self._rows.items() if row.entry.priority is priority}
            expired = [key for key, row in rows.items() if row.holder and self._is_expired(row)]
            if expired:
                taken = taken or expired[:1]
                break
            waiting = [key for key, row in rows.items() if row.holder is None]
            taken += waiting[:room]
        self._batches += bool(taken)
        return [self._take(key) for key in taken]

    def renew(self, claims: Sequence[Claim]) -> None:
        """See ports.Ledger."""
        self._check()
        for row in self._held(claims).values():
            row.since = self._clock.now()

    def release(self, claims: Sequence[Claim]) -> None:
        """See ports.Ledger."""
        self._check()
        for row in self._held(claims).values():
            row.since = float("-inf")
            row.attempt -= 1
            self.phases.pop(row.entry.scan_id, None)

    def phase(self, claims: Sequence[Claim], status: str) -> None:
        """See ports.Ledger."""
        self._check()
        self.phases.update({claim.entry.scan_id: status for claim in claims})

    def complete(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[bool]:
        """See ports.Ledger."""
        self._check()
        held = self._held([claim for claim, _ in outcomes])
        for claim, outcome in outcomes:
            if claim.token in held:
                self.results.append(outcome)
                self.phases.pop(outcome.scan_id, None)
                del self._rows[_key(claim)]
        return [claim.token in held for claim, _ in outcomes]

    def depth(self) -> int:
        """See ports.Ledger."""
        self._check()
        return len(self._rows)

    def _check(self) -> None:
        if self.is_down:
            raise Unavailable("The ledger is down.")

    def _is_expired(self, row: _Row) -> bool:
        return self._clock.now() - row.since >= self._lease_seconds

    def _take(self, key: str) -> Claim:
        row = self._rows[key]
        row.holder, row.since, row.attempt = self._worker, self._clock.now(), row.attempt + 1
        return Claim(entry=row.entry, token=f"{key}:{row.attempt}", attempt=row.attempt)

    def _held(self, claims: Sequence[Claim]) -> dict[str, _Row]:
        rows = {claim.token: (claim, self._rows.get(_key(claim))) for claim in claims}
        return {
            token: row
            for token, (claim, row) in rows.items()
            if row and row.holder == self._worker and row.attempt == claim.attempt
        }


def _key(claim: Claim) -> str:
    return claim.token.partition(":")[0]
